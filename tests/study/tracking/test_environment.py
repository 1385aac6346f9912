"""Variables that a team sets for its own MLflow server, with a results folder's own database."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.storage.store import Store
from study.tracking.environment import forget_breaking, server_environment, spare_loopback

TEAM = {
    "MLFLOW_STATIC_PREFIX": "/team",
    "MLFLOW_ENABLE_WORKSPACES": "true",
    "MLFLOW_WORKSPACE": "nobody",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    "MLFLOW_REGISTRY_URI": "http://127.0.0.1:9",
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "secret",
    "MLFLOW_BACKEND_STORE_URI": "postgresql://nowhere/db",
    "MLFLOW_REGISTRY_STORE_URI": "postgresql://nowhere/db",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT": "s3://bucket",
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket",
    "MLFLOW_SERVE_ARTIFACTS": "false",
    "MLFLOW_ARTIFACTS_ONLY": "true",
    "MLFLOW_EXPERIMENT_NAME": "other",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_RUN_ID": "0123",
    "MLFLOW_RUN_CONTEXT": "{}",
    "MLFLOW_HOST": "0.0.0.0",
    "MLFLOW_PORT": "1",
    "MLFLOW_WORKERS": "7",
    "MLFLOW_GUNICORN_OPTS": "--no-such-option",
    "MLFLOW_UVICORN_OPTS": "--no-such-option",
    "MLFLOW_EXPOSE_PROMETHEUS": "/nowhere/metrics",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.org",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://mlflow.example.org",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NoSuchPool",
    "GUNICORN_CMD_ARGS": "--no-such-option",
    "UVICORN_PORT": "1",
    "UVICORN_ROOT_PATH": "/team",
    "WEB_CONCURRENCY": "5",
    "FLASK_APP": "theirs",
    **dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9"),
}
Shell = Callable[..., Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
def test_a_study_runs_among_a_teams_variables(
    shell: Shell,
    study_file: Any,
    store: Store,
    mirror_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = study_file(study__trials=2, study__workers=2)
    with monkeypatch.context() as patch:
        for name, value in TEAM.items():
            patch.setenv(name, value)
        done = shell("run", file, "--store", store.root)
        assert "MLflow was not updated" not in done.stderr
        shell("sync", "tiny", "--store", store.root)
        assert "fault" not in shell("doctor", "--store", store.root).stdout
    assert [run.info.status for run in mirror_of(store).runs("trial")] == ["FINISHED"] * 2


def get(port: int, path: str, host: str = "") -> tuple[int, bytes]:
    """Ask the server directly, whatever proxies are named."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if host:
        request.add_header("Host", host)
    try:
        with opener.open(request, timeout=10) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
    except OSError:
        return 0, b""


@pytest.mark.slow
def test_the_ui_is_served_among_a_teams_variables(finished: Any, tmp_path: Path) -> None:
    """Its pages and its data, on this machine, and for the hosts that the team has named."""
    port = free_port()
    # The real interpreter: MLflow reads some variables when it is imported.
    words = [sys.executable, "-m", "study", "ui", "--port", port, "--store", finished.store.root]
    with (tmp_path / "err.txt").open("w") as errors:
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": errors}
        environment = {**os.environ, **TEAM}
        process = subprocess.Popen(map(str, words), cwd=tmp_path, env=environment, **streams)
    try:
        give_up = time.monotonic() + 120
        while get(port, "/health")[0] != 200:
            assert process.poll() is None, (tmp_path / "err.txt").read_text()
            assert time.monotonic() < give_up
            time.sleep(0.1)
        assert b"<html" in get(port, "/")[1]
        path = f"/api/2.0/mlflow/experiments/get?experiment_id={finished.summary.experiment_id}"
        for host in ("", f"localhost:{port}", "mlflow.example.org"):
            status, body = get(port, path, host)
            assert status == 200, host
            assert json.loads(body)["experiment"]["name"] == "tiny"
        assert get(port, path, "evil.example.org")[0] == 403
    finally:
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0


def test_what_is_ours_and_what_a_person_adds_stays() -> None:
    given = {**TEAM, "PATH": "/bin", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    served = server_environment(given, 5000)
    assert served["PATH"] == "/bin"
    assert served["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert "MLFLOW_STATIC_PREFIX" not in served
    assert served["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("mlflow.example.org,localhost,")
    assert "http://127.0.0.1:5000" in served["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in server_environment({}, 5000)  # MLflow's own default


def test_other_machines_may_call_the_server_by_its_names_only() -> None:
    served = server_environment({}, 5000, ["box", "10.0.0.7", "fd00::7"])
    hosts = served["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"box:5000", "10.0.0.7:5000", "[fd00::7]:5000", "localhost"} <= {*hosts}
    assert "http://box:5000" in served["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert "*" not in hosts
    assert "box" in server_environment({}, 80, ["box"])["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    theirs = server_environment(TEAM, 5000, ["box"])["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert {"mlflow.example.org", "box:5000"} <= {*theirs.split(",")}


def test_what_a_notebook_needs_for_its_own_server_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TEAM.items():
        monkeypatch.setenv(name, value)
    forget_breaking()
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["WEB_CONCURRENCY"] == "5"
    assert "MLFLOW_ENABLE_WORKSPACES" not in os.environ


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ("", "corp.example", "corp.example,localhost,127.0.0.1,::1"),
        ("a.example", "corp.example", "a.example,localhost,127.0.0.1,::1"),
        ("", "", "localhost,127.0.0.1,::1"),
        ("*", "", None),
    ],
)
def test_hosts_that_a_person_spares_from_the_proxy_stay_spared(
    lower: str, upper: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", lower)
    monkeypatch.setenv("NO_PROXY", upper)
    spare_loopback()
    spared = {os.environ["no_proxy"], os.environ["NO_PROXY"]}
    assert spared == ({lower, upper} if expected is None else {expected})


@pytest.mark.slow
def test_a_proxy_is_not_asked_for_this_machine(
    shell: Shell, study_file: Any, store: Store, tracking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    file = study_file(study__trials=1, study__name="proxied")
    done = shell("run", file, "--store", store.root, "--tracking-uri", tracking.uri)
    assert "does not answer" not in done.stderr + done.stdout


def test_a_proxy_that_answers_nothing_is_named(
    shell: Shell, store: Store, study_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    at = ("--store", store.root, "--tracking-uri", "http://mlflow.example.org:5000")
    said = shell("run", study_file(study__trials=1), *at, code=1).stderr
    assert "a proxy (see http_proxy, HTTP_PROXY) does not let the call through" in said
