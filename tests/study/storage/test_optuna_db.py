"""One door to Optuna's private parts, and a storage that retries whatever Optuna calls of it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage, RDBStorage, _cached_storage
from optuna.trial import TrialState

import study
from study.errors import UnknownStudyError
from study.storage.optuna_db import (
    PatientStorage,
    finished_count,
    load_all_studies,
    open_storage,
    put_back,
    read_again,
    remove_study,
    reopen,
    running_again,
    stored_trial,
)
from study.storage.store import Store
from study.storage.trial_result import PAUSED, WENT_ON

DOOR = "storage/optuna_db.py"
PRIVATE = re.compile(r"_[a-z]\w*")


def private_parts(path: Path) -> Iterator[str]:
    """Private names that a module takes from an object or a package of somebody else."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls") and not owner.startswith("super("):
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            if any(PRIVATE.fullmatch(name) for name in names):
                yield ".".join(names)


def test_one_module_uses_private_parts_of_optuna() -> None:
    root = Path(study.__file__).parent
    found = {
        path.relative_to(root).as_posix(): names
        for path in root.rglob("*.py")
        if (names := set(private_parts(path)))
    }
    assert {"study._storage", "trial._trial_id", "sampler._search_space"} < found.pop(DOOR)
    assert found == {}


MADE_OF_OTHERS = {"get_n_trials", "get_trial_number_from_id", "get_trial_params"}
WITHOUT_THE_DATABASE = {"check_trial_is_updatable", "remove_session"}


def test_every_call_of_a_storage_is_retried() -> None:
    """Of those that Optuna's abstract class names in the installed version."""
    public = {name for name in dir(BaseStorage) if not name.startswith("_")}
    assert public >= MADE_OF_OTHERS | WITHOUT_THE_DATABASE
    assert public - MADE_OF_OTHERS - WITHOUT_THE_DATABASE <= set(vars(PatientStorage))
    for name in MADE_OF_OTHERS:  # of calls that are retried: the relational storage has no own
        assert getattr(RDBStorage, name) is getattr(BaseStorage, name)


def test_every_call_of_optunas_cache_is_retried() -> None:
    """Public or private: Optuna wraps a relational storage in its cache."""
    called = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(_cached_storage)))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._backend"
    }
    heartbeat = {"record_heartbeat", "_get_stale_trial_ids", "get_heartbeat_interval"}
    heartbeat |= {"get_heartbeat_stale_trial_callback"}
    assert called - heartbeat <= set(vars(PatientStorage))
    assert len(called) > 15


def test_a_trial_by_its_number_and_as_it_is_now(store: Store) -> None:
    made, same = (
        optuna.create_study(study_name="s", storage=open_storage(store), load_if_exists=True)
        for _ in range(2)
    )
    made.ask()
    trial = made.ask()
    running_again(same, same.get_trials()[1]).set_user_attr("reason", "seen")
    assert stored_trial(made, trial).user_attrs == {"reason": "seen"}
    put_back(made, trial)
    assert stored_trial(made, trial).state == TrialState.WAITING
    assert same.ask().number == 1


def test_all_studies_of_a_store(store: Store, tmp_path: Path) -> None:
    assert load_all_studies(store) == []
    for name in ("b", "a"):
        optuna.create_study(study_name=name, storage=open_storage(store))
    assert [found.study_name for found in load_all_studies(store)] == ["a", "b"]
    remove_study(load_all_studies(store)[0])
    assert [found.study_name for found in load_all_studies(store)] == ["b"]
    with pytest.raises(UnknownStudyError, match="there are no studies in"):
        load_all_studies(Store.at(tmp_path / "none"))


def test_a_reopened_trial_waits_again_and_every_process_sees_it(store: Store) -> None:
    """Two connections: one had read the trial as finished, and its cache would never look again."""
    created = optuna.create_study(study_name="s", storage=open_storage(store))
    other = optuna.load_study(study_name="s", storage=open_storage(store))
    for rung in (1, 2):
        trial = created.ask()
        assert trial.number == 0
        trial.report(5.0 - rung, step=rung)
        trial.set_user_attr(PAUSED, rung)
        trial.set_user_attr("reason", f"waits on rung {rung}")
        created.tell(trial, state=TrialState.PRUNED)
        read_again(other)
        assert other.trials[0].state == TrialState.PRUNED
        assert other.trials[0].user_attrs[PAUSED] == rung
        assert other.trials[0].value == 5.0 - rung
        reopen(created, created.trials[0])
        for seen_by in (created, other):
            read_again(seen_by)
            (seen,) = seen_by.get_trials()
            assert (seen.state, seen.values, seen.datetime_complete) == (
                TrialState.WAITING,
                None,
                None,
            )
            assert seen.user_attrs == {WENT_ON: rung}
            assert seen.intermediate_values == {step: 5.0 - step for step in range(1, rung + 1)}
    assert finished_count(created) == 0
    created.tell(created.ask(), 1.0)
    assert finished_count(other) == 1


def test_a_study_in_memory_cannot_be_reopened() -> None:
    in_memory = optuna.create_study()
    in_memory.tell(in_memory.ask(), 1.0)
    with pytest.raises(ValueError, match="in memory"):
        reopen(in_memory, in_memory.trials[0])
    read_again(in_memory)  # there is no cache
    assert finished_count(in_memory) == 1
