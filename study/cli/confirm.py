"""`study confirm`: the best trials and the baselines, trained again on several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.study import Study

from dcgan.cli.console import say
from study.cli.rounds import run_rounds
from study.cli.tables import aligned
from study.results.confirmed import Confirmation
from study.results.confirmed_words import sentences_of, table_of
from study.results.winner import final_noise, winner_of
from study.running.confirm import Race, next_round
from study.storage.attributes import with_addresses
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def confirm(
    store: Store, race: Race, settings: Mapping[str, Any], minutes: float | None = None
) -> None:
    """Run the race of a study's configs until it is decided, and print where they stand.

    `settings` and `minutes` are as for `run_rounds`. Raises, and exits, as it and `next_round` do.
    """
    study = load_optuna_study(store, race.name)
    store = with_addresses(store, study)
    run_rounds(
        lambda: next_round(store, race),
        study,
        store,
        settings,
        minutes,
        lambda: print_confirmation(study),
    )


def print_confirmation(study: Study) -> None:
    """The table, what it says in a sentence or two, and what the search alone had promised."""
    confirmation = Confirmation.read(study)
    if confirmation is None or not confirmation.scored:
        say("no training has finished yet")
        return
    if not confirmation.is_comparable:
        say("a score is not positive, so ratios of scores say nothing")
        return
    say(
        f"{confirmation.study}: expected score after {confirmation.epochs} epochs, over seeds "
        "(geometric mean, lower is better), and the probability of being the best"
    )
    for line in aligned(table_of(confirmation)):
        say(line)
    for sentence in sentences_of(confirmation):
        say(sentence)
    if winner := winner_of(study, final_noise(study)):
        say(winner.describe())
