"""Which checkpoints stay on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dcgan.errors import CheckpointError
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from study.config.identity import identity_of
from study.config.study_config import StudyConfig
from study.results.checkpoints import expendable
from study.results.export import export_config
from study.results.selection import best_trial
from study.running.observer import Scored
from study.running.study import run_study
from study.storage.store import Store
from study.storage.trial_result import TrialResult

Maker = Callable[..., StudyConfig]
C, P, F = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
R, W = TrialState.RUNNING, TrialState.WAITING


def trials_of(*states: tuple[TrialState, float | None]) -> list[TrialResult]:
    return [
        TrialResult(number, state, None if value is None else [value])
        for number, (state, value) in enumerate(states)
    ]


MIXED = ((C, 3.0), (P, 0.5), (R, None), (C, 1.0), (F, None), (W, None), (C, 2.0), (C, 1.0))


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (0, [0, 1, 3, 4, 6, 7]),
        (1, [0, 1, 4, 6, 7]),  # of equal scores the earlier one is the best, as in the export
        (2, [0, 1, 4, 6]),
        (3, [0, 1, 4]),
        (4, [1, 4]),
        (99, [1, 4]),
    ],
)
def test_the_best_complete_trials_and_the_unfinished_ones_stay(keep: int, gone: list[int]) -> None:
    assert expendable(trials_of(*MIXED), keep) == gone


def test_a_study_of_nothing() -> None:
    assert expendable([], 5) == []


def with_checkpoint(store: Store) -> list[int]:
    """The trials that have their checkpoints, the last and the best."""
    last, found = (
        {path.parent for path in store.study("tiny").path.glob(f"trials/*/{name}")}
        for name in ("checkpoint.pt", "best.pt")
    )
    assert last == found
    return sorted(int(path.name.removeprefix("trial-")) for path in found)


@pytest.mark.slow
def test_a_study_keeps_its_best_and_everything_else_of_each_trial(
    tiny_study: Maker, store: Store, bank: Any
) -> None:
    config = tiny_study(study__trials=4, checkpoints__keep=1)
    summary = run_study(config, store, bank=bank)
    best = best_trial(summary.study).number
    assert with_checkpoint(store) == [best]
    for number in range(4):
        folder = RunFolder(store.study("tiny").trial(number))
        assert folder.history.exists()
        assert folder.config.exists()
        assert folder.grids()
        assert (folder.path / "trial.json").exists()
    # Nothing that a finished study offers needs the others.
    assert export_config(summary.study, 3).provenance["trial"] == "trial-003"
    run_study(tiny_study(study__trials=4, checkpoints__keep=0), store, bank=bank)
    assert with_checkpoint(store) == []


@pytest.mark.slow
def test_an_interrupted_trial_keeps_its_own(
    tiny_study: Maker, store: Store, bank: Any, watch: Any
) -> None:
    config = tiny_study(study__trials=2, checkpoints__keep=0)
    watcher = watch(stop=lambda: len(watcher.of(Scored)) == 3)
    run_study(config, store, bank=bank, observer=watcher)
    assert with_checkpoint(store) == [1]
    assert load_checkpoint(RunFolder(store.study("tiny").trial(1)).checkpoint).step == 3
    assert run_study(config, store, bank=bank).finished == 2
    assert with_checkpoint(store) == []


def test_numbers_stay_comparable_whatever_is_kept(tiny_study: Maker) -> None:
    def identity(config: StudyConfig) -> dict[str, Any]:
        return identity_of(config, "photos", {"name": "random", "fingerprint": "f"}, {})

    assert identity(tiny_study()) == identity(tiny_study(checkpoints__keep=0))


def test_a_removed_checkpoint_is_explained(own_finished: Store, tmp_path: Path, shell: Any) -> None:
    folder = RunFolder(own_finished.study("tiny").trial(0))
    folder.checkpoint.unlink()
    with pytest.raises(CheckpointError, match=r"there is no .* any more.*to save space") as e:
        load_checkpoint(folder.checkpoint)
    assert f"dcgan train {folder.config}" in str(e.value)
    said = shell("show", "tiny", "--store", own_finished.root).stdout
    assert "of the 5 best trials (checkpoints.keep); 'study train tiny --trial N" in said
    with pytest.raises(CheckpointError, match=r"^there is no checkpoint \S+$"):
        load_checkpoint(tmp_path / "absent.pt")
