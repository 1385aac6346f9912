"""The JSON schema of study files: what editors accept is what the loader accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dcgan.config.settings import dotted_keys, save_config, validate
from dcgan.config.train_config import TrainConfig
from dcgan.config.yaml_files import parse_yaml, read_yaml
from dcgan.errors import ConfigError
from study.cli.app import app
from study.config.dimensions import is_searchable
from study.config.schema import study_schema
from study.config.study_config import StudyConfig

CONFIGS = Path(__file__).parents[3] / "configs"
SHIPPED = CONFIGS / "schemas" / "study.schema.json"


def accepts(data: Any) -> bool:
    return bool(Draft202012Validator(study_schema()).is_valid(data))


def test_the_shipped_file_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        app(["schema"])
    printed = capsys.readouterr().out
    assert json.loads(printed) == study_schema()
    assert SHIPPED.read_text(encoding="utf-8") == printed
    written = tmp_path / "mine.json"
    with pytest.raises(SystemExit):
        app(["schema", "-o", str(written)])
    assert written.read_text(encoding="utf-8") == printed


def test_it_is_a_schema_and_lists_the_dotted_keys() -> None:
    schema = study_schema()
    Draft202012Validator.check_schema(schema)
    for name, part in schema["$defs"].items():
        for key, value in part.get("properties", {}).items():
            assert value.keys() & {"description", "$ref"} or key == "type", f"{name}.{key}"
    settings = [key for key in dotted_keys(TrainConfig) if "." in key]
    searchable = [key for key in settings if is_searchable(key)]
    assert [*schema["properties"]["space"]["properties"]] == searchable
    params = schema["$defs"]["Baseline"]["properties"]["params"]
    assert [*params["properties"]] == searchable
    assert [*schema["properties"]["full_run"]["properties"]] == settings


@pytest.mark.parametrize("name", ["cats", "quickstart"])
def test_shipped_configs_fit(name: str) -> None:
    path = CONFIGS / f"{name}.yaml"
    assert accepts(read_yaml(path))
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=schemas/study.schema.json"


def test_written_configs_fit(tiny_study: Callable[..., StudyConfig], tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    save_config(tiny_study(), path)
    assert accepts(read_yaml(path))


ACCEPTED = """
study: {workers: auto, timeout_minutes: 90}
objective: {mode: pareto, metric: kernel}
space:
  optim.lr_g: {type: float, low: 2e-4, high: 1e-3, log: true}
  optim.beta1: {type: float, low: 0, high: 0.5, step: 0.1}
  train.batch_size: {type: categorical, choices: [16, 32]}
  augment.blur_sigma: {type: categorical, choices: [0, [0.1, 1.2]]}
baselines:
  - {name: sharp, params: {optim.lr_g: 3e-4, augment.blur_sigma: 0}}
base: {augment: {blur_sigma: 0}}
full_run: {train.epochs: 54, eval.every_epochs: 9, augment.blur_sigma: 0}
"""


def test_what_the_loader_accepts_fits() -> None:
    data = parse_yaml(ACCEPTED, "test")
    validate(StudyConfig, data, "test")
    assert accepts(data)


NZ = {"model.nz": {"type": "int", "low": 16, "high": 32}}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"space": {}},
        {"space": {"model.nzz": NZ["model.nz"]}},
        {"space": {"train.epochs": NZ["model.nz"]}},
        {"space": {"model.nz": {"low": 16, "high": 32}}},
        {"space": {"model.nz": {"type": "int", "low": 16.5, "high": 32}}},
        {"space": NZ, "baselines": [{"name": "x", "params": {"model.nzz": 20}}]},
        {"space": NZ, "full_run": {"train.epoch": 3}},
        {"space": NZ, "full_run": {"train.epochs": "many"}},
        {"space": NZ, "study": {"workers": "all"}},
    ],
)
def test_what_the_loader_refuses_does_not_fit(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        validate(StudyConfig, data, "test")
    assert not accepts(data)
