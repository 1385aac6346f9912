"""Several worker processes on one study, and every way they can die.

Real processes, real signals, real SQLite and MLflow; only the trials are tiny.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study
from optuna.trial import TrialState
from ready import Process

from benchmarks.lib.servers import children
from dcgan.errors import UsageError
from study.errors import StudyError
from study.running.claims import Claims
from study.running.launchers.supervisor import RestartPolicy
from study.running.observer import Scored, TrialBegan, TrialEnded
from study.running.resources import Machine, choose_resources, workers_in_memory
from study.running.study import run_study
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.tracking.run_mirror import STATUS

Maker = Callable[..., Any]
Start = Callable[..., Process]
File = Callable[..., Path]
PATIENCE_SECONDS = 180.0
TRIALS = 3
"""Of a study that is disturbed: one more than its workers."""


def scored_trials(store: Store) -> int:
    """Trials that have a score: their workers are in the middle of them or done."""
    histories = store.study("tiny").path.glob("trials/*/history.jsonl")
    return sum('"kind": "eval"' in path.read_text(encoding="utf-8") for path in histories)


def states(study: Study) -> Counter[str]:
    return Counter(trial.state.name for trial in study.get_trials())


def check_consistent(store: Store, mirror: Any, total: int) -> Study:
    """Optuna and MLflow tell the same of every trial, nothing is there twice, nothing is lost."""
    study = load_optuna_study(store, "tiny")
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(total))
    assert all(trial.state.is_finished() for trial in trials), states(study)
    runs = mirror(store).runs("trial")
    assert [int(run.data.tags["optuna.trial_number"]) for run in runs] == list(range(total))
    for trial, run in zip(trials, runs, strict=True):
        assert run.data.tags["optuna.state"] == trial.state.name
        assert run.info.status == STATUS[trial.state.name]
        assert run.data.params == {key: str(value) for key, value in trial.params.items()}
        if trial.state == TrialState.COMPLETE:
            assert run.data.metrics["objective"] == pytest.approx(trial.value)
        points = mirror(store).points(run)
        assert len(points) == len(set(points))
    return study


def launched(study_process: Start, file: Path, store: Store) -> Process:
    """A launch whose workers are in the middle of their first trials."""
    process = study_process("run", file, "--store", store.root)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while scored_trials(store) < 2:
        assert time.monotonic() < deadline, "it never happened"
        assert process.poll() is None, (file.parent / "stderr.txt").read_text()
        time.sleep(0.05)
    return process


def workers_of(launcher: Process) -> list[int]:
    """Process ids of a launch's workers, oldest first."""
    return [launcher.ready.program_of(pid) for pid in children(launcher.program)]


def check_goes_on(study_process: Start, file: Path, store: Store, mirror: Any) -> None:
    """The same command again ends with every trial complete."""
    again = study_process("run", file, "--store", store.root)
    assert again.wait(PATIENCE_SECONDS) == 0
    assert states(check_consistent(store, mirror, TRIALS)) == {"COMPLETE": TRIALS}


@pytest.fixture
def long_study(study_file: Callable[..., Path]) -> Callable[..., Path]:
    """Trials of some seconds, so that they can be disturbed."""

    def write(**settings: Any) -> Path:
        return study_file(
            **{
                "study__trials": TRIALS,
                "study__workers": 2,
                "pruner__name": "none",
                "base__train__batch_size": 32,  # a step an epoch
                "base__train__epochs": 60,
                "base__eval__every_epochs": 20,
                **settings,
            }
        )

    return write


@pytest.mark.slow
@pytest.mark.usefixtures("ready_workers")
def test_two_workers_do_exactly_the_total_and_train_as_one_does(
    tiny_study: Maker,
    store: Store,
    finished: Any,
    essence: Any,
    mirror_of: Any,
    bank: Any,
    watch: Any,
) -> None:
    watcher = watch()
    config = tiny_study(study__trials=5, study__workers=2, pruner__name="none")
    summary = run_study(config, store, bank=bank, observer=watcher)
    assert (summary.finished, summary.interrupted) == (5, False)
    study = check_consistent(store, mirror_of, 5)
    assert states(study) == {"COMPLETE": 5}
    assert [trial.user_attrs.get("baseline") for trial in study.get_trials()][:2] == [
        "good",
        "slow",
    ]
    assert {worker for _, worker in watcher.told} == {None, 1, 2}
    counts = [len(watcher.of(kind)) for kind in (TrialBegan, TrialEnded, Scored)]
    assert counts == [5, 5, 10]
    assert summary.contact_sheet
    # Baselines have given parameters: same seeds, same scores, bit for bit.
    assert essence(study)[:2] == essence(finished.summary.study)[:2]
    # A relaunch with all workers wanted finds nothing to do.
    assert run_study(config, store, bank=bank).finished == 5


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_trial_goes_on(
    long_study: Callable[..., Path],
    study_process: Start,
    store: Store,
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    process = launched(study_process, long_study(), store)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == 0, (tmp_path / "stderr.txt").read_text()
    said = (tmp_path / "stderr.txt").read_text()
    assert re.search(r"worker \d died in trial \d: killed by SIGKILL .*it is started again", said)
    study = check_consistent(store, mirror_of, TRIALS)
    assert states(study) == {"COMPLETE": TRIALS}
    assert sum(trial.user_attrs.get("deaths", 0) for trial in study.get_trials()) == 1


@pytest.mark.slow
def test_workers_of_a_killed_launcher_stop_and_the_next_launch_goes_on(
    long_study: Callable[..., Path],
    study_process: Start,
    store: Store,
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    file = long_study()
    process = launched(study_process, file, store)
    workers = workers_of(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    study = load_optuna_study(store, "tiny")
    assert states(study)["RUNNING"] == 0  # each saved a checkpoint and put its trial back
    assert states(study)["WAITING"] >= 1
    check_goes_on(study_process, file, store, mirror_of)


@pytest.mark.slow
def test_everything_killed_at_once_loses_nothing(
    long_study: Callable[..., Path],
    study_process: Start,
    store: Store,
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    file = long_study()
    process = launched(study_process, file, store)
    for pid in [*workers_of(process), process.program]:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    check_goes_on(study_process, file, store, mirror_of)
    assert "was cut off earlier and continues" in (tmp_path / "stderr.txt").read_text()


@pytest.mark.slow
def test_ctrl_c_saves_all_running_trials(
    long_study: Callable[..., Path],
    study_process: Start,
    store: Store,
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    file = long_study()
    process = launched(study_process, file, store)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 130
    study = load_optuna_study(store, "tiny")
    assert states(study)["RUNNING"] == 0
    waiting = [trial for trial in study.get_trials() if trial.state == TrialState.WAITING]
    assert any("interrupted after step" in (t.user_attrs.get("reason") or "") for t in waiting)
    assert "the same command continues" in (tmp_path / "stdout.txt").read_text()
    check_goes_on(study_process, file, store, mirror_of)


@pytest.mark.slow
@pytest.mark.usefixtures("ready_workers")
def test_a_trial_that_kills_its_workers_is_failed_and_the_study_stops_if_all_do(
    tiny_study: Maker, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deadly_encoder.py").write_text(
        "import os, signal, sys\n"
        "def deadly(images):\n"
        "    if 'study.cli.worker' in ' '.join(sys.orig_argv) and len(images) == 32:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return images.float().mean(dim=(2, 3))\n"
    )
    watcher = watch()
    config = tiny_study(
        study__trials=6,
        study__workers=2,
        base__eval__extractor="deadly_encoder:deadly",
        base__data__toy_count=40,
    )
    with pytest.raises(StudyError, match="3 trials in a row failed for the same reason"):
        run_study(config, store, observer=watcher)
    study = load_optuna_study(store, "tiny")
    failed = [trial for trial in study.get_trials() if trial.state == TrialState.FAIL]
    assert len(failed) >= 3
    for trial in failed:
        reason = trial.user_attrs["reason"]
        assert reason == "its worker died 3 times, last: killed by SIGKILL (out of memory?)"
    assert sum("it is started again" in line for line in watcher.warnings) >= 6


def test_the_restart_policy() -> None:
    policy = RestartPolicy(max_restarts=3, max_deaths=2)
    assert [policy.gives_up_worker(restarts) for restarts in range(5)] == [False] * 4 + [True]
    assert [policy.gives_up_trial(deaths) for deaths in range(1, 4)] == [False, True, True]


RATES = {1: 50.0, 2: 80.0, 4: 120.0}


def measure(config: Any, most: int) -> tuple[int, dict[int, float]]:
    """A machine that more threads make faster, but not twice as fast."""
    return most, {threads: rate for threads, rate in RATES.items() if threads <= most}


def never(config: Any, most: int) -> tuple[int, dict[int, float]]:
    pytest.fail("it was measured again")


def test_more_workers_than_gpus_take_are_refused(tiny_study: Maker) -> None:
    machine = Machine("cuda", processors=8, gpus=2)

    def workers(**settings: Any) -> int:
        return choose_resources(tiny_study(**settings), None, machine, measure).workers

    assert workers(study__workers="auto") == 2
    assert workers(study__workers="auto", study__trials_per_gpu=3) == 6
    assert workers(study__workers=2) == 2
    with pytest.raises(UsageError, match="5 workers are more than 2 GPUs take with 2 each"):
        workers(study__workers=5, study__trials_per_gpu=2)


@pytest.mark.parametrize(
    ("settings", "settled"),
    [
        ({}, (4, 1)),
        ({"study__workers": 2}, (2, 2)),
        ({"study__workers": 9}, (1, 9)),
        ({"study__workers": "auto"}, (1, 4)),  # 4 × 50 beats 2 × 80 and 1 × 120
        ({"study__workers": "auto", "base__train__threads": 2}, (2, 2)),
        ({"study__workers": 4, "base__train__threads": 3}, (3, 4)),  # as was asked for
    ],
)
def test_threads_and_workers_on_four_processors(
    tiny_study: Maker, settings: dict[str, Any], settled: Any
) -> None:
    machine = Machine(processors=4, room=4)
    first = tiny_study(**{"base__train__threads": None, **settings})
    chosen = choose_resources(first, None, machine, measure)
    assert (chosen.threads, chosen.workers) == settled
    assert bool(chosen.notes) == (first.base.train.threads is None)
    # A relaunch keeps the threads, or gives each worker its share of the processors.
    again = tiny_study(base__train__threads=None, study__workers=4)
    earlier = tiny_study(base__train__threads=chosen.threads)
    kept = choose_resources(again, earlier, machine, never)
    assert (kept.threads, kept.workers) == (1, 4)
    # In a study from before threads were measured they stay unset.
    old = choose_resources(again, tiny_study(base__train__threads=None), machine, never)
    assert (old.threads, old.workers, old.notes) == (None, 4, ())


@pytest.mark.parametrize(
    ("free_gib", "settled", "of_one_thread"),
    [(None, (1, 4), 4), (6.0, (1, 4), 4), (4.5, (2, 2), 3), (1.6, (4, 1), 1), (0.5, (4, 1), 1)],
)
def test_auto_starts_no_more_workers_than_memory_holds(
    tiny_study: Maker, free_gib: float | None, settled: tuple[int, int], of_one_thread: int
) -> None:
    """With room for 3 workers of one thread: 3 × 50 images/s are less than 2 × 80."""
    memory = None if free_gib is None else int(free_gib * 2**30)
    machine = Machine(processors=4, room=workers_in_memory(4, memory))
    asked = tiny_study(study__workers="auto", base__train__threads=None)
    chosen = choose_resources(asked, None, machine, measure)
    assert (chosen.threads, chosen.workers) == settled
    assert any("with memory for" in text for text in chosen.notes) == (of_one_thread < 4)
    asked = tiny_study(study__workers="auto", base__train__threads=1)
    chosen = choose_resources(asked, None, machine, measure)
    assert chosen.workers == of_one_thread
    assert bool(chosen.notes) == (of_one_thread < 4)


def test_the_choice_of_threads_is_told(tiny_study: Maker) -> None:
    asked = tiny_study(base__train__threads=None)
    (told,) = choose_resources(asked, None, Machine(processors=2, room=2), measure).notes
    assert told == (
        "train.threads is 2 in this study, the fastest here (1: 50 images/s, 2: 80 images/s)"
    )


def test_a_claimed_trial_is_nobody_elses(tiny_study: Maker, finished: Any) -> None:
    study = finished.summary.study
    claims, others = (Claims(study, finished.store.study("tiny")) for _ in range(2))
    with claims.next(total=6) as trial:
        assert trial is None  # all six are finished
    assert others.orphans() == []


def test_a_trial_that_ends_while_orphans_are_looked_for_is_none(
    tiny_study: Maker, store: Store, bank: Any
) -> None:
    run_study(tiny_study(study__trials=1), store, bank=bank)
    study = load_optuna_study(store, "tiny")
    claims = Claims(study, store.study("tiny"))
    with ExitStack() as stack:
        claim = stack.enter_context(claims.next(2))
        assert claim

        class Late(Claims):
            """Asks who has the running trials when their process has just ended them."""

            def held(self, numbers: Iterable[int]) -> set[int]:
                running = list(numbers)
                assert running == [1]
                study.tell(claim.trial, 1.0)
                stack.close()
                return super().held(running)

        assert Late(study, store.study("tiny")).put_back_orphans() == []
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 2
