"""A study in which a trial's best evaluation counts, not its last (`eval.select: best`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from optuna.trial import TrialState
from PIL import Image

from dcgan.api import evaluate
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.config.study_config import StudyConfig
from study.errors import StudyMismatchError
from study.results.export import export_config
from study.results.full_run import FullRun
from study.results.leaderboard import cells_of, rows_of
from study.running.study import StudySummary, run_study
from study.storage.store import Store
from study.storage.trial_record import TrialRecord

Maker = Callable[..., StudyConfig]

DRIFTING = """
batches = 0

def shades(images):
    global batches
    if len(images) > 8:  # not the few images that a new extractor is tried with
        batches += 1
    return images.float().mean(dim=(2, 3)) + 1000.0 * batches**2
"""
"""Mean colours that drift away, ever faster, from those of the photos, which are seen first."""


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An extractor by which every evaluation of a trial is worse than the one before."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "drifting_encoder.py").write_text(DRIFTING)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield "drifting_encoder:shades"


@dataclass(frozen=True)
class Judged:
    config: StudyConfig
    store: Store
    summary: StudySummary

    def folder(self, number: int) -> RunFolder:
        return RunFolder(self.store.study("tiny").trial(number))

    def evals(self, number: int) -> list[EvalRecord]:
        return read_evals(self.folder(number).history)


def settings(extractor: str, **changes: Any) -> dict[str, Any]:
    return {
        "study__trials": 2,
        "base__train__epochs": 3,
        "base__eval__extractor": extractor,
        "base__eval__select": "best",
        "pruner": {"name": "none"},
        "collapse": {"patience_epochs": 0},
        **changes,
    }


@pytest.fixture(scope="module")
def judged(
    tiny_study: Maker, bank: PhotoBank, new_store: Callable[[], Store], drifting: str
) -> Judged:
    """Two trials of three epochs, each best at its first."""
    config, store = tiny_study(**settings(drifting)), new_store()
    return Judged(config, store, run_study(config, store, bank=bank))


def test_the_best_evaluation_gives_the_value(judged: Judged) -> None:
    for trial in judged.summary.study.get_trials():
        evals = judged.evals(trial.number)
        scores = [trial.intermediate_values[record.epoch] for record in evals]
        assert [record.epoch for record in evals] == [1, 2, 3]
        assert scores[0] < scores[1] < scores[2]  # all of them were reported
        assert trial.state == TrialState.COMPLETE
        assert trial.value == scores[0]
        assert trial.user_attrs["fd_shades"] == evals[0].frechet
        assert trial.user_attrs["kd_shades"] == evals[0].kernel
        assert trial.user_attrs["imbalance"] == evals[0].imbalance
        assert (trial.user_attrs["epoch"], trial.user_attrs["step"]) == (1, 2)
        assert load_checkpoint(judged.folder(trial.number).best).step == 2
        assert load_checkpoint(judged.folder(trial.number).checkpoint).step == 6


def test_the_leaderboard_and_the_export_name_its_epoch(judged: Judged) -> None:
    study = judged.summary.study
    headings, body = cells_of(rows_of(study))
    assert [cells[headings.index("epoch")] for cells in body] == ["1", "1"]
    source = export_config(study).provenance
    assert (source["scored_at_epoch"], source["scored_checkpoint"]) == (1, "best.pt")
    best = judged.folder(study.best_trial.number)
    assert source["score"] == study.best_value
    assert export_config(study).eval.select == "best"
    assert evaluate(best.best, extractor="random", n_samples=32).epoch == 1


def test_the_contact_sheet_shows_its_grid(judged: Judged) -> None:
    with Image.open(judged.summary.contact_sheet) as sheet:
        tile = sheet.convert("RGB").crop((0, 34, 266, 300))
    corners = {}
    for step in (2, 6):
        path = judged.folder(judged.summary.study.best_trial.number).grid_path(step)
        with Image.open(path) as grid:
            half = grid.width // 2
            corners[step] = grid.convert("RGB").crop((0, 0, half, half)).resize((266, 266))
    assert tile.tobytes() == corners[2].tobytes()
    assert tile.tobytes() != corners[6].tobytes()


def test_mlflow_shows_its_score_and_epoch(judged: Judged, mirror_of: Any) -> None:
    mirror = mirror_of(judged.store)
    for trial, run in zip(judged.summary.study.get_trials(), mirror.runs("trial"), strict=True):
        assert run.data.metrics["objective"] == trial.value
        assert run.data.metrics["best_epoch"] == 1
        points = mirror.history(run, "eval/score")
        assert [point.value for point in points] == list(trial.intermediate_values.values())
        # Checkpoints are large and stay in the trial's folder.
        assert not [name for name in mirror.artifacts(run) if name.endswith(".pt")]


def test_the_result_file_says_which(judged: Judged) -> None:
    written = json.loads(judged.folder(0).result.read_text())
    assert (written["select"], written["selected_epoch"]) == ("best", 1)
    assert (written["best"]["epoch"], written["final"]["epoch"]) == (1, 3)


def test_a_relaunch_with_another_choice_is_refused(judged: Judged, tiny_study: Maker) -> None:
    changed = settings(judged.config.base.eval.extractor, base__eval__select="last")
    with pytest.raises(StudyMismatchError, match=r'eval.select was "best", now "last"'):
        run_study(tiny_study(**changed), judged.store)


def test_the_last_counts_in_another_study(
    tiny_study: Maker, bank: PhotoBank, store: Store, drifting: str, mirror_of: Any
) -> None:
    """The same trial, judged by its last evaluation; its best is known too."""
    config = tiny_study(**settings(drifting, study__trials=1, base__eval__select="last"))
    trial = run_study(config, store, bank=bank).study.trials[0]
    assert trial.value == trial.intermediate_values[3] > trial.intermediate_values[1]
    assert trial.user_attrs["epoch"] == 3
    (run,) = mirror_of(store).runs("trial")
    assert run.data.metrics["best_epoch"] == 1
    assert load_checkpoint(RunFolder(store.study("tiny").trial(0)).best).step == 2


@pytest.mark.slow
def test_an_interrupted_trial_keeps_its_best(
    tiny_study: Maker, bank: PhotoBank, store: Store, drifting: str, watch: Any
) -> None:
    config = tiny_study(**settings(drifting, study__trials=1))
    run_study(config, store, bank=bank, observer=watch(stop_after=(0, 2)))
    folder = RunFolder(store.study("tiny").trial(0))
    assert load_checkpoint(folder.checkpoint).step == 3
    first = folder.best.read_bytes()
    trial = run_study(config, store, bank=bank).study.trials[0]
    assert trial.value == trial.intermediate_values[1]
    assert folder.best.read_bytes() == first
    record = TrialRecord.load(folder.path)
    assert record is not None
    assert record.best_epoch == 1


@pytest.mark.slow
def test_two_objectives_take_both_from_the_lowest_distance(
    tiny_study: Maker, bank: PhotoBank, store: Store, drifting: str
) -> None:
    config = tiny_study(**settings(drifting, study__trials=1, objective={"mode": "pareto"}))
    trial = run_study(config, store, bank=bank).study.trials[0]
    first = read_evals(RunFolder(store.study("tiny").trial(0)).history)[0]
    assert trial.values == [first.frechet, first.imbalance]
    assert trial.user_attrs["epoch"] == 1


@pytest.mark.slow
def test_a_pruned_trial_keeps_its_last_score(
    tiny_study: Maker, bank: PhotoBank, store: Store, drifting: str
) -> None:
    patient = {"name": "patient", "patience_scores": 1}
    changes = {"pruner": patient, "baselines": [], "base__train__epochs": 4}
    config = tiny_study(**settings(drifting, study__trials=1, **changes))
    trial = run_study(config, store, bank=bank).study.trials[0]
    assert trial.state == TrialState.PRUNED
    epoch = max(trial.intermediate_values)
    assert epoch > 1
    assert trial.value == trial.intermediate_values[epoch]
    assert trial.user_attrs["epoch"] == epoch


def test_a_full_run_is_ranked_as_the_trials_were(judged: Judged) -> None:
    run = FullRun.of(judged.store, "tiny", 0)
    record = judged.evals(0)[0]
    assert run.rank(record) == judged.summary.study.trials[0].value
