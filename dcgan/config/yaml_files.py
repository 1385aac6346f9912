"""YAML files: found by path or by name, read into plain data, written.

`2e-4` is a number (in YAML 1.1, which PyYAML implements, it is text). A repeated key is refused.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from dcgan.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 2e-4 as a number and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`, resolved by PyYAML
                continue
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key '{key}' is written twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML text. Raises `ConfigError`, which names `source`, if it is not valid."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader subclass: builds plain data only
    # PyYAML raises others than its own for bad dates and numbers and for endless nesting.
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        problem = re.sub(r"\s+", " ", str(error))
        raise ConfigError(f"{source} is not valid YAML: {problem}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises `ConfigError` if the file is missing, unreadable, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file in UTF-8"
        raise ConfigError(f"cannot read the config {path}: {reason}") from None
    data = parse_yaml(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        kind = "text" if isinstance(data, str) else type(data).__name__
        raise ConfigError(f"{path} must hold 'section: {{key: value}}' lines, not a {kind}")
    return data


def find_config(name: str | os.PathLike[str]) -> Path:
    """Find a config by path, or by name in ./configs and then among the shipped ones.

    Raises `ConfigError`, which lists the shipped names, if there is no such file.
    """
    given = Path(name)
    named = [folder / f"{given}.yaml" for folder in config_folders()]
    is_path = given.suffix in {".yaml", ".yml"} or len(given.parts) > 1
    for path in (given,) if is_path else (*named, given):
        if path.is_file():
            return path
    shipped = {path.stem for folder in config_folders() for path in folder.glob("*.yaml")}
    what = f"config file {given}" if is_path else f"config named '{given}'"
    raise ConfigError(
        f"there is no {what}; give a path or one of the named configs: {', '.join(sorted(shipped))}"
    )


def config_folders() -> list[Path]:
    """Folders searched for named configs: the working one, the shipped one, the checkout's."""
    package = Path(__file__).resolve().parents[1]
    return [Path("configs"), package / "configs", package.parent / "configs"]


def dump_yaml(data: Any) -> str:
    """YAML text in the given key order; `load_train_config` reads it back to equal values."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
