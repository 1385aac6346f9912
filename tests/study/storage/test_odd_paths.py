"""Results folders with names that mean something in a URL, a pattern or a shell."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from optuna.study import StudyDirection
from sqlalchemy.engine import make_url

from study.storage.addresses import sqlite_url
from study.storage.optuna_db import open_storage
from study.storage.schema_versions import check_schemas
from study.storage.store import Store
from study.tracking.relocate import describe_misplaced, relocate

NAMES = [
    *("my%20cats", "%41", "100%", "%", "a%2Fb", "a#b", "#", "a?b=c", "a b", " lead", "trail "),
    *("a'b", 'a"b', "a[b]", "[0-9]*", "a*b", "a;b", "a&b", "a+b", "a@b", "a:b", "a=b", "a,b"),
    *(
        "a\\b",
        "$HOME",
        "`x`",
        "{x}",
        "(x)",
        "~x",
        "<x>",
        "|",
        "!",
        "café",
        "cafe\u0301",
        "日本",
        "🐈",
    ),
    *("a\nb", "a\tb", "-x", "mode=ro", "file:x"),
]


@pytest.mark.parametrize("name", NAMES)
def test_the_url_of_a_path_is_read_as_that_path(name: str) -> None:
    path = Path("/results") / name / "optuna.db"
    assert make_url(sqlite_url(path)).database == str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["my%20cats", "%", "a#b", "a?b=c", "{x}", "it's", "[0-9]*", "a;b", "日本", "a\nb"]
)
def test_databases_are_where_the_store_says(
    name: str, new_store: Callable[[], Store], tmp_path: Path
) -> None:
    decoys = {"my cats", "A", "ab", "a", "x", "cafe"}
    for decoy in decoys:
        (tmp_path / decoy).mkdir()
    store = Store.at(tmp_path / name)
    shutil.copytree(new_store().root, store.root)
    relocate(store)
    storage = open_storage(store)
    study = storage.create_new_study([StudyDirection.MINIMIZE], "seen")
    assert storage.get_study_name_from_id(study) == "seen"
    storage.engine.dispose()
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    experiment = client.create_experiment("seen", (store.artifacts / "seen").as_uri())
    run = client.create_run(experiment)
    (tmp_path / "note.txt").write_text("here")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))
    assert [file.read_text() for file in store.root.rglob("note.txt")] == ["here"]
    check_schemas(store)
    assert describe_misplaced(store) is None
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == decoys | {name}
    assert not any(path for decoy in decoys for path in (tmp_path / decoy).iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my%20cats", "a#b?c", "it's [0-9] «日本»"])
def test_a_whole_study_in_an_odd_folder(
    name: str, study_file: Callable[..., Path], shell: Any, tmp_path: Path
) -> None:
    """From nothing, continued, shown, exported, moved, checked."""
    (tmp_path / "my cats").mkdir()
    file = study_file(study__trials=1)
    shell("run", file, "--store", name)
    done = shell("run", file, "--store", name, "--trials", 2)
    assert f"--store {shlex.quote(str(tmp_path / name))}" in done.stdout
    shell("export", "tiny", "--store", name, "-o", "best.yaml")
    (tmp_path / name).rename(tmp_path / f"{name} 2")
    assert "study relocate" in shell("doctor", "--store", f"{name} 2", code=1).stdout
    shell("relocate", "--store", f"{name} 2")
    health = shell("doctor", "--store", f"{name} 2").stdout
    assert "fault" not in health
    assert "warning  MLflow" not in health
    assert not any((tmp_path / "my cats").iterdir())
