"""What a launch shows of its study: leaderboard, pictures and best config, in MLflow, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dcgan.config.settings import save_config
from study.results.checkpoints import remove_checkpoints
from study.results.contact_sheet import draw_contact_sheet
from study.results.export import export_config, header_of
from study.results.leaderboard import Row, as_markdown, rows_of
from study.running.context import Workbench
from study.search.objective import is_pareto
from study.storage.locks import running
from study.storage.optuna_db import finished_count
from study.tracking.catch_up import catch_up
from study.tracking.experiment import NOTE_ROWS


@contextmanager
def parent_status(bench: Workbench) -> Iterator[None]:
    """Show in MLflow that the study runs, and afterwards whether its total is reached."""
    with bench.mirroring():
        bench.tracker.set_status(bench.parent_run_id, "RUNNING")
    try:
        yield
    finally:
        done = finished_count(bench.study) >= bench.config.study.trials
        if done or not running(bench.folder):
            with bench.mirroring():
                bench.tracker.set_status(bench.parent_run_id, "COMPLETE" if done else "WAITING")


def catch_up_mirror(bench: Workbench) -> bool:
    """Show in MLflow what an earlier launch could not: it was cut off, or MLflow was away.

    Returns:
        Whether there was anything.
    """
    states = {trial.number: trial.state.name for trial in bench.study.get_trials(deepcopy=False)}
    delivered = 0
    with bench.mirroring():
        delivered = catch_up(
            bench.tracker,
            bench.parent_run_id,
            bench.folder,
            bench.config.objective,
            states,
            bench.claims.is_held,
            unfinished=False,
        )
    return delivered > 0


def is_stale(bench: Workbench) -> bool:
    """Whether an earlier launch ended before it had published its last trial."""
    folder = bench.folder
    current = folder.leaderboard.read_text(encoding="utf-8") if folder.leaderboard.exists() else ""
    missing = not folder.contact_sheet.exists()
    status = None
    with bench.mirroring():
        status = bench.tracker.run_status(bench.parent_run_id)
    return missing or current != _note(bench, rows_of(bench.study)) or status == "RUNNING"


def _note(bench: Workbench, rows: list[Row]) -> str:
    return f"# {bench.config.study.name}\n\n{as_markdown(rows)}"


def publish(bench: Workbench) -> None:
    """Write leaderboard, contact sheet and best config, and show them in MLflow."""
    with bench.claims.alone("publishing"):
        _publish_alone(bench)


def _publish_alone(bench: Workbench) -> None:
    rows, folder = rows_of(bench.study), bench.folder
    folder.leaderboard.write_text(_note(bench, rows), encoding="utf-8")
    draw_contact_sheet(rows, folder)
    if not is_pareto(bench.study) and any(row.state == "COMPLETE" for row in rows):
        best = export_config(bench.study)
        save_config(best, folder.best, header_of(best))
    with bench.mirroring():
        files = [folder.config, folder.leaderboard, folder.contact_sheet, folder.best]
        bench.tracker.publish_study(bench.parent_run_id, _note(bench, rows[:NOTE_ROWS]), files)
    remove_checkpoints(bench.study, folder, bench.config.checkpoints.keep)
