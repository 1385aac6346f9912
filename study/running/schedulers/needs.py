"""What workers of a study need, whoever starts them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from optuna.study import Study

from dcgan.errors import UsageError
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import LogRecord, read_history
from study.running.estimate import what_is_left
from study.running.resources import WORKER_BYTES
from study.serving.address import is_this_machine
from study.storage.addresses import hide_password, without_user
from study.storage.attributes import (
    TRACKING_ATTRIBUTE,
    stored_identity,
    study_config,
    with_addresses,
)
from study.storage.leases import LEASE_VARIABLE
from study.storage.store import STORAGE_VARIABLE, Store
from study.storage.trial_summaries import summaries_of

GRACE_SECONDS = 120
"""From a request to end until the kill: a step, a checkpoint, and putting it where all reach it."""
SPARE = 1.5
"""Memory and time that are asked for, as a multiple of what was measured."""
LEAST_HOURS = 1.0
"""A job also waits for others, starts, and loads photos."""
UNKNOWN_HOURS = 24.0
"""Time that is asked for if nobody knows how long trials take."""
CLOUD_VARIABLES = {
    "s3": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
    ),
    "gs": (),  # what names a file of this machine is of no use elsewhere
}
"""Scheme of the shared place → variables of its library."""
OF_SERVERS = (
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    LEASE_VARIABLE,  # must be the same on all machines
)
LAUNCHER_BYTES = 3 * 2**28
"""Memory of the process that starts a job's workers."""


@dataclass(frozen=True)
class Needs:
    """Jobs that each run workers of a study until its total is finished."""

    study: str
    jobs: int
    """How many run at the same time."""
    cpus: int
    """Of each job."""
    gpus: int
    """Of each job: 0 or 1."""
    memory_bytes: int
    """Of each job."""
    hours: float
    """That a job may take."""
    command: tuple[str, ...]
    """What a job runs, without photos and results folder."""
    photos: str
    shared: str | None
    """The place of trials' folders, which the study knows."""
    loopback: tuple[str, ...] = ()
    """Addresses of databases that on another machine mean that machine."""
    photos_assumed: bool = False
    """Whether they are where the study has them on this machine, as nobody said otherwise."""
    grace_seconds: int = GRACE_SECONDS

    @property
    def extras(self) -> str:
        """What of this program's extras a machine has to install."""
        scheme = (self.shared or "").partition("://")[0]
        return ",".join(["postgres", *(name for name in CLOUD_VARIABLES if name == scheme)])

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that a job may need; the first is always needed."""
        scheme = (self.shared or "").partition("://")[0]
        return (STORAGE_VARIABLE, *OF_SERVERS, *CLOUD_VARIABLES.get(scheme, ()))

    def given(self, environment: Mapping[str, str]) -> list[str]:
        """Those of `variables` that are set, and the first."""
        first, *others = self.variables
        return [first, *(name for name in others if environment.get(name))]

    @property
    def memory_gib(self) -> int:
        """Whole GiB."""
        return math.ceil(self.memory_bytes / 2**30)

    @property
    def minutes(self) -> int:
        """Whole minutes, in steps of ten."""
        return 10 * math.ceil(6 * self.hours)


def needs_of(
    study: Study,
    store: Store,
    photos: Path | None,
    jobs: int,
    trials_per_gpu: int = 1,
    hours: float | None = None,
) -> Needs:
    """What so many jobs need to finish a study.

    `photos` is their folder on the machines of the jobs (default: as here). Memory is that of the
    trials whose histories are on this disk, and time that of the trials so far, with a margin.
    Raises `UsageError` if other machines could not reach the study's databases, and if the study is
    over.
    """
    if hours is not None and not math.isfinite(hours):
        raise UsageError(f"--hours must be a number of hours, but got {hours}")
    store, name, config = with_addresses(store, study), study.study_name, study_config(study)
    database, mlflow = store.storage, store.tracking
    if not (database and mlflow):
        missing = "--tracking-uri" if database else "--storage"
        raise UsageError(
            f"the study '{name}' keeps a database in the results folder of this machine, which no "
            f"job elsewhere reaches; launch it with {missing} (docs/scale.md)"
        )
    folder = photos or config.base.data.root
    if folder is None and config.base.data.source == "folder":
        raise UsageError(f"say with --data where the photos of '{name}' are on those machines")
    on_gpu = stored_identity(study).get("environment.device") == "cuda"
    each = trials_per_gpu if on_gpu else 1
    peak = peak_bytes(store.study(name).trials().values())
    command = ["study", "worker", name]
    if mlflow != (recorded := study.user_attrs.get(TRACKING_ATTRIBUTE)):
        if without_user(mlflow) != mlflow:
            raise UsageError(
                f"'{name}' was launched with another MLflow "
                f"({hide_password(recorded or 'in a results folder')}), and a job's command would "
                "show the password of --tracking-uri; give it without, and set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        command += ["--tracking-uri", mlflow]
    if each > 1:
        command += ["--workers", str(each), "--trials-per-gpu", str(each)]
    epochs, minutes = what_is_left(config, jobs * each, summaries_of(study))
    if epochs == 0:
        raise UsageError(
            f"all trials of '{name}' have ended; raise its total first: study run … --trials N"
        )
    known = minutes / 60 * SPARE if minutes else UNKNOWN_HOURS
    return Needs(
        study=name,
        jobs=jobs,
        cpus=(config.base.train.threads or 2) * each,
        gpus=int(on_gpu),
        memory_bytes=max(round(peak * SPARE), WORKER_BYTES) * each + LAUNCHER_BYTES,
        hours=hours or max(known, LEAST_HOURS),
        command=tuple(command),
        photos=str(folder or ""),
        shared=store.shared,
        loopback=tuple(filter(is_loopback, (database, mlflow))),
        photos_assumed=photos is None and folder is not None,
    )


def is_loopback(url: str) -> bool:
    """Whether an address means the machine itself, whichever that is."""
    given = sa.make_url(url)
    named = given.query.get("host", given.host or "")  # as PostgreSQL's library takes them
    hosts = [named] if isinstance(named, str) else list(named)
    own = ("", "0.0.0.0", "::")
    plain = [host.rpartition(":")[0] if host.count(":") == 1 else host for host in hosts]
    return "service" not in given.query and all(
        host in own or host.startswith("/") or is_this_machine(host) for host in plain
    )


def refuse_local(needs: Needs, where: str) -> None:
    """Raise `UsageError` if the study needs what only this machine or its cluster has.

    The address of its PostgreSQL is not among that: jobs get their own from their environment.
    """
    if mlflow := [url for url in needs.loopback if url.startswith("http")]:
        raise UsageError(
            f"the study '{needs.study}' logs to {hide_password(mlflow[0])}, which is another "
            f"machine in {where}: give --tracking-uri with an address that is reached from there"
        )
    if needs.shared and "://" not in needs.shared:
        raise UsageError(
            f"the study '{needs.study}' keeps its trials in the folder {needs.shared} "
            f"(--artifacts), which {where} does not have; launch it with an address such as s3://"
        )


def peak_bytes(folders: Iterable[Path]) -> int:
    """The most memory that a process has taken for any of these trials; 0 if none says so."""
    records = (record for folder in folders for record in read_history(RunFolder(folder).history))
    peaks = (it.memory_peak_mib or 0.0 for it in records if isinstance(it, LogRecord))
    return round(max(peaks, default=0.0) * 2**20)
