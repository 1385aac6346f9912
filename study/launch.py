"""`study run` and `study train`: the work, with its display, and what is said at the end."""

from __future__ import annotations

import sys
from pathlib import Path

from dcgan.config_io import override
from dcgan.console import (
    TrainingDisplay,
    describe_scores,
    load_bank_with_progress,
    say,
    stop_signals,
)
from dcgan.errors import TrainingInterrupted
from dcgan.training import train
from study.config import StudyConfig
from study.display import StudyDisplay
from study.export import export_config, pick_trial, study_config
from study.leaderboard import print_table, rows_of
from study.objective import Hooks, score_of
from study.runner import StudySummary, run_study
from study.storage import load_optuna_study
from study.store import Store
from study.ui import trials_link


def launch(config: StudyConfig, store: Store) -> None:
    """Run a study with a live display and print its leaderboard and where everything is.

    Raises:
        SystemExit: code 130, if it was stopped before its total.
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
            should_stop=should_stop,
        )
        summary = run_study(config, store, bank=bank, hooks=hooks, on_progress=display.on_progress)
    print_summary(summary)
    if summary.interrupted:
        say(f"stopped at {summary.finished} of {summary.total} trials; the same command continues")
        sys.exit(130)


def print_summary(summary: StudySummary) -> None:
    """The leaderboard, and what to open or type next."""
    rows = rows_of(summary.study)
    title = f"{summary.name}: {summary.finished} of {summary.total} trials finished"
    print_table(rows, title)
    if summary.best_config:
        say(f"best config, for a full run: {summary.best_config}")
    if summary.contact_sheet:
        say(f"samples of all trials:       {summary.contact_sheet}")
    where = "" if summary.store == Store.at() else f" --store {summary.store.root}"
    say(f"train the best in full:      study train {summary.name}{where}")
    say(f"compare the trials:          study ui{where}")
    say(f"  and open                   {trials_link(summary.experiment_id)}")


def train_in_full(store: Store, name: str, number: int | None, data: Path | None) -> None:
    """Train a trial's exported config in full and log it to the study's experiment.

    Continues where it was stopped.
    """
    from study.tracking import Tracker, tolerate_mlflow_errors

    study = load_optuna_study(store, name)
    config = export_config(study, number)
    if data is not None:
        root = str(data.expanduser().resolve())
        config = override(config, {"data.source": "folder", "data.root": root}, "--data")
    trial = int(config.provenance["trial"].removeprefix("trial-"))
    folder = store.study(name).full_run(trial)
    objective = study_config(study).objective
    bank = load_bank_with_progress(config.data)
    tracker = Tracker(store, name)
    parent = tracker.parent_run(store.study(name).config, {})
    tags = {"data.fingerprint": bank.fingerprint, "origin": config.provenance["origin"]}
    mirror = tracker.mirror(
        "full",
        trial,
        parent,
        folder,
        params=pick_trial(study, trial).params,
        tags=tags,
        score=lambda record: score_of(record, objective),
    )
    say(f"full run of {config.provenance['trial']}, results in {folder}")
    state = "FAIL"
    try:
        with stop_signals() as should_stop, TrainingDisplay("full run") as display:

            def on_eval(record: dict[str, object]) -> bool:
                with tolerate_mlflow_errors(say):
                    mirror.deliver()
                return display.on_eval(record)

            result = train(
                config,
                folder,
                bank=bank,
                resume=True,
                on_start=display.on_start,
                on_log=display.on_log,
                on_eval=on_eval,
                should_stop=should_stop,
            )
        state = "COMPLETE"
    except TrainingInterrupted:
        state = "WAITING"
        raise
    finally:
        with tolerate_mlflow_errors(say):
            if state == "COMPLETE":
                mirror.deliver()
                mirror.deliver_files()
            tracker.set_status(mirror.open(), state)
    say(describe_scores(result.final))
    say(f"pictures: {folder / 'real_vs_generated.png'}")
    say(f"checkpoint: {folder / 'checkpoint.pt'}")
