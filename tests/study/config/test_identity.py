"""Which relaunches continue a study and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from study.config.identity import check_relaunch, identity_of
from study.config.study_config import StudyConfig
from study.errors import StudyMismatchError

Maker = Callable[..., StudyConfig]
EXTRACTOR = {"name": "random", "fingerprint": "weights-a"}
ENVIRONMENT = {"threads": 2, "torch": "2.11", "code_version": "0.1.0", "device": "cpu"}
INT = {"type": "int", "low": 8, "high": 32}
SPACE = {
    "model.nz": INT,
    "optim.lr_g": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "augment.hue": {"type": "categorical", "choices": [0, 0.1]},
}


def identity(config: StudyConfig, fingerprint: str = "photos-a", **changes: Any) -> dict[str, Any]:
    extractor = EXTRACTOR | changes.pop("extractor", {})
    return identity_of(config, fingerprint, extractor, ENVIRONMENT | changes)


@pytest.fixture
def make(tiny_study: Maker) -> Maker:
    return lambda **settings: tiny_study(**{"space": SPACE, "baselines": [], **settings})


def relaunch(make: Maker, **settings: Any) -> list[str]:
    return check_relaunch("cats", identity(make()), identity(make(**settings)))


def test_the_same_settings_continue(make: Maker) -> None:
    assert relaunch(make) == []


FREE: list[tuple[str, dict[str, Any]]] = [
    ("more trials", {"study__trials": 99}),
    ("a timeout", {"study__timeout_minutes": 1.0}),
    ("another full run", {"full_run": {"train.epochs": 99}}),
    ("another baseline", {"baselines": [{"name": "b", "params": {}}]}),
    ("photos elsewhere", {"base__data__root": "/elsewhere"}),
    ("more pictures", {"base__train__grid_every_steps": 7}),
    ("more logging", {"base__train__log_every_steps": 7}),
    ("more checkpoints", {"base__train__checkpoint_every_epochs": 1}),
    ("an unused seed", {"base__train__seed": 1}),
    ("auto, resolved to the same", {"base__eval__extractor": "auto"}),
    ("a wider range below", {"space": SPACE | {"model.nz": INT | {"low": 4}}}),
    ("a wider range above", {"space": SPACE | {"model.nz": INT | {"high": 64}}}),
    (
        "a wider range of reals",
        {"space": SPACE | {"optim.lr_g": SPACE["optim.lr_g"] | {"low": 1e-5, "high": 0.1}}},
    ),
]


@pytest.mark.parametrize("settings", [pytest.param(item, id=name) for name, item in FREE])
def test_what_keeps_numbers_comparable_is_free(make: Maker, settings: dict[str, Any]) -> None:
    assert relaunch(make, **settings) == []


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("epochs", {"base__train__epochs": 9}, ["train.epochs was 2, now 9"]),
    ("samples", {"base__eval__n_samples": 128}, ["eval.n_samples was 64, now 128"]),
    ("when scored", {"base__eval__every_epochs": 2}, ["eval.every_epochs was 1, now 2"]),
    ("which scored", {"base__eval__score_model": "raw"}, ['was "ema", now "raw"']),
    ("which evaluation", {"base__eval__select": "best"}, ['eval.select was "last", now "best"']),
    ("batch", {"base__train__batch_size": 8}, ["train.batch_size was 16, now 8"]),
    ("size", {"base__data__image_size": 64}, ["data.image_size was 32, now 64"]),
    ("determinism", {"base__train__deterministic": False}, ["train.deterministic was true"]),
    ("the seed", {"study__seed": 6}, ["study.seed was 5, now 6"]),
    ("the penalty", {"objective": {"cap": 0.5}}, ["objective.cap was 0.05, now 0.5"]),
    ("the distance", {"objective": {"metric": "kernel"}}, ['objective.metric was "frechet"']),
    ("the sampler", {"sampler": {"name": "random", "startup_trials": 3}}, ["sampler.name"]),
    ("the pruner", {"pruner": {"name": "median"}}, ['pruner.name was "percentile", now "median"']),
    (
        "a narrower low",
        {"space": SPACE | {"model.nz": INT | {"low": 9}}},
        ["space.model.nz was", '"low": 8', '"low": 9'],
    ),
    (
        "a narrower high",
        {"space": SPACE | {"model.nz": INT | {"high": 31}}},
        ["space.model.nz was", '"high": 32', '"high": 31'],
    ),
    (
        "a shifted range",
        {"space": SPACE | {"model.nz": INT | {"low": 4, "high": 16}}},
        ["space.model.nz was", '"high": 32', '"high": 16'],
    ),
    (
        "another scale",
        {"space": SPACE | {"optim.lr_g": SPACE["optim.lr_g"] | {"log": False}}},
        ["space.optim.lr_g was", '"log": true', '"log": false'],
    ),
    (
        "another step",
        {"space": SPACE | {"model.nz": INT | {"step": 2}}},
        ["space.model.nz was", '"step": 1', '"step": 2'],
    ),
    (
        "another type",
        {"space": SPACE | {"augment.hue": {"type": "float", "low": 0, "high": 0.1}}},
        ["space.augment.hue was", '"categorical"', '"float"'],
    ),
    (
        "another choice",
        {"space": SPACE | {"augment.hue": {"type": "categorical", "choices": [0, 0.1, 0.2]}}},
        ["space.augment.hue was", "[0, 0.1]", "[0, 0.1, 0.2]"],
    ),
    (
        "another order",
        {"space": SPACE | {"augment.hue": {"type": "categorical", "choices": [0.1, 0]}}},
        ["space.augment.hue was", "[0, 0.1]", "[0.1, 0]"],
    ),
    ("one more key", {"space": SPACE | {"model.ndf": INT}}, ["space.model.ndf was null, now"]),
    ("one key less", {"space": {"model.nz": INT}}, ["space.augment.hue was", "now null"]),
]


@pytest.mark.parametrize(
    ("settings", "words"), [pytest.param(*case, id=name) for name, *case in REFUSED]
)
def test_what_makes_numbers_incomparable_is_refused_with_both_values(
    make: Maker, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(StudyMismatchError) as caught:
        relaunch(make, **settings)
    sentence = str(caught.value)
    assert caught.value.exit_code == 2
    assert "'cats'" in sentence
    assert "--name" in sentence
    assert [word for word in words if word not in sentence] == []


def test_a_refusal_names_all_differences_and_only_those(make: Maker) -> None:
    with pytest.raises(StudyMismatchError) as caught:
        relaunch(make, base__train__epochs=9, study__seed=6)
    assert "train.epochs" in str(caught.value)
    assert "study.seed" in str(caught.value)
    assert "eval." not in str(caught.value)


def test_other_photos_are_refused(make: Maker) -> None:
    with pytest.raises(StudyMismatchError, match=r'data\.fingerprint was "photos-a", now "b"'):
        check_relaunch("cats", identity(make()), identity(make(), "b"))


@pytest.mark.parametrize("key", ["name", "fingerprint"])
def test_another_extractor_is_refused(make: Maker, key: str) -> None:
    now = identity(make(), extractor={key: "other"})
    with pytest.raises(StudyMismatchError, match=rf"extractor\.{key} was .*, now \"other\""):
        check_relaunch("cats", identity(make()), now)


@pytest.mark.parametrize("key", sorted(ENVIRONMENT))
def test_the_environment_only_warns(make: Maker, key: str) -> None:
    now = identity(make(), **{key: "other"})
    (warning,) = check_relaunch("cats", identity(make()), now)
    assert warning.startswith(f"environment.{key} was ")
    assert warning.endswith('now "other"')


@pytest.mark.parametrize(("key", "value"), [("threads", 3), ("device", "auto")])
def test_threads_and_device_only_warn(make: Maker, key: str, value: object) -> None:
    (warning,) = relaunch(make, **{f"base__train__{key}": value})
    assert warning.startswith(f"train.{key} was ")


def test_a_setting_added_by_a_newer_version_was_at_its_default(make: Maker) -> None:
    recorded, now = identity(make()), identity(make())
    del recorded["optim.beta1"], recorded["objective.cap"]
    assert check_relaunch("cats", recorded, now) == []
    now["optim.beta1"] = 0.25
    with pytest.raises(StudyMismatchError, match=r"optim.beta1 was 0.5, now 0.25"):
        check_relaunch("cats", recorded, now)


def test_a_study_from_before_the_best_could_count_has_counted_the_last(make: Maker) -> None:
    recorded = identity(make())
    del recorded["eval.select"]
    last, best = (identity(make(base__eval__select=which)) for which in ("last", "best"))
    assert check_relaunch("cats", recorded, last) == []
    with pytest.raises(StudyMismatchError, match=r'eval.select was "last", now "best"'):
        check_relaunch("cats", recorded, best)


@pytest.mark.parametrize(("low", "widened"), [(8, True), (4, True), (6, False), (2, False)])
def test_a_range_with_steps_keeps_its_values_when_it_is_widened(
    make: Maker, low: int, widened: bool
) -> None:
    """From 8 in steps of 4: a wider range that begins at 6 would not hold 8."""
    old, new = ({"type": "int", "low": it, "high": it + 48, "step": 4} for it in (8, low))
    new["high"] = 96 + low % 4
    before, after = (identity(make(space=SPACE | {"model.nz": it})) for it in (old, new))
    if widened:
        assert check_relaunch("cats", before, after) == []
    else:
        with pytest.raises(StudyMismatchError, match=r"space\.model\.nz was"):
            check_relaunch("cats", before, after)
