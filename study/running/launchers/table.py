"""The ways to run a study's trials, by name. A new one is a function in a file of its own."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from dcgan.config.settings import nearest
from dcgan.errors import UsageError
from study.config.study_config import StudyConfig
from study.running.context import StudyContext
from study.running.launchers.supervisor import Supervisor
from study.running.observer import TrialEnded
from study.running.worker import work
from study.storage.store import Store


class Launcher(Protocol):
    """Runs trials of an opened study until its total is finished or the observer asks to stop.

    Each worker claims its trials itself (`StudyContext.claims`), so that no trial is given out
    twice, even if other processes run the study. The launcher passes every event on to
    `context.observer`. It releases all it has started when its generator is closed.
    """

    def __call__(self, context: StudyContext, workers: int) -> Generator[TrialEnded, None, None]:
        """Yield each trial's end, after the observer was told.

        `workers` trials run at the same time. Raises `StudyError` if no worker is left.
        """


LAUNCHERS: dict[str, Launcher] = {
    "here": lambda context, workers: work(context),
    "processes": lambda context, workers: Supervisor(context, workers).run(),
    "ray": lambda context, workers: _on_ray(context, workers),
}


def _on_ray(context: StudyContext, workers: int) -> Generator[TrialEnded, None, None]:
    from study.running.launchers.ray_cluster import run_on_ray

    return run_on_ray(context, workers)


def check_launcher(config: StudyConfig, store: Store, *, joining: bool) -> None:
    """Raise `UsageError` for a launcher that there is not, or that cannot work here."""
    launcher_for(config.study.launcher, 1, joining=joining)
    if config.study.launcher == "ray":
        from study.running.launchers.ray_connection import check_cluster

        check_cluster(config.study.address, store)


def launcher_for(name: str, workers: int, *, joining: bool) -> Launcher:
    """The launcher of a name; `auto` means workers of their own for several or a joined machine.

    Raises `UsageError` if there is no such launcher.
    """
    if name == "auto":
        name = "processes" if workers > 1 or joining else "here"
    if name not in LAUNCHERS:
        hint = nearest(name, ["auto", *LAUNCHERS])
        raise UsageError(f"study.launcher: there is no launcher '{name}'{hint}")
    return LAUNCHERS[name]
