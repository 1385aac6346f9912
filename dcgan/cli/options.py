"""Shared by the commands: the app with `--version`, options, checks of their values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dcgan.cli.console import say
from dcgan.errors import UsageError
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.version import code_version

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of photos.", show_default=False),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, as in optim.lr_d=2e-4.", metavar="KEY=VALUE"),
]
CheckpointArgument = Annotated[Path, typer.Argument(help="A checkpoint.pt or best.pt of a run.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Noise seed.")]
ModelOption = Annotated[
    str, typer.Option("--model", help="ema (moving average) or raw (last weights).")
]
ExtractorOption = Annotated[
    str | None,
    typer.Option(
        "--extractor",
        help="auto, joint, imagenet, inception, layout, random or module:callable.",
        metavar="NAME",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="File with Inception's weights.", show_default=False),
]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", min=8, max=2048, help="Resize all images to squares of this side."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SchemaOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Write it to this file.", metavar="FILE", show_default=False
    ),
]


def new_app(help_text: str) -> typer.Typer:
    """A command-line app with `--version` and shell completion, without commands."""
    app = typer.Typer(help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)

    @app.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=_print_version, is_eager=True, help="Show the version."
            ),
        ] = False,
    ) -> None:
        """Define the options of the app itself."""

    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"dcgan-study {code_version()}")
        raise typer.Exit


def write_schema(schema: dict[str, Any], output: Path | None) -> None:
    """Print a JSON schema, or write it to a file and print the file's path."""
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    if output is None:
        say(text)
    else:
        write_text_atomic(output, text + "\n")
        say(str(output.absolute()))


def load_config(name: str, data: Path | None, settings: list[str] | None) -> Any:
    """A train config with `--set` and `--data` applied (paths become absolute)."""
    from dcgan.config.settings import load_train_config, parse_assignments

    return load_train_config(name, parse_assignments(settings or []) | data_settings(data))


def data_settings(data: Path | None, prefix: str = "") -> dict[str, Any]:
    """`--data` as settings of a train config, or of a study config with the prefix `base.`."""
    if data is None:
        return {}
    root = os.path.realpath(data.expanduser())
    return {f"{prefix}data.source": "folder", f"{prefix}data.root": root}


def checked_output(path: Path, animated: bool) -> Path:
    """The absolute path of a picture to write.

    Raises `UsageError` if the suffix is wrong, the path is a folder or its folder does not exist.
    """
    suffix = ".gif" if animated else ".png"
    if path.suffix.lower() != suffix:
        raise UsageError(f"{path} must end in {suffix}")
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.absolute().parent}")
    return path.absolute()
