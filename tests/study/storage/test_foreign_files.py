"""Files of other programs in a results folder: copies, notes, what systems leave. None matters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcgan.training.run.folder import RunFolder
from study.storage.locks import running
from study.storage.store import Store, StudyFolder


def scatter(store: Store) -> set[Path]:
    """Put foreign files beside every kind of file that is looked for by a pattern."""
    folder = store.study("tiny")
    run = RunFolder(folder.trial(0))
    picture = next(iter(run.grids().values())).read_bytes()
    files = {
        run.samples / "step_000004 (copy).png": picture,
        run.samples / "step_4.png": picture,
        run.samples / "step_.png": picture,
        run.samples / "step_٠٠٠٠٠٤.png": picture,  # digits for int(), and no name of ours
        run.samples / "Thumbs.db": b"x",
        run.samples / ".DS_Store": b"x",
        folder.path / "trials/trial-000 (copy)/trial.json": b"{}",
        folder.path / "trials/trial-7/config.yaml": b"",
        folder.path / "trials/trial-old/trial.json": b"no json",
        folder.path / "trials/trial-999": b"a file",
        folder.path / "full_runs/trial-x/config.yaml": b"",
        folder.path / "full_runs/notes.txt": b"x",
        folder.path / "launchers/my-notes.lock": b"",
        folder.path / "launchers/12 - copy.lock": b"",
        folder.path / "locks/trial-000 (copy).lock": b"",
        folder.path / "locks/readme-x.lock": b"",
        store.root / "studies/.DS_Store": b"x",
        store.root / "studies/notes.txt": b"x",
        store.root / "studies/backup of tiny/trials/trial-000/trial.json": b"{}",
        store.root / "desktop.ini": b"x",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return set(files)


@pytest.mark.slow
def test_every_command_works_among_foreign_files(
    own_finished: Store, study_file: Callable[..., Path], shell: Any
) -> None:
    foreign, store = scatter(own_finished), own_finished.root
    file = study_file(study__trials=7)
    shell("run", file, "--store", store)
    shell("run", file, "--store", store)
    assert "7 of 7 trials finished" in shell("show", "tiny", "--store", store).stdout
    for command in (["export", "tiny"], ["train", "tiny"], ["sync", "tiny"], ["gc"], ["list"]):
        shell(*command, "--store", store)
    assert "fault" not in shell("doctor", "--store", store).stdout
    store.rename(store.with_name("moved"))
    shell("relocate", "--store", store.with_name("moved"))
    moved = {store.with_name("moved") / path.relative_to(store) for path in foreign}
    assert {path for path in moved if not path.exists()} == set()
    shell("delete", "tiny", "--yes", "--store", store.with_name("moved"))


def test_only_exact_names_count(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    for name in ("trial-007", "trial-7", "trial-1000", "trial-0007", "trial-٠٠٧", "trial-"):
        (tmp_path / "trials" / name).mkdir(parents=True)
    (tmp_path / "trials" / "trial-008").write_text("a file")
    assert folder.trials() == {7: folder.trial(7), 1000: folder.trial(1000)}
    assert folder.full_runs() == {}


def test_foreign_lock_files_are_neither_launchers_nor_removed(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.launchers.mkdir()
    (folder.launchers / "my-notes.lock").write_text("")
    (folder.launchers / "12-0a.lock").write_text("")  # of a process that was killed
    assert running(folder) == []
    assert [path.name for path in folder.launchers.iterdir()] == ["my-notes.lock"]
