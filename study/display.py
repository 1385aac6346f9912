"""What a running study shows: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dcgan.config_io import get_dotted
from dcgan.console import TrainingDisplay
from study.config import StudyConfig
from study.leaderboard import plain
from study.store import trial_name

if TYPE_CHECKING:
    from optuna.trial import Trial

    from dcgan.config import TrainConfig


class StudyDisplay(TrainingDisplay):
    """Adds a bar over the study's trials to the bar of the running one."""

    def __init__(self, config: StudyConfig) -> None:
        super().__init__()
        self.config = config
        self.trials = self.progress.add_task("trials", total=config.study.trials, status="")

    def on_progress(self, finished: int, total: int) -> None:
        """Move the study's bar."""
        self.progress.update(self.trials, completed=finished, total=total)

    def on_begin(self, trial: Trial, config: TrainConfig) -> None:
        """Say which trial starts and with what."""
        self.label = trial_name(trial.number)
        params = ", ".join(
            f"{self.config.short_name(key)} {plain(_scalar(get_dotted(config, key)))}"
            for key in self.config.space
        )
        baseline = trial.user_attrs.get("baseline")
        origin = f"baseline “{baseline}”: " if baseline else ""
        self.line(f"{self.label}: {origin}{params}")

    def on_warning(self, text: str) -> None:
        """Show a warning on a line of its own."""
        self.line(f"note: {text}")

    def __enter__(self) -> StudyDisplay:
        super().__enter__()
        return self


def _scalar(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
