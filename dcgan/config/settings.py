"""Configs by dotted keys: load, check, override, read, save.

Errors name the file, the key and the nearest valid name.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, get_args

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

    Raises `ConfigError` if the file, a key or a value is wrong.
    """
    path = find_config(name)
    data = read_yaml(path)
    if "base" in data and "space" in data:
        raise ConfigError(
            f"{path} is a study config: run it with 'study run', or export its best trial's "
            "train config with 'study export'"
        )
    config = override(validate(TrainConfig, data, str(path), path.parent), overrides or {})
    refuse_program(config.eval.extractor)
    return config


def override(config: ModelT, values: Mapping[str, Any], source: str = "--set") -> ModelT:
    """A copy of a config with dotted keys replaced, checked as a whole.

    Raises `ConfigError` if a key does not exist or a value is refused.
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
    return attrgetter(key)(config)


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `--set` arguments `key=value` into a mapping; values are YAML.

    Raises `ConfigError` if an argument has no `=` or its value is not YAML.

    Examples:
        >>> parse_assignments(["train.epochs=20", "optim.lr_d=2e-4"])
        {'train.epochs': 20, 'optim.lr_d': 0.0002}
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment}: must be key=value, as in optim.lr_d=2e-4")
        values[key.strip()] = parse_yaml(text, f"--set {assignment}")
    return values


@cache
def dotted_keys(model: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Every settable key of a config class, sections joined with dots."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        classes = _config_classes(field.annotation)
        if classes == [field.annotation]:  # a section, not a mapping or list of them
            keys += dotted_keys(classes[0], f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return tuple(keys)


def nearest(key: str, valid: Iterable[str]) -> str:
    """A hint that names the first key with the same last part, the most similar key, or all."""
    lasts: dict[str, str] = {}  # the last part of a key → the first key that ends in it
    names = list(valid)
    for name in names:
        lasts.setdefault(name.rpartition(".")[2], name)
    last = key.rpartition(".")[2]
    found = [lasts[last]] if last in lasts else difflib.get_close_matches(key, names, n=1)
    found = found or [lasts[name] for name in difflib.get_close_matches(last, lasts, n=1)]
    if found:
        return f"; did you mean '{found[0]}'?"
    return f"; valid are: {', '.join(sorted(set(names)))}"


def validate(model: type[ModelT], data: Any, source: str, folder: Path | None = None) -> ModelT:
    """Build a config from plain data. Relative paths are meant from `folder`, else the working one.

    Raises `ConfigError` with a clause per problem that names key, problem and nearest valid name.
    """
    try:
        return model.model_validate(data, context={"folder": folder or Path()})
    except ValidationError as error:
        problems = [_explain(model, problem) for problem in error.errors()]
        raise ConfigError(f"{source}: {'; '.join(problems)}") from None


def _explain(model: type[BaseModel], problem: Any) -> str:
    section, parts = _locate(model, problem["loc"])
    key, kind, shown = ".".join(parts), problem["type"], problem["input"]
    if kind == "extra_forbidden":
        prefix = "".join(f"{part}." for part in parts[:-1])
        here = [prefix + name for name in section.model_fields]
        return f"there is no setting '{key}'{nearest(key, [*here, *dotted_keys(section, prefix)])}"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "union_tag_not_found":
        return f"{key}.type is missing"
    if kind in ("model_type", "model_attributes_type"):
        return f"{key} must hold 'key: value' settings, but got {shown!r}"
    if kind == "tuple_type":
        return f"{key} must be a list, as in [{shown!r}], but got {shown!r}"
    message = problem["msg"].removeprefix("Value error, ")
    message = (f"{key}: " if key else "") + message[0].lower() + message[1:]
    return message if isinstance(shown, dict | BaseModel) else f"{message}, but got {shown!r}"


def _locate(model: type[BaseModel], location: Iterable[Any]) -> tuple[type[BaseModel], list[str]]:
    """The innermost config class of a pydantic error's location, and the key as written.

    A tagged union adds its tag to the location; no file holds that part, so it is left out.
    """
    classes, parts = [model], list[str]()
    for part in location:
        types = [(one, one.model_fields.get("type")) for one in classes]
        tagged = [one for one, field in types if field and part in get_args(field.annotation)]
        if tagged:
            classes = tagged
            continue
        parts.append(str(part))
        if field := classes[0].model_fields.get(str(part)):
            classes = _config_classes(field.annotation) or classes
    return classes[0], parts


def _config_classes(annotation: Any) -> list[type[BaseModel]]:
    """The config classes in an annotation, such as A and B in `dict[str, A | B]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _config_classes(part)]


def save_config(config: BaseModel, path: Path, header: str = "") -> None:
    """Write a config as YAML, atomically; `header` lines become comments."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    data = config.model_dump(mode="json")
    if not data.get("provenance", True):
        del data["provenance"]
    write_text_atomic(path, comment + dump_yaml(data))
