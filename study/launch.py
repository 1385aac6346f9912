"""`study run`: the work, with its display, and what is said at the end."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from dcgan.console import load_bank_with_progress, say, stop_signals
from study.config import StudyConfig
from study.display import StudyDisplay
from study.leaderboard import best_rows_of, print_table
from study.objective import Hooks
from study.runner import StudySummary, run_study
from study.store import Store
from study.ui import trials_link


def launch(config: StudyConfig, store: Store) -> None:
    """Run a study with a live display and print its leaderboard and where everything is.

    Raises:
        SystemExit: code 130, if it was stopped by a signal before its total.
    """
    store.create()
    say(f"study '{config.study.name}', results in {store.root}")
    bank = load_bank_with_progress(config.base.data)
    with stop_signals() as should_stop, StudyDisplay(config) as display:
        hooks = Hooks(
            on_begin=display.on_begin,
            on_start=display.on_start,
            on_log=display.on_log,
            on_eval=display.on_eval,
            on_warning=display.on_warning,
            on_worker=display.on_worker,
            should_stop=should_stop,
        )
        summary = run_study(config, store, bank=bank, hooks=hooks, on_progress=display.on_progress)
    print_summary(summary)
    if summary.interrupted:
        say(f"stopped at {summary.finished} of {summary.total} trials; the same command continues")
        if should_stop():
            sys.exit(130)


def print_summary(summary: StudySummary) -> None:
    """The leaderboard, and what to open or type next."""
    rows, others = best_rows_of(summary.study)
    title = f"{summary.name}: {summary.finished} of {summary.total} trials finished"
    print_table(rows, title, others)
    if summary.best_config:
        say(f"best config, for a full run: {summary.best_config}")
    if summary.contact_sheet:
        say(f"samples of the best trials:  {summary.contact_sheet}")
    where = (
        "" if summary.store == Store.at() else f" --store {shlex.quote(str(summary.store.root))}"
    )
    command = own_command()
    say(f"train the best in full:      {command} train {summary.name}{where}")
    say(f"compare the trials:          {command} ui{where}")
    say(f"  and open                   {trials_link(summary.experiment_id)}")


def own_command() -> str:
    """How to call `study` again: its name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("study")
    if called.name != "study" or not called.is_file() or (found and called.samefile(found)):
        return "study"
    here = Path.cwd()
    return shlex.quote(str(called.relative_to(here) if called.is_relative_to(here) else called))
