"""A worker: claims trials and runs them until the study's total is reached.

`work` is what the launcher itself runs when there is one worker. As a program
(`python -m study.running.worker`) it is one of several: it reads a `Job` from the first line of its
standard input, reports events on its standard output, and saves a checkpoint and stops when its
standard input ends, because the launcher asked or because it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dcgan.cli.console import run_app
from dcgan.data.bank import load_bank
from dcgan.runtime.numerics import numerics
from study.config.study_config import StudyConfig
from study.results.wording import describe_trial
from study.running.claims import Claims
from study.running.context import Outcome, Workbench, open_bench
from study.running.observer import Hooks, Sender
from study.running.trial import run_trial
from study.storage.optuna_db import clear_storage_errors, finished_count, load_optuna_study
from study.storage.store import Store

POLL_SECONDS = 0.5
"""Between two looks whether a trial that another worker runs has become free."""


def work(bench: Workbench) -> Iterator[tuple[int, Outcome]]:
    """Run trials one after the other, until the total is finished or a stop is wished for.

    Yields:
        Each trial's number and outcome.
    """
    total = bench.config.study.trials
    while finished_count(bench.study) < total and not bench.hooks.should_stop():
        with bench.claims.next(total) as claim:
            if claim is not None:
                outcome = run_trial(bench, claim)
        if claim is None:
            time.sleep(POLL_SECONDS)
            continue
        if outcome.state == TrialState.WAITING and outcome.reason and not bench.hooks.should_stop():
            bench.hooks.on_warning(f"trial will be tried again: {outcome.reason}")
        yield claim.trial.number, outcome


@dataclass(frozen=True)
class Job:
    """What a worker process is told by its launcher, in one line of JSON."""

    root: str
    storage: str | None
    tracking: str | None
    config: dict[str, Any]
    """The study's config as this launch uses it: paths differ between machines."""
    experiment_id: str
    parent_run_id: str

    @classmethod
    def of(cls, bench: Workbench) -> Job:
        """The job of a workbench's workers."""
        store, config = bench.tracker.store, bench.config.model_dump(mode="json")
        ids = bench.tracker.experiment_id, bench.parent_run_id
        return cls(str(store.root), store.storage, store.tracking, config, *ids)

    def line(self) -> str:
        """As it is sent."""
        return json.dumps(asdict(self)) + "\n"


def main() -> None:
    """Run trials of a study that a launcher has opened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the launcher's to handle
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    line = sys.stdin.readline()
    if not line:  # the launcher was gone before it said anything
        return
    threading.Thread(target=_stop_when_told, args=(stop,), daemon=True).start()
    sender = Sender()
    run_app(lambda: _run(Job(**json.loads(line)), sender, stop))


def _run(job: Job, sender: Sender, stop: threading.Event) -> None:
    store = Store(Path(job.root), job.storage, job.tracking)
    config = StudyConfig.model_validate(job.config)
    hooks = _hooks(config, sender, stop)
    with clear_storage_errors(store), numerics(config.base.train):
        study = load_optuna_study(store, config.study.name, hooks.on_warning, wait=True)
        runs = job.experiment_id, job.parent_run_id
        bank = load_bank(config.base.data)
        claims = Claims(study, store.study(config.study.name))
        bench = open_bench(config, claims, store, bank, hooks, runs=runs)
        for number, outcome in work(bench):
            sender.send("outcome", trial=number, state=outcome.state.name, reason=outcome.reason)


def _hooks(config: StudyConfig, sender: Sender, stop: threading.Event) -> Hooks:
    return Hooks(
        on_begin=lambda trial, train_config: sender.send(
            "begin", trial=trial.number, text=describe_trial(config, trial, train_config)
        ),
        on_start=lambda schedule, done: sender.send(
            "start",
            total_steps=schedule.total_steps,
            done=done,
            steps_per_epoch=schedule.steps_per_epoch,
            epochs=schedule.config.train.epochs,
        ),
        on_log=lambda record: sender.send("log", record=replace(record, every_step={}).to_dict()),
        on_eval=lambda record: sender.send("eval", record=record.to_dict()),
        on_warning=lambda text: sender.send("warning", text=text),
        should_stop=stop.is_set,
    )


def _stop_when_told(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


if __name__ == "__main__":
    main()
