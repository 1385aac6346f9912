"""The programs that jobs can be handed to, by name."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from dcgan.errors import UsageError
from study.running.schedulers import kubernetes, skypilot, slurm
from study.running.schedulers.needs import Needs
from study.storage.store import STORAGE_VARIABLE, Store


class Scheduler(NamedTuple):
    """One of them."""

    script: Callable[[Needs, Mapping[str, str]], str]
    """What it is handed, as text."""
    program: tuple[str, ...]
    """The command that takes it from its standard input, or as a file at the end."""
    takes_file: bool = False


SCHEDULERS = {
    "slurm": Scheduler(slurm.script, slurm.PROGRAM),
    "kubernetes": Scheduler(kubernetes.script, kubernetes.PROGRAM),
    "skypilot": Scheduler(skypilot.script, skypilot.PROGRAM, takes_file=True),
}


def hand_over(name: str, text: str, needs: Needs, environment: Mapping[str, str]) -> str:
    """Give a script to its program; returns what that says.

    Raises `UsageError` if the program or a variable is missing, or the program refuses.
    """
    scheduler = SCHEDULERS[name]
    program = list(scheduler.program)
    if shutil.which(program[0]) is None:
        raise UsageError(
            f"there is no '{program[0]}' on this machine; print the script without --go, and use "
            "it where there is one"
        )
    if name != "kubernetes" and not environment.get(STORAGE_VARIABLE):
        raise UsageError(
            f"set {STORAGE_VARIABLE} to the address of the study's database: jobs get it from the "
            "environment, so that no script has its password"
        )
    with tempfile.TemporaryDirectory() as folder:
        if scheduler.takes_file:
            file = Path(folder) / "task.yaml"
            file.write_text(text, encoding="utf-8")
            program += [part for it in needs.given(environment) for part in ("--secret", it)]
            program.append(str(file))
        done = subprocess.run(
            program, input=text, text=True, capture_output=True, env=dict(environment)
        )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(f"{' '.join(scheduler.program)} refused the script: {said[-1]}")
    return done.stdout.strip()


def with_variables(store: Store, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, in which jobs find the database that `--storage` names here."""
    storage = {STORAGE_VARIABLE: store.storage} if store.storage else {}
    return {**environment, **storage}
