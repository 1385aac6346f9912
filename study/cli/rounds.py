"""Studies that are run in rounds: each round's trainings follow from the scores of those before."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.cli.console import load_bank_with_progress, say, stop_signals
from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from dcgan.errors import DcganError
from study.cli.display import StudyDisplay
from study.cli.run import print_plan
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.running.derived import check_same_measure
from study.running.prepare import prepare
from study.running.study import execute
from study.storage.store import Store
from study.storage.trial_result import REASON

NextRound = Callable[[], StudyConfig | None]
"""The config of the study that runs the next trainings; None once there are none."""


def run_rounds(
    next_round: NextRound,
    study: Study,
    store: Store,
    settings: Mapping[str, Any],
    minutes: float | None,
    then: Callable[[], None],
) -> None:
    """Run round after round, until nothing is left, a signal stops it or the time is up.

    `study` is the one whose configs train again; `settings` are dotted keys that differ on this
    machine. After `minutes` trainings are paused. `then` prints what was found. Exits with code 130
    after a signal. Raises `StudyMismatchError` for other photos or another extractor, and
    `StudyError` after a round in which trainings failed.
    """
    stopped = False
    if config := next_round():
        config = override(config, settings)
        bank = load_bank_with_progress(config.base.data)
        check_same_measure(study, config, bank)
        with stop_signals() as should_stop:
            try:
                _run(next_round, store, settings, bank, should_stop, minutes)
            except DcganError:
                then()
                raise
            stopped = should_stop()
    then()
    if next_round() is not None:
        say("this is not over; the same command continues it")
    if stopped:
        sys.exit(130)


def _run(
    next_round: NextRound,
    store: Store,
    settings: Mapping[str, Any],
    bank: PhotoBank,
    should_stop: Callable[[], bool],
    minutes: float | None,
) -> None:
    begun, shown = time.monotonic(), 0
    while (config := next_round()) is not None:
        left = None if minutes is None else minutes - (time.monotonic() - begun) / 60
        if should_stop() or (left is not None and left <= 0):
            return
        config = override(config, {**settings, "study.timeout_minutes": left})
        named = ", ".join(baseline.name for baseline in config.baselines[shown:])
        say(f"{config.study.name}: {config.base.train.epochs} epochs each of {named}")
        display = StudyDisplay(should_stop)
        with prepare(config, store, bank, observer=display) as plan:
            if not shown:
                print_plan(plan)
            with display:
                summary = execute(plan, display)
        if not summary.interrupted:
            _check_all_ended(summary.study, config)
        shown = len(config.baselines)


def _check_all_ended(study: Study, config: StudyConfig) -> None:
    """Raise `StudyError` if a training of the round has failed: it was tried several times."""
    trials = study.get_trials(deepcopy=False)
    ended = [it for it in trials if it.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    if len(ended) >= len(config.baselines):
        return
    failed = [it for it in trials if it.state == TrialState.FAIL]
    reason = failed[-1].user_attrs.get(REASON) if failed else "they were not begun"
    raise StudyError(
        f"{len(config.baselines) - len(ended)} of {len(config.baselines)} trainings of "
        f"'{study.study_name}' have failed, the last one because: {reason}; fix the cause, and the "
        "same command tries them again"
    )
