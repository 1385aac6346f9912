"""Who may import and call what, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import study

PACKAGE = Path(study.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr


def test_only_one_module_imports_mlflow() -> None:
    importers = {
        path.name
        for path in MODULES
        if any(name.split(".")[0] == "mlflow" for name in imported(ast.parse(path.read_text())))
    }
    assert importers == {"mlflow_client.py"}


def test_only_space_asks_for_values() -> None:
    callers = {
        path.name
        for path in MODULES
        if any(name.startswith("suggest_") for name in called(ast.parse(path.read_text())))
    }
    assert callers == {"space.py"}


def test_the_trainer_knows_nothing_of_the_study() -> None:
    trainer = PACKAGE.parent / "dcgan"
    for path in sorted(trainer.rglob("*.py")):
        names = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
        assert not names & {"study", "optuna", "mlflow"}, path
