"""Terminals in trouble."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closed_terminal() -> Iterator[int]:
    """A terminal whose other end is gone: every write fails."""
    other, terminal = pty.openpty()
    os.close(other)
    try:
        yield terminal
    finally:
        os.close(terminal)
