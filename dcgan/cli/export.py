"""`dcgan export`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcgan.cli.console import load_bank_with_progress, say
from dcgan.cli.options import CheckpointArgument, DataOption, ModelOption
from dcgan.errors import DcganError, RepeatsPhotosError, UsageError

if TYPE_CHECKING:
    from dcgan.evaluation.memorisation import Memorisation
    from dcgan.evaluation.record import EvalRecord
    from dcgan.training.run.checkpoint import Checkpoint


def export(
    checkpoint: CheckpointArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the model (made if missing).")
    ] = Path("model"),
    data: DataOption = None,
    scored: Annotated[
        bool, typer.Option("--score/--no-score", help="Score it for the model card.")
    ] = True,
    model: ModelOption = "ema",
    force: Annotated[
        bool, typer.Option("--force", help="Write it even if it repeats training photos.")
    ] = False,
) -> None:
    """Write a generator as a folder to share: safetensors, config, model card, samples."""
    from dcgan.training.run.checkpoint import load_checkpoint
    from dcgan.training.run.exported import is_model, write_model
    from dcgan.training.run.model_card import model_card

    if model not in ("ema", "raw"):
        raise UsageError(f"--model must be ema or raw, but got {model!r}")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is no folder; choose another -o DIR")
    if output.is_dir() and any(output.iterdir()) and not is_model(output):
        raise UsageError(f"{output} holds other files; choose an empty or a new folder with -o DIR")
    loaded = load_checkpoint(checkpoint)
    scores, memorised = score(loaded, data, model) if scored else (None, None)
    if memorised is not None and memorised.beyond_chance and not force:
        raise RepeatsPhotosError(
            f"{loaded.path} is not exported: {memorised.describe()}; 'dcgan evaluate --panel FILE' "
            "draws them, and --force exports it with that in its model card"
        )
    write_model(loaded, output, model_card(loaded, scores, memorised, model), model)
    say(str(output.absolute()))


def score(
    checkpoint: Checkpoint, data: Path | None, model: str
) -> tuple[EvalRecord | None, Memorisation | None]:
    """A generator's scores and which images are memorised; None where photos are missing."""
    from dcgan.api import Scoring
    from dcgan.config.settings import override

    changes = {"eval.score_model": model}
    if data is not None:
        changes |= {"data.source": "folder", "data.root": str(data)}
    try:
        config = override(checkpoint.config, changes, "export")
        bank = load_bank_with_progress(config.data)
        scoring = Scoring(replace(checkpoint, config=config), bank=bank)
        if scoring.note:
            raise UsageError(scoring.note)
        return scoring.evidence()
    except DcganError as error:
        print(f"note: the model card has no scores: {error}", file=sys.stderr)
        return None, None
