"""The `dcgan` commands that score: evaluate, fid, floor, doctor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dcgan.cli.console import (
    load_bank_with_progress,
    progress_bar,
    report_files,
    say,
)
from dcgan.cli.options import (
    CheckpointArgument,
    DataOption,
    ExtractorOption,
    JsonOption,
    SizeOption,
    WeightsOption,
    checked_output,
)
from dcgan.errors import EvaluationError

if TYPE_CHECKING:
    from dcgan.evaluation.extractors.base import Extractor
    from dcgan.evaluation.folders import FolderFeatures


def evaluate(
    checkpoint: CheckpointArgument,
    data: DataOption = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=3, help="Generated images.")
    ] = None,
    extractor: ExtractorOption = None,
    weights: WeightsOption = None,
    panel: Annotated[
        Path | None,
        typer.Option("--panel", help="Where to draw the generated images closest to a photo."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score a checkpoint against the photos, with uncertainty, noise floor and memorisation."""
    from dcgan.api import Scoring
    from dcgan.cli.tables import print_evaluation
    from dcgan.runtime.pictures import save_picture
    from dcgan.training.run.checkpoint import load_checkpoint

    target = None if panel is None else checked_output(panel, False)
    loaded = load_checkpoint(checkpoint)
    data_config = loaded.config.data
    if data is not None:
        data_config = data_config.model_copy(update={"source": "folder", "root": data})
    bank = load_bank_with_progress(data_config)
    scoring = Scoring(loaded, bank=bank, n_samples=samples, extractor=extractor, weights=weights)
    if scoring.note:
        print(f"note: {scoring.note}", file=sys.stderr)
    result = scoring.evaluate()
    try:
        copies = scoring.memorisation()
    except EvaluationError as error:  # too few photos
        print(f"note: {error}", file=sys.stderr)
        copies = None
    if as_json:
        path = {"checkpoint": str(checkpoint.resolve())}
        repeated = {} if copies is None else copies.as_record()
        say(json.dumps({**path, **result.scores(), **repeated}, indent=2))
    else:
        print_evaluation(result, copies)
    if target and copies:
        save_picture(copies.panel(), target)
        print(f"closest pairs: {target}", file=sys.stderr)


def fid(
    real: Annotated[Path, typer.Argument(help="Folder of real images.")],
    fake: Annotated[Path, typer.Argument(help="Folder of images to compare with them.")],
    extractor: ExtractorOption = "auto",
    weights: WeightsOption = None,
    size: SizeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two folders of images: FID (or another extractor's distance), KID and more."""
    from dcgan.cli.tables import print_comparison
    from dcgan.evaluation.folders import compare_folders, first_side
    from dcgan.runtime.devices import clear_memory_errors

    sides = [first_side(folder) for folder in (real, fake)]  # before anything slow: both must exist
    with clear_memory_errors():
        loaded = _extractor(extractor, weights, size or sides[0])
        one, other = (_features(folder, loaded, size) for folder in (real, fake))
        record = compare_folders(one, other, loaded)
    if as_json:
        folders = {"real": str(real.resolve()), "fake": str(fake.resolve())}
        say(json.dumps({**folders, **record}, indent=2))
    else:
        print_comparison(record)


def floor(
    folder: Annotated[Path, typer.Argument(help="Folder of photos.")],
    extractor: ExtractorOption = "auto",
    weights: WeightsOption = None,
    size: Annotated[
        int, typer.Option("--size", help="Side of the square training images: 32, 64 or 128.")
    ] = 64,
    score: Annotated[
        float | None,
        typer.Option(
            "--score",
            min=0.0,
            help="Score of the generators to compare; default: ten times the floor.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Plot (PNG).")] = Path("floor.png"),
    as_json: JsonOption = False,
) -> None:
    """Show what a perfect generator would score, by number of photos, and which gaps are real."""
    from dcgan.cli.tables import print_floor
    from dcgan.config.settings import override
    from dcgan.config.train_config import DataConfig
    from dcgan.evaluation.evaluator import seen_in
    from dcgan.evaluation.floor_report import report_floor
    from dcgan.runtime.devices import clear_memory_errors

    target = checked_output(output, False)
    data = override(DataConfig(root=folder), {"image_size": size}, "--size")
    bank = load_bank_with_progress(data)
    loaded = _extractor(extractor, weights, size)
    with clear_memory_errors(), progress_bar("measuring distances between photos"):
        report = report_floor(seen_in(bank, loaded)[0], score)
    report.save_plot(target, loaded.frechet_name)
    if as_json:
        names = {"metric": loaded.frechet_name, "plot": str(target)}
        say(json.dumps({**names, **report.as_record()}, indent=2))
    else:
        print_floor(report, loaded)
        say(f"plot: {target}")


def doctor() -> None:
    """Check what runs depend on: versions, device, extractor and its weights, cache, disk."""
    from dcgan.cli.doctor import print_health

    raise typer.Exit(print_health())


def _extractor(name: str | None, weights: Path | None, image_size: int | None) -> Extractor:
    """Load an extractor on the best device and try it with images of this size."""
    from dcgan.config.settings import override
    from dcgan.config.train_config import EvalConfig
    from dcgan.evaluation.extractors.registry import load_extractor
    from dcgan.runtime.devices import resolve_device

    # `override` gives the messages of the settings with these names.
    config = override(
        EvalConfig(), {"extractor": name or "auto", "weights": weights}, "--extractor"
    )
    with progress_bar("loading the extractor") as on_progress:
        return load_extractor(
            config.extractor,
            resolve_device("auto"),
            weights=config.weights,
            image_size=image_size or 64,
            on_progress=on_progress,
        )


def _features(folder: Path, extractor: Extractor, size: int | None) -> FolderFeatures:
    from dcgan.evaluation.folders import folder_features

    with progress_bar(f"reading {folder}") as on_progress:
        features = folder_features(folder, extractor, size, on_progress)
    report_files(features)
    return features
