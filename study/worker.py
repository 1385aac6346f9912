"""A worker: claims trials and runs them until the study's total is reached.

`work` is what the launcher itself does when it is the only worker. As a program
(`python -m study.worker STORE NAME`) it is one of several: it tells the launcher what it does by
`study.events`, and stops with a checkpoint when its standard input ends, be it that the launcher
asks or that it is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from optuna.trial import TrialState

from dcgan.console import run_app
from dcgan.data import load_bank
from dcgan.devices import numerics
from study.bench import open_bench
from study.claims import Claims
from study.config import StudyConfig
from study.display import describe_trial
from study.events import Sender
from study.export import CONFIG_ATTRIBUTE
from study.objective import Hooks, Outcome, Workbench, run_trial
from study.storage import clear_storage_errors, finished_count, load_optuna_study
from study.store import Store

POLL_SECONDS = 0.5
"""Between two looks whether a trial that another worker runs has become free."""


def work(bench: Workbench, claims: Claims) -> Iterator[tuple[int, Outcome]]:
    """Run trials one after the other, until the total is finished or a stop is wished for.

    Yields:
        Each trial's number and outcome.
    """
    total = bench.config.study.trials
    while finished_count(bench.study) < total and not bench.hooks.should_stop():
        with claims.next(total) as trial:
            if trial is not None:
                outcome = run_trial(bench, trial)
        if trial is None:
            time.sleep(POLL_SECONDS)
            continue
        if outcome.state == TrialState.WAITING and outcome.reason and not bench.hooks.should_stop():
            bench.hooks.on_warning(f"trial will be tried again: {outcome.reason}")
        yield trial.number, outcome


def main() -> None:
    """Run trials of a study that a launcher has opened."""
    parser = argparse.ArgumentParser(description="A worker of a study; started by 'study run'.")
    parser.add_argument("store", type=Path)
    parser.add_argument("name")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the launcher's to handle
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_stop_when_told, args=(stop,), daemon=True).start()
    sender = Sender()
    run_app(lambda: _run(Store(arguments.store), arguments.name, sender, stop))


def _run(store: Store, name: str, sender: Sender, stop: threading.Event) -> None:
    study = load_optuna_study(store, name)
    config = StudyConfig.model_validate_json(study.user_attrs[CONFIG_ATTRIBUTE])
    hooks = _hooks(config, sender, stop)
    with clear_storage_errors(store), numerics(config.base.train):
        bench = open_bench(config, study, store, load_bank(config.base.data), hooks)
        for number, outcome in work(bench, Claims(study, bench.folder)):
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
        on_log=lambda record: sender.send(
            "log", record={key: value for key, value in record.items() if key != "every_step"}
        ),
        on_eval=lambda record: sender.send("eval", record=record),
        on_warning=lambda text: sender.send("warning", text=text),
        should_stop=stop.is_set,
    )


def _stop_when_told(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


if __name__ == "__main__":
    main()
