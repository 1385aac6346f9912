"""Progress bars in a notebook: one output of the cell, which is replaced and never grows."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dcgan.runtime import html

SECONDS_BETWEEN = 0.5
"""Each replacement travels to the browser; more often nobody could read it."""
MOST_NOTES = 8
"""Notes below the bars. Older ones give way."""


def in_notebook() -> bool:
    """Whether this code runs in the kernel of a Jupyter notebook."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive else None
    return getattr(shell, "kernel", None) is not None  # IPython in a terminal has no kernel


@dataclass
class Bar:
    """How far something has got."""

    label: str
    total: int
    done: int = 0
    text: str = ""


class LiveBars:
    """Bars by name and notes, as one output of a notebook's cell; needs `in_notebook()`.

    Args:
        clock: seconds from any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.bars: dict[str, Bar] = {}
        self.notes: deque[str] = deque(maxlen=MOST_NOTES)
        self._output: Any = None
        self._shown_at = 0.0

    def note(self, text: str) -> None:
        """Add a sentence below the bars."""
        self.notes.append(text)
        self.show(now=True)

    def show(self, *, now: bool = False) -> None:
        """Replace what the cell shows, unless that has just been done; `now` does it anyway."""
        time_is = self.clock()
        if self._output and not now and time_is < self._shown_at + SECONDS_BETWEEN:
            return
        self._shown_at = time_is
        content = {"text/html": self._html(), "text/plain": self._text()}
        if self._output:
            self._output.update(content, raw=True)
            return
        from IPython.display import display  # late: only notebooks have it

        self._output = display(content, raw=True, display_id=True)

    def _html(self) -> str:
        bars = (html.bar(it.label, it.done, it.total, it.text) for it in self.bars.values())
        return html.shown(*bars, *map(html.sentence, self.notes))

    def _text(self) -> str:
        bars = (f"{it.label} {it.done}/{it.total}  {it.text}" for it in self.bars.values())
        return "\n".join([*bars, *self.notes])
