"""The report of `benchmarks/gpu.py`: sections, and their lines that pass, fail or inform."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.gpu_parts.setup import Setup
from dcgan.errors import first_line

Value = float | int | str


@dataclass(frozen=True)
class Line:
    """One finding. `state` is `pass`, `fail` or `info`; a line without a target informs."""

    what: str
    value: Value
    unit: str = ""
    target: str = ""
    state: str = "info"

    def __str__(self) -> str:
        value = f"{self.value:,.4g}" if isinstance(self.value, float) else str(self.value)
        target = f"  (target {self.target})" if self.target else ""
        return f"  {self.state}  {self.what}: {value}{self.unit and ' ' + self.unit}{target}"


def at_least(what: str, value: float, least: float, unit: str = "", *, applies: bool) -> Line:
    """A line that passes from `least` on. Where the target does not apply, it informs."""
    state = ("pass" if value >= least else "fail") if applies else "info"
    return Line(what, value, unit, f"at least {least:g}" if applies else "", state)


def at_most(what: str, value: float, most: float, unit: str = "", *, applies: bool = True) -> Line:
    """A line that passes up to `most` (a NaN does not). See `at_least`."""
    state = ("pass" if value <= most else "fail") if applies else "info"
    return Line(what, value, unit, f"at most {most:g}" if applies else "", state)


def holds(what: str, found: Value, wanted: Value) -> Line:
    """A line that passes if what was found is what is wanted."""
    return Line(what, found, target=str(wanted), state="pass" if found == wanted else "fail")


Part = Callable[[Setup], Iterator[Line]]


@dataclass
class Section:
    """A part of the proof and what it found."""

    title: str
    part: Part
    budget: float
    """Seconds it may take on a fast GPU, so that all sections together take under eight minutes."""
    lines: list[Line] = field(default_factory=list)
    seconds: float = 0.0

    def run(self, setup: Setup) -> None:
        """Collect the lines. An error becomes one that failed; those before it are kept."""
        start = time.perf_counter()
        try:
            self.lines += self.part(setup)
        except Exception as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            self.lines.append(Line("error", what, state="fail"))
        self.seconds = time.perf_counter() - start

    def __str__(self) -> str:
        head = f"{self.title}: {self.seconds:.1f} s of {self.budget:g}"
        return "\n".join([head, *map(str, self.lines)])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        kept = {key: getattr(self, key) for key in ("title", "budget", "seconds")}
        return kept | {"lines": [asdict(line) for line in self.lines]}
