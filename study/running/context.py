"""What every trial of a process needs and is made once: study, photos, extractor, tracker."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import resolve_device
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.running.observer import Hooks
from study.search.pruners import make_pruner
from study.search.samplers import SeededSampler
from study.storage.attributes import stored_identity
from study.storage.store import Store, StudyFolder
from study.storage.trial_record import TrialRecord
from study.tracking.catch_up import mirror_into
from study.tracking.client import tolerate_mlflow_errors
from study.tracking.experiment import Tracker
from study.tracking.run_mirror import RunMirror

if TYPE_CHECKING:
    from optuna.study import Study
FACTS = ("data.fingerprint", "extractor.name", "extractor.fingerprint")


@dataclass(frozen=True)
class Workbench:
    """Everything a trial needs that is made once per study."""

    config: StudyConfig
    claims: Claims
    bank: PhotoBank
    extractor: Extractor
    tracker: Tracker
    parent_run_id: str
    identity: dict[str, Any]
    """Recorded with every trial: data, extractor, code, environment."""
    hooks: Hooks = field(default_factory=Hooks)

    @property
    def study(self) -> Study:
        """The study in Optuna's database."""
        return self.claims.study

    @property
    def folder(self) -> StudyFolder:
        """The study's files."""
        return self.claims.folder

    def mirroring(self) -> AbstractContextManager[None]:
        """Let no trouble with MLflow end a trial: its folder has everything."""
        return tolerate_mlflow_errors(self.hooks.on_warning)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: COMPLETE, PRUNED, FAIL, or WAITING (to be continued)."""

    state: TrialState
    reason: str | None = None
    score: float | None = None
    values: tuple[float, ...] = ()
    """What Optuna is told of a complete trial."""


def mirror_of(bench: Workbench, record: TrialRecord) -> RunMirror:
    """The MLflow mirror of a trial's folder."""
    objective = bench.config.objective
    return mirror_into(bench.tracker, bench.parent_run_id, bench.folder, objective, record)


def open_bench(
    config: StudyConfig,
    claims: Claims,
    store: Store,
    bank: PhotoBank,
    hooks: Hooks,
    extractor: Extractor | None = None,
    runs: tuple[str, str] | None = None,
) -> Workbench:
    """Make what trials need in this process; the launcher has opened the study before.

    Args:
        extractor: loaded as the config says if left out.
        runs: ids of the MLflow experiment and the study's own run, which are looked up if left
            out; with them MLflow may be away.

    Raises:
        DcganError: the extractor or MLflow's database cannot be used.
    """
    study, folder = claims.study, claims.folder
    study.sampler = SeededSampler(config.sampler, config.study.seed)
    study.pruner = make_pruner(config)
    extractor = extractor or configured_extractor(
        config.base, resolve_device(config.base.train.device)
    )
    facts = identity_tags(stored_identity(study))
    tracker = Tracker(store, config.study.name, runs[0] if runs else None)
    parent = runs[1] if runs else tracker.parent_run(folder.config, facts)
    return Workbench(config, claims, bank, extractor, tracker, parent, facts, hooks)


def identity_tags(identity: dict[str, Any]) -> dict[str, Any]:
    """The part of a study's identity that is shown with every run."""
    shown = {key: identity[key] for key in FACTS}
    return shown | {k: v for k, v in identity.items() if k.startswith("environment.")}
