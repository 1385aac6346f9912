"""A study's config: what loads, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcgan.config.settings import dotted_keys, get_dotted, load_train_config
from dcgan.config.train_config import TrainConfig
from dcgan.errors import ConfigError
from study.config.dimensions import is_searchable
from study.config.space import trial_config
from study.config.study_config import NAME_PATTERN, StudyConfig, load_study_config

SHIPPED = Path(__file__).resolve().parents[3] / "configs"
STUDIES = [path for path in sorted(SHIPPED.glob("*.yaml")) if "space:" in path.read_text("utf-8")]
INT = {"type": "int", "low": 4, "high": 16}
FLOAT = {"type": "float", "low": 1e-4, "high": 1e-2}

Writer = Callable[..., Path]
Maker = Callable[..., StudyConfig]


def refusal(path: Path, settings: dict[str, Any] | None = None) -> str:
    """The sentence that refuses a config file."""
    with pytest.raises(ConfigError) as caught:
        load_study_config(path, settings)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_load(path: Path) -> None:
    config = load_study_config(path)
    assert config.study.name == path.stem
    assert config.baselines[0].name == "reference recipe"
    assert config.study.trials > config.sampler.startup_trials > len(config.baselines) >= 2
    wanted = {"nz", "ngf", "ndf", "lr_g", "lr_d", "rotation_degrees", "hue"}
    assert {config.short_name(key) for key in config.space} >= wanted


@pytest.mark.parametrize(("number", "recipe"), [(0, "reference"), (1, "best")])
def test_the_baselines_of_cats_are_the_shipped_recipes(number: int, recipe: str) -> None:
    """But for the length, the scores on the way, and what cats.yaml says it leaves out."""
    config = load_study_config("cats")
    params = config.baseline_params(config.baselines[number])
    trained, shipped = trial_config(config, params, number), load_train_config(recipe)
    keys = dotted_keys(TrainConfig)
    other = {key for key in keys if get_dotted(trained, key) != get_dotted(shipped, key)}
    length = {"train.epochs", "train.seed", "train.precision", "train.grid_every_steps"}
    length |= {"train.checkpoint_every_epochs", "eval.every_epochs"}
    left_out = {"projected.side", "optim.decay_fraction", "optim.beta2", "augment.brightness"}
    left_out |= {"augment.saturation"}
    assert other <= length | (left_out if recipe == "best" else set())


def test_the_quickstart_is_found_by_name_and_is_not_a_random_search() -> None:
    config = load_study_config("quickstart")
    assert config.base.data.source == "toy_cats"
    assert config.base.eval.extractor == "auto"
    assert config.study.trials - config.sampler.startup_trials >= 6
    assert config.pruner.name == "median"
    assert config.pruner.startup_trials <= 3


def test_what_a_file_leaves_out_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("space: {model.nz: {type: int, low: 4, high: 16}}", encoding="utf-8")
    config = load_study_config(path)
    assert config.study.name == "mine"
    assert config.base == load_train_config("reference").model_copy(
        update={"train": config.base.train, "eval": config.base.eval}
    )
    assert config.study.trials == 30


REFUSED: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a typo in a section", {"pruner__warmup_epoch": 1}, ["pruner.warmup_epochs"]),
    ("a typo in the base", {"base__optim__lr_gg": 1}, ["base.optim.lr_gg", "base.optim.lr_g'"]),
    ("a typo in the space", {"space": {"model.nzz": INT}}, ["'model.nzz'", "'model.nz'"]),
    ("a bare name in the space", {"space": {"lr_g": FLOAT}}, ["'lr_g'", "'optim.lr_g'"]),
    ("an empty space", {"space": {}, "baselines": []}, ["space"]),
    (
        "reversed bounds",
        {"space": {"model.nz": {"type": "int", "low": 16, "high": 4}}},
        ["space.model.nz", "low must not be above high", "low 16", "high 4"],
    ),
    (
        "a log scale from 0",
        {"space": {"augment.hue": {"type": "float", "low": 0, "high": 0.5, "log": True}}},
        ["space.augment.hue", "low must be above 0 on a log scale"],
    ),
    (
        "step and log (int)",
        {"space": {"model.nz": INT | {"step": 2, "log": True}}},
        ["space.model.nz", "step and log exclude each other"],
    ),
    (
        "step and log (float)",
        {"space": {"augment.hue": FLOAT | {"step": 1e-4, "log": True}}},
        ["space.augment.hue", "step and log exclude each other"],
    ),
    (
        "a high off the grid",
        {"space": {"model.nz": INT | {"step": 5}}},
        ["space.model.nz", "low 4, step 5, high 16"],
    ),
    (
        "an unknown type",
        {"space": {"model.nz": INT | {"type": "integer"}}},
        ["space.model.nz", "'integer'", "'int'"],
    ),
    ("no type", {"space": {"model.nz": {"low": 1, "high": 2}}}, ["space.model.nz.type", "missing"]),
    ("no high", {"space": {"model.nz": {"type": "int", "low": 1}}}, ["space.model.nz.high"]),
    (
        "a typo in an entry",
        {"space": {"model.nz": INT | {"stepp": 2}}},
        ["space.model.nz.stepp", "step'?"],
    ),
    (
        "an infinite bound",
        {"space": {"optim.lr_g": {"type": "float", "low": 0.1, "high": float("inf")}}},
        ["space.optim.lr_g.high"],
    ),
    (
        "photos searched",
        {"space": {"data.image_size": INT}},
        ["data.image_size cannot be searched"],
    ),
    ("scoring searched", {"space": {"eval.n_samples": INT}}, ["eval.n_samples cannot be searched"]),
    ("budget searched", {"space": {"train.epochs": INT}}, ["train.epochs cannot be searched"]),
    ("the seed searched", {"space": {"train.seed": INT}}, ["train.seed cannot be searched"]),
    (
        "a bound the train config refuses",
        {"space": {"optim.lr_g": {"type": "float", "low": 1e-4, "high": 2.0}}},
        ["optim.lr_g", "less than or equal to 1", "2.0"],
    ),
    (
        "a choice the train config refuses",
        {"space": {"augment.hue": {"type": "categorical", "choices": [0, 0.9]}}},
        ["augment.hue", "0.5", "0.9"],
    ),
    (
        "fractions for whole numbers",
        {"space": {"model.nz": {"type": "float", "low": 4, "high": 16}}},
        ["model.nz", "int"],
    ),
    (
        "a choice twice",
        {"space": {"augment.hue": {"type": "categorical", "choices": [0, 0.1, 0.0]}}},
        ["space.augment.hue.choices", "twice"],
    ),
    (
        "no choices",
        {"space": {"augment.hue": {"type": "categorical", "choices": []}}},
        ["space.augment.hue.choices"],
    ),
    (
        "a baseline outside the space",
        {"baselines": [{"name": "mine", "params": {"model.nz": 17}}]},
        ["baseline 'mine'", "model.nz = 17", "outside the search space"],
    ),
    (
        "a baseline off the grid",
        {"baselines": [{"name": "mine", "params": {"model.ngf": 6}}]},
        ["baseline 'mine'", "model.ngf = 6", "outside the search space"],
    ),
    (
        "a baseline that is no choice",
        {"baselines": [{"name": "mine", "params": {"augment.rotation_degrees": 5}}]},
        ["baseline 'mine'", "augment.rotation_degrees = 5"],
    ),
    (
        "a mistyped baseline",
        {"baselines": [{"name": "mine", "params": {"model.nzz": 8}}]},
        ["baseline 'mine'", "'model.nzz'", "'model.nz'"],
    ),
    (
        "a baseline of words",
        {"baselines": [{"name": "mine", "params": {"model.nz": "many"}}]},
        ["baseline 'mine'", "many"],
    ),
    (
        "a left-out key of a baseline with a base outside the range",
        {"baselines": [{"name": "mine", "params": {}}], "base__model__nz": 100},
        ["baseline 'mine'", "model.nz", "100"],
    ),
    (
        "a left-out key of a baseline with a base that is no choice",
        {"baselines": [{"name": "mine", "params": {}}], "base__augment__rotation_degrees": 5},
        ["baseline 'mine'", "augment.rotation_degrees", "5"],
    ),
    ("a baseline without a name", {"baselines": [{"params": {}}]}, ["baselines.0.name"]),
    ("a name with a slash", {"study__name": "a/b"}, ["study.name", "not a path", "a/b"]),
    ("a name that climbs", {"study__name": ".."}, ["study.name", "not a path"]),
    ("no trials", {"study__trials": 0}, ["study.trials", "greater than or equal to 1", "0"]),
    ("no time", {"study__timeout_minutes": 0}, ["study.timeout_minutes", "greater than 0"]),
    ("a full run with a typo", {"full_run": {"train.epoch": 9}}, ["full_run", "'train.epochs'"]),
    ("a full run of 0 epochs", {"full_run": {"train.epochs": 0}}, ["full_run", "train.epochs"]),
    (
        "a bracket above the budget",
        {"pruner": {"name": "hyperband", "min_epochs": 50}},
        ["pruner", "min_epochs", "50"],
    ),
]


@pytest.mark.parametrize(
    ("changes", "words"), [pytest.param(*case, id=name) for name, *case in REFUSED]
)
def test_a_wrong_config_is_refused_in_one_sentence(
    study_file: Writer, changes: dict[str, Any], words: list[str]
) -> None:
    if "space" in changes:
        changes = {"baselines": [], **changes}
    path = study_file(**changes)
    sentence = refusal(path)
    assert sentence.startswith(str(path))
    assert [word for word in words if word not in sentence] == []


def test_a_train_config_is_not_a_study() -> None:
    assert "dcgan train reference" in refusal(Path("reference"))


def test_a_missing_config_names_those_there_are() -> None:
    sentence = refusal(Path("quickstrat"))
    assert "'quickstrat'" in sentence
    assert "quickstart" in sentence


def test_a_file_that_is_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("space: [", encoding="utf-8")
    assert "not valid YAML" in refusal(path)


def test_settings_reach_the_base_with_and_without_its_prefix(study_file: Writer) -> None:
    settings = {"train.epochs": 7, "base.model.ndf": 6, "study.trials": 9, "pruner.name": "median"}
    config = load_study_config(study_file(), settings)
    assert config.base.train.epochs == 7
    assert config.base.model.ndf == 6
    assert config.study.trials == 9
    assert config.pruner.name == "median"
    untouched = load_study_config(study_file())
    assert config.space == untouched.space
    assert config.base.data == untouched.base.data


def test_a_mistyped_setting_names_the_nearest(study_file: Writer) -> None:
    sentence = refusal(study_file(), {"train.epoch": 7})
    assert "--set: there is no setting 'train.epoch'" in sentence
    assert "train.epochs'?" in sentence


def test_a_setting_is_checked_like_the_file(study_file: Writer) -> None:
    assert "study.trials" in refusal(study_file(), {"study.trials": 0})
    assert "study.name" in refusal(study_file(), {"study.name": "../up"})


def test_a_third_value_needs_pareto_mode(study_file: Writer) -> None:
    sentence = refusal(study_file(), {"objective.recognised": True})
    assert sentence.endswith(
        "objective: recognised adds a third value to pareto mode, but mode is score; set "
        "objective.mode to pareto, or leave objective.recognised out"
    )
    both = {"objective.recognised": True, "objective.mode": "pareto"}
    assert load_study_config(study_file(), both).objective.recognised


def test_the_name_can_be_given_where_the_file_name_is_none(study_file: Writer) -> None:
    path = study_file()
    odd = path.with_name("my cats.yaml")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    del data["study"]["name"]
    odd.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    assert "study.name" in refusal(odd)
    assert load_study_config(odd, {"study.name": "mine"}).study.name == "mine"


@pytest.mark.parametrize("name", ["a", "cats-2", "v1.0_b", "0"])
def test_plain_names(name: str) -> None:
    assert NAME_PATTERN.fullmatch(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-a", ".hidden", "a\n", "x" * 101])
def test_names_that_are_not_plain(name: str, tiny_data: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="plain name"):
        StudyConfig.model_validate(tiny_data(study__name=name))


def test_short_names_stay_distinct(tiny_study: Maker) -> None:
    space = {"model.nz": INT, "optim.lr_g": FLOAT}
    config = tiny_study(space=space, baselines=[])
    assert [config.short_name(key) for key in space] == ["nz", "lr_g"]
    config = tiny_study()
    names = [config.short_name(key) for key in config.space]
    assert names == ["nz", "ngf", "lr_g", "rotation_degrees", "blur_sigma"]


def test_every_searchable_key_can_be_told_by_its_short_name(tiny_study: Maker) -> None:
    from dcgan.config.settings import dotted_keys
    from dcgan.config.train_config import TrainConfig

    keys = [key for key in dotted_keys(TrainConfig) if is_searchable(key)]
    assert {"model.nz", "train.batch_size", "augment.blur_sigma", "optim.beta1"} <= set(keys)
    assert not [key for key in keys if key.startswith(("data.", "eval."))]
    lasts = [key.rpartition(".")[2] for key in keys]
    assert len(set(lasts)) == len(lasts)


def test_a_baseline_takes_what_it_leaves_out_from_the_base(tiny_study: Maker) -> None:
    config = tiny_study(base__augment__blur_sigma=[0.1, 1.2])
    params = config.baseline_params(config.baselines[0])
    assert params == {"nz": 8, "ngf": 8, "lr_g": 2e-3, "rotation_degrees": 0, "blur_sigma": 0}
    bare = config.baselines[0].model_copy(update={"params": {}})
    assert config.baseline_params(bare) == {
        "nz": config.base.model.nz,
        "ngf": config.base.model.ngf,
        "lr_g": config.base.optim.lr_g,
        "rotation_degrees": 0,
        "blur_sigma": "[0.1, 1.2]",
    }


def test_a_switch_given_as_zero_is_the_base_that_is_off(tiny_study: Maker) -> None:
    """`blur_sigma: 0` in the base means [0, 0]; the choice 0 is the same point."""
    config = tiny_study(base__augment__blur_sigma=0)
    bare = config.baselines[0].model_copy(update={"params": {}})
    assert config.baseline_params(bare)["blur_sigma"] == 0


def test_numbers_keep_the_form_of_the_choice(tiny_study: Maker) -> None:
    config = tiny_study(
        baselines=[
            {
                "name": "x",
                "params": {"augment.rotation_degrees": 10.0, "augment.blur_sigma": [0.1, 1.2]},
            }
        ]
    )
    params = config.baseline_params(config.baselines[0])
    assert params["rotation_degrees"] == 10
    assert type(params["rotation_degrees"]) is int
    assert params["blur_sigma"] == "[0.1, 1.2]"


def test_a_saved_config_loads_as_itself(tiny_study: Maker, tmp_path: Path) -> None:
    from dcgan.config.settings import save_config

    config = tiny_study(study__timeout_minutes=2.5)
    save_config(config, tmp_path / "study.yaml")
    assert load_study_config(tmp_path / "study.yaml") == config
    assert StudyConfig.model_validate_json(config.model_dump_json()) == config


def test_values_of_projected_must_fit_each_other(tiny_study: Maker) -> None:
    def choices(*values: Any) -> dict[str, Any]:
        return {"type": "categorical", "choices": list(values)}

    kinds = {"model.discriminator": choices("dcgan", "projected")}
    with pytest.raises(ValueError, match=r"projected\.scales contains 32, of which 32 pixels"):
        tiny_study(space=kinds | {"projected.side": choices(32, 64)}, baselines=[])
    with pytest.raises(ValueError, match=r"projected\.scales contains 32, of which 32 pixels"):
        tiny_study(space=kinds | {"projected.scales": choices([4], [4, 32])}, baselines=[])
    # Without the projected discriminator nothing of it matters.
    tiny_study(space={"projected.side": choices(32, 64)}, baselines=[])
