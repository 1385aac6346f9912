"""`study compare`."""

from __future__ import annotations

from pathlib import Path

from dcgan.cli.console import say
from dcgan.errors import UsageError
from study.cli.tables import aligned
from study.results.comparison import check_comparable, comparison, draw_comparison, name_of
from study.results.selection import pick_trial
from study.search.objective import is_pareto
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def compare(store: Store, names: list[str], trials: str | None, output: Path) -> None:
    """Print trials of one study, or the best of several, side by side, and draw their samples."""
    numbers = _numbers(trials)
    if len(names) > 1 and numbers:
        raise UsageError("--trials names trials of one study; leave it out, or name one study")
    if len(names) == 1 and len(numbers) < 2:
        raise UsageError("name at least two studies, or at least two --trials of one, as in 3,7")
    studies = [load_optuna_study(store, name) for name in names]
    check_comparable(studies)
    chosen: list[int | None] = list(numbers) or [None]
    several = len(studies) > 1
    picked = [
        (study, pick_trial(study, number, "score" if is_pareto(study) and number is None else None))
        for study in studies
        for number in chosen
    ]
    named = [(name_of(study, trial, several=several), trial) for study, trial in picked]
    heading, *lines = aligned(comparison(named))
    say(heading)
    say("─" * len(heading))
    for line in lines:
        say(line)
    with_folders = [
        (name, trial, store.study(study.study_name))
        for (name, trial), (study, _) in zip(named, picked, strict=True)
    ]
    try:
        missing = draw_comparison(with_folders, output)
    except OSError as error:
        raise UsageError(
            f"cannot write {output}: {error.strerror}; choose another -o FILE"
        ) from None
    for name in missing:
        say(f"note: {name} has no readable samples on this machine")
    if len(missing) < len(named):
        say(f"samples: {output.absolute()}")


def _numbers(text: str | None) -> list[int]:
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--trials must be numbers as in 3,7,12, but got {text}")
    return list(dict.fromkeys(int(part) for part in parts))
