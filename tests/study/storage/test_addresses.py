"""Addresses of databases and servers, and what of them may be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dcgan.errors import UsageError
from study.errors import StudyBusyError
from study.storage.addresses import check_storage_url, check_tracking_uri, hide_password
from study.storage.locks import announced, check_idle, running
from study.storage.store import STORAGE_VARIABLE, Store, StudyFolder
from study.tracking.ui import trials_link


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/db",
        "postgresql://me:se/secret@host/db",
        "postgresql://me:se@secret@host:5432/db",
        "postgresql://me:secret://secret@host/db",
        "postgresql+psycopg://me:secret@host/db",
        "postgresql://host/db?user=me&password=secret",
        "postgresql://host/db?Password=secret&user=me",
        "me:secret@host/db",
        "https://me:secret@host:5000/mlflow",
    ],
)
def test_passwords_are_hidden(url: str) -> None:
    shown = hide_password(url)
    assert "secret" not in shown
    assert "host" in shown


@pytest.mark.parametrize("check", [check_storage_url, check_tracking_uri])
def test_what_is_refused_hides_its_password(check: Callable[[str], str]) -> None:
    for address in ("ftp://me:secret@host/x", "me:secret@host"):
        with pytest.raises(UsageError) as refused:
            check(address)
        assert "secret" not in str(refused.value)


def test_a_link_does_not_say_who_calls() -> None:
    link = trials_link("1", "https://me:secret@host:5000/mlflow")
    assert link.startswith("https://host:5000/mlflow/#/experiments/1/")
    assert "secret" not in link


def test_an_address_without_a_password_is_shown_as_it_is() -> None:
    assert hide_password("http://host:5000") == "http://host:5000"
    assert hide_password("postgresql+psycopg://host/db") == "postgresql://host/db"


def test_the_driver_is_the_one_that_is_installed() -> None:
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        assert check_storage_url(f"{scheme}://me@host/db") == "postgresql+psycopg://me@host/db"


def test_commands_name_the_store_as_far_as_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "postgresql://me:secret@host/db"
    assert Store.at().options == ""
    assert Store.at(tmp_path / "a b").options == f" --store '{tmp_path}/a b'"
    assert Store.at(storage=url).options == " --storage 'postgresql://me:***@host/db'"
    monkeypatch.setenv(STORAGE_VARIABLE, url)
    assert Store.at().options == ""


def test_launchers_of_one_process_number_know_of_each_other(tmp_path: Path) -> None:
    """As in containers, where each has number 1."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "os.getpid = lambda: 1\n"
        "from study.storage.locks import announced; from study.storage.store import StudyFolder\n"
        "with announced(StudyFolder(Path(sys.argv[1]))) as others:\n"
        "    print(others, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        subprocess.Popen(command, **pipes) as first,  # type: ignore[call-overload]
    ):
        assert first.stdout.readline() == "[]\n"
        with subprocess.Popen(command, **pipes) as second:  # type: ignore[call-overload]
            assert second.stdout.readline() == "[1]\n"
            assert running(StudyFolder(tmp_path)) == [1, 1]
            second.kill()
            second.wait()
        with pytest.raises(StudyBusyError, match=r"pid 1\)"):
            check_idle(StudyFolder(tmp_path))
        first.kill()
    with announced(StudyFolder(tmp_path)) as others:
        assert others == []
        assert running(StudyFolder(tmp_path)) == []
        assert len(list(StudyFolder(tmp_path).launchers.glob(f"{os.getpid()}-*.lock"))) == 1
