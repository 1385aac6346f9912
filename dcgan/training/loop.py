"""Train a DCGAN on a bank of photos and write the run's folder."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dcgan.config.settings import save_config
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank, check_enough_photos, load_bank
from dcgan.errors import TrainingDivergedError, TrainingInterrupted, first_line
from dcgan.evaluation.canonical import canonical_fid
from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.extractors.base import Extractor
from dcgan.evaluation.record import EvalRecord
from dcgan.models.ema import with_fresh_batchnorm
from dcgan.models.networks import Generator
from dcgan.runtime.devices import clear_memory_errors, describe_environment, resolve_device
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.live import in_notebook
from dcgan.runtime.numerics import numerics
from dcgan.runtime.pictures import save_picture
from dcgan.runtime.version import code_version
from dcgan.training.cuda_graphs import Stepper
from dcgan.training.distributed import ALONE, Peers
from dcgan.training.precision import settle
from dcgan.training.progress import NotebookBar
from dcgan.training.recorder import Recorder, balance_of
from dcgan.training.result_html import result_html
from dcgan.training.resume import (
    check_same_extractor,
    continued_config,
    open_folder,
    with_resolved_extractor,
)
from dcgan.training.run.best import Best, Rank, by_distance
from dcgan.training.run.checkpoint import (
    Checkpoint,
    check_continues,
    load_checkpoint,
    load_generator,
    restore,
    save_checkpoint,
)
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import STEP_FIELDS, LogRecord, append_record, keep_up_to, read_evals
from dcgan.training.run.pictures import draw_final, draw_fixed_noise, training_images
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished run."""

    folder: Path
    steps: int
    epochs: int
    final: EvalRecord
    """The last evaluation, of the checkpoint `checkpoint.pt`."""
    best: EvalRecord
    """The best evaluation, of the checkpoint `best.pt`; often the last one."""
    select: str
    """Which of the two counts: `last` or `best` (`eval.select`)."""
    stopped_early: bool
    """Whether `on_eval` ended the run before its last step."""
    data_fingerprint: str
    training_seconds: float
    """Time in training steps, including the time before a resume."""
    images_per_second: float
    picture_faults: tuple[str, ...] = ()
    """Why pictures are missing. A fault in a picture never ends a run."""
    notes: tuple[str, ...] = ()
    """Sentences about this run that a person should read."""
    photo_notes: tuple[str, ...] = ()
    """Sentences about the photos, the same for each run with them."""
    fid: dict[str, float] = field(default_factory=dict)
    """Of the evaluation that counts, with `eval.fid_at_end`: `fid`, its interval, `kid`."""

    @property
    def selected(self) -> EvalRecord:
        """The evaluation that counts."""
        return self.best if self.select == "best" else self.final

    def _repr_html_(self) -> str:
        """A notebook's view: the scores with their intervals, and the closing samples."""
        return result_html(self)


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    bank: PhotoBank | None = None,
    extractor: Extractor | None = None,
    resume: bool = False,
    on_start: Callable[[Schedule, int], object] = lambda schedule, done: None,
    on_log: Callable[[LogRecord], object] = lambda record: None,
    on_eval: Callable[[EvalRecord], bool] = lambda record: False,
    should_stop: Callable[[], bool] = lambda: False,
    rank: Rank = by_distance,
    peers: Peers = ALONE,
    progress: bool = True,
) -> TrainResult:
    """Train in full and write config, history, pictures and checkpoints to `out`.

    The same config, seed, machine and thread count give the same numbers if `train.deterministic`
    is set. Stopping and resuming the run does not change them.

    Args:
        bank: the photos (default: loaded from `config.data`).
        extractor: the network that scores use (default: loaded from `config.eval`).
        resume: continue from the checkpoint in `out` if there is one.
        on_start: called with the schedule and the number of steps already done.
        on_log: called with each new log record.
        on_eval: called with each new evaluation, once it and a checkpoint are on disk. True ends
            the run early if there is only one process.
        should_stop: called after every step. True writes a checkpoint and ends the run; with
            several processes, at the next log interval.
        rank: what is lowest for the best evaluation, whose checkpoint is kept as `best.pt`.
        peers: the processes that train together. This process records the run; the others call
            `follow`.
        progress: in a Jupyter notebook, show a bar that replaces itself. Elsewhere nothing is
            shown.

    Raises `TrainingDivergedError` if a loss is not finite, `TrainingInterrupted` once a requested
    stop is saved, and other `DcganError`s if photos, folder, checkpoint or device cannot be used.
    """
    if progress and in_notebook():
        on_start, on_log, on_eval = NotebookBar().beside(on_start, on_log, on_eval)
    folder = RunFolder(Path(out))
    device = resolve_device(config.train.device)
    checkpoint = open_folder(folder, resume)
    if checkpoint:
        config = continued_config(config, checkpoint)
    config, _ = settle(config, device, alone=peers.size == 1)
    with numerics(config.train), clear_memory_errors():
        bank = bank or load_bank(config.data)
        check_enough_photos(bank, config)
        config, extractor = with_resolved_extractor(config, device, extractor)
        run = _Run(config, folder, bank, extractor, device, checkpoint, rank, peers)
        on_start(run.schedule, run.state.step)
        try:
            run.loop(on_log, on_eval, should_stop)
        except TrainingDivergedError:
            run.draw_pictures()
            raise
        return run.finish()


class _Run:
    """One run in progress."""

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        bank: PhotoBank,
        extractor: Extractor,
        device: torch.device,
        checkpoint: Checkpoint | None,
        rank: Rank,
        peers: Peers,
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        self.bank, holdout = bank.split(config.data.holdout_fraction)
        self.schedule = Schedule(config, len(self.bank.images), device)
        peers.check_shares(self.schedule)
        self.photos = self.bank.images.to(device)
        self.state = TrainState.fresh(config, device, peers)
        self.evaluator = Evaluator(self.bank, extractor, config.eval, holdout)
        self.best = Best(folder, rank)
        losses, seconds = torch.empty(0, len(STEP_FIELDS)), 0.0
        if checkpoint:
            check_continues(checkpoint, config, bank.fingerprint, len(self.photos))
            restore(checkpoint, self.state)
            keep_up_to(folder.history, checkpoint.step)
            check_same_extractor(folder, extractor)
            self.best.resume(checkpoint.step)
            losses, seconds = checkpoint.losses, checkpoint.seconds
        self.stepper = Stepper(self.state, self.photos, config)
        peers.check_same_start(self.state.step, bank.fingerprint, device)
        self.recorder = Recorder(folder.history, self.schedule, losses, seconds)
        self._measured: tuple[int, Generator] | None = None
        self.picture_faults: list[str] = []
        self.environment = describe_environment(device) | {"code_version": code_version()}
        save_config(config, folder.config)
        networks = f"generator: {self.state.generator}\n\ndiscriminator: {self.state.discriminator}"
        write_text_atomic(folder.networks, networks + "\n")
        with self._picture("the training images"):
            save_picture(training_images(self.bank, config), folder.training_images)

    @contextmanager
    def _picture(self, what: str) -> Iterator[None]:
        """Record what goes wrong with a picture; the run continues."""
        try:
            yield
        except Exception as error:
            fault = f"{what} could not be drawn ({type(error).__name__}: {first_line(error)})"
            if fault not in self.picture_faults:
                self.picture_faults.append(fault)

    def loop(
        self,
        on_log: Callable[[LogRecord], object],
        on_eval: Callable[[EvalRecord], bool],
        should_stop: Callable[[], bool],
    ) -> None:
        """Train until the last step or an early end."""
        state, schedule, recorder = self.state, self.schedule, self.recorder
        self._draw_grid_if_due()
        recorder.restart_clock()
        while state.step < schedule.total_steps:
            state.set_learning_rates(self.config, schedule.rate_factor(state.step))
            recorder.add(self.stepper.step(schedule.batch(state.step)))

            read_now = schedule.read_back_due(state.step)
            stopping = (state.peers.size == 1 or read_now) and state.peers.agree(
                should_stop(), self.photos.device
            )
            score_now = schedule.eval_due(state.step)
            # Each score gets a checkpoint, so that resuming never repeats it.
            save_now = stopping or score_now or schedule.checkpoint_due(state.step)
            # Read the losses first: a diverged step must not be scored or saved.
            if stopping or read_now:
                on_log(recorder.read_back())
                recorder.restart_clock()
            scored = self._evaluate() if score_now else None
            self._draw_grid_if_due()
            if save_now:
                self.save()
            if scored:
                self.best.consider(scored)
                if on_eval(scored) and state.peers.size == 1:
                    return
            if stopping and state.step < schedule.total_steps:
                raise TrainingInterrupted(state.step, str(self.folder.checkpoint))
            if save_now:
                recorder.restart_clock()

    def _draw_grid_if_due(self) -> None:
        if self.schedule.grid_due(self.state.step):
            with self._picture("a grid of samples"):
                draw_fixed_noise(self.folder, self._scored_generator(), self.state.step)
            self.recorder.restart_clock()

    def _measured_ema(self) -> Generator:
        """The moving average with measured BatchNorm; cached, because measuring is slow."""
        if self._measured is None or self._measured[0] != self.state.step:
            self._measured = (self.state.step, with_fresh_batchnorm(self.state.ema))
        return self._measured[1]

    def _scored_generator(self) -> Generator:
        """The generator that `eval.score_model` names, in eval mode."""
        if self.config.eval.score_model == "ema":
            return self._measured_ema()
        return copy.deepcopy(self.state.generator).eval()

    def _selected_generator(self) -> Generator:
        """The scored generator of the evaluation that counts (`eval.select`), in eval mode."""
        settings = self.config.eval
        if settings.select == "best" and self.best.record:
            checkpoint = load_checkpoint(self.folder.best)
            return load_generator(checkpoint, settings.score_model, self.device)
        return self._scored_generator()

    def _evaluate(self) -> EvalRecord:
        record = self.evaluator.evaluate(
            self._measured_ema(),
            self.state.generator,
            balance_of(self.recorder.losses),
            step=self.state.step,
            epoch=self.schedule.epoch_of(self.state.step),
            # The other generator's distances tell how noisy the last weights are: once is enough.
            other="distances" if self.state.step == self.schedule.total_steps else "nothing",
        )
        append_record(self.folder.history, record)
        return record

    def save(self) -> None:
        """Write a checkpoint."""
        checkpoint = Checkpoint(
            path=self.folder.checkpoint,
            config=self.config,
            step=self.state.step,
            epoch=self.schedule.epoch_of(self.state.step),
            data_fingerprint=self.bank.fingerprint,
            seconds=self.recorder.seconds,
            losses=self.recorder.losses,
            state=self.state.state_dict(),
        )
        save_checkpoint(checkpoint)

    def draw_pictures(self) -> None:
        """Draw the final pictures."""
        with self._picture("a closing picture"):
            draw_final(
                self.folder,
                self._selected_generator(),
                self.bank,
                self.recorder.losses,
                self.schedule.steps_per_epoch,
            )

    def finish(self) -> TrainResult:
        """Draw the final pictures and write `result.json`."""
        scored = read_evals(self.folder.history)
        if not scored:  # the history was deleted
            scored = [self._evaluate()]
            self.best.consider(scored[0])
        self.draw_pictures()
        final, seconds = scored[-1], self.recorder.seconds
        result = TrainResult(
            folder=self.folder.path,
            steps=self.state.step,
            epochs=self.schedule.epoch_of(self.state.step),
            final=final,
            best=self.best.record or final,
            select=self.config.eval.select,
            stopped_early=self.state.step < self.schedule.total_steps,
            data_fingerprint=self.bank.fingerprint,
            training_seconds=seconds,
            images_per_second=self.state.images_seen / max(seconds, 1e-9),
            picture_faults=tuple(self.picture_faults),
            notes=self.best.notes(scored),
            photo_notes=self.evaluator.photo_notes,
        )
        self._write(result)
        if self.config.eval.fid_at_end and not result.stopped_early:  # may take minutes
            found = canonical_fid(self.config, self.bank, self._selected_generator, self.device)
            result = replace(result, fid=found.scores, notes=(*result.notes, *found.notes))
            self._write(result)
        return result

    def _write(self, result: TrainResult) -> None:
        summary = {
            **{key: value for key, value in vars(result).items() if key != "folder"},
            "final": result.final.to_dict(),
            "best": result.best.to_dict(),
            "selected_epoch": result.selected.epoch,
            "environment": self.environment,
            "photos_skipped": len(self.bank.bad),
        }
        write_text_atomic(self.folder.result, json.dumps(summary, indent=2) + "\n")
