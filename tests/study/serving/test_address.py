"""Hosts and ports, by real sockets of this machine."""

from __future__ import annotations

import socket

import pytest

from dcgan.errors import UsageError
from study.serving.address import Address, is_this_machine


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "::1"])
def test_a_private_host_has_no_other_names_and_no_warning(host: str) -> None:
    address = Address(host, 8080)
    assert address.is_private
    assert address.names() == []
    assert address.warning("MLflow", "read") is None
    assert address.url == f"http://{'[::1]' if host == '::1' else host}:8080"


def test_all_addresses_have_every_name_of_this_machine() -> None:
    address = Address("0.0.0.0", 8080)
    names = address.names()
    assert socket.gethostname().lower() in names
    assert "0.0.0.0" not in names
    host = address.url.removeprefix("http://").removesuffix(":8080")
    assert host in names
    assert not is_this_machine(host) or host == "localhost"
    warning = address.warning("MLflow", "read and change these results")
    assert warning
    assert address.url in warning
    assert "MLflow has no login" in warning


def test_a_name_that_is_given_is_among_them() -> None:
    assert Address("Box.Example.org", 80).names()[0] == "box.example.org"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("203.0.113.9", "'203.0.113.9' is no address of this machine"),
        ("no-such-host.invalid", "no machine is known by the name 'no-such-host.invalid'"),
        ("a..b", "no machine is known by the name 'a..b'"),
        ("", "no machine is known by the name ''"),
    ],
)
def test_a_host_that_is_not_here(host: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Address(host, 8080).check()
    assert "0.0.0.0" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_busy_port(host: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = Address(host, server.getsockname()[1])
        with pytest.raises(UsageError, match=f"port {address.port} cannot be used.*--port"):
            address.check()
    assert address.check() == socket.AF_INET
