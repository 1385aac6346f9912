"""The JSON schema of a study file, with which editors check and complete YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dcgan.config.schema import config_schema
from study.config.dimensions import is_searchable
from study.config.study_config import StudyConfig

_REFERENCE = "#/$defs/"


def study_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a study file; dotted train keys are listed by name."""
    schema = config_schema(StudyConfig)
    sections, definitions = schema["properties"], schema["$defs"]
    settings = dict(_dotted_settings(definitions))
    searchable = {key: value for key, value in settings.items() if is_searchable(key)}
    definitions["Dimension"] = sections["space"]["additionalProperties"]
    dimension = {"$ref": _REFERENCE + "Dimension"}
    _list_keys(sections["space"], dict.fromkeys(searchable, dimension))
    _list_keys(definitions["Baseline"]["properties"]["params"], searchable)
    _list_keys(sections["full_run"], settings)
    return schema


def _dotted_settings(definitions: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each dotted train key with a reference to its own schema."""
    for section, field in definitions["TrainConfig"]["properties"].items():
        if reference := field.get("$ref"):
            for key in definitions[reference.removeprefix(_REFERENCE)]["properties"]:
                yield f"{section}.{key}", {"$ref": f"{reference}/properties/{key}"}


def _list_keys(mapping: dict[str, Any], keys: dict[str, Any]) -> None:
    mapping |= {"properties": keys, "additionalProperties": False}
