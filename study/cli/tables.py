"""The leaderboard as a table on the terminal."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from optuna.trial import TrialState

from study.results.leaderboard import cells_of
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult


def print_table(
    rows: list[TrialResult], title: str, others: Counter[TrialState] | None = None
) -> None:
    """Print the leaderboard and the reasons of unfinished trials.

    `others` counts the trials that are left out, by state.
    """
    from rich.text import Text

    from dcgan.cli.console import say, stdout

    headings, body = cells_of(rows)
    heading, *lines = aligned([headings, *body])
    console = stdout()
    console.print(Text(f"{title}\n", "italic"), soft_wrap=True)
    console.print(Text(heading, "bold"), soft_wrap=True)
    console.print(Text("─" * len(heading)), soft_wrap=True)
    # Rows of one state at once: a thousand times one row takes much longer.
    for state, group in groupby(zip(rows, lines, strict=True), lambda pair: pair[0].state):
        style = {TrialState.COMPLETE: "", TrialState.FAIL: "red"}.get(state, "dim")
        console.print(Text("\n".join(line for _, line in group), style), soft_wrap=True)
    for row in rows:
        if row.reason and not row.rung:  # the table has the rung of those that wait
            print(f"{trial_name(row.number)}: {row.reason}")
    if others:
        states = ", ".join(f"{count} {state.name.lower()}" for state, count in others.items())
        say(f"… {others.total()} more ({states}); 'study show' with --all shows them")


def aligned(table: list[list[str]]) -> list[str]:
    """The lines of a table whose first one has the headings; numbers are at the right."""
    from rich.cells import cell_len

    columns = []
    for cells in zip(*table, strict=True):
        widths = [cell_len(cell) for cell in cells]
        widest = max(widths)
        left = cells[0] in ("trial", "state", "front", "origin", "")
        fills = [" " * (widest - width) for width in widths]
        pairs = zip(cells, fills, strict=True)
        columns.append([cell + fill if left else fill + cell for cell, fill in pairs])
    return ["   ".join(cells) for cells in zip(*columns, strict=True)]
