"""`study submit`: scripts that Slurm, Kubernetes and SkyPilot take, and workers that they run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import slurm
import yaml
from optuna.trial import TrialState
from shared import ONE_STEP_AN_EPOCH, options, wait_for

from benchmarks.lib.servers import postgres_programs
from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError
from study.cli.submit import notes_on
from study.config.study_config import StudyConfig
from study.running.resources import WORKER_BYTES
from study.running.schedulers import kubernetes
from study.running.schedulers import needs as needs_module
from study.running.schedulers.needs import (
    LAUNCHER_BYTES,
    LEAST_HOURS,
    Needs,
    is_loopback,
    needs_of,
)
from study.running.schedulers.table import SCHEDULERS, hand_over
from study.running.study import run_study
from study.storage.attributes import study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store

Maker = Callable[..., StudyConfig]
NEEDS = Needs(
    study="My_cats.2",
    jobs=8,
    cpus=4,
    gpus=1,
    memory_bytes=5 * 2**30 + 1,
    hours=3.9,
    command=("study", "worker", "My_cats.2"),
    photos="/photos of cats",
    shared="s3://bucket/x",
)
needs_postgres = pytest.mark.skipif(
    postgres_programs() is None, reason="PostgreSQL (initdb, pg_ctl) is not installed"
)
needs_slurm = pytest.mark.skipif(slurm.missing() is not None, reason=str(slurm.missing()))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm.slurm_cluster(tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


@needs_slurm
def test_slurm_takes_the_script(cluster: dict[str, str], tmp_path: Path) -> None:
    text = SCHEDULERS["slurm"].script(NEEDS, {"comment": "cats"})
    done = subprocess.run(
        ["sbatch", "--parsable", "--hold"],
        input=text,
        text=True,
        capture_output=True,
        env={**os.environ, **cluster},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["scontrol", "show", "job", done.stdout.strip()],
        text=True,
        capture_output=True,
        env={**os.environ, **cluster},
    ).stdout
    for fact in (
        *("JobName=My_cats.2", "ArrayTaskId=0-7", "CPUs/Task=4", "MinMemoryNode=6G"),
        *("TimeLimit=04:00:00", "Requeue=1", "TresPerNode=gres:gpu:1", "Comment=cats"),
    ):
        assert fact in shown, (fact, shown)


def test_kubernetes_takes_the_manifest() -> None:
    asked = {"image": "cats:1", "namespace": "lab", "photos-claim": "photos"}
    for given in ({}, asked):
        text = SCHEDULERS["kubernetes"].script(NEEDS, given)
        manifest = yaml.safe_load(text)
        for version in ("1.29", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(manifest, version, strict=True)
        assert ("--namespace lab" in text) == bool(given)
    assert manifest["metadata"] == {"generateName": "my-cats-2-", "namespace": "lab"}
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == [*NEEDS.command, "--data", "/photos", "--store", "/results"]
    assert container["resources"]["limits"] == {"memory": "6Gi", "nvidia.com/gpu": 1}
    (plain,) = yaml.safe_load(SCHEDULERS["kubernetes"].script(NEEDS, {}))["spec"]["template"][
        "spec"
    ]["containers"]
    assert (plain["image"], container["image"]) == ("dcgan-study:cuda", "cats:1")
    assert pod["terminationGracePeriodSeconds"] == 120
    broken = {**manifest, "spec": {**manifest["spec"], "paralelism": 3}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.29", strict=True)
    with pytest.raises(UsageError, match="--option partition: a manifest takes image, namespace"):
        SCHEDULERS["kubernetes"].script(NEEDS, {"partition": "gpu"})


def test_the_secret_is_made_without_a_password_in_a_command() -> None:
    shown = """kubectl() {
        for word; do
            case $word in --from-env-file=*) sort "${word#*=}";; *) echo "[$word]";; esac
        done
        [ "$1" = create ] || cat
    }
    """
    command = shown + kubernetes.secret(NEEDS, {"namespace": "the lab"})

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "OTHER": "x", **variables}
        words = ["bash", "-c", command]
        return subprocess.run(words, env=environment, text=True, capture_output=True)

    said = run(DCGAN_STUDY_STORAGE="a b", AWS_SESSION_TOKEN="key").stdout.splitlines()
    assert said[:3] == ["[apply]", "[--namespace]", "[the lab]"]
    made = ["[create]", "[secret]", "[generic]", "[my-cats-2]", "[--namespace]", "[the lab]"]
    assert said[5:] == [
        *made,
        *("AWS_SESSION_TOKEN=key", "DCGAN_STUDY_STORAGE=a b"),
        *("[--dry-run=client]", "[-o]", "[yaml]"),
    ]
    without = run(AWS_SESSION_TOKEN="key")
    assert without.returncode
    assert "DCGAN_STUDY_STORAGE: is not set" in without.stderr


def test_a_folder_of_this_cluster_is_not_in_pods_and_clouds() -> None:
    kept_here = replace(NEEDS, shared="/scratch/cats")
    assert "sbatch" in SCHEDULERS["slurm"].script(kept_here, {})
    for name in ("kubernetes", "skypilot"):
        with pytest.raises(UsageError, match=r"/scratch/cats \(--artifacts\), which a .* does not"):
            SCHEDULERS[name].script(kept_here, {})
    with pytest.raises(UsageError, match="--option image_id"):
        SCHEDULERS["skypilot"].script(NEEDS, {"image_id": "[x"})


def test_addresses_and_photos_of_this_machine_are_not_in_pods_and_clouds() -> None:
    database = "postgresql+psycopg://me:secret@127.0.0.1:5432/cats"
    tunnel = replace(NEEDS, loopback=(database,))  # jobs have another address in a secret
    (note,) = (text for text in notes_on(tunnel) if "127.0.0.1" in text)
    assert note.startswith("postgresql://me:***@127.0.0.1:5432/cats is another machine on each")
    both = replace(NEEDS, loopback=(database, "http://localhost:5000"))
    assert "sbatch" in SCHEDULERS["slurm"].script(both, {})  # all nodes may be here
    for name in ("kubernetes", "skypilot"):
        assert SCHEDULERS[name].script(tunnel, {})
        with pytest.raises(UsageError, match="logs to http://localhost:5000, which is another"):
            SCHEDULERS[name].script(both, {})
    here = replace(NEEDS, photos_assumed=True)
    with pytest.raises(UsageError, match="a pod does not have /photos of cats: name the Persist"):
        SCHEDULERS["kubernetes"].script(here, {})
    assert "claimName: photos" in SCHEDULERS["kubernetes"].script(here, {"photos-claim": "photos"})


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://localhost:5000", True),
        ("http://0.0.0.0:5000", True),
        ("postgresql+psycopg://[::1]/d", True),
        ("postgresql+psycopg:///d?host=/run/postgresql", True),
        ("postgresql+psycopg:///d", True),
        ("http://head:5000", False),
        ("postgresql+psycopg://me:localhost@10.0.0.1/d", False),
        ("postgresql+psycopg://u:p@/d?host=h1:5432&host=h2:5432", False),
        ("postgresql+psycopg://u:p@127.0.0.1/d?host=db.example.com", False),
        ("postgresql+psycopg:///d?service=lab", False),
    ],
)
def test_what_means_the_machine_itself(url: str, is_own: bool) -> None:
    assert is_loopback(url) == is_own


def test_a_task_for_skypilot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDS.variables:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    text = SCHEDULERS["skypilot"].script(NEEDS, {"accelerators": "H100:1", "use_spot": "false"})
    task = yaml.safe_load(text)
    assert task["num_nodes"] == 8
    assert task["resources"] == {
        **{"cpus": "4+", "memory": "6+", "use_spot": False, "accelerators": "H100:1"}
    }
    assert task["file_mounts"] == {"~/photos": "/photos of cats"}
    assert task["setup"] == "pip install 'dcgan-study[postgres,s3]'"
    assert task["run"] == "exec study worker My_cats.2 --data ~/photos --store ~/My_cats.2"
    assert task["secrets"] == {"DCGAN_STUDY_STORAGE": None, "AWS_ACCESS_KEY_ID": None}
    assert text.startswith(
        "# sky jobs launch --secret DCGAN_STUDY_STORAGE --secret AWS_ACCESS_KEY_ID"
    )
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed")
    secrets = [(name, "x") for name in task["secrets"]]  # as `--secret` takes them
    taken = sky.Task.from_yaml_config(
        {**task, "file_mounts": {"~/photos": str(tmp_path)}}, secrets_overrides=secrets
    )
    assert (taken.name, taken.num_nodes) == ("My_cats.2", 8)
    with pytest.raises(Exception, match="Instead of 'num_nodess', did you mean 'num_nodes'"):
        sky.Task.from_yaml_config({**yaml.safe_load(text), "num_nodess": 8})


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no 'kubectl' on this machine; print the script"):
        hand_over("kubernetes", "", NEEDS, {})
    program = tmp_path / "sbatch"
    program.write_text(
        "#!/bin/sh\necho first >&2; echo 'sbatch: error: no partition' >&2; exit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(UsageError, match="set DCGAN_STUDY_STORAGE to the address"):
        hand_over("slurm", "", NEEDS, {})
    environment = {"PATH": str(tmp_path), "DCGAN_STUDY_STORAGE": "postgresql://x/y"}
    with pytest.raises(UsageError, match=r"refused the script: sbatch: error: no partition$"):
        hand_over("slurm", "", NEEDS, environment)


def test_a_study_on_this_disk_cannot_be_submitted(
    own_finished: Store, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_optuna_study(own_finished, "tiny")
    with pytest.raises(UsageError, match="keeps a database in the results folder of this machine"):
        needs_of(study, own_finished, None, 2)
    with pytest.raises(UsageError, match="launch it with --tracking-uri"):
        needs_of(study, replace(own_finished, storage="postgresql+psycopg://h/d"), None, 2)
    elsewhere = replace(own_finished, storage="postgresql+psycopg://h/d", tracking="http://h:1")
    with pytest.raises(UsageError, match="all trials of 'tiny' have ended; raise its total first"):
        needs_of(study, elsewhere, Path("/photos"), 2)
    config = study_config(study)
    longer = config.study.model_copy(update={"trials": 9})
    monkeypatch.setattr(
        needs_module, "study_config", lambda study: config.model_copy(update={"study": longer})
    )
    with pytest.raises(UsageError, match="--hours must be a number of hours, but got inf"):
        needs_of(study, elsewhere, None, 2, hours=math.inf)
    needs = needs_of(study, elsewhere, Path("/photos"), 2)
    assert (needs.jobs, needs.gpus, needs.photos, needs.hours) == (2, 0, "/photos", LEAST_HOURS)
    # The study was launched with a database here, so jobs are told of the server.
    assert needs.command == ("study", "worker", "tiny", "--tracking-uri", "http://h:1")
    assert (needs.loopback, needs.photos_assumed) == ((), False)
    local = replace(elsewhere, tracking="http://127.0.0.1:1")
    assert needs_of(study, local, Path("/photos"), 2).loopback == ("http://127.0.0.1:1",)
    secret = replace(elsewhere, tracking="http://me:secret@h:1")
    said = r"another MLflow \(in a results folder\), and a job's command would show the password"
    with pytest.raises(UsageError, match=said):
        needs_of(study, secret, Path("/photos"), 2)
    peak = max(
        record.get("memory_peak_mib", 0)
        for path in own_finished.study("tiny").path.glob("trials/*/history.jsonl")
        for record in map(json.loads, path.read_text().splitlines())
    )
    assert peak > 0
    worker = max(round(round(peak * 2**20) * 1.5), WORKER_BYTES)
    assert needs.memory_bytes == worker + LAUNCHER_BYTES
    done = shell("submit", "tiny", "--store", own_finished.root, code=2)
    assert "say for which program: --slurm, --kubernetes or --skypilot" in done.stderr
    done = shell("submit", "tiny", "--slurm", "--option", "x", "--store", own_finished.root, code=2)
    assert "--option x must be KEY=VALUE" in done.stderr


@pytest.mark.slow
@needs_slurm
@needs_postgres
def test_slurm_runs_a_study_and_a_stopped_job_goes_on(
    cluster: dict[str, str],
    tiny_study: Maker,
    machines: tuple[Store, Store],
    shell: Callable[..., Any],
    bank: PhotoBank,
    watch: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, _ = machines
    store = replace(first, shared=str(tmp_path / "shared"))
    config = tiny_study(
        study__trials=3,
        pruner__name="none",
        base__train=ONE_STEP_AN_EPOCH,
        base__train__epochs=200,
        base__eval__every_epochs=50,
    )
    run_study(config, store, bank=bank, observer=watch(stop_after=(0, 3)))
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    programs = Path(sys.executable).parent  # `study`
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    asked = ["--jobs", "2", "--go", "--hours", "1", "--option", f"output={tmp_path}/%a.txt"]
    said = shell("submit", "tiny", "--slurm", *asked, *options(first))
    assert "Submitted batch job" in said.stdout
    job = said.stdout.split()[3]

    def slurm_says(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout

    study = load_optuna_study(store, "tiny")

    def running() -> int:
        return sum(trial.state == TrialState.RUNNING for trial in study.get_trials())

    wait_for(lambda: running() == 2)
    # A job that is cancelled gives its trial back and does not come again.
    slurm_says("scancel", f"{job}_0")
    wait_for(lambda: f"{job}_0" not in slurm_says("squeue", "-h", "-r", "-o", "%i", "-j", job))
    # The script may still be writing when the queue no longer lists its job.
    wait_for(lambda: "stopped at" in (tmp_path / "0.txt").read_text())
    wait_for(lambda: running() == 1)
    # As before the end of its time: the worker gives its trial back, and the job is queued again.
    slurm_says("scancel", "--batch", "--signal=USR1", f"{job}_1")
    wait_for(lambda: "Restarts=1" in slurm_says("scontrol", "show", "job", f"{job}_1"))
    # Slurm lets it wait for two minutes, because a job that starts again within the second in which
    # it ended is killed ("Job credential revoked").
    slurm_says("scontrol", "update", f"JobId={job}_1", "StartTime=now+3")
    wait_for(
        lambda: (
            all(t.state == TrialState.COMPLETE for t in study.get_trials())
            and len(study.get_trials()) == 3
        )
    )
    wait_for(lambda: not slurm_says("squeue", "-h", "-j", job).strip())
    text = "".join(path.read_text() for path in tmp_path.glob("[01].txt"))
    assert "Traceback" not in text
    assert "a-password" not in text
