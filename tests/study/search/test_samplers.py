"""What proposes trials and what stops them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import TrialState

from study.config.space import suggest
from study.config.study_config import SamplerConfig, StudyConfig
from study.search.pruners import make_pruner
from study.search.samplers import SeededSampler
from study.storage.optuna_db import open_storage
from study.storage.store import Store

Maker = Callable[..., StudyConfig]
STARTUP = 4
TRIALS = 10


def bowl(params: dict[str, Any]) -> float:
    """A score with its best at lr_g = 0.001 and few channels."""
    return abs(math.log10(params["lr_g"]) + 3) + params["ngf"] / 8 + params["nz"] / 100


def sampler_of(config: StudyConfig) -> SeededSampler:
    return SeededSampler(config.sampler, config.study.seed)


def ask_and_tell(study: Study, config: StudyConfig, trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        suggest(trial, config)
        if trial.number == 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, bowl(trial.params))


def params_of(study: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.get_trials()]


def one_sitting(config: StudyConfig, trials: int = TRIALS) -> list[dict[str, Any]]:
    study = optuna.create_study(study_name="s", sampler=sampler_of(config))
    ask_and_tell(study, config, trials)
    return params_of(study)


def many_launches(config: StudyConfig, store: Store, trials: int = TRIALS) -> Study:
    """A study of which each trial is proposed by another process, as it seems to Optuna."""
    optuna.create_study(study_name="s", storage=open_storage(store))
    for _ in range(trials):
        study = optuna.load_study(
            study_name="s", storage=open_storage(store), sampler=sampler_of(config)
        )
        ask_and_tell(study, config, 1)
    return study


@pytest.fixture
def guided(tiny_study: Maker) -> StudyConfig:
    return tiny_study(sampler={"name": "tpe", "startup_trials": STARTUP}, baselines=[])


@pytest.mark.parametrize("name", ["gp", "cmaes"])
def test_other_models_depend_neither_on_who_asks_and_learn_from_complete_trials(
    name: str, tiny_study: Maker, store: Store
) -> None:
    config = tiny_study(sampler={"name": name, "startup_trials": STARTUP}, baselines=[])
    study = many_launches(config, store)
    assert params_of(study) == one_sitting(config)
    random = config.model_copy(update={"sampler": SamplerConfig(name="random")})
    by_chance = one_sitting(random)
    begun = STARTUP + 1  # one of them was pruned
    assert params_of(study)[:begun] == by_chance[:begun]
    assert params_of(study)[begun:] != by_chance[begun:]


def test_a_sobol_sequence_fills_the_space_evenly_whoever_asks(
    tiny_study: Maker, store: Store
) -> None:
    config = tiny_study(sampler={"name": "qmc"}, baselines=[])
    count = 17  # the first is drawn at random: only then is the space known
    study = many_launches(config, store, count)
    assert params_of(study) == one_sitting(config, count)
    places = [math.log10(params["lr_g"]) for params in params_of(study)[1:]]
    # Sixteen points of a Sobol sequence: one in each sixteenth of the range.
    assert sorted(math.floor((place + 4) / 2 * 16) for place in places) == list(range(16))


@pytest.mark.slow
def test_proposals_do_not_depend_on_who_asks(guided: StudyConfig, store: Store) -> None:
    study = many_launches(guided, store)
    assert params_of(study) == one_sitting(guided)


def test_the_model_guides_after_startup(guided: StudyConfig) -> None:
    random = guided.model_copy(
        update={"sampler": SamplerConfig(name="random", startup_trials=STARTUP)}
    )
    by_model, by_chance = one_sitting(guided, 24), one_sitting(random, 24)
    assert by_model[:STARTUP] == by_chance[:STARTUP]
    assert by_model[STARTUP] != by_chance[STARTUP]

    def mean(chosen: list[dict[str, Any]]) -> float:
        return sum(map(bowl, chosen[STARTUP:])) / (len(chosen) - STARTUP)

    assert mean(by_model) < mean(by_chance)


def test_startup_counts_baselines(guided: StudyConfig) -> None:
    """With as many baselines as startup trials the model guides from the first proposal on."""
    random = guided.model_copy(update={"sampler": SamplerConfig(name="random")})
    first = []
    for config in (guided, random):
        study = optuna.create_study(study_name="s", sampler=sampler_of(config))
        for lr in (1e-4, 1e-3, 3e-3, 1e-2):
            params = {"nz": 8, "ngf": 4, "lr_g": lr, "rotation_degrees": 0, "blur_sigma": 0}
            study.enqueue_trial(params)
        ask_and_tell(study, config, STARTUP + 1)
        first.append(params_of(study)[STARTUP])
    assert first[0] != first[1]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_seeds_of_studies_differ(guided: StudyConfig, name: str) -> None:
    proposals = []
    for seed in (0, 1):
        study = guided.study.model_copy(update={"seed": seed})
        sampler = SamplerConfig(name=name, startup_trials=STARTUP)  # type: ignore[arg-type]
        config = guided.model_copy(update={"study": study, "sampler": sampler})
        proposals.append(one_sitting(config, 6))
        assert proposals[-1] == one_sitting(config, 6)
        assert len({str(params) for params in proposals[-1]}) == 6
    assert all(a != b for a, b in zip(*proposals, strict=True))


def test_the_sampler_warns_of_nothing(guided: StudyConfig) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_sitting(guided, STARTUP + 1)


def pruned(config: StudyConfig, past: list[list[float]], now: list[float]) -> list[bool]:
    """Whether a trial that scores `now` (epoch 1, 2, …) would be stopped at each, after `past`."""
    study = optuna.create_study(study_name="s", pruner=make_pruner(config))
    for scores in past:
        trial = study.ask()
        for epoch, score in enumerate(scores, start=1):
            trial.report(score, step=epoch)
        study.tell(trial, scores[-1])
    trial, decisions = study.ask(), []
    for epoch, score in enumerate(now, start=1):
        trial.report(score, step=epoch)
        decisions.append(trial.should_prune())
    return decisions


PAST = [[10.0, 8.0], [20.0, 18.0], [30.0, 28.0], [40.0, 38.0], [50.0, 48.0]]
TABLE: list[tuple[str, dict[str, Any], list[float], list[bool]]] = [
    ("median: better", {"name": "median"}, [29.0, 27.0], [False, False]),
    ("median: worse by chance", {"name": "median"}, [38.0, 35.5], [False, False]),
    ("median: worse", {"name": "median"}, [39.0, 36.5], [True, True]),
    ("median: its best counts", {"name": "median"}, [25.0, 99.0], [False, False]),
    ("median: warm-up", {"name": "median", "warmup_epochs": 2}, [39.0, 36.5], [False, True]),
    ("median: startup", {"name": "median", "startup_trials": 6}, [99.0, 99.0], [False, False]),
    ("percentile: better", {"name": "percentile"}, [19.0, 17.0], [False, False]),
    ("percentile: worse", {"name": "percentile"}, [26.0, 23.5], [True, True]),
    ("percentile 75", {"name": "percentile", "percentile": 75}, [51.0, 49.5], [False, True]),
    ("percentile 0", {"name": "percentile", "percentile": 0}, [13.0, 10.4], [True, True]),
    ("percentile 0: best", {"name": "percentile", "percentile": 0}, [9.5, 7.9], [False, False]),
    ("percentile: warm-up", {"name": "percentile", "warmup_epochs": 2}, [50, 50], [False, True]),
    ("none", {"name": "none"}, [1e9, 1e9], [False, False]),
]


@pytest.mark.parametrize(
    ("pruner", "now", "expected"), [pytest.param(*case, id=name) for name, *case in TABLE]
)
def test_decisions(
    tiny_study: Maker, pruner: dict[str, Any], now: list[float], expected: list[bool]
) -> None:
    config = tiny_study(pruner=pruner, noise__assumed=0.15)
    assert pruned(config, PAST, now) == expected


def test_without_noise_the_median_pruner_is_that_of_optuna(tiny_study: Maker) -> None:
    ours = make_pruner(tiny_study(pruner={"name": "median"}, noise__assumed=0.0))
    rng = np.random.default_rng(3)
    study = optuna.create_study(pruner=ours)
    theirs, verdicts = MedianPruner(n_startup_trials=5), []
    for _ in range(60):
        trial, stopped = study.ask(), False
        for epoch in range(1, 6):
            trial.report(float(rng.lognormal(3, 0.5)), epoch)
            stopped = trial.should_prune()
            verdicts.append((stopped, theirs.prune(study, study.get_trials()[trial.number])))
            if stopped:
                break
        study.tell(trial, None if stopped else 1.0, state=TrialState.PRUNED if stopped else None)
    assert [ours for ours, _ in verdicts] == [theirs for _, theirs in verdicts]
    assert {stopped for stopped, _ in verdicts} == {True, False}


@pytest.mark.parametrize(("startup", "expected"), [(5, True), (6, False)])
def test_startup_trials_are_exact(tiny_study: Maker, startup: int, expected: bool) -> None:
    config = tiny_study(pruner={"name": "median", "startup_trials": startup})
    assert pruned(config, PAST, [99.0]) == [expected]


def test_hyperband_has_the_epochs_as_its_budget(tiny_study: Maker) -> None:
    settings = {"name": "hyperband", "min_epochs": 1, "reduction_factor": 3}
    config = tiny_study(pruner=settings, base__train__epochs=9)
    pruner = make_pruner(config)
    assert isinstance(pruner, HyperbandPruner)
    study = optuna.create_study(study_name="s", pruner=pruner)
    stopped = []
    for quality in range(12):  # each trial worse than all before
        trial = study.ask()
        for epoch in range(1, 10):
            trial.report(100.0 * 1.5**quality, step=epoch)
            if trial.should_prune():
                stopped.append((quality, epoch))
                break
        pruned_now = bool(stopped) and stopped[-1][0] == quality
        state = TrialState.PRUNED if pruned_now else TrialState.COMPLETE
        study.tell(trial, None if pruned_now else 100.0 * 1.5**quality, state=state)
    assert stopped
    assert {epoch for _, epoch in stopped} <= {1, 3, 9}  # the rungs
    assert 0 not in [quality for quality, _ in stopped]


def test_no_pruner(tiny_study: Maker) -> None:
    assert isinstance(make_pruner(tiny_study(pruner={"name": "none"})), NopPruner)


def test_successive_halving_keeps_the_better_half(tiny_study: Maker) -> None:
    settings = {"name": "successive_halving", "min_epochs": 1, "reduction_factor": 2}
    study = optuna.create_study(pruner=make_pruner(tiny_study(pruner=settings)))
    verdicts = []
    for score in (1.0, 2.0, 3.0, 0.5):
        trial = study.ask()
        trial.report(score, 1)
        verdicts.append(trial.should_prune())
        study.tell(trial, score)
    assert verdicts == [False, True, True, False]


def test_patience_stops_a_trial_that_gets_no_better(tiny_study: Maker) -> None:
    settings = {"name": "patient", "patience_scores": 2}
    study = optuna.create_study(pruner=make_pruner(tiny_study(pruner=settings)))
    trial = study.ask()
    verdicts = []
    for epoch, score in enumerate((5.0, 3.0, 4.0, 3.5, 3.2, 2.0)):
        trial.report(score, epoch)
        verdicts.append(trial.should_prune())
    assert verdicts == [False, False, False, False, True, False]
