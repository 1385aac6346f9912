"""`study confirm`: the best trials and the baselines, trained again on several seeds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from dcgan.cli.console import load_bank_with_progress, say, stop_signals
from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from study.cli.display import StudyDisplay
from study.cli.run import print_plan
from study.cli.tables import aligned
from study.config.study_config import StudyConfig
from study.results.confirmed import Confirmation
from study.results.confirmed_words import sentences_of, table_of
from study.running.confirm import Race, next_round
from study.running.derived import check_same_measure
from study.running.prepare import prepare
from study.running.study import execute
from study.storage.attributes import with_tracking
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def confirm(
    store: Store, race: Race, settings: Mapping[str, Any], minutes: float | None = None
) -> None:
    """Run the race of a study's configs until it is decided, and print where they stand.

    `settings` are dotted keys that differ on this machine: photos, workers. After `minutes`
    trainings are paused, and the same command continues them. Exits with code 130 after a signal.
    Raises as `next_round` and `check_same_measure` do.
    """
    study = load_optuna_study(store, race.name)
    store, stopped = with_tracking(store, study), False
    if config := next_round(store, race):
        config = override(config, settings)
        bank = load_bank_with_progress(config.base.data)
        check_same_measure(study, config, bank)
        with stop_signals() as should_stop:
            _run_rounds(store, race, settings, bank, should_stop, minutes)
            stopped = should_stop()
    print_confirmation(Confirmation.read(study))
    if next_round(store, race) is not None:
        say("the race is not over; the same command continues it")
    if stopped:
        sys.exit(130)


def _run_rounds(
    store: Store,
    race: Race,
    settings: Mapping[str, Any],
    bank: PhotoBank,
    should_stop: Callable[[], bool],
    minutes: float | None,
) -> None:
    """Run round after round until the race is over, a stop is asked for or the time is up."""
    begun, shown = time.monotonic(), 0
    while (config := next_round(store, race)) is not None:
        left = None if minutes is None else minutes - (time.monotonic() - begun) / 60
        if should_stop() or (left is not None and left <= 0):
            return
        config = override(config, {**settings, "study.timeout_minutes": left})
        say(_announced(config, shown))
        display = StudyDisplay(should_stop)
        with prepare(config, store, bank, observer=display) as plan:
            if not shown:
                print_plan(plan)
            with display:
                execute(plan, display)
        shown = len(config.baselines)


def _announced(config: StudyConfig, done: int) -> str:
    named = ", ".join(baseline.name for baseline in config.baselines[done:])
    return f"{config.study.name}: {config.base.train.epochs} epochs each of {named}"


def print_confirmation(confirmation: Confirmation | None) -> None:
    """The table, and what it says in a sentence or two."""
    if confirmation is None or not confirmation.scored:
        say("no training has finished yet")
        return
    say(
        f"{confirmation.study}: expected score after {confirmation.epochs} epochs, over seeds "
        "(geometric mean, lower is better), and the probability of being the best"
    )
    for line in aligned(table_of(confirmation)):
        say(line)
    for sentence in sentences_of(confirmation):
        say(sentence)
