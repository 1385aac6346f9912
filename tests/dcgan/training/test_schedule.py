"""Which photos a step sees and what is due after it, against plain enumerations."""

from __future__ import annotations

import pytest
import torch

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.training.schedule import Schedule

CPU = torch.device("cpu")


def plan(n_photos: int = 527, **settings: float) -> Schedule:
    changed = {key.replace("__", "."): value for key, value in settings.items()}
    return Schedule(override(TrainConfig(), changed), n_photos, CPU)


@pytest.mark.parametrize(("n_photos", "batch"), [(527, 32), (40, 16), (32, 32), (33, 32), (7, 2)])
def test_every_photo_once_an_epoch(n_photos: int, batch: int) -> None:
    schedule = plan(n_photos, train__batch_size=batch, train__epochs=3)
    orders = []
    for epoch in range(3):
        steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
        batches = [schedule.batch(step) for step in steps]
        assert [len(photos) for photos in batches[:-1]] == [batch] * (len(batches) - 1)
        assert len(batches[-1]) == (n_photos % batch or batch)
        order = torch.cat(batches)
        assert sorted(order.tolist()) == list(range(n_photos))
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] != sorted(orders[0])


def test_order_depends_on_seed_and_epoch_alone() -> None:
    straight = plan()
    all_batches = [straight.batch(step) for step in range(40)]
    torch.manual_seed(99)
    jumping = plan(train__epochs=3, optim__lr_g=1)
    for step in (39, 0, 17, 16, 33, 34, 5):
        assert torch.equal(jumping.batch(step), all_batches[step])
    assert not torch.equal(plan(train__seed=0).batch(0), all_batches[0])
    assert not torch.equal(plan(train__seed=0).batch(0), plan(train__seed=1).batch(0))


def test_reference_plan() -> None:
    """17 steps an epoch, 54 epochs; a grid every 55 steps and beside each score."""
    schedule = plan()
    assert (schedule.steps_per_epoch, schedule.total_steps) == (17, 918)
    done = range(919)
    scores = [17 * epoch for epoch in (9, 18, 27, 36, 45, 54)]
    grids = {0, *range(55, 919, 55), *scores}
    logs = {*range(5, 919, 5), *range(17, 919, 17)}
    checkpoints = [17 * epoch for epoch in (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 54)]
    assert len([step for step in grids if step % 55 == 0]) == 17
    assert [step for step in done if step and schedule.eval_due(step)] == scores
    assert [step for step in done if schedule.grid_due(step) and step] == sorted(grids - {0})
    assert schedule.grid_due(0)
    assert [step for step in done if step and schedule.log_due(step)] == sorted(logs)
    assert [step for step in done if step and schedule.checkpoint_due(step)] == checkpoints


@pytest.mark.parametrize(
    ("every", "epochs", "due"),
    [(0, 4, [4]), (1, 4, [1, 2, 3, 4]), (3, 7, [3, 6, 7]), (9, 4, [4]), (2, 4, [2, 4])],
)
def test_scores_and_checkpoints(every: int, epochs: int, due: list[int]) -> None:
    schedule = plan(40, train__batch_size=16, train__epochs=epochs, eval__every_epochs=every)
    steps = range(1, schedule.total_steps + 1)
    assert [step for step in steps if schedule.eval_due(step)] == [3 * epoch for epoch in due]
    if every:
        other = plan(
            40, train__batch_size=16, train__epochs=epochs, train__checkpoint_every_epochs=every
        )
        assert [s for s in steps if other.checkpoint_due(s)] == [3 * epoch for epoch in due]


def test_epoch_of_a_step() -> None:
    schedule = plan()
    table = {0: 0, 1: 1, 17: 1, 18: 2, 34: 2, 35: 3, 917: 54, 918: 54}
    assert {done: schedule.epoch_of(done) for done in table} == table


def test_learning_rates_fall_over_the_last_part() -> None:
    schedule = plan(40, train__batch_size=20, train__epochs=5, optim__decay_fraction=0.4)
    factors = [schedule.rate_factor(step) for step in range(schedule.total_steps)]
    assert factors == pytest.approx([1, 1, 1, 1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4])
    whole = plan(40, train__batch_size=20, train__epochs=5, optim__decay_fraction=1)
    assert [whole.rate_factor(step) for step in range(10)] == pytest.approx(
        [1 - step / 10 for step in range(10)]
    )
    assert {plan().rate_factor(step) for step in range(918)} == {1.0}
