"""A Ray cluster of several nodes on this machine, for benchmarks and tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

NICENESS = "RAY_worker_niceness"
STORE_BYTES = 100_000_000
"""Of each node's object store; Ray's default is a third of the memory."""


class Nodes:
    """A head that runs nothing, and nodes that can be lost and added."""

    def __init__(self, cluster: Any, cpus: int, memory_gib: int) -> None:
        self.cluster, self.cpus, self.memory_gib = cluster, cpus, memory_gib

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
        self.cluster.add_node(
            num_cpus=self.cpus, memory=self.memory_gib << 30, object_store_memory=STORE_BYTES
        )

    def remove(self, node: Any) -> None:
        """Kill a node with all that it runs."""
        self.cluster.remove_node(node, allow_graceful=False)


@contextmanager
def ray_nodes(count: int, cpus: int, memory_gib: int = 8) -> Iterator[Nodes]:
    """Start a cluster with so many nodes of so many processors; end it at the end."""
    from ray.cluster_utils import Cluster

    before = os.environ.get(NICENESS)
    os.environ[NICENESS] = "0"  # beside other programs it would hardly run at Ray's 15
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = Nodes(cluster, cpus, memory_gib)
        for _ in range(count):
            nodes.add()
        cluster.wait_for_nodes()
        yield nodes
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
