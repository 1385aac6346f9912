"""Trains a study's best configs and its baselines again on fresh seeds, as a race.

All candidates get the same seeds. After each round those that cannot win any more drop out, and the
race ends when the leader is as good as the best beyond reasonable doubt (see
`study.evidence.race`). The trainings are the trials of a study of their own, so a race that was
interrupted anywhere goes on where it was: what comes next follows from that study alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.errors import UsageError
from dcgan.runtime.seeds import derive_seed
from study.config.baselines import BASELINE_NAME_LENGTH, Baseline, Repeated
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.evidence.race import FEWEST_SEEDS
from study.results.confirmed import Candidate, Confirmation, name_of_confirmation
from study.results.export import changes_of_full_run
from study.results.repeated import repeats_trials_of
from study.running.derived import NOT_POSITIVE, OTHER_STUDY, begun, derived
from study.running.warm_start import params_here
from study.search.objective import is_pareto
from study.storage.attributes import study_config
from study.storage.optuna_db import briefly
from study.storage.store import Store, trial_name
from study.storage.trial_result import TrialResult
from study.storage.trial_summaries import summaries_of


@dataclass(frozen=True)
class Race:
    """What `study confirm` was asked for."""

    name: str
    """The study."""
    top: int
    """How many of its best trials; its baselines race as well."""
    seeds: int
    """The most seeds that a candidate trains on."""
    epochs: int | None = None
    """Length of each training (default: that of the full run)."""
    least: int = FEWEST_SEEDS
    """Seeds that every candidate trains on before any drops out or the race may end."""


def next_round(store: Store, race: Race) -> StudyConfig | None:
    """The config of the study that runs the next trainings; None once the race is over.

    It also runs what is unfinished, and tries again what failed.

    Raises:
        UnknownStudyError: there is no such study.
        StudyError: too few of its trials are complete, or a score is not positive.
        UsageError: it has several objectives, the race was begun with trainings of another length,
            or has fewer seeds to come than it needs.
    """
    if race.least < FEWEST_SEEDS:
        raise UsageError(f"--min-seeds must be at least {FEWEST_SEEDS}, but got {race.least}")
    if race.seeds < race.least:
        raise UsageError(f"--seeds must be at least {race.least}, but got {race.seeds}")
    with briefly(store, race.name) as study:
        return _next_round(store, race, study)


def _next_round(store: Store, race: Race, study: Study) -> StudyConfig | None:
    if is_pareto(study):
        raise UsageError(
            f"'{race.name}' minimises several objectives, but a race compares one score; choose "
            "from its front with 'study export --pick'"
        )
    rows = {row.number: row for row in summaries_of(study)}
    so_far, failed = _begun(store, race, study)
    confirmation = Confirmation.read(study)
    candidates = _with_new(study, confirmation, rows, race.top)
    places = _asked_for(confirmation, candidates, race)
    if not places and all(candidate.is_done for candidate in candidates):
        return None
    earlier = study_config(study)
    seeds = _seeds(study, max(place for _, place in places) + 1) if places else []
    added = [
        _repeated(earlier, race.name, candidate, rows[candidate.trial], place, seeds[place])
        for candidate, place in places
    ]
    baselines = [*(so_far.baselines if so_far else ()), *added]
    return _config(earlier, race, so_far, baselines, failed)


def _begun(store: Store, race: Race, study: Study) -> tuple[StudyConfig | None, int]:
    """The config of the race so far, and how many of its trainings have failed.

    Raises `UsageError` if it has trainings of another length, or of another study of that name.
    """
    name = name_of_confirmation(race.name)
    config, failed = begun(store, name)
    if config and race.epochs not in (None, config.base.train.epochs):
        raise UsageError(
            f"--epochs {race.epochs}: '{race.name}' is being confirmed by trainings of "
            f"{config.base.train.epochs} epochs; leave --epochs out, or begin anew after 'study "
            f"delete {name}'"
        )
    if config and not repeats_trials_of(study, config):
        raise UsageError(OTHER_STUDY.format(repeats=name, study=race.name))
    return config, failed


def _with_new(
    study: Study, confirmation: Confirmation | None, rows: Mapping[int, TrialResult], top: int
) -> list[Candidate]:
    """The candidates of the race so far, and those that now belong to it, too.

    Of several trials with the same config the first is taken. Raises `StudyError` for fewer than
    two.
    """
    ended = (it for it in rows.values() if it.state == TrialState.COMPLETE)
    complete = [row for row in ended if row.score is not None]
    proposed = sorted(
        (row for row in complete if not row.is_baseline), key=lambda row: (row.score, row.number)
    )
    found = {it.trial: it for it in (confirmation.candidates if confirmation else ())}
    configs = [rows[trial].params for trial in found]
    for row in (*(row for row in complete if row.is_baseline), *proposed[:top]):
        if row.params not in configs:
            configs.append(row.params)
            name = row.baseline if row.is_baseline else None
            found[row.number] = Candidate(row.number, name, row.score)
    positive = all(it.searched is None or it.searched > 0 for it in found.values())
    if not positive or (confirmation and not confirmation.is_comparable):
        raise StudyError(NOT_POSITIVE.format(study.study_name))
    if len(found) < 2:
        raise StudyError(
            f"'{study.study_name}' has {len(found)} complete trial{'s' * (len(found) != 1)}, but "
            "a race needs at least two candidates; let the study run longer, or raise --top"
        )
    return list(found.values())


def _asked_for(
    confirmation: Confirmation | None, candidates: Sequence[Candidate], race: Race
) -> list[tuple[Candidate, int]]:
    """Who is to train next on which of the race's seeds, counted from 0."""
    reached = max(len(it.planned) for it in candidates)
    behind = [  # new ones, and those with too few seeds, catch up before anyone trains further
        (it, place)
        for place in range(max(race.least, reached))
        for it in candidates
        if len(it.planned) < race.least and len(it.planned) <= place
    ]
    if behind or confirmation is None or not all(it.is_done for it in candidates):
        return behind
    standings = confirmation.standings
    if standings is None or standings.decided or reached >= race.seeds:
        return []
    hopeless = {confirmation.scored[place].trial for place in standings.hopeless()}
    going_on = [it for it in confirmation.racing if it.trial not in hopeless]
    return [(it, reached) for it in going_on] if len(going_on) > 1 else []


def _repeated(
    earlier: StudyConfig, study: str, candidate: Candidate, row: TrialResult, place: int, seed: int
) -> Baseline:
    """A candidate's training on one seed, the `place`-th of the race from 0."""
    of = f" of {trial_name(candidate.trial)}" if candidate.baseline else ""
    shown = f"{of}, seed {place + 1}"
    return Baseline(
        name=candidate.name[: BASELINE_NAME_LENGTH - len(shown)] + shown,
        params=params_here(earlier, earlier, row),
        seed=seed,
        repeats=Repeated(study=study, trial=candidate.trial, baseline=candidate.baseline),
    )


def _seeds(study: Study, most: int) -> list[int]:
    """The seeds of the race: the same for all candidates, and of no trial of the study."""
    config = study_config(study)
    used = {row.seed for row in summaries_of(study)}
    fresh = (derive_seed(config.study.seed, "confirm", place) % 2**32 for place in count())
    return list(islice((seed for seed in fresh if seed not in used), most))


def _config(
    earlier: StudyConfig,
    race: Race,
    so_far: StudyConfig | None,
    baselines: Sequence[Baseline],
    failed: int,
) -> StudyConfig:
    """The config; a race that has begun keeps its settings, whatever the full run is now."""
    changes: dict[str, Any] = {}
    if so_far is None:
        # The FID of papers is reported once at the end of a full run, and nobody compares it here.
        full = changes_of_full_run(earlier) | {"eval.fid_at_end": False}
        full |= {} if race.epochs is None else {"train.epochs": race.epochs}
        changes = {f"base.{key}": value for key, value in full.items()}
    name, space = name_of_confirmation(race.name), earlier.model_dump(mode="json")["space"]
    return derived(so_far or earlier, name, baselines, failed, changes | {"space": space})
