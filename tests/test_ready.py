"""The ready programs behave as the real ones: arguments, streams, exit codes, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ready import Process, Ready

PROBE = """
import json, os, signal, sys, time
print(json.dumps([__name__, sys.argv[1:], os.getcwd(), os.environ.get("GREETING"), sys.executable]))
print(sys.stdin.readline().strip(), file=sys.stderr)
sys.stdout.flush()
how = sys.argv[1]
if how == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
    open("ready", "w").close()
    time.sleep(60)
elif how == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(how))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "probe.py").write_text(PROBE)
    return tmp_path


def start(programs: Ready, folder: Path, how: str) -> Process:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {**os.environ, "GREETING": "hello"}
    arguments = ("-u", "-m", "probe", how, "a b")
    process = programs.start("python", *arguments, cwd=folder, env=environment, **streams)
    assert process.stdin
    process.stdin.write("input\n")
    process.stdin.flush()
    return process


def wait_until_ready(folder: Path) -> None:
    while not (folder / "ready").exists():
        time.sleep(0.005)


@pytest.mark.parametrize(("how", "code"), [("0", 0), ("3", 3), ("die", -signal.SIGKILL)])
def test_a_module(programs: Ready, folder: Path, how: str, code: int) -> None:
    process = start(programs, folder, how)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    python = str(programs.python)
    assert out.replace('"', "'") == (
        f"['__main__', ['{how}', 'a b'], '{folder}', 'hello', '{python}']\n"
    )
    assert err == "input\n"


def test_a_signal_is_passed_on(programs: Ready, folder: Path) -> None:
    process = start(programs, folder, "wait")
    wait_until_ready(folder)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 4
    process.communicate()


def test_a_killed_program_ends_its_stub_and_the_reverse(programs: Ready, folder: Path) -> None:
    for kill in ("program", "stub"):
        process = start(programs, folder, "wait")
        wait_until_ready(folder)
        (folder / "ready").unlink()
        program = process.program
        assert program != process.pid
        os.kill(program if kill == "program" else process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
        process.communicate()
        while Path(f"/proc/{program}").exists():
            time.sleep(0.005)


def test_the_commands_and_what_is_no_module(programs: Ready, tmp_path: Path) -> None:
    for program in (programs.study, programs.dcgan):
        done = subprocess.run([program, "--help"], capture_output=True, text=True)
        assert done.returncode == 0
        assert f"Usage: {program.name} " in done.stdout
    code = "import sys; print('torch' in sys.modules)"
    done = subprocess.run([programs.python, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"
