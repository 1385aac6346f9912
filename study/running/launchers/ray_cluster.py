"""The launcher `ray`: a worker is an actor on a Ray cluster.

Ray places the actors by processors, GPUs and memory, starts them again on another node when theirs
is lost, and carries the photos to each node once. The trials are claimed by the workers as always.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dcgan.data.bank import PhotoBank
from dcgan.errors import UsageError, first_line
from study.errors import StudyError
from study.running.context import StudyContext
from study.running.launchers.pipe import decode
from study.running.launchers.ray_worker import FAILED, FINISHED, RayWorker
from study.running.launchers.supervisor import GRACE_SECONDS, RestartPolicy
from study.running.observer import TrialBegan, TrialEnded, WorkerPlaced
from study.running.resources import WORKER_BYTES
from study.running.worker import Job

CONNECT_SECONDS = 5.0
POLL_SECONDS = 0.2
"""Between two checks for a stop request, while no event arrives."""
LOOK_SECONDS = 10.0
"""Between two looks how many workers the cluster has room for (`--workers auto`)."""
PASSED_ON = ("DCGAN_", "AWS_", "GOOGLE_")
"""How the names of environment variables begin that workers get from this process."""


def run_on_ray(context: StudyContext, workers: int) -> Generator[TrialEnded, None, None]:
    """The launcher. With `--workers auto` there are as many as the cluster has room for.

    Raises `UsageError` without Ray or a cluster, and `StudyError` if no worker is left.
    """
    ray = connect(context.config.study.address)
    try:
        yield from RayLauncher(ray, context, workers).run()
    finally:
        ray.shutdown()


def connect(address: str | None) -> Any:
    """Ray, connected to a cluster, or to one of this machine if there is no address."""
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UsageError("the launcher ray needs Ray: pip install 'dcgan-study[ray]'") from None
    if address and address != "auto":
        _check_answers(address)  # Ray itself waits for minutes, and then ends the process
    # A cluster that begins here: its workers are this machine's main work, not beside it.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(address or "this machine", first_line(error)) from None
    return ray


def _check_answers(address: str) -> None:
    """Raise `UsageError` unless something listens at `HOST:PORT` or `ray://HOST:PORT`."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        raise UsageError(f"--address {address} must be auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address, error.strerror or str(error)) from None


def _no_cluster(where: str, why: str) -> UsageError:
    return UsageError(
        f"no Ray cluster at {where} (--address): {why}; 'ray start --head' starts one, with the "
        "version of Ray that is installed here"
    )


@dataclass
class Crew:
    """One worker, as the driver sees it."""

    number: int
    actor: Any
    run: Any
    """The future of its work, which Ray starts again on another node if its own is lost."""
    poll: Any
    """The future of its next events."""
    incarnation: str = ""
    """Which process it is: another one after each death."""
    trial: int | None = None
    restarts: int = 0
    """Deaths and failures since it last finished a trial."""
    over: bool = False
    reason: str = field(default="", repr=False)


class RayLauncher:
    """The workers of one launch."""

    def __init__(self, ray: Any, context: StudyContext, workers: int) -> None:
        self.ray, self.context, self.workers = ray, context, workers
        self.policy = RestartPolicy()
        self.job = asdict(Job.of(context))
        self.bank = ray.put(as_arrays(context.bank))
        self.crews: list[Crew] = []
        self.stopping = False
        self._last_look = float("-inf")

    def run(self) -> Generator[TrialEnded, None, None]:
        """Run until the total is finished, a stop is asked for, or no worker is left."""
        try:
            yield from self._listen()
        finally:
            self._dismiss()
        if not self.stopping and self.context.left:
            reasons = [crew.reason for crew in self.crews if crew.reason]
            raise StudyError(
                f"all workers have ended; the last one: {reasons[-1] if reasons else 'unknown'}; "
                "what is finished is kept, and the same command continues"
            )

    def _listen(self) -> Iterator[TrialEnded]:
        self._start_missing()
        while any(not crew.over for crew in self.crews):
            if not self.stopping and self.context.should_stop():
                self.stopping = True
                for crew in self.crews:
                    crew.actor.stop.remote()
            self._start_missing()
            waiting = {crew.poll: crew for crew in self.crews if not crew.over}
            ready, _ = self.ray.wait(list(waiting), timeout=POLL_SECONDS)
            for future in ready:
                yield from self._heard(waiting[future], future)

    def _heard(self, crew: Crew, future: Any) -> Iterator[TrialEnded]:
        try:
            incarnation, node, lines = self.ray.get(future)
        except self.ray.exceptions.RayError as error:  # Ray has given the actor up
            crew.over, crew.reason = True, first_line(error)
            self.context.warn(f"worker {crew.number} ended: {crew.reason}")
            return
        crew.poll = crew.actor.events.remote()
        tell = self.context.observer.tell
        if incarnation != crew.incarnation:
            if crew.incarnation:
                self._died(crew, node)
            crew.incarnation = incarnation
            tell(WorkerPlaced(node), crew.number)
        for line in lines:
            if line == FINISHED:
                crew.over = True
            elif line.startswith(FAILED):
                self._failed(crew, line.removeprefix(FAILED).strip())
            elif event := decode(line):
                tell(event, crew.number)
                if isinstance(event, TrialBegan):
                    crew.trial = event.trial
                if isinstance(event, TrialEnded):
                    crew.trial, crew.restarts = None, 0
                    yield event

    def _died(self, crew: Crew, node: str) -> None:
        """Ray has started a worker again; its trial is continued by whoever claims it next."""
        trial, crew.trial = crew.trial, None
        on = "" if trial is None else f" in trial {trial}"
        self.context.warn(f"worker {crew.number} died{on}; Ray has started it again on {node}")
        if trial is not None:
            self.context.claims.count_death(trial)

    def _failed(self, crew: Crew, reason: str) -> None:
        """A worker that ended with an error starts again, unless it keeps failing."""
        crew.restarts, crew.reason, crew.trial = crew.restarts + 1, reason, None
        if self.stopping or self.policy.gives_up_worker(crew.restarts):
            crew.over = True
            what = f"given up after {self.policy.max_restarts} restarts"
        else:
            crew.run = crew.actor.run.remote(self.job, self.bank)
            what = "it is started again"
        self.context.warn(f"worker {crew.number} ended: {reason}; {what}")

    def _start_missing(self) -> None:
        """Start workers until there are as many as are wanted, or as the cluster has room for."""
        now = time.monotonic()
        if self.stopping or now - self._last_look < LOOK_SECONDS:
            return
        self._last_look = now
        wanted = min(self._wanted(), self.context.left)
        working = sum(not crew.over for crew in self.crews)
        for _ in range(wanted - working):
            if any(crew.over and not crew.reason for crew in self.crews):
                return  # one has found nothing to do
            self.crews.append(self._start(len(self.crews) + 1))

    def _wanted(self) -> int:
        if self.context.config.study.workers != "auto":
            return self.workers
        there, each = self.ray.cluster_resources(), self._resources()
        room = [int(there.get("CPU", 0) // each["num_cpus"])]
        if each["num_gpus"]:
            room.append(int(there.get("GPU", 0) / each["num_gpus"] + 1e-6))
        room.append(int(there.get("memory", 0) // each["memory"]))
        return max(1, min(room))

    def _start(self, number: int) -> Crew:
        actor_class = self.ray.remote(RayWorker).options(
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=3,  # it works, tells events, and hears a stop
            runtime_env={"env_vars": passed_on()},
            **self._resources(),
        )
        actor = actor_class.remote()
        run = actor.run.remote(self.job, self.bank)
        return Crew(number, actor, run, actor.events.remote())

    def _resources(self) -> dict[str, Any]:
        """What a worker reserves of its node."""
        config, context = self.context.config, self.context
        on_gpu = context.extractor.device.type == "cuda"
        share = 1 / config.study.trials_per_gpu if on_gpu else 0
        threads = config.base.train.threads or 1
        asked: dict[str, Any] = {"num_cpus": threads, "num_gpus": share, "memory": WORKER_BYTES}
        if context.store.has_databases:  # files of this machine, which no other one reaches
            own = self.ray.util.get_node_ip_address()
            asked["resources"] = {f"node:{own}": 0.001}
        return asked

    def _dismiss(self) -> None:
        """Let workers save a checkpoint, then end them."""
        for crew in self.crews:
            if not crew.over:
                crew.actor.stop.remote()
        pending = [crew.run for crew in self.crews if not crew.over]
        if pending:
            self.ray.wait(pending, num_returns=len(pending), timeout=GRACE_SECONDS)
        for crew in self.crews:
            self.ray.kill(crew.actor)


def as_arrays(bank: PhotoBank) -> PhotoBank:
    """The photos with a numpy array of their pixels, which processes of a node share."""
    return replace(bank, images=bank.images.numpy())  # type: ignore[arg-type]


def passed_on() -> dict[str, str]:
    """The variables of this process that its workers need, wherever they are."""
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
