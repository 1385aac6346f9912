"""Configs: defaults, files, overrides, and what a person who mistypes something is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcgan.config.settings import (
    dotted_keys,
    get_dotted,
    load_train_config,
    override,
    parse_assignments,
    save_config,
    validate,
)
from dcgan.config.train_config import TrainConfig
from dcgan.config.yaml_files import find_config, parse_yaml, read_yaml
from dcgan.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    """What loading this text says; always one line that names the file."""
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_train_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_defaults_are_the_reference_recipe() -> None:
    assert load_train_config(CONFIGS / "reference.yaml") == TrainConfig()


def test_reference_numbers() -> None:
    """DESIGN.md §2, spelled out here a second time."""
    config = TrainConfig()
    assert (config.model.nz, config.model.ngf, config.model.ndf) == (30, 64, 32)
    assert config.model.leaky_slope == 0.1
    assert (config.optim.lr_g, config.optim.lr_d) == (3e-4, 2e-4)
    assert (config.optim.beta1, config.optim.beta2) == (0.5, 0.999)
    assert (config.train.epochs, config.train.batch_size, config.train.seed) == (54, 32, 84)
    assert config.train.deterministic is True
    assert (config.train.grid_every_steps, config.train.log_every_steps) == (55, 5)
    assert config.data.image_size == 64
    augment = config.augment
    assert (augment.rotation_degrees, augment.hue, augment.flip) == (0, 0, 0)
    assert (augment.brightness, augment.saturation) == (0.2, 0.2)
    assert (augment.blur_sigma, augment.blur_kernel) == ((0.1, 1.2), (5, 9))


def test_reference_file_writes_every_setting_out() -> None:
    written = read_yaml(CONFIGS / "reference.yaml")
    keys = {f"{section}.{key}" for section, values in written.items() for key in values}
    assert set(dotted_keys(TrainConfig)) - keys == {
        "data.toy_count",
        "data.toy_seed",
        "provenance",
    }


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    data = read_yaml(path)
    if "space" in data:  # a study's: its base is a train config
        assert isinstance(validate(TrainConfig, data.get("base", {}), path.name), TrainConfig)
        with pytest.raises(ConfigError, match="study config"):
            load_train_config(path)
    else:
        assert isinstance(load_train_config(path), TrainConfig)


def test_named_config_is_found_here_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("reference").samefile(CONFIGS / "reference.yaml")
    (tmp_path / "configs").mkdir()
    own = tmp_path / "configs" / "reference.yaml"
    own.write_text("train: {epochs: 3}")
    assert find_config("reference").samefile(own)
    assert load_train_config("reference").train.epochs == 3


@pytest.mark.parametrize("name", ["refrence", "refrence.yaml", "no/such/reference"])
def test_missing_config_names_the_shipped_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no config.*reference") as caught:
        load_train_config(name)
    assert name in str(caught.value)


def test_empty_file_is_the_reference(tmp_path: Path) -> None:
    assert load_train_config(write(tmp_path, "# nothing\n")) == TrainConfig()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {epoch: 3}", ["'train.epoch'", "did you mean 'train.epochs'"]),
        ("optim: {lr_gen: 3e-4}", ["'optim.lr_gen'", "did you mean 'optim.lr_g'"]),
        ("trian: {epochs: 3}", ["'trian'", "train"]),
        ("epochs: 3", ["'epochs'", "did you mean 'train.epochs'"]),
        ("model: {zzzz: 3}", ["'model.zzzz'", "did you mean 'model.nz'"]),
        ("train: {epochs: 0}", ["train.epochs", "greater than or equal to 1", "0"]),
        ("optim: {lr_g: -1e-4}", ["optim.lr_g", "greater than 0", "-0.0001"]),
        ("optim: {lr_g: .nan}", ["optim.lr_g", "finite"]),
        ("data: {image_size: 48}", ["data.image_size", "32, 64 or 128", "48"]),
        ("data: {classes: []}", ["data.classes", "at least one folder name"]),
        ("data: {classes: [a/b]}", ["data.classes", "without slashes"]),
        ("augment: {blur_sigma: [2, 1]}", ["augment.blur_sigma", "low <= high"]),
        ("augment: {blur_kernel: [4, 9]}", ["augment.blur_kernel", "odd"]),
        ("train: {batch_size: 1}", ["train.batch_size", "greater than or equal to 2"]),
        ("train: {seed: 1.5}", ["train.seed", "1.5"]),
        ("train: {epochs: many}", ["train.epochs", "'many'"]),
        ("train: {epochs: 3, epochs: 4}", ["'epochs'", "twice", "line 1"]),
        ("train:\n  seed: 1\ntrain:\n  seed: 2", ["'train'", "twice", "line 3"]),
        ("train: [3", ["not valid YAML"]),
        ("- train", ["not a list"]),
        ("just words", ["not a text"]),
        ("train: 3", ["train", "3"]),
        ("1: 2", ["1"]),
        ("a: !!python/object/apply:os.getcwd []", ["not valid YAML"]),
        ("data: {image_size: 32}\naugment: {blur_kernel: [31, 31]}", []),
    ],
)
def test_refused_with_one_sentence(tmp_path: Path, text: str, said: list[str]) -> None:
    if not said:  # the largest kernel fits the smallest image: accepted
        assert load_train_config(write(tmp_path, text)).augment.blur_kernel == (31, 31)
        return
    message = refusal(tmp_path, text)
    for part in said:
        assert part in message


def test_every_problem_of_a_file_is_named(tmp_path: Path) -> None:
    message = refusal(tmp_path, "train: {epochs: 0, epoch: 2}\nmodel: {nz: 0}")
    assert all(key in message for key in ("train.epochs", "'train.epoch'", "model.nz"))


def test_unreadable_files(tmp_path: Path) -> None:
    binary = tmp_path / "photo.yaml"
    binary.write_bytes(b"\xff\xd8\xff\xe0\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        load_train_config(binary)
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(ConfigError, match="there is no config file"):
        load_train_config(folder)
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    "text", ["2024-13-45", "!!int x", "!!float x", "!!timestamp x", "[" * 1200]
)
def test_odd_yaml_values_are_config_errors(text: str) -> None:
    """PyYAML lets ValueError and RecursionError out for these."""
    with pytest.raises(ConfigError, match="--set"):
        parse_assignments([f"train.seed={text}"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("2E-4", 2e-4),
        ("1.5e3", 1500.0),
        ("+1e2", 100.0),
        (".5e1", 5.0),
        ("-1e0", -1),
    ],
)
def test_exponents_are_numbers(text: str, value: float) -> None:
    parsed = parse_yaml(text, "here")
    assert isinstance(parsed, float)
    assert parsed == value


@pytest.mark.parametrize("text", ["e4", "2e", "2e-", "1e5x", "'2e-4'"])
def test_other_text_stays_text(text: str) -> None:
    assert isinstance(parse_yaml(text, "here"), str)


def test_zero_blur_is_off(tmp_path: Path) -> None:
    for zero in ("0", "[0, 0]", "0.0"):
        config = load_train_config(write(tmp_path, f"augment: {{blur_sigma: {zero}}}"))
        assert config.augment.blur_sigma == (0.0, 0.0)


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().train.epochs = 3  # type: ignore[misc]


def test_override_changes_only_what_it_names() -> None:
    changed = override(TrainConfig(), {"optim.lr_d": 5e-5, "data.root": "/photos"})
    assert changed.optim.lr_d == 5e-5
    assert changed.data.root == Path("/photos")
    back = override(changed, {"optim.lr_d": 2e-4, "data.root": None})
    assert back == TrainConfig()
    assert override(TrainConfig(), {}) == TrainConfig()


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("train.epoch=3", "did you mean 'train.epochs'"),
        ("lr_g=3", "did you mean 'optim.lr_g'"),
        ("train=3", "there is no setting 'train'"),
        ("train.epochs=0", "train.epochs: .*greater than or equal to 1, but got 0"),
        ("train.epochs", "must be key=value"),
        ("=3", "must be key=value"),
        ("train.epochs=[3", "not valid YAML"),
    ],
)
def test_refused_overrides(assignment: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        override(TrainConfig(), parse_assignments([assignment]))
    assert "--set" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_assignments_are_yaml() -> None:
    assignments = ["a.b=2e-4", "c=[1, 2]", "d=null", "e=text", " f = 3", "g=x=y", "h="]
    assert parse_assignments(assignments) == {
        "a.b": 2e-4,
        "c": [1, 2],
        "d": None,
        "e": "text",
        "f": 3,
        "g": "x=y",
        "h": None,
    }


def test_dotted_keys_reach_every_setting() -> None:
    keys = dotted_keys(TrainConfig)
    assert len(keys) == len(set(keys))
    config = TrainConfig()
    for key in keys:
        get_dotted(config, key)
    assert override(config, {key: get_dotted(config, key) for key in keys}) == config


def test_save_and_load_give_the_same_config(tmp_path: Path) -> None:
    config = override(
        TrainConfig(),
        {
            "data.root": "/a/photo's “folder”: #1",
            "data.classes": ["cat", "no", "7"],
            "augment.blur_sigma": 0,
            "train.threads": 2,
            "provenance": {"study": "cats", "trial": 7, "scores": {"fd_random": 1 / 3}},
        },
    )
    path = tmp_path / "deep" / "config.yaml"
    save_config(config, path, header="from a test\ntwo lines")
    assert path.read_text().startswith("# from a test\n# two lines\n")
    assert load_train_config(path) == config
    assert [file.name for file in path.parent.iterdir()] == ["config.yaml"]
    save_config(TrainConfig(), path)
    assert load_train_config(path) == TrainConfig()
    assert "provenance" not in path.read_text()


@settings(max_examples=60, deadline=None)
@given(
    lr=st.floats(min_value=0.0, max_value=1.0, exclude_min=True, allow_subnormal=True),
    hue=st.floats(min_value=0.0, max_value=0.5),
    seed=st.integers(min_value=0, max_value=2**63 - 1),
)
def test_numbers_survive_a_file_exactly(
    tmp_path_factory: pytest.TempPathFactory, lr: float, hue: float, seed: int
) -> None:
    config = override(TrainConfig(), {"optim.lr_g": lr, "augment.hue": hue, "train.seed": seed})
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    save_config(config, path)
    loaded = load_train_config(path)
    assert loaded == config
    assert (loaded.optim.lr_g, loaded.augment.hue, loaded.train.seed) == (lr, hue, seed)
    assert override(config, parse_assignments([f"optim.lr_g={lr!r}"])) == config


def test_paths_of_scoring_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = override(TrainConfig(), {"eval.extractor": "inception", "eval.weights": "w.pth"})
    assert config.eval.weights == tmp_path / "w.pth"


@pytest.mark.parametrize("name", ["", "Random", "encoder.pt", "a:b:c", "module:", "one two"])
def test_unknown_extractors(name: str) -> None:
    with pytest.raises(
        ConfigError, match="must be auto, joint, imagenet, inception, layout, random or module"
    ):
        override(TrainConfig(), {"eval.extractor": name})


def test_exported_programs_are_refused_with_three_lines_that_load_one(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("eval: {extractor: encoder.pt2}\n")
    said = r"""'program = torch\.export\.load\("encoder\.pt2"\)\.module\(\)'.* to encoder:encode$"""
    with pytest.raises(ConfigError, match=said):
        load_train_config(path)
    with pytest.raises(ConfigError, match=said):
        load_train_config("reference", {"eval.extractor": "encoder.pt2"})
    # what an earlier release wrote can be read, and the file be used with another extractor
    assert override(TrainConfig(), {"eval.extractor": "encoder.pt2"}).eval.extractor
    assert load_train_config(path, {"eval.extractor": "layout"}).eval.extractor == "layout"


def test_weights_belong_to_inception() -> None:
    with pytest.raises(ConfigError, match="weights are Inception's"):
        override(TrainConfig(), {"eval.extractor": "random", "eval.weights": "w.pth"})


def test_yaml_may_share_settings(tmp_path: Path) -> None:
    """By anchors and merge keys, as YAML 1.1 has them."""
    text = "data: &shared {source: toy_cats}\ntrain: {<<: {epochs: 3}, seed: 1}\n"
    (tmp_path / "merged.yaml").write_text(text)
    config = load_train_config(tmp_path / "merged.yaml")
    assert (config.train.epochs, config.train.seed, config.data.source) == (3, 1, "toy_cats")


@pytest.mark.parametrize("text", ["train.epochs=yes", "optim.lr_g=true", "data.toy_count=on"])
def test_truth_is_no_number(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a number, not true or false"):
        override(TrainConfig(), parse_assignments([text]))


def test_truth_is_truth() -> None:
    assert override(TrainConfig(), {"train.cuda_graphs": False}).train.cuda_graphs is False
