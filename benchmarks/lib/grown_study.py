"""Write a finished study of any size into a store without running its trials."""

from __future__ import annotations

import json
import math
import os
import random
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.trial import TrialState
from PIL import Image
from sqlalchemy import insert

from dcgan.config.settings import save_config
from dcgan.training.run.folder import RunFolder
from study.config.dimensions import Choices, FloatRange, encode_choice
from study.config.study_config import StudyConfig
from study.storage.attributes import CONFIG_ATTRIBUTE, IDENTITY_ATTRIBUTE
from study.storage.optuna_db import open_storage
from study.storage.store import Store, StudyFolder

SCORED_EPOCHS = (5, 10, 15, 20)
IDENTITY = {
    "data.fingerprint": "toys",
    "extractor.name": "random",
    "extractor.fingerprint": "none",
    "environment.code_version": "none",
}
BATCH = 1000
Rows = list[dict[str, Any]]


def build(store: Store, config: StudyConfig, count: int) -> None:
    """Write a study of `count` finished trials, half of them pruned, and a picture for each.

    Straight into Optuna's tables: its own `add_trials` takes 20 ms for a trial.
    """
    store.create()
    storage = open_storage(store, create=True)
    study = optuna.create_study(study_name=config.study.name, storage=storage)
    study.set_user_attr(CONFIG_ATTRIBUTE, config.model_dump_json())
    study.set_user_attr(IDENTITY_ATTRIBUTE, json.dumps(IDENTITY))
    distributions = {config.short_name(k): distribution(d) for k, d in config.space.items()}
    chance = random.Random(0)
    for start in range(0, count, BATCH):
        tables: dict[Any, Rows] = {}
        for number in range(start, min(start + BATCH, count)):
            add(tables, study._study_id, number, distributions, chance)
        with storage.engine.begin() as connection:
            for model, rows in tables.items():
                connection.execute(insert(model.__table__), rows)
    storage.engine.dispose()
    folder = store.study(config.study.name)
    draw(folder, count)
    save_config(config, folder.config)


def distribution(dimension: Any) -> BaseDistribution:
    """A dimension as `study.config.space.suggest` gives it to Optuna."""
    if isinstance(dimension, Choices):
        return CategoricalDistribution([encode_choice(choice) for choice in dimension.choices])
    kind = FloatDistribution if isinstance(dimension, FloatRange) else IntDistribution
    return kind(dimension.low, dimension.high, step=dimension.step, log=dimension.log)


def add(
    tables: dict[Any, Rows],
    study_id: int,
    number: int,
    distributions: dict[str, BaseDistribution],
    chance: random.Random,
) -> None:
    """Add the rows of one trial to those of Optuna's tables."""
    params = {name: internal(item, chance) for name, item in distributions.items()}
    pruned = chance.random() < 0.5
    epochs = SCORED_EPOCHS[: chance.randint(1, 3) if pruned else 4]
    final = 20 + 5 * abs(math.log(params["lr_g"] / 3e-4)) + 10 * chance.random()
    scores = {epoch: final + (20 - epoch) + chance.random() for epoch in epochs}
    last = scores[epochs[-1]]
    facts = {
        "reason": f"hopeless: score {last:.3f} is behind other trials there" if pruned else None,
        "minutes": 0.2 * epochs[-1],
        "run_id": f"{chance.getrandbits(128):032x}",
        "epoch": epochs[-1],
        "imbalance": 3 * chance.random(),
        "seed": chance.getrandbits(32),
        "code_version": "none",
        "fd_random": last,
        "kd_random": last / 100,
    }
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    trial, now, finite = number + 1, datetime.now(), models.TrialValueModel.TrialValueType.FINITE
    times = {"datetime_start": now, "datetime_complete": now}
    rows: dict[Any, Rows] = {
        models.TrialModel: [{"number": number, "study_id": study_id, "state": state, **times}],
        models.TrialValueModel: [{"objective": 0, "value": last, "value_type": finite}],
        models.TrialParamModel: [
            {
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distributions[name]),
            }
            for name, value in params.items()
        ],
        models.TrialUserAttributeModel: [
            {"key": key, "value_json": json.dumps(value)} for key, value in facts.items()
        ],
        models.TrialIntermediateValueModel: [
            {
                "step": epoch,
                "intermediate_value": score,
                "intermediate_value_type": "FINITE",
            }
            for epoch, score in scores.items()
        ],
    }
    for model, parts in rows.items():
        tables.setdefault(model, []).extend({"trial_id": trial, **part} for part in parts)


def internal(item: BaseDistribution, chance: random.Random) -> float:
    """A random value as Optuna stores it."""
    if isinstance(item, CategoricalDistribution):
        return chance.randrange(len(item.choices))
    assert isinstance(item, IntDistribution | FloatDistribution)
    value = item.low * (item.high / item.low) ** chance.random()
    if isinstance(item, FloatDistribution):
        return value
    return item.low + round((value - item.low) / item.step) * item.step


def draw(folder: StudyFolder, count: int) -> None:
    """A picture of samples for every trial: one file, linked from all their folders."""
    picture = RunFolder(folder.trial(0)).samples / "step_000320.png"
    for number in range(count):
        own = RunFolder(folder.trial(number)).samples / picture.name
        own.parent.mkdir(parents=True)
        if number:
            os.link(picture, own)
        else:
            Image.effect_noise((530, 530), 60).convert("RGB").save(own)
