"""The environment of MLflow where it keeps a results folder's own database.

Variables that point at a team's server (a prefix of links, workspaces, another database, log-ins)
would break the folder's own one. They stay in force for a server that is named with
`--tracking-uri`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from dcgan.runtime.children import child_environment
from dcgan.runtime.home import ensure_home
from study.serving.address import in_url

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # By default, a server that does not answer blocks each call for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Defaults of every process that uses MLflow. They are read when mlflow is imported."""
LISTS = ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS")
"""What a person may add to the UI's server: who may open it through a tunnel or a proxy."""
KEPT = frozenset((*SETTINGS, *LISTS))
BREAKING = (
    *("MLFLOW_ENABLE_WORKSPACES", "MLFLOW_WORKSPACE", "MLFLOW_SQLALCHEMYSTORE_"),
    *("MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_RUN_CONTEXT"),
)
"""Variables, by how their names begin, with which MLflow's client cannot use a local database."""
_PREFIXES = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "GUNICORN_", "FLASK_")
_NAMES = frozenset({"WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "prometheus_multiproc_dir"})
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LOCAL_HOSTS = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*")


def is_foreign(name: str) -> bool:
    """Whether a variable changes what MLflow or its server does, and is not ours."""
    return name not in KEPT and (name.startswith(_PREFIXES) or name in _NAMES)


def forget_breaking() -> None:
    """Remove the variables of this process with which MLflow cannot use a local database.

    Addresses and log-ins stay: this program names its database itself, and a notebook may use a
    server, too.
    """
    for name in [name for name in os.environ if name.startswith(BREAKING)]:
        del os.environ[name]


def server_environment(
    given: Mapping[str, str], port: int, names: Sequence[str] = ()
) -> dict[str, str]:
    """The environment of the UI's server, which this machine can always reach.

    `names` are those by which other machines call it. MLflow refuses a page that was asked for by
    another name, and what a page asks for that came from another name.
    """
    environment = child_environment({**SETTINGS, **given})
    environment = {name: value for name, value in environment.items() if not is_foreign(name)}
    called = [f"{in_url(name)}:{port}" for name in ("localhost", "127.0.0.1", *names)]
    if port == 80:  # browsers leave it out
        called += map(in_url, names)
    hosts = (*LOCAL_HOSTS, *called) if names else LOCAL_HOSTS
    origins = [f"http://{call}" for call in called]
    for name, own in zip(LISTS, (hosts, origins), strict=True):
        if names or environment.get(name):
            environment[name] = ",".join(filter(None, (environment.get(name), *own)))
    return environment | {
        "PYTHONWARNINGS": "ignore",  # deprecations among its own dependencies
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its helpers would take 2 GB
    }


def prepare_import() -> None:
    """Set the defaults, before mlflow is imported."""
    ensure_home()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def spare_loopback() -> None:
    """Let no proxy answer for this machine."""
    given = (os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")).split(",")
    if proxies() and given != ["*"]:
        spared = ",".join(dict.fromkeys([*filter(None, given), *LOOPBACK]))
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = spared


def proxies() -> list[str]:
    """The variables that send HTTP through a proxy, as far as they are set."""
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    return [name for name in names if os.environ.get(name)]
