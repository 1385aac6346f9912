"""`study ask`: pairs of trainings that differ in one setting, until there is a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.study import Study

from dcgan.cli.console import progress_bar, say
from study.cli.rounds import run_rounds
from study.cli.tables import aligned
from study.config.study_config import StudyConfig
from study.report.explained import explain
from study.report.explained_words import SUBJECTS, lines_on
from study.results.asked import Asked, name_of_question
from study.results.asked_words import answer_in_words, table_of
from study.results.repeated import read_repeats
from study.results.traces import augmentations_of, told_traces
from study.running.ask import Question, next_pairs
from study.storage.attributes import stored_identity, study_config, with_addresses
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def ask(
    store: Store,
    name: str,
    text: str,
    pairs: int | None,
    epochs: int | None,
    settings: Mapping[str, Any],
    minutes: float | None = None,
) -> None:
    """Train pairs until the question is answered, and print the answer.

    `text` is the question (see `Question.parse`), or a subject of which the trials tell without any
    training (`SUBJECTS`). `pairs` is the most that are trained (default: as the question was
    begun, else 12), `epochs` their length. `settings`
    and `minutes` are as for `run_rounds`. Raises, and exits, as it, `next_pairs` and
    `Question.parse` do.
    """
    study = load_optuna_study(store, name)
    if text in SUBJECTS:
        with progress_bar("reading the trials"):
            told = lines_on(explain(study, store), text)
        for line in told:
            say(line)
        return
    question = Question.parse(store, name, text, pairs, epochs)
    store = with_addresses(store, study)
    workers = settings.get("study.workers", study_config(study).study.workers)
    at_once = max(1, workers // 2) if isinstance(workers, int) else 1
    run_rounds(
        lambda: next_pairs(store, question, at_once),
        study,
        store,
        settings,
        minutes,
        lambda: print_answer(study, store, question),
    )


def print_answer(study: Study, store: Store, question: Question) -> None:
    """The pairs, what they say in a sentence, and whether the samples show an augmentation."""
    name = name_of_question(study.study_name, question.key)
    found = read_repeats(study, name, StudyConfig.short_name(question.key))
    asked = found and Asked.of(found[0], question.key, found[1])
    if not found or not asked or not asked.pairs:
        say("no pair of trainings has ended yet")
        return
    for line in aligned(table_of(asked)):
        say(line)
    say(answer_in_words(asked))
    if question.key in augmentations_of(found[0]):
        fingerprint = stored_identity(study).get("data.fingerprint")
        with progress_bar("looking for traces of the augmentation"):
            told = told_traces(*found, store.study(name), fingerprint, [question.key])
        for line in told:
            say(line)
