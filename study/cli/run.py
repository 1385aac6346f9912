"""`study run`: the work, with its display, and what is said at the end."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcgan.cli.console import load_bank_with_progress, progress_bar, say, stop_signals
from dcgan.config.settings import override
from dcgan.errors import DcganError, UsageError
from dcgan.runtime.imports import quick_imports
from study.cli.display import StudyDisplay
from study.cli.tables import print_table
from study.config.study_config import StudyConfig
from study.results.leaderboard import best_rows_of
from study.running.prepare import Plan, prepare
from study.running.study import StudySummary, execute
from study.running.warm_start import warm_start
from study.search.objective import has_recognised, is_pareto
from study.storage.attributes import study_config, with_addresses
from study.storage.file_systems import disk_doubt
from study.storage.optuna_db import briefly
from study.storage.schema_versions import check_schemas
from study.storage.store import Store
from study.tracking.relocate import describe_misplaced
from study.tracking.ui import first_link


def join(store: Store, name: str, settings: dict[str, Any]) -> None:
    """Run trials of a study that was begun elsewhere, until its total is finished.

    `settings` are dotted keys that differ on this machine: photos, workers. Exits as `launch`.

    Raises:
        UnknownStudyError: there is no such study.
        StudyMismatchError: the photos, or what scores them, are not the study's.
        UsageError: MLflow's database is on another machine.
    """
    with briefly(store, name) as study:
        store, config = with_addresses(store, study), study_config(study)
    if not store.tracking and not store.mlflow_database.is_file():
        raise UsageError(
            f"the study '{name}' keeps its MLflow database in the results folder of the machine "
            "that launched it; launch it with --tracking-uri http://HOST:PORT of an MLflow server, "
            "which all machines reach"
        )
    machine = {"study.workers": 1, "study.trials_per_gpu": 1, "study.launcher": "auto"}
    machine |= {"study.timeout_minutes": None}
    launch(override(config, machine | settings), store, joining=True)


def launch(
    config: StudyConfig, store: Store, *, joining: bool = False, earlier: Sequence[str] = ()
) -> None:
    """Run a study with a live display and print its leaderboard and where everything is.

    `earlier` are names of studies whose best configs become baselines. Exits with code 130 if a
    signal stopped it before its total.
    """
    store.create()
    check_schemas(store)
    say(f"study '{config.study.name}', results in {store.root}")
    if store.storage:
        say(f"shared by {store.optuna_place}")
    if store.has_databases and (doubt := disk_doubt(store.root)):
        say(f"warning: {doubt}; choose a local disk with --store")
    with suppress(DcganError):  # such as a busy database, which later steps report
        if misplaced := describe_misplaced(store):
            say(f"warning: {misplaced}")
    if earlier:
        config, notes = warm_start(config, store, earlier)
        for note in notes:
            say(note)
    bank = load_bank_with_progress(config.base.data)
    with stop_signals() as should_stop:
        display = StudyDisplay(should_stop)
        with prepare(config, store, bank, observer=display, joining=joining) as plan:
            print_plan(plan)
            with display:
                summary = execute(plan, display)
    print_summary(summary)
    if not summary.interrupted and not joining:
        with quick_imports():
            from study.cli.report import report_when_finished

        if report := report_when_finished(summary.study, summary.store):
            say(f"report, with training photos: {report}")
    if summary.ended_because:
        say(summary.ended_because)
    if summary.interrupted:
        at = f"{summary.finished} of {summary.total} trials"
        if summary.finished >= summary.total:
            at = f"{summary.total} trials, of which some may go on to another rung"
        say(f"stopped at {at}" + ("" if summary.ended_because else "; the same command continues"))
        if should_stop():
            sys.exit(130)


def print_plan(plan: Plan) -> None:
    """What was decided, and what the study will take at most."""
    for decision in plan.decisions:
        say(decision)
    with progress_bar("estimating how long it takes"):
        expected = plan.estimate()
    if expected:
        say(expected.describe())
        if not expected.fits:
            say(
                "warning: that is more than is free; lower checkpoints.keep, or choose another "
                "folder with --store"
            )


def print_summary(summary: StudySummary) -> None:
    """The leaderboard, and what to open or type next."""
    rows, others = best_rows_of(summary.study)
    title = f"{summary.name}: {summary.finished} of {summary.total} trials finished"
    print_table(rows, title, others)
    if summary.best_config:
        say(f"best config, for a full run: {summary.best_config}")
    if summary.contact_sheet:
        say(f"samples of the best trials:  {summary.contact_sheet}")
    where, command = summary.store.options, own_command()
    if is_pareto(summary.study):
        say(f"export one of the front:     {command} export {summary.name}{where} --pick score")
        say(f"train it in full:            {command} train {summary.name}{where} --pick score")
        third = ", --pick recognised" if has_recognised(summary.study) else ""
        say(f"  or --pick distance, --pick balance{third}, --trial N")
    else:
        say(f"train the best in full:      {command} train {summary.name}{where}")
    from study.tracking.experiment import has_views  # late: it imports mlflow

    views = has_views(summary.store, summary.experiment_id)
    if summary.store.tracking:
        link = first_link(summary.experiment_id, summary.store.tracking, views=views)
        say(f"compare the trials:          {link}")
        return
    folder = replace(summary.store, storage=None).options  # `study ui` needs no Optuna database
    say(f"compare the trials:          {command} ui{folder}")
    say(f"  and open                   {first_link(summary.experiment_id, views=views)}")


def own_command() -> str:
    """How to call `study` again: its name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("study")
    if called.name != "study" or not called.is_file() or (found and called.samefile(found)):
        return "study"
    here = Path.cwd()
    return shlex.quote(str(called.relative_to(here) if called.is_relative_to(here) else called))
