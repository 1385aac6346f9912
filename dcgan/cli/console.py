"""Shared by both command lines: printing, error messages, progress bars, stop signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dcgan.errors import DcganError, TrainingInterrupted
from dcgan.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    from rich.console import Console

    from dcgan.config.train_config import DataConfig
    from dcgan.data.bank import PhotoBank
    from dcgan.data.scan import BadFile


def run_app(app: Callable[[], Any]) -> None:
    """Run a typer app. An expected error prints one sentence to stderr and sets the exit code."""
    keep_freed_memory()
    try:
        app()
    except DcganError as error:
        prefix = "" if isinstance(error, TrainingInterrupted) else "error: "
        print(f"{prefix}{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output (head, less) has ended
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # such as a full disk
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(1)


def stdout() -> Console:
    """A console for results, wide enough for long paths if stdout is not a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def say(text: str) -> None:
    """Print text without wrapping or markup."""
    print(text, flush=True)


@contextmanager
def stop_signals(*, processes: int = 1, quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; the second one stops at once.

    Yields a function that returns whether a stop was requested. In a run of several processes a
    second signal is ignored, because each process gets Ctrl-C both from the terminal and from
    `torchrun`, which stops at a second Ctrl-C. `quiet` prints nothing.
    """
    asked: list[int] = []

    def on_signal(number: int, _frame: Any) -> None:
        if asked and processes == 1:
            raise KeyboardInterrupt
        asked.append(number)
        # Not print(), which the signal may have interrupted.
        if len(asked) == 1 and not quiet:
            os.write(2, b"\nstopping: saving a checkpoint first (Ctrl-C again stops at once)\n")

    # SIGINT is set explicitly, because a shell starts background jobs with Ctrl-C ignored.
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that disappears at the end. It is shown only on a terminal.

    Yields a function to call with (done, total). Until it is called, the bar pulses.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def load_bank_with_progress(
    config: DataConfig, minimum: int = 2, *, list_bad_files: bool = True
) -> PhotoBank:
    """Load the photos with a progress bar, and list the unusable files."""
    from dcgan.data.bank import load_bank

    with progress_bar("reading photos") as on_progress:
        bank = load_bank(config, minimum=minimum, on_progress=on_progress)
    if list_bad_files:
        if bank.note:
            print(f"note: {bank.note}", file=sys.stderr)
        report_bad_files(bank.bad)
    return bank


def report_bad_files(files: Sequence[BadFile], most: int = 10) -> None:
    """Print the names of skipped files and the reasons to stderr."""
    if files:
        print(f"skipped {len(files)} unusable files:", file=sys.stderr)
    for bad in files[:most]:
        print(f"  {bad.path}: {bad.reason}", file=sys.stderr)
    if len(files) > most:
        print(f"  … and {len(files) - most} more (see 'dcgan inspect')", file=sys.stderr)
