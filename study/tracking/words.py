"""What MLflow shows of a trial and of a study in words: names, descriptions, colours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dcgan.evaluation.record import in_digits
from study.config.dimensions import Choices, Dimension, plain
from study.config.study_config import StudyConfig
from study.storage.store import trial_name
from study.storage.trial_record import TrialRecord
from study.storage.trial_result import BASELINE, EXTENDED, REPEATED

RANK = re.compile(r"^\*\*Rank \d+\.\*\* ")
NOTE_ROWS = 20
"""Rows of the leaderboard in a study's description."""
NAMED = 3
"""How many of the values that differ stand in a name; the description has all."""
GOLD, GREY, RED = "#d4a017", "#b0b0b0", "#c0392b"
STOPPED = {"PRUNED": GREY, "FAIL": RED}
"""Colours of runs that did not finish. A baseline is gold; MLflow colours the others itself."""
OUTCOMES = {
    "RUNNING": "is running",
    "WAITING": "was interrupted and will be continued",
    "COMPLETE": "is complete",
    "PRUNED": "was stopped early",
    "FAIL": "failed",
}


def standard_of(config: StudyConfig) -> tuple[str, dict[str, Any]]:
    """What trials are compared with in words: name and parameters of the first baseline.

    Without baselines there is nothing to compare with.
    """
    if not config.baselines:
        return "", {}
    first = config.baselines[0]
    return first.name, config.baseline_params(first)


def run_name(record: TrialRecord, standard: Mapping[str, Any]) -> str:
    """Number, score, and the baseline's name or the first values that differ from the standard."""
    score = [] if record.score is None else [in_digits(record.score)]
    differs = [record.baseline] if record.baseline else _differences(record, standard)
    more = len(differs) - NAMED
    shown = ", ".join(differs[:NAMED]) + (f" +{more}" if more > 0 else "")
    return " · ".join([trial_name(record.number), *score, *filter(None, [shown])])


def note(record: TrialRecord, study: str, standard_name: str, standard: Mapping[str, Any]) -> str:
    """The description of a run, in Markdown; the rank is added when the study is published."""
    score = "" if record.score is None else f", score **{in_digits(record.score)}**"
    epoch = "" if record.best_epoch is None else f", best at epoch {record.best_epoch}"
    lines = [f"{trial_name(record.number)} {OUTCOMES[record.state]}{score}{epoch}."]
    if record.reason:
        lines.append(f"Reason: {record.reason}.")
    if record.origin == EXTENDED:
        lines.append(f"It continues {record.baseline}.")
    elif record.origin == REPEATED:
        lines.append(f"It repeats {record.baseline}.")
    elif record.baseline:
        lines.append(f"It is the baseline “{record.baseline}”.")
    elif differs := _differences(record, standard):
        lines.append(f"It differs from the baseline “{standard_name}” in {', '.join(differs)}.")
    if record.state in ("COMPLETE", "PRUNED"):
        lines.append(
            "Its pictures are among the *Artifacts*. "
            f"Train it in full: `study train {study} --trial {record.number}`."
        )
    return "\n\n".join(lines)


def colour(record: TrialRecord) -> str | None:
    """The colour of a run, as #rrggbb; `None` leaves it to MLflow."""
    return GOLD if record.origin == BASELINE else STOPPED.get(record.state)


def rank_line(rank: int) -> str:
    """The first line of the description of one of the best trials."""
    return f"**Rank {rank}.** "


def without_rank(text: str) -> str:
    """A description without that line."""
    return RANK.sub("", text)


def study_params(config: StudyConfig) -> dict[str, str]:
    """The parameters of a study's run: what is searched, how, on which data."""
    base, budget = config.base, config.budget
    images = ", ".join(f"{count:,}" for count in budget.images)
    rungs = {"rungs": f"{images} images, {budget.keep:.0%} go on"} if images else {}
    return {
        **{f"search.{config.short_name(key)}": _extent(it) for key, it in config.space.items()},
        "sampler": config.sampler.name,
        "pruner": config.pruner.name,
        "objective": f"{config.objective.metric}, {config.objective.mode}",
        "epochs": str(base.train.epochs),
        **rungs,
        "image_size": str(base.data.image_size),
        "photos": base.data.source if base.data.root is None else base.data.root.name,
        "extractor": base.eval.extractor,
    }


def study_note(config: StudyConfig, leaderboard: str) -> str:
    """The description of a study: where to look, and the best of its leaderboard.

    MLflow cuts descriptions at 8000 characters; the whole leaderboard is an artifact.
    """
    title, _, table = leaderboard.partition("\n\n")
    name = config.study.name
    guide = (
        "Open one of the *views* at the top right of the runs page: **Leaderboard**, **Samples** "
        "or **What mattered**. The artifacts of this study's run have the contact sheet and the "
        f"best config. Train it in full: `study train {name}`."
    )
    lines = table.splitlines()
    rest = len(lines) - 2 - NOTE_ROWS
    more = [f"\n{rest} more trials are in `leaderboard.md`."] if rest > 0 else []
    return "\n".join([title, "", guide, "", *lines[: NOTE_ROWS + 2], *more])


def _extent(dimension: Dimension) -> str:
    if isinstance(dimension, Choices):
        return ", ".join(str(choice) for choice in dimension.stored.values())
    scale = " (log)" if dimension.log else ""
    return f"{plain(dimension.low)} to {plain(dimension.high)}{scale}"


def _differences(record: TrialRecord, standard: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {plain(value)}"
        for name, value in record.params.items()
        if standard and standard.get(name) != value
    ]
