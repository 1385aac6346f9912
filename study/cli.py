"""The `study` command: run a study, look at it, export its best config, train that in full.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcgan.console import run_app

app = typer.Typer(
    help="Search a DCGAN's hyperparameters: Optuna decides, MLflow remembers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="Results folder (default: $DCGAN_STUDY_STORE, else ./mlruns).",
        metavar="DIR",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="The study's name (see 'study list').")]
TrialOption = Annotated[
    int | None, typer.Option("--trial", min=0, help="A trial's number instead of the best.")
]


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file or a named config.")] = "quickstart",
    data: Annotated[Path | None, typer.Option("--data", help="Folder of photos.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the study.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Total number of trials.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="MINUTES", help="Stop after this long.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", metavar="N|auto", help="Trials at the same time (1)."),
    ] = None,
    trials_per_gpu: Annotated[
        int | None, typer.Option("--trials-per-gpu", help="Workers that share a GPU (1).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as train.epochs=20."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Run a study; the same command again continues it."""
    from dcgan.config_io import parse_assignments
    from study.config import load_study_config
    from study.store import Store

    overrides: dict[str, Any] = parse_assignments(settings or [])
    if data is not None:
        root = str(data.expanduser().resolve())
        overrides |= {"base.data.source": "folder", "base.data.root": root}
    given = {
        "study.name": name,
        "study.trials": trials,
        "study.timeout_minutes": timeout,
        "study.workers": int(workers) if workers and workers.isdecimal() else workers,
        "study.trials_per_gpu": trials_per_gpu,
    }
    overrides |= {key: value for key, value in given.items() if value is not None}
    checked = load_study_config(config, overrides)
    from study.launch import launch  # after the check: a typo is answered before torch loads

    launch(checked, Store.at(store))


@app.command("list")
def list_studies(store: StoreOption = None) -> None:
    """List the studies of a results folder."""
    from study.show import print_studies
    from study.store import Store

    print_studies(Store.at(store))


@app.command()
def show(
    name: NameArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print all trials as JSON.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show all trials, not only the best 50.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Show a study's leaderboard."""
    from study.show import print_study
    from study.store import Store

    print_study(Store.at(store), name, as_json=as_json, everything=everything)


@app.command()
def delete(
    name: NameArgument,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Delete a study: its trials, its MLflow experiment and its files."""
    from study.delete import delete_study
    from study.store import Store

    delete_study(Store.at(store), name, sure=sure)


@app.command()
def export(
    name: NameArgument,
    trial: TrialOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="YAML file to write.", metavar="FILE")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write the config that trains the best (or a given) trial in full."""
    from study.show import write_export
    from study.store import Store

    write_export(Store.at(store), name, trial, output)


@app.command()
def train(
    name: NameArgument,
    trial: TrialOption = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of photos.")] = None,
    store: StoreOption = None,
) -> None:
    """Train the best (or a given) trial in full, beside its study in MLflow."""
    from study.full_run import train_in_full
    from study.store import Store

    train_in_full(Store.at(store), name, trial, data)


@app.command()
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to serve on.")] = 5000,
    store: StoreOption = None,
) -> None:
    """Serve the MLflow UI of a results folder on this machine (Ctrl-C ends it)."""
    from study.show import print_links
    from study.store import Store
    from study.ui import check_port, serve

    chosen = Store.at(store)
    check_port(port)
    print_links(chosen, port)
    raise typer.Exit(serve(chosen, port))


def main() -> None:
    """Entry point of the `study` command."""
    run_app(app)


if __name__ == "__main__":
    main()
