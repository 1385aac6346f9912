"""Databases that another program holds, that are full or read-only: one sentence, and patience."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from study.storage.store import Store

HOLD_SECONDS = 2.5
COMMANDS = (["show", "tiny"], ["sync", "tiny"], ["doctor"])


@contextmanager
def held(database: Path, seconds: float) -> Iterator[None]:
    """Hold a database for a while, as a backup program does."""
    locked = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            locked.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait()
    yield
    thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_a_lock_is_waited_for(
    name: str, own_finished: Store, shell: Any, study_file: Callable[..., Path]
) -> None:
    store = own_finished
    for command in (["run", study_file(study__trials=6)], *COMMANDS):
        with held(store.root / name, HOLD_SECONDS):
            done = shell(*command, "--store", store.root)
        said = done.stdout + done.stderr
        for wrong in ("backup", "Traceback", "fault", "MLflow was not updated"):
            assert wrong not in said, (command, said)
        if name == "optuna.db" and command[0] != "run":  # which first loads photos
            assert f"{store.root / name} does not answer (database is locked)" in said, command


IN_A_SMALL_DISK = """
mount -t tmpfs -o size=$SIZE none "$1" && cp -a "$2/." "$1" && dd if=/dev/zero of="$1/filler" \
    status=none; rm -f "$1/none"; shift 2; exec "$@"
"""
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"; shift 2; exec "$@"'
needs_mounts = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0,
    reason="this user cannot mount anything",
)


def mounted(script: str, store: Store, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the `study` command in a mount namespace where the store's disk is in trouble."""
    copy = store.root.with_name("copy")
    if not copy.exists():
        shutil.copytree(store.root, copy)
    size = sum(path.stat().st_size for path in copy.rglob("*") if path.is_file())
    program = [sys.executable, "-m", "study", *map(str, arguments), "--store", str(store.root)]
    command = ["unshare", "-Urm", "sh", "-c", script.replace("$SIZE", str(size + 600_000)), "sh"]
    return subprocess.run(
        [*command, str(store.root), str(copy), *program], capture_output=True, text=True
    )


@needs_mounts
@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "reason"),
    [(IN_A_SMALL_DISK, "full|No space left"), (READ_ONLY, "read.?only|[Rr]ead-only file system")],
    ids=["full", "read-only"],
)
def test_trouble_with_the_disk_is_one_sentence(
    script: str, reason: str, own_finished: Store, study_file: Callable[..., Path]
) -> None:
    done = mounted(script, own_finished, "run", study_file(study__trials=7))
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert "sqlalche.me" not in done.stderr
    assert done.returncode in (1, 2), (done.stdout, done.stderr)
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert re.search(reason, error), error
    assert "backup" not in error
