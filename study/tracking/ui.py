"""The MLflow UI of a store: its links, and its server."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from urllib.parse import quote, urlencode

from dcgan.runtime.signals import interrupted_on_stop
from study.serving.address import HOST, Address
from study.storage.addresses import without_user
from study.storage.store import Store
from study.tracking.environment import server_environment
from study.tracking.views import NAMES, TESTED

DEFAULT_PORT = 5000


def links(
    experiment_id: str,
    server: str = f"http://{HOST}:{DEFAULT_PORT}",
    *,
    views: bool = True,
    own: bool = False,
) -> dict[str, str]:
    """Name → address of each view of a study, else of its charts.

    `views` is false for a study without them, of an earlier release. `own` says that the server is
    that of `study ui`, which may not run yet.
    """
    running = version("mlflow") if own else _version_of(server)
    if not views or not running.startswith(tuple(f"{minor}." for minor in TESTED)):
        return {"Charts": trials_link(experiment_id, server)}
    return {
        name: _runs_page(
            experiment_id,
            server,
            {
                "workflowType": "machine_learning",  # otherwise the UI opens in its GenAI mode
                "compareRunsMode": mode,
                "viewStateShareKey": key,
            },
        )
        for key, (name, mode) in NAMES.items()
    }


def first_link(
    experiment_id: str, server: str = f"http://{HOST}:{DEFAULT_PORT}", *, views: bool = True
) -> str:
    """The address of a study's leaderboard, or of its charts."""
    return next(iter(links(experiment_id, server, views=views).values()))


def _version_of(server: str) -> str:
    """The version of the MLflow that serves at an address; empty if it does not say."""
    if server.startswith(f"http://{HOST}:"):  # that of `study ui`
        return version("mlflow")
    try:
        with urllib.request.urlopen(f"{without_user(server)}/version", timeout=3) as reply:
            return str(reply.read(100).decode("ascii", "replace"))
    except (OSError, ValueError):
        return ""


def trials_link(experiment_id: str, server: str = f"http://{HOST}:{DEFAULT_PORT}") -> str:
    """The address of the page with charts of a study's trials, best objective first."""
    query = {
        "workflowType": "machine_learning",  # otherwise the UI opens in its GenAI mode
        "compareRunsMode": "CHART",
        "searchFilter": "tags.kind = 'trial'",  # otherwise trials are folded under their parent
        "orderByKey": "metrics.`objective`",
        "orderByAsc": "true",
    }
    return _runs_page(experiment_id, server, query)


def _runs_page(experiment_id: str, server: str, query: dict[str, str]) -> str:
    parameters = urlencode(query, safe="", quote_via=quote)
    return f"{without_user(server)}/#/experiments/{experiment_id}/runs?{parameters}"


def server_command(store: Store, port: int, host: str = HOST) -> tuple[list[str], dict[str, str]]:
    """The command and environment of the UI's server."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--backend-store-uri", store.mlflow_uri, "--workers", "1"]
    command += ["--default-artifact-root", store.artifacts.as_uri()]
    return command, server_environment(os.environ, port, Address(host, port).names())


def serve(store: Store, address: Address) -> int:
    """Run the UI's server until Ctrl-C; returns its exit code."""
    command, environment = server_command(store, address.port, address.host)
    with interrupted_on_stop():
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
