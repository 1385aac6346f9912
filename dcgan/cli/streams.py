"""Standard output and error that cannot end a command.

A terminal that was closed, a reader that is gone or a full disk makes every later write fail. The
display is not the work: a failed stream is silent from then on, and the command goes on. A
character that the stream's encoding does not have is written in ASCII.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

PLAIN = {
    "─": "-", "━": "-", "│": "|", "…": "...", "–": "-", "—": "-", "×": "x", "±": "+-",
    "→": "->", "≈": "~", "≤": "<=", "≥": ">=", "·": "-", "•": "*", "‘": "'", "’": "'",
    "“": '"', "”": '"', "●": "o", "█": "#", "└": "+",
}  # fmt: skip
POLL_SECONDS = 1.0
"""How long a full pipe is waited for before it is asked again whether the program should stop."""
stopping: list[int] = []
"""The signals that have asked this process to stop."""
NOBODY_READS = frozenset({errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF, errno.ECONNRESET})
"""Errors of a stream whose other end is gone. They lose nothing that anyone could read."""


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """The codec error handler `plain`: a look-alike in ASCII, else a backslash escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = (
        PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode() for char in text
    )
    return "".join(escaped), error.end


codecs.register_error("plain", in_ascii)


class Descriptor(io.RawIOBase):
    """A file descriptor to write to, which falls silent at its first error.

    Attributes:
        error: what went wrong; None as long as all was written.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def isatty(self) -> bool:
        return os.isatty(self.number)

    @property
    def lost(self) -> OSError | None:
        """The error, if it kept output from somebody: a file, or a reader that is still there."""
        if self.error is None or stat.S_ISREG(os.fstat(self.number).st_mode):
            return self.error
        return None if self.error.errno in NOBODY_READS else self.error

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write what fits, or pretend to once the stream has failed.

        A full pipe is waited for, as ever, but not after a request to stop.
        """
        try:
            while self.error is None:
                if can_write(self.number, POLL_SECONDS):
                    return os.write(self.number, data[: select.PIPE_BUF])  # so much does not block
                if stopping:
                    self.error = BrokenPipeError(errno.EPIPE, "nobody reads it")
        except BlockingIOError:  # a program that shares the terminal made it non-blocking
            return 0
        except OSError as error:
            self.error = error
        return len(data)


def can_write(number: int, seconds: float) -> bool:
    """Whether a descriptor takes a few bytes within some seconds."""
    return bool(select.select([], [number], [], seconds)[1])


def open_missing() -> None:
    """Open the null device as standard streams that are closed.

    Otherwise the next file that is opened, such as a database, would get the number of a standard
    stream, and messages would be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            os.set_inheritable(null, True)  # for the processes that this one starts


@contextmanager
def steady_streams() -> Iterator[list[Descriptor]]:
    """Make `sys.stdout` and `sys.stderr` streams that cannot fail, until the end.

    Yields:
        The descriptors of both. A stream that is no file, as in a notebook, stays and has none.
    """
    open_missing()
    before, descriptors, opened = (
        (sys.stdout, sys.stderr),
        list[Descriptor](),
        list[io.TextIOWrapper](),
    )
    for name, number in (("stdout", 1), ("stderr", 2)):
        descriptor = _descriptor(getattr(sys, name), number)
        if descriptor:
            stream = _text(descriptor, getattr(sys, name))
            setattr(sys, name, stream)
            descriptors.append(descriptor)
            opened.append(stream)
    try:
        yield descriptors
    finally:
        sys.stdout, sys.stderr = before
        for text in opened:
            text.flush()
            text.detach()


def _descriptor(stream: TextIO | None, number: int) -> Descriptor | None:
    """The descriptor of `stream`, which is None if it was closed when Python started."""
    if stream is None:
        return Descriptor(number)
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # not a file
        return None
    with suppress(OSError):
        stream.flush()
    return Descriptor(number)


def _text(descriptor: Descriptor, like: TextIO | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),  # type: ignore[type-var]
        encoding=like.encoding if like else "utf-8",
        errors="plain",
        line_buffering=descriptor.number == 2 or descriptor.isatty(),
        write_through=getattr(like, "write_through", False),  # as with `python -u`
    )
