"""Launch a study: prepare it, then run trials until its total is reached."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank, load_bank
from dcgan.runtime.live import in_notebook
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.notebook import ShownStudy
from study.results.wording import standing
from study.running.context import StudyContext
from study.running.launchers.table import launcher_for
from study.running.limits import ComputeMeter, compute_in_words, end_if_no_gain
from study.running.missed import deliver_missed
from study.running.observer import Observer, Progressed, Silent, Warned
from study.running.prepare import Plan, prepare
from study.running.progress import NotebookProgress
from study.running.publish import is_stale, parent_status, publish
from study.running.throttle import Throttle
from study.storage.optuna_db import FINISHED, backend_of, finished_count, read_again
from study.storage.store import Store
from study.storage.trial_summaries import outcomes_of, summaries_of

MAX_SAME_FAILURES = 3


@dataclass(frozen=True, repr=False)
class StudySummary:
    """What a launch left behind. A notebook shows it as it shows the study."""

    store: Store
    name: str
    study: ShownStudy
    finished: int
    total: int
    interrupted: bool
    """Whether it was stopped (Ctrl-C, timeout) before its total."""
    experiment_id: str
    best_config: Path | None
    contact_sheet: Path | None
    ended_because: str | None = None
    """Why trials are left that this launch did not run, if nobody asked it to stop."""

    def __repr__(self) -> str:
        return repr(self.study)

    def _repr_html_(self) -> str:
        return self.study.as_html()


def run_study(
    config: StudyConfig,
    store: Store | None = None,
    *,
    bank: PhotoBank | None = None,
    observer: Observer | None = None,
    joining: bool = False,
) -> StudySummary:
    """Create the study or continue it, and run trials until `config.study.trials` are finished.

    A second call continues; once the total is reached, it changes nothing. Several processes that
    run one study share its trials.

    Args:
        store: the results folder (default: `Store.at()`).
        bank: the photos (default: loaded as `config.base.data` says).
        observer: gets every event (see `study.running.observer`) and may ask to stop (default:
            bars that replace themselves in a Jupyter notebook, nothing elsewhere).
        joining: the study was begun elsewhere; do not publish its leaderboard and pictures.

    Raises:
        StudyMismatchError: the study exists with settings that make numbers incomparable.
        StudyError: three trials in a row failed for the same reason, or a database is unusable.
        DcganError: photos or folders cannot be used.
    """
    store = store or Store.at()
    observer = observer or (NotebookProgress() if in_notebook() else Silent())
    store.create()
    bank = bank or load_bank(config.base.data)
    with prepare(config, store, bank, observer=observer, joining=joining) as plan:
        for decision in plan.decisions:
            observer.tell(Warned(decision))
        return execute(plan, observer)


def execute(
    plan: Plan,
    observer: Observer | None = None,
    *,
    throttle: Throttle | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StudySummary:
    """Run a prepared launch, inside the `with` block of `prepare`.

    `throttle` limits how often the leaderboard is published meanwhile. `clock` returns seconds from
    any origin and measures `study.timeout_minutes`. Raises `StudyError` if three trials in a row
    failed for the same reason, or a database failed.
    """
    minutes, begun = plan.config.study.timeout_minutes, clock()
    meter = ComputeMeter(plan.context.study, clock)
    hours = plan.config.study.max_hours

    def is_up() -> bool:
        late = minutes is not None and clock() >= begun + 60 * minutes
        return late or meter.has_used(hours)

    context = replace(plan.context, observer=observer or Silent(), out_of_time=is_up)
    if backend := backend_of(context.study):
        backend.say = context.warn
    if plan.joining:
        deliver_missed(context)
        why = _run_trials(context, plan)
        deliver_missed(context)
    else:
        why = _lead(context, plan, throttle or Throttle())
    if context.left and meter.has_used(hours):
        why = (
            f"all trials together have taken {hours:g} hours, as many as they may; a higher "
            "--max-hours goes on"
        )
    return _summary(context, why)


def _summary(context: StudyContext, ended_because: str | None) -> StudySummary:
    finished, total = finished_count(context.study), context.total
    folder = context.folder
    return StudySummary(
        store=context.store,
        name=context.config.study.name,
        study=ShownStudy(context.study, context.store),
        finished=finished,
        total=total,
        interrupted=context.left > 0,
        experiment_id=context.tracker.experiment_id,
        best_config=folder.best if folder.best.exists() else None,
        contact_sheet=folder.contact_sheet if folder.contact_sheet.exists() else None,
        ended_because=ended_because,
    )


def _lead(context: StudyContext, plan: Plan, throttle: Throttle) -> str | None:
    """Run trials and publish what came of them; change nothing if nothing is left to do.

    Returns why the study ended early, if it did.
    """
    why = None
    caught_up = deliver_missed(context)
    if caught_up or context.left or plan.changed or is_stale(context):
        with parent_status(context):
            try:
                why = _run_trials(context, plan, lambda: throttle(lambda: publish(context)))
            except StudyError:
                publish(context)
                raise
            deliver_missed(context)
            publish(context)
    return why


def _run_trials(
    context: StudyContext,
    plan: Plan,
    after_each: Callable[[], None] = lambda: None,
) -> str | None:
    """Run trials until the total is finished, a stop is asked for, or repeated failure.

    Returns why the study ended early, if it did (`study.stop`).
    """
    study, tell = context.study, context.observer.tell
    why = end_if_no_gain(context)
    left, total = context.left, context.total
    tell(Progressed(finished_count(study), total))
    if not left or context.should_stop():
        return why
    # Of trials on rungs more may go on once these have ended.
    workers = plan.workers if context.rungs else min(plan.workers, left)
    launch = launcher_for(plan.config.study.launcher, workers, joining=plan.joining)
    with closing(launch(context, workers)) as ends:
        for end in ends:
            why = why or end_if_no_gain(context)
            tell(Progressed(finished_count(study), context.total, _standing(plan)))
            after_each()
            if end.state == TrialState.FAIL.name:
                _stop_if_hopeless(study, plan.config)
    return why


def _standing(plan: Plan) -> str:
    """The best score so far, and how much of the compute is used if it is limited."""
    study, config = plan.context.study, plan.config
    if config.study.max_hours is None:
        return standing(study, outcomes_of(study))
    trials = summaries_of(study)
    return f"{standing(study, trials)}, {compute_in_words(config, plan.workers, trials)}"


def _stop_if_hopeless(study: Study, config: StudyConfig) -> None:
    read_again(study)  # trials may have gone on from a rung since
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    ended = [(trial.datetime_complete, trial) for trial in finished if trial.datetime_complete]
    last = [trial for _, trial in sorted(ended, key=itemgetter(0))[-MAX_SAME_FAILURES:]]
    reasons = {_without_trial(str(trial.user_attrs.get("reason"))) for trial in last}
    failed = all(trial.state == TrialState.FAIL for trial in last)
    extends = any(baseline.continues or baseline.repeats for baseline in config.baselines)
    advice = "the same command tries them again" if extends else "then raise --trials to continue"
    if len(last) == MAX_SAME_FAILURES and failed and len(reasons) == 1:
        raise StudyError(
            f"{MAX_SAME_FAILURES} trials in a row failed for the same reason, so the study stops: "
            f"{last[-1].user_attrs.get('reason')}; fix the cause, {advice}"
        )


def _without_trial(reason: str) -> str:
    """A reason without the trial it names, as in the path of a file that could not be written."""
    return re.sub(r"trial[- ]\d+", "trial", reason)
