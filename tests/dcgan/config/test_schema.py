"""The JSON schema of train configs: what editors accept is what the loader accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dcgan.cli.app import app
from dcgan.config.schema import config_schema
from dcgan.config.settings import dotted_keys, save_config, validate
from dcgan.config.train_config import TrainConfig
from dcgan.config.yaml_files import find_config, read_yaml
from dcgan.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = CONFIGS / "schemas" / "train.schema.json"


def accepts(data: Any) -> bool:
    return bool(Draft202012Validator(config_schema(TrainConfig)).is_valid(data))


def test_the_shipped_file_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        app(["schema"])
    printed = capsys.readouterr().out
    assert json.loads(printed) == config_schema(TrainConfig)
    assert SHIPPED.read_text(encoding="utf-8") == printed
    written = tmp_path / "folder" / "mine.json"
    with pytest.raises(SystemExit):
        app(["schema", "-o", str(written)])
    assert capsys.readouterr().out.strip() == str(written)
    assert written.read_text(encoding="utf-8") == printed


def test_it_is_a_schema_and_describes_every_key() -> None:
    schema = config_schema(TrainConfig)
    Draft202012Validator.check_schema(schema)
    described = []
    for section, field in schema["properties"].items():
        if "$ref" in field:
            keys = schema["$defs"][field["$ref"].removeprefix("#/$defs/")]["properties"]
            described += [f"{section}.{key}" for key, value in keys.items() if value["description"]]
    assert described == [key for key in dotted_keys(TrainConfig) if "." in key]


def test_shipped_and_written_configs_fit(
    tiny_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    assert accepts(read_yaml(CONFIGS / "reference.yaml"))
    assert accepts({})
    resolved = tmp_path / "config.yaml"
    save_config(tiny_config(), resolved)
    assert accepts(read_yaml(resolved))
    first = (CONFIGS / "reference.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schemas/train.schema.json"


@pytest.mark.parametrize(
    "data",
    [
        {"augment": {"blur_sigma": 0}},
        {"augment": {"blur_sigma": [0.1, 1.2]}},
        {"optim": {"lr_g": 2e-4}},
        {"data": {"root": None, "classes": ["cat"]}},
        {"train": {"epochs": 3.0}},
        {"provenance": {"study": "mine", "trial": 7}},
    ],
)
def test_what_the_loader_accepts_fits(data: dict[str, Any]) -> None:
    validate(TrainConfig, data, "test")
    assert accepts(data)


@pytest.mark.parametrize(
    "data",
    [
        {"augment": {"blur_sigma": 1}},
        {"augment": {"blur_sigma": [0.1, 0.2, 0.3]}},
        {"train": {"epoch": 3}},
        {"train": {"epochs": 0}},
        {"train.epochs": 3},
        {"data": {"image_size": 65}},
        {"optim": None},
    ],
)
def test_what_the_loader_refuses_does_not_fit(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        validate(TrainConfig, data, "test")
    assert not accepts(data)


def test_schemas_are_no_named_configs() -> None:
    with pytest.raises(
        ConfigError, match=r"one of the named configs: best, cats, quickstart, reference$"
    ):
        find_config("schemas")
    with pytest.raises(ConfigError, match=r"there is no config named 'train\.schema'"):
        find_config("train.schema")
