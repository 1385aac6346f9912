"""Configs by dotted keys: load, check, override, read, save.

Errors name the file, the key and the nearest valid name.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dcgan.config.train_config import TrainConfig, refuse_program
from dcgan.config.yaml_files import dump_yaml, find_config, parse_yaml, read_yaml
from dcgan.errors import ConfigError
from dcgan.runtime.files import write_text_atomic

ModelT = TypeVar("ModelT", bound=BaseModel)


def load_train_config(
    name: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Load a training config (a path or a named config) and apply dotted overrides.

    Raises:
        ConfigError: file, key or value is wrong.
    """
    path = find_config(name)
    data = read_yaml(path)
    if "base" in data and "space" in data:
        raise ConfigError(
            f"{path} is a study config: run it with 'study run', or export its best trial's "
            "train config with 'study export'"
        )
    config = override(validate(TrainConfig, data, str(path)), overrides or {})
    refuse_program(config.eval.extractor)
    return config


def override(config: ModelT, values: Mapping[str, Any], source: str = "--set") -> ModelT:
    """Return a copy of a config with dotted keys replaced, checked as a whole.

    Raises:
        ConfigError: a key does not exist or a value is refused.
    """
    valid = dotted_keys(type(config))
    data = config.model_dump(mode="json")
    for key, value in values.items():
        if key not in valid:
            raise ConfigError(f"{source}: there is no setting '{key}'{nearest(key, valid)}")
        set_dotted(data, key, value)
    return validate(type(config), data, source) if values else config


def set_dotted(data: dict[str, Any], key: str, value: Any) -> None:
    """Set `data["a"]["b"]` for the key `a.b`, making missing sections."""
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
    data[last] = value


def get_dotted(config: BaseModel, key: str) -> Any:
    """Read `config.a.b` for the key `a.b`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `--set` arguments `key=value` into a mapping; values are YAML.

    Raises:
        ConfigError: an argument has no `=` or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment}: must be key=value, as in train.epochs=20")
        values[key.strip()] = parse_yaml(text, f"--set {assignment}")
    return values


def dotted_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every settable key of a config class, sections joined with dots."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = _section_class(field.annotation)
        keys += dotted_keys(section, f"{prefix}{name}.") if section else [prefix + name]
    return keys


def nearest(key: str, valid: Iterable[str]) -> str:
    """A hint naming the most similar valid key (or key of the same last part), or nothing."""
    names = list(valid)
    last = key.rpartition(".")[2]
    same_last = [name for name in names if name.rpartition(".")[2] == last]
    lasts = {name.rpartition(".")[2]: name for name in names}
    similar_last = difflib.get_close_matches(last, list(lasts), n=1, cutoff=0.6)
    similar = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    found = same_last[:1] or similar or [lasts[name] for name in similar_last]
    return (
        f"; did you mean '{found[0]}'?"
        if found
        else f"; valid are: {', '.join(sorted(set(names)))}"
    )


def validate(model: type[ModelT], data: Any, source: str) -> ModelT:
    """Build a config from plain data, turning pydantic's errors into one sentence each.

    Raises:
        ConfigError: one line per problem, each naming key, problem and nearest valid name.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_explain(model, problem) for problem in error.errors()]
        raise ConfigError(f"{source}: {'; '.join(problems)}") from None


def _explain(model: type[BaseModel], problem: Any) -> str:
    section, parts = _walk(model, problem["loc"])
    key = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        prefix = "".join(f"{part}." for part in parts[:-1])
        here = [prefix + name for name in section.model_fields]
        return f"there is no setting '{key}'{nearest(key, here + dotted_keys(section, prefix))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "union_tag_not_found":
        return f"{key}.type is missing"
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"{key} must hold 'key: value' settings, but got {problem['input']!r}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    shown = problem["input"]
    is_group = isinstance(shown, dict | BaseModel)
    where = f"{key}: " if key else ""
    return f"{where}{message}" + ("" if is_group else f", but got {shown!r}")


def _walk(model: type[BaseModel], location: Iterable[int | str]) -> tuple[Any, list[str]]:
    """Follow a pydantic error's location: the innermost config class, and the key as written.

    A tagged union adds its tag to the location; no file holds that part, so it is left out.
    """
    inner: type[BaseModel] = model
    annotation: Any = model
    parts: list[str] = []
    for part in location:
        members = _union_members(annotation)
        tagged = [member for member in members if part in _tags(member)]
        if len(members) > 1 and tagged:
            annotation = inner = tagged[0]
            continue
        parts.append(str(part))
        section = _section_class(annotation)
        if section:
            inner = section
            field = section.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:  # an entry of a mapping or a list
            arguments = [item for item in get_args(annotation) if item is not Ellipsis]
            annotation = arguments[-1] if arguments else None
    return _section_class(annotation) or inner, parts


def _union_members(annotation: Any) -> list[Any]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    is_union = get_origin(annotation) in (Union, UnionType)
    return list(get_args(annotation)) if is_union else [annotation]


def _tags(member: Any) -> tuple[Any, ...]:
    fields = getattr(member, "model_fields", {})
    return get_args(fields["type"].annotation) if "type" in fields else ()


def _section_class(annotation: Any) -> type[BaseModel] | None:
    for candidate in _union_members(annotation):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def save_config(config: BaseModel, path: Path, header: str = "") -> None:
    """Write a config as YAML, atomically; `header` lines become comments."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    data = config.model_dump(mode="json")
    if not data.get("provenance", True):
        del data["provenance"]
    write_text_atomic(path, comment + dump_yaml(data))
