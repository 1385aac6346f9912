"""`study compare`: trials side by side, and studies that cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from PIL import Image

from study.errors import StudyMismatchError
from study.results.comparison import check_comparable, comparison
from study.results.leaderboard import rows_of
from study.storage.attributes import IDENTITY_ATTRIBUTE
from study.storage.store import Store, trial_name

Shell = Callable[..., Any]


def test_what_differs_stands_above_what_is_shared(finished: Any) -> None:
    first, second, *_ = rows_of(finished.summary.study)
    table = comparison([(trial_name(it.number), it) for it in (first, second)])
    assert table[0] == ["", trial_name(first.number), trial_name(second.number)]
    names = [row[0] for row in table]
    params = names[names.index("origin") + 1 :]
    assert {name.strip("()") for name in params} == set(first.params)
    shared = [name.startswith("(") for name in params]
    assert shared == sorted(shared)
    for name in params:
        key = name.strip("()")
        assert (first.params[key] == second.params[key]) == name.startswith("(")
    assert all(len(row) == 3 for row in table)


@pytest.mark.parametrize(
    ("key", "called"),
    [
        ("data.fingerprint", "photos"),
        ("extractor.fingerprint", "extractors"),
        ("objective.metric", "settings"),
        ("eval.score_model", "settings"),
    ],
)
def test_scores_of_other_photos_or_extractors_are_not_compared(key: str, called: str) -> None:
    studies = [optuna.create_study(study_name=name) for name in ("one", "two")]
    for study, value in zip(studies, ("a", "b"), strict=True):
        study.set_user_attr(IDENTITY_ATTRIBUTE, json.dumps({key: value}))
    with pytest.raises(StudyMismatchError, match=f"'one' and 'two' have different {called}"):
        check_comparable(studies)
    check_comparable(studies[:1] * 2)


@pytest.mark.slow
def test_the_command(own_finished: Store, shell: Shell, tmp_path: Path) -> None:
    place = ("--store", own_finished.root)
    done = shell("compare", "tiny", "--trials", "0,1", "-o", tmp_path / "two.png", *place)
    assert done.stdout.splitlines()[0].split() == ["trial-000", "trial-001"]
    with Image.open(tmp_path / "two.png") as picture:
        assert picture.width > 2 * 200
    assert shell("show", "tiny", "--csv", *place).stdout.startswith("number,state,score,nz,")
    for wrong, said in (
        (["tiny"], "at least two --trials"),
        (["tiny", "--trials", "0,x"], "must be numbers as in 3,7,12"),
        (["tiny", "--trials", "0,99"], "99"),
        (["tiny", "tiny", "--trials", "0,1"], "name one study"),
        (["tiny", "none"], "there is no study 'none'"),
    ):
        assert said in shell("compare", *wrong, *place, code=2).stderr
    assert "exclude each other" in shell("show", "tiny", "--csv", "--json", *place, code=2).stderr
    assert "one of yaml" in shell("export", "tiny", "--format", "toml", *place, code=2).stderr
