"""The `study` command as a user meets it: real processes, exit codes, sentences."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from dcgan.config.settings import load_train_config
from dcgan.evaluation.record import in_digits
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals, read_logs
from study.config.study_config import StudyConfig
from study.storage.optuna_db import load_optuna_study, open_storage
from study.storage.store import Store
from study.tracking.ui import links, server_command

Maker = Callable[..., StudyConfig]
Shell = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
Writer = Callable[..., Path]


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one error sentence of a command."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert done.stderr.rstrip().endswith(lines[0]), done.stderr
    return lines[0]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from study.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'optuna', 'mlflow', 'numpy', 'PIL', 'sqlalchemy', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    for command in (
        "run",
        "list",
        "show",
        "export",
        "train",
        "ui",
        "dashboard",
        "gc",
        "relocate",
        "doctor",
        "worker",
        "sync",
    ):
        assert f" {command} " in done.stdout


WRONG: list[tuple[str, list[str], int, list[str]]] = [
    ("a config that is none", ["run", "quickstrat"], 2, ["'quickstrat'", "quickstart"]),
    ("a mistyped setting", ["run", "--set", "train.epoch=3"], 2, ["'train.epoch'", "train.epochs"]),
    ("a setting without =", ["run", "--set", "train.epochs"], 2, ["key=value"]),
    ("no trials", ["run", "--trials", "0"], 2, ["study.trials", "greater than or equal to 1"]),
    ("a name with a path", ["run", "--name", "../up"], 2, ["study.name", "not a path"]),
    ("a train config", ["run", "reference"], 2, ["dcgan train reference"]),
    ("photos that are not there", ["run", "--data", "missing"], 1, ["missing"]),
    ("a results folder that is a file", ["run", "--store", "file"], 2, ["cannot write", "--store"]),
    (
        "fewer photos than a batch",
        ["run", "--set", "data.toy_count=20", "--store", "few"],
        1,
        ["20 photos", "batch of 32"],
    ),
    ("nothing to list", ["list", "--store", "none"], 2, ["no studies", "study run"]),
    ("nothing to show", ["show", "cats", "--store", "none"], 2, ["no studies"]),
    ("nothing to tidy", ["gc", "--store", "none"], 2, ["no studies", "--store"]),
    ("nothing to relocate", ["relocate", "--store", "none"], 2, ["no MLflow database", "--store"]),
    ("no study to examine", ["doctor", "cats", "--store", "none"], 2, ["no studies", "--store"]),
    ("no workers", ["run", "--workers", "0"], 2, ["--workers", "from 1 on, or auto", "'0'"]),
    ("some workers", ["run", "--workers", "some"], 2, ["--workers", "'some'"]),
    (
        "another kind of database",
        ["run", "--storage", "mysql://me:secret@host/db"],
        2,
        ["mysql://me:***@host/db", "postgresql://USER"],
    ),
    ("a tracking URI that is none", ["run", "--tracking-uri", "host:5000"], 2, ["http://HOST"]),
    ("nothing to join", ["worker", "cats", "--store", "none"], 2, ["no studies", "--store"]),
    ("nothing to deliver", ["sync", "cats", "--store", "none"], 2, ["no files of a study"]),
    ("nothing to serve", ["ui", "--store", "none"], 2, ["nothing to show", "study run"]),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), [pytest.param(*case, id=name) for name, *case in WRONG]
)
def test_wrong_use_is_one_sentence(
    shell: Shell, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    said = sentence(shell(*arguments, code=code))
    assert [word for word in words if word not in said] == []
    assert (tmp_path / "file").read_text() == "kept"
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "mlruns" / "studies").exists()


@pytest.mark.parametrize("command", ["show", "export", "train", "gc", "doctor"])
def test_an_unknown_study_names_those_there_are(shell: Shell, finished: Any, command: str) -> None:
    said = sentence(shell(command, "tinny", "--store", finished.store.root, code=2))
    assert "'tinny'" in said
    assert "there are: tiny" in said


def test_a_study_that_exists_with_other_settings(
    shell: Shell, finished: Any, tmp_path: Path
) -> None:
    config = finished.store.study("tiny").config
    settings = ["--set", "train.epochs=3"]
    said = sentence(shell("run", config, "--store", finished.store.root, *settings, code=2))
    assert "train.epochs was 2, now 3" in said
    assert "--name" in said


def test_list(shell: Shell, finished: Any) -> None:
    done = shell("list", "--store", finished.store.root)
    best = min(trial.value for trial in finished.trials if trial.state == TrialState.COMPLETE)
    assert str(finished.store.root) in done.stdout
    assert f"tiny: 6 of 6 trials finished, best score {in_digits(best)}" in done.stdout


def test_studies_of_others_are_left_alone(shell: Shell, own_finished: Store) -> None:
    """Another program's study in the same database, and one of a newer release."""
    storage = open_storage(own_finished)
    for name, config in (("theirs", {"lr": 0.1}), ("newer", '{"study": {"colour": "red"}}')):
        optuna.create_study(study_name=name, storage=storage).set_user_attr("config", config)
    at = ("--store", own_finished.root)
    lines = shell("list", *at).stdout.splitlines()
    for name in ("theirs", "newer"):
        assert f"  {name}: not begun, or not a study of this release" in lines
        refused = shell("show", name, *at, code=1).stderr
        assert "was made by another program or a newer release" in refused
        assert f"left alone: the study '{name}'" in shell("gc", *at).stdout
    assert any(line.startswith("  tiny: 6 of 6 trials") for line in lines)
    assert "was made by another program" in shell("doctor", *at).stdout


def test_show(shell: Shell, finished: Any) -> None:
    done = shell("show", "tiny", "--store", finished.store.root)
    for word in ("fd_random", "imbalance", "lr_g", "good", "slow", "sampler", "minutes"):
        assert word in done.stdout
    table = [line.split() for line in done.stdout.splitlines() if "trial-" in line]
    states = [words[1] for words in table if ":" not in words[0]]
    assert sorted(states) == sorted(trial.state.name.lower() for trial in finished.trials)
    reasons = [words[0] for words in table if ":" in words[0]]
    assert len(reasons) == states.count("pruned")
    assert str(finished.store.study("tiny").path) in done.stdout


def test_show_says_how_important_parameters_were(shell: Shell, store: Store, finished: Any) -> None:
    few = shell("show", "tiny", "--importance", "--store", finished.store.root).stdout
    assert re.search(r"importance: [1-6] complete trials are too few .* 10 are needed", few)
    made = optuna.create_study(study_name="many", storage=open_storage(store))
    for key in ("config", "identity"):
        made.set_user_attr(key, finished.summary.study.user_attrs[key])
    distributions = {
        "lr_g": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True),
        "nz": optuna.distributions.IntDistribution(1, 64),
    }
    for number in range(40):
        params = {"lr_g": 10 ** (-5 + 3 * number / 39), "nz": 1 + (number * 17) % 64}
        made.add_trial(
            create_trial(params=params, distributions=distributions, value=100.0 + number)
        )
    shown = shell("show", "many", "--importance", "--store", store.root).stdout
    assert "importance over 40 complete trials" in shown
    lr_g, nz = (re.search(rf"^  {name} +(\d+)% .*$", shown, re.M) for name in ("lr_g", "nz"))
    assert "the share of the score's variance" in shown
    assert lr_g
    assert nz
    assert int(lr_g[1]) > 50 > int(nz[1])
    assert "not above chance" in nz[0]
    assert "not above chance" not in lr_g[0]


def test_show_json(shell: Shell, finished: Any) -> None:
    document = json.loads(shell("show", "tiny", "--json", "--store", finished.store.root).stdout)
    assert document["study"] == "tiny"
    assert document["store"] == str(finished.store.root)
    assert document["identity"]["train.epochs"] == 2
    shown = {row["number"]: row for row in document["trials"]}
    for trial in finished.trials:
        row = shown[trial.number]
        assert (row["state"], row["score"]) == (trial.state.name, trial.value)
        assert row["params"] == trial.params
    assert shown[0]["origin"] == "good"


def test_export(shell: Shell, finished: Any, tmp_path: Path) -> None:
    done = shell("export", "tiny", "-o", "best.yaml", "--store", finished.store.root)
    path = tmp_path / "best.yaml"
    assert done.stdout.splitlines()[-1] == str(path)
    assert "4 epochs" in done.stdout
    exported, best = load_train_config(path), load_train_config(finished.summary.best_config)
    assert exported.model_copy(update={"provenance": best.provenance}) == best
    assert exported.provenance["trial"] == best.provenance["trial"]
    pruned = next(trial for trial in finished.trials if trial.state == TrialState.PRUNED)
    options = ["--trial", pruned.number, "-o", tmp_path / "other.yaml"]
    shell("export", "tiny", *options, "--store", finished.store.root)
    source = load_train_config(tmp_path / "other.yaml").provenance
    assert (source["trial"], source["state"]) == (f"trial-{pruned.number:03d}", "PRUNED")
    said = sentence(shell("export", "tiny", "--trial", 99, "--store", finished.store.root, code=2))
    assert "no trial 99" in said


def test_a_trial_without_a_score_can_be_exported_too(
    shell: Shell, finished: Any, store: Store, tmp_path: Path
) -> None:
    """One that diverged before its first evaluation, in a study where nothing is complete."""
    made = optuna.create_study(study_name="bad", storage=open_storage(store))
    for key in ("config", "identity"):
        made.set_user_attr(key, finished.summary.study.user_attrs[key])
    source = finished.trials[0]
    made.add_trial(
        create_trial(
            state=TrialState.PRUNED,
            params=source.params,
            distributions=source.distributions,
            user_attrs={"reason": "diverged at step 1 (epoch 1)", "seed": 1},
        )
    )
    said = sentence(shell("export", "bad", "--store", store.root, code=1))
    assert "no complete trial" in said
    shell("export", "bad", "--trial", 0, "-o", tmp_path / "bad.yaml", "--store", store.root)
    assert load_train_config(tmp_path / "bad.yaml").provenance["score"] is None
    assert "trial-000: diverged at step 1" in shell("show", "bad", "--store", store.root).stdout


# The main job


def test_run_ends_with_all_a_user_needs_and_train_logs_the_full_run(
    shell: Shell, study_file: Writer, store: Store, mirror_of: Any
) -> None:
    command = ["run", study_file(), "--trials", 2, "--name", "mine", "--store", store.root]
    command += ["--set", "full_run={train.epochs: 3}"]
    done = shell(*command)
    out, err = done.stdout, done.stderr
    folder = store.study("mine")
    assert "2 of 2 trials finished" in out
    assert str(folder.best) in out
    assert str(folder.contact_sheet) in out
    assert str(folder.report) in out
    assert "The best of 2 complete trials" in folder.report.read_text(encoding="utf-8")
    assert load_train_config(folder.best).train.epochs == 3
    assert f"study train mine --store {store.root}" in out
    assert f"study ui --store {store.root}" in out
    experiment = mirror_of(store, "mine").experiment.experiment_id
    artifacts = mirror_of(store, "mine").artifacts(mirror_of(store, "mine").runs("study")[0])
    assert "report.html" in artifacts
    written = folder.report.stat().st_mtime_ns
    assert str(folder.report) in shell(*command).stdout
    assert folder.report.stat().st_mtime_ns == written  # nothing new to report
    (link,) = [line for line in out.splitlines() if "http" in line]
    link = link[link.index("http") :]
    assert link == (
        f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?workflowType=machine_learning"
        "&compareRunsMode=TABLE&viewStateShareKey=leaderboard"
    )
    assert "trial-000: baseline “good”" in err
    assert "trial-001: epoch 2: fd_random" in err

    done = shell("train", "mine", "--store", store.root)
    best = load_train_config(store.study("mine").best)
    trial = best.provenance["trial"]
    number = int(trial.removeprefix("trial-"))
    folder = store.study("mine").full_run(number)
    assert str(folder) in done.stdout
    mirror = mirror_of(store, "mine")
    (run,) = mirror.runs("full")
    assert run.info.run_name == f"full run of {trial}"
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == mirror.runs("study")[0].info.run_id
    assert run.data.tags["optuna.trial_number"] == str(number)
    assert run.data.params == mirror.runs("trial")[number].data.params
    assert load_train_config(folder / "config.yaml") == best
    evaluations = read_evals(RunFolder(folder).history)
    shown = {point.step: point.value for point in mirror.history(run, "eval/fd_random")}
    assert shown == {record.step: record.metrics["fd_random"] for record in evaluations}
    assert list(shown) == [2, 4, 6]
    assert {"config.yaml", "losses.png", "samples_final.png"} <= mirror.artifacts(run)
    assert len(mirror.runs("trial")) == 2


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, f"the process ended before {what}"
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_same_command_completes(
    shell: Shell, study_process: Start, study_file: Writer, store: Store, tmp_path: Path
) -> None:
    """Forty steps, so that the signal comes in the middle of them."""
    long = {"base__train__epochs": 20, "base__eval__every_epochs": 10}
    command = ["run", study_file(study__trials=1, **long), "--store", store.root]
    process = study_process(*command)
    history = RunFolder(store.study("tiny").trial(0)).history
    wait_for(history.exists, process, "the first trial")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    out, err = (tmp_path / "stdout.txt").read_text(), (tmp_path / "stderr.txt").read_text()
    assert "Traceback" not in err
    assert "stopping: saving a checkpoint first" in err
    assert "0 of 1 trials; the same command continues" in out
    waiting, _ = load_optuna_study(store, "tiny").get_trials()
    assert waiting.state == TrialState.WAITING
    reached = len(read_logs(history))
    assert 0 < reached < 40
    done = shell(*command)
    assert "1 of 1 trials finished" in done.stdout
    ended, _ = load_optuna_study(store, "tiny").get_trials()
    assert ended.state == TrialState.COMPLETE
    assert list(ended.intermediate_values) == [10, 20]
    assert [record.step for record in read_logs(history)] == list(range(1, 41))


@pytest.mark.slow
def test_two_launches_at_once_share_the_trials(
    study_process: Start, study_file: Writer, store: Store, mirror_of: Any, tmp_path: Path
) -> None:
    long = {"base__train__epochs": 20, "base__eval__every_epochs": 10}
    file = study_file(study__trials=6, pruner__name="none", **long)
    both = [study_process("run", file, "--store", store.root, output=name) for name in "ab"]
    pids = [process.program for process in both]
    assert [process.wait(180) for process in both] == [0, 0]
    said = [(tmp_path / f"{name}.err").read_text() for name in "ab"]
    shares = "this study is being run by another process, too (pid {}): they share its trials"
    assert [shares.format(pid) in text for pid, text in zip(pids, said[::-1], strict=True)].count(
        True
    ) == 1
    begun = [set(re.findall(r"(trial-\d+): (?:baseline|nz)", text)) for text in said]
    assert all(begun)
    assert not begun[0] & begun[1]
    trials = load_optuna_study(store, "tiny").get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    (parent,) = mirror_of(store).runs("study")
    assert parent.info.status == "FINISHED"
    assert [run.info.status for run in mirror_of(store).runs("trial")] == ["FINISHED"] * 6


# The UI


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_server_is_private_and_light(finished: Any, store: Store) -> None:
    command, environment = server_command(finished.store, 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--workers") + 1] == "1"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_ui_serves_the_trials(study_process: Start, finished: Any, tmp_path: Path) -> None:
    port = free_port()
    process = study_process("ui", "--port", port, "--store", finished.store.root)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    try:
        wait_for(answers, process, "the server answers")
        body = json.dumps({"experiment_ids": [finished.summary.experiment_id]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as reply:
            runs = json.loads(reply.read())["runs"]
        assert len(runs) == len(finished.trials) + 1
        out = (tmp_path / "stdout.txt").read_text()
        server = f"http://127.0.0.1:{port}"
        for link in links(finished.summary.experiment_id, server).values():
            assert link in out
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    assert code == 0
    assert not answers()
