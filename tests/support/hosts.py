"""Two hosts and a switch between them on this machine, as network namespaces (Linux, root)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path


def missing() -> str | None:
    """Why there can be no hosts here; None if there can be."""
    if os.getuid() != 0:
        return "only root makes network namespaces"
    absent = [name for name in ("ip", "unshare") if shutil.which(name) is None]
    if absent:
        return f"{' and '.join(absent)} not found"
    return _tried()


@cache
def _tried() -> str | None:
    try:
        with two_hosts():
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces: {error.stderr.decode().strip()}"


class Host:
    """A network of its own with an address on the switch, and a name."""

    def __init__(self, switch: str, number: int) -> None:
        self.switch, self.port = switch, f"port{number}"
        self.name, self.address = f"{switch}-{number}", f"{_network()}.{number}"
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        self._cable(self.name, "eth0", "-n", self.name)

    def _cable(self, network: str, link: str, *there: str) -> None:
        """A cable between a network and the switch; `there` makes `ip` act in that network."""
        peer = ["peer", "name", link, "netns", network]
        _ip("-n", self.switch, "link", "add", self.port, "type", "veth", *peer)
        _ip(*there, "address", "add", f"{self.address}/24", "dev", link)
        _ip(*there, "link", "set", link, "up")
        _ip("-n", self.switch, "link", "set", self.port, "up")
        self.connect()

    def connect(self) -> None:
        """Join the switch."""
        _ip("-n", self.switch, "link", "set", self.port, "master", "bridge0")

    def cut(self) -> None:
        """Lose what is sent and received from now on: the link itself stays up."""
        _ip("-n", self.switch, "link", "set", self.port, "nomaster")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that runs on this host."""
        named = 'hostname "$0" && exec "$@"'
        return (
            *("ip", "netns", "exec", self.name),
            *("unshare", "--uts", "sh", "-c", named, self.name),
        )


class Here(Host):
    """This process's own network, joined to the switch: tests look at the servers from here."""

    def __init__(self, switch: str, number: int) -> None:
        self.switch, self.port = switch, f"port{number}"
        self.address = f"{_network()}.{number}"
        self.link = f"sw{os.getpid()}"
        self._cable(str(os.getpid()), self.link)

    def close(self) -> None:
        """Remove the cable at once; with its namespace it would go at some time."""
        _ip("link", "delete", self.link)


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that this process can reach too."""
    for name in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout.split():
        found = re.fullmatch(r"switch(\d+)(-\d)?", name)
        if found and not Path("/proc", found[1]).exists():  # of a run that was killed
            _ip("netns", "delete", name)
    switch = f"switch{os.getpid()}"
    _ip("netns", "add", switch)
    names = [switch]
    try:
        _ip("-n", switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge0", "up")
        with closing(Here(switch, 254)):
            hosts = []
            for number in (1, 2):
                names.append(f"{switch}-{number}")
                hosts.append(Host(switch, number))
            yield hosts[0], hosts[1]
    finally:
        for name in names:  # with the cables, whose other ends go too
            _ip("netns", "delete", name)


def _network() -> str:
    """A network for each process that makes hosts."""
    high, low = divmod(os.getpid(), 256)
    return f"10.{64 + high % 128}.{low}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
