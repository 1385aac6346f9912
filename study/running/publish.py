"""What a launch shows of its study: leaderboard, pictures and best config, in MLflow, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.trial import TrialState

from dcgan.runtime.files import write_text_atomic
from study.results.checkpoints import remove_checkpoints
from study.results.contact_sheet import draw_contact_sheet
from study.results.export import export_config, write_export
from study.results.leaderboard import as_markdown, rows_of
from study.running.context import StudyContext
from study.running.travel import drop_shared_checkpoints
from study.search.objective import is_pareto
from study.storage.locks import running
from study.storage.trial_result import TrialResult


@contextmanager
def parent_status(context: StudyContext) -> Iterator[None]:
    """Show in MLflow that the study runs, and afterwards whether its total is reached."""
    with context.mirroring():
        context.tracker.set_parent_state("RUNNING")
    try:
        yield
    finally:
        done = not context.left
        if done or not running(context.folder):
            with context.mirroring():
                context.tracker.set_parent_state("COMPLETE" if done else "WAITING")


def is_stale(context: StudyContext) -> bool:
    """Whether an earlier launch ended before it had published its last trial."""
    folder = context.folder
    current = folder.leaderboard.read_text(encoding="utf-8") if folder.leaderboard.exists() else ""
    missing = not folder.contact_sheet.exists()
    status, rows = None, rows_of(context.study)
    with context.mirroring():
        from study.tracking.experiment import has_views

        status = context.tracker.parent_status()
        scored = any(row.score is not None for row in rows)
        if scored and not has_views(context.store, context.tracker.experiment_id):
            status = "RUNNING"  # published by a release without views
    return missing or current != _note(context, rows) or status == "RUNNING"


def _note(context: StudyContext, rows: list[TrialResult]) -> str:
    return f"# {context.config.study.name}\n\n{as_markdown(rows)}"


def publish(context: StudyContext) -> None:
    """Write leaderboard, contact sheet and best config, and show them in MLflow."""
    with context.claims.alone("publishing"):
        _publish_alone(context)


def _publish_alone(context: StudyContext) -> None:
    rows, folder = rows_of(context.study), context.folder
    write_text_atomic(folder.leaderboard, _note(context, rows))
    draw_contact_sheet(rows, folder, context.rungs.epochs[0] if context.rungs else None)
    if not is_pareto(context.study) and any(row.state == TrialState.COMPLETE for row in rows):
        write_export(export_config(context.study), folder.best)
    with context.mirroring():
        from study.tracking.study_page import publish as publish_in_mlflow

        publish_in_mlflow(context.tracker)
    with context.claims.alone():  # else a trial might go on between the looks at all trials
        useless = remove_checkpoints(context.study, folder, context.config.checkpoints)
    drop_shared_checkpoints(context, useless)
