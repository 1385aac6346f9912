"""What the `dcgan` commands share: their options, and checks of what was typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of photos (sets data.root).", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one setting, as in train.epochs=20.", metavar="KEY=VALUE"),
]
CheckpointArgument = Annotated[Path, typer.Argument(help="A checkpoint.pt of a run.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Noise seed.")]
ModelOption = Annotated[
    str, typer.Option("--model", help="ema (moving average) or raw (last weights).")
]
ExtractorOption = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="auto, inception, layout, random or module:callable.",
        metavar="NAME",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="File with Inception's weights.", show_default=False),
]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", min=8, max=2048, help="Make squares of this side of all images."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def load_config(name: str, data: Path | None, settings: list[str] | None) -> Any:
    """A train config with `--set` and `--data` applied (paths become absolute)."""
    from dcgan.config.settings import load_train_config, parse_assignments

    overrides = parse_assignments(settings or [])
    if data is not None:
        overrides |= {"data.source": "folder", "data.root": str(data.expanduser().resolve())}
    return load_train_config(name, overrides)


def checked_output(path: Path, animated: bool) -> Path:
    """The absolute path of a picture to write.

    Raises:
        UsageError: wrong suffix, or no folder to write to.
    """
    from dcgan.errors import UsageError

    suffix = ".gif" if animated else ".png"
    if path.suffix.lower() != suffix:
        raise UsageError(f"{path} must end in {suffix}")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.absolute().parent}")
    return path.absolute()
