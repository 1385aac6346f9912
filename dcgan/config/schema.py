"""JSON schemas of config files, with which editors check and complete YAML."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema


class _Generator(GenerateJsonSchema):
    """Pydantic's generator without a title for each key, which would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def config_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a config file; docstrings become descriptions."""
    schema = model.model_json_schema(schema_generator=_Generator)
    for part in (schema, *schema["$defs"].values()):
        for field in part["properties"].values():
            if "$ref" in field:  # a section: its keys have their own defaults
                field.pop("default", None)
    return {"$schema": _Generator.schema_dialect, **schema}
