"""Compute that is used up, and studies that end because nothing is left to gain."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from study.config.study_config import StudyConfig
from study.running import limits
from study.running import trial as trial_module
from study.running.estimate import compute_hours, what_is_left
from study.running.limits import LOOK_SECONDS, ComputeMeter
from study.running.observer import LossesLogged, Progressed, TrialBegan
from study.running.prepare import prepare
from study.running.study import execute, run_study
from study.search import stopping
from study.search.stopping import why_to_end
from study.storage.attributes import ended_early, study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_result import TrialResult

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]


class Clock:
    """Seconds that only a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_meter_counts_all_trials_whoever_runs_them() -> None:
    study, clock = optuna.create_study(), Clock()
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs={"minutes": 90}))
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"minutes": 30.0}))
    running = study.ask()
    meter = ComputeMeter(study, clock)
    assert meter.hours() == 2.0
    running.set_user_attr("minutes", 60.0)
    assert meter.hours() == 2.0  # it looks now and then
    clock.now += LOOK_SECONDS
    assert meter.hours() == 3.0
    assert not meter.has_used(None)
    assert not meter.has_used(3.1)
    assert meter.has_used(3.0)
    assert meter.has_used(3.1)  # for good: a trial that has paused for it may tell a second less


def test_a_running_trial_tells_its_minutes(
    tiny_study: Maker, store: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch, watch: Any
) -> None:
    """So that a killed one has not run for nothing, and others see it."""
    monkeypatch.setattr(trial_module, "NOTE_SECONDS", 0.0)
    seen: list[float] = []

    def look(event: Any) -> None:
        if isinstance(event, LossesLogged):
            study = load_optuna_study(store, "tiny")
            seen.append(study.get_trials()[0].user_attrs["minutes"])

    config = tiny_study(study__trials=1)
    run_study(config, store, bank=bank, observer=watch(look, stop_after=(0, 2)))
    study = run_study(config, store, bank=bank, observer=watch(look)).study
    assert len(seen) == 4
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] <= study.get_trials()[0].user_attrs["minutes"]


def test_a_study_pauses_when_its_hours_are_used_and_a_higher_number_goes_on(
    tiny_study: Maker, store: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch, watch: Any
) -> None:
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.0)
    began: list[int] = []
    monkeypatch.setattr(limits, "hours_of", lambda study: 2.0 if began else 0.0)

    def note(event: Any) -> None:
        if isinstance(event, TrialBegan) and event.trial == 2:
            began.append(event.trial)

    config = tiny_study(study__trials=4, study__max_hours=2)
    paused = run_study(config, store, bank=bank, observer=watch(note))
    assert (paused.interrupted, paused.finished) == (True, 2)
    assert paused.study.get_trials()[2].state == TrialState.WAITING
    assert paused.ended_because is not None
    assert paused.ended_because.startswith("all trials together have taken 2 hours")
    more = run_study(tiny_study(study__trials=4, study__max_hours=50), store, bank=bank)
    assert (more.interrupted, more.finished, more.ended_because) == (False, 4, None)


def test_nothing_begins_once_the_hours_are_used(
    tiny_study: Maker, store: Store, bank: PhotoBank, shell: Shell
) -> None:
    first = run_study(tiny_study(study__trials=1), store, bank=bank)
    spent = first.study.get_trials()[0].user_attrs["minutes"] / 60
    config = tiny_study(study__trials=2, study__max_hours=spent / 2)
    with prepare(config, store, bank) as plan:
        told = plan.estimate()
        assert told is not None
        assert told.hours_left == 0
        assert "the study ends before, after 0.0 more hours of compute" in told.describe()
        done = execute(plan)
    assert (done.finished, done.total, len(done.study.get_trials())) == (1, 2, 2)
    assert done.ended_because is not None
    assert "a higher --max-hours goes on" in done.ended_because


def test_a_study_says_meanwhile_how_long_its_hours_will_last(
    tiny_study: Maker, store: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch, watch: Any
) -> None:
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.0)
    watcher = watch()
    done = run_study(
        tiny_study(study__trials=3, study__max_hours=100), store, bank=bank, observer=watcher
    )
    first, *_, last = [event.standing for event in watcher.of(Progressed)]
    assert first == ""
    assert re.fullmatch(r"best score [\d.]+, 0\.0 of 100 hours", last)
    minutes = done.study.get_trials()[0].user_attrs["minutes"]
    config = tiny_study(study__trials=7, study__max_hours=5 * minutes / 60)
    trials = [TrialResult(it, TrialState.COMPLETE, minutes=minutes) for it in range(3)]
    # Four trials are to come, all at once, and the hours are enough for two of them.
    assert what_is_left(config, 4, trials)[1] == pytest.approx(minutes)
    assert compute_hours(config, trials, 4, minutes) == pytest.approx(4 * minutes / 60)
    said = limits.compute_in_words(config, 4, trials)
    assert said.endswith(f" of {5 * minutes / 60:g} hours, enough for 50% of the rest")
    # Four workers have one round more, in which only one of them trains.
    more = override(config, {"study.trials": 8, "study.max_hours": 3.5 * minutes / 60})
    assert what_is_left(more, 4, trials)[1] == pytest.approx(2 * minutes)
    assert compute_hours(more, trials, 4, 2 * minutes) == pytest.approx(5 * minutes / 60)
    assert limits.compute_in_words(more, 4, trials).endswith(", enough for 10% of the rest")
    assert limits.compute_in_words(
        override(more, {"study.max_hours": 8 * minutes / 60 + 1e-9}), 4, trials
    ).endswith(" hours")


def test_a_study_says_if_its_hours_will_not_last(
    tiny_study: Maker, store: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch, watch: Any
) -> None:
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(limits, "hours_of", lambda study: 0.0)  # so that it does not end
    watcher = watch()
    config = tiny_study(study__trials=3, study__max_hours=1e-7)
    run_study(config, store, bank=bank, observer=watcher)
    told = [event.standing for event in watcher.of(Progressed)]
    assert re.search(r", 0\.0 of 1e-07 hours, enough for 0% of the rest$", told[1])
    assert told[-1].endswith("0.0 of 1e-07 hours")  # nothing is left to do


def planted(config: StudyConfig, spread: float, trials: int = 14) -> optuna.Study:
    study, rng = optuna.create_study(), np.random.default_rng(4)
    for _ in range(trials):
        score = float(np.exp(rng.normal(5, spread)))
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=score))
    return study


def test_a_study_ends_when_seeds_change_more_than_trials_would_gain(tiny_study: Maker) -> None:
    config = tiny_study(study__trials=24, noise__assumed=0.15)
    assert why_to_end(planted(config, 1.0), config) is None
    why = why_to_end(planted(config, 0.1), config)
    assert why is not None
    assert why.startswith("10 more trials would lower the best score by ")
    assert why.endswith("another seed changes a score by 15%")
    assert why_to_end(planted(config, 0.1, trials=9), config) is None  # too few to say
    assert why_to_end(planted(config, 0.1, trials=24), config) is None  # none is left


def test_it_is_ended_once_for_all_and_a_higher_total_looks_again(
    tiny_study: Maker, store: Store, bank: PhotoBank, watch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def gain(scores: Any, best: float, more: int) -> float:
        asked.append(more)
        return 0.01 if more < 4 else 1.0

    monkeypatch.setattr(stopping, "possible_gain", gain)
    given = {"study__stop": "when_no_gain", "pruner__name": "none", "noise__assumed": 0.15}
    config = tiny_study(study__trials=6, **given)
    done = run_study(config, store, bank=bank)
    assert (done.finished, done.total, done.interrupted) == (3, 3, False)
    assert done.ended_because is not None
    assert done.ended_because.startswith("the study ends with 3 trials (study.stop: when_no_gain)")
    ended = ended_early(done.study)
    assert ended is not None
    assert (ended.trials, ended.asked, ended.why) == (3, 6, done.ended_because)
    assert study_config(done.study).study.trials == 3
    watcher = watch()
    again = run_study(config, store, bank=bank, observer=watcher)
    assert watcher.of(TrialBegan) == []
    assert (again.finished, again.total, again.ended_because) == (3, 3, done.ended_because)
    more = run_study(tiny_study(study__trials=8, **given), store, bank=bank)
    assert (more.finished, more.total) == (5, 5)
    without = tiny_study(study__trials=6, pruner__name="none")
    assert run_study(without, store, bank=bank).finished == 6
    assert asked


def test_it_needs_one_score(tiny_study: Maker) -> None:
    with pytest.raises(ValueError, match="when_no_gain compares one score"):
        tiny_study(study__stop="when_no_gain", objective={"mode": "pareto"})


@pytest.mark.slow
def test_the_command_says_why_it_stopped(
    tiny_data: Callable[..., dict[str, Any]], store: Store, shell: Shell, tmp_path: Path
) -> None:
    import yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_data()), encoding="utf-8")
    shell("run", path, "--trials", "1", "--store", store.root)
    told = shell("run", path, "--max-hours", "0.00001", "--store", store.root).stdout
    assert "stopped at 1 of 3 trials\n" in told
    assert "have taken 1e-05 hours, as many as they may; a higher --max-hours goes on" in told
