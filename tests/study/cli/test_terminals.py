"""Studies under terminals that close, working folders with misleading files, poor locales."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ready import Ready
from terminals import closed_terminal

from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_record import TrialRecord

PATIENCE_SECONDS = 180
Writer = Callable[..., Path]
SHADOWS = ("dcgan.py", "study.py", "torch.py", "mlflow.py", "optuna.py", "json.py", "queue.py")


def check_complete(store: Store, total: int) -> None:
    """Every trial has ended well at its first try."""
    trials = load_optuna_study(store, "tiny").get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * total
    for path in store.study("tiny").trials().values():
        record = TrialRecord.load(path)
        assert record is not None
        assert record.tries == 1
    assert store.study("tiny").best.is_file()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_closed_terminal_costs_no_trial_a_try(
    workers: int, programs: Ready, study_file: Writer, store: Store, tmp_path: Path
) -> None:
    file = study_file(study__trials=3, study__workers=workers, pruner__name="none")
    with closed_terminal() as terminal:
        streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        process = programs.start("study", "run", file, "--store", store.root, **streams)
        assert process.wait(PATIENCE_SECONDS) == 0
    check_complete(store, 3)


@pytest.mark.slow
def test_a_terminal_that_closes_in_the_middle_costs_nothing_either(
    programs: Ready, study_file: Writer, store: Store
) -> None:
    file = study_file(study__trials=4, study__workers=2, pruner__name="none")
    other, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = programs.start("study", "run", file, "--store", store.root, **streams)
    os.close(terminal)
    shown = b""
    while b"trial-000" not in shown:
        shown += os.read(other, 1000)
    os.close(other)
    assert process.wait(PATIENCE_SECONDS) == 0
    check_complete(store, 4)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_saves_what_was_trained(
    workers: int, study_process: Any, study_file: Writer, store: Store, shell: Any
) -> None:
    long = {"base__train__epochs": 400, "base__eval__every_epochs": 200, "pruner__name": "none"}
    file = study_file(study__trials=2, study__workers=workers, **long)
    process = study_process("run", file, "--store", store.root)
    history = store.study("tiny").trial(0) / "history.jsonl"
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not history.exists():
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    assert process.wait(PATIENCE_SECONDS) == 130
    assert (store.study("tiny").trial(0) / "checkpoint.pt").is_file()
    (first, *_) = load_optuna_study(store, "tiny").get_trials()
    assert first.state.name == "WAITING"


def test_files_of_the_working_folder_are_no_modules(
    programs: Ready, study_file: Writer, store: Store, tmp_path: Path
) -> None:
    """Neither of the launcher's nor of its workers."""
    for name in SHADOWS:
        (tmp_path / name).write_text("raise SystemExit('imported from the working folder')")
    file = study_file(study__trials=2, study__workers=2, pruner__name="none")
    environment = {**os.environ, "PYTHONPATH": f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [programs.study, "run", file, "--store", store.root],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "died" not in done.stderr
    check_complete(store, 2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_command_speaks_in_a_poor_encoding(
    encoding: str, programs: Ready, own_finished: Store, tmp_path: Path
) -> None:
    root = own_finished.root.rename(tmp_path / "Ergebnisse – 猫")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for words in (
        ["show", "tiny", "--all"],
        ["show", "tiny", "--json"],
        ["relocate"],
        ["list"],
        ["doctor"],
        ["export", "tiny", "-o", "größte….yaml"],
        ["gc"],
        ["show", "fehlt…"],  # refused
    ):
        command = [programs.study, *words, "--store", root]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        said = done.stdout + done.stderr
        assert b"Traceback" not in said, said
        assert done.returncode == (2 if words[-1] == "fehlt…" else 0), said
        said.decode(encoding)


def test_a_folder_whose_name_is_no_text_is_refused_in_one_sentence(
    programs: Ready, study_file: Writer, tmp_path: Path
) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)  # noqa: PTH102 (bytes)
    file = os.fsencode(study_file())
    for options in ([b"--store", odd], [b"--data", odd]):
        command = [os.fsencode(programs.study), b"run", file, *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True)
        assert done.returncode in (1, 2)
        assert b"Traceback" not in done.stderr
        assert done.stderr.startswith(b"error: ")
        assert b"no UTF-8 text" in done.stderr
