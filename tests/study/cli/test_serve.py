"""`study ui` and `study dashboard` as a person starts, reaches and ends them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

from benchmarks.lib.servers import PASSWORD, children, free_port, postgres, postgres_programs
from study.serving.address import Address
from study.storage.optuna_db import open_storage
from study.storage.store import Store

Shell = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(address: str, data: Any = None, **headers: str) -> tuple[int, bytes]:
    """Status and body; 0 if nothing answers."""
    body = None if data is None else json.dumps(data).encode()
    headers = {"Content-Type": "application/json", **headers}
    try:
        with DIRECT.open(urllib.request.Request(address, body, headers), timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


@contextmanager
def served(process: subprocess.Popen[str], address: str, log: Path) -> Iterator[None]:
    """Wait until a server answers; end it with Ctrl-C, after which it must be gone quietly."""
    try:
        give_up = time.monotonic() + 120
        while ask(address)[0] != 200:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
    assert code == 0
    assert "Traceback" not in log.read_text()
    assert ask(address)[0] == 0


def test_the_dashboard_serves_until_ctrl_c(
    study_process: Start, finished: Any, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "stderr.txt"
    process = study_process("dashboard", "tiny", "--port", port, "--store", finished.store.root)
    page = f"http://127.0.0.1:{port}/dashboard/studies/1"
    with served(process, page, log):
        status, body = ask(f"http://127.0.0.1:{port}/api/studies/1")
        assert status == 200
        assert len(json.loads(body)["trials"]) == len(finished.trials)
        assert ask(f"http://127.0.0.1:{port}/api/studies/1/plot/contour")[0] == 200
        outside = Address("0.0.0.0", port).url
        if socket.gethostname() not in outside:  # a machine that has an address of its own
            assert ask(f"{outside}/api/studies")[0] == 0
    shown = (tmp_path / "stdout.txt").read_text()
    assert page in shown
    assert "warning" not in shown
    assert log.read_text() == ""


def test_a_dashboard_for_others_warns_and_is_reached(
    study_process: Start, finished: Any, tmp_path: Path
) -> None:
    address = Address("0.0.0.0", free_port())
    at = ("--store", finished.store.root)
    process = study_process("dashboard", "--port", address.port, "--host", "0.0.0.0", *at)
    with served(process, f"{address.url}/api/studies", tmp_path / "stderr.txt"):
        named = ask(f"http://127.0.0.1:{address.port}/api/studies", Host="box.example.org")
        assert named[0] == 200
    lines = (tmp_path / "stdout.txt").read_text().splitlines()
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert address.url in warning
    assert "no login" in warning


@pytest.mark.slow
def test_mlflow_for_others_warns_and_is_reached(finished: Any, tmp_path: Path) -> None:
    """Under each of its names its page can load what it shows, and pages of others cannot."""
    address = Address("0.0.0.0", free_port())
    local = f"http://127.0.0.1:{address.port}"
    # The real interpreter: MLflow reads whom it lets in when it is imported.
    words = [sys.executable, "-m", "study", "ui", "--port", str(address.port), "--host", "0.0.0.0"]
    words += ["--store", str(finished.store.root)]
    out, err = (tmp_path / "stdout.txt").open("w"), (tmp_path / "stderr.txt").open("w")
    with out, err:
        process = subprocess.Popen(words, cwd=tmp_path, stdout=out, stderr=err, text=True)
    search = "/ajax-api/2.0/mlflow/runs/search"
    wanted = {"experiment_ids": [finished.summary.experiment_id]}
    with served(process, f"{local}/health", tmp_path / "stderr.txt"):
        status, body = ask(f"{address.url}{search}", wanted, Origin=address.url)
        assert status == 200
        assert len(json.loads(body)["runs"]) == len(finished.trials) + 1
        assert b"<html" in ask(address.url)[1]
        named = f"{socket.gethostname().lower()}:{address.port}"
        for host, origin, expected in (
            (named, f"http://{named}", 200),
            (f"localhost:{address.port}", f"http://localhost:{address.port}", 200),
            (named, "http://evil.example.org", 403),
            ("evil.example.org", "http://evil.example.org", 403),
        ):
            status = ask(f"{local}{search}", wanted, Host=host, Origin=origin)[0]
            assert status == expected, (host, origin)
    shown = (tmp_path / "stdout.txt").read_text()
    (warning,) = [line for line in shown.splitlines() if line.startswith("warning: ")]
    assert "can read and change" in warning
    assert "MLflow has no login" in warning
    assert f"{address.url}/#/experiments/{finished.summary.experiment_id}" in shown
    assert "viewStateShareKey" in shown


@pytest.mark.parametrize("command", ["ui", "dashboard"])
def test_where_it_cannot_be_served_is_one_sentence(
    shell: Shell, finished: Any, command: str
) -> None:
    store = ("--store", finished.store.root)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        (line,) = shell(command, "--port", port, *store, code=2).stderr.splitlines()
        assert line.startswith(f"error: port {port} cannot be used")
    (line,) = shell(command, "--host", "203.0.113.9", *store, code=2).stderr.splitlines()
    assert line.startswith("error: '203.0.113.9' is no address of this machine")


def test_a_dashboard_of_nothing_is_one_sentence(
    shell: Shell, finished: Any, tmp_path: Path
) -> None:
    port = ("--port", free_port())
    at = ("--store", finished.store.root)
    (line,) = shell("dashboard", "tinny", *port, *at, code=2).stderr.splitlines()
    assert line.endswith("there are: tiny")
    (line,) = shell("dashboard", *port, "--store", tmp_path / "none", code=2).stderr.splitlines()
    assert "there are no studies in" in line


def test_without_the_extra_one_sentence_names_it(finished: Any, tmp_path: Path) -> None:
    words = ["study", "dashboard", "--port", str(free_port()), "--store", str(finished.store.root)]
    code = f"import sys; sys.modules['optuna_dashboard'] = None; sys.argv = {words}\n"
    code += "from study.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert 'pip install "dcgan-study[dashboard]"' in line


@pytest.mark.slow
@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")
def test_a_shared_database_whose_password_nobody_sees(
    study_process: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres() as server:
        storage = open_storage(Store.at(tmp_path / "store", server.url))
        study = optuna.create_study(study_name="shared", storage=storage)
        study.add_trial(optuna.create_trial(value=1.0))
        storage.engine.dispose()
        monkeypatch.setenv("DCGAN_STUDY_STORAGE", server.url)
        port, log = free_port(), tmp_path / "stderr.txt"
        process = study_process("dashboard", "--port", port, "--store", tmp_path / "store")
        with served(process, f"http://127.0.0.1:{port}/dashboard", log):
            found = [process.pid, *children(process.pid), *children(os.getpid())]
            commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in found]
            bodies = [ask(f"http://127.0.0.1:{port}/api/studies{end}")[1] for end in ("", "/1")]
            assert b'"shared"' in bodies[0]
            assert len(json.loads(bodies[1])["trials"]) == 1
        shown = (tmp_path / "stdout.txt").read_text() + log.read_text()
        assert "Optuna dashboard of postgresql://study:***@" in shown
        assert not [one for one in (*commands, *bodies, shown.encode()) if PASSWORD.encode() in one]
