"""Where pages are served: host and port, the names that lead there, and the browser."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from dcgan.errors import UsageError

HOST = "127.0.0.1"
"""The host that only this machine can reach."""
EVERYWHERE = {"0.0.0.0": HOST, "::": "::1"}
"""The hosts that mean all addresses of this machine, and how it reaches itself there."""
ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses of no machine (RFC 5737, RFC 3849): the way to them is the way out."""


class Address(NamedTuple):
    """A host and a port to serve on. The host is a name or a number of this machine."""

    host: str
    port: int

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        return is_this_machine(self.host)

    @property
    def url(self) -> str:
        """The address for a browser, here or, unless it is private, on another machine."""
        host = self.host
        if host in EVERYWHERE:
            host = _outward(self._family()) or socket.gethostname()
        return f"http://{in_url(host)}:{self.port}"

    def names(self) -> list[str]:
        """The names and numbers by which other machines may call it, none if it is private."""
        if self.is_private:
            return []
        host = socket.gethostname()
        short = host.partition(".")[0]
        found = [None if self.host in EVERYWHERE else self.host, host, short, f"{short}.local"]
        found += [socket.getfqdn(), *map(_outward, ELSEWHERE)]
        with suppress(OSError):  # a machine whose own name cannot be looked up
            found += [str(place[0]) for *_, place in socket.getaddrinfo(host, None)]
        return list(dict.fromkeys(name.lower() for name in found if name))  # as browsers send it

    def warning(self, server: str, can: str) -> str | None:
        """What to say before it is served to others: what they `can` do there."""
        if self.is_private:
            return None
        return f"warning: anyone who reaches {self.url} can {can}, because {server} has no login"

    def check(self) -> socket.AddressFamily:
        """Raise `UsageError` if this user cannot serve there; else return the kind of address."""
        family = self._family()
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise UsageError(
                        f"'{self.host}' is no address of this machine; {HINT}"
                    ) from None
                raise UsageError(
                    f"port {self.port} cannot be used: {error.strerror}; choose another with --port"
                ) from None
        return family

    def open_when_ready(self, link: str, seconds: float = 60.0) -> None:
        """Open a link in the browser once the server answers; returns at once."""
        place = EVERYWHERE.get(self.host, self.host), self.port

        def wait() -> None:
            ended = time.monotonic() + seconds
            while time.monotonic() < ended:
                with suppress(OSError), socket.create_connection(place, timeout=1.0):
                    webbrowser.open(link)
                    return
                time.sleep(0.3)

        threading.Thread(target=wait, daemon=True).start()

    def _family(self) -> socket.AddressFamily:
        try:
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
        except (OSError, UnicodeError):
            raise UsageError(f"no machine is known by the name '{self.host}'; {HINT}") from None


HINT = (
    f"give --host a name or number of this machine, 0.0.0.0 for all of them, or {HOST} for this "
    "machine alone"
)


def is_this_machine(host: str) -> bool:
    """Whether a host is a name or number by which only this machine can call itself."""
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def in_url(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _outward(family: socket.AddressFamily) -> str | None:
    """This machine's number on the way to others; nothing is sent."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((ELSEWHERE[family], 9))
        return str(probe.getsockname()[0])
    return None


def has_screen() -> bool:
    """Whether a browser would open in a window, and not in the terminal of the server."""
    if not sys.stdout.isatty():
        return False
    return sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
