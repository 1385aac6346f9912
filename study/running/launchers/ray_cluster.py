"""The launcher `ray`: a worker is an actor on a Ray cluster.

Ray places the actors by processors, GPUs and memory, notices when one or its node is lost, and
carries the photos to each node once. The trials are claimed by the workers as always, so what was
being run is continued by whoever claims it next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

from dcgan.data.bank import PhotoBank
from study.errors import StudyError
from study.running.context import StudyContext
from study.running.launchers.pipe import decode
from study.running.launchers.ray_connection import connect, quiet
from study.running.launchers.ray_worker import FAILED, FINISHED, RayWorker
from study.running.launchers.supervisor import GRACE_SECONDS, RestartPolicy
from study.running.observer import TrialBegan, TrialEnded, WorkerPlaced
from study.running.resources import WORKER_BYTES, trials_per_gpu
from study.running.worker import Job

POLL_SECONDS = 0.2
"""Between two checks for a stop request, while no event arrives."""
LOOK_SECONDS = 5.0
"""Between two looks how many workers the cluster has room for."""
PATIENCE_SECONDS = 30.0
"""After which a person is told that a worker waits for room."""
PASSED_ON = ("DCGAN_", "AWS_", "AZURE_", "FSSPEC_", "GOOGLE_", "MLFLOW_", "PG")
"""How the names of environment variables begin that workers get from this process. Proxies are not
among them: those of a node are its own."""


def run_on_ray(context: StudyContext, workers: int) -> Generator[TrialEnded, None, None]:
    """The launcher. With `--workers auto` there are as many as the cluster has room for.

    Raises `UsageError` without Ray or a cluster, and `StudyError` if no worker is left.
    """
    ray = connect(context.config.study.address)
    try:
        with quiet():
            yield from RayLauncher(ray, context, workers).run()
    finally:
        ray.shutdown()


@dataclass
class Worker:
    """One worker, as the driver sees it."""

    number: int
    actor: Any
    running: Any
    """The future of all that it does; None once it has ended."""
    poll: Any
    """The future of its next events."""
    began: float
    node: str = ""
    """Ray's id of its node; empty until it is placed."""
    heard: int = 0
    """How many lines it has told."""
    trial: int | None = None
    restarts: int = 0
    """Deaths and failures of its number since it last finished a trial."""
    told: bool = False
    """Whether a person knows that it waits for room."""


class RayLauncher:
    """The workers of one launch."""

    def __init__(self, ray: Any, context: StudyContext, workers: int) -> None:
        self.ray, self.context, self.workers = ray, context, workers
        self.policy = RestartPolicy()
        self.job = asdict(Job.of(context))
        self.bank = ray.put(as_arrays(context.bank))
        self.each = resources_of(ray, context)
        self.crew: dict[int, Worker] = {}
        """Number → worker."""
        self.given_up: set[int] = set()
        self.last_reason = ""
        self.stop_at: float | None = None
        """Until when workers may save a checkpoint, once a stop was asked for."""
        self._heard_out_by: float | None = None
        """Until when workers may tell of their last trials, once nothing is left."""
        self._next_look = self._next_count = 0.0
        self._has_no_room = False

    def run(self) -> Generator[TrialEnded, None, None]:
        """Run until the total is finished, a stop is asked for, or no worker is left."""
        try:
            while not self._is_over():
                self._hear_stop()
                self._start_missing()
                yield from self._listen()
        except GeneratorExit:  # the study ends early: trials that are underway can go on later
            self._stop_all()
            while self.crew and self.stop_at and time.monotonic() < self.stop_at:
                for _ in self._listen():
                    pass
            raise
        finally:
            for worker in self.crew.values():
                self.ray.kill(worker.actor)
        if self.stop_at is None and self.context.left:
            raise StudyError(
                f"all workers have died; the last one: {self.last_reason}; what is finished is "
                "kept, and the same command continues"
            )

    def _is_over(self) -> bool:
        if self.stop_at is not None:
            return not self.crew or time.monotonic() >= self.stop_at
        busy = any(worker.trial is not None for worker in self.crew.values())
        now = time.monotonic()
        if busy and now < self._next_count:
            return False
        self._next_count = now + LOOK_SECONDS
        if self.context.left:
            self._heard_out_by = None
            return not self.crew and len(self.given_up) >= self.workers
        # A worker that has begun finds nothing left and says so, after all events of its trials.
        # One that is frozen never does; its trial was ended elsewhere. Others may still
        # deliver what MLflow missed (`deliver_missed`).
        if self._heard_out_by is None:
            self._heard_out_by = now + GRACE_SECONDS
        has_begun = any(worker.node for worker in self.crew.values())
        return not has_begun or now >= self._heard_out_by

    def _hear_stop(self) -> None:
        if self.stop_at is None and self.context.should_stop():
            self._stop_all()

    def _stop_all(self) -> None:
        """Let workers save a checkpoint and end."""
        self.stop_at = time.monotonic() + GRACE_SECONDS
        for worker in list(self.crew.values()):
            if worker.node:
                worker.actor.stop.remote()
            else:  # it has not begun
                self._leave(worker)

    def _listen(self) -> Iterator[TrialEnded]:
        """Hear what workers tell, for a moment."""
        polls = {worker.poll: worker for worker in self.crew.values()}
        ends = {worker.running: worker for worker in self.crew.values() if worker.running}
        if not polls:
            time.sleep(POLL_SECONDS)
            return
        ready, _ = self.ray.wait([*polls, *ends], timeout=POLL_SECONDS)
        for future in ready:
            if future in polls:
                yield from self._heard(polls[future], future)
            else:
                self._has_ended(ends[future], future)

    def _has_ended(self, worker: Worker, future: Any) -> None:
        """All that a worker does has ended; its last line says why unless it never began."""
        worker.running = None
        try:
            self.ray.get(future)
        except self.ray.exceptions.RayTaskError as error:
            if self.crew.get(worker.number) is worker:
                self._ended(worker, last_line(error))
        except self.ray.exceptions.RayError:
            pass  # it is gone: asked for its events, it says so

    def _heard(self, worker: Worker, future: Any) -> Iterator[TrialEnded]:
        if self.crew.get(worker.number) is not worker:  # it has left meanwhile
            return
        try:
            node, address, first, lines = self.ray.get(future)
        except self.ray.exceptions.ActorUnavailableError:  # the network, for a moment
            worker.poll = worker.actor.events.remote(worker.heard)
            return
        except self.ray.exceptions.RayError as error:
            self._died(worker, error)
            return
        tell = self.context.observer.tell
        lines = lines[worker.heard - first :]
        worker.heard += len(lines)
        worker.poll = worker.actor.events.remote(worker.heard)
        if not worker.node:
            worker.node = node
            tell(WorkerPlaced(address), worker.number)
        for line in lines:
            if line == FINISHED:
                self._leave(worker)
            elif line.startswith(FAILED):
                self._ended(worker, line.removeprefix(FAILED))
            elif event := decode(line):
                tell(event, worker.number)
                if isinstance(event, TrialBegan):
                    worker.trial = event.trial
                if isinstance(event, TrialEnded):
                    worker.trial, worker.restarts = None, 0
                    yield event

    def _died(self, worker: Worker, error: Exception) -> None:
        """Its process is gone, for a reason of its own or with its node."""
        alive = {it["NodeID"] for it in self.ray.nodes() if it["Alive"]}
        gone = bool(worker.node) and worker.node not in alive
        lost = gone or bool(getattr(error, "preempted", False))
        reason = "its node is gone" if lost else last_line(error)
        if worker.trial is not None and not lost:
            self.context.claims.count_death(worker.trial)
        self._ended(worker, reason, blameless=lost)

    def _ended(self, worker: Worker, reason: str, *, blameless: bool = False) -> None:
        """A worker has ended before it should: start it again, unless it keeps doing so."""
        self._leave(worker)
        self.last_reason = reason
        if self.stop_at is not None:
            return
        restarts = worker.restarts + (not blameless)
        what = f"given up after {self.policy.max_restarts} restarts"
        if self.policy.gives_up_worker(restarts):
            self.given_up.add(worker.number)
        else:
            self._start(worker.number, restarts)
            what = "it is started again"
        on = "" if worker.trial is None else f" in trial {worker.trial}"
        self.context.warn(f"worker {worker.number} died{on}: {reason}; {what}")

    def _leave(self, worker: Worker) -> None:
        """Free what a worker holds of the cluster."""
        del self.crew[worker.number]
        self.ray.kill(worker.actor)

    def _start_missing(self) -> None:
        """Start workers until there are as many as are wanted and have room."""
        now = time.monotonic()
        if self.stop_at is not None or now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        room = self._room()
        auto = self.context.config.study.workers == "auto"
        self.workers = max(1, room) if auto else self.workers
        if room == 0 and not self._has_no_room:
            self.context.warn(f"no node of the cluster has {self._needs()}; workers wait for one")
        self._has_no_room = room == 0
        # A number of workers is asked for at once: a cluster may add nodes for those that wait.
        wanted = min(self.workers - len(self.given_up), self.context.left)
        wanted = min(wanted, room) if auto else wanted
        free = (it for it in count(1) if it not in self.crew and it not in self.given_up)
        while len(self.crew) < wanted:
            self._start(next(free))
        for worker in self.crew.values():
            if not (worker.node or worker.told) and now - worker.began > PATIENCE_SECONDS:
                worker.told = True
                self.context.warn(
                    f"worker {worker.number} waits until {self._needs()} are free on a node"
                )

    def _needs(self) -> str:
        gpu = " and a share of a GPU" if self.each["num_gpus"] else ""
        gib = self.each["memory"] / 2**30
        cpus = self.each["num_cpus"]
        return f"{cpus} processor{'' if cpus == 1 else 's'}, {gib:.1f} GiB of memory{gpu}"

    def _room(self) -> int:
        """How many workers fit on the nodes of the cluster if nothing else runs there."""
        asked = {"CPU": self.each["num_cpus"], "GPU": self.each["num_gpus"]}
        asked |= {"memory": self.each["memory"], **self.each["resources"]}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        fits = (
            min(int(node.get(key, 0) / need + 1e-6) for key, need in asked.items() if need)
            for node in nodes
        )
        return sum(fits)

    def _start(self, number: int, restarts: int = 0) -> None:
        options = {"max_restarts": 0, "max_concurrency": 3, **self.each}
        # Three threads: it works, tells events, and hears a stop.
        actor = self.ray.remote(RayWorker).options(**options).remote()
        running = actor.run.remote(self.job, self.bank, passed_on())
        poll, now = actor.events.remote(0), time.monotonic()
        self.crew[number] = Worker(number, actor, running, poll, now, restarts=restarts)


def resources_of(ray: Any, context: StudyContext) -> dict[str, Any]:
    """What a worker reserves of its node."""
    config = context.config
    on_gpu = context.extractor.device.type == "cuda"
    asked: dict[str, Any] = {
        "num_cpus": config.base.train.threads or 1,
        "num_gpus": 1 / trials_per_gpu(config) if on_gpu else 0,
        "memory": WORKER_BYTES,
        "resources": {},
    }
    if context.store.has_databases:  # files of this machine, which no other one reaches
        asked["resources"] = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return asked


def last_line(error: Exception) -> str:
    """The end of what Ray says, where the cause is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def as_arrays(bank: PhotoBank) -> PhotoBank:
    """The photos with a numpy array of their pixels, which processes of a node share."""
    return replace(bank, images=bank.images.numpy())  # type: ignore[arg-type]


def passed_on() -> dict[str, str]:
    """The variables of this process that its workers need, wherever they are."""
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
