"""A trial as a config that trains it in full, with a record of where it comes from."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.config.settings import (
    dotted_keys,
    get_dotted,
    load_train_config,
    override,
    parse_assignments,
    save_config,
)
from dcgan.config.train_config import TrainConfig
from dcgan.errors import ConfigError
from dcgan.runtime.files import write_text_atomic
from study.config.identity import FREE_TRAIN_KEYS, WARN_ONLY
from study.config.space import trial_config
from study.config.study_config import StudyConfig
from study.errors import StudyError
from study.results.confirmed import Confirmation
from study.results.selection import pick_trial
from study.storage.attributes import stored_identity, study_config
from study.storage.store import trial_name
from study.storage.trial_result import TrialResult


def export_config(study: Study, number: int | None = None, rule: str | None = None) -> TrainConfig:
    """The config of a trial's full run: its parameters and seed, full epochs, provenance.

    Chooses the trial, and raises, as `pick_trial` does.
    """
    return full_config(study, pick_trial(study, number, rule), rule)


def full_config(study: Study, trial: TrialResult, rule: str | None = None) -> TrainConfig:
    """The config of the full run of a trial that has been picked (by a rule)."""
    config = study_config(study)
    trained = trial_config(config, trial.params, trial.number, trial.seed)
    full = override(trained, changes_of_full_run(config), "full_run")
    picked = {} if rule is None else {"picked_by": rule}
    provenance = _provenance(study, trial, trained) | picked | _expected(study, trial, full)
    return full.model_copy(update={"provenance": provenance})


def _expected(study: Study, trial: TrialResult, full: TrainConfig) -> dict[str, Any]:
    """What the config is expected to score, and how a score is made, if it has been confirmed.

    If it was confirmed with other settings, which these are.
    """
    confirmed = Confirmation.read(study)
    promise = confirmed.promise(trial.number) if confirmed else None
    if confirmed is None or promise is None:
        return {}
    raced = trial_config(confirmed.config, trial.params, trial.number, trial.seed)
    free = {*FREE_TRAIN_KEYS, "train.epochs"}  # the promise says after how many
    keys = [
        it for it in dotted_keys(TrainConfig) if it not in free and not it.startswith(WARN_ONLY)
    ]
    if differ := [key for key in keys if get_dotted(raced, key) != get_dotted(full, key)]:
        return {"confirmed_with_other": differ}
    return {
        "expected": promise.as_dict(),
        "objective": study_config(study).objective.model_dump(mode="json"),
    }


def changes_of_full_run(config: StudyConfig) -> dict[str, Any]:
    """Dotted train keys whose values differ between a study's trials and a full run."""
    changes = {"train.epochs": TrainConfig().train.epochs, "eval.fid_at_end": True}
    changes |= config.full_run
    # A trial on rungs may be longer: its epochs follow from the number of photos.
    changes["train.epochs"] = max(changes["train.epochs"], config.base.train.epochs)
    return changes


def _provenance(study: Study, trial: TrialResult, trained: TrainConfig) -> dict[str, Any]:
    identity = stored_identity(study)
    best = trial.state == TrialState.COMPLETE and identity.get("eval.select") == "best"
    return {
        "study": study.study_name,
        "trial": trial_name(trial.number),
        "origin": trial.origin,
        "state": trial.state.name,
        "mlflow_run_id": trial.run_id,
        "score": trial.score,
        **trial.distances,
        "imbalance": trial.imbalance,
        **trial.metrics,
        "scored_at_epoch": trial.epoch,
        "scored_checkpoint": "best.pt" if best else "checkpoint.pt",
        "n_samples": trained.eval.n_samples,
        "extractor": identity["extractor.name"],
        "extractor_fingerprint": identity["extractor.fingerprint"],
        "data_fingerprint": identity["data.fingerprint"],
        "code_version": trial.code_version or identity["environment.code_version"],
    }


FORMATS = ("yaml", "json", "shell")
SUFFIXES = {"shell": "sh"}


def write_export(config: TrainConfig, path: Path, form: str = "yaml") -> None:
    """Write an exported config atomically, and read it again to be sure that it is the same.

    `yaml` has a comment that says what it is; `json` is the same data, which `dcgan train` reads as
    well (JSON is YAML); `shell` is the `dcgan train` command, without the record of its source.
    """
    text = _text(config, form)
    with tempfile.TemporaryDirectory() as folder:  # what cannot be read again is not put in place
        trial = Path(folder) / "export"
        trial.write_text(text, encoding="utf-8")
        if form == "shell":
            config = config.model_copy(update={"provenance": {}})
        try:
            read = (
                load_train_config("reference", parse_assignments(_settings(shlex.split(text))))
                if form == "shell"
                else load_train_config(trial)
            )
        except ConfigError:  # of a study of an earlier release: `dcgan train` names the setting
            read = config
    if read != config:
        raise StudyError(f"{path} would not say the same as the trial's config; please report this")
    write_text_atomic(path, text)


def _text(config: TrainConfig, form: str) -> str:
    if form == "json":
        return json.dumps(config.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    if form == "shell":
        return f"{train_command(config)}\n"
    source = config.provenance
    header = (
        f"The full run of {source['trial']} of the study '{source['study']}'.\n"
        "Train it with: dcgan train THIS_FILE [--data DIR]"
    )
    with tempfile.TemporaryDirectory() as folder:
        save_config(config, Path(folder) / "export.yaml", header)
        return (Path(folder) / "export.yaml").read_text(encoding="utf-8")


def train_command(config: TrainConfig) -> str:
    """The `dcgan train` command of a config: the reference recipe and what differs from it."""
    reference = load_train_config("reference")
    words = ["dcgan", "train", "reference"]
    for key in dotted_keys(TrainConfig):
        value = get_dotted(config, key)
        if key != "provenance" and value != get_dotted(reference, key):
            words += ["--set", f"{key}={_as_yaml(value)}"]
    return shlex.join(words)


def _as_yaml(value: Any) -> str:
    """A value as `--set` reads it, without quotes where it needs none."""
    plain = list(value) if isinstance(value, tuple) else value
    text = str(plain) if isinstance(plain, str | Path) else json.dumps(plain, ensure_ascii=False)
    return (
        text
        if parse_assignments([f"key={text}"])["key"] == plain
        else json.dumps(text, ensure_ascii=False)
    )


def _settings(words: list[str]) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == "--set"]
