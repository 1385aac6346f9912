"""The commands that make evidence of a study: `confirm`, `ask`, `explain`, `verify`, `revive`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcgan.cli.options import DataOption, data_settings
from dcgan.runtime.imports import quick_imports
from study.cli.options import (
    NameArgument,
    PerGpuOption,
    StorageOption,
    StoreOption,
    TimeoutOption,
    TrackingOption,
    WorkersOption,
    worker_settings,
)
from study.storage.store import Store

BudgetOption = Annotated[
    float | None,
    typer.Option("--budget", metavar="MINUTES", min=0, help="Pause after this many minutes."),
]


def confirm(
    name: NameArgument,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the best trials.")] = 3,
    seeds: Annotated[
        int, typer.Option("--seeds", min=2, max=100, help="The most seeds for each.")
    ] = 5,
    min_seeds: Annotated[
        int,
        typer.Option("--min-seeds", min=2, max=100, help="Seeds for each before any drops out."),
    ] = 2,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Length of each training (default: the full run's)."),
    ] = None,
    budget: BudgetOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
    trials_per_gpu: PerGpuOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Train the best trials and the baselines again on fresh seeds: which one is really best?"""
    changes = data_settings(data, "base.") | worker_settings(workers, trials_per_gpu)
    chosen = Store.at(store, storage, tracking_uri)
    with quick_imports():
        from study.cli.confirm import confirm as confirm_study
        from study.running.confirm import Race

    confirm_study(chosen, Race(name, top, seeds, epochs, min_seeds), changes, budget)


def ask(
    name: NameArgument,
    question: Annotated[
        str,
        typer.Argument(
            help="A searched key, as in hue, or with two values: nz=30,100; metric or budget."
        ),
    ],
    pairs: Annotated[
        int | None,
        typer.Option("--pairs", min=2, max=100, help="The most pairs to train (default: 12)."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Length of each training (default: a trial's)."),
    ] = None,
    budget: BudgetOption = None,
    data: DataOption = None,
    workers: WorkersOption = None,
    trials_per_gpu: PerGpuOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Train pairs that differ in one setting: does it help, does it hurt, or does it not matter?"""
    changes = data_settings(data, "base.") | worker_settings(workers, trials_per_gpu)
    chosen = Store.at(store, storage, tracking_uri)
    with quick_imports():
        from study.cli.ask import ask as ask_study

    ask_study(chosen, name, question, pairs, epochs, changes, budget)


def explain(
    name: NameArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Say what mattered, what is chance, and whether the trials are long enough; trains nothing."""
    with quick_imports():
        from study.cli.explain import print_explanation

    print_explanation(Store.at(store, storage), name, as_json=as_json)


def verify(
    export: Annotated[Path, typer.Argument(help="A config that 'study export' has written.")],
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Trainings, each on its own seed.")
    ] = 1,
    data: DataOption = None,
) -> None:
    """Train an exported config again: does it score what it says? Exit code 1 if it does not."""
    with quick_imports():
        from study.cli.verify import verify as verify_export

    raise typer.Exit(0 if verify_export(export, seeds, data_settings(data)) else 1)


def revive(
    name: NameArgument,
    trial: Annotated[int, typer.Argument(min=0, help="Number of a trial that was stopped.")],
    data: DataOption = None,
    timeout: TimeoutOption = None,
    workers: WorkersOption = None,
    trials_per_gpu: PerGpuOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Let a trial that was stopped early go on to its end."""
    changes = data_settings(data, "base.") | worker_settings(workers, trials_per_gpu, timeout)
    chosen = Store.at(store, storage, tracking_uri)
    with quick_imports():
        from study.cli.revive import revive as revive_trial

    revive_trial(chosen, name, trial, changes)
