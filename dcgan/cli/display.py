"""The live display of one training run: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dcgan.evaluation.record import in_digits

if TYPE_CHECKING:
    from dcgan.evaluation.record import EvalRecord
    from dcgan.training.loop import TrainResult
    from dcgan.training.run.history import LogRecord
    from dcgan.training.schedule import Schedule


class TrainingDisplay:
    """Shows a run's progress on stderr."""

    def __init__(self, label: str = "training") -> None:
        from rich import progress as bars
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self.label = label
        self.progress = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=20),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[status]}"),
            bars.TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task: Any = None
        self.steps_per_epoch = self.epochs = 1

    def __enter__(self) -> TrainingDisplay:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_start(self, schedule: Schedule, done: int) -> None:
        """Begin a bar over the run's steps."""
        epochs = schedule.config.train.epochs
        self.start(schedule.total_steps, done, schedule.steps_per_epoch, epochs)

    def start(self, total_steps: int, done: int, steps_per_epoch: int, epochs: int) -> None:
        """Begin a bar over this many steps, of which `done` are done."""
        self.steps_per_epoch, self.epochs = steps_per_epoch, epochs
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(self.label, total=total_steps, completed=done, status="")

    def on_log(self, record: LogRecord) -> None:
        """Show the status line: Loss_D, Loss_G, D(x), D(G(z)) before / after D's update."""
        status = (
            f"Loss_D {record.loss_d:.3f}  Loss_G {record.loss_g:.3f}  "
            f"D(x) {record.d_real:.2f}  "
            f"D(G(z)) {record.d_fake_before:.2f}/{record.d_fake_after:.2f}  "
            f"{record.images_per_second:.0f} images/s"
        )
        if self.console.is_terminal:
            self.progress.update(self.task, completed=record.step, status=status)
        elif record.step % self.steps_per_epoch == 0:
            epoch = f"{record.epoch}/{self.epochs}"
            print(f"{self.label}: epoch {epoch}  {status}", file=sys.stderr)

    def on_eval(self, record: EvalRecord) -> bool:
        """Print a score; never ends the run."""
        self.line(f"{self.label}: {describe_scores(record)}")
        return False

    def line(self, text: str) -> None:
        """Print above the bars."""
        self.console.print(text, markup=False, soft_wrap=True)


def describe_scores(record: EvalRecord) -> str:
    """One line for an evaluation: distance, share of recognised images, and balance."""
    metric, metrics = record.frechet_metric, record.metrics
    names = {f"{metric}_{model}": model for model in ("ema", "raw")}
    each = ", ".join(f"{names[key]} {in_digits(metrics[key])}" for key in names if key in metrics)
    parts = [
        f"epoch {record.epoch}: {metric} {in_digits(record.frechet)} "
        f"({each}; n = {record.n_samples})"
    ]
    if "recognised" in metrics:
        parts.append(f"recognised {metrics['recognised']:.1%}")
    if record.imbalance is not None:
        parts.append(f"imbalance {record.imbalance:.2f}")
    return "  ".join(parts)


def describe_result(result: TrainResult) -> str:
    """A line for the last evaluation, and one for the best if that is another, with their files."""
    last, best, folder = result.final, result.best, result.folder
    lines = [f"last score: {describe_scores(last)}; {folder / 'checkpoint.pt'}"]
    if best != last:
        shown = ", shown in the pictures" if result.select == "best" else ""
        lines.append(f"best score: {describe_scores(best)}; {folder / 'best.pt'}{shown}")
    for name in sorted({"fid", "fid_custom"} & set(result.fid)):
        low, high = result.fid[f"{name}_low"], result.fid[f"{name}_high"]
        count = result.selected.n_samples
        lines.append(f"{name} {result.fid[name]:.1f} ({low:.1f}–{high:.1f}; n = {count})")
    return "\n".join(lines)
