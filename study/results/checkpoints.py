"""Which trials' checkpoints are worth their disk space: the best ones' and the unfinished ones'.

A checkpoint is most of a trial's folder. Once the trial has ended, nothing in a study reads it
again: leaderboard, pictures and export come from the databases and from smaller files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.training.run.folder import RunFolder
from study.config.study_config import CheckpointsConfig
from study.search.pareto import front_of
from study.search.rungs import Rungs, out_of_the_race, standings
from study.storage.attributes import stored_config
from study.storage.optuna_db import FINISHED, read_again
from study.storage.store import StudyFolder
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import outcomes_of


def expendable(
    trials: Iterable[TrialResult], keep: int, keep_pruned: int = 0, racing: Collection[int] = ()
) -> list[int]:
    """Numbers of the finished trials that are not among the best complete ones.

    With several objectives those on the front come first, and no pruned trial is kept, since it has
    no values. `racing` are paused trials that may still go on.
    """
    finished = [it for it in trials if it.state in FINISHED and it.number not in racing]
    complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
    several = any(len(trial.values or []) > 1 for trial in complete)
    front = {trial.number for trial in front_of(complete)} if several else set()

    def rank(trial: TrialResult) -> tuple[bool, list[float], int]:
        return trial.number not in front, (trial.values or [])[:1], trial.number

    pruned = [it for it in finished if it.state == TrialState.PRUNED and it.values]
    best = [*sorted(complete, key=rank)[:keep], *sorted(pruned, key=rank)[:keep_pruned]]
    kept = {trial.number for trial in best}
    return [trial.number for trial in finished if trial.number not in kept]


def expendable_checkpoints(
    study: Study, folder: StudyFolder, kept: CheckpointsConfig
) -> list[tuple[Path, ...]]:
    """The checkpoints on the disk that may go, together for each trial: its last and its best."""
    return _files_of(without_checkpoint(study, kept), folder)


def _files_of(numbers: list[int], folder: StudyFolder) -> list[tuple[Path, ...]]:
    both = (RunFolder(folder.trial(number)).checkpoints for number in numbers)
    found = (tuple(path for path in paths if path.is_file()) for paths in both)
    return [paths for paths in found if paths]


def without_checkpoint(study: Study, kept: CheckpointsConfig) -> list[int]:
    """Numbers of the trials that need no checkpoint any more."""
    return expendable(outcomes_of(study), kept.keep, kept.keep_pruned, _racing(study))


def _racing(study: Study) -> set[int]:
    """Paused trials that may still go on to another rung."""
    config = stored_config(study)
    rungs = Rungs.of(config) if config else None
    if rungs is None:
        return set()
    read_again(study)
    trials = standings(study.get_trials(deepcopy=False), rungs)
    paused = {trial.number for trial in trials if trial.paused is not None}
    return paused - out_of_the_race(trials, rungs)


def remove_checkpoints(study: Study, folder: StudyFolder, kept: CheckpointsConfig) -> list[int]:
    """Remove the checkpoints that may go, and return the numbers of the trials that need none.

    Raises `OSError` if one cannot be removed.
    """
    numbers = without_checkpoint(study, kept)
    for paths in _files_of(numbers, folder):
        for path in paths:
            path.unlink(missing_ok=True)
    return numbers
