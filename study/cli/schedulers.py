"""The commands for machines of which another program has charge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcgan.errors import UsageError
from dcgan.runtime.imports import quick_imports
from study.cli.options import (
    NameArgument,
    PerGpuOption,
    StorageOption,
    StoreOption,
    TrackingOption,
    number_or_auto,
)
from study.storage.store import Store


def submit(
    name: NameArgument,
    slurm: Annotated[bool, typer.Option("--slurm", help="A batch script for sbatch.")] = False,
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="A manifest of a Job.")] = False,
    skypilot: Annotated[bool, typer.Option("--skypilot", help="A task for clouds.")] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Jobs at the same time, each with a worker.")
    ] = 4,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of the photos there.", metavar="FOLDER"),
    ] = None,
    trials_per_gpu: PerGpuOption = None,
    hours: Annotated[
        float | None,
        typer.Option("--hours", min=0.1, help="Time limit of a job (default: an estimate)."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="KEY=VALUE",
            help="An option of the scheduler, as in partition=gpu (repeatable).",
        ),
    ] = None,
    go: Annotated[bool, typer.Option("--go", help="Submit it instead of printing it.")] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Print (or submit) what Slurm, Kubernetes or SkyPilot needs to run workers of a study."""
    asked = {"slurm": slurm, "kubernetes": kubernetes, "skypilot": skypilot}
    chosen = [scheduler for scheduler, wanted in asked.items() if wanted]
    if len(chosen) != 1:
        raise UsageError("say for which program: --slurm, --kubernetes or --skypilot")
    pairs = [option.partition("=") for option in options or []]
    if wrong := [key for key, sign, _ in pairs if not (key and sign)]:
        raise UsageError(f"--option {wrong[0]} must be KEY=VALUE, as in --option partition=gpu")
    where = Store.at(store, storage, tracking_uri)
    with quick_imports():
        from study.cli.submit import submit as submit_jobs

    given = {key: value for key, _, value in pairs}
    each = number_or_auto("--trials-per-gpu", trials_per_gpu) or 1
    if not isinstance(each, int):
        raise UsageError("--trials-per-gpu auto is measured by a launch; give 'study submit' K")
    submit_jobs(where, name, chosen[0], data, jobs, each, hours, given, go=go)
