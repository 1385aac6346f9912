"""The `study` command: run a study, look at it, export its best config, train that in full.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dcgan.cli.console import progress_bar, run_app, say
from dcgan.cli.options import (
    DataOption,
    SchemaOption,
    SetOption,
    data_settings,
    new_app,
    write_schema,
)
from dcgan.errors import UsageError
from dcgan.runtime.imports import quick_imports
from study.cli.evidence import ask, confirm, explain, revive, verify
from study.cli.options import (
    AddressOption,
    AnyMlflowOption,
    ArtifactsOption,
    HostOption,
    LauncherOption,
    NameArgument,
    OneStudyArgument,
    OutputOption,
    PerGpuOption,
    PickOption,
    StorageOption,
    StoreOption,
    TimeoutOption,
    TrackingOption,
    TrialOption,
    WorkersOption,
    worker_settings,
)
from study.cli.schedulers import submit
from study.serving.address import HOST
from study.storage.store import Store

app = new_app("Search a DCGAN's hyperparameters: Optuna decides, MLflow remembers.")


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file or a named config.")] = "quickstart",
    data: DataOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the study.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="Total number of trials.")] = None,
    timeout: TimeoutOption = None,
    max_hours: Annotated[
        float | None,
        typer.Option("--max-hours", metavar="HOURS", help="Stop once all trials took this long."),
    ] = None,
    workers: WorkersOption = None,
    trials_per_gpu: PerGpuOption = None,
    launcher: LauncherOption = None,
    address: AddressOption = None,
    earlier: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="STUDY",
            help="Begin with the best configs of an earlier study (repeatable).",
        ),
    ] = None,
    settings: SetOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Run a study; the same command again continues it."""
    from dcgan.config.settings import parse_assignments
    from study.config.study_config import load_study_config

    overrides: dict[str, Any] = parse_assignments(settings or []) | data_settings(data, "base.")
    overrides |= worker_settings(workers, trials_per_gpu, timeout)
    given = {"study.name": name, "study.trials": trials, "study.max_hours": max_hours}
    given |= {"study.launcher": launcher, "study.address": address}
    overrides |= {key: value for key, value in given.items() if value is not None}
    checked = load_study_config(config, overrides)  # before torch is imported
    with quick_imports():
        from study.cli.run import launch

    launch(checked, Store.at(store, storage, tracking_uri, artifacts), earlier=earlier or [])


@app.command()
def extend(
    name: NameArgument,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of each in the end.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the best trials.")] = 5,
    new_name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the new study (default: NAME-EPOCHS-epochs)."),
    ] = None,
    data: DataOption = None,
    timeout: TimeoutOption = None,
    workers: WorkersOption = None,
    trials_per_gpu: PerGpuOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Train a study's best trials further from their checkpoints, as a study of their own."""
    changes = data_settings(data, "base.") | worker_settings(workers, trials_per_gpu, timeout)
    chosen = Store.at(store, storage, tracking_uri)
    with quick_imports():
        from study.cli.extend import launch_extension

    launch_extension(chosen, name, top, epochs, new_name, changes)


app.command()(confirm)
app.command()(ask)
app.command()(explain)
app.command()(verify)
app.command()(revive)
app.command()(submit)


@app.command()
def worker(
    name: NameArgument,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the same photos.")] = None,
    workers: WorkersOption = None,
    trials_per_gpu: PerGpuOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Run trials of a study that another machine has begun."""
    settings = data_settings(data, "base.") | worker_settings(workers, trials_per_gpu)
    chosen = Store.at(store, storage, tracking_uri, artifacts)
    with quick_imports():
        from study.cli.run import join

    join(chosen, name, settings)


@app.command()
def sync(
    name: NameArgument,
    tracking_uri: AnyMlflowOption = None,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Log to MLflow what it lacks of a study; with --tracking-uri, copy the study there."""
    from study.tracking.sync import sync_study

    with progress_bar("delivering") as on_progress:
        sync_study(Store.at(store, storage), name, tracking_uri, say=say, on_progress=on_progress)


@app.command("list")
def list_studies(store: StoreOption = None, storage: StorageOption = None) -> None:
    """List the studies of a results folder."""
    from study.cli.show import print_studies

    print_studies(Store.at(store, storage))


@app.command()
def show(
    name: NameArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print all trials as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all trials as CSV.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show all trials, not only the best 50.")
    ] = False,
    importance: Annotated[
        bool, typer.Option("--importance", help="Also show which parameters mattered.")
    ] = False,
    why: Annotated[
        bool, typer.Option("--why", help="Also say why each trial ended as it did.")
    ] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Show a study's leaderboard."""
    from study.cli.show import print_csv, print_study

    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other; leave one out")
    if (importance or why) and (as_json or as_csv):
        option = "--importance" if importance else "--why"
        raise UsageError(f"{option} is for people; leave out --json or --csv")
    if as_csv:
        print_csv(Store.at(store, storage), name)
    else:
        print_study(
            Store.at(store, storage),
            name,
            as_json=as_json,
            everything=everything,
            importance=importance,
            why=why,
        )


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(help="One study (with --trials), or several.")],
    trials: Annotated[
        str | None, typer.Option("--trials", metavar="3,7,12", help="Trials of one study.")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where to draw the samples (PNG).")
    ] = Path("compare.png"),
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Show trials of one study, or the best of several, side by side: differences and samples."""
    from study.cli.compare import compare as compare_trials

    compare_trials(Store.at(store, storage), names, trials, output)


@app.command()
def delete(
    name: NameArgument,
    sure: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Delete a study: its trials, its MLflow experiment and its files."""
    from study.maintenance.delete import delete_study

    chosen = Store.at(store, storage)
    done = delete_study(chosen, name, lambda question: sure or typer.confirm(question))
    say(f"deleted the study '{name}'" if done else "nothing was deleted")


@app.command()
def gc(
    name: OneStudyArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed.")] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Remove what crashes and finished trials leave on the disk."""
    from study.maintenance.garbage import collect_garbage

    collect_garbage(Store.at(store, storage), name, dry_run=dry_run, say=say)


@app.command()
def relocate(store: StoreOption = None) -> None:
    """Make MLflow find its artifacts after a results folder was moved or renamed."""
    from study.tracking import relocate as relocation

    for line in relocation.relocate(Store.at(store)):
        say(line)


@app.command()
def doctor(
    name: OneStudyArgument = None,
    store: StoreOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Check a results folder and its studies; exit code 1 if something is at fault."""
    from dcgan.cli.doctor import print_health
    from study.maintenance.doctor import store_checks

    raise typer.Exit(print_health(store_checks(Store.at(store, storage, tracking_uri), name)))


@app.command()
def report(
    name: NameArgument,
    output: OutputOption = None,
    opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Write everything about a study into one HTML file, which needs no server and no network."""
    with quick_imports():
        from study.cli.report import report_study

    report_study(Store.at(store, storage), name, output, opened=opened)


@app.command()
def export(
    name: NameArgument,
    trial: TrialOption = None,
    pick: PickOption = None,
    output: OutputOption = None,
    form: Annotated[
        str, typer.Option("--format", metavar="yaml|json|shell", help="What to write.")
    ] = "yaml",
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Write the config that trains the best (or a given) trial in full."""
    from study.cli.show import export_trial

    export_trial(Store.at(store, storage), name, trial, output, pick, form)


@app.command()
def train(
    name: NameArgument,
    trial: TrialOption = None,
    pick: PickOption = None,
    data: DataOption = None,
    register: Annotated[
        bool, typer.Option(help="Add the generator to MLflow's model registry.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Register it although it repeats photos, as champion.")
    ] = False,
    store: StoreOption = None,
    storage: StorageOption = None,
) -> None:
    """Train the best (or a given) trial in full, beside its study in MLflow, and register it."""
    from study.cli.train import train_in_full

    chosen = Store.at(store, storage)
    train_in_full(chosen, name, trial, data, pick, register=register, force=force)


@app.command()
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to serve on.")] = 5000,
    host: HostOption = HOST,
    store: StoreOption = None,
    browser: Annotated[
        bool, typer.Option(help="Open the first study's leaderboard in the browser.")
    ] = True,
) -> None:
    """Serve the MLflow UI of a results folder on this machine (Ctrl-C ends it)."""
    from study.cli.serve import serve_mlflow

    raise typer.Exit(serve_mlflow(Store.at(store), host, port, browser=browser))


@app.command()
def dashboard(
    name: Annotated[str | None, typer.Argument(help="The study to open (default: a list).")] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to serve on.")] = 8080,
    host: HostOption = HOST,
    store: StoreOption = None,
    storage: StorageOption = None,
    browser: Annotated[bool, typer.Option(help="Open the dashboard in the browser.")] = True,
) -> None:
    """Serve Optuna's dashboard with the trials' pictures on this machine (Ctrl-C ends it)."""
    from study.cli.serve import serve_optuna

    serve_optuna(Store.at(store, storage), name, host, port, browser=browser)


@app.command()
def schema(output: SchemaOption = None) -> None:
    """Print the JSON schema of a study config, with which an editor checks and completes YAML."""
    from study.config.schema import study_schema

    write_schema(study_schema(), output)


def main() -> None:
    """Entry point of the `study` command."""
    run_app(app)
