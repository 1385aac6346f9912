"""Ray, and a connection to a cluster of it: refused in a sentence if there is none."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dcgan.errors import UsageError, first_line
from study.storage.store import Store

CONNECT_SECONDS = 5.0


def check_cluster(address: str | None, store: Store) -> None:
    """Raise `UsageError` without Ray, without a cluster, or if it could reach no database."""
    _library()
    if address and address != "auto":
        _check_answers(address)  # Ray itself waits for minutes, and then ends the process
    if store.has_databases and (address or "").startswith("ray://"):
        raise UsageError(
            "--address ray:// runs workers on other machines, which do not reach the databases "
            "in this results folder: give --storage and --tracking-uri (docs/scale.md)"
        )


def _library() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UsageError("the launcher ray needs Ray: pip install 'dcgan-study[ray]'") from None


def connect(address: str | None) -> Any:
    """Ray, connected to a cluster, or to one of this machine if there is no address."""
    ray = _library()
    if address and address != "auto":
        _check_answers(address)
    # A cluster that begins here: its workers are this machine's main work, not beside it.
    os.environ.setdefault("RAY_worker_niceness", "0")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",  # else a cluster that happens to run here would be taken
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(address or "this machine", first_line(error)) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process at once
    return ray


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray from printing a lost node's log into the display: the launcher tells of the loss."""
    module: Any = None
    with suppress(ImportError):
        module = importlib.import_module("ray._private.worker")
    show = getattr(module, "print_to_stdstream", None)  # has no switch of its own
    if show is None:
        yield
        return
    module.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        module.print_to_stdstream = show


def _check_answers(address: str) -> None:
    """Raise `UsageError` unless something listens at `HOST:PORT` or `ray://HOST:PORT`."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        raise UsageError(f"--address {address} must be auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from None


def _no_cluster(where: str, why: str) -> UsageError:
    return UsageError(
        f"no Ray cluster at {where} (--address): {why}; 'ray start --head' starts one, with the "
        "version of Ray that is installed here"
    )
