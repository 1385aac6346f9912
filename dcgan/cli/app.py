"""The `dcgan` command. Commands import heavy libraries themselves, so that `--help` is fast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dcgan.cli import export as cli_export
from dcgan.cli import scores as cli_scores
from dcgan.cli.console import load_bank_with_progress, run_app, say
from dcgan.cli.options import (
    CheckpointArgument,
    DataOption,
    ModelOption,
    SchemaOption,
    SeedOption,
    SetOption,
    checked_output,
    load_config,
    new_app,
    write_schema,
)

app = new_app("Train a DCGAN on a folder of photos.")


@app.command()
def train(
    config: Annotated[
        str, typer.Argument(help="A YAML file, or a named config as in 'reference'.")
    ],
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="Results folder.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from --out's checkpoint.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done.")] = False,
    settings: SetOption = None,
) -> None:
    """Train in full: checkpoints, pictures, scores and history go to --out."""
    from dcgan.cli.train import describe_run, launch

    resolved = load_config(config, data, settings)
    folder = Path(os.path.realpath(out or Path("runs") / Path(config).stem))
    if dry_run:
        describe_run(resolved, folder, resume)
    else:
        launch(resolved, folder, resume)


@app.command()
def generate(
    checkpoint: CheckpointArgument,
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many images.")] = 64,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="PNG or GIF.")] = None,
    seed: SeedOption = None,
    walk: Annotated[
        bool, typer.Option("--walk", help="A walk through noise space, as a GIF.")
    ] = False,
    model: ModelOption = "ema",
) -> None:
    """Draw images from a trained generator: a grid, or a latent walk as an animation."""
    from dcgan import api
    from dcgan.models.sampling import latent_walk
    from dcgan.runtime.pictures import grid_scale, image_grid, save_animation, save_picture

    target = checked_output(output or Path("walk.gif" if walk else "grid.png"), walk)
    if walk:
        generator = api.load_for_sampling(checkpoint, model=model)
        save_animation(latent_walk(generator, seed or 0), target)
    else:
        images = api.generate(checkpoint, count, seed=seed, model=model)
        save_picture(image_grid(images, scale=grid_scale(images.shape[-1])), target)
    say(str(target))


@app.command()
def inspect(
    folder: Annotated[Path | None, typer.Argument(help="Folder of photos.")] = None,
    config: Annotated[
        str, typer.Option(help="Config whose size and augmentation to show.")
    ] = "reference",
    output: Annotated[Path, typer.Option("-o", "--output", help="Thumbnail sheet (PNG).")] = Path(
        "photos.png"
    ),
    settings: SetOption = None,
) -> None:
    """Show a folder of photos as training would see it: counts, bad files, sizes, a sheet."""
    from dcgan.cli.describe import describe_duplicates, describe_photos
    from dcgan.data.duplicates import find_duplicates
    from dcgan.runtime.pictures import save_picture
    from dcgan.training.run.pictures import training_images

    target = checked_output(output, False)
    resolved = load_config(config, folder, settings)
    bank = load_bank_with_progress(resolved.data, minimum=1, list_bad_files=False)
    say(describe_photos(bank))
    say(describe_duplicates(find_duplicates(bank.images), bank.names))
    save_picture(training_images(bank, resolved), target)
    say(f"as training sees them: {target}")


@app.command()
def schema(output: SchemaOption = None) -> None:
    """Print the JSON schema of a train config. Editors check and complete YAML with it."""
    from dcgan.config.schema import config_schema
    from dcgan.config.train_config import TrainConfig

    write_schema(config_schema(TrainConfig), output)


for command in (
    cli_export.export,
    cli_scores.evaluate,
    cli_scores.fid,
    cli_scores.floor,
    cli_scores.doctor,
):
    app.command()(command)


def main() -> None:
    """Entry point of the `dcgan` command."""
    run_app(app)
