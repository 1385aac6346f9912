"""Shared by both command lines: printing, error messages, progress bars, stop signals."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from dcgan.cli.streams import can_write, steady_streams, stopping
from dcgan.errors import DcganError, TrainingInterrupted
from dcgan.runtime.home import ensure_home
from dcgan.runtime.memory import keep_freed_memory
from dcgan.runtime.signals import HANGUP, on_stop

if TYPE_CHECKING:
    from rich.console import Console

    from dcgan.config.train_config import DataConfig
    from dcgan.data.bank import PhotoBank
    from dcgan.data.scan import BadFile
    from dcgan.evaluation.folders import FolderFeatures


STOPPING = b"\nstopping: saving a checkpoint first (Ctrl-C again stops at once)\n"


def run_app(app: Callable[[], Any]) -> None:
    """Run a typer app and exit. An expected error prints one sentence to stderr.

    A standard stream that fails never ends the app. If the output did not reach a file, such as on
    a full disk, the exit code says so.
    """
    if os.name == "nt":
        sys.exit("error: this program runs on Linux, macOS and WSL 2, not on Windows itself")
    _check_folder_and_encoding()
    ensure_home()
    keep_freed_memory()
    with steady_streams() as descriptors:
        code = _exit_code(app)
        sys.stdout.flush()
        lost = [error for descriptor in descriptors if (error := descriptor.lost)]
        if lost and code == 0:
            print(f"error: the output could not be written: {lost[0].strerror}", file=sys.stderr)
            code = 1
    sys.exit(code)


def _check_folder_and_encoding() -> None:
    """Refuse a deleted working folder, and start again in UTF-8 mode in a locale of another kind.

    Libraries write paths as UTF-8 whatever the locale says: one path would name two folders.
    """
    try:
        os.getcwd()  # noqa: PTH109 (only asked)
    except FileNotFoundError:
        sys.exit("error: the working folder was deleted; change to another one")
    if sys.getfilesystemencoding() != "utf-8" and "PYTHONUTF8" not in os.environ:
        os.environ.setdefault("PYTHONIOENCODING", getattr(sys.stdout, "encoding", "ascii"))
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _exit_code(app: Callable[[], Any]) -> int | str | None:
    try:
        app()
    except SystemExit as end:  # how typer ends every command
        return end.code or 0
    except DcganError as error:
        prefix = "" if isinstance(error, TrainingInterrupted) else "error: "
        print(f"{prefix}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:  # such as a full disk
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    return 0


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
    """Turn Ctrl-C, SIGTERM or SIGHUP into a request to stop. A second Ctrl-C stops at once.

    Yields a function that returns whether a stop was requested. In a run of several processes a
    second signal is ignored, because each process gets Ctrl-C both from the terminal and from
    `torchrun`, which stops at a second Ctrl-C. `quiet` prints nothing.
    """
    asked = stopping
    asked.clear()

    def on_signal(number: int, _frame: Any) -> None:
        # A closed terminal and its shell both send SIGHUP, and a logout sends SIGTERM as well.
        at_once = number != HANGUP and any(earlier != HANGUP for earlier in asked)
        if at_once and processes == 1:
            raise KeyboardInterrupt
        asked.append(number)
        if len(asked) == 1 and not quiet:
            with suppress(OSError, ValueError):  # of a closed terminal
                if can_write(2, 0):
                    # Not print(), which the signal may have interrupted.
                    os.write(2, STOPPING)

    with on_stop(on_signal):
        yield lambda: bool(asked)


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
        report_files(bank)
    return bank


def report_files(found: PhotoBank | FolderFeatures) -> None:
    """Print to stderr which files of a folder were left out or are damaged."""
    for note in notes_on_files(found):
        print(f"note: {note}", file=sys.stderr)
    _print_files(found.bad, "skipped {} unusable files:")
    _print_files(found.damaged, "used {} photos although they are damaged:")


def notes_on_files(found: PhotoBank | FolderFeatures) -> Iterator[str]:
    """One line about each kind of file that was left out for no fault of its own."""
    from dcgan.data.formats import describe_unread

    if unread := describe_unread(found.unread):
        yield unread
    if found.own:
        yield f"pictures that this program made were left out: {found.own}"


def _print_files(files: Sequence[BadFile], heading: str, most: int = 10) -> None:
    if files:
        print(heading.format(len(files)), file=sys.stderr)
    for bad in files[:most]:
        print(f"  {bad.path}: {bad.reason}", file=sys.stderr)
    if len(files) > most:
        print(f"  … and {len(files) - most} more (see 'dcgan inspect')", file=sys.stderr)
