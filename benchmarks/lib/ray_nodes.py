"""A Ray cluster of several nodes on this machine, for benchmarks and tests."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psutil

NICENESS = "RAY_worker_niceness"
STORE_BYTES = 100_000_000
"""Of each node's object store; Ray's default is a third of the memory."""
NEW_MOUNTS = 0x00020000
"""Linux: the calling thread gets a list of mounts of its own (CLONE_NEWNS)."""
NEW_ROOT = 0x00000200
"""Linux: the calling thread gets a root and a current folder of its own (CLONE_FS)."""


class Nodes:
    """A head that runs nothing, and nodes that can be lost and added."""

    def __init__(self, cluster: Any, cpus: int, memory_gib: int, folder: Path | None) -> None:
        self.cluster, self.cpus, self.memory_gib = cluster, cpus, memory_gib
        self.folder = folder
        self._numbers = count(1)

    @property
    def address(self) -> str:
        """What `--address` takes."""
        return str(self.cluster.address)

    @property
    def working(self) -> list[Any]:
        """The nodes that run actors."""
        return [it for it in self.cluster.list_all_nodes() if it != self.cluster.head_node]

    def add(self) -> None:
        """Add a node. What it says it has need not be there."""
        with ExitStack() as stack:
            if self.folder:
                own = self.folder.with_name(f"{self.folder.name}-of-node-{next(self._numbers)}")
                own.mkdir()
                stack.enter_context(mounted_over(self.folder, own))
            self.cluster.add_node(
                num_cpus=self.cpus, memory=self.memory_gib << 30, object_store_memory=STORE_BYTES
            )

    def remove(self, node: Any) -> None:
        """Kill a node with all that it runs."""
        self.cluster.remove_node(node, allow_graceful=False)


@contextmanager
def ray_nodes(
    nodes: int, cpus: int, memory_gib: int = 8, folder: Path | None = None
) -> Iterator[Nodes]:
    """Start a cluster with so many nodes of so many processors; end it at the end.

    `folder` is one that every node has for itself, as on a disk of its own (see `has_mounts`).
    """
    from ray.cluster_utils import Cluster

    before = os.environ.get(NICENESS)
    os.environ[NICENESS] = "0"  # beside other programs it would hardly run at Ray's 15
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        made = Nodes(cluster, cpus, memory_gib, folder)
        for _ in range(nodes):
            made.add()
        cluster.wait_for_nodes()
        yield made
    finally:
        cluster.shutdown()
        del os.environ[NICENESS]
        if before is not None:
            os.environ[NICENESS] = before


def actors() -> list[psutil.Process]:
    """The processes of workers on this process's nodes; another cluster may run beside it."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::RayWorker"):
                found.append(process)
    return found


def has_mounts() -> bool:
    """Whether this process may mount one folder over another: Linux, as root."""
    try:
        done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def mounted_over(folder: Path, other: Path) -> Iterator[None]:
    """Show `other` in place of `folder` to this thread and the processes that it starts."""
    libc, cwd = ctypes.CDLL(None, use_errno=True), Path.cwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        if libc.unshare(NEW_MOUNTS):
            raise OSError(ctypes.get_errno(), "cannot have mounts of one's own")
        for command in (["--make-rprivate", "/"], ["--bind", str(other), str(folder)]):
            subprocess.run(["mount", *command], check=True)
        yield
    finally:
        # Threads that began meanwhile share the folder `/`, which would change under them.
        left = libc.unshare(NEW_ROOT) or libc.setns(before, NEW_MOUNTS)
        os.close(before)
        os.chdir(cwd)  # it became the root
        if left:
            raise OSError(ctypes.get_errno(), "cannot have the mounts of before")
