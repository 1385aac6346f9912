"""A tiny study, a finished one that tests only read, and the shell's view of both."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient
from optuna.study import Study
from optuna.trial import FrozenTrial
from ready import Process, Ready

from benchmarks.lib.servers import MlflowServer, mlflow_server
from dcgan.config.settings import set_dotted
from dcgan.data.bank import PhotoBank, load_bank
from study.config.study_config import StudyConfig
from study.running.observer import Event, LossesLogged, Warned
from study.running.study import StudySummary, run_study
from study.storage.optuna_db import open_storage
from study.storage.store import Store
from study.tracking.relocate import relocate

# An MLflow server that is away is asked again at once, not after seconds.
os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"] = "0"
os.environ["MLFLOW_HTTP_REQUEST_BACKOFF_JITTER"] = "0"

THIRD_PARTY_WARNINGS = (
    # mlflow's SQL store, with SQLAlchemy 2.1
    "ignore:The ``noload`` loader strategy is deprecated",
    # psycopg, of the connection that a study's engine keeps until the end
    "ignore:.* was deleted while still open:ResourceWarning",
    # Python 3.13, of the connections that Optuna's and MLflow's engines keep until the end
    "ignore:unclosed database:ResourceWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings of libraries about libraries, which nothing here can avoid."""
    for line in THIRD_PARTY_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


StudyMaker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]

TINY_STUDY: dict[str, Any] = {
    "study": {"name": "tiny", "trials": 3, "seed": 5},
    "space": {
        "model.nz": {"type": "int", "low": 4, "high": 16, "log": True},
        "model.ngf": {"type": "int", "low": 4, "high": 8, "step": 4},
        "optim.lr_g": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "augment.rotation_degrees": {"type": "categorical", "choices": [0, 10]},
        "augment.blur_sigma": {"type": "categorical", "choices": [0, [0.1, 1.2]]},
    },
    "sampler": {"name": "tpe", "startup_trials": 3},
    "pruner": {"name": "percentile", "percentile": 0.0, "startup_trials": 1, "audit": 0.0},
    "noise": {"assumed": 0.0},
    "checkpoints": {"keep_pruned": 0},
    "baselines": [
        {
            "name": "good",
            "params": {"model.nz": 8, "model.ngf": 8, "optim.lr_g": 2e-3, "augment.blur_sigma": 0},
        },
        {"name": "slow", "params": {"model.nz": 4, "model.ngf": 4, "optim.lr_g": 1e-4}},
    ],
    "base": {
        "data": {"source": "toy_cats", "toy_count": 32, "image_size": 32},
        "augment": {"blur_kernel": [3, 3]},
        "model": {"nz": 8, "ngf": 8, "ndf": 4},
        "train": {
            "epochs": 2,
            "batch_size": 16,
            "device": "cpu",
            "threads": 1,
            "ema_half_life_images": 20,
            "grid_every_steps": 1000,
            "log_every_steps": 1,
        },
        "eval": {"extractor": "random", "n_samples": 64, "every_epochs": 1, "select": "last"},
    },
    "full_run": {"train.epochs": 4},
}
"""Two steps an epoch, two epochs, a score after each; what is not the best so far is pruned, as if
two trainings of a config scored the same."""


def changed(settings: dict[str, Any]) -> dict[str, Any]:
    """The tiny study as plain data with keys replaced (`study__trials` for `study.trials`)."""
    data = copy.deepcopy(TINY_STUDY)
    for key, value in settings.items():
        # A copy: a section that is given may itself be changed by the next setting.
        set_dotted(data, key.replace("__", "."), copy.deepcopy(value))
    return data


@pytest.fixture(scope="session")
def tiny_data() -> Callable[..., dict[str, Any]]:
    """The tiny study as plain data with keys replaced."""
    return lambda **settings: changed(settings)


@pytest.fixture(scope="session")
def tiny_study() -> StudyMaker:
    """Make a tiny study's config; arguments are dotted keys with `__` for the dot."""

    return lambda **settings: StudyConfig.model_validate(changed(settings))


@pytest.fixture(scope="session")
def bank(tiny_study: StudyMaker) -> PhotoBank:
    """The tiny study's photos."""
    return load_bank(tiny_study().base.data)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Store]:
    """Make an empty results folder. Its databases are copies: making their tables takes seconds."""
    blank = Store.at(tmp_path_factory.mktemp("blank") / "store")
    blank.create()
    open_storage(blank, create=True).engine.dispose()
    MlflowClient(tracking_uri=blank.mlflow_uri).search_experiments()

    def make() -> Store:
        store = Store.at(tmp_path_factory.mktemp("study") / "store")
        shutil.copytree(blank.root, store.root)
        return store

    return make


@pytest.fixture
def store(new_store: Callable[[], Store]) -> Store:
    """An empty results folder."""
    return new_store()


@dataclass(frozen=True)
class Finished:
    """A study that ran to its total."""

    config: StudyConfig
    store: Store
    summary: StudySummary

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.summary.study.get_trials()


@pytest.fixture(scope="session")
def finished(tiny_study: StudyMaker, bank: PhotoBank, new_store: Callable[[], Store]) -> Finished:
    """Six trials that nothing disturbed, two of them baselines. Only to be read."""
    config, store = tiny_study(study__trials=6), new_store()
    return Finished(config, store, run_study(config, store, bank=bank))


@pytest.fixture(scope="session")
def copy_of() -> Callable[[Store, Path], Store]:
    """Makes a copy of a results folder, to be changed. MLflow knows its place."""

    def copy(store: Store, folder: Path) -> Store:
        mine = Store.at(folder)
        shutil.copytree(store.root, mine.root)
        relocate(mine)
        return mine

    return copy


@pytest.fixture
def own_finished(
    finished: Finished, tmp_path: Path, copy_of: Callable[[Store, Path], Store]
) -> Store:
    """A copy of the finished study's results folder."""
    return copy_of(finished.store, tmp_path / "own")


class Watcher:
    """An observer that keeps what it is told.

    Args:
        react: called with each event; what it raises fails the trial.
        stop: asked whether to stop.
        stop_after: a trial and the step after whose losses it asks to stop.
    """

    def __init__(
        self,
        react: Callable[[Event], object] = lambda event: None,
        *,
        stop: Callable[[], bool] = lambda: False,
        stop_after: tuple[int, int] | None = None,
    ) -> None:
        self.react, self.stop, self.stop_after = react, stop, stop_after
        self.told: list[tuple[Event, int | None]] = []
        self.stopping = False

    def tell(self, event: Event, worker: int | None = None) -> None:
        self.told.append((event, worker))
        if isinstance(event, LossesLogged):
            reached = event.trial, event.record.step
            self.stopping = self.stopping or reached == self.stop_after
        self.react(event)

    def should_stop(self) -> bool:
        return self.stopping or self.stop()

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind."""
        return [event for event, _ in self.told if isinstance(event, kind)]

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.of(Warned)]


@pytest.fixture(scope="session")
def watch() -> type[Watcher]:
    """Make an observer."""
    return Watcher


class Mirror:
    """What MLflow shows of one study."""

    def __init__(self, store: Store, name: str = "tiny") -> None:
        self.client = MlflowClient(tracking_uri=store.mlflow_uri)
        experiment = self.client.get_experiment_by_name(name)
        assert experiment is not None
        self.experiment = experiment

    def runs(self, kind: str) -> list[Run]:
        """Runs of a kind, by trial number."""
        found = self.client.search_runs([self.experiment.experiment_id], f"tags.kind = '{kind}'")
        return sorted(found, key=lambda run: int(run.data.tags.get("optuna.trial_number", -1)))

    def all_runs(self) -> list[Run]:
        return list(self.client.search_runs([self.experiment.experiment_id]))

    def history(self, run: Run, key: str) -> list[Metric]:
        return list(self.client.get_metric_history(run.info.run_id, key))

    def points(self, run: Run) -> list[tuple[str, int]]:
        """(key, step) of every point of every metric, as often as it is stored."""
        keys = sorted(run.data.metrics)
        return [(key, point.step) for key in keys for point in self.history(run, key)]

    def read(self, run: Run, path: str) -> str:
        """The text of an artifact."""
        return Path(self.client.download_artifacts(run.info.run_id, path)).read_text()

    def artifacts(self, run: Run, folder: str | None = None) -> set[str]:
        return {item.path for item in self.client.list_artifacts(run.info.run_id, folder)}


@pytest.fixture(scope="session")
def mirror_of() -> Callable[..., Mirror]:
    """Read a study's MLflow experiment."""
    return Mirror


@pytest.fixture(scope="session")
def essence() -> Callable[[Study], list[tuple[Any, ...]]]:
    """What of trials must be the same, bit for bit, however a study was launched."""
    return lambda study: [
        (trial.number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for trial in study.get_trials()
    ]


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write the tiny study with dotted changes as a YAML file named after it."""

    def write(**settings: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        text = yaml.safe_dump(changed(settings), sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def shell(programs: Ready, tmp_path: Path) -> Shell:
    """Run the `study` command as a user does, in a working folder of its own."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(programs.study), *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def ready_workers(programs: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes that a launch in this process starts are ready at once."""
    monkeypatch.setattr(sys, "executable", str(programs.python))


@pytest.fixture(scope="session")
def make_tracking(programs: Ready) -> Callable[[], AbstractContextManager[MlflowServer]]:
    """Start an MLflow server of one's own."""
    return lambda: mlflow_server(str(programs.python), programs.program_of)


@pytest.fixture(scope="session")
def tracking(
    make_tracking: Callable[[], AbstractContextManager[MlflowServer]],
) -> Iterator[MlflowServer]:
    """An MLflow server that tests share."""
    with make_tracking() as server:
        yield server


@pytest.fixture
def study_process(programs: Ready, tmp_path: Path) -> Callable[..., Process]:
    """Start the `study` command and leave it running (its output goes to files, `NAME.out` and
    `NAME.err` of a given name)."""

    def start(*arguments: object, output: str = "") -> Process:
        out = (tmp_path / (f"{output}.out" if output else "stdout.txt")).open("w")
        err = (tmp_path / (f"{output}.err" if output else "stderr.txt")).open("w")
        with out, err:
            return programs.start("study", *arguments, cwd=tmp_path, stdout=out, stderr=err)

    return start
