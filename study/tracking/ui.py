"""The MLflow UI of a store: its links, and its server, which only this machine can reach."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from urllib.parse import quote, urlencode

from dcgan.errors import UsageError
from dcgan.runtime.signals import on_stop
from study.storage.addresses import without_user
from study.storage.store import Store
from study.tracking.environment import server_environment

HOST = "127.0.0.1"
DEFAULT_PORT = 5000


def trials_link(experiment_id: str, server: str = f"http://{HOST}:{DEFAULT_PORT}") -> str:
    """The address of the page with charts of a study's trials, best objective first."""
    query = {
        "workflowType": "machine_learning",  # otherwise the UI opens in its GenAI mode
        "compareRunsMode": "CHART",
        "searchFilter": "tags.kind = 'trial'",  # otherwise trials are folded under their parent
        "orderByKey": "metrics.`objective`",
        "orderByAsc": "true",
    }
    parameters = urlencode(query, safe="", quote_via=quote)
    return f"{without_user(server)}/#/experiments/{experiment_id}/runs?{parameters}"


def check_port(port: int) -> None:
    """Raise `UsageError` if a port is taken, or if this user may not serve on it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}; choose another with --port"
            ) from None


def server_command(store: Store, port: int) -> tuple[list[str], dict[str, str]]:
    """The command and environment of the UI's server."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", store.mlflow_uri, "--workers", "1"]
    command += ["--default-artifact-root", store.artifacts.as_uri()]
    return command, server_environment(os.environ, port)


def serve(store: Store, port: int) -> int:
    """Run the UI's server until Ctrl-C; returns its exit code."""
    command, environment = server_command(store, port)
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        if not ended:  # a closed terminal sends several signals
            ended.append(number)
            raise KeyboardInterrupt

    with on_stop(end):
        process = subprocess.Popen(command, env=environment)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return 0
