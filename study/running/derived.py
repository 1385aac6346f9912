"""Studies that train configs of an earlier study again: longer, or on other seeds.

They are studies of their own whose trials are all named beforehand, so the earlier study's numbers
stay as they are, and launches, workers, kills and MLflow work as they always do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.runtime.devices import resolve_device
from study.config.baselines import Baseline
from study.config.identity import check_fingerprints
from study.config.study_config import StudyConfig
from study.errors import UnknownStudyError
from study.storage.attributes import stored_config, stored_identity
from study.storage.optuna_db import briefly
from study.storage.store import Store

NOT_POSITIVE = (
    "'{}' has scores that are not positive, so their ratios say nothing; a kernel distance near 0 "
    "can be so: raise base.eval.n_samples in another study"
)
OTHER_STUDY = (
    "'{repeats}' repeats trials of an earlier study '{study}', which this one is not; begin anew "
    "after 'study delete {repeats}'"
)


def derived(
    earlier: StudyConfig,
    name: str,
    baselines: Sequence[Baseline],
    failed: int,
    changes: Mapping[str, Any],
) -> StudyConfig:
    """The earlier config for these trials alone, without rungs and pruner, and with `changes`.

    `failed` trials of them have failed and are tried again.
    """
    common = {
        "study.name": name,
        "study.trials": len(baselines) + failed,
        "study.timeout_minutes": None,
        "study.max_hours": None,
        "study.stop": None,
        "pruner.name": "none",
        "noise.seeds": 1,
        "budget.images": [],
        "budget.epochs": [],
        "baselines": [baseline.model_dump() for baseline in baselines],
    }
    return override(earlier, common | dict(changes), f"the study '{name}'")


def begun(store: Store, name: str) -> tuple[StudyConfig | None, int]:
    """The config of such a study so far, and how many of its trainings have failed.

    None before its first launch has recorded it.
    """
    try:
        with briefly(store, name) as study:
            failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            return stored_config(study), len(failed)
    except UnknownStudyError:
        return None, 0


def check_same_measure(study: Study, config: StudyConfig, bank: PhotoBank) -> None:
    """Refuse photos or an extractor that are not the earlier study's (`StudyMismatchError`)."""
    extractor = configured_extractor(config.base, resolve_device(config.base.train.device))
    here = {"data": bank.fingerprint, "extractor": extractor.fingerprint}
    identity = stored_identity(study)
    recorded = {what: identity.get(f"{what}.fingerprint") for what in here}
    why = "its trials train again only with the same"
    check_fingerprints(f"'{study.study_name}'", recorded, here, why)
