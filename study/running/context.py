"""What every trial of a process needs, made once: study, photos, extractor, tracker, observer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from optuna.study import Study

from dcgan.data.bank import PhotoBank
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import resolve_device
from dcgan.runtime.imports import quick_imports
from study.config.study_config import StudyConfig
from study.running.claims import Claims
from study.running.observer import Observer, Silent, Warned
from study.search.pruners import make_pruner
from study.search.rungs import Rungs
from study.search.samplers import SeededSampler
from study.storage.attributes import stored_identity
from study.storage.shared_trials import SharedTrials
from study.storage.store import Store, StudyFolder

if TYPE_CHECKING:
    from study.tracking.experiment import Tracker

FACTS = ("data.fingerprint", "extractor.name", "extractor.fingerprint")


@dataclass(frozen=True)
class StudyContext:
    """Everything a trial needs that is made once per process."""

    config: StudyConfig
    claims: Claims
    bank: PhotoBank
    extractor: Extractor
    store: Store
    """The results folder, with the MLflow server that the study uses."""
    tracking: Callable[[], Tracker]
    """Opens MLflow when first called. Importing it takes a worker over a second and 120 MB."""
    identity: dict[str, Any]
    """Recorded with every trial: data, extractor, code, environment."""
    observer: Observer = field(default_factory=Silent)
    shared: SharedTrials | None = None
    """The trials' folders in the place that all machines reach, if there is one."""
    out_of_time: Callable[[], bool] = lambda: False
    """Whether the time that this launch may take is up."""

    @property
    def study(self) -> Study:
        """The study in Optuna's database."""
        return self.claims.study

    @property
    def rungs(self) -> Rungs | None:
        """The rungs on which trials wait for each other; None if there are none."""
        return Rungs.of(self.config)

    @property
    def total(self) -> int:
        """The study's total; fewer if it has ended early."""
        return self.claims.within(self.config.study.trials)

    @property
    def left(self) -> int:
        """How many trials have not ended or may go on by now; 0 means that the study is over."""
        return self.claims.left(self.config.study.trials, self.rungs)

    @property
    def folder(self) -> StudyFolder:
        """The study's files."""
        return self.claims.folder

    @property
    def tracker(self) -> Tracker:
        """The study in MLflow. In a worker the first use may raise what `mirroring` tolerates."""
        return self.tracking()

    def should_stop(self) -> bool:
        """Whether a running trial should save a checkpoint and end."""
        return self.observer.should_stop() or self.out_of_time()

    def warn(self, text: str) -> None:
        """Tell the observer a sentence that a person should read."""
        self.observer.tell(Warned(text))

    def mirroring(self) -> AbstractContextManager[None]:
        """Turn MLflow's errors into warnings: the trial's folder has everything."""
        from study.tracking.client import tolerate_mlflow_errors

        return tolerate_mlflow_errors(self.warn)


def open_context(
    config: StudyConfig,
    claims: Claims,
    store: Store,
    bank: PhotoBank,
    observer: Observer,
    extractor: Extractor | None = None,
    runs: tuple[str, str] | None = None,
) -> StudyContext:
    """Make what trials need in this process, after the launcher has recorded the study's identity.

    `extractor` is loaded as the config says if left out. `runs` are the ids of the MLflow
    experiment and of the study's run, with which MLflow is opened when a trial is first shown;
    without them it is opened now. Raises `DcganError` if the extractor or, now, MLflow's database
    cannot be used.
    """
    study = claims.study
    study.sampler = SeededSampler(config.sampler, config.study.seed)
    study.pruner = make_pruner(config)
    device = resolve_device(config.base.train.device)
    extractor = extractor or configured_extractor(config.base, device)
    facts = identity_tags(stored_identity(study)) | {"data.photos": len(bank.images)}

    @cache
    def tracking() -> Tracker:
        with quick_imports():  # opening imports more of MLflow
            from study.tracking.experiment import Tracker

            return Tracker(store, claims.folder, config, facts, runs)

    if runs is None:
        tracking()
    shared = SharedTrials.of(store, study)
    # A checkpoint of another kind of device cannot be continued bit for bit, or not at all.
    same = stored_identity(study).get("environment.device") == device.type
    claims.everywhere = shared is not None and same
    return StudyContext(config, claims, bank, extractor, store, tracking, facts, observer, shared)


def identity_tags(identity: dict[str, Any]) -> dict[str, Any]:
    """The part of a study's identity that is shown with every run."""
    shown = {key: identity[key] for key in FACTS}
    return shown | {k: v for k, v in identity.items() if k.startswith("environment.")}
