"""Train a DCGAN on a bank of photos: the loop, and what it leaves in the run's folder."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dcgan.config.settings import save_config
from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import PhotoBank, check_enough_photos, load_bank
from dcgan.errors import TrainingDivergedError, TrainingInterrupted, first_line
from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.extractors.base import Extractor
from dcgan.evaluation.record import EvalRecord
from dcgan.models.ema import with_fresh_batchnorm
from dcgan.models.networks import Generator
from dcgan.runtime.devices import clear_memory_errors, describe_environment, resolve_device
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.numerics import numerics
from dcgan.runtime.pictures import save_picture
from dcgan.runtime.version import code_version
from dcgan.training.cuda_graphs import Stepper
from dcgan.training.distributed import ALONE, Peers
from dcgan.training.recorder import Recorder, balance_of
from dcgan.training.resume import check_same_extractor, open_folder, with_resolved_extractor
from dcgan.training.run.checkpoint import Checkpoint, check_continues, restore, save_checkpoint
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import STEP_FIELDS, History, LogRecord, read_evals
from dcgan.training.run.pictures import draw_final, draw_fixed_noise, training_images
from dcgan.training.schedule import Schedule
from dcgan.training.step import TrainState


@dataclass(frozen=True)
class TrainResult:
    """What a finished run amounts to."""

    folder: Path
    steps: int
    epochs: int
    final: EvalRecord
    """The last evaluation of the history."""
    stopped_early: bool
    """Whether `on_eval` ended it before the last step."""
    data_fingerprint: str
    training_seconds: float
    """Time in training steps, over all sittings."""
    images_per_second: float
    picture_faults: tuple[str, ...] = ()
    """Why pictures are missing; they never end a run."""


def train(
    config: TrainConfig,
    out: Path,
    *,
    bank: PhotoBank | None = None,
    extractor: Extractor | None = None,
    resume: bool = False,
    on_start: Callable[[Schedule, int], None] | None = None,
    on_log: Callable[[LogRecord], None] | None = None,
    on_eval: Callable[[EvalRecord], bool] | None = None,
    should_stop: Callable[[], bool] | None = None,
    peers: Peers = ALONE,
) -> TrainResult:
    """Train in full and write config, history, pictures and checkpoints to `out`.

    Same config, seed, machine and thread count give the same numbers (with `train.deterministic`),
    also when the run is stopped anywhere and resumed.

    Args:
        bank: the photos; loaded as `config.data` says if left out.
        extractor: what scores; loaded as `config.eval` says if left out.
        resume: continue from the checkpoint in `out` if there is one.
        on_start: called with the schedule and the number of steps already done.
        on_log: called with each new log record of the history.
        on_eval: called with each new evaluation, after it and a checkpoint are on disk. Returning
            true ends the run early.
        should_stop: asked after every step; true writes a checkpoint and ends the run.
        peers: the processes that train together. This is the first, which records the run; the
            others `follow` it. With others, `on_eval` cannot end the run, and a wish to stop waits
            for the next log interval.

    Raises:
        TrainingDivergedError: a loss was not finite.
        TrainingInterrupted: `should_stop` said so; a checkpoint was written.
        DcganError: photos, folder, checkpoint or device cannot be used.
    """
    folder = RunFolder(out)
    device = resolve_device(config.train.device)
    with numerics(config.train), clear_memory_errors():
        checkpoint = open_folder(folder, resume)
        bank = bank or load_bank(config.data)
        check_enough_photos(bank, config)
        config, extractor = with_resolved_extractor(config, device, checkpoint, extractor)
        run = _Run(config, folder, bank, extractor, device, checkpoint, peers)
        if on_start:
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
        peers: Peers,
    ) -> None:
        self.config, self.folder = config, folder
        self.bank, holdout = bank.split(config.data.holdout_fraction)
        self.schedule = Schedule(config, len(self.bank.images), device)
        peers.check_shares(self.schedule)
        self.photos = self.bank.images.to(device)
        self.state = TrainState.fresh(config, device, peers)
        self.history = History(folder.history)
        self.evaluator = Evaluator(self.bank, extractor, config.eval, holdout)
        losses, seconds = torch.empty(0, len(STEP_FIELDS)), 0.0
        if checkpoint:
            check_continues(checkpoint, config, bank.fingerprint)
            restore(checkpoint, self.state)
            self.history.keep_up_to(checkpoint.step)
            check_same_extractor(folder, extractor)
            losses, seconds = checkpoint.losses, checkpoint.seconds
        self.stepper = Stepper(self.state, self.photos, config)
        peers.check_same_start(self.state.step, bank.fingerprint, device)
        self.recorder = Recorder(self.history, self.schedule, losses, seconds)
        self._measured: tuple[int, Generator] | None = None
        self.picture_faults: list[str] = []
        self.environment = describe_environment(device) | {"code_version": code_version()}
        self._describe()

    def _describe(self) -> None:
        """Write what is about to be trained, before it is."""
        save_config(self.config, self.folder.config)
        networks = f"generator: {self.state.generator}\n\ndiscriminator: {self.state.discriminator}"
        write_text_atomic(self.folder.networks, networks + "\n")
        with self._picture("the training images"):
            save_picture(training_images(self.bank, self.config), self.folder.training_images)

    @contextmanager
    def _picture(self, what: str) -> Iterator[None]:
        """Whatever goes wrong with a picture is remembered, and the run goes on."""
        try:
            yield
        except Exception as error:
            fault = f"{what} could not be drawn ({type(error).__name__}: {first_line(error)})"
            if fault not in self.picture_faults:
                self.picture_faults.append(fault)

    def loop(
        self,
        on_log: Callable[[LogRecord], None] | None,
        on_eval: Callable[[EvalRecord], bool] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        """Train until the last step or an early end; each grid, log and score in its turn."""
        state, schedule, recorder = self.state, self.schedule, self.recorder
        self._draw_grid_if_due()
        recorder.restart_clock()
        while state.step < schedule.total_steps:
            recorder.add(self.stepper.step(schedule.batch(state.step)))

            stopping = self._asked_to_stop(should_stop)
            score_now = schedule.eval_due(state.step)
            # A score is kept with the state it belongs to, so that resuming never repeats it.
            save_now = stopping or score_now or schedule.checkpoint_due(state.step)
            # The read-back comes first: it finds a diverged step before anything is kept of it.
            if stopping or schedule.read_back_due(state.step):
                record = recorder.read_back()
                if on_log:
                    on_log(record)
            scored = self._evaluate() if score_now else None
            self._draw_grid_if_due()
            if save_now:
                self.save()
            if scored and on_eval and on_eval(scored) and state.peers.size == 1:
                return
            if stopping and state.step < schedule.total_steps:
                raise TrainingInterrupted(state.step, str(self.folder.checkpoint))
            if save_now:
                recorder.restart_clock()

    def _asked_to_stop(self, should_stop: Callable[[], bool] | None) -> bool:
        asked = should_stop is not None and should_stop()
        if self.state.peers.size == 1:
            return asked
        due = self.schedule.read_back_due(self.state.step)  # where `follow` asks, too
        return due and self.state.peers.agree(asked, self.photos.device)

    def _draw_grid_if_due(self) -> None:
        if self.schedule.grid_due(self.state.step):
            with self._picture("a grid of samples"):
                draw_fixed_noise(self.folder, self._scored_generator(), self.state.step)
            self.recorder.restart_clock()

    def _measured_ema(self) -> Generator:
        """The average as it is scored, made once a step: measuring its BatchNorm takes a while."""
        if self._measured is None or self._measured[0] != self.state.step:
            self._measured = (self.state.step, with_fresh_batchnorm(self.state.ema))
        return self._measured[1]

    def _scored_generator(self) -> Generator:
        """The generator that counts (`eval.score_model`), in eval mode."""
        if self.config.eval.score_model == "ema":
            return self._measured_ema()
        return copy.deepcopy(self.state.generator).eval()

    def _evaluate(self) -> EvalRecord:
        state, start = self.state, time.monotonic()
        scored = self.evaluator.evaluate(
            self._measured_ema(),
            state.generator,
            balance_of(self.recorder.losses),
            step=state.step,
            epoch=self.schedule.epoch_of(state.step),
            other_in_full=False,
        )
        record = replace(scored, seconds=time.monotonic() - start)
        self.history.append(record)
        return record

    def save(self) -> None:
        """Write a checkpoint of everything."""
        save_checkpoint(
            self.folder.checkpoint,
            self.state.state_dict(),
            self.config,
            epoch=self.schedule.epoch_of(self.state.step),
            losses=self.recorder.losses,
            data_fingerprint=self.bank.fingerprint,
            seconds=self.recorder.seconds,
        )

    def draw_pictures(self) -> None:
        """Draw what an ended run leaves to look at."""
        with self._picture("a closing picture"):
            draw_final(
                self.folder,
                self._scored_generator(),
                self.bank,
                self.recorder.losses,
                self.schedule.steps_per_epoch,
            )

    def finish(self) -> TrainResult:
        """Draw the final pictures and write `result.json`."""
        self.draw_pictures()
        scored = read_evals(self.folder.history)
        final = scored[-1] if scored else self._evaluate()  # the history may have been deleted
        seconds = self.recorder.seconds
        result = TrainResult(
            folder=self.folder.path,
            steps=self.state.step,
            epochs=self.schedule.epoch_of(self.state.step),
            final=final,
            stopped_early=self.state.step < self.schedule.total_steps,
            data_fingerprint=self.bank.fingerprint,
            training_seconds=seconds,
            images_per_second=self.state.images_seen / max(seconds, 1e-9),
            picture_faults=tuple(self.picture_faults),
        )
        summary = {
            **{key: value for key, value in vars(result).items() if key != "folder"},
            "final": final.to_dict(),
            "environment": self.environment,
            "photos_skipped": len(self.bank.bad),
        }
        write_text_atomic(self.folder.result, json.dumps(summary, indent=2) + "\n")
        return result
