"""The pruner stops for more than chance; audited and revived trials train on. Real trainings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from dcgan.data.bank import PhotoBank, load_bank
from dcgan.evaluation.record import in_digits
from study.config.study_config import StudyConfig
from study.evidence.noise import noise_at
from study.report.explained import explain
from study.report.explained_words import lines_of
from study.running.study import run_study
from study.search import dominated
from study.search.dominated import is_dominated
from study.search.fair import is_audited
from study.search.noise import imbalance_noise_of, noise_of
from study.storage.store import Store
from study.storage.trial_result import DOOMED, HOPELESS

Maker = Callable[..., StudyConfig]


def test_baselines_are_repeated_on_common_seeds_and_tell_the_noise(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    config = tiny_study(study__trials=6, noise__seeds=3)
    study = run_study(config, store, bank=bank).study
    trials = study.get_trials()
    names = [trial.user_attrs["baseline"] for trial in trials]
    assert names == ["good", "slow", *(f"{n}, seed {k}" for k in (2, 3) for n in ("good", "slow"))]
    assert {trial.user_attrs["origin"] for trial in trials} == {"baseline"}
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    seeds = [trial.user_attrs["seed"] for trial in trials]
    assert seeds[2] == seeds[3] != seeds[4] == seeds[5]
    assert len(set(seeds)) == 4
    assert trials[0].params == trials[2].params == trials[4].params != trials[1].params
    measured = noise_of(study)
    assert {epoch: squares.freedom for epoch, squares in measured.items()} == {1: 4, 2: 4}
    told = explain(study, store)
    assert told.repeated == 4
    assert told.variance is not None
    assert told.variance.seed == pytest.approx(noise_at(measured, 2).spread ** 2)
    # The same command finds them all there.
    assert len(run_study(config, store, bank=bank).study.get_trials()) == 6


def test_a_study_takes_the_noise_from_earlier_ones_on_the_same_photos(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    first = tiny_study(study__trials=4, noise__seeds=2)
    earlier = noise_of(run_study(first, store, bank=bank).study)
    same = tiny_study(study__name="same", study__trials=1)
    assert noise_of(run_study(same, store, bank=bank).study) == earlier
    # What is found later changes nothing in a study that has begun.
    more = tiny_study(study__name="more", study__trials=4, noise__seeds=2, study__seed=9)
    assert sum(it.freedom for it in noise_of(run_study(more, store, bank=bank).study).values()) == 8
    assert noise_of(run_study(same, store, bank=bank).study) == earlier
    other = tiny_study(study__name="other", study__trials=1, base__data__toy_count=40)
    study = run_study(other, store, bank=load_bank(other.base.data)).study
    assert noise_of(study) == {}


def test_what_is_behind_is_stopped_with_the_numbers_that_say_so(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    config = tiny_study(study__trials=8)
    trials = run_study(config, store, bank=bank).study.get_trials()
    stopped = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert stopped
    best = min(trial.intermediate_values[1] for trial in trials[:2])
    reason = stopped[0].user_attrs["reason"]
    assert reason.startswith(f"{HOPELESS}: best score ")
    assert f"while it takes {in_digits(best)} there to be among the best" in reason
    assert all(trial.user_attrs.get(DOOMED) is None for trial in trials)


def test_audited_trials_train_on_and_say_what_pruning_would_have_lost(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    config = tiny_study(study__trials=8, pruner__audit=1.0)
    summary = run_study(config, store, bank=bank)
    trials = summary.study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    doomed = [trial for trial in trials if trial.user_attrs.get(DOOMED)]
    others = [trial for trial in trials if trial not in doomed]
    assert doomed
    assert all("origin" not in trial.user_attrs for trial in doomed)
    assert {trial.user_attrs[DOOMED] for trial in doomed} == {1}  # at the end nothing is stopped
    found = explain(summary.study, store)
    assert found.audit is not None
    assert found.audit.trials == len(doomed)
    best = min(trial.values[0] for trial in others)
    assert found.audit.better == sum(trial.values[0] < best for trial in doomed)
    assert f"pruning: {len(doomed)} trial" in "\n".join(lines_of(found))


def test_noise_that_explains_it_stops_nothing(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    trials = run_study(
        tiny_study(study__trials=6, noise__assumed=2.0), store, bank=bank
    ).study.get_trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}


def test_the_audited_share_is_drawn_once_for_each_trial() -> None:
    drawn = [is_audited(0.1, 7, number) for number in range(2000)]
    assert 150 < sum(drawn) < 250
    assert drawn == [is_audited(0.1, 7, number) for number in range(2000)]
    assert not any(is_audited(0.0, 7, number) for number in range(100))
    assert all(is_audited(1.0, 7, number) for number in range(100))


def as_pareto(**settings: Any) -> dict[str, Any]:
    return {"study__trials": 6, "objective": {"mode": "pareto"}, **settings}


def test_with_several_objectives_a_trial_that_is_dominated_is_stopped(
    tiny_study: Maker, store: Store, bank: PhotoBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dominated, "IMBALANCE_SPREAD", 0.0)
    config = tiny_study(**as_pareto(study__trials=10))
    trials = run_study(config, store, bank=bank).study.get_trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    stopped = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert stopped
    for trial in stopped:
        assert trial.user_attrs["reason"].startswith(f"{HOPELESS}: distance ")
        last = max(trial.user_attrs["values_by_epoch"], key=int)
        own = trial.user_attrs["values_by_epoch"][last]
        assert any(
            all(theirs < mine for mine, theirs in zip(own, values, strict=True))
            for values in (it.user_attrs["values_by_epoch"][last] for it in complete)
        )
    for trial in complete:
        assert trial.user_attrs["values_by_epoch"]["2"] == trial.values


def test_domination_takes_more_than_chance_in_every_value() -> None:
    noise = (0.15, 0.3)
    assert is_dominated((200.0, 3.0), (100.0, 1.0), noise)
    assert not is_dominated((130.0, 3.0), (100.0, 1.0), noise)  # exp(1.645 √2 0.15) = 1.42
    assert is_dominated((145.0, 3.0), (100.0, 1.0), noise)
    assert not is_dominated((145.0, 3.0), (100.0, 1.0), noise, comparisons=20)  # 1.81
    assert not is_dominated((200.0, 1.5), (100.0, 1.0), noise)
    assert not is_dominated((200.0, 3.0, 0.6), (100.0, 1.0, 0.5), noise)
    assert is_dominated((200.0, 3.0, 0.5), (100.0, 1.0, 0.5), noise)


def test_the_luckiest_of_many_stops_few_that_are_as_good() -> None:
    """Configs that are all alike: one evaluation stops at most one in twenty."""
    rng, stopped = np.random.default_rng(3), 0
    for others in (5, 100):
        stopped = 0
        for _ in range(1000):
            distances = np.exp(rng.normal(7, 0.15, others + 1))
            imbalances = rng.normal(2, 0.3, others + 1)
            own, *rest = zip(distances, imbalances, strict=True)
            stopped += any(is_dominated(own, it, (0.15, 0.3), others) for it in rest)
        assert stopped <= 50, others


def test_pareto_studies_measure_their_noise(
    tiny_study: Maker, store: Store, bank: PhotoBank
) -> None:
    config = tiny_study(**as_pareto(noise__seeds=3))
    study = run_study(config, store, bank=bank).study
    assert len(study.get_trials()) == 6
    for measured in (noise_of(study), imbalance_noise_of(study)):
        assert {epoch: squares.freedom for epoch, squares in measured.items()} == {1: 4, 2: 4}
        assert all(squares.total > 0 for squares in measured.values())
    values = [trial.values[1] for trial in study.get_trials()[::2]]
    own = [(value - np.mean(values)) ** 2 for value in values]
    others = [trial.values[1] for trial in study.get_trials()[1::2]]
    total = sum(own) + sum((value - np.mean(others)) ** 2 for value in others)
    assert imbalance_noise_of(study)[2].total == pytest.approx(total)
