"""A full run's generator: exported, scored for its model card, and registered in MLflow."""

from __future__ import annotations

from dcgan.api import Scoring
from dcgan.data.bank import PhotoBank
from dcgan.errors import RepeatsPhotosError
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.exported import write_model
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.model_card import model_card
from study.errors import StudyError
from study.results.full_run import FullRun
from study.storage.attributes import with_addresses
from study.tracking.client import open_client, required
from study.tracking.experiment import find_experiment
from study.tracking.registry import Evidence, Registered, register


def register_full_run(run: FullRun, bank: PhotoBank, *, force: bool = False) -> Registered:
    """Write the folder `model` beside a finished full run, and register it under the study's name.

    The checkpoint is the one that counts (`eval.select`). `force` registers it even if it repeats
    training photos, and makes it the champion whatever its score. Raises `RepeatsPhotosError`
    before anything is written, and `StudyError` if MLflow cannot be reached or does not show the
    run.
    """
    files, config = RunFolder(run.folder), run.config
    chosen = files.best if config.eval.select == "best" else files.checkpoint
    scoring, which = Scoring(load_checkpoint(chosen), bank=bank), config.eval.score_model
    record, memorised = scoring.evidence()
    if memorised is not None and memorised.beyond_chance and not force:
        raise RepeatsPhotosError(
            f"{memorised.describe()}; 'dcgan evaluate {chosen} --panel FILE' draws them, and the "
            "same command with --force registers it as champion, with that in its model card"
        )
    folder, checkpoint = run.folder / "model", scoring.checkpoint
    write_model(checkpoint, folder, model_card(checkpoint, record, memorised, which), which)
    store, name = with_addresses(run.store, run.study), run.study.study_name
    evidence = Evidence.of(record, bank.fingerprint)
    return register(store, name, _run_id(run), folder, evidence, force=force)


def _run_id(run: FullRun) -> str:
    """The MLflow run of the full run."""
    store, name = with_addresses(run.store, run.study), run.study.study_name
    with required("ask", store):
        client = open_client(store)
        found = find_experiment(client, store.study(name))
        same = f"tags.kind = 'full' AND tags.`optuna.trial_number` = '{run.trial.number}'"
        runs = client.search_runs([found.experiment_id], same, max_results=1) if found else []
        if not runs:
            raise StudyError(
                f"MLflow does not show the full run; 'study sync {name}{run.store.options}' "
                "delivers it"
            )
        return str(runs[0].info.run_id)
