"""The observer in a notebook: bars over the trials and their steps, in one output of the cell."""

from __future__ import annotations

from dcgan.runtime.live import Bar, LiveBars
from dcgan.training.progress import RunSteps
from study.running.observer import (
    Event,
    LossesLogged,
    Observer,
    Progressed,
    Scored,
    TrainingStarted,
    TrialEnded,
    Warned,
)
from study.storage.store import trial_name

TRIALS = "trials"


class NotebookProgress(Observer):
    """Shows how far a study has got; needs a notebook (`dcgan.runtime.live.in_notebook`)."""

    def __init__(self) -> None:
        self.live = LiveBars()
        self.running: dict[int, RunSteps] = {}
        """Trial → its steps."""

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Show an event."""
        match event:
            case Progressed(finished, total, text):
                if finished >= total:  # a worker that was killed has not told its trial's end
                    self.live.bars.clear()
                self.live.bars[TRIALS] = Bar(TRIALS, total, finished, text)
                self.live.show(now=True)
            case Warned(text):
                self.live.note(text)
            case TrainingStarted(trial, total_steps, done, _, epochs):
                steps = RunSteps(trial_name(trial), total_steps, done, epochs)
                self.running[trial] = steps
                self.live.bars[trial_name(trial)] = steps.bar
                self.live.show()
            case LossesLogged(trial, record):
                self.running[trial].log(record)
                self.live.show()
            case Scored(trial, scored):
                self.running[trial].score(scored)
                self.live.show()
            case TrialEnded(trial):
                self.running.pop(trial, None)
                self.live.bars.pop(trial_name(trial), None)  # the bar over the trials counts it
                self.live.show(now=True)
