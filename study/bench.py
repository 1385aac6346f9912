"""The workbench of a process that runs trials: study, photos, extractor, tracker."""

from __future__ import annotations

import json
from typing import Any

from dcgan.data.bank import PhotoBank
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.runtime.devices import resolve_device
from study.claims import Claims
from study.config.identity import ATTRIBUTE
from study.config.study_config import StudyConfig
from study.objective import Hooks, Workbench
from study.search.pruners import make_pruner
from study.search.samplers import SeededSampler
from study.storage.store import Store
from study.tracking.experiment import Tracker

FACTS = ("data.fingerprint", "extractor.name", "extractor.fingerprint")


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
    facts = facts_of(json.loads(study.user_attrs[ATTRIBUTE]))
    tracker = Tracker(store, config.study.name, runs[0] if runs else None)
    parent = runs[1] if runs else tracker.parent_run(folder.config, facts)
    return Workbench(config, claims, bank, extractor, tracker, parent, facts, hooks)


def facts_of(identity: dict[str, Any]) -> dict[str, Any]:
    """The part of a study's identity that is shown with every run."""
    shown = {key: identity[key] for key in FACTS}
    return shown | {k: v for k, v in identity.items() if k.startswith("environment.")}
