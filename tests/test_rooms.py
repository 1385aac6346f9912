"""The order of the rooms: who imports whom, and what a fresh process loads."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import dcgan
import study

ROOMS = {
    "dcgan": ["cli", "api", "training", "evaluation", "models", "data", "config", "runtime"],
    "study": [
        "cli",
        "maintenance",
        "running",
        "report",
        "results",
        "tracking",
        "serving",
        "search",
        "storage",
        "config",
        "evidence",
    ],
}
"""From top to bottom: a room imports those after it. `errors` is below all."""
MOST_LINES = 400
PACKAGES = {"dcgan": Path(dcgan.__file__).parent, "study": Path(study.__file__).parent}


class Import(NamedTuple):
    """One import statement of ours."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def sources() -> dict[str, Path]:
    """Every module's dotted name and file."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(module: str, path: Path) -> Iterator[Import]:
    """Its imports of ours, those inside functions too; not those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    only_typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if id(node) not in only_typing and name.partition(".")[0] in PACKAGES:
                yield Import(module, name, node.lineno)


def room(module: str) -> tuple[str, int] | None:
    """Package and rank (0: the top); none for the package itself and its errors."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return (package, ROOMS[package].index(name)) if name in ROOMS[package] else None


def all_imports() -> list[Import]:
    return [found for module, path in sources().items() for found in imports(module, path)]


def test_every_module_is_in_a_room() -> None:
    outside = {module for module in sources() if room(module) is None}
    roots = {f"{package}{end}" for package in PACKAGES for end in ("", ".errors", ".__main__")}
    assert outside == roots


def test_imports_run_downwards_between_rooms() -> None:
    upwards = []
    for found in all_imports():
        above, below = room(found.importer), room(found.imported)
        if above and below and above[0] == below[0] and below[1] < above[1]:
            upwards.append(str(found))
        if found.importer.startswith("dcgan") and found.imported.startswith("study"):
            upwards.append(str(found))
        if found.importer.endswith(".errors") and below:
            upwards.append(str(found))
    assert upwards == []


def test_no_circle() -> None:
    names = set(sources())
    needs: dict[str, set[str]] = {name: set() for name in names}
    for found in all_imports():
        whole, parent = found.imported, found.imported.rpartition(".")[0]
        needs[found.importer].add(whole if whole in names else parent)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        if name not in done:
            for needed in sorted(needs.get(name, set()) - {name}):
                visit(needed, (*path, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())


def test_no_module_is_too_long() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in sources().items()}
    assert {name: count for name, count in lengths.items() if count > MOST_LINES} == {}


def users_of(library: str) -> set[str]:
    """Modules whose source imports a library."""
    return {
        module
        for module, path in sources().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.Import)
            and any(a.name.split(".")[0] == library for a in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library)
    }


def test_one_module_imports_mlflow() -> None:
    # The other one is run by MLflow's own server.
    assert users_of("mlflow") == {"study.tracking.client", "study.tracking.served_model"}


def test_rooms_below_the_command_line_print_nothing() -> None:
    """What is to be said is returned, or goes to a callable."""
    silent = (
        *("study.maintenance", "study.tracking", "study.serving"),
        *("study.search", "study.storage"),
    )
    printers = users_of("rich") | users_of("typer")
    printers |= {found.importer for found in all_imports() if found.imported[:9] == "dcgan.cli"}
    assert {module for module in printers if module.startswith(silent)} == set()


def test_one_module_asks_for_values() -> None:
    callers = {
        module
        for module, path in sources().items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("suggest_")
    }
    assert callers == {"study.config.space"}


def loaded_after(code: str) -> set[str]:
    """The modules a fresh process has loaded after running `code`."""
    show = "import json, sys; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_core_loads_nothing_of_the_study() -> None:
    found = pkgutil.walk_packages(dcgan.__path__, "dcgan.")
    names = sorted(module.name for module in found if not module.name.endswith("__main__"))
    assert {"dcgan.training.loop", "dcgan.cli.app", "dcgan.evaluation.metrics.frechet"} < {*names}
    code = "import importlib\n" + "\n".join(f"importlib.import_module({n!r})" for n in names)
    loaded = loaded_after(code)
    assert set(names) <= loaded
    assert not loaded & {"optuna", "mlflow", "study", "sqlalchemy"}


@pytest.mark.parametrize(
    ("code", "light"),
    [
        (
            "import dcgan.training.loop",
            {"torchvision", "torchmetrics", "scipy", "matplotlib", "sklearn"},
        ),
        ("import dcgan.cli.app", {"torch", "numpy", "optuna", "mlflow", "PIL", "matplotlib"}),
        ("import dcgan.config.settings", {"torch", "numpy", "PIL"}),
        ("import study.cli.app", {"torch", "numpy", "optuna", "mlflow", "PIL", "sqlalchemy"}),
    ],
)
def test_heavy_libraries_come_late(code: str, light: set[str]) -> None:
    assert not loaded_after(code) & light


def test_the_public_names() -> None:
    assert dcgan.__all__ == [
        "TrainConfig",
        "TrainResult",
        "evaluate",
        "generate",
        "load_bank",
        "load_model",
        "load_train_config",
        "train",
    ]
    assert study.__all__ == ["Store", "StudyConfig", "load_study", "load_study_config", "run_study"]
    for package in (dcgan, study):
        for name in package.__all__:
            assert getattr(package, name).__module__.startswith(f"{package.__name__}.")
