"""`study explain`: what the trials say of the search itself."""

from __future__ import annotations

import json

from dcgan.cli.console import progress_bar, say
from study.report.explained import explain
from study.report.explained_words import lines_of
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def print_explanation(store: Store, name: str, *, as_json: bool = False) -> None:
    """Print what a study's trials say, as text or as JSON."""
    study = load_optuna_study(store, name)
    with progress_bar("looking for what mattered"):
        explained = explain(study, store)
    if as_json:
        say(json.dumps(explained.as_dict(), indent=2))
        return
    say(f"{name}: what {explained.rests_on} say")
    for line in lines_of(explained):
        say(line)
