"""Runs docs/notebook.ipynb from its first cell to its last, and writes it with its new outputs.

    pip install -e '.[test]'
    python docs/execute_notebook.py              # -o FILE writes the result elsewhere

It runs in an empty folder, so the outputs name no folder of this machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")
KERNEL = "python3"
SECONDS_A_CELL = 600


def main() -> None:
    """Execute, tidy, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=NOTEBOOK)
    output = parser.parse_args().output.absolute()
    notebook = executed(nbformat.read(NOTEBOOK, as_version=4))
    output.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the outputs of all cells. Raises `CellExecutionError` if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS_A_CELL,
            kernel_name=KERNEL,
            resources={"metadata": {"path": folder}},
            record_timing=False,  # the times would change with every execution
        )
        client.execute()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.pop("transient", None)  # the ids of displays, new in every execution
            output.get("data", {}).pop("image/jpeg", None)  # a second copy of a PNG
    return notebook


if __name__ == "__main__":
    main()
