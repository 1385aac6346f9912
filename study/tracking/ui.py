"""The MLflow UI of a store: its link, and its server on this machine only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from urllib.parse import quote

from dcgan.errors import UsageError
from study.errors import UnknownStudyError
from study.storage.addresses import without_user
from study.storage.store import Store

HOST = "127.0.0.1"
DEFAULT_PORT = 5000


def trials_link(experiment_id: str, server: str = f"http://{HOST}:{DEFAULT_PORT}") -> str:
    """The page that compares a study's trials: charts of all trials, best objective first."""
    query = {
        "workflowType": "machine_learning",  # the UI opens in its GenAI mode otherwise
        "compareRunsMode": "CHART",
        "searchFilter": "tags.kind = 'trial'",  # without it, trials hide below their parent
        "orderByKey": "metrics.`objective`",
        "orderByAsc": "true",
    }
    parameters = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
    return f"{without_user(server)}/#/experiments/{experiment_id}/runs?{parameters}"


def check_port(port: int) -> None:
    """Refuse a port that cannot be served.

    Raises:
        UsageError: it is taken, or not allowed to this user.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}; choose another with --port"
            ) from None


def check_served(store: Store) -> None:
    """Refuse a store without an MLflow database (opening it would create one).

    Raises:
        UnknownStudyError: nothing has been run there.
    """
    if not store.mlflow_database.is_file():
        raise UnknownStudyError(
            f"there is nothing to show in {store.root} yet; start a study with 'study run', or "
            "name another results folder with --store"
        )


def server_command(store: Store, port: int) -> tuple[list[str], dict[str, str]]:
    """The command and environment of the UI's server."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", store.mlflow_uri, "--workers", "1"]
    command += ["--default-artifact-root", store.artifacts.as_uri()]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",  # deprecations among its own dependencies
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its helpers would take 2 GB
    }
    return command, environment


def serve(store: Store, port: int) -> int:
    """Run the UI's server until Ctrl-C; returns its exit code."""
    check_served(store)
    check_port(port)
    command, environment = server_command(store, port)
    process = subprocess.Popen(command, env=environment)

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGTERM too, else the server would outlive this process; both explicitly, since a shell
    # starts background jobs with Ctrl-C ignored.
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
