"""`study ui` and `study dashboard`: the links they print, and their servers."""

from __future__ import annotations

from dcgan.cli.console import say
from dcgan.errors import UsageError
from dcgan.runtime.imports import quick_imports
from study.errors import StudyError
from study.serving.address import Address, has_screen
from study.storage.store import Store


def serve_mlflow(store: Store, host: str, port: int, *, browser: bool) -> int:
    """Serve MLflow's UI of a results folder until Ctrl-C; returns the server's exit code."""
    from study.tracking.ui import serve

    if store.tracking:
        raise UsageError(
            f"MLflow is served at {store.mlflow_place} (DCGAN_STUDY_TRACKING_URI): open that "
            "address, or unset the variable to serve the results folder's own"
        )
    address = Address(host, port)
    address.check()
    first = _print_mlflow_links(store, address)
    _announce(address, "MLflow", "read and change these results", first if browser else None)
    return serve(store, address)


def _print_mlflow_links(store: Store, address: Address) -> str:
    """The links that compare the trials of each study; returns the first."""
    from study.tracking.experiment import experiments_of
    from study.tracking.ui import links

    experiments = experiments_of(store)
    if not experiments:
        raise StudyError(f"there is no study in the MLflow database {store.mlflow_database}")
    say(f"MLflow UI of {store.root}")
    shown = []
    for name, (experiment_id, views) in experiments.items():
        say(f"  {name}")
        for title, link in links(experiment_id, address.url, views=views, own=True).items():
            say(f"    {title:15}{link}")
            shown.append(link)
    return shown[0]


def serve_optuna(store: Store, name: str | None, host: str, port: int, *, browser: bool) -> None:
    """Serve Optuna's dashboard of a store, opened at a study or the list, until Ctrl-C."""
    address = Address(host, port)
    address.check()  # before seconds of imports
    with quick_imports():
        from study.serving.dashboard import open_dashboard, page_of, serve
        from study.storage.optuna_db import load_all_studies, load_optuna_study

    studies = [load_optuna_study(store, name)] if name else load_all_studies(store)
    with open_dashboard(store, address) as server:
        say(f"Optuna dashboard of {store.optuna_place}")
        links = [page_of(study, address) for study in studies]
        for study, link in zip(studies, links, strict=True):
            say(f"  {study.study_name:15} {link}")
        first = links[0] if name else address.url
        can = "read these results and write notes"
        _announce(address, "the dashboard", can, first if browser else None)
        serve(server)


def _announce(address: Address, server: str, can: str, link: str | None) -> None:
    """Warn of what others can do, say how to end it, and open a link where there is a screen."""
    if warning := address.warning(server, can):
        say(warning)
    say("Ctrl-C ends the server")
    if link and has_screen():
        address.open_when_ready(link)
