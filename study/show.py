"""What `study list`, `show`, `export` and `ui` print."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import optuna
from optuna.trial import TrialState

from dcgan.config_io import save_config
from dcgan.console import say
from dcgan.errors import UsageError
from study.errors import StudyError
from study.export import export_config, header_of, study_config
from study.leaderboard import best_rows_of, print_table, rows_of
from study.storage import FINISHED, load_optuna_study, open_storage
from study.store import Store
from study.summaries import outcomes_of
from study.ui import check_served, trials_link


def print_studies(store: Store) -> None:
    """One line a study: trials finished, total, best score."""
    storage = open_storage(store)
    say(f"studies in {store.root}:")
    for found in sorted(storage.get_all_studies(), key=lambda item: str(item.study_name)):
        study = optuna.load_study(study_name=found.study_name, storage=storage)
        finished = [trial for trial in outcomes_of(study) if trial.state in FINISHED]
        complete = [trial for trial in finished if trial.state == TrialState.COMPLETE]
        scores = [trial.values[0] for trial in complete if trial.values]
        best = f"best score {min(scores):.3f}" if scores else "no complete trial yet"
        total = study_config(study).study.trials
        say(f"  {found.study_name}: {len(finished)} of {total} trials finished, {best}")


def print_study(
    store: Store, name: str, *, as_json: bool = False, everything: bool = False
) -> None:
    """The leaderboard of a study.

    Args:
        as_json: print all of it as JSON.
        everything: print all rows of the table, not only the best.
    """
    study = load_optuna_study(store, name)
    if as_json:
        document = {
            "study": name,
            "store": str(store.root),
            "identity": json.loads(study.user_attrs.get("identity", "{}")),
            "trials": [row.as_dict() for row in rows_of(study)],
        }
        say(json.dumps(document, indent=2))
        return
    rows, others = (rows_of(study), Counter[str]()) if everything else best_rows_of(study)
    states = others + Counter(row.state for row in rows)
    finished = sum(states[state.name] for state in FINISHED)
    total = study_config(study).study.trials
    title = f"{name}: {finished} of {total} trials finished (lower scores are better)"
    print_table(rows, title, others)
    say(f"files: {store.study(name).path}")


def write_export(store: Store, name: str, trial: int | None, output: Path | None) -> None:
    """Write a trial's full-run config and say where."""
    study = load_optuna_study(store, name)
    config = export_config(study, trial)
    chosen = config.provenance["trial"]
    default = store.study(name).path / f"{chosen}.yaml"
    path = (output or default).absolute()
    try:
        save_config(config, path, header_of(config))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another -o FILE") from None
    score = config.provenance["score"]
    known = "no score" if score is None else f"score {score:.3f}"
    say(f"{chosen} ({known}), to be trained in full for {config.train.epochs} epochs:")
    say(str(path))


def print_links(store: Store, port: int) -> None:
    """The link that compares the trials of each study."""
    check_served(store)
    from study.tracking import experiment_ids

    ids = experiment_ids(store)
    if not ids:
        raise StudyError(f"there is no study in the MLflow database {store.mlflow_database}")
    say(f"MLflow UI of {store.root}; the trials of")
    for name, experiment_id in ids.items():
        say(f"  {name}: {trials_link(experiment_id, port)}")
    say("Ctrl-C ends the server")
