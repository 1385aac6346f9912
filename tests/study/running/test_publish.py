"""What a study of many trials shows and publishes, and how often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image
from sqlalchemy import Engine, event

from dcgan.data.bank import PhotoBank
from dcgan.evaluation.record import in_digits
from study.cli.show import print_studies, print_study
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.contact_sheet import MAX_TILES, draw_contact_sheet
from study.results.leaderboard import rows_of
from study.running.observer import Event, Progressed, TrainingStarted
from study.running.prepare import prepare
from study.running.study import execute
from study.running.throttle import Throttle
from study.storage.optuna_db import open_storage
from study.storage.store import Store, StudyFolder

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
Grow = Callable[[str, int], optuna.Study]


@pytest.fixture(scope="module")
def big_store(new_store: Callable[[], Store]) -> Store:
    """A results folder for the studies of this module."""
    return new_store()


@pytest.fixture(scope="module")
def grow(big_store: Store, finished: Any) -> Grow:
    """Make a study with the config of the finished one: half its trials complete, half pruned."""

    def make(name: str, count: int) -> optuna.Study:
        made = optuna.create_study(study_name=name, storage=open_storage(big_store))
        for key in ("config", "identity"):
            made.set_user_attr(key, finished.summary.study.user_attrs[key])
        source = finished.trials[0]
        for number in range(count):
            pruned = number % 2 == 1
            made.add_trial(
                create_trial(
                    state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                    value=float(1000 - number),
                    params=source.params,
                    distributions=source.distributions,
                    user_attrs={"reason": "hopeless", "seed": 1} if pruned else {"seed": 1},
                )
            )
        return made

    return make


@pytest.fixture(scope="module")
def big(grow: Grow) -> optuna.Study:
    """A study of 120 trials. Only to be read."""
    return grow("big", 120)


def shown(lines: Iterable[str]) -> list[str]:
    """The trials that a printed table has rows of."""
    return [words[0] for line in lines if (words := line.split()) and words[0][:6] == "trial-"]


def test_show_prints_the_best_and_says_how_many_more_there_are(
    shell: Shell, big: optuna.Study, big_store: Store
) -> None:
    done = shell("show", "big", "--store", big_store.root)
    table = shown(done.stdout.splitlines())
    assert table == [f"trial-{number:03d}" for number in range(118, 18, -2)]
    assert "120 of 6 trials finished" in done.stdout
    more = [line for line in done.stdout.splitlines() if "more" in line]
    assert more == ["… 70 more (10 complete, 60 pruned); 'study show' with --all shows them"]


def test_show_all_prints_all_in_columns(shell: Shell, big: optuna.Study, big_store: Store) -> None:
    lines = shell("show", "big", "--all", "--store", big_store.root).stdout.splitlines()
    rows = [line for line in lines if line.startswith("trial-") and ":" not in line]
    assert len(shown(rows)) == 120
    assert not any("more" in line for line in lines)
    assert sum(line.endswith(": hopeless") for line in lines) == 60
    heading = next(line for line in lines if line.startswith("trial "))
    end = heading.index("score") + len("score")
    scores = [row[end - 7 : end].strip() for row in rows]
    assert scores == [in_digits(float(score)) for score in scores]  # whole and in their column
    assert {len(row) for row in rows} == {len(heading)}


def test_show_json_prints_all(shell: Shell, big: optuna.Study, big_store: Store) -> None:
    done = shell("show", "big", "--json", "--store", big_store.root)
    numbers = [row["number"] for row in json.loads(done.stdout)["trials"]]
    assert numbers == [row.number for row in rows_of(big)]
    assert len(numbers) == 120


@pytest.mark.parametrize("options", [{}, {"everything": True}, {"as_json": True}])
def test_the_queries_of_show_do_not_depend_on_the_number_of_trials(
    grow: Grow, big: optuna.Study, big_store: Store, options: dict[str, bool], request: Any
) -> None:
    small = f"small-{request.node.callspec.id}"
    grow(small, 3)
    counts = [
        count_statements(lambda name=name: print_study(big_store, name, **options))
        for name in (small, "big")
    ]
    assert counts[0] == counts[1] > 0


def test_list_reads_no_more_than_it_prints(
    big: optuna.Study, big_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    count_statements(lambda: print_studies(big_store), asked)
    assert "big: 120 of 6 trials finished, best score 882.0" in capsys.readouterr().out
    assert not any("FROM trial_params" in statement for statement in asked)


def count_statements(action: Callable[[], None], asked: list[str] | None = None) -> int:
    """How often any database is asked meanwhile."""
    noted: list[str] = [] if asked is None else asked

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        noted.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        action()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len(noted)


def test_show_does_not_load_what_trains(big: optuna.Study, big_store: Store) -> None:
    code = (
        "import sys; from study.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'mlflow', 'matplotlib', 'scipy', 'PIL', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "show", "big", "--store", str(big_store.root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


# Publishing


def test_the_contact_sheet_ends_with_the_sixtieth_trial(tmp_path: Path) -> None:
    folder, made = StudyFolder(tmp_path), optuna.create_study()
    first = folder.trial(0) / "samples" / "step_000002.png"
    for number in range(MAX_TILES + 5):
        made.add_trial(create_trial(value=float(number)))
        own = folder.trial(number) / "samples" / first.name
        own.parent.mkdir(parents=True)
        if number in (0, MAX_TILES - 1, MAX_TILES):
            colour = {0: "red", MAX_TILES - 1: "green", MAX_TILES: "blue"}[number]
            Image.new("RGB", (64, 64), colour).save(own)
        else:
            os.link(first, own)
    assert draw_contact_sheet(rows_of(made), folder)
    with Image.open(folder.contact_sheet) as sheet:
        assert sheet.size == (4 * 274, MAX_TILES // 4 * 308)
        assert sheet.getpixel((100, 100)) == (255, 0, 0)
        assert sheet.getpixel((3 * 274 + 100, 14 * 308 + 100)) == (0, 128, 0)


def test_a_throttle_lets_the_first_call_pass_and_then_one_every_few_seconds() -> None:
    now, done = [100.0], list[float]()
    throttle = Throttle(seconds=10.0, share=0.05, clock=lambda: now[0])
    for second in range(35):
        now[0] = 100.0 + second
        throttle(lambda: done.append(now[0]))
    assert done == [100.0, 110.0, 120.0, 130.0]


def test_a_throttle_keeps_what_takes_long_to_its_share() -> None:
    now, done = [0.0], list[float]()

    def slow() -> None:
        done.append(now[0])
        now[0] += 2.0

    throttle = Throttle(seconds=10.0, share=0.05, clock=lambda: now[0])
    while now[0] < 1000:
        throttle(slow)
        now[0] += 1.0
    assert done[:3] == [0.0, 42.0, 84.0]
    assert 2.0 * len(done) / now[0] <= 0.05


RARELY = 3600.0


def published(store: Store) -> int:
    """How many finished trials the leaderboard shows."""
    board = store.study("tiny").leaderboard
    text = board.read_text(encoding="utf-8") if board.exists() else ""
    return text.count("| complete |") + text.count("| pruned |")


@pytest.mark.slow
def test_a_launch_publishes_at_its_first_trial_and_at_its_end(
    tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    seen: list[int] = []

    def look(event: Event) -> None:
        if isinstance(event, Progressed):
            seen.append(published(store))

    with prepare(tiny_study(study__trials=3), store, bank) as plan:
        execute(plan, watch(look), throttle=Throttle(seconds=RARELY))
    assert [*seen, published(store)] == [0, 0, 1, 1, 3]


def test_a_launch_that_gives_up_shows_what_it_did(
    tiny_study: Maker, bank: PhotoBank, store: Store, watch: Any
) -> None:
    def broken(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            raise ZeroDivisionError("division by zero")

    with (
        prepare(tiny_study(study__trials=9), store, bank) as plan,
        pytest.raises(StudyError, match="3 trials in a row"),
    ):
        execute(plan, watch(broken), throttle=Throttle(seconds=RARELY))
    board = store.study("tiny").leaderboard.read_text(encoding="utf-8")
    assert board.count("| fail |") == 3
