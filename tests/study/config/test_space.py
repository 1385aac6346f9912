"""From a trial's parameters to its train config."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from dcgan.config.settings import dotted_keys, get_dotted
from dcgan.config.train_config import TrainConfig
from study.config.space import suggest, trial_config, trial_seed
from study.config.study_config import StudyConfig

Maker = Callable[..., StudyConfig]


def test_suggested_distributions_are_those_of_the_file(tiny_study: Maker) -> None:
    space = dict(tiny_study().model_dump(mode="json")["space"])
    space["augment.hue"] = {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1}
    config = tiny_study(space=space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggest(trial := study.ask(), config)
    assert trial.distributions == {
        "nz": IntDistribution(4, 16, log=True),
        "ngf": IntDistribution(4, 8, step=4),
        "lr_g": FloatDistribution(1e-4, 1e-2, log=True),
        "rotation_degrees": CategoricalDistribution((0, 10)),
        "blur_sigma": CategoricalDistribution((0, "[0.1, 1.2]")),
        "hue": FloatDistribution(0.0, 0.5, step=0.1),
    }


def test_a_config_follows_from_stored_parameters_alone(tiny_study: Maker) -> None:
    config = tiny_study()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(20):
        asked = suggest(trial := study.ask(), config)
        study.tell(trial, 0.0)
        stored = study.get_trials()[-1]
        assert trial_config(config, stored.params, stored.number) == asked
        assert config.space.keys() == {
            key
            for key in dotted_keys(TrainConfig)
            if key.rpartition(".")[2] in stored.params and key in config.space
        }
        for key in config.space:
            if key != "augment.blur_sigma":
                assert get_dotted(asked, key) == stored.params[config.short_name(key)]
        seen.add(asked.augment.blur_sigma)
    assert seen == {(0.0, 0.0), (0.1, 1.2)}


def test_only_searched_keys_and_the_seed_differ_from_the_base(tiny_study: Maker) -> None:
    config = tiny_study()
    params = {"nz": 5, "ngf": 4, "lr_g": 5e-3, "rotation_degrees": 10, "blur_sigma": "[0.1, 1.2]"}
    made = suggest(FixedTrial(params, number=3), config)
    changed = {
        key: get_dotted(made, key)
        for key in dotted_keys(TrainConfig)
        if get_dotted(made, key) != get_dotted(config.base, key)
    }
    assert changed == {
        "model.nz": 5,
        "model.ngf": 4,
        "optim.lr_g": 5e-3,
        "augment.rotation_degrees": 10.0,
        "train.seed": trial_seed(config.study.seed, 3),
    }
    assert made == trial_config(config, params, 3)


def test_seeds_are_distinct_and_fixed_for_ever() -> None:
    seeds = [trial_seed(0, number) for number in range(10_000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    # Written down: a new version must continue old studies with the same numbers.
    assert (trial_seed(0, 0), trial_seed(5, 7), trial_seed(5, 7, 1)) == (
        909317225,
        1229830238,
        3443119605,
    )


def test_every_part_of_a_seed_counts() -> None:
    parts = list(itertools.product((0, 1), (0, 1, 12), (0, 1)))
    assert len({trial_seed(*part) for part in parts}) == len(parts)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_study_seed_is_honoured(tiny_study: Maker, seed: int) -> None:
    config = tiny_study(study__seed=seed)
    params = {"nz": 5, "ngf": 4, "lr_g": 5e-3, "rotation_degrees": 0, "blur_sigma": 0}
    made = trial_config(config, params, 0)
    assert made.train.seed == trial_seed(seed, 0)
    assert made.train.seed != trial_seed(1 - seed, 0)
    assert made.train.seed != config.base.train.seed
