"""Prepare a launch: open or create the study, and decide what its trials depend on.

One launcher at a time does this, under the lock `opening`. Others find its decisions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import override, save_config
from dcgan.data.bank import PhotoBank, check_enough_photos
from dcgan.evaluation.extractors.base import Extractor
from dcgan.models.pretrained import WHEELS, read_weights
from dcgan.models.projected import VARIANT
from dcgan.runtime.devices import describe_environment
from dcgan.runtime.numerics import numerics
from dcgan.runtime.version import code_version
from dcgan.training.run.folder import RunFolder
from dcgan.training.speed import fastest_threads
from study.config.baselines import Baseline
from study.config.identity import check_relaunch, identity_of
from study.config.rung_ends import with_rungs
from study.config.study_config import (
    StudyConfig,
    largest_batch,
    possible_values,
)
from study.errors import StudyError
from study.running.claims import Claims
from study.running.context import StudyContext, open_context
from study.running.estimate import Estimate, estimate
from study.running.launchers.table import check_launcher
from study.running.observer import Observer, Silent, Warned
from study.running.recognisable import check_recognisable
from study.running.resources import (
    Machine,
    Measure,
    choose_extractor,
    choose_packing,
    choose_precision,
    choose_resources,
)
from study.running.travel import open_shared
from study.search.noise import noise_as_text, noise_before
from study.search.objective import check_mode, directions
from study.search.pruners import pruner_note
from study.search.samplers import sampler_note
from study.storage.attributes import (
    CONFIG_ATTRIBUTE,
    ENDED_ATTRIBUTE,
    IDENTITY_ATTRIBUTE,
    NOISE_ATTRIBUTE,
    SHARED_ATTRIBUTE,
    TRACKING_ATTRIBUTE,
    ended_early,
    stored_config,
    stored_identity,
    with_addresses,
)
from study.storage.locks import announced
from study.storage.optuna_db import FINISHED, clear_storage_errors, open_storage
from study.storage.places import Place
from study.storage.store import Store
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import (
    BASELINE,
    CONTINUES,
    EXTENDED,
    FIXED,
    REPEATED,
)
from study.storage.trial_summaries import summaries_of


@dataclass(frozen=True)
class Plan:
    """A launch with everything decided."""

    context: StudyContext
    workers: int
    """Trials that run at the same time."""
    decisions: tuple[str, ...]
    """One sentence for each choice that a person did not make."""
    joining: bool
    """Whether the study was begun elsewhere, which publishes it."""
    changed: bool
    """Whether the config differs from the last launch's."""

    @property
    def config(self) -> StudyConfig:
        """The study's config with what was decided."""
        return self.context.config

    def estimate(self) -> Estimate | None:
        """The most time and disk space that the launch takes; None if nothing is left to do."""
        if not self.context.left:
            return None
        trials = summaries_of(self.context.study)
        photos = self.context.bank.trained_on(self.config.base.data.holdout_fraction)
        return estimate(self.config, self.workers, trials, self.context.store, photos)


@contextmanager
def prepare(
    config: StudyConfig,
    store: Store,
    bank: PhotoBank,
    *,
    observer: Observer | None = None,
    joining: bool = False,
    measure: Measure = fastest_threads,
) -> Iterator[Plan]:
    """Open the study or create it, and decide what the config leaves open.

    Until the `with` block ends, the study counts as run by this process, and an error of its
    database becomes one sentence. `observer` gets `Warned` events. `joining` leaves the config of a
    study that was begun elsewhere unchanged. `measure` finds the fastest number of threads.

    Raises `StudyMismatchError` if the study exists with settings that make numbers incomparable,
    and other `DcganError`s if a database, photos or folders cannot be used.
    """
    check_enough_photos(bank, config.base, largest_batch(config))
    config = with_rungs(config, bank.trained_on(config.base.data.holdout_fraction))
    if "projected" in possible_values(config, "model.discriminator"):
        read_weights(WHEELS[VARIANT])  # refused now, not by every trial
    observer, folder = observer or Silent(), store.study(config.study.name)

    def warn(text: str) -> None:
        observer.tell(Warned(text))

    with ExitStack() as stack:
        stack.enter_context(clear_storage_errors(store))
        check_launcher(config, store, joining=joining)  # refuse it before anything begins
        if store.shared:
            Place.at(store.shared).check()
        study = _open_study(config, store, bank, warn)
        place = with_addresses(store, study)
        open_shared(place, study, joining=joining)
        claims = Claims(study, folder)
        with claims.alone("opening"):
            if others := stack.enter_context(announced(folder)):
                pids = ", ".join(map(str, others))
                warn(
                    f"this study is being run by another process, too (pid {pids}): they share "
                    "its trials"
                )
            _check_nothing_lost(study, claims)
            earlier = stored_config(study)
            config, extractor, chosen = choose_extractor(config, earlier)
            machine = Machine.here(config.base)
            config, packed = choose_packing(config, earlier, machine)
            resources = choose_resources(config, earlier, machine, measure)
            threads = {"base.train.threads": resources.threads}
            config = override(config, threads, "train.threads")
            config, told = choose_precision(config, earlier)
            stack.enter_context(numerics(config.base.train))
            _check_identity(config, study, bank, extractor, warn)
            changed = False if joining else _record_launch(config, study, store)
            if changed or not folder.config.exists():
                save_config(config, folder.config)
            _put_back_orphans(claims, warn, shared=place.shared is not None)
            context = open_context(config, claims, place, bank, observer, extractor)
        for note in filter(None, (pruner_note(config), sampler_note(config))):
            warn(note)
        decisions = (*chosen, *packed, *resources.notes, *told)
        yield Plan(context, resources.workers, decisions, joining, changed)


def _open_study(
    config: StudyConfig, store: Store, bank: PhotoBank, warn: Callable[[str], None]
) -> Study:
    """Make or open the study in Optuna's database."""
    storage, name = open_storage(store, create=True), config.study.name
    storage.say = warn
    if config.objective.recognised and not _has_begun(storage, name):
        check_recognisable(config.base, bank)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=directions(config.objective),
        load_if_exists=True,
    )
    check_mode(study, config)
    return study


def _has_begun(storage: BaseStorage, name: str) -> bool:
    """Whether a launch has recorded the identity of a study."""
    if name not in optuna.get_all_study_names(storage):
        return False
    return bool(stored_identity(optuna.load_study(study_name=name, storage=storage)))


def _check_nothing_lost(study: Study, claims: Claims) -> None:
    """Refuse to begin a study anew over the results of one whose database is gone."""
    if study.get_trials(deepcopy=False):
        return
    finished_names = {state.name for state in FINISHED}
    records = map(TrialRecord.load, claims.folder.trials().values())
    finished = [record for record in records if record and record.state in finished_names]
    if finished:
        raise StudyError(
            f"the study database knows no trial of '{study.study_name}', but "
            f"{claims.folder.path} holds {len(finished)} finished trials, which would be "
            "overwritten: restore the database, or move that folder away to begin anew"
        )


def _check_identity(
    config: StudyConfig,
    study: Study,
    bank: PhotoBank,
    extractor: Extractor,
    warn: Callable[[str], None],
) -> None:
    """Record what makes numbers comparable, or refuse to mix incomparable ones."""
    environment = describe_environment(extractor.device) | {"code_version": code_version()}
    named = {"name": extractor.name, "fingerprint": extractor.fingerprint}
    identity = identity_of(config, bank.fingerprint, named, environment)
    recorded = stored_identity(study)
    if not recorded:
        study.set_user_attr(NOISE_ATTRIBUTE, noise_as_text(noise_before(study, identity)))
        study.set_user_attr(IDENTITY_ATTRIBUTE, json.dumps(identity))
        return
    for difference in check_relaunch(config.study.name, recorded, identity):
        warn(f"differs from the study's earlier launches: {difference}")


def _record_launch(config: StudyConfig, study: Study, store: Store) -> bool:
    """Store config and MLflow's address; return whether the config differs from the last launch's.

    A launch may have widened ranges or changed the full run.
    """
    addresses = {TRACKING_ATTRIBUTE: store.tracking, SHARED_ATTRIBUTE: store.shared}
    for attribute, address in addresses.items():
        if address and study.user_attrs.get(attribute) != address:
            study.set_user_attr(attribute, address)
    changed = study.user_attrs.get(CONFIG_ATTRIBUTE) != config.model_dump_json()
    ended = ended_early(study)
    if ended and (config.study.stop is None or config.study.trials > ended.asked):
        study.set_user_attr(ENDED_ATTRIBUTE, "null")  # this launch looks again
    if changed:
        study.set_user_attr(CONFIG_ATTRIBUTE, config.model_dump_json())
    for baseline in config.trained_baselines:
        _enqueue(study, baseline, config.baseline_params(baseline))
    return changed


def _enqueue(study: Study, baseline: Baseline, params: dict[str, Any]) -> None:
    """Let a baseline run unless it did. One with a seed is another trial than one with another."""
    again = EXTENDED if baseline.continues else REPEATED
    origin = BASELINE if baseline.is_known else again
    attributes: dict[str, Any] = {"origin": origin, "baseline": baseline.name}
    if baseline.seed is not None:
        attributes["seed"] = baseline.seed
        may_try_again = baseline.continues or baseline.repeats
        failed = (TrialState.FAIL,) if may_try_again else ()
        there = [it for it in study.get_trials(deepcopy=False) if it.state not in failed]
        same = [
            it.user_attrs for it in there if (it.system_attrs.get(FIXED) or it.params) == params
        ]
        if any(attributes["seed"] == of.get("seed") for of in same):
            return
    if baseline.continues:
        attributes[CONTINUES] = baseline.continues.model_dump()
    study.enqueue_trial(params, user_attrs=attributes, skip_if_exists=baseline.seed is None)


def _put_back_orphans(claims: Claims, warn: Callable[[str], None], *, shared: bool) -> None:
    """Let trials be continued whose process is gone."""
    with claims.alone():
        orphans = claims.put_back_orphans()
    for number in orphans:
        kept = RunFolder(claims.folder.trial(number)).checkpoint.exists()
        where = " from its checkpoint" if kept else "" if shared else " from step 0"
        warn(f"trial {number} was cut off earlier and continues{where}")
