"""`study submit`: what a scheduler needs in order to run workers of a study."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from dcgan.cli.console import say
from study.running.schedulers.kubernetes import secret
from study.running.schedulers.needs import Needs, needs_of
from study.running.schedulers.table import SCHEDULERS, hand_over, with_variables
from study.storage.addresses import hide_password
from study.storage.optuna_db import clear_storage_errors, load_optuna_study
from study.storage.store import Store


def submit(
    store: Store,
    name: str,
    scheduler: str,
    photos: Path | None,
    jobs: int,
    trials_per_gpu: int,
    hours: float | None,
    options: Mapping[str, str],
    *,
    go: bool,
) -> None:
    """Print the script for a scheduler, or hand it over with `go`."""
    with clear_storage_errors(store):
        study = load_optuna_study(store, name)
        needs = needs_of(study, store, photos, jobs, trials_per_gpu, hours)
    text = SCHEDULERS[scheduler].script(needs, options)
    if go:
        say(hand_over(scheduler, text, needs, with_variables(store, os.environ)))
    else:
        print(text, end="", flush=True)
    if go and scheduler == "kubernetes":
        print(f"its pods wait for this secret:\n{secret(needs, options)}", file=sys.stderr)
    for note in notes_on(needs):
        print(note, file=sys.stderr)  # the script alone goes into a file


def notes_on(needs: Needs) -> list[str]:
    """What a person should know about the jobs."""
    notes = [
        f"{needs.jobs} jobs, each with {needs.cpus} processors, {needs.memory_gib} GiB"
        f"{' and a GPU' if needs.gpus else ''}, for up to {needs.minutes / 60:.1f} h"
    ]
    notes += [
        f"{hide_password(url)} is another machine on each node: it is reached only by jobs that "
        "run here, or have an address of their own"
        for url in needs.loopback
    ]
    if needs.shared is None:
        notes.append(
            "checkpoints stay on the machine of a job: a trial that is lost there begins again; "
            "launch the study with --artifacts, and it goes on"
        )
    return notes
