"""`study train`: a trial's exported config trained in full, beside its study in MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dcgan.cli.console import load_bank_with_progress, say, stop_signals
from dcgan.cli.display import TrainingDisplay, describe_scores
from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank
from dcgan.errors import CheckpointError, TrainingInterrupted
from dcgan.training.loop import TrainResult, train
from dcgan.training.run.history import EvalRecord
from study.results.export import full_config
from study.results.selection import pick_trial
from study.search.objective import score_of
from study.storage.attributes import study_config, with_tracking
from study.storage.locks import hold
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.tracking.client import tolerate_mlflow_errors
from study.tracking.experiment import Tracker
from study.tracking.run_mirror import RunMirror

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def train_in_full(
    store: Store, name: str, number: int | None, data: Path | None, rule: str | None = None
) -> None:
    """Train the best (or a given) trial's exported config and log it to the study's experiment.

    Continues where it was stopped.

    Args:
        rule: which trial of a front, where no number is given.
    """
    study = load_optuna_study(store, name)
    trial = pick_trial(study, number, rule)
    config = full_config(study, trial, rule)
    if data is not None:
        root = str(data.expanduser().resolve())
        config = override(config, {"data.source": "folder", "data.root": root}, "--data")
    folder = store.study(name).full_run(trial.number)
    bank = load_bank_with_progress(config.data)
    mirror = _mirror(store, study, trial, folder, bank)
    say(f"full run of {config.provenance['trial']}, results in {folder}")
    with hold(folder, f"the full run in {folder}"), _status_by_outcome(mirror):
        try:
            result = _train(config, folder, bank, mirror)
        except TrainingInterrupted as stop:
            say(f"stopped after step {stop.step}; the same command continues")
            raise SystemExit(stop.exit_code) from None
    say(describe_scores(result.final))
    say(f"pictures: {folder / 'real_vs_generated.png'}")
    say(f"checkpoint: {folder / 'checkpoint.pt'}")


def _train(config: TrainConfig, folder: Path, bank: PhotoBank, mirror: RunMirror) -> TrainResult:
    with stop_signals() as should_stop, TrainingDisplay("full run") as display:

        def on_eval(record: EvalRecord) -> bool:
            with tolerate_mlflow_errors(display.line):
                mirror.deliver()
            return display.on_eval(record)

        return train(
            config,
            folder,
            bank=bank,
            resume=True,
            on_start=display.on_start,
            on_log=display.on_log,
            on_eval=on_eval,
            should_stop=should_stop,
        )


def _mirror(
    store: Store, study: Study, trial: FrozenTrial, folder: Path, bank: PhotoBank
) -> RunMirror:
    tracker = Tracker(with_tracking(store, study), study.study_name)
    objective = study_config(study).objective
    return tracker.mirror(
        "full",
        trial.number,
        tracker.parent_run(store.study(study.study_name).config, {}),
        folder,
        params=trial.params,
        tags={
            "data.fingerprint": bank.fingerprint,
            "origin": trial.user_attrs.get("baseline") or "sampler",
        },
        score=lambda record: score_of(record, objective),
    )


@contextmanager
def _status_by_outcome(mirror: RunMirror) -> Iterator[None]:
    """Leave the MLflow run complete, paused or failed, as the training was."""
    state: str | None = "FAIL"
    try:
        with tolerate_mlflow_errors(say):
            mirror.open()
        yield
        state = "COMPLETE"
    except SystemExit:
        state = "WAITING"
        raise
    except CheckpointError:  # refused before training: what the run shows stays true
        state = None
        raise
    finally:
        with tolerate_mlflow_errors(say):
            if state == "COMPLETE":
                mirror.deliver()
                mirror.deliver_files()
            if state:
                mirror.set_state(state)
