"""Terminals that are closed, readers that are gone, full disks, poor encodings: on real streams."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from ready import Process, Ready
from terminals import closed_terminal

from dcgan.cli.streams import PLAIN
from dcgan.config.settings import save_config
from dcgan.training.run.checkpoint import load_checkpoint

PATIENCE_SECONDS = 120
REAL = (sys.executable, "-m", "dcgan")
"""For what a fork of the ready process cannot inherit: closed descriptors and ignored signals."""

Starter = Callable[..., Process]


@pytest.fixture
def training(tiny_config, programs: Ready, tmp_path: Path) -> Starter:
    """Start `dcgan train` of a tiny run into `run/`; arguments are settings and streams."""

    def start(epochs: int = 2, **streams: object) -> Process:
        config = tiny_config(train__epochs=epochs, eval__n_samples=16, train__log_every_steps=1)
        save_config(config, tmp_path / "tiny.yaml")
        return programs.start(
            "dcgan", "train", "tiny.yaml", "--out", "run", cwd=tmp_path, **streams
        )

    return start


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_closed_terminal_does_not_end_training(training: Starter, tmp_path: Path) -> None:
    with closed_terminal() as terminal:
        process = training(stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step == 6
    assert (tmp_path / "run/result.json").is_file()


def test_a_terminal_that_closes_during_training_does_not_end_it(
    training: Starter, tmp_path: Path
) -> None:
    other, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = training(epochs=100, **streams, start_new_session=True)
    os.close(terminal)
    shown = b""
    while b"epoch" not in shown and b"Loss_D" not in shown:
        shown += os.read(other, 1000)
    os.close(other)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step == 300


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_is_gone_does_not_end_training(
    training: Starter, tmp_path: Path, name: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, name: writing}
    process = training(**streams)
    os.close(writing)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step == 6


def test_output_on_a_full_disk_is_said_after_the_work(training: Starter, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = training(stdout=full, stderr=subprocess.PIPE)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    last = errors.splitlines()[-1]
    assert last == "error: the output could not be written: No space left on device"
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step == 6


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_closed_streams_stay_apart_from_files(closed: str, tiny_config, tmp_path: Path) -> None:
    """The next file that is opened would get a closed stream's number, and messages with it."""
    save_config(tiny_config(train__epochs=1, eval__n_samples=16), tmp_path / "tiny.yaml")
    command = f'exec "$@" {" ".join(f"{number}>&-" for number in closed)}'
    words = ["sh", "-c", command, "sh", *REAL, "train", "tiny.yaml", "--out", "run"]
    done = subprocess.run(words, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step == 3
    for name in ("history.jsonl", "config.yaml"):
        assert "photos, results in" not in (tmp_path / "run" / name).read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_save_a_checkpoint_although_standard_error_is_closed(
    training: Starter, tmp_path: Path, number: signal.Signals
) -> None:
    with closed_terminal() as terminal:
        process = training(epochs=100_000, stdout=subprocess.DEVNULL, stderr=terminal)
    try:
        wait_for((tmp_path / "run/history.jsonl").exists, process)
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 130
    finally:
        process.kill()
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step >= 1


def test_two_hangups_and_a_termination_are_one_request(training: Starter, tmp_path: Path) -> None:
    """What a terminal, its shell and the end of a login send, one shortly after the other."""
    process = training(epochs=100_000, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for((tmp_path / "run/history.jsonl").exists, process)
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
            time.sleep(0.002)
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.count("stopping: saving a checkpoint first") == 1
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step >= 1


@pytest.mark.parametrize("blocking", [True, False])
def test_a_full_pipe_that_nobody_reads_does_not_hold_up_a_stop(
    training: Starter, tmp_path: Path, blocking: bool
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, blocking)
    process = training(epochs=100_000, stdout=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    try:
        wait_for((tmp_path / "run/history.jsonl").exists, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 130
    finally:
        process.kill()
        os.close(reading)
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step >= 1


def test_a_deleted_working_folder_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = ["sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone]
    done = subprocess.run([*words, *REAL, "--help"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: the working folder was deleted; change to another one\n"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("localedef"), reason="no locale can be made")
def test_a_locale_that_is_not_utf_8_names_the_same_folders(tiny_config, tmp_path: Path) -> None:
    locale = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", tmp_path / "loc" / "de_DE"]
    (tmp_path / "loc").mkdir()
    subprocess.run(locale, check=True, capture_output=True)
    save_config(tiny_config(train__epochs=1, eval__n_samples=16), tmp_path / "tiny.yaml")
    environment = {**os.environ, "LOCPATH": str(tmp_path / "loc"), "LC_ALL": "de_DE"}
    for name in ("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE"):
        environment.pop(name, None)
    command = [*REAL, "train", "tiny.yaml", "--out", "größe"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "größe" / "checkpoint.pt").is_file()
    assert "größe".encode("latin-1") in done.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"größe", "tiny.yaml", "loc"}
    assert not (tmp_path / "grÃ¶Ã\x9fe").exists()


@pytest.mark.slow
def test_nohup_goes_on_after_a_hangup(tiny_config, tmp_path: Path) -> None:
    save_config(tiny_config(train__epochs=100, eval__n_samples=16), tmp_path / "tiny.yaml")
    words = ["nohup", *REAL, "train", "tiny.yaml", "--out", "run"]
    process = subprocess.Popen(words, cwd=tmp_path, text=True, stderr=subprocess.DEVNULL)
    wait_for((tmp_path / "run/history.jsonl").exists, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert load_checkpoint(tmp_path / "run/checkpoint.pt").step == 300


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8:strict"])
def test_every_command_speaks_in_a_poor_encoding(
    training: Starter, programs: Ready, tmp_path: Path, encoding: str
) -> None:
    assert training(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait() == 0
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    (tmp_path / "run").rename(tmp_path / "café – 猫")
    (tmp_path / "Fotos ü").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "Fotos ü" / "größe 1×1.png")
    (tmp_path / "Fotos ü" / "kätzchen….jpg").write_bytes(b"none")
    for words in (
        ["evaluate", "café – 猫/checkpoint.pt"],
        ["inspect", "Fotos ü"],
        ["generate", "café – 猫/checkpoint.pt", "-o", "Δ.png"],
        ["train", "--help"],
        ["train", "tiny.yaml", "--out", "…", "--dry-run"],
        ["fid", "nowhere–1", "nowhere–2"],  # refused
    ):
        done = subprocess.run(
            [programs.dcgan, *words], cwd=tmp_path, env=environment, capture_output=True
        )
        said = done.stdout + done.stderr
        assert b"Traceback" not in said, said
        assert done.returncode == (1 if words[0] == "fid" else 0), said
        said.decode(encoding.partition(":")[0])


def test_look_alikes_are_as_plain_as_ascii() -> None:
    assert all(text.isascii() for text in PLAIN.values())
