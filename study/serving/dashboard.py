"""Optuna's dashboard over a store, and its server.

The server is part of this process: another one would have the database's password among its
arguments, which everybody on the machine can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna
from optuna.study import Study

from dcgan.errors import UsageError
from dcgan.runtime.signals import interrupted_on_stop
from study.serving.address import Address, is_this_machine
from study.serving.pictures import Pictures
from study.serving.shown_storage import ShownStorage
from study.storage.optuna_db import cached, id_of, open_storage
from study.storage.store import Store

NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")
REFUSED = (
    "this page changes nothing but notes: 'study delete NAME' deletes a study with its files, and "
    "'study run' continues it"
)
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class DashboardServer(ThreadingMixIn, WSGIServer):
    """A server with a thread for each request, none of which keeps it from ending."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Address, application: Application) -> None:
        self.address, self.address_family = address, address.check()
        super().__init__((address.host, address.port), _Quiet)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind without asking for the host's full name, for which a resolver may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.address.host, self.socket.getsockname()[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Print no line for each request."""


def open_dashboard(store: Store, address: Address) -> DashboardServer:
    """A server of Optuna's dashboard that listens at an address; `serve` answers.

    Raises `UsageError` if the dashboard is not installed, or if the address cannot be used, and
    what `open_storage` raises.
    """
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError:
        raise UsageError(
            'the dashboard is not installed; install it with: pip install "dcgan-study[dashboard]"'
        ) from None
    pictures = Pictures(store)
    shown = ShownStorage(cached(open_storage(store)), pictures)
    dashboard = wsgi(shown, artifact_store=pictures)
    return DashboardServer(address, _guarded(dashboard, address))


def page_of(study: Study, address: Address) -> str:
    """The address of a study's page."""
    return f"{address.url}/dashboard/studies/{id_of(study)}"


def serve(server: DashboardServer) -> None:
    """Answer until Ctrl-C, SIGTERM or a closed terminal."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # its plots warn of every constant parameter
    with interrupted_on_stop():
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _guarded(application: Application, address: Address) -> Application:
    """Answer what the dashboard must not do with a sentence that its page shows."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        reason = None
        if address.is_private and not _is_called_here(environ.get("HTTP_HOST", "")):
            reason = "the dashboard is served to this machine alone; see --host"
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            written = environ["REQUEST_METHOD"] == "PUT" and NOTE.fullmatch(environ["PATH_INFO"])
            reason = None if written else REFUSED
        if reason is None:
            return application(environ, start)
        body = json.dumps({"reason": reason}).encode()
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [body]

    return answer


def _is_called_here(host: str) -> bool:
    """Whether a request did not come to this machine by a name of others, whose page sent it."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ip_address(name)
    except ValueError:
        return is_this_machine(name)
    return True  # a number cannot lead elsewhere and here in turn
