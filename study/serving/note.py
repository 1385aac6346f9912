"""What the dashboard says of a study before anybody has written a note on it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pydantic import ValidationError

from study.config.study_config import StudyConfig
from study.search.objective import VALUES, directions


class Note(NamedTuple):
    """A note on a study."""

    values: tuple[str, ...]
    """The names of Optuna's values of a trial."""
    text: str
    """Markdown."""


@lru_cache(maxsize=128)
def study_note(name: str, config: str) -> Note | None:
    """The note on a study of this program, from its stored config; `None` for any other study."""
    try:
        checked = StudyConfig.model_validate_json(config)
    except ValidationError:
        return None
    values = VALUES[: len(directions(checked.objective))]
    if checked.objective.mode == "score":
        values, sought = ("score",), "It minimises the score: lower is better."
    else:
        sought = f"It searches the best trade-offs of {', '.join(values[:-1])} and {values[-1]}."
    return Note(values, TEXT.format(name=name, sought=sought))


TEXT = """\
**{name}**. {sought}

Pictures of a trial are among its *Artifacts*, the contact sheet of the best trials among those of
the study. They are those of this machine's results folder.

```
study show {name}            # the leaderboard
study report {name}          # everything in one HTML file
study export {name} -o best.yaml
study delete {name}          # this page changes nothing but notes
```
"""
