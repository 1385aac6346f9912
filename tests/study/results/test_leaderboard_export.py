"""The trials of a study as a table and a picture, and the best of them as a config."""

from __future__ import annotations

import copy
import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image
from ready import Ready

from dcgan.config.settings import (
    get_dotted,
    load_train_config,
    parse_assignments,
    save_config,
)
from dcgan.errors import DcganError, UsageError
from dcgan.evaluation.record import in_digits
from dcgan.training.run.folder import RunFolder
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.contact_sheet import draw_contact_sheet
from study.results.export import export_config, write_export
from study.results.leaderboard import as_markdown, flat, rows_of
from study.results.selection import best_trial
from study.storage.attributes import stored_identity
from study.storage.store import StudyFolder

Maker = Callable[..., StudyConfig]


def study_of(*trials: tuple[TrialState, float | None]) -> optuna.Study:
    made = optuna.create_study(study_name="made")
    for state, value in trials:
        scores = {} if value is None else {1: value}
        made.add_trial(
            create_trial(
                state=state,
                value=value if state == TrialState.COMPLETE else None,
                params={"nz": 8},
                distributions={"nz": IntDistribution(4, 16)},
                intermediate_values=scores,
            )
        )
    return made


def create_like(trial: FrozenTrial, attributes: dict[str, Any]) -> FrozenTrial:
    """A trial as it is, with other user attributes."""
    other = copy.deepcopy(trial)
    other.user_attrs = trial.user_attrs | attributes
    return other


def test_complete_trials_lead_by_score_then_pruned_then_the_rest() -> None:
    made = study_of(
        (TrialState.FAIL, None),
        (TrialState.COMPLETE, 9.0),
        (TrialState.PRUNED, 1.0),
        (TrialState.COMPLETE, 3.0),
        (TrialState.WAITING, None),
        (TrialState.COMPLETE, 9.0),
        (TrialState.RUNNING, None),
        (TrialState.PRUNED, None),
    )
    rows = rows_of(made)
    assert [row.number for row in rows][:3] == [3, 1, 5]
    assert {row.number for row in rows[3:5]} == {2, 7}
    assert {row.number for row in rows[5:]} == {0, 4, 6}
    assert [row.score for row in rows][:3] == [3.0, 9.0, 9.0]


def test_the_rows_of_a_real_study(finished: Any) -> None:
    rows = rows_of(finished.summary.study)
    assert sorted(row.number for row in rows) == [trial.number for trial in finished.trials]
    states = [row.state.name for row in rows]
    assert states == sorted(states)  # COMPLETE before PRUNED
    complete = [row.score for row in rows if row.state == TrialState.COMPLETE]
    pruned = [row.score for row in rows if row.state == TrialState.PRUNED]
    assert complete == sorted(complete)
    assert pruned == sorted(pruned)
    assert len(complete) >= 2
    assert len(pruned) >= 2
    by_number = {row.number: row for row in rows}
    assert by_number[0].origin == "good"
    assert by_number[1].origin == "slow"
    assert {row.origin for row in rows if row.number > 1} == {"sampler"}
    for trial in finished.trials:
        row = by_number[trial.number]
        assert row.score == trial.value == row.distances["fd_random"]
        assert "kd_random" in row.distances
        assert row.epoch == max(trial.intermediate_values)
        assert row.params == trial.params
        assert row.minutes
        assert row.minutes > 0
        assert (row.reason is None) == (trial.state == TrialState.COMPLETE)
        assert json.loads(json.dumps(row.as_dict()))["number"] == trial.number


def test_markdown_has_a_cell_for_every_heading(finished: Any) -> None:
    rows = rows_of(finished.summary.study)
    lines = as_markdown(rows).splitlines()
    assert len(lines) == len(rows) + 2
    assert len({line.count("|") for line in lines}) == 1
    headings = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert headings == [
        *("trial", "state", "score", "fd_random", "imbalance", "epoch"),
        *("nz", "ngf", "lr_g", "rotation_degrees", "blur_sigma", "minutes", "origin"),
    ]
    assert set(lines[1]) <= set("|- ")
    best = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert best[0] == f"trial-{rows[0].number:03d}"
    assert best[1] == "complete"
    assert best[2] == in_digits(rows[0].score)
    board = finished.store.study("tiny").leaderboard.read_text(encoding="utf-8")
    assert board == f"# tiny\n\n{as_markdown(rows)}"


def test_the_contact_sheet_has_a_tile_for_every_trial(finished: Any) -> None:
    with Image.open(finished.summary.contact_sheet) as sheet:
        sheet.load()
        assert sheet.format == "PNG"
        assert sheet.mode == "RGB"
        assert sheet.size == (4 * 274, 2 * 308)  # six tiles of 266 + 8, with 34 for the label
        # In place of a tile, nothing; in place of six, pictures of different colours.
        tiles = [
            sheet.crop((x * 274, y * 308 + 34, x * 274 + 266, y * 308 + 300))
            for y in range(2)
            for x in range(4)
        ]
        colours = [len(tile.getcolors(maxcolors=2**24) or []) for tile in tiles]
        assert all(count > 16 for count in colours[:6])
        assert colours[6:] == [1, 1]
        best = rows_of(finished.summary.study)[0].number
        folder = RunFolder(finished.store.study("tiny").trial(best))
        with Image.open(list(folder.grids().values())[-1]) as grid:
            half = grid.width // 2
            corner = grid.convert("RGB").crop((0, 0, half, half)).resize((266, 266))
        assert corner.tobytes() == tiles[0].tobytes()


def test_no_pictures_no_contact_sheet(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    assert not draw_contact_sheet(rows_of(study_of((TrialState.FAIL, None))), folder)
    assert not folder.contact_sheet.exists()


# Export


def test_the_best_trial_is_the_lowest_complete_one(finished: Any) -> None:
    best = best_trial(finished.summary.study)
    complete = [trial for trial in finished.trials if trial.state == TrialState.COMPLETE]
    assert best.score == min(trial.value for trial in complete)
    made = study_of(
        (TrialState.PRUNED, 1.0), (TrialState.COMPLETE, 5.0), (TrialState.COMPLETE, 5.0)
    )
    assert best_trial(made).number == 1


def test_an_export_is_the_trial_with_full_epochs(finished: Any) -> None:
    study = finished.summary.study
    best = best_trial(study)
    full = export_config(study)
    trained = trial_config(finished.config, best.params, best.number)
    assert full.train.epochs == finished.config.full_run["train.epochs"] == 4
    assert full.train.seed == best.seed
    for key in finished.config.space:
        assert get_dotted(full, key) == get_dotted(trained, key)
    assert full.eval.fid_at_end
    same = {
        "train": full.train.model_copy(update={"epochs": 2}),
        "eval": full.eval.model_copy(update={"fid_at_end": False}),
        "provenance": {},
    }
    assert full.model_copy(update=same) == trained


def test_an_export_says_where_it_comes_from(finished: Any, mirror_of: Any) -> None:
    study = finished.summary.study
    best = best_trial(study)
    source = export_config(study).provenance
    run = mirror_of(finished.store).runs("trial")[best.number]
    assert source["study"] == "tiny"
    assert source["trial"] == f"trial-{best.number:03d}"
    assert source["state"] == "COMPLETE"
    assert source["mlflow_run_id"] == run.info.run_id
    assert source["score"] == best.score
    assert source["fd_random"] == run.data.metrics["eval/fd_random"]
    assert source["kd_random"] == run.data.metrics["eval/kd_random"]
    assert source["imbalance"] == run.data.metrics["eval/imbalance"]
    assert (source["scored_at_epoch"], source["scored_checkpoint"]) == (2, "checkpoint.pt")
    assert source["n_samples"] == 64
    assert source["extractor"] == "random"
    facts = json.loads(mirror_of(finished.store).read(run, "environment.json"))
    assert source["extractor_fingerprint"] == facts["extractor.fingerprint"]
    assert source["data_fingerprint"] == facts["data.fingerprint"]
    assert source["code_version"].startswith("0.")
    assert export_config(study, 0).provenance["origin"] == "good"


@pytest.mark.parametrize("form", ["yaml", "json", "shell"])
def test_an_export_in_each_form_is_the_same_config(
    finished: Any, tmp_path: Path, form: str
) -> None:
    config, path = export_config(finished.summary.study), tmp_path / "best"
    write_export(config, path.with_suffix(f".{form}"), form)
    text = path.with_suffix(f".{form}").read_text(encoding="utf-8")
    if form == "shell":
        words = shlex.split(text)
        assert words[:3] == ["dcgan", "train", "reference"]
        read = load_train_config("reference", parse_assignments(words[4::2]))
        assert read == config.model_copy(update={"provenance": {}})
        assert "--set train.device=cpu" in text
    else:
        assert load_train_config(path.with_suffix(f".{form}")) == config


def test_a_flat_row_has_a_column_for_each_number(finished: Any) -> None:
    rows = [flat(row) for row in rows_of(finished.summary.study)]
    assert all(
        {"number", "state", "score", "nz", "fd_random", "imbalance"} <= set(it) for it in rows
    )
    assert {"params", "distances", "metrics"} & set(rows[0]) == set()


def test_an_export_names_the_code_that_trained_the_trial(finished: Any) -> None:
    """Whichever code has begun the study or exports the trial."""
    study = finished.summary.study
    made = optuna.create_study(study_name="tiny")
    for key, value in study.user_attrs.items():
        made.set_user_attr(key, value)
    for trial in study.get_trials():
        old = {"code_version": f"0.0.{trial.number}"}
        made.add_trial(create_like(trial, old if trial.number else {"code_version": None}))
    assert export_config(made, 3).provenance["code_version"] == "0.0.3"
    # A trial of a version that did not record it: the code that began the study.
    begun_with = stored_identity(study)["environment.code_version"]
    assert export_config(made, 0).provenance["code_version"] == begun_with


def test_the_published_best_config_reads_back_as_itself(finished: Any, tmp_path: Path) -> None:
    path = finished.summary.best_config
    full = export_config(finished.summary.study)
    assert load_train_config(path) == full
    write_export(full, tmp_path / "again.yaml")
    text = path.read_text(encoding="utf-8")
    assert text == (tmp_path / "again.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# The full run of {full.provenance['trial']} of the study 'tiny'.\n")


def test_without_a_wish_the_full_run_has_the_recipes_epochs(
    tiny_study: Maker, finished: Any
) -> None:
    study = finished.summary.study
    config = json.loads(study.user_attrs["config"])
    config["full_run"] = {}
    made = optuna.create_study(study_name="tiny")
    made.set_user_attr("config", json.dumps(config))
    made.set_user_attr("identity", study.user_attrs["identity"])
    made.add_trials(study.get_trials())
    assert export_config(made).train.epochs == 54
    made.set_user_attr("config", json.dumps(config | {"full_run": {"train.epochs": 1}}))
    assert export_config(made).train.epochs == finished.config.base.train.epochs == 2


def test_any_trial_can_be_exported(finished: Any) -> None:
    study = finished.summary.study
    for trial in finished.trials:
        config = export_config(study, trial.number)
        assert config.provenance["trial"] == f"trial-{trial.number:03d}"
        assert config.provenance["state"] == trial.state.name
        assert config.train.seed == trial.user_attrs["seed"]


def test_unknown_and_unfinished_trials(finished: Any) -> None:
    with pytest.raises(UsageError, match="no trial 99"):
        export_config(finished.summary.study, 99)
    nothing = study_of((TrialState.PRUNED, 1.0), (TrialState.FAIL, None))
    with pytest.raises(StudyError, match="no complete trial") as caught:
        export_config(nothing)
    assert isinstance(caught.value, DcganError)


def test_an_export_trains_anywhere(finished: Any, programs: Ready, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    save_config(export_config(finished.summary.study), path)
    command = [programs.dcgan, "train", path, "--out", tmp_path / "run", "--set", "train.epochs=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert load_train_config(tmp_path / "run" / "config.yaml").train.epochs == 1
    assert (tmp_path / "run" / "samples_final.png").exists()
