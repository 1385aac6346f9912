"""The MLflow UI of a store: its links, and its server, which only this machine can reach."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from importlib.metadata import version
from urllib.parse import quote, urlencode

from dcgan.errors import UsageError
from dcgan.runtime.signals import on_stop
from study.storage.addresses import without_user
from study.storage.store import Store
from study.tracking.environment import server_environment
from study.tracking.views import NAMES, TESTED

HOST = "127.0.0.1"
DEFAULT_PORT = 5000


def links(
    experiment_id: str, server: str = f"http://{HOST}:{DEFAULT_PORT}", *, views: bool = True
) -> dict[str, str]:
    """Name → address of each view of a study, else of its charts.

    `views` is false for a study without them, of an earlier release.
    """
    if not views or not _version_of(server).startswith(tuple(f"{minor}." for minor in TESTED)):
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


def has_screen() -> bool:
    """Whether a browser would open in a window, and not in the terminal of the server."""
    if not sys.stdout.isatty():
        return False
    return sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def open_when_ready(link: str, port: int, seconds: float = 60.0) -> None:
    """Open a link in the browser once the server answers; returns at once."""

    def wait() -> None:
        ended = time.monotonic() + seconds
        while time.monotonic() < ended:
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex((HOST, port)) == 0:
                    webbrowser.open(link)
                    return
            time.sleep(0.3)

    threading.Thread(target=wait, daemon=True).start()


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
