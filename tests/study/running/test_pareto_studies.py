"""Studies that minimise distance and imbalance side by side: the front, and what is left of a best.

Studies are tiny but nothing in them is replaced: real training, SQLite, MLflow and processes.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.study import Study
from optuna.trial import TrialState
from PIL import Image

from dcgan.config.settings import load_train_config
from dcgan.data.bank import PhotoBank
from dcgan.evaluation.record import in_digits
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.config.space import suggest
from study.config.study_config import StudyConfig
from study.errors import StudyError, StudyMismatchError
from study.results.export import export_config
from study.results.leaderboard import as_markdown, rows_of
from study.results.selection import pick_trial
from study.running.observer import TrialBegan
from study.running.study import run_study
from study.search.objective import score_of
from study.search.pruners import make_pruner
from study.search.samplers import SeededSampler
from study.storage.optuna_db import load_optuna_study, open_storage
from study.storage.store import Store, trial_name

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
Essence = Callable[[Study], list[tuple[Any, ...]]]
BOTH = ["minimize", "minimize"]
TRIALS = 5

# A study


@pytest.fixture(scope="module")
def pareto(tiny_study: Maker) -> Maker:
    return lambda **settings: tiny_study(
        **{"study__trials": TRIALS, "objective": {"mode": "pareto"}, **settings}
    )


class Ended:
    """A study with a front that ran to its total, and what it said."""

    def __init__(self, config: StudyConfig, store: Store, bank: PhotoBank, watcher: Any) -> None:
        self.config, self.store = config, store
        self.summary = run_study(config, store, bank=bank, observer=watcher)
        self.notes: list[str] = watcher.warnings
        self.study = self.summary.study
        self.trials = self.study.get_trials()
        self.front = sorted(self.study.best_trials, key=lambda trial: trial.values[0])


@pytest.fixture(scope="module")
def ended(pareto: Maker, bank: PhotoBank, new_store: Callable[[], Store], watch: Any) -> Ended:
    """Only to be read."""
    return Ended(pareto(), new_store(), bank, watch())


def test_all_trials_run_and_none_is_reported(ended: Ended) -> None:
    """The pruner of the tiny study stops whatever is not the best so far, were it asked."""
    assert len(ended.trials) == TRIALS == ended.summary.finished
    assert [trial.params for trial in ended.trials[:2]] == [
        ended.config.baseline_params(baseline) for baseline in ended.config.baselines
    ]
    for trial in ended.trials:
        assert (trial.state, trial.intermediate_values) == (TrialState.COMPLETE, {})
        folder = RunFolder(ended.store.study("tiny").trial(trial.number))
        last = read_evals(folder.history)[-1]
        assert last.epoch == 2
        assert trial.values == [last.metrics["fd_random"], last.imbalance]
        assert trial.user_attrs["score"] == score_of(last, ended.config.objective)
    assert 0 < len(ended.front) < TRIALS


def test_the_launch_says_once_that_another_rule_prunes(
    ended: Ended, pareto: Maker, store: Store, bank: PhotoBank, watch: Any
) -> None:
    said = [note for note in ended.notes if "pruner" in note]
    assert len(said) == 1
    assert "instead of the pruner 'percentile' another rule stops trials" in said[0]
    silent = Ended(pareto(study__trials=1, pruner={"name": "none"}), store, bank, watch())
    assert silent.notes == []


def test_mlflow_shows_both_values_and_the_score(ended: Ended, mirror_of: Any) -> None:
    mirror = mirror_of(ended.store)
    for trial, run in zip(ended.trials, mirror.runs("trial"), strict=True):
        shown = run.data.metrics
        assert [shown["objective_distance"], shown["objective_imbalance"]] == trial.values
        assert shown["objective"] == trial.user_attrs["score"] == shown["eval/score"]
        assert run.info.status == "FINISHED"
    (parent,) = mirror.runs("study")
    assert mirror.artifacts(parent) == {"leaderboard.md", "contact_sheet.png", "study.yaml"}
    assert "| trial | state | front |" in parent.data.tags["mlflow.note.content"]


def test_a_study_of_one_score_shows_one_objective(finished: Any, mirror_of: Any) -> None:
    keys = {key for run in mirror_of(finished.store).runs("trial") for key in run.data.metrics}
    assert {key for key in keys if key.startswith("objective")} == {"objective"}
    assert {row.front for row in rows_of(finished.summary.study)} == {None}


def test_the_front_leads_the_leaderboard(ended: Ended) -> None:
    rows = rows_of(ended.study)
    size = len(ended.front)
    assert [row.front for row in rows] == [True] * size + [False] * (TRIALS - size)
    assert [row.number for row in rows[:size]] == [trial.number for trial in ended.front]
    dominated = [ended.trials[row.number].values[0] for row in rows[size:]]
    assert dominated == sorted(dominated)
    for row in rows:
        assert row.score == ended.trials[row.number].user_attrs["score"]
        assert [row.distances["fd_random"], row.imbalance] == ended.trials[row.number].values
    lines = ended.store.study("tiny").leaderboard.read_text(encoding="utf-8").splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:6] == ["trial", "state", "front", "score", "fd_random", "imbalance"]
    assert [line[2] for line in cells[2:]] == ["yes"] * size + [""] * (TRIALS - size)
    assert len({len(line) for line in cells}) == 1


def test_the_contact_sheet_begins_with_the_front(ended: Ended) -> None:
    first = RunFolder(ended.store.study("tiny").trial(ended.front[0].number))
    with Image.open(ended.summary.contact_sheet) as sheet:  # type: ignore[arg-type]
        tile = sheet.convert("RGB").crop((0, 34, 266, 300))
    with Image.open(list(first.grids().values())[-1]) as grid:
        half = grid.width // 2
        corner = grid.convert("RGB").crop((0, 0, half, half)).resize((266, 266))
    assert corner.tobytes() == tile.tobytes()


def test_a_front_has_no_best_config(ended: Ended) -> None:
    assert ended.summary.best_config is None
    assert not ended.store.study("tiny").best.exists()


def test_launching_it_again_changes_nothing(ended: Ended, bank: PhotoBank, watch: Any) -> None:
    watcher = watch()
    board = ended.store.study("tiny").leaderboard
    before = board.stat().st_mtime_ns
    again = run_study(ended.config, ended.store, bank=bank, observer=watcher)
    assert (watcher.of(TrialBegan), again.finished, board.stat().st_mtime_ns) == (
        [],
        TRIALS,
        before,
    )


@pytest.mark.slow
def test_a_kernel_study_is_ordered_and_shown_by_its_distance(
    pareto: Maker, store: Store, bank: PhotoBank
) -> None:
    config = pareto(study__trials=3, objective={"mode": "pareto", "metric": "kernel"})
    study = run_study(config, store, bank=bank).study
    for row in rows_of(study):
        assert row.distances["kd_random"] == study.get_trials()[row.number].values[0]
    heading = as_markdown(rows_of(study)).splitlines()[0]
    assert "| score | kd_random | imbalance |" in heading


def test_a_bracket_of_hyperband_does_not_hide_trials_from_the_sampler(pareto: Maker) -> None:
    assert isinstance(make_pruner(pareto(pruner={"name": "hyperband"})), NopPruner)


# Interruptions


@pytest.mark.slow
def test_interruptions_change_no_number(
    ended: Ended,
    pareto: Maker,
    store: Store,
    bank: PhotoBank,
    essence: Essence,
    mirror_of: Any,
    watch: Any,
) -> None:
    """After the first evaluation of a baseline, and of a trial that the model proposed."""
    for trial in (1, 3):
        halted = run_study(pareto(), store, bank=bank, observer=watch(stop_after=(trial, 2)))
        assert (halted.interrupted, halted.finished) == (True, trial)
        waiting = halted.study.get_trials()[trial]
        assert waiting.state == TrialState.WAITING
        assert rows_of(halted.study)[-1].score is None  # not an outcome yet
        assert halted.best_config is None
    study = run_study(pareto(), store, bank=bank).study
    assert essence(study) == essence(ended.study)
    mirror = mirror_of(store)
    for run in mirror.runs("trial"):
        points = mirror.points(run)
        assert len(points) == len(set(points))


@pytest.mark.slow
def test_proposals_do_not_depend_on_who_asks(pareto: Maker, store: Store) -> None:
    """Warnings would be errors. Trial 2 collapses, as far as Optuna knows, and has no values."""
    config = pareto(baselines=[], sampler={"name": "tpe", "startup_trials": 4})

    def ask_and_tell(study: Study, trials: int) -> None:
        for _ in range(trials):
            trial = study.ask()
            suggest(trial, config)
            lr_g, nz = trial.params["lr_g"], trial.params["nz"]
            if trial.number == 2:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, (abs(math.log10(lr_g) + 3), abs(math.log10(lr_g) + 2) + nz / 100))

    def sampler() -> SeededSampler:
        return SeededSampler(config.sampler, config.study.seed)

    optuna.create_study(study_name="s", storage=open_storage(store), directions=BOTH)
    for _ in range(16):
        many = optuna.load_study(study_name="s", storage=open_storage(store), sampler=sampler())
        ask_and_tell(many, 1)
    one = optuna.create_study(study_name="s", directions=BOTH, sampler=sampler())
    ask_and_tell(one, 16)
    assert [trial.params for trial in many.get_trials()] == [
        trial.params for trial in one.get_trials()
    ]
    by_chance = config.model_copy(
        update={"sampler": config.sampler.model_copy(update={"name": "random"})}
    )
    chance = optuna.create_study(
        directions=BOTH, sampler=SeededSampler(by_chance.sampler, config.study.seed)
    )
    ask_and_tell(chance, 16)
    same = [
        a.params == b.params for a, b in zip(one.get_trials(), chance.get_trials(), strict=True)
    ]
    assert same[:4] == [True] * 4  # startup
    assert not all(same)  # then the model guides


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband", "successive_halving", "patient"])
def test_no_pruner_is_in_the_way(pareto: Maker, store: Store, bank: PhotoBank, pruner: str) -> None:
    config = pareto(study__trials=1, pruner={"name": pruner}, base__train__epochs=3)
    (trial,) = run_study(config, store, bank=bank).study.get_trials()[:1]
    assert trial.state == TrialState.COMPLETE


@pytest.mark.slow
def test_a_collapse_still_ends_a_trial(
    pareto: Maker, store: Store, mirror_of: Any, shell: Shell
) -> None:
    settings = {
        "study__trials": 1,
        "baselines": [],
        "base__train__epochs": 60,
        "base__eval__every_epochs": 4,
        "base__model__ndf": 16,
        "base__optim__lr_d": 5e-3,
        "space": {"optim.lr_g": {"type": "float", "low": 1e-7, "high": 2e-7}},
    }
    config = pareto(**settings)
    study = run_study(config, store).study
    (trial,) = study.get_trials()
    assert (trial.state, trial.values) == (TrialState.PRUNED, None)
    assert trial.user_attrs["reason"].startswith("D saturated since epoch ")
    (run,) = mirror_of(store).runs("trial")
    assert (run.info.status, run.data.tags["reason"]) == ("KILLED", trial.user_attrs["reason"])
    assert not [key for key in run.data.metrics if key.startswith("objective")]
    (row,) = rows_of(study)
    assert (row.state.name, row.front) == ("PRUNED", False)
    assert row.score == trial.user_attrs["score"]
    assert row.epoch
    assert row.epoch < 60
    with pytest.raises(StudyError, match="no complete trial"):
        pick_trial(study, None)
    assert "no complete trial yet" in shell("list", "--store", store.root).stdout
    done = shell("export", "tiny", "--trial", 0, "--store", store.root)
    assert f"trial-000 (fd_random {in_digits(row.distances['fd_random'])}, imbalance" in done.stdout


# The mode is part of a study's identity


def test_another_mode_is_refused_both_ways(
    tiny_study: Maker, ended: Ended, pareto: Maker, finished: Any, bank: PhotoBank
) -> None:
    before = ended.study.get_trials(), finished.summary.study.get_trials()
    with pytest.raises(StudyMismatchError, match=r'objective\.mode was "pareto", now "score"'):
        run_study(tiny_study(study__trials=99), ended.store, bank=bank)
    with pytest.raises(StudyMismatchError, match=r'objective\.mode was "score", now "pareto"'):
        run_study(pareto(study__trials=99), finished.store, bank=bank)
    with pytest.raises(StudyMismatchError) as caught:  # beside all else that differs
        run_study(pareto(base__train__epochs=3), finished.store, bank=bank)
    assert "train.epochs was 2, now 3" in str(caught.value)
    assert before == (ended.study.get_trials(), finished.summary.study.get_trials())


@pytest.mark.slow
def test_a_study_from_before_there_were_modes_minimises_a_score(
    tiny_study: Maker, pareto: Maker, store: Store, bank: PhotoBank
) -> None:
    study = run_study(tiny_study(study__trials=1), store, bank=bank).study
    identity, config = (json.loads(study.user_attrs[key]) for key in ("identity", "config"))
    del identity["objective.mode"], config["objective"]["mode"]
    study.set_user_attr("identity", json.dumps(identity))
    study.set_user_attr("config", json.dumps(config))
    with pytest.raises(StudyMismatchError, match=r'objective\.mode was "score", now "pareto"'):
        run_study(pareto(), store, bank=bank)
    assert run_study(tiny_study(study__trials=2), store, bank=bank).finished == 2


@pytest.mark.slow
@pytest.mark.parametrize("made", ["score", "pareto"])
def test_a_study_cut_off_before_it_was_described_keeps_its_mode(
    tiny_study: Maker, pareto: Maker, store: Store, bank: PhotoBank, made: str
) -> None:
    number = 2 if made == "pareto" else 1
    optuna.create_study(
        study_name="tiny", storage=open_storage(store), directions=["minimize"] * number
    )
    same, other = (pareto, tiny_study) if made == "pareto" else (tiny_study, pareto)
    with pytest.raises(StudyMismatchError, match=rf'objective\.mode was "{made}", now'):
        run_study(other(study__trials=1), store, bank=bank)
    assert run_study(same(study__trials=1), store, bank=bank).finished == 1


# Choosing one of the front


@pytest.mark.parametrize("rule", ["distance", "balance", "score"])
def test_export_by_each_rule(shell: Shell, ended: Ended, tmp_path: Path, rule: str) -> None:
    keys: dict[str, Callable[[Any], float]] = {
        "distance": lambda trial: trial.values[0],
        "balance": lambda trial: trial.values[1],
        "score": lambda trial: trial.user_attrs["score"],
    }
    best = min(ended.trials, key=keys[rule])
    options = ["--pick", rule, "-o", "mine.yaml", "--store", ended.store.root]
    done = shell("export", "tiny", *options)
    distance, imbalance = best.values
    known = f"fd_random {in_digits(distance)}, imbalance {imbalance:.2f}"
    assert f"{trial_name(best.number)} ({known}), to be trained" in done.stdout
    source = load_train_config(tmp_path / "mine.yaml").provenance
    assert source["picked_by"] == rule
    assert (source["trial"], source["fd_random"]) == (trial_name(best.number), distance)
    assert (source["imbalance"], source["score"]) == (imbalance, best.user_attrs["score"])


def test_export_of_a_named_trial_has_no_rule(ended: Ended) -> None:
    source = export_config(ended.study, 1).provenance
    assert source["trial"] == "trial-001"
    assert "picked_by" not in source


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("command", ["export", "train"])
def test_without_a_choice_the_front_is_listed(shell: Shell, ended: Ended, command: str) -> None:
    said = error_of(shell(command, "tiny", "--store", ended.store.root, code=2))
    listed = re.findall(r"(trial-\d+) \(fd_random (\S+), imbalance (\S+)\)", said)
    assert listed == [
        (trial_name(trial.number), in_digits(trial.values[0]), f"{trial.values[1]:.2f}")
        for trial in ended.front
    ]
    for word in ("--trial N", "--pick distance|balance|score"):
        assert word in said


@pytest.mark.parametrize("command", ["export", "train"])
def test_rules_that_do_not_fit(shell: Shell, ended: Ended, finished: Any, command: str) -> None:
    store = ["--store", ended.store.root]
    said = error_of(shell(command, "tiny", "--pick", "fid", *store, code=2))
    assert "distance, balance or score" in said
    assert "'fid'" in said
    said = error_of(shell(command, "tiny", "--pick", "score", "--trial", 1, *store, code=2))
    assert "--trial and --pick" in said
    said = error_of(
        shell(command, "tiny", "--pick", "score", "--store", finished.store.root, code=2)
    )
    assert "minimises one score" in said
    assert "--trial N" in said


# The shell


def test_list_counts_the_front(shell: Shell, ended: Ended) -> None:
    size = len(ended.front)
    plural = "" if size == 1 else "s"
    said = shell("list", "--store", ended.store.root).stdout
    assert f"tiny: {TRIALS} of {TRIALS} trials finished, front of {size} trial{plural}\n" in said


def test_show_marks_the_front(shell: Shell, ended: Ended) -> None:
    out = shell("show", "tiny", "--store", ended.store.root).stdout
    table = [line.split() for line in out.splitlines() if line.lstrip().startswith("trial-")]
    assert [words[0] for words in table if words[2] == "yes"] == [
        trial_name(trial.number) for trial in ended.front
    ]
    assert "no trial is better in both" in out
    document = json.loads(shell("show", "tiny", "--json", "--store", ended.store.root).stdout)
    marked = [row["number"] for row in document["trials"] if row["front"]]
    assert marked == [trial.number for trial in ended.front]
    assert document["identity"]["objective.mode"] == "pareto"
    assert {row["metric"] for row in document["trials"]} == {"fd_random"}


@pytest.mark.slow
def test_ctrl_c_then_the_same_command_then_train(
    shell: Shell,
    study_process: Callable[..., subprocess.Popen[str]],
    study_file: Callable[..., Path],
    pareto: Maker,
    bank: PhotoBank,
    essence: Essence,
    new_store: Callable[[], Store],
    mirror_of: Any,
    tmp_path: Path,
) -> None:
    store = new_store()
    long = {"study__trials": 2, "base__train__epochs": 12, "base__eval__every_epochs": 3}
    command = ["run", study_file(**long), "--set", "objective.mode=pareto", "--store", store.root]
    process = study_process(*command)
    history = RunFolder(store.study("tiny").trial(0)).history
    deadline = time.monotonic() + 240
    while not (history.exists() and read_evals(history)):
        assert process.poll() is None, "the process ended before its first evaluation"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text()
    waiting = load_optuna_study(store, "tiny").get_trials()[0]
    assert waiting.state == TrialState.WAITING
    done = shell(*command)
    assert "note: objective.mode is pareto, so instead of the pruner" in done.stderr
    assert f"study export tiny --store {store.root} --pick score" in done.stdout
    assert "best config" not in done.stdout
    study = load_optuna_study(store, "tiny")
    assert essence(study) == essence(run_study(pareto(**long), new_store(), bank=bank).study)
    # The full run of one of the front
    shell("train", "tiny", "--pick", "distance", "--store", store.root)
    nearest = min(study.get_trials(), key=lambda item: item.values[0])
    folder = store.study("tiny").full_run(nearest.number)
    assert load_train_config(folder / "config.yaml").provenance["picked_by"] == "distance"
    # The same run by its number: it is complete, so there is nothing left to do.
    shell("train", "tiny", "--trial", nearest.number, "--store", store.root)
    (run,) = mirror_of(store).runs("full")
    assert run.data.tags["optuna.trial_number"] == str(nearest.number)
    assert run.info.status == "FINISHED"
