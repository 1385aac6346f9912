"""A damaged picture of samples takes its tile away, and neither the sheet nor the study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dcgan.runtime.pictures import read_picture
from study.results.contact_sheet import draw_contact_sheet
from study.results.leaderboard import rows_of
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def broken_chunk(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)  # Pillow raises a SyntaxError for it
    path.write_bytes(content)


def no_picture(path: Path) -> None:
    path.write_bytes(b"no picture")


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [cut_short, broken_chunk, no_picture, gone])
def test_the_other_tiles_stay(own_finished: Store, harm: Callable[[Path], None]) -> None:
    folder = own_finished.study("tiny")
    rows = rows_of(load_optuna_study(own_finished, "tiny"))
    assert draw_contact_sheet(rows, folder)
    whole = folder.contact_sheet.read_bytes()
    for grid in (folder.trial(rows[0].number) / "samples").glob("*.png"):
        assert read_picture(grid) is not None
        harm(grid)
        assert read_picture(grid) is None
    assert draw_contact_sheet(rows, folder)
    without = folder.contact_sheet.read_bytes()
    assert draw_contact_sheet(rows[1:], folder)
    assert folder.contact_sheet.read_bytes() == without != whole
    assert not draw_contact_sheet(rows[:1], folder)
