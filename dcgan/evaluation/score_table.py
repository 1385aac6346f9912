"""Evaluations side by side as a table of text, a line for each number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dcgan.runtime.digits import in_digits

ENDS = ("_low", "_high", "_standard_error")
"""Ends of the names of numbers that say how sure another number is."""
KERNEL_DIGITS = 5
"""A kernel distance is small."""


def score_rows(
    columns: Sequence[Mapping[str, float]], frechet: str, kernel: str
) -> list[list[str]]:
    """A line for each number of the columns: name, then value and uncertainty of each column.

    `frechet` and `kernel` are the names of the distances. Those of one generator alone, as in
    `fd_layout_ema`, are left out: they repeat what counts, or have a column of their own.
    """
    repeated = {f"{name}_{model}" for name in (frechet, kernel) for model in ("ema", "raw")}
    names = dict.fromkeys(name for column in columns for name in column)
    shown = [name for name in names if not name.endswith(ENDS) and name not in repeated]
    rows = []
    for name in shown:
        digits = KERNEL_DIGITS if name == kernel else None
        rows.append([name])
        for column in columns:
            rows[-1] += [_value(column.get(name), digits), _uncertainty(column, name, digits)]
    return rows


def _value(value: float | None, digits: int | None) -> str:
    if value is None:
        return "–"
    return in_digits(value) if digits is None else f"{value:.{digits}f}"


def _uncertainty(column: Mapping[str, float], name: str, digits: int | None) -> str:
    if f"{name}_low" in column:
        low, high = (_value(column[f"{name}{end}"], digits) for end in ("_low", "_high"))
        return f"{low} – {high}"
    if f"{name}_standard_error" in column:
        return f"± {_value(column[f'{name}_standard_error'], digits)}"
    return ""
