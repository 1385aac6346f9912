"""Launch a study: open or create it once, then run trials until its total is reached."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import save_config
from dcgan.data.bank import PhotoBank, check_enough_photos, load_bank
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import describe_environment, resolve_device
from dcgan.runtime.numerics import numerics
from dcgan.runtime.version import code_version
from dcgan.training.run.folder import RunFolder
from study.config.identity import check_relaunch, identity_of
from study.config.study_config import StudyConfig, largest_batch
from study.errors import StudyError
from study.results.wording import standing
from study.running.claims import Claims
from study.running.context import Outcome, Workbench, open_bench
from study.running.observer import Hooks
from study.running.publish import catch_up_mirror, is_stale, parent_status, publish
from study.running.resources import settle
from study.running.supervisor import Pool
from study.running.worker import work
from study.search.objective import check_mode, directions
from study.search.pruners import pruner_note
from study.storage.attributes import (
    CONFIG_ATTRIBUTE,
    IDENTITY_ATTRIBUTE,
    TRACKING_ATTRIBUTE,
    stored_config,
    stored_identity,
    with_tracking,
)
from study.storage.locks import announced
from study.storage.optuna_db import FINISHED, clear_storage_errors, finished_count, open_storage
from study.storage.store import Store
from study.storage.trial_summaries import outcomes_of

MAX_SAME_FAILURES = 3


@dataclass(frozen=True)
class StudySummary:
    """What a launch left behind."""

    store: Store
    name: str
    study: Study
    finished: int
    total: int
    interrupted: bool
    """Whether it was stopped (Ctrl-C, timeout) before its total."""
    experiment_id: str
    best_config: Path | None
    contact_sheet: Path | None


def run_study(
    config: StudyConfig,
    store: Store | None = None,
    *,
    bank: PhotoBank | None = None,
    hooks: Hooks | None = None,
    on_progress: Callable[[int, int], None] = lambda finished, total: None,
    joining: bool = False,
) -> StudySummary:
    """Create the study or continue it, and run trials until `config.study.trials` are finished.

    Calling it again continues; when the total is reached it changes nothing. Several processes
    that run one study share its trials.

    Args:
        bank: the photos; loaded as `config.base.data` says if left out.
        hooks: what running trials tell and ask (progress, a wish to stop).
        on_progress: called with (finished, total) after each trial and at the start.
        joining: run trials of a study that was begun elsewhere, and leave its config, leaderboard
            and pictures to who began it.

    Raises:
        StudyMismatchError: the study exists with settings that make numbers incomparable.
        StudyError: three trials in a row failed for the same reason, or a database is unusable.
        DcganError: photos or folders cannot be used.
    """
    store = store or Store.at()
    store.create()
    bank = bank or load_bank(config.base.data)
    check_enough_photos(bank, config.base, largest_batch(config))
    folder = store.study(config.study.name)
    hooks = _with_deadline(hooks or Hooks(), config.study.timeout_minutes)
    with ExitStack() as stack:
        stack.enter_context(clear_storage_errors(store))
        study, earlier = _open_study(config, store, hooks)
        claims = Claims(study, folder)
        with claims.alone("opening"):  # one launcher measures, enqueues and so on; others find it
            _greet(stack.enter_context(announced(folder)), hooks)
            config, workers = settle(config, earlier(), hooks.on_warning)
            stack.enter_context(numerics(config.base.train))
            bench, changed = _workbench(config, claims, store, bank, hooks, joining=joining)
        if note := pruner_note(config):
            hooks.on_warning(note)
        if joining:
            catch_up_mirror(bench)
            _run_trials(bench, workers, on_progress, joining=True)
            catch_up_mirror(bench)
        else:
            _lead(bench, workers, on_progress, changed=changed)
        finished = finished_count(bench.study)
        return StudySummary(
            store=bench.tracker.store,
            name=config.study.name,
            study=bench.study,
            finished=finished,
            total=config.study.trials,
            interrupted=finished < config.study.trials,
            experiment_id=bench.tracker.experiment_id,
            best_config=folder.best if folder.best.exists() else None,
            contact_sheet=folder.contact_sheet if folder.contact_sheet.exists() else None,
        )


def _lead(
    bench: Workbench, workers: int, on_progress: Callable[[int, int], None], *, changed: bool
) -> None:
    """Run trials and publish what came of them; nothing where there is nothing left to do.

    Args:
        changed: whether the config differs from the last launch's.
    """
    caught_up = catch_up_mirror(bench)
    unfinished = finished_count(bench.study) < bench.config.study.trials
    if caught_up or unfinished or changed or is_stale(bench):
        with parent_status(bench):
            try:
                _run_trials(bench, workers, on_progress)
            except StudyError:
                publish(bench)
                raise
            catch_up_mirror(bench)  # what MLflow missed while it was away
            publish(bench)


def _greet(others: list[int], hooks: Hooks) -> None:
    if others:
        hooks.on_warning(
            f"this study is being run by another process, too (pid "
            f"{', '.join(map(str, others))}): they share its trials"
        )


def _run_trials(
    bench: Workbench,
    workers: int,
    on_progress: Callable[[int, int], None],
    *,
    joining: bool = False,
) -> None:
    """Run trials until the total, a wish to stop, or repeated failure; publish now and then."""
    publishing = Throttle()
    total = bench.config.study.trials
    on_progress(finished_count(bench.study), total)
    workers = min(workers, total - finished_count(bench.study))
    with closing(_outcomes(bench, workers, in_processes=joining)) as outcomes:
        for outcome in outcomes:
            on_progress(finished_count(bench.study), total)
            bench.hooks.on_standing(standing(bench.study, outcomes_of(bench.study)))
            if not joining:
                publishing(lambda: publish(bench))
            if outcome.state == TrialState.FAIL:
                _stop_if_hopeless(bench)


def _outcomes(
    bench: Workbench, workers: int, *, in_processes: bool
) -> Generator[Outcome, None, None]:
    """Of trials run here, or in processes of their own, whose death ends nothing else."""
    if workers > 1 or (in_processes and workers == 1):
        yield from Pool(bench, workers).outcomes()
    else:
        for _, outcome in work(bench):
            yield outcome


def _stop_if_hopeless(bench: Workbench) -> None:
    ended = [
        trial
        for trial in bench.study.get_trials(deepcopy=False, states=FINISHED)
        if trial.datetime_complete
    ]
    ended.sort(key=lambda trial: trial.datetime_complete or 0)
    last = ended[-MAX_SAME_FAILURES:]
    reasons = {_without_trial(str(trial.user_attrs.get("reason"))) for trial in last}
    failed = all(trial.state == TrialState.FAIL for trial in last)
    if len(last) == MAX_SAME_FAILURES and failed and len(reasons) == 1:
        raise StudyError(
            f"{MAX_SAME_FAILURES} trials in a row failed for the same reason, so the study stops: "
            f"{last[-1].user_attrs.get('reason')}; after mending it, raise --trials to continue"
        )


def _without_trial(reason: str) -> str:
    """A reason without the trial it names, as in the path of a file that could not be written."""
    return re.sub(r"trial[- ]\d+", "trial", reason)


def _open_study(
    config: StudyConfig, store: Store, hooks: Hooks
) -> tuple[Study, Callable[[], StudyConfig | None]]:
    """Make or open the study in Optuna's database.

    Returns:
        The study, and what reads its config of an earlier launch.
    """
    storage = open_storage(store, create=True)
    storage.say = hooks.on_warning
    study = optuna.create_study(
        study_name=config.study.name,
        storage=storage,
        directions=directions(config.objective),
        load_if_exists=True,
    )
    check_mode(study, config)
    return study, lambda: stored_config(study)


def _workbench(
    config: StudyConfig,
    claims: Claims,
    store: Store,
    bank: PhotoBank,
    hooks: Hooks,
    *,
    joining: bool,
) -> tuple[Workbench, bool]:
    """Make or open everything else that trials need, and refuse to mix incomparable numbers.

    Returns:
        The workbench, and whether the config differs from the last launch's.
    """
    study, folder = claims.study, store.study(config.study.name)
    recorded = stored_identity(study)
    extractor = configured_extractor(config.base, resolve_device(config.base.train.device))
    identity = _identity(config, bank, extractor)
    if recorded:
        for difference in check_relaunch(config.study.name, recorded, identity):
            hooks.on_warning(f"differs from the study's earlier launches: {difference}")
    else:
        study.set_user_attr(IDENTITY_ATTRIBUTE, json.dumps(identity))
    changed = False if joining else _record_launch(config, study, store)
    if changed or not folder.config.exists():
        save_config(config, folder.config)
    with claims.alone():
        orphans = claims.put_back_orphans()
    for number in orphans:
        kept = RunFolder(folder.trial(number)).checkpoint.exists()
        where = "from its checkpoint" if kept else "from step 0"
        hooks.on_warning(f"trial {number} was cut off earlier and continues {where}")
    place = with_tracking(store, study)
    return open_bench(config, claims, place, bank, hooks, extractor), changed


def _record_launch(config: StudyConfig, study: Study, store: Store) -> bool:
    """Keep config and MLflow's address current: ranges may have been widened, the full run changed.

    Returns:
        Whether the config differs from the last launch's.
    """
    if store.tracking and study.user_attrs.get(TRACKING_ATTRIBUTE) != store.tracking:
        study.set_user_attr(TRACKING_ATTRIBUTE, store.tracking)
    changed = study.user_attrs.get(CONFIG_ATTRIBUTE) != config.model_dump_json()
    if changed:
        study.set_user_attr(CONFIG_ATTRIBUTE, config.model_dump_json())
    for baseline in config.baselines:
        attributes = {"origin": "baseline", "baseline": baseline.name}
        params = config.baseline_params(baseline)
        study.enqueue_trial(params, user_attrs=attributes, skip_if_exists=True)
    return changed


def _identity(config: StudyConfig, bank: PhotoBank, extractor: Extractor) -> dict[str, Any]:
    environment = describe_environment(extractor.device) | {"code_version": code_version()}
    named = {"name": extractor.name, "fingerprint": extractor.fingerprint}
    return identity_of(config, bank.fingerprint, named, environment)


def _with_deadline(hooks: Hooks, minutes: float | None) -> Hooks:
    if minutes is None:
        return hooks
    deadline = time.monotonic() + minutes * 60
    return replace(hooks, should_stop=lambda: hooks.should_stop() or time.monotonic() >= deadline)


class Throttle:
    """Does something when asked, unless it was done just now or took too large a share of the time.

    Args:
        seconds: the least pause after each time.
        share: the largest part of the time it may take.
        clock: seconds from any beginning.
    """

    def __init__(
        self,
        seconds: float = 10.0,
        share: float = 0.05,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.share, self.clock = seconds, share, clock
        self._next = clock()

    def __call__(self, action: Callable[[], object]) -> None:
        """Do it, at the first call and whenever the pause after the last time is over."""
        begun = self.clock()
        if begun < self._next:
            return
        action()
        ended = self.clock()
        self._next = ended + max(self.seconds, (ended - begun) / self.share)
