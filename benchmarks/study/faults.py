"""A campaign of kills: what does a study lose when its processes die at random moments?

    python -m benchmarks.study.faults --kills 100 --workers 1
    python -m benchmarks.study.faults --kills 60 --workers 1 --launchers 2 --database postgres
    python -m benchmarks.study.faults --kills 100 --rungs

Small studies on toy cats are launched, disturbed and launched again until each is finished. A
random moment is drawn, then a victim (a launcher, one worker, or all processes) and a signal (four
in five times SIGKILL, else SIGTERM). After at most `--kills-per-study` kills a study finishes
undisturbed. Then Optuna and MLflow are compared trial by trial. If one worker does all trials,
every parameter, score and intermediate value must also equal those of an undisturbed study. With
`--rungs` the study has twice as many trials on three rungs, and no trial may be left that would go
on.

With `--launchers 2` two launches share each study. With `--database postgres` the study is in a
real PostgreSQL server, which must be installed. Workers are killed at most twice per study, because
a trial whose workers die three times is failed by design.

Launches are forks of this process, which has imported everything, so that kills hit a study at work
and not during its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mlflow.tracking import MlflowClient

from benchmarks.lib.servers import children, postgres
from study.cli.app import main as study_command
from study.search.rungs import Rungs, going_on, standings
from study.storage.attributes import study_config
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store
from study.tracking.run_mirror import STATUS

STUDY: dict[str, Any] = {
    "study": {"name": "faults", "trials": 4, "seed": 3},
    "space": {
        "model.nz": {"type": "int", "low": 4, "high": 16},
        "optim.lr_g": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "sampler": {"name": "tpe", "startup_trials": 2},
    "pruner": {"name": "median", "startup_trials": 1},
    "base": {
        "data": {"source": "toy_cats", "toy_count": 48, "image_size": 32},
        "model": {"nz": 8, "ngf": 8, "ndf": 8},
        "train": {"epochs": 24, "batch_size": 16, "device": "cpu", "threads": 1},
        "eval": {"extractor": "random", "n_samples": 64, "every_epochs": 4},
    },
}
RUNGS: dict[str, Any] = {
    "study": STUDY["study"] | {"trials": 8},
    "pruner": {"name": "none"},
    "budget": {"images": [192, 576, 1152]},  # epochs 4, 12, 24 of 48 photos
    "base": STUDY["base"] | {"train": {"batch_size": 16, "device": "cpu", "threads": 1}},
}
STUCK_SECONDS = 240.0


@dataclass
class Campaign:
    """What is disturbed, and how much."""

    config: Path
    folder: Path
    workers: int
    launchers: int
    database: str | None
    kills: int
    kills_per_study: int
    rng: random.Random

    def store(self, name: str) -> Store:
        """Of one study; in a server's database all lie beside each other."""
        return Store.at(self.folder / name, self.database)

    def launch(self, name: str) -> Launch:
        """Start `study run` on a study."""
        arguments = ["run", str(self.config), "--name", name, "--workers", str(self.workers)]
        arguments += ["--store", str(self.folder / name)]
        arguments += ["--storage", self.database] if self.database else []
        return Launch.of(arguments)


def main() -> None:
    """Disturb, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all")
    parser.add_argument("--kills-per-study", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of each launcher")
    parser.add_argument("--launchers", type=int, default=1, help="that share a study")
    parser.add_argument("--mode", choices=["score", "pareto"], default="score")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--rungs", action="store_true", help="trials wait, and some go on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        url = stack.enter_context(postgres()).url if arguments.database == "postgres" else None
        config = folder / "faults.yaml"
        study = STUDY | {"objective": {"mode": arguments.mode}}
        study |= RUNGS if arguments.rungs else {}
        config.write_text(yaml.safe_dump(study), encoding="utf-8")
        rows = []
        for workers in arguments.workers:
            campaign = Campaign(
                config,
                folder,
                workers,
                arguments.launchers,
                url,
                arguments.kills // len(arguments.workers),
                arguments.kills_per_study,
                random.Random(f"{arguments.seed} {workers}"),
            )
            rows.append(run(campaign))
    keys = ("seed", "mode", "database", "launchers", "rungs")
    asked = {key: getattr(arguments, key) for key in keys}
    if arguments.json:
        print(json.dumps(asked | {"rows": rows}, indent=2))
    else:
        print("  ".join(f"{key} {value}" for key, value in asked.items()))
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(any(row["faults"] for row in rows))


def run(campaign: Campaign) -> dict[str, Any]:
    """Studies, until the kills are used up."""
    alone = campaign.workers == campaign.launchers == 1
    if alone:
        campaign.launch("peace").wait()
        expected = essence(campaign.store("peace"), "peace")
    counts: Counter[str] = Counter()
    faults: list[str] = []
    number = 0
    while sum(counts.values()) < campaign.kills:
        name = f"faults-{campaign.workers}-{number}"
        store = campaign.store(name)
        most = min(campaign.kills - sum(counts.values()), campaign.kills_per_study)
        kills, found = disturb(campaign, name, most)
        counts.update(kills)
        found += inspect(store, name)
        if alone and essence(store, name) != expected:
            found.append("numbers differ from the undisturbed study's")
        faults += [f"study {number}: {fault}" for fault in found]
        for fault in found:
            print(f"study {number}: {fault}", file=sys.stderr)
        shutil.rmtree(store.root)
        number += 1
        done = f"{campaign.workers} workers: {sum(counts.values())} kills, {len(faults)} faults"
        print(done, file=sys.stderr)
    return {
        "workers": campaign.workers,
        "studies": number,
        "kills": sum(counts.values()),
        **dict(sorted(counts.items())),
        "faults": faults,
    }


def disturb(campaign: Campaign, name: str, most: int) -> tuple[Counter[str], list[str]]:
    """Run one study to its end, with kills on the way.

    Returns:
        The kills, and launches that ended in an error though nothing had struck them.
    """
    kills: Counter[str] = Counter()
    crashes = []
    launches = [campaign.launch(name) for _ in range(campaign.launchers)]
    while sum(kills.values()) < most:
        time.sleep(campaign.rng.uniform(0.0, 4.0 if campaign.workers == 1 else 14.0))
        if any(launch.poll() == 0 for launch in launches):  # the study has ended
            break
        struck = strike(launches, campaign.rng, kills)
        for launch in struck:
            launch.wait()
        failed = [launch for launch in launches if launch.poll() not in (None, 0)]
        crashes += [
            f"a launch that nothing struck ended with {launch.code}"
            for launch in failed
            if launch not in struck
        ]
        launches = [campaign.launch(name) if launch in failed else launch for launch in launches]
    for launch in launches:
        if code := launch.wait():
            raise SystemExit(
                f"{name}, which nothing disturbed any more, ended with {code}: {campaign.folder}"
            )
    return kills, crashes


def strike(launches: list[Launch], rng: random.Random, kills: Counter[str]) -> list[Launch]:
    """Send a signal to some of a study's processes.

    Returns:
        The launches that it was sent to.
    """
    alive = [launch for launch in launches if launch.poll() is None]
    workers = [pid for launch in alive for pid in children(launch.pid)]
    struck = sum(count for victim, count in kills.items() if victim.startswith("worker"))
    victims = ["all", "launcher", *(["worker"] if workers and struck < 2 else [])]
    victim = rng.choice(victims)
    number = signal.SIGKILL if rng.random() < 0.8 else signal.SIGTERM
    chosen = {"all": alive, "launcher": alive and [rng.choice(alive)], "worker": []}[victim]
    pids = [launch.pid for launch in chosen]
    if victim != "launcher":
        pids = [*workers, *pids] if victim == "all" else [rng.choice(workers)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    if pids:
        kills[f"{victim} {signal.Signals(number).name}"] += 1
    return chosen


@dataclass
class Launch:
    """A forked command."""

    pid: int
    code: int | None = None

    @classmethod
    def of(cls, arguments: list[str]) -> Launch:
        """Start `study` with these arguments."""
        if pid := os.fork():
            return cls(pid)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.argv = ["study", *arguments]
        code: Any = 1
        try:
            study_command()
            code = 0
        except SystemExit as end:
            code = end.code
        finally:
            os._exit(code if isinstance(code, int) else bool(code))

    def poll(self) -> int | None:
        """Its exit code, below 0 for a signal; None while it runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self) -> int:
        """Its exit code.

        Raises:
            SystemExit: it hangs.
        """
        deadline = time.monotonic() + STUCK_SECONDS
        while time.monotonic() < deadline:
            if (code := self.poll()) is not None:
                return code
            time.sleep(0.02)
        raise SystemExit(f"process {self.pid} has not ended for {STUCK_SECONDS:.0f} s")


def essence(store: Store, name: str) -> list[Any]:
    """What of every trial must not depend on what happened meanwhile."""
    return [
        (trial.number, trial.state.name, trial.params, trial.values, trial.intermediate_values)
        for trial in load_optuna_study(store, name).get_trials()
    ]


def inspect(store: Store, name: str) -> list[str]:
    """What is wrong with an ended study: lost, double, unfinished, or shown otherwise in MLflow."""
    study = load_optuna_study(store, name)
    config, trials = study_config(study), study.get_trials()
    total, rungs = config.study.trials, Rungs.of(config)
    faults = [] if len(trials) == total else [f"{len(trials)} trials instead of {total}"]
    faults += [f"trial {t.number} is {t.state.name}" for t in trials if not t.state.is_finished()]
    faults += [f"trial {t.number} failed" for t in trials if t.state.name == "FAIL"]
    if rungs:
        left = going_on(standings(trials, rungs), rungs, new=False)
        faults += [f"trial {number} would go on" for number in left]
    client = MlflowClient(tracking_uri=store.mlflow_uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'")
    by_number = {int(run.data.tags["optuna.trial_number"]): run for run in runs}
    if len(runs) != len(trials) or set(by_number) != {trial.number for trial in trials}:
        faults.append(f"{len(runs)} runs in MLflow for {len(trials)} trials")
    for trial in trials:
        run = by_number.get(trial.number)
        if run is None:
            continue
        if run.info.status != STATUS[trial.state.name]:
            faults.append(f"trial {trial.number} is {run.info.status} in MLflow")
        expected = None  # pruned: no objective is shown
        if trial.state.name == "COMPLETE":
            both = len(trial.values) == 2
            expected = trial.user_attrs["score"] if both else trial.value
        if run.data.metrics.get("objective") != expected:
            faults.append(f"trial {trial.number} has another objective in MLflow")
        for key in run.data.metrics:
            points = [
                (p.step, p.timestamp) for p in client.get_metric_history(run.info.run_id, key)
            ]
            if len(points) != len({step for step, _ in points}):
                faults.append(f"trial {trial.number} has points of {key} twice")
    return faults


if __name__ == "__main__":
    main()
