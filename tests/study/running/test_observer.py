"""What an observer is told, and how a worker process sends it to its launcher."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from typing import get_args

import pytest

from dcgan.evaluation.record import EvalRecord
from dcgan.training.run.history import LogRecord
from study.cli.display import StudyDisplay
from study.running.launchers.pipe import Pipe, decode, encode
from study.running.observer import (
    Event,
    LossesLogged,
    Progressed,
    Scored,
    TrainingStarted,
    TrialBegan,
    TrialEnded,
    Warned,
    WorkerPlaced,
)

LOG = LogRecord(
    step=4,
    epoch=2,
    loss_d=1.0,
    loss_g=0.7,
    d_real=0.6,
    d_fake_before=0.4,
    d_fake_after=0.3,
    images_per_second=81.6,
)
EVAL = EvalRecord(
    step=4,
    epoch=2,
    frechet_metric="fd_random",
    metrics={"fd_random": 3.5, "fd_random_ema": 3.5, "fd_random_raw": 4.5},
    n_samples=64,
)
EVENTS: list[Event] = [
    Progressed(0, 2),
    TrialBegan(7, "trial-007: lr_g 0.001"),
    WorkerPlaced("10.0.0.5"),
    TrainingStarted(7, 4, 0, 2, 2),
    LossesLogged(7, LOG),
    Scored(7, EVAL),
    Warned("it is late"),
    TrialEnded(7, "PRUNED", "hopeless"),
    Progressed(1, 2, "best score 3.500"),
]


def test_every_event_is_sent_and_read_again() -> None:
    assert {type(event) for event in EVENTS} == {*get_args(Event)}
    stop, stream = threading.Event(), io.StringIO()
    pipe = Pipe(stream, stop)
    for event in EVENTS:
        pipe.tell(event)
    assert [decode(line) for line in stream.getvalue().splitlines()] == EVENTS
    assert not pipe.should_stop()
    stop.set()
    assert pipe.should_stop()


def test_the_losses_of_single_steps_are_not_sent() -> None:
    event = LossesLogged(7, replace(LOG, every_step={"loss_d": [1.0, 1.1]}))
    assert decode(encode(event)) == LossesLogged(7, LOG)
    assert event.record.every_step


@pytest.mark.parametrize(
    "line", ["", "a library's note", "7", '"text"', "[1]", "{}", '{"event": "Other"}']
)
def test_anything_else_in_the_pipe_is_no_event(line: str) -> None:
    assert decode(line) is None
    assert decode('{"event": "Warned", "other": 1}') is None


def test_a_launcher_that_is_gone_is_no_error() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Pipe(Broken(), threading.Event()).tell(Warned("nobody hears it"))


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (
            None,
            [
                "trial-007: lr_g 0.001",
                "trial-007: epoch 2: fd_random 3.500 (ema 3.500, raw 4.500; n = 64)",
                "note: it is late",
            ],
        ),
        (
            2,
            [
                "worker 2: trial-007: lr_g 0.001",
                "trial-007: epoch 2/2  82 images/s",
                "trial-007: epoch 2: fd_random 3.500 (ema 3.500, raw 4.500; n = 64)",
                "note: worker 2: it is late",
                "trial-007: pruned, hopeless",
            ],
        ),
    ],
)
def test_lines_where_there_is_no_terminal(
    worker: int | None, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with StudyDisplay() as display:
        for event in EVENTS:
            if worker is None and isinstance(event, LossesLogged):
                continue
            display.tell(event, worker)
    assert capsys.readouterr().err.splitlines() == expected
