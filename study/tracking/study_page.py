"""What MLflow shows of a whole study: its run with description, curves and files, and its views."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from dcgan.evaluation.metrics.parts import JOINED
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_evals
from study.tracking.client import Metric
from study.tracking.experiment import KIND, Tracker
from study.tracking.run_mirror import LOG10, TERMINAL_STATUSES
from study.tracking.views import OBJECTIVE, TRIALS_ONLY, Space, view_tags
from study.tracking.words import rank_line, study_note, without_rank

RANKED = 20
"""So many of the best trials say their rank."""
PAGE = 1000
"""Runs that are read at once."""
NOTE = "mlflow.note.content"


def publish(tracker: Tracker) -> None:
    """Bring the study's run, its experiment and its views up to date."""
    client, folder, run_id = tracker.client, tracker.folder, tracker.parent_run_id
    for file in (folder.config, folder.leaderboard, folder.contact_sheet, folder.best):
        if file.exists():
            client.log_artifact(run_id, str(file))
    runs = _runs(tracker)
    _publish_progress(tracker, runs)
    if tracker.config.objective.mode == "score":  # a front has no ranks
        _publish_ranks(tracker, runs)
    note = study_note(tracker.config, folder.leaderboard.read_text(encoding="utf-8"))
    client.set_tag(run_id, NOTE, note)
    client.set_experiment_tag(tracker.experiment_id, NOTE, note)
    _publish_views(tracker, runs)


def _runs(tracker: Tracker) -> list[Any]:
    """The runs of all trials, best objective first, then those without one."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = tracker.client.search_runs(
            [tracker.experiment_id],
            TRIALS_ONLY,
            max_results=PAGE,
            order_by=[f"metrics.`{OBJECTIVE}` ASC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            return found


def _publish_progress(tracker: Tracker, runs: Sequence[Any]) -> None:
    """A point of the study's curves for each number of finished trials."""
    counts = Counter(run.info.status for run in runs)
    finished = counts["FINISHED"] + counts["KILLED"] + counts["FAILED"]
    shown = tracker.client.get_run(tracker.parent_run_id).data.metrics
    if not finished:
        return
    values = {
        "trials_finished": finished,
        "trials_pruned": counts["KILLED"],
        "trials_failed": counts["FAILED"],
        "trial_minutes": sum(run.data.metrics.get("minutes", 0.0) for run in runs),
    }
    if objectives := [it for run in runs if (it := run.data.metrics.get(OBJECTIVE)) is not None]:
        values["best_score"] = min(objectives)
    # A trial that goes on from a rung brings the count of finished ones back to what it was.
    if all(shown.get(key) == value for key, value in values.items()):
        return
    now = int(time.time() * 1000)
    metrics = [Metric(key, float(value), now, finished) for key, value in values.items()]
    tracker.client.log_batch(tracker.parent_run_id, metrics=metrics)


def _publish_ranks(tracker: Tracker, runs: Sequence[Any]) -> None:
    """The first line of the best trials' descriptions; those that lost their rank lose the line."""
    for rank, run in enumerate(runs, start=1):
        if run.info.status not in TERMINAL_STATUSES:
            continue  # its process still writes its description
        old = run.data.tags.get(NOTE, "")
        ranked = rank <= RANKED and OBJECTIVE in run.data.metrics
        new = (rank_line(rank) if ranked else "") + without_rank(old)
        if new != old:
            tracker.client.set_tag(run.info.run_id, NOTE, new)


def _publish_views(tracker: Tracker, runs: Sequence[Any]) -> None:
    tags: Mapping[str, str] = tracker.client.get_experiment(tracker.experiment_id).tags
    wanted, metrics = dict(KIND), {name for run in runs for name in run.data.metrics}
    if space := _space(tracker, runs, metrics):
        wanted |= view_tags(space, metrics, tags)
    for key, value in wanted.items():
        if tags.get(key) != value:
            tracker.client.set_experiment_tag(tracker.experiment_id, key, value)


def _space(tracker: Tracker, runs: Sequence[Any], metrics: set[str]) -> Space | None:
    """What the study's views show; `None` before the first score."""
    names = [tracker.config.short_name(key) for key in tracker.config.space]
    distance = distance_among(metrics, tracker.config.objective.metric)
    if distance is None:
        return None
    logs = {name: LOG10 + name for name in names if LOG10 + name in metrics}
    return Space(names, logs, distance, _first_step(tracker, runs))


def _first_step(tracker: Tracker, runs: Sequence[Any]) -> int:
    """The step of every trial's first score; 0 if trials differ in it, or none is scored here."""
    if "train.batch_size" in tracker.config.space:
        return 0
    for run in runs:
        number = int(run.data.tags["optuna.trial_number"])
        if scored := read_evals(RunFolder(tracker.folder.trial(number)).history):
            return scored[0].step
    return 0


def distance_among(metrics: Collection[str], kind: Literal["frechet", "kernel"]) -> str | None:
    """The trials' distance that a study minimises, among the names of their metrics in MLflow."""
    beginnings = ("eval/fd_", "eval/fid") if kind == "frechet" else ("eval/kd_", "eval/kid")
    parts = {f"eval/{name}" for name in JOINED} if "eval/fd_joint" in metrics else set()
    found = {name for name in metrics if name.startswith(beginnings)} - parts
    # Others are named after it, as in `…_raw`.
    return min(found, key=len, default=None)
