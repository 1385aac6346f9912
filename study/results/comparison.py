"""Trials side by side: what they differ in first, then how they did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from optuna.study import Study

from dcgan.evaluation.record import in_digits
from dcgan.runtime.pictures import save_picture, side_by_side
from study.config.dimensions import plain, plain_value
from study.errors import StudyMismatchError
from study.results.contact_sheet import captions, scored_grid
from study.storage.attributes import stored_identity
from study.storage.store import StudyFolder, trial_name
from study.storage.trial_result import TrialResult

MUST_AGREE = ("data.", "extractor.", "eval.", "objective.")
"""Parts of two studies' identities that must agree so that their scores can be compared."""
CALLED = {"data.fingerprint": "photos", "extractor.fingerprint": "extractors"}
FREE = ("eval.every_epochs",)


def check_comparable(studies: Sequence[Study]) -> None:
    """Raise `StudyMismatchError` if the scores of studies mean different things."""
    first, *others = [(study.study_name, stored_identity(study)) for study in studies]
    for name, identity in others:
        keys = [key for key in first[1] if key.startswith(MUST_AGREE) and key not in FREE]
        for key in sorted(keys, key=lambda it: it not in CALLED):
            if identity.get(key) != first[1][key]:
                pair = f"{json.dumps(first[1][key])} and {json.dumps(identity.get(key))}"
                raise StudyMismatchError(
                    f"'{first[0]}' and '{name}' have different {CALLED.get(key, 'settings')} "
                    f"({key}: {pair}), so their scores cannot be compared"
                )


def comparison(named: Sequence[tuple[str, TrialResult]]) -> list[list[str]]:
    """A table with a column for each trial; its first line has the headings.

    Rows are how the trials did, the parameters in which they differ, then those that they share.
    """
    trials = [trial for _, trial in named]
    params = list(dict.fromkeys(name for trial in trials for name in trial.shown_params))
    shown = {
        name: [plain(plain_value(trial.shown_params.get(name))) for trial in trials]
        for name in params
    }
    metrics = list(dict.fromkeys(name for trial in trials for name in trial.metrics))
    distances = list(dict.fromkeys(name for trial in trials for name in trial.distances))
    rows = [
        ["", *(name for name, _ in named)],
        ["state", *(trial.state.name.lower() for trial in trials)],
        ["score", *(_digits(trial.score) for trial in trials)],
        *([name, *(_digits(it.distances.get(name)) for it in trials)] for name in distances),
        *([name, *(plain(it.metrics.get(name)) for it in trials)] for name in metrics),
        ["imbalance", *(plain(trial.imbalance) for trial in trials)],
        ["epoch", *(plain(trial.epoch) for trial in trials)],
        ["minutes", *(plain(trial.minutes) for trial in trials)],
        ["origin", *(trial.origin for trial in trials)],
    ]
    differing = [name for name in params if len(set(shown[name])) > 1]
    shared = [name for name in params if name not in differing]
    rows += [[name, *shown[name]] for name in differing]
    rows += [[f"({name})", *shown[name]] for name in shared]
    return rows


def draw_comparison(named: Sequence[tuple[str, TrialResult, StudyFolder]], path: Path) -> list[str]:
    """Draw samples of trials side by side; returns the names of those without any.

    They are of the evaluation that counts, as on the contact sheet.
    """
    pictures, titles, missing = [], [], []
    for name, trial, folder in named:
        grid = scored_grid(folder, trial)
        if grid is None:
            missing.append(name)
            continue
        pictures.append(grid)
        titles.append(captions(trial)[0])
    if pictures:
        save_picture(side_by_side(pictures, titles), path)
    return missing


def name_of(study: Study, trial: TrialResult, *, several: bool) -> str:
    """A trial's name, with its study's where several are compared."""
    return f"{study.study_name} {trial_name(trial.number)}" if several else trial_name(trial.number)


def _digits(value: float | None) -> str:
    return "" if value is None else in_digits(value)
