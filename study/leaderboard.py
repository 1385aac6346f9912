"""The trials of a study, best first: as rows, as a terminal table, as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from study.aims import is_pareto, trial_score
from study.front import front_of
from study.store import trial_name

if TYPE_CHECKING:
    from optuna.study import Study

ORDER = {
    TrialState.COMPLETE: 0,
    TrialState.PRUNED: 1,
    TrialState.RUNNING: 2,
    TrialState.WAITING: 3,
    TrialState.FAIL: 4,
}


@dataclass(frozen=True)
class Row:
    """One trial of the leaderboard. Scores of pruned trials are from the epoch they reached."""

    number: int
    state: str
    score: float | None
    front: bool | None
    """Whether it is on the front; none in a study that minimises one score."""
    metric: str | None
    """Name of the distance that is minimised beside the imbalance; else none."""
    distances: dict[str, float]
    """`fd_…` or `fid`, and the kernel distance, of the last evaluation."""
    imbalance: float | None
    epoch: int | None
    params: dict[str, Any]
    minutes: float | None
    origin: str
    """`sampler`, or the baseline's name."""
    reason: str | None
    run_id: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rows_of(study: Study) -> list[Row]:
    """All trials: complete ones by score, then pruned by score, then the rest by number.

    With two objectives, the front by distance leads, then the other complete ones by distance.
    """
    trials = study.get_trials(deepcopy=False)
    front = {trial.number for trial in front_of(trials)} if is_pareto(study) else None
    return [_row(trial, front) for trial in sorted(trials, key=lambda item: _rank(item, front))]


def _rank(trial: FrozenTrial, front: set[int] | None) -> tuple[int, bool, float, int]:
    value = trial.values[0] if trial.values else trial_score(trial)
    dominated = front is not None and trial.number not in front
    return ORDER[trial.state], dominated, float("inf") if value is None else value, trial.number


def _row(trial: FrozenTrial, front: set[int] | None) -> Row:
    facts = trial.user_attrs
    distances = distances_of(facts)
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return Row(
        number=trial.number,
        state=trial.state.name,
        score=trial_score(trial),
        front=None if front is None else trial.number in front,
        metric=facts.get("metric"),
        distances=distances,
        imbalance=facts.get("imbalance"),
        epoch=facts.get("epoch"),
        params=dict(params),
        minutes=facts.get("minutes"),
        origin=facts.get("baseline") or "sampler",
        reason=facts.get("reason"),
        run_id=facts.get("run_id"),
    )


def distances_of(facts: Mapping[str, Any]) -> dict[str, float]:
    """The distances among a trial's attributes: `fd_…`, `kd_…`, `fid…`, `kid…`."""
    return {key: facts[key] for key in facts if key.startswith(("fd_", "kd_", "fid", "kid"))}


def columns_of(rows: Iterable[Row]) -> tuple[str | None, list[str]]:
    """The name of the distance that is shown (none before the first score: the minimised one, else
    the Fréchet distance) and the searched names."""
    shown, params = None, dict[str, None]()
    for row in rows:
        frechet = next((k for k in row.distances if k.startswith(("fd_", "fid"))), None)
        shown = shown or row.metric or frechet
        params |= dict.fromkeys(row.params)
    return shown, list(params)


def cells_of(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and formatted cells."""
    metric, names = columns_of(rows)
    mark = ["front"] if any(row.front is not None for row in rows) else []
    headings = ["trial", "state", *mark, "score", metric or "distance", "imbalance", "epoch"]
    headings += [*names, "minutes", "origin"]
    body = []
    for row in rows:
        distance = row.distances.get(metric) if metric else None
        cells = [trial_name(row.number), row.state.lower()]
        cells += ["yes" if row.front else ""] if mark else []
        cells += [number(row.score, 3), number(distance, 3), number(row.imbalance, 2)]
        cells.append("" if row.epoch is None else str(row.epoch))
        cells += [plain(row.params.get(name)) for name in names]
        body.append([*cells, number(row.minutes, 1), row.origin])
    return headings, body


def number(value: float | None, digits: int) -> str:
    """A number with fixed digits; empty for none."""
    return "" if value is None else f"{value:.{digits}f}"


def plain(value: Any) -> str:
    """A parameter as a person writes it: four digits are enough to recognise it."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def as_markdown(rows: list[Row]) -> str:
    """The leaderboard as a markdown table."""
    headings, body = cells_of(rows)
    lines = [headings, ["---"] * len(headings), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def print_table(rows: list[Row], title: str) -> None:
    """Print the leaderboard; baselines are marked, reasons of unfinished trials follow."""
    from rich import box
    from rich.table import Table

    from dcgan.console import stdout

    headings, body = cells_of(rows)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in headings:
        left = heading in ("trial", "state", "front", "origin")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row, cells in zip(rows, body, strict=True):
        style = {"COMPLETE": None, "FAIL": "red"}.get(row.state, "dim")
        table.add_row(*cells, style=style)
    console = stdout()
    if console.width < 140:  # wide tables are cut by narrow terminals: let them wrap instead
        console.width = max(console.width, 140)
    console.print(table, soft_wrap=True)
    for row in rows:
        if row.reason:
            print(f"{trial_name(row.number)}: {row.reason}")
