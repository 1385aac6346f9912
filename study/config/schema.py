"""The JSON schema of a study file; editors check and complete YAML with it."""

from __future__ import annotations

from typing import Any

from dcgan.config.schema import config_schema
from dcgan.config.settings import dotted_keys
from dcgan.config.train_config import TrainConfig
from study.config.dimensions import is_searchable
from study.config.study_config import StudyConfig


def study_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a study file; dotted train keys are listed by name."""
    schema = config_schema(StudyConfig)
    sections, definitions = schema["properties"], schema["$defs"]
    train = definitions["TrainConfig"]["properties"]
    settings = {}
    for key in dotted_keys(TrainConfig):
        section, dot, name = key.partition(".")
        if dot:
            settings[key] = {"$ref": f"{train[section]['$ref']}/properties/{name}"}
    searchable = {key: value for key, value in settings.items() if is_searchable(key)}
    definitions["Dimension"] = sections["space"]["additionalProperties"]
    dimensions = {key: {"$ref": "#/$defs/Dimension"} for key in searchable}
    for mapping, keys in (
        (sections["space"], dimensions),
        (definitions["Baseline"]["properties"]["params"], searchable),
        (sections["full_run"], settings),
    ):
        mapping.update(properties=keys, additionalProperties=False)
    return schema
