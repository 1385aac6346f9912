"""A dashboard that answers."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from study.serving.address import Address
from study.serving.dashboard import open_dashboard
from study.storage.store import Store


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    kind: str
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard as a browser sees it."""

    url: str

    def ask(self, path: str, data: Any = None, method: str = "GET", host: str = "") -> Answer:
        body = None if data is None else json.dumps(data).encode()
        headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
        request = urllib.request.Request(f"{self.url}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                kind = reply.headers.get("Content-Type", "")
                return Answer(reply.status, kind, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers.get("Content-Type", ""), error.read())

    def study(self, study_id: int = 1) -> Any:
        """What the page of a study shows."""
        return self.ask(f"/api/studies/{study_id}").data


@pytest.fixture(scope="session")
def serve_dashboard() -> Callable[[Store], AbstractContextManager[Dashboard]]:
    """Serve the dashboard of a store on a free port."""

    @contextmanager
    def serve(store: Store) -> Iterator[Dashboard]:
        with open_dashboard(store, Address("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield Dashboard(f"http://127.0.0.1:{server.server_port}")
            finally:
                server.shutdown()
                thread.join()

    return serve


@pytest.fixture(scope="session")
def dashboard(
    finished: Any, serve_dashboard: Callable[[Store], AbstractContextManager[Dashboard]]
) -> Iterator[Dashboard]:
    """The dashboard of the finished study."""
    with serve_dashboard(finished.store) as running:
        yield running
