"""The front's picture in the terminal: every trial is where its values are."""

from __future__ import annotations

from optuna.trial import TrialState

from study.cli.front import COLUMNS, FRONT, LINES, OTHER, front_picture
from study.storage.trial_result import TrialResult


def trial(number: int, distance: float, imbalance: float, front: bool) -> TrialResult:
    values = [distance, imbalance]
    return TrialResult(number, TrialState.COMPLETE, values, score=distance, front=front)


def test_corners_and_middle_are_where_they_belong() -> None:
    rows = [trial(0, 100, 3.0, True), trial(1, 300, 1.0, True), trial(2, 200, 2.0, False)]
    heading, *picture, _, axis = front_picture(rows)
    assert FRONT in heading
    assert len(picture) == LINES
    drawn = [line.partition("│")[2].ljust(COLUMNS) for line in picture]
    marks = {
        (line, column): char
        for line, text in enumerate(drawn)
        for column, char in enumerate(text)
        if char != " "
    }
    assert marks.pop((0, 0)) == FRONT
    assert marks.pop((LINES - 1, COLUMNS - 1)) == FRONT
    ((line, column), char), *rest = marks.items()
    assert (char, rest) == (OTHER, [])
    assert abs(line - (LINES - 1) / 2) <= 0.5
    assert abs(column - (COLUMNS - 1) / 2) <= 0.5
    assert picture[0].split()[0] == "3.00"
    assert picture[-1].split()[0] == "1.00"
    assert axis.split() == ["100.0", "distance", "300.0"]


def test_the_front_is_drawn_over_others() -> None:
    rows = [trial(0, 1, 1, True), trial(1, 1, 1, False), trial(2, 2, 2, False)]
    text = "\n".join(front_picture(rows)[1:])
    assert (text.count(FRONT), text.count(OTHER)) == (1, 1)


def test_nothing_to_draw() -> None:
    waiting = TrialResult(0, TrialState.WAITING)
    assert front_picture([]) == front_picture([waiting]) == []
    assert front_picture([trial(0, 1, 2, True), trial(1, 1, 3, False)]) == []
