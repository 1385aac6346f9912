"""The results folder: both databases, MLflow's artifacts and the studies' files.

Machines share a study by sharing its databases: Optuna's on a PostgreSQL server (`storage`) and
MLflow's behind an MLflow server (`tracking`). Each machine still has a results folder of its own.
The folders of trials may be shared as well (`shared`), so that any machine continues any trial.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dcgan.errors import UsageError
from dcgan.runtime.files import make_folder
from study.storage.addresses import (
    check_shared_address,
    check_storage_url,
    check_tracking_uri,
    hide_password,
    sqlite_url,
)
from study.storage.file_systems import disk_fault

STORE_VARIABLE = "DCGAN_STUDY_STORE"
STORAGE_VARIABLE = "DCGAN_STUDY_STORAGE"
TRACKING_VARIABLE = "DCGAN_STUDY_TRACKING_URI"
SHARED_VARIABLE = "DCGAN_STUDY_ARTIFACTS"


@dataclass(frozen=True)
class Store:
    """A results folder and its databases; `root` is absolute."""

    root: Path
    storage: str | None = None
    """URL of a PostgreSQL database that replaces the folder's Optuna database."""
    tracking: str | None = None
    """Address of an MLflow server that replaces the folder's MLflow database."""
    shared: str | None = None
    """Address of a place that all machines reach, for the folders of trials (`shared_trials`)."""

    @classmethod
    def at(
        cls,
        path: Path | None = None,
        storage: str | None = None,
        tracking: str | None = None,
        shared: str | None = None,
    ) -> Store:
        """The store at a path, else at $DCGAN_STUDY_STORE, else `mlruns/` of the working folder.

        An address that is not given comes from its environment variable. Raises `UsageError` if an
        address is not valid.
        """
        chosen = path or Path(os.environ.get(STORE_VARIABLE) or "mlruns")
        try:
            str(chosen).encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(
                f"{chosen} cannot hold results: its bytes are no UTF-8 text, which databases need; "
                "rename it, or name another results folder with --store"
            ) from None
        storage = storage or os.environ.get(STORAGE_VARIABLE) or None
        tracking = tracking or os.environ.get(TRACKING_VARIABLE) or None
        shared = shared or os.environ.get(SHARED_VARIABLE) or None
        return cls(
            Path(os.path.realpath(chosen.expanduser())),
            check_storage_url(storage) if storage else None,
            check_tracking_uri(tracking) if tracking else None,
            check_shared_address(shared) if shared else None,
        )

    @property
    def options(self) -> str:
        """The options that a command needs for this store, as in ` --store DIR`, or nothing."""
        parts = []
        if self.root != Store.at().root:
            parts.append(f"--store {shlex.quote(str(self.root))}")
        given = os.environ.get(STORAGE_VARIABLE)
        if self.storage and not (given and check_storage_url(given) == self.storage):
            parts.append(f"--storage {shlex.quote(hide_password(self.storage))}")
        return "".join(f" {part}" for part in parts)

    @property
    def optuna_place(self) -> str:
        """Optuna's database in messages, without a password."""
        return hide_password(self.storage) if self.storage else str(self.optuna_database)

    @property
    def mlflow_place(self) -> str:
        """MLflow's database or server in messages, without a password."""
        return hide_password(self.tracking) if self.tracking else str(self.mlflow_database)

    @property
    def has_databases(self) -> bool:
        """Whether Optuna's or MLflow's database is in the folder, and not both on servers."""
        return not (self.storage and self.tracking)

    @property
    def optuna_database(self) -> Path:
        """Optuna's SQLite file: the truth about trials."""
        return self.root / "optuna.db"

    @property
    def optuna_url(self) -> str:
        """The URL of Optuna's database for SQLAlchemy."""
        return self.storage or sqlite_url(self.optuna_database)

    @property
    def mlflow_database(self) -> Path:
        """MLflow's SQLite file: a mirror of the trials."""
        return self.root / "mlflow.db"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking URI, with an absolute path."""
        return self.tracking or sqlite_url(self.mlflow_database)

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, in a folder for each experiment."""
        return self.root / "artifacts"

    def study(self, name: str) -> StudyFolder:
        """The files of one study."""
        return StudyFolder(self.root / "studies" / name)

    def study_folders(self) -> list[StudyFolder]:
        """The files of all studies."""
        return [StudyFolder(path) for path in sorted((self.root / "studies").glob("*"))]

    def create(self) -> None:
        """Make the folder.

        Raises `UsageError` if it cannot be written to or is on a network file system.
        """
        if self.has_databases and (fault := disk_fault(self.root)):
            raise UsageError(
                f"{fault}; choose a folder on a local disk with --store DIR or {STORE_VARIABLE}"
            )
        problem = make_folder(self.root) or make_folder(self.artifacts)
        if problem:
            raise UsageError(
                f"cannot write results to {self.root}: {problem}; choose another folder with "
                f"--store DIR or {STORE_VARIABLE}"
            )


def make_database(path: Path, build: Callable[[str], object]) -> None:
    """Make a SQLite database completely or not at all, once, even if several processes try.

    Neither Optuna nor MLflow can open a database with only some of its tables, which a process
    killed meanwhile would leave. `build` makes the tables of the database at a URL.
    """
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.new")
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            fresh.unlink(missing_ok=True)
            build(sqlite_url(fresh))
            fresh.replace(path)


class StudyFolder:
    """The files of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "study.yaml"  # as the study was created
        self.best = path / "best.yaml"  # the exported full run of the best trial
        self.leaderboard = path / "leaderboard.md"
        self.contact_sheet = path / "contact_sheet.png"
        self.report = path / "report.html"  # of the finished study
        self.locks = path / "locks"  # a lock file for each trial that is running
        self.launchers = path / "launchers"  # a lock file for each process that runs workers
        self.workers = path / "workers"  # a file for the stderr of each worker

    def trial(self, number: int) -> Path:
        """A trial's run folder."""
        return self.path / "trials" / trial_name(number)

    def trials(self) -> dict[int, Path]:
        """Trial number → run folder of the trials that have one."""
        return _numbered_folders(self.path / "trials")

    def full_runs(self) -> dict[int, Path]:
        """Trial number → run folder of the full runs that have one."""
        return _numbered_folders(self.path / "full_runs")

    def full_run(self, number: int) -> Path:
        """The run folder of a trial's full run."""
        return self.path / "full_runs" / trial_name(number)


def _numbered_folders(parent: Path) -> dict[int, Path]:
    """Trial number → the folder that is named exactly like that trial, in order of numbers."""
    found = {}
    for path in parent.glob("trial-*"):
        digits = path.name.removeprefix("trial-")
        named = digits.isdecimal() and path.name == trial_name(int(digits))
        if named and path.is_dir() and not path.is_symlink():
            found[int(digits)] = path
    return dict(sorted(found.items()))


def trial_name(number: int) -> str:
    """The name of a trial in every place: `trial-007`."""
    return f"trial-{number:03d}"
