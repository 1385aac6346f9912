"""One trial: suggest → train → report and prune → score. One function runs one trial."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from dcgan.config.train_config import TrainConfig
from dcgan.errors import (
    CheckpointError,
    OutOfMemoryError,
    TrainingDivergedError,
    TrainingInterrupted,
)
from dcgan.evaluation.set_score import shown_in
from dcgan.runtime.devices import resolve_device
from dcgan.training.loop import TrainResult, train
from dcgan.training.run.checkpoint import check_continues, load_checkpoint, restore
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import EvalRecord, read_evals
from dcgan.training.step import TrainState
from study.config.space import suggest
from study.errors import LeaseLostError
from study.running.claims import Claim
from study.running.context import Outcome, Workbench, mirror_of
from study.running.reporter import Reporter, continue_from
from study.search.objective import objective_facts, score_of, values_of
from study.storage.attributes import METRICS_ATTRIBUTE
from study.storage.optuna_db import put_back, set_attributes
from study.storage.trial_record import TrialRecord
from study.tracking.catch_up import finish_mirror
from study.tracking.run_mirror import RunMirror

if TYPE_CHECKING:
    from optuna.trial import Trial
MAX_TRIES = 3


def run_trial(bench: Workbench, claim: Claim) -> Outcome:
    """Run (or continue) one trial to its end, in Optuna, in its folder and in MLflow.

    No exception of the trial escapes: each becomes an outcome with a reason. Only what stops the
    whole program (a second Ctrl-C) passes through. A trial that has become another process's is
    left as it is.
    """
    try:
        return _run_trial(bench, claim)
    except LeaseLostError as error:
        bench.hooks.on_warning(f"{error}; it goes on there")
    except UpdateFinishedTrialError:  # while this one waited for the database to say so
        bench.hooks.on_warning(f"trial {claim.trial.number} was ended by another process")
    return Outcome(TrialState.WAITING)


def _run_trial(bench: Workbench, claim: Claim) -> Outcome:
    trial = claim.trial
    folder = bench.folder.trial(trial.number)
    try:
        config = suggest(trial, bench.config)
        _discard_unusable_folder(bench, trial, config, folder)
    except Exception as error:  # this trial can never train: no use in trying again
        reason = _in_words(error)
        set_attributes(bench.study, trial, {"reason": reason})
        bench.study.tell(trial, state=TrialState.FAIL)
        return Outcome(TrialState.FAIL, reason)
    record = _open_record(trial, config, folder, bench.identity)
    mirror = mirror_of(bench, record)
    with bench.mirroring():
        record.run_id = mirror.open()
    record.save(folder)
    bench.hooks.on_begin(trial, config)
    sitting = time.time()
    try:
        outcome = _train(bench, claim, config, folder, mirror)
    except LeaseLostError:
        raise
    except Exception as error:  # a bug or the environment: tried again, then failed
        outcome = _after_error(record, error)
    except BaseException:  # a second Ctrl-C
        _save_minutes(record, folder, sitting)
        raise
    claim.check()
    _save_minutes(record, folder, sitting)
    _close(bench, trial, record, mirror, folder, outcome)
    return outcome


def _save_minutes(record: TrialRecord, folder: Path, sitting: float) -> None:
    record.minutes += (time.time() - sitting) / 60
    record.save(folder)


def _train(
    bench: Workbench, claim: Claim, config: TrainConfig, folder: Path, mirror: RunMirror
) -> Outcome:
    objective, hooks = bench.config.objective, bench.hooks
    reporter = Reporter(claim.trial, bench.config, config, RunFolder(folder))
    if continue_from(folder, reporter, config.train.epochs):
        return Outcome(TrialState.PRUNED, reporter.pruned_because, reporter.score)

    def should_stop() -> bool:
        claim.check()
        return hooks.should_stop()

    def on_eval(record: EvalRecord) -> bool:
        claim.check()
        stop = reporter.report(record)
        with bench.mirroring():
            mirror.deliver()  # a checkpoint holds all of it: a continued trial repeats none
        hooks.on_eval(record)
        return stop

    try:
        result: TrainResult = train(
            config,
            folder,
            bank=bench.bank,
            extractor=bench.extractor,
            resume=True,
            on_start=hooks.on_start,
            on_log=hooks.on_log,
            on_eval=on_eval,
            should_stop=should_stop,
        )
    except TrainingInterrupted as stop:
        return Outcome(TrialState.WAITING, f"interrupted after step {stop.step}")
    except TrainingDivergedError as error:
        return Outcome(TrialState.PRUNED, f"diverged at step {error.step} (epoch {error.epoch})")
    except OutOfMemoryError as error:
        return Outcome(TrialState.PRUNED, str(error))
    for fault in result.picture_faults:
        hooks.on_warning(f"trial {claim.trial.number}: {fault}; all else of it is there")
    if result.stopped_early:
        return Outcome(TrialState.PRUNED, reporter.pruned_because, reporter.score)
    final = result.final
    return Outcome(
        TrialState.COMPLETE, None, score_of(final, objective), values_of(final, objective)
    )


def _discard_unusable_folder(
    bench: Workbench, trial: Trial, config: TrainConfig, folder: Path
) -> None:
    """Start again from step 0, with a fresh MLflow run, if what is there cannot be continued:
    a damaged checkpoint, one of another kind of device, a folder left by a deleted study."""
    record = TrialRecord.load(folder)
    try:
        if record and (record.params, record.seed) != (trial.params, config.train.seed):
            raise CheckpointError(f"{folder} holds another trial")
        if RunFolder(folder).checkpoint.exists():
            checkpoint = load_checkpoint(RunFolder(folder).checkpoint)
            check_continues(checkpoint, config, bench.bank.fingerprint)
            restore(checkpoint, TrainState.fresh(config, resolve_device(config.train.device)))
    except CheckpointError as error:
        if record and record.run_id:
            with bench.mirroring():
                bench.tracker.delete_run(record.run_id)
        shutil.rmtree(folder)
        bench.hooks.on_warning(f"{error}; the trial starts again from step 0")


def _open_record(
    trial: Trial, config: TrainConfig, folder: Path, identity: dict[str, Any]
) -> TrialRecord:
    record = TrialRecord.load(folder) or TrialRecord(
        number=trial.number,
        params=dict(trial.params),
        origin=trial.user_attrs.get("origin", "sampler"),
        baseline=trial.user_attrs.get("baseline"),
        seed=config.train.seed,
        started=time.time(),
        identity=identity,
    )
    record.state, record.reason, record.ended = "RUNNING", None, None
    record.save(folder)
    return record


def fail_trial(bench: Workbench, trial: Trial, reason: str) -> Outcome:
    """End a claimed trial that nobody can run to its end."""
    folder, outcome = bench.folder.trial(trial.number), Outcome(TrialState.FAIL, reason)
    record = TrialRecord.load(folder)
    if record is None:  # it never got so far
        set_attributes(bench.study, trial, {"reason": reason})
        bench.study.tell(trial, state=TrialState.FAIL)
    else:
        _close(bench, trial, record, mirror_of(bench, record), folder, outcome)
    return outcome


def _after_error(record: TrialRecord, error: Exception) -> Outcome:
    if record.tries < MAX_TRIES:
        record.tries += 1
        return Outcome(TrialState.WAITING, _in_words(error))
    return Outcome(TrialState.FAIL, _in_words(error))


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".removesuffix(": ")


def _close(
    bench: Workbench,
    trial: Trial,
    record: TrialRecord,
    mirror: RunMirror,
    folder: Path,
    outcome: Outcome,
) -> None:
    """Write the outcome: the folder first, then Optuna, then the mirror."""
    record.run_id = record.run_id or mirror.run_id  # MLflow may have been away at the start
    last = next(iter(read_evals(RunFolder(folder).history)[-1:]), None)
    record.state, record.reason = outcome.state.name, outcome.reason
    record.score, record.values = outcome.score, list(outcome.values)
    record.ended = time.time()
    record.save(folder)
    facts: dict[str, Any] = {
        "reason": outcome.reason,
        "minutes": record.minutes,
        "run_id": record.run_id,
        "epoch": last.epoch if last else None,
        "imbalance": last.imbalance if last else None,
        "seed": record.seed,
        "code_version": record.identity.get("environment.code_version"),
    }
    if last:
        facts |= {last.frechet_metric: last.frechet, last.kernel_metric: last.kernel}
        if shown := shown_in("leaderboard", last):
            facts[METRICS_ATTRIBUTE] = shown
    facts |= objective_facts(last, bench.config.objective)
    set_attributes(bench.study, trial, facts)
    if outcome.state == TrialState.WAITING:
        put_back(bench.study, trial)
        with bench.mirroring():
            mirror.set_state("WAITING")
        return
    values = outcome.values if outcome.state == TrialState.COMPLETE else None
    bench.study.tell(trial, values, state=outcome.state)
    with bench.mirroring():
        finish_mirror(mirror, record)
