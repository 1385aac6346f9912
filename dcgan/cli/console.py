"""What both command lines share: printing, errors without tracebacks, progress, stop signals."""

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
    import torch
    from rich.console import Console

    from dcgan.config.train_config import DataConfig, TrainConfig
    from dcgan.data.bank import PhotoBank
    from dcgan.data.scan import BadFile
    from dcgan.evaluation.extractors.base import Extractor


def run_app(app: Callable[[], Any]) -> None:
    """Run a typer app; an expected error becomes one sentence on stderr and its exit code."""
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
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a full disk, a folder that has become unwritable
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        sys.exit(1)


def stdout() -> Console:
    """A console for results. Long paths stay on one line when the output is not a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def say(text: str) -> None:
    """Print one line as it is: no wrapping, no markup."""
    print(text, flush=True)


@contextmanager
def stop_signals(*, processes: int = 1, quiet: bool = False) -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second Ctrl-C stops at once.

    Args:
        processes: of this run. `torchrun` passes a terminal's Ctrl-C on, so that each of several
            gets it twice; there only `torchrun` itself stops at once, at its own second Ctrl-C.
        quiet: say nothing, since another process does.

    Yields:
        A function that tells whether a stop was asked for.
    """
    asked: list[int] = []

    def on_signal(number: int, _frame: Any) -> None:
        if asked and processes == 1:
            raise KeyboardInterrupt
        if asked:
            return
        asked.append(number)
        # Not print(): the signal may have come in the middle of one.
        if not quiet:
            os.write(2, b"\nstopping: saving a checkpoint first (Ctrl-C again stops at once)\n")

    # Set explicitly, since a shell starts background jobs with Ctrl-C ignored.
    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that goes away when done; nothing where stderr is not a terminal.

    Yields:
        What to call with (done, total).
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """A spinner on stderr while something takes a while; nothing where it is not a terminal."""
    from rich.console import Console

    with Console(stderr=True).status(label):
        yield


def load_bank_with_progress(
    config: DataConfig, minimum: int = 2, *, list_bad_files: bool = True
) -> PhotoBank:
    """Load the photos with a progress bar, and list what could not be read."""
    from dcgan.data.bank import load_bank

    with progress_bar("reading photos") as on_progress:
        bank = load_bank(config, minimum=minimum, on_progress=on_progress)
    if list_bad_files:
        if bank.note:
            print(f"note: {bank.note}", file=sys.stderr)
        report_bad_files(bank.bad)
    return bank


def report_bad_files(files: Sequence[BadFile], most: int = 10) -> None:
    """List skipped files by name and reason on stderr."""
    if not files:
        return
    print(f"skipped {len(files)} unusable files:", file=sys.stderr)
    for bad in files[:most]:
        print(f"  {bad.path}: {bad.reason}", file=sys.stderr)
    if len(files) > most:
        print(f"  … and {len(files) - most} more (see 'dcgan inspect')", file=sys.stderr)


def load_extractor_with_progress(config: TrainConfig, device: torch.device) -> Extractor:
    """The extractor that a config names, with a bar if its weights have to be downloaded."""
    from dcgan.evaluation.evaluator import configured_extractor

    with progress_bar("loading the extractor") as on_progress:
        return configured_extractor(config, device, on_progress)
