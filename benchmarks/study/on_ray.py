"""A real Ray cluster of several nodes on this machine: how fast, and what do kills cost?

    python -m benchmarks.study.on_ray trials [--trials 2000] [--nodes 4] [--actors-per-node 8]
    python -m benchmarks.study.on_ray kills [--kills 100]
    python -m benchmarks.study.on_ray lost-node [--times 5]
    python -m benchmarks.study.on_ray cats --data PHOTOS

`trials` runs a study through the launcher `ray` whose actors do everything that a trial needs from
the study's database and no training (as `benchmarks.study.coordination`, whose numbers it prints
for the same study). The rate is that after all actors have begun, because 32 processes that import
PyTorch share the processors of this machine. Every trial must exist once and be done by one actor.

`kills` runs small studies on toy cats on three nodes. At random moments an actor is killed, or a
node with all it runs (another one joins), or the launcher (SIGKILL, one in five times SIGTERM),
which is then started again. At the end Optuna and MLflow are compared trial by trial, as in
`benchmarks.study.faults`.

`lost-node` measures the time from the loss of a node to the first step of its trial on another one,
from the checkpoint that `--artifacts` has put into a shared folder. `cats` kills one of two nodes
while both train trials of the study in configs/cats.yaml on real photos, without rungs and for
fewer epochs.

In `kills`, `lost-node` and `cats` every node has the results folder on a disk of its own, which is
lost with it (a folder in mounts of its own; needs Linux and root). A node's trials wait until their
leases expire.

The databases are PostgreSQL and an MLflow server, which are started here.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.lib.ray_nodes import Nodes, actors, has_mounts, ray_nodes
from benchmarks.lib.servers import mlflow_server, postgres
from benchmarks.study import coordination
from benchmarks.study.faults import STUDY
from benchmarks.study.faults import inspect as inspect_mirrored
from dcgan.config.settings import override
from dcgan.data.bank import load_bank
from study.config.study_config import StudyConfig, load_study_config
from study.running.launchers import ray_cluster
from study.running.launchers.pipe import encode
from study.running.launchers.ray_worker import FAILED, FINISHED, RayWorker
from study.running.observer import (
    Event,
    LossesLogged,
    Observer,
    TrainingStarted,
    TrialEnded,
    Warned,
    WorkerPlaced,
)
from study.running.prepare import prepare
from study.running.study import run_study
from study.running.worker import Job
from study.storage.leases import LEASE_VARIABLE
from study.storage.store import Store

STUCK_SECONDS = 600.0
LONGER = {"base.train.epochs": 120, "base.eval.every_epochs": 20, "pruner.name": "none"}


def main() -> None:
    """Measure and print; exit with 1 if something was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    trials = commands.add_parser("trials", help="trials without training")
    trials.add_argument("--trials", type=int, default=2000)
    trials.add_argument("--nodes", type=int, default=4)
    trials.add_argument("--actors-per-node", type=int, default=8)
    kills = commands.add_parser("kills", help="actors, nodes and launchers die")
    kills.add_argument("--kills", type=int, default=100)
    kills.add_argument("--kills-per-study", type=int, default=8)
    kills.add_argument("--seed", type=int, default=0)
    lost = commands.add_parser("lost-node", help="how soon its trial goes on elsewhere")
    lost.add_argument("--times", type=int, default=5)
    cats = commands.add_parser("cats", help="real photos on two nodes, of which one is killed")
    cats.add_argument("--data", type=Path, required=True, help="folder of photos")
    cats.add_argument("--trials", type=int, default=4)
    cats.add_argument("--epochs", type=int, default=12)
    for command, seconds in ((kills, 5), (lost, 60), (cats, 60)):
        command.add_argument("--lease-seconds", type=int, default=seconds)
    arguments = parser.parse_args()
    if arguments.command != "trials":
        if not has_mounts():
            parser.error("nodes with disks of their own need Linux and root")
        os.environ[LEASE_VARIABLE] = str(arguments.lease_seconds)
    with servers() as store:
        if arguments.command == "trials":
            size = arguments.nodes, arguments.actors_per_node
            faults = without_training(store, arguments.trials, *size)
        elif arguments.command == "kills":
            rng = random.Random(arguments.seed)
            faults = campaign(store, arguments.kills, arguments.kills_per_study, rng)
        elif arguments.command == "lost-node":
            faults = lost_nodes(store, arguments.times)
        else:
            faults = real_cats(store, arguments.data, arguments.trials, arguments.epochs)
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


@contextmanager
def servers() -> Iterator[Store]:
    """A results folder whose databases and trials' folders are where all machines reach them."""
    with ExitStack() as stack:
        enter = stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        database, mlflow = enter(postgres()), enter(mlflow_server())
        store = Store.at(folder / "store", database.url, mlflow.uri, str(folder / "shared"))
        Path(folder / "shared").mkdir()
        store.create()
        yield store


def study_on(cluster: Nodes, name: str, changes: Mapping[str, Any]) -> StudyConfig:
    """The study of `benchmarks.study.faults` on a cluster; `changes` have dotted keys."""
    placed = {"study.launcher": "ray", "study.address": cluster.address, "study.name": name}
    return override(StudyConfig.model_validate(STUDY), placed | dict(changes))


class WithoutTraining(RayWorker):
    """Does all that trials need from the database."""

    def run(self, job: dict[str, Any], bank: Any, variables: dict[str, str]) -> None:
        """Claim trials until the total is finished."""
        os.environ |= variables
        what = Job(**job)
        store, config = (
            Store(Path(what.root), what.storage),
            StudyConfig.model_validate(what.config),
        )
        try:
            for number in coordination.without_training(store, config):
                self.write(encode(TrialEnded(number, "COMPLETE", None)))
            self.write(FINISHED)
        except Exception as error:
            self.write(FAILED + repr(error))


class Stopwatch(Observer):
    """When the last actor was placed, and when each trial ended."""

    def __init__(self) -> None:
        self.placed: list[float] = []
        self.ended: dict[int, list[float]] = {}

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Note the time."""
        if isinstance(event, WorkerPlaced):
            self.placed.append(time.perf_counter())
        if isinstance(event, TrialEnded):
            self.ended.setdefault(event.trial, []).append(time.perf_counter())


def without_training(store: Store, trials: int, nodes: int, each: int) -> list[str]:
    """Print the rates; return what is wrong."""
    watch, count = Stopwatch(), nodes * each
    changes = {"study.trials": trials, "study.workers": count, "sampler.name": "random"}
    with ray_nodes(nodes, cpus=each, memory_gib=2 * each) as cluster:
        config = study_on(cluster, "trials", changes)
        bank = load_bank(config.base.data)
        setattr(ray_cluster, "RayWorker", WithoutTraining)  # noqa: B010
        with prepare(config, store, bank, observer=watch) as plan:
            context = replace(plan.context, observer=watch)
            begun = time.perf_counter()
            for _ in ray_cluster.run_on_ray(context, count):
                print(f"\r{len(watch.ended)} trials", end="", file=sys.stderr)
            seconds = time.perf_counter() - begun
    done = [number for number, times in watch.ended.items() for _ in times]
    faults = coordination.inspect(store, trials, done, "trials")
    placed = max(watch.placed)
    if max(max(times) for times in watch.ended.values()) <= placed:
        raise SystemExit("all trials ended before the last actor had begun; give more --trials")
    later = [moment for times in watch.ended.values() for moment in times if moment > placed]
    rate = len(later) / (max(later) - placed)
    print(
        f"\n{trials} trials, {nodes} nodes with {each} actors each: {seconds:.0f} s with the start "
        f"of the actors; {len(later)} trials after it at {rate:.1f} trials/s"
    )
    return faults


class Launch:
    """`study run` in a process of its own, which may be killed."""

    def __init__(self, file: Path, store: Store, log: Path) -> None:
        addresses = [
            *("--store", str(store.root), "--storage", store.storage or ""),
            *("--tracking-uri", store.tracking or "", "--artifacts", store.shared or ""),
        ]
        command = [sys.executable, "-m", "study", "run", str(file), *addresses]
        with log.open("a") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        self.log = log

    def wait(self) -> int:
        """Its exit code; raises `SystemExit` if it hangs."""
        try:
            return self.process.wait(STUCK_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit(f"a launch hangs; it said:\n{self.log.read_text()}") from None


def campaign(store: Store, kills: int, most: int, rng: random.Random) -> list[str]:
    """Studies, until the kills are used up; returns what is wrong."""
    struck: Counter[str] = Counter()
    faults: list[str] = []
    number = 0
    with ray_nodes(3, cpus=1, folder=store.root) as cluster:
        while (left := kills - struck.total()) > 0:
            name = f"kills-{number}"
            found = disturb(cluster, store, name, min(left, most), struck, rng)
            faults += [f"{name}: {fault}" for fault in found]
            number += 1
            done = f"{number} studies, {struck.total()} kills, {len(faults)} faults"
            print(done, file=sys.stderr)
    parts = ", ".join(f"{count} of {victim}" for victim, count in sorted(struck.items()))
    print(f"{struck.total()} kills ({parts}) in {number} studies: {len(faults)} faults")
    return faults


def disturb(
    cluster: Nodes, store: Store, name: str, most: int, struck: Counter[str], rng: random.Random
) -> list[str]:
    """Run one study to its end, with kills on the way; returns what is wrong with it."""
    config = study_on(cluster, name, LONGER | {"study.workers": 2, "study.trials": 6})
    file, log = store.root / f"{name}.yaml", store.root / f"{name}.log"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    launch, before, of_actors = Launch(file, store, log), struck.total(), 0
    crashes = []
    while struck.total() - before < most:
        with suppress(subprocess.TimeoutExpired):
            launch.process.wait(rng.uniform(2.0, 20.0))
        if launch.process.poll() is not None:
            break
        victims = ["launcher", "node", *(["actor"] if of_actors < 2 else [])]
        victim = rng.choice(victims)
        if victim == "actor" and (alive := actors()):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(alive).pid, signal.SIGKILL)
            of_actors += 1
        elif victim == "node":
            cluster.remove(rng.choice(cluster.working))
            cluster.add()
        elif victim == "launcher":
            number = signal.SIGKILL if rng.random() < 0.8 else signal.SIGTERM
            launch.process.send_signal(number)
            launch.wait()
            launch = Launch(file, store, log)
        else:
            continue
        struck[victim] += 1
    if code := launch.wait():
        crashes.append(f"ended with {code}; it said:\n{log.read_text()[-3000:]}")
    return crashes + inspect_mirrored(store, name)


class LosesNodes(Observer):
    """Removes a node while it trains, and notes when its trials train elsewhere."""

    def __init__(self, cluster: Nodes, times: int, after_epoch: int) -> None:
        self.cluster, self.times, self.after_epoch = cluster, times, after_epoch
        self.struck: set[int] = set()
        """Trials in the middle of which a node was removed, its own or another."""
        self.begun: set[int] = set()
        self.lost_at: dict[int, float] = {}
        """Trials that were underway when a node was removed, until they go on."""
        self.again: list[tuple[int, int, float]] = []
        """Trials that went on, the step from which they did, and the seconds after the loss."""

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Act on what a worker tells."""
        far = isinstance(event, LossesLogged) and event.record.epoch > self.after_epoch
        if far and event.trial not in self.struck and len(self.struck) < self.times:
            self.struck.add(event.trial)
            for trial in self.begun:
                self.lost_at.setdefault(trial, time.perf_counter())
            self.lose()
        if isinstance(event, Warned):
            print(event.text, file=sys.stderr)
        if isinstance(event, TrainingStarted):
            if event.trial in self.begun:
                seconds = time.perf_counter() - self.lost_at.pop(event.trial)
                self.again.append((event.trial, event.done, seconds))
            self.begun.add(event.trial)
        if isinstance(event, TrialEnded):
            self.begun.discard(event.trial)

    def lose(self) -> None:
        """Remove a node. Another one joins, unless there is one left."""
        nodes = self.cluster.working
        self.cluster.remove(nodes[0])
        if len(nodes) == 1:
            self.cluster.add()


def lost_nodes(store: Store, times: int) -> list[str]:
    """Print how long a trial waits; return what is wrong."""
    with ray_nodes(1, cpus=1, folder=store.root) as cluster:
        changes = LONGER | {"study.trials": times, "base.train.epochs": 240}
        config, observer = study_on(cluster, "lost-node", changes), LosesNodes(cluster, times, 60)
        run_study(config, store, observer=observer)
    seconds = [it for _, _, it in observer.again]
    from_step_0 = sum(done == 0 for _, done, _ in observer.again)
    print(
        f"{len(seconds)} nodes lost: after {median(seconds):.1f} s (median; {min(seconds):.1f} to "
        f"{max(seconds):.1f}) the trial went on, {from_step_0} times from step 0"
    )
    return inspect_mirrored(store, "lost-node")


def real_cats(store: Store, photos: Path, trials: int, epochs: int) -> list[str]:
    """Kill one of two nodes in the middle; print what became of its trial; return what is wrong."""
    with ray_nodes(2, cpus=1, folder=store.root) as cluster:
        settings = {
            **{"study.launcher": "ray", "study.address": cluster.address, "study.workers": 2},
            **{"study.name": "cats-on-ray", "study.trials": trials, "budget.images": []},
            **{"base.data.root": str(photos.resolve()), "base.train.epochs": epochs},
            **{"base.train.threads": 1, "base.eval.every_epochs": epochs // 2},
            "base.train.checkpoint_every_epochs": 1,
        }
        config = load_study_config("configs/cats.yaml", settings)
        observer = LosesNodes(cluster, 1, epochs // 2)
        begun = time.perf_counter()
        done = run_study(config, store, observer=observer)
        seconds = time.perf_counter() - begun
    print(f"{done.finished} of {trials} trials in {seconds:.0f} s; one of two nodes was killed")
    for trial, step, later in observer.again:
        print(f"trial {trial} went on from step {step} on the other node after {later:.0f} s")
    faults = inspect_mirrored(store, "cats-on-ray")
    return faults if observer.again else [*faults, "no trial went on elsewhere"]


if __name__ == "__main__":
    main()
