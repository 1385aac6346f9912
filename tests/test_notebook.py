"""The notebook in docs/: it has been executed, and it can be executed again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from dcgan.evaluation.extractors.registry import load_extractor

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
MOST_BYTES = 1_000_000
OF_A_MACHINE = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|work|usr|opt|var|Users|private|mnt)/|[A-Z]:\\"
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def problems(notebook: Any) -> list[str]:
    """What a reader of an executed notebook should not see."""
    found = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if not cell.outputs or cell.execution_count is None:
            found.append(f"cell {number} has no output")
        for output in cell.outputs:
            if output.output_type in ("error", "stream"):
                found.append(f"cell {number}: {output}")
            texts = [str(data) for kind, data in output.get("data", {}).items() if "text" in kind]
            found += [
                f"cell {number} names {it[0]}" for it in map(OF_A_MACHINE.search, texts) if it
            ]
    return found


def kinds(notebook: Any) -> list[set[str]]:
    """The kinds of each cell's last output."""
    return [{*it.outputs[-1].get("data", {})} for it in notebook.cells if it.cell_type == "code"]


def test_the_notebook_has_been_executed_in_order() -> None:
    notebook = read(NOTEBOOK)
    nbformat.validate(notebook)
    assert problems(notebook) == []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    shown = kinds(notebook)
    assert sum("text/html" in it for it in shown) >= 5
    assert sum("image/png" in it for it in shown) >= 2


def test_the_notebook_shows_the_distance_that_a_reader_will_get() -> None:
    name = load_extractor("auto", "cpu").frechet_name
    notebook = read(NOTEBOOK)
    assert any(f"`{name}`" in cell.source for cell in notebook.cells)
    shown = [
        str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    ]
    assert sum(f"<td>{name}</td>" in text for text in shown) >= 1


def test_links_of_the_notebook_resolve() -> None:
    text = "\n".join(cell.source for cell in read(NOTEBOOK).cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    assert len(links) >= 3
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


def test_a_path_of_a_machine_is_found() -> None:
    data = {"text/plain": "/home/me/x"}
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    cell = nbformat.v4.new_code_cell("1", outputs=[output], execution_count=1)
    assert problems(nbformat.v4.new_notebook(cells=[cell])) == ["cell 0 names /home/"]


@pytest.mark.slow
def test_the_notebook_can_be_executed_again(tmp_path: Path) -> None:
    script = ROOT / "docs" / "execute_notebook.py"
    command = [sys.executable, str(script), "-o", str(tmp_path / "again.ipynb")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again, before = read(tmp_path / "again.ipynb"), read(NOTEBOOK)
    assert problems(again) == []
    assert [cell.source for cell in again.cells] == [cell.source for cell in before.cells]
    assert kinds(again) == kinds(before)
