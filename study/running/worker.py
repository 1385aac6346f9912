"""A worker: claims trials and runs them until the study's total is reached.

`work` runs trials in this process. `run_job` does so in another process or on another machine,
which is told in a `Job` what the launcher has opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank, load_bank
from dcgan.runtime.numerics import numerics
from study.config.study_config import StudyConfig
from study.running.claims import Claims, deaths_of
from study.running.context import StudyContext, open_context
from study.running.observer import Observer, TrialEnded, Warned
from study.running.trial import fail_trial, run_trial
from study.storage.optuna_db import clear_storage_errors, load_optuna_study
from study.storage.store import Store

MAX_DEATHS = 3
"""Worker deaths after which a trial fails: it would kill workers for ever."""
DELIVERY_SECONDS = 30.0
"""How long a worker on another disk than the launcher's delivers what was missed, at its end; the
launcher waits for a minute."""
POLL_SECONDS = 0.5
"""Between two checks whether a trial that another worker runs has become free."""


def work(context: StudyContext) -> Generator[TrialEnded, None, None]:
    """Run trials one after the other, until the total is finished or a stop is asked for.

    Yields how each trial ended, after the observer was told.
    """
    total = context.config.study.trials
    while context.left and not context.should_stop():
        with context.claims.next(total, context.rungs) as claim:
            if claim is not None and deaths_of(claim.trial) >= MAX_DEATHS:
                reason = f"its worker died {MAX_DEATHS} times"
                outcome = fail_trial(context, claim.trial, reason)
            elif claim is not None:
                outcome = run_trial(context, claim)
        if claim is None:
            time.sleep(POLL_SECONDS)
            continue
        if outcome.state == TrialState.WAITING and outcome.reason and not context.should_stop():
            context.warn(f"trial will be tried again: {outcome.reason}")
        ended = TrialEnded(claim.trial.number, outcome.state.name, outcome.reason)
        context.observer.tell(ended)
        yield ended


@dataclass(frozen=True)
class Job:
    """What a worker is told by its launcher. All values are plain data, so that it can be sent."""

    root: str
    storage: str | None
    tracking: str | None
    shared: str | None
    config: dict[str, Any]
    """The study's config as this launch uses it: paths differ between machines."""
    experiment_id: str
    parent_run_id: str
    disk: str | None = None
    """The launcher's host and disk, as leases have them; None without leases."""

    @classmethod
    def of(cls, context: StudyContext) -> Job:
        """The job of an opened study's workers."""
        store, config = context.store, context.config.model_dump(mode="json")
        ids = context.tracker.experiment_id, context.tracker.parent_run_id
        addresses = store.storage, store.tracking, store.shared
        return cls(str(store.root), *addresses, config, *ids, _disk(context.claims))

    def line(self) -> str:
        """The job as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def run_job(job: Job, observer: Observer, bank: PhotoBank | None = None) -> None:
    """Open the study of a job in this process, and run trials as `work` does.

    `bank` is the photos (default: loaded as the job's config says). Raises `DcganError` if photos,
    extractor or a database cannot be used.
    """
    store = Store(Path(job.root), job.storage, job.tracking, job.shared)
    config = StudyConfig.model_validate(job.config)

    def warn(text: str) -> None:
        observer.tell(Warned(text))

    with clear_storage_errors(store), numerics(config.base.train):
        study = load_optuna_study(store, config.study.name, warn, wait=True)
        claims = Claims(study, store.study(config.study.name))
        bank = bank or load_bank(config.base.data)
        runs = job.experiment_id, job.parent_run_id
        context = open_context(config, claims, store, bank, observer, runs=runs)
        if context.shared:  # the launcher's machine has it, and this one may be another
            context.shared.check()
        for _ in work(context):
            pass
        # The launcher delivers what its own disk has.
        if _disk(claims) != job.disk and not context.should_stop():
            from study.running.missed import deliver_missed  # late: it imports MLflow

            deliver_missed(context, DELIVERY_SECONDS)


def _disk(claims: Claims) -> str | None:
    return claims.leases.place if claims.leases else None
