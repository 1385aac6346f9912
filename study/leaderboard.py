"""The trials of a study, best first: as rows, as a terminal table, as markdown, as one picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from PIL import Image, ImageDraw

from dcgan.run_folder import RunFolder
from dcgan.sampling import save_picture
from study.store import StudyFolder, trial_name

if TYPE_CHECKING:
    from optuna.study import Study

ORDER = {
    TrialState.COMPLETE: 0,
    TrialState.PRUNED: 1,
    TrialState.RUNNING: 2,
    TrialState.WAITING: 3,
    TrialState.FAIL: 4,
}
TILE_PIXELS = 266
TILES_PER_ROW = 4


@dataclass(frozen=True)
class Row:
    """One trial of the leaderboard. Scores of pruned trials are from the epoch they reached."""

    number: int
    state: str
    score: float | None
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
    """All trials: complete ones by score, then pruned by score, then the rest by number."""
    trials = study.get_trials(deepcopy=False)
    return [_row(trial) for trial in sorted(trials, key=_rank)]


def _rank(trial: FrozenTrial) -> tuple[int, float, int]:
    value = trial.value if trial.values else None
    return ORDER[trial.state], float("inf") if value is None else value, trial.number


def _row(trial: FrozenTrial) -> Row:
    facts = trial.user_attrs
    distances = distances_of(facts)
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return Row(
        number=trial.number,
        state=trial.state.name,
        score=trial.value if trial.values else None,
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
    """The Fréchet distance's name (none before the first score) and the searched names."""
    frechet, params = None, dict[str, None]()
    for row in rows:
        frechet = frechet or next((k for k in row.distances if k.startswith(("fd_", "fid"))), None)
        params |= dict.fromkeys(row.params)
    return frechet, list(params)


def cells_of(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings and formatted cells."""
    frechet, names = columns_of(rows)
    headings = ["trial", "state", "score", frechet or "distance", "imbalance", "epoch"]
    headings += [*names, "minutes", "origin"]
    body = []
    for row in rows:
        distance = row.distances.get(frechet) if frechet else None
        cells = [trial_name(row.number), row.state.lower(), number(row.score, 3)]
        cells += [number(distance, 3), number(row.imbalance, 2)]
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
        left = heading in ("trial", "state", "origin")
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


def draw_contact_sheet(rows: list[Row], folder: StudyFolder) -> bool:
    """Draw a corner of every trial's latest samples in one picture, best first.

    Returns:
        Whether there was any to draw.
    """
    tiles = [(row, grid) for row in rows if (grid := _latest_grid(folder, row.number))]
    if not tiles:
        return False
    label = 34
    columns = min(TILES_PER_ROW, len(tiles))
    lines = -(-len(tiles) // columns)
    size = (columns * (TILE_PIXELS + 8), lines * (TILE_PIXELS + label + 8))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, (row, grid) in enumerate(tiles):
        left = index % columns * (TILE_PIXELS + 8)
        top = index // columns * (TILE_PIXELS + label + 8)
        score = f"score {number(row.score, 2)}" if row.score is not None else ""
        epoch = "" if row.epoch is None else f", epoch {row.epoch}"
        draw.text(
            (left + 4, top + 2), f"{trial_name(row.number)}  {score}", (0, 0, 0), font_size=14
        )
        detail = f"{row.state.lower()}{epoch}, {row.origin}"
        draw.text((left + 4, top + 18), detail, (110, 110, 110), font_size=12)
        sheet.paste(grid, (left, top + label))
    save_picture(sheet, folder.contact_sheet)
    return True


def _latest_grid(folder: StudyFolder, trial_number: int) -> Image.Image | None:
    grids = list(RunFolder(folder.trial(trial_number)).grids().values())
    if not grids:
        return None
    with Image.open(grids[-1]) as picture:
        half = picture.width // 2  # the left upper quarter: 16 of 64 samples, large enough to see
        return picture.convert("RGB").crop((0, 0, half, half)).resize((TILE_PIXELS, TILE_PIXELS))
