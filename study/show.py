"""What `study list`, `show`, `export` and `ui` print."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
from optuna.trial import TrialState

from dcgan.config_io import save_config
from dcgan.console import say
from dcgan.errors import UsageError
from study.errors import StudyError
from study.export import export_config, header_of, study_config
from study.leaderboard import print_table, rows_of
from study.storage import FINISHED, load_optuna_study, open_storage
from study.store import Store
from study.ui import HOST, check_served, trials_link


def print_studies(store: Store) -> None:
    """One line a study: trials finished, total, best score."""
    storage = open_storage(store)
    say(f"studies in {store.root}:")
    for found in sorted(storage.get_all_studies(), key=lambda item: str(item.study_name)):
        study = optuna.load_study(study_name=found.study_name, storage=storage)
        finished = study.get_trials(deepcopy=False, states=FINISHED)
        scores = [trial.values[0] for trial in finished if trial.state == TrialState.COMPLETE]
        best = f"best score {min(scores):.3f}" if scores else "no complete trial yet"
        total = study_config(study).study.trials
        say(f"  {found.study_name}: {len(finished)} of {total} trials finished, {best}")


def print_study(store: Store, name: str, as_json: bool) -> None:
    """The leaderboard of a study."""
    study = load_optuna_study(store, name)
    rows = rows_of(study)
    if as_json:
        document = {
            "study": name,
            "store": str(store.root),
            "identity": json.loads(study.user_attrs.get("identity", "{}")),
            "trials": [row.as_dict() for row in rows],
        }
        say(json.dumps(document, indent=2))
        return
    finished = sum(row.state in {state.name for state in FINISHED} for row in rows)
    total = study_config(study).study.trials
    print_table(rows, f"{name}: {finished} of {total} trials finished (lower scores are better)")
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
        say(f"  {name}: {trials_link(experiment_id, f'http://{HOST}:{port}')}")
    say("Ctrl-C ends the server")
