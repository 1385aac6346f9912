"""What the `study` commands share: their options, and what these mean as settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcgan.errors import UsageError

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="Results folder (default: $DCGAN_STUDY_STORE, else ./mlruns).",
        metavar="DIR",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="PostgreSQL database that machines share (default: $DCGAN_STUDY_STORAGE, else the "
        "results folder's own).",
        metavar="URL",
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="MLflow server (default: $DCGAN_STUDY_TRACKING_URI, else the results folder's own "
        "database).",
        metavar="URL",
    ),
]
ArtifactsOption = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        help="Folder or s3:// or gs:// address that all machines reach, so that any of them "
        "continues any trial (default: $DCGAN_STUDY_ARTIFACTS, else each machine's own disk).",
        metavar="URI",
    ),
]
AnyMlflowOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="An MLflow server, or sqlite:////…/mlflow.db (default: the study's own).",
        metavar="URL",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="The study's name (see 'study list').")]
OneStudyArgument = Annotated[str | None, typer.Argument(help="One study (default: all).")]
OutputOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="File to write.", metavar="FILE")
]
HostOption = Annotated[
    str,
    typer.Option(
        "--host",
        help="Address to serve on. The default lets in this machine alone.",
        metavar="HOST",
    ),
]
WorkersOption = Annotated[
    str | None,
    typer.Option("--workers", metavar="N|auto", help="Trials at the same time (default: 1)."),
]
PerGpuOption = Annotated[
    str | None,
    typer.Option(
        "--trials-per-gpu", metavar="K|auto", help="Workers that share a GPU (default: 1)."
    ),
]
LauncherOption = Annotated[
    str | None,
    typer.Option(
        "--launcher", metavar="processes|ray", help="What runs the workers (default: processes)."
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="auto|HOST:PORT", help="The Ray cluster (default: this machine)."
    ),
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", metavar="MINUTES", help="Stop after this long.")
]
TrialOption = Annotated[
    int | None, typer.Option("--trial", min=0, help="A trial's number instead of the best.")
]
PickOption = Annotated[
    str | None,
    typer.Option(
        "--pick",
        metavar="distance|balance|score|recognised",
        help="The trial of the front that is best in this (objective.mode=pareto).",
    ),
]


def worker_settings(
    workers: str | None, trials_per_gpu: str | None, timeout: float | None = None
) -> dict[str, Any]:
    """How a launch runs, as settings: `--workers`, `--trials-per-gpu`, `--timeout`.

    `--trials-per-gpu auto` alone means `--workers auto` as well. Raises `UsageError` for a wrong
    number.
    """
    if trials_per_gpu == "auto" and workers is None:
        workers = "auto"
    given: dict[str, Any] = {
        "study.workers": number_or_auto("--workers", workers),
        "study.trials_per_gpu": number_or_auto("--trials-per-gpu", trials_per_gpu),
    }
    given |= {"study.timeout_minutes": timeout}
    return {key: value for key, value in given.items() if value is not None}


def number_or_auto(option: str, text: str | None) -> int | str | None:
    """What a person gave for a number from 1 on; raises `UsageError` for anything else."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{option} must be a number from 1 on, or auto, but got '{text}'")
    return int(text)
