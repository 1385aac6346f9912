"""The simulation of searches, on curves whose truth is known."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest

from benchmarks.search import curves, efficiency
from benchmarks.search.efficiency import Curve, Found, ways
from dcgan.config.train_config import TrainConfig
from study.config.rung_ends import with_rungs
from study.config.study_config import load_study_config

EPOCHS = range(19, 172, 19)
WAYS = ways(171)
RANDOM = "random search, all trials in full"
THIRDS = "rungs 19, 57, 171, 1/3 goes on"


def curve(number: int, final: float, noise: float = 0.0, seed: int = 0) -> Curve:
    """A score that falls to `final`, in the same way for all configs but for noise."""
    rng = random.Random(f"{seed} {number}")
    points = {epoch: final * (1 + 10 / epoch) + rng.gauss(0, noise) for epoch in EPOCHS}
    return Curve(number, points | {171: final}, 171)


def known(count: int, noise: float = 0.0, seed: int = 0) -> list[Curve]:
    finals = random.Random(seed).sample(range(100, 1000), count)
    return [curve(number, float(final), noise, seed) for number, final in enumerate(finals)]


def test_random_search_trains_everything() -> None:
    drawn = known(5)
    found = list(WAYS[RANDOM](drawn))
    assert [it.epochs for it in found] == [171, 342, 513, 684, 855]
    lowest = [min(it.final for it in drawn[: index + 1]) for index in range(5)]
    assert [it.best for it in found] == lowest


def test_rungs_spend_what_is_counted_by_hand() -> None:
    """Scores that get worse from config to config: the first is ahead on every rung."""
    drawn = [curve(number, 100.0 + number) for number in range(9)]
    found = list(WAYS[THIRDS](drawn))
    # 9 on the first rung; 3 on the second; of these 1 to the end.
    assert found[-1] == Found(9 * 19 + 3 * 38 + 114, 100.0)
    for way in WAYS.values():
        steps = [it.epochs for it in way(drawn)]
        assert steps == sorted(steps)
        assert steps[-1] <= 9 * 171


def test_the_rungs_called_those_of_cats_are_those_of_cats() -> None:
    config = with_rungs(load_study_config("cats", {"eval.every_epochs": 19}), 527)
    assert (config.budget.epochs, config.budget.keep) == efficiency.OF_CATS


def test_the_order_on_the_way_agrees_with_the_end_as_far_as_noise_lets_it() -> None:
    exact = efficiency.rank_correlations(known(30))
    assert exact == dict.fromkeys(efficiency.ON_THE_WAY, pytest.approx(1.0))
    for epoch, rho in efficiency.rank_correlations(known(800, noise=250.0)).items():
        spread = 260 * (1 + 10 / epoch)  # of finals between 100 and 1000, that early
        assert rho == pytest.approx(spread / math.hypot(spread, 250), abs=0.05)
    drawn = known(4)
    collapsed = drawn[0]._replace(points={19: 1.0})  # the best so far, then nothing
    found = efficiency.rank_correlations([collapsed, *drawn[1:]])
    assert found[19] < 1 == found[57]


def test_without_noise_the_best_config_is_found_in_a_quarter_of_the_compute() -> None:
    results = efficiency.simulate(
        known(80), {name: WAYS[name] for name in (RANDOM, THIRDS)}, 40, 50
    )
    assert results[RANDOM]["reached"] == 1.0
    assert results[RANDOM]["regret"] == 0.0
    assert results[THIRDS]["reached"] == 1.0
    assert results[THIRDS]["regret"] == 0.0
    _, middle, high = results[THIRDS]["compute"]
    assert 0.02 < middle < 0.25
    assert high < 0.4


def test_scores_that_say_nothing_about_the_end_are_no_use() -> None:
    some = {name: WAYS[name] for name in (RANDOM, THIRDS)}
    worlds = [known(60, noise=1e6, seed=seed) for seed in range(30)]  # in each, some are lucky
    results = [efficiency.simulate(curves, some, 40, 10) for curves in worlds]
    reached = statistics.mean(it[THIRDS]["reached"] for it in results)
    assert 0.05 < reached < 0.3  # some six of forty reach the end
    assert statistics.mean(it[THIRDS]["regret"] for it in results) > 0.1


def test_a_collapsed_training_is_paid_for_until_its_end_and_finds_nothing() -> None:
    collapsed = Curve(1, {19: 100.0, 38: 100.0}, 171)
    assert collapsed.final == math.inf
    drawn = [collapsed, curve(2, 500.0), curve(3, 600.0)]
    *_, last = WAYS[RANDOM](drawn)
    assert last == Found(38 + 2 * 171, 500.0)
    # It goes on from the first rung and ends on the second, so the next one goes to the end.
    *_, last = WAYS[THIRDS](drawn)
    assert last == Found(3 * 19 + 19 + (171 - 19), 500.0)


def test_a_curve_whose_process_was_killed_has_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"data.source": "toy_cats", "data.toy_count": 48, "eval.extractor": "random"}
    small |= {"train.epochs": 4, "eval.every_epochs": 2, "eval.n_samples": 64}
    config = load_study_config(curves.CONFIG, small)

    def killed(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(curves, "write_text_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            curves.train_one(config, 0, tmp_path)
    curves.train_one(config, 0, tmp_path)
    points = json.loads((tmp_path / curves.RUN).read_text())["points"]
    assert [point["epoch"] for point in points] == [2, 4]


def test_a_config_is_the_same_whenever_it_is_drawn() -> None:
    config = load_study_config(curves.CONFIG)
    params, whole = curves.config_of(config, 37)
    again, same = curves.config_of(config, 37)
    assert (params, whole) == (again, same)
    assert isinstance(whole, TrainConfig)
    assert whole.optim.lr_g == params["lr_g"]
    other, _ = curves.config_of(config, 38)
    assert other != params
    reference, _ = curves.config_of(config, 0)
    assert reference["discriminator"] == "dcgan"
    assert whole.train.seed != curves.config_of(config, 38)[1].train.seed


def test_finished_runs_become_rows_beside_those_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.csv"
    monkeypatch.setattr(curves, "TABLE", table)
    for number, scores in ((0, (300.0, 200.123456)), (2, (400.0,)), (3, ())):
        points = [
            {
                "epoch": 19 * index,
                "images": 10_013 * index,
                "ema": score,
                "raw": score + 1,
                "recognised": 0.1,
                "imbalance": 1.0,
            }
            for index, score in enumerate(scores, 1)
        ]
        folder = tmp_path / "work" / f"{number:03d}"
        folder.mkdir(parents=True)
        found = {
            "config": number,
            "params": {"nz": 30, "lr_g": 1.23456789e-4},
            "collapsed": "" if number == 0 else "D saturated",
            "points": points,
        }
        (folder / curves.RUN).write_text(json.dumps(found))
    assert curves.collect(tmp_path / "work") == 3
    once = table.read_text()
    assert curves.collect(tmp_path / "work") == 3
    assert table.read_text() == once
    rows = curves.read_table(table)
    assert [(row["config"], row["epoch"], row["ema"]) for row in rows] == [
        ("0", "19", "300"), ("0", "38", "200.12"), ("2", "19", "400"), ("3", "0", ""),
    ]  # fmt: skip
    assert rows[0]["lr_g"] == "0.000123457"
    read = efficiency.read_curves(table, "raw", baselines=True)
    assert read == [
        Curve(0, {19: 300.0, 38: 200.12}, 38, {19: 301.0, 38: 201.12}),
        Curve(2, {19: 400.0}, 38, {19: 401.0}),
        Curve(3, {}, 38),
    ]
    for way in WAYS.values():  # it diverged before its first score
        assert [it.epochs for it in way(read[2:])] == [0]
    assert read[1].final == math.inf


def test_what_rungs_rank_by(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    lines = ["config,epoch,ema,raw", "4,19,300,500", "4,38,400,350", "4,57,200,250"]
    table.write_text("\n".join(lines))
    expected = {
        "ema": [300.0, 400.0, 200.0],
        "raw": [500.0, 350.0, 250.0],
        "lower": [300.0, 350.0, 200.0],
        "best": [300.0, 300.0, 200.0],
    }
    for judge in efficiency.JUDGES:
        (curve,) = efficiency.read_curves(table, judge, baselines=True)
        assert [curve.at_rung(epoch) for epoch in (19, 38, 57)] == expected[judge]
        assert curve.final == 200.0


def test_a_rung_that_ranks_by_another_number_lets_others_go_on() -> None:
    """The third config scores best; what ranks says it is the worst."""
    drawn = [curve(number, 300.0 - number) for number in range(3)]
    upside_down = [it._replace(judged={19: it.final * -1, 57: it.final * -1}) for it in drawn]
    *_, last = WAYS[THIRDS](drawn)
    *_, other = WAYS[THIRDS](upside_down)
    assert (last.best, other.best) == (298.0, 300.0)


def test_no_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no curves yet"):
        efficiency.read_curves(tmp_path / "none.csv", "ema")
