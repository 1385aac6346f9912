"""What is at the place of an output stays what it is: links, pipes, devices."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from dcgan.runtime.files import write_atomic, write_text_atomic


def test_the_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "out.txt"
    target.write_text("old")
    (tmp_path / "link").symlink_to(target)
    write_text_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["out.txt"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text_atomic(tmp_path / "pipe", "through")
    reader.join()
    assert read == ["through"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_device_stays() -> None:
    before = Path("/dev/full").stat()
    with pytest.raises(OSError, match="No space left"):
        write_atomic(Path("/dev/full"), lambda file: file.write(b"x"))
    write_text_atomic(Path("/dev/null"), "x")
    assert Path("/dev/full").stat().st_ino == before.st_ino
    assert Path("/dev/null").is_char_device()
