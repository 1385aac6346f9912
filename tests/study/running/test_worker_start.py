"""What a worker process does before its first training step, and what it leaves for later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dcgan.data.bank import PhotoBank
from study.running.observer import Event, LossesLogged, TrialEnded
from study.running.prepare import prepare
from study.running.worker import Job, run_job
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.storage.trial_record import TrialRecord

Maker = Callable[..., Any]

FIRST_STEP = """
import os, sys
from dcgan.training import cuda_graphs
step = cuda_graphs.Stepper.step

def first(stepper, batch):
    step(stepper, batch)
    late = {"mlflow", "pandas", "pyarrow", "fastapi", "scipy", "matplotlib"}
    late |= {"torchvision", "torchmetrics", "torch._dynamo"}
    print("FIRST STEP", sorted(late & set(sys.modules)), file=sys.stderr, flush=True)
    os._exit(0)

cuda_graphs.Stepper.step = first
from study.cli.worker import main
main()
"""


@pytest.fixture
def job(tiny_study: Maker, bank: PhotoBank, store: Store) -> Iterator[Job]:
    """The job of a worker whose launcher has opened the study."""
    with prepare(tiny_study(study__trials=1), store, bank) as plan:
        yield Job.of(plan.context)


def test_a_worker_trains_before_it_loads_what_only_shows_trials(job: Job) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FIRST_STEP],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as worker:
        assert worker.stdin
        assert worker.stderr
        worker.stdin.write(job.line())
        worker.stdin.flush()
        said = worker.stderr.read()
    assert said.splitlines()[-1] == "FIRST STEP []", said


def test_a_trial_is_in_mlflow_before_its_first_score(
    job: Job, store: Store, watch: Maker, mirror_of: Maker
) -> None:
    shown: list[str] = []

    def look(event: Event) -> None:
        if isinstance(event, LossesLogged) and not shown:
            (run,) = mirror_of(store).runs("trial")
            record = TrialRecord.load(store.study("tiny").trial(0))
            assert record
            assert record.run_id == run.info.run_id
            shown.append(run.info.status)

    run_job(job, watch(look))
    assert shown == ["RUNNING"]


def test_a_worker_that_cannot_open_mlflow_says_so_and_completes_its_trial(
    job: Job, store: Store, watch: Maker
) -> None:
    store.mlflow_database.write_bytes(b"no database" * 1000)
    observer = watch()
    run_job(job, observer)
    assert [event.state for event in observer.of(TrialEnded)] == ["COMPLETE"]
    assert observer.warnings
    assert all("MLflow was not updated" in text for text in observer.warnings)
    trial = load_optuna_study(store, "tiny").get_trials()[0]
    assert trial.state.name == "COMPLETE"
