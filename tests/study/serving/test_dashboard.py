"""Optuna's dashboard of real studies, asked as its page asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import pytest

from dcgan.training.run.folder import RunFolder
from study import load_study
from study.running.observer import LossesLogged
from study.running.study import run_study
from study.serving.note import study_note
from study.storage.attributes import TRACKING_ATTRIBUTE
from study.storage.optuna_db import open_storage
from study.storage.store import Store

Serve = Callable[[Store], Any]
CLOSING = ["samples_final.png", "real_vs_generated.png", "losses.png", "training.gif"]


def names(artifacts: list[dict[str, str]]) -> list[str]:
    return [artifact["filename"] for artifact in artifacts]


def test_it_lists_the_study_and_its_trials(dashboard: Any, finished: Any) -> None:
    assert b"<html" in dashboard.ask("/dashboard").body
    (listed,) = dashboard.ask("/api/studies").data["study_summaries"]
    assert listed["study_name"] == "tiny"
    shown = dashboard.study()
    assert shown["objective_names"] == ["score"]
    states = [(trial["number"], trial["state"].upper()) for trial in shown["trials"]]
    assert states == [(trial.number, trial.state.name) for trial in finished.trials]
    (best,) = shown["best_trials"]
    assert best["number"] == finished.summary.study.best_trial.number
    assert names(best["artifacts"]) == CLOSING


def test_pictures_are_those_of_the_trials_folders(dashboard: Any, finished: Any) -> None:
    files = finished.store.study("tiny")
    for trial in dashboard.study()["trials"]:
        assert names(trial["artifacts"]) == CLOSING
        for picture in trial["artifacts"]:
            path = f"/artifacts/1/{trial['trial_id']}/{picture['artifact_id']}"
            answer = dashboard.ask(path)
            assert (answer.status, answer.kind) == (200, picture["mimetype"])
            assert answer.kind.startswith("image/")
            file = files.trial(trial["number"]) / picture["filename"]
            assert answer.body == file.read_bytes()
    (sheet,) = dashboard.study()["artifacts"]
    answer = dashboard.ask(f"/artifacts/1/{sheet['artifact_id']}")
    assert answer.kind == "image/png"
    assert answer.body == files.contact_sheet.read_bytes()


def test_a_picture_is_found_by_a_server_that_has_listed_nothing(
    dashboard: Any, finished: Any, serve_dashboard: Serve
) -> None:
    trial = dashboard.study()["trials"][4]
    path = f"/artifacts/1/{trial['trial_id']}/{trial['artifacts'][0]['artifact_id']}"
    with serve_dashboard(finished.store) as restarted:
        assert restarted.ask(path).body == dashboard.ask(path).body
        assert restarted.ask(f"/artifacts/1/1/{'0' * 36}").status == 404


@pytest.mark.parametrize("plot", ["contour", "slice", "parallel_coordinate", "rank", "timeline"])
def test_plots_of_this_optuna(dashboard: Any, plot: str) -> None:
    assert dashboard.ask(f"/api/studies/1/plot/{plot}").data["data"]


def test_importances_and_csv(dashboard: Any, finished: Any) -> None:
    (importances,) = dashboard.ask("/api/studies/1/param_importances").data["param_importances"]
    assert {entry["name"] for entry in importances} <= set(finished.trials[-1].params)
    lines = dashboard.ask("/csv/1").body.decode().splitlines()
    assert lines[0].startswith("Number,State,score,")
    assert len(lines) == len(finished.trials) + 1


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("DELETE", "/api/studies/1", {}),
        ("POST", "/api/studies/1/rename", {"study_name": "other"}),
        ("POST", "/api/studies", {"study_name": "new", "directions": ["minimize"]}),
        ("POST", "/api/trials/1/tell", {"state": "Fail"}),
        ("POST", "/api/trials/1/user-attrs", {"user_attrs": {"baseline": "none"}}),
        ("POST", "/api/artifacts/1", {"file": "data:text/plain;base64,aGk=", "filename": "a"}),
        ("DELETE", "/api/artifacts/1/{artifact}", {}),
        ("POST", "/incompatible-rdb-schema", {}),
    ],
)
def test_nothing_but_notes_is_changed(
    dashboard: Any, finished: Any, method: str, path: str, data: Any
) -> None:
    before = finished.store.optuna_database.read_bytes()
    artifact = dashboard.study()["artifacts"][0]["artifact_id"]
    answer = dashboard.ask(path.format(artifact=artifact), data, method)
    assert answer.status == 403
    assert "study delete" in answer.data["reason"]
    assert finished.store.optuna_database.read_bytes() == before
    assert finished.store.study("tiny").contact_sheet.is_file()


def test_the_database_holds_no_artifacts(dashboard: Any, finished: Any) -> None:
    assert dashboard.study()["artifacts"]
    stored = open_storage(finished.store).get_study_system_attrs(1)
    attributes = [stored, *(trial.system_attrs for trial in finished.trials)]
    assert not [key for one in attributes for key in one if "artifact" in key or "note" in key]


def test_a_note_of_ours_is_there_until_somebody_writes_one(
    own_finished: Store, serve_dashboard: Serve, essence: Any
) -> None:
    before = essence(load_study("tiny", own_finished))
    with serve_dashboard(own_finished) as page:
        note = page.study()["note"]
        assert "study export tiny" in note["body"]
        assert note["version"] == 0
        path = "/api/studies/1/note"
        longer = "theirs " * 1000
        assert page.ask(path, {"version": 1, "body": longer}, "PUT").status == 204
        assert page.ask(path, {"version": 1, "body": "late"}, "PUT").status == 409
        assert page.study()["note"] == {"version": 1, "body": longer}
        assert page.ask(path, {"version": 2, "body": ""}, "PUT").status == 204
        on_trial = {"version": 1, "body": "blurred"}
        assert page.ask("/api/studies/1/3/note", on_trial, "PUT").status == 204
    with serve_dashboard(own_finished) as page:
        assert page.study()["note"] == {"version": 2, "body": ""}
        assert page.study()["trials"][2]["note"] == on_trial
    assert essence(load_study("tiny", own_finished)) == before


def test_a_deleted_folder_leaves_no_dead_pictures(
    own_finished: Store, serve_dashboard: Serve
) -> None:
    with serve_dashboard(own_finished) as page:
        trial = page.study()["trials"][1]
        path = f"/artifacts/1/{trial['trial_id']}/{trial['artifacts'][0]['artifact_id']}"
        assert page.ask(path).status == 200
        shutil.rmtree(own_finished.study("tiny").trial(1))
        assert page.ask(path).status == 404
    with serve_dashboard(own_finished) as page:
        shown = page.study()["trials"]
        assert shown[1]["artifacts"] == []
        assert names(shown[2]["artifacts"]) == CLOSING


@pytest.mark.slow
def test_a_running_study_is_shown_and_not_disturbed(
    tiny_study: Any,
    new_store: Any,
    bank: Any,
    watch: Any,
    serve_dashboard: Serve,
    finished: Any,
    essence: Any,
) -> None:
    """Every event of the study is a look at it; its trials are those of the study left alone."""
    store, seen, pages = new_store(), [], []

    def look(event: Any) -> None:
        if isinstance(event, LossesLogged):
            if not pages:
                pages.append(stack.enter_context(serve_dashboard(store)))
            answer = pages[0].ask("/api/studies/1")
            assert answer.status == 200
            trials = answer.data["trials"]
            seen.extend(names(one["artifacts"]) for one in trials if one["state"] == "Running")

    with ExitStack() as stack:
        summary = run_study(tiny_study(study__trials=6), store, bank=bank, observer=watch(look))
    assert essence(summary.study) == essence(finished.summary.study)
    assert ["step_000000.png"] in seen


def test_an_unfinished_trial_has_its_latest_samples(
    own_finished: Store, serve_dashboard: Serve
) -> None:
    study = load_study("tiny", own_finished)
    number = study.ask().number
    folder, other = RunFolder(own_finished.study("tiny").trial(number)), own_finished.study("tiny")
    folder.create()
    for step in (2, 12, 4):
        shutil.copy(other.contact_sheet, folder.grid_path(step))
    with serve_dashboard(own_finished) as page:
        trial = page.study()["trials"][number]
        assert trial["state"] == "Running"
        assert names(trial["artifacts"]) == ["step_000012.png"]


def test_studies_of_others_are_shown_as_they_are(
    own_finished: Store, serve_dashboard: Serve
) -> None:
    storage = open_storage(own_finished)
    for name in ("../tiny", "n" * 300, "config of others"):
        other = optuna.create_study(study_name=name, storage=storage, directions=["maximize"] * 2)
        other.set_user_attr("config", "no study file" if "config" in name else 7)
        other.add_trial(optuna.create_trial(values=[1.0, 2.0]))
    with serve_dashboard(own_finished) as page:
        assert len(page.ask("/api/studies").data["study_summaries"]) == 4
        for number in (2, 3, 4):
            shown = page.study(number)
            assert shown["note"]["body"] == ""
            assert shown["artifacts"] == shown["trials"][0]["artifacts"] == []


def test_no_password_is_shown(own_finished: Store, serve_dashboard: Serve) -> None:
    study = load_study("tiny", own_finished)
    study.set_user_attr(TRACKING_ATTRIBUTE, "https://me:secret@mlflow.example.org")
    with serve_dashboard(own_finished) as page:
        for path in ("/api/studies", "/api/studies/1"):
            body = page.ask(path).body
            assert b"mlflow.example.org" in body
            assert b"secret" not in body


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("10.1.2.3:80", 200),
        ("evil.example.org", 403),
        ("127.0.0.1.example.org:8080", 403),
    ],
)
def test_a_page_of_another_name_is_not_answered(dashboard: Any, host: str, status: int) -> None:
    assert dashboard.ask("/api/studies", host=host).status == status


def test_a_note_names_the_values(tiny_study: Any) -> None:
    config = tiny_study(objective__mode="pareto").model_dump_json()
    note = study_note("both", config)
    assert note is not None
    assert note.values == ("distance", "imbalance")
    assert "distance and imbalance" in note.text
    assert study_note("other", "{}") is None


def test_a_store_without_a_study(tmp_path: Path, serve_dashboard: Serve) -> None:
    with pytest.raises(Exception, match="there are no studies"), serve_dashboard(Store(tmp_path)):
        pass
