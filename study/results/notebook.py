"""A study and its trials in a notebook: they show themselves, as a table and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.study import Study
from optuna.trial import TrialState
from PIL import Image

from dcgan.config.train_config import TrainConfig
from dcgan.errors import UsageError
from dcgan.training.run.folder import RunFolder
from study.results import notebook_html
from study.results.export import full_config, write_export
from study.results.leaderboard import flat, rows_of
from study.results.sample_rows import counting_grid, row_title, shown_row, titled_rows
from study.results.selection import pick_trial
from study.storage.optuna_db import load_optuna_study, storage_of
from study.storage.store import Store
from study.storage.trial_result import TrialResult

if TYPE_CHECKING:
    from pandas import DataFrame

BEST = 5
"""Trials whose samples are shown unless you name some."""


@dataclass(frozen=True, kw_only=True)
class ShownTrial(TrialResult):
    """A trial with its folder."""

    folder: RunFolder = field(repr=False)

    def samples(self) -> Image.Image:
        """A row of samples of the evaluation that counts, under the trial's name and score."""
        return titled_rows(_pictures([self]))

    def _repr_html_(self) -> str:
        """Its numbers and parameters, and samples of its evaluations."""
        return notebook_html.trial_html(self, self.folder)


class ShownStudy(Study):
    """An Optuna study with what a notebook asks for. All that Optuna can do with one works.

    `store` has the trials' folders.
    """

    def __init__(self, study: Study, store: Store) -> None:
        super().__init__(study.study_name, storage_of(study), study.sampler, study.pruner)
        self.store = store

    def to_frame(self) -> DataFrame:
        """A table of all trials, best first: parameters, scores, state, reason, minutes.

        Its index is the trial's number. A value that a trial does not have is None or NaN.
        """
        from pandas import DataFrame  # late: importing it takes a moment

        rows = rows_of(self)
        columns = flat(TrialResult(0, TrialState.WAITING))  # for a study without trials
        frame = DataFrame.from_records(list(map(flat, rows)), columns=None if rows else [*columns])
        return frame.set_index("number")

    def trial(self, number: int) -> ShownTrial:
        """One trial. Raises `UsageError` if there is no trial of that number."""
        return self._trials([number])[0]

    def samples(self, numbers: Sequence[int] | None = None) -> Image.Image:
        """A picture with a row of samples for each trial of these numbers (default: the best 5).

        Rows have the same noise where the trials have the same nz. A trial without samples on this
        machine has a row that says so. Raises `UsageError` if there is no such trial.
        """
        trials = self._trials(numbers)
        if not trials:
            raise UsageError(f"the study '{self.study_name}' has no trial to show samples of")
        return titled_rows(_pictures(trials))

    def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        trial: int | None = None,
        pick: str | None = None,
    ) -> TrainConfig:
        """The config that trains a trial in full, as `study export` writes it.

        It is also written to `path` if you give one. The trial is that of the number `trial`, on a
        front the one that the rule `pick` chooses, else the best. Raises `UsageError` if that is
        none, and `StudyError` if no trial is complete.
        """
        config = full_config(self, pick_trial(self, trial, pick), pick)
        if path is not None:
            write_export(config, Path(path))
        return config

    def __repr__(self) -> str:
        return f"<study '{self.study_name}': {notebook_html.progress_of(self)}>"

    def as_html(self) -> str:
        """What a notebook shows: the leaderboard's head, and the samples of the best trials."""
        return notebook_html.study_html(self, _pictures(self._trials(None)))

    def _repr_html_(self) -> str:
        return self.as_html()

    def _trials(self, numbers: Sequence[int] | None) -> list[ShownTrial]:
        """Trials of these numbers in their order; None: the best."""
        rows = rows_of(self)
        by_number = {row.number: row for row in rows}
        files = self.store.study(self.study_name)
        chosen = [row.number for row in rows[:BEST]] if numbers is None else numbers
        for number in chosen:
            if number not in by_number:
                there = f"its trials are 0 to {max(by_number)}" if rows else "it has none yet"
                raise UsageError(f"the study '{self.study_name}' has no trial {number}; {there}")
        return [
            ShownTrial(**vars(by_number[number]), folder=RunFolder(files.trial(number)))
            for number in chosen
        ]


def _pictures(trials: Sequence[ShownTrial]) -> dict[str, Image.Image | None]:
    """Title → a row of samples of the evaluation that counts."""
    return {row_title(it): shown_row(counting_grid(it.folder, it)) for it in trials}


def load_study(name: str, store: Store | None = None) -> ShownStudy:
    """The Optuna study of a name in a store (default: `Store.at()`); it shows itself in a notebook.

    Raises `UnknownStudyError` if there is none.
    """
    store = store or Store.at()
    return ShownStudy(load_optuna_study(store, name), store)
