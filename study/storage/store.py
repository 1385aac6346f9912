"""Where results live: one folder with both databases, MLflow's artifacts and the studies' files.

Several machines share a study by sharing its databases: Optuna's on a PostgreSQL server (`storage`)
and MLflow's behind its own server (`tracking`). Each machine still has a folder of its own.
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
from study.storage.addresses import check_storage_url, check_tracking_uri, hide_password, sqlite_url

STORE_VARIABLE = "DCGAN_STUDY_STORE"
STORAGE_VARIABLE = "DCGAN_STUDY_STORAGE"
TRACKING_VARIABLE = "DCGAN_STUDY_TRACKING_URI"
MOUNTS = Path("/proc/self/mounts")
_NETWORK = "9p afs beegfs ceph cifs fuse.glusterfs fuse.sshfs glusterfs gpfs lustre nfs nfs4 smb3"
NETWORK_FILE_SYSTEMS = frozenset(_NETWORK.split())
"""SQLite's locks are unreliable on these (https://sqlite.org/lockingv3.html)."""


@dataclass(frozen=True)
class Store:
    """A results folder and its databases; `root` is absolute."""

    root: Path
    storage: str | None = None
    """URL of a PostgreSQL database that takes the place of the folder's Optuna database."""
    tracking: str | None = None
    """Address of an MLflow server that takes the place of the folder's MLflow database."""

    @classmethod
    def at(
        cls, path: Path | None = None, storage: str | None = None, tracking: str | None = None
    ) -> Store:
        """The store at a path, else at $DCGAN_STUDY_STORE, else `mlruns/` of the working folder.

        An address that is not given comes from its variable; without one the folder's own database
        is used.

        Raises:
            UsageError: an address is not valid.
        """
        chosen = path or Path(os.environ.get(STORE_VARIABLE) or "mlruns")
        storage = storage or os.environ.get(STORAGE_VARIABLE) or None
        tracking = tracking or os.environ.get(TRACKING_VARIABLE) or None
        return cls(
            chosen.expanduser().resolve(),
            check_storage_url(storage) if storage else None,
            check_tracking_uri(tracking) if tracking else None,
        )

    @property
    def options(self) -> str:
        """The options that name this store in a command, as in ` --store DIR`, or nothing."""
        parts = []
        if self.root != Store.at().root:
            parts.append(f"--store {shlex.quote(str(self.root))}")
        given = os.environ.get(STORAGE_VARIABLE)
        if self.storage and not (given and check_storage_url(given) == self.storage):
            parts.append(f"--storage {shlex.quote(hide_password(self.storage))}")
        return "".join(f" {part}" for part in parts)

    @property
    def optuna_place(self) -> str:
        """Optuna's database as messages name it, without a password."""
        return hide_password(self.storage) if self.storage else str(self.optuna_database)

    @property
    def mlflow_place(self) -> str:
        """MLflow's database or server as messages name it."""
        return hide_password(self.tracking) if self.tracking else str(self.mlflow_database)

    @property
    def optuna_database(self) -> Path:
        """SQLite file of Optuna: the truth about trials."""
        return self.root / "optuna.db"

    @property
    def optuna_url(self) -> str:
        """The database as SQLAlchemy names it."""
        return self.storage or sqlite_url(self.optuna_database)

    @property
    def mlflow_database(self) -> Path:
        """SQLite file of MLflow: the mirror people look at."""
        return self.root / "mlflow.db"

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI, absolute so that no working folder can change its meaning."""
        return self.tracking or sqlite_url(self.mlflow_database)

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, a folder an experiment."""
        return self.root / "artifacts"

    def study(self, name: str) -> StudyFolder:
        """The files of one study."""
        return StudyFolder(self.root / "studies" / name)

    def study_folders(self) -> list[StudyFolder]:
        """The files of every study that has some here."""
        return [StudyFolder(path) for path in sorted((self.root / "studies").glob("*"))]

    def create(self) -> None:
        """Make the folder.

        Raises:
            UsageError: it cannot be made or written to, or is on a network file system.
        """
        kind = file_system(self.root)
        if kind in NETWORK_FILE_SYSTEMS and not (self.storage and self.tracking):
            raise UsageError(
                f"{self.root} is on a network file system ({kind}), where two processes can damage "
                f"a database; choose a folder on a local disk with --store DIR or {STORE_VARIABLE}"
            )
        problem = make_folder(self.root) or make_folder(self.artifacts)
        if problem:
            raise UsageError(
                f"cannot write results to {self.root}: {problem}; choose another folder with "
                f"--store DIR or {STORE_VARIABLE}"
            )


def make_database(path: Path, build: Callable[[str], object]) -> None:
    """Make a SQLite database completely or not at all, once, even if several processes try.

    A process killed while it makes the tables would leave a part of them, which neither Optuna nor
    MLflow can open again. `build` makes the tables of the database at a URL.
    """
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.new")
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not path.exists():
            fresh.unlink(missing_ok=True)
            build(sqlite_url(fresh))
            fresh.replace(path)


def file_system(path: Path, mounts: Path | None = None) -> str:
    """Linux's name for the file system of an absolute path; empty if it is unknown."""
    try:
        lines = (mounts or MOUNTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    found, kind = -1, ""
    for line in lines:
        _, point, name, *_ = line.split()
        point = point.encode().decode("unicode_escape")  # spaces are written \\040
        if path.is_relative_to(point) and len(point) >= found:  # the last one covers the others
            found, kind = len(point), name
    return kind


class StudyFolder:
    """The files of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "study.yaml"  # as the study was created
        self.best = path / "best.yaml"  # the exported full run of the best trial
        self.leaderboard = path / "leaderboard.md"
        self.contact_sheet = path / "contact_sheet.png"
        self.locks = path / "locks"  # a lock file for each trial that is running
        self.launchers = path / "launchers"  # a lock file for each process that runs workers
        self.workers = path / "workers"  # a file for the stderr of each worker

    def trial(self, number: int) -> Path:
        """A trial's run folder."""
        return self.path / "trials" / trial_name(number)

    def full_run(self, number: int) -> Path:
        """The run folder of a trial's full run."""
        return self.path / "full_runs" / trial_name(number)


def trial_name(number: int) -> str:
    """The name of a trial in every place: `trial-007`."""
    return f"trial-{number:03d}"
