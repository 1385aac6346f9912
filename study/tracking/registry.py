"""Generators in MLflow's model registry: registered with evidence, fetched for sampling."""

from __future__ import annotations

import atexit
import shlex
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dcgan.errors import UsageError, first_line
from dcgan.evaluation.record import EvalRecord, in_digits
from dcgan.training.run.exported import is_model
from study.errors import StudyError
from study.storage.store import STORE_VARIABLE, TRACKING_VARIABLE, Store
from study.tracking.client import (
    MlflowException,
    download,
    open_client,
    required,
    save_pyfunc,
)

CHAMPION = "champion"
SCHEME = "models:/"
SERVED = Path(__file__).with_name("served_model.py")
EXAMPLE = [{"count": 2, "seed": 0}]
"""A request to a served model."""
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers for a model, a version and an alias that is not there."""
PINNED = ("dcgan-study", "torch", "safetensors", "pillow", "mlflow")


@dataclass(frozen=True)
class Evidence:
    """What decides between two versions; kept as their tags."""

    metric: str
    value: float
    low: float
    high: float
    """The 95 % interval over other generated images."""
    extractor: str
    """Its fingerprint."""
    photos: str
    """Their fingerprint."""
    n_samples: int

    @classmethod
    def of(cls, record: EvalRecord, photos: str) -> Evidence:
        """The evidence of an evaluation."""
        metric, value = record.frechet_metric, record.frechet
        low, high = (record.metrics.get(f"{metric}_{end}", value) for end in ("low", "high"))
        extractor = record.extractor_fingerprint
        return cls(metric, value, low, high, extractor, photos, record.n_samples)

    @classmethod
    def from_tags(cls, tags: dict[str, str]) -> Evidence | None:
        """What `tags` wrote; None for a version of another program."""
        try:
            value, low, high = (float(tags[key]) for key in ("value", "low", "high"))
            extractor, photos = tags["extractor"], tags["photos"]
            samples = int(tags["n_samples"])
            return cls(tags["metric"], value, low, high, extractor, photos, samples)
        except (KeyError, ValueError):
            return None

    def tags(self) -> dict[str, str]:
        """Plain texts."""
        return {key: str(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Registered:
    """A new version of a registered model."""

    name: str
    number: int
    champion: bool
    why: str
    """Why it is, or is not, the champion."""


def register(
    store: Store, name: str, run_id: str, folder: Path, evidence: Evidence, *, force: bool = False
) -> Registered:
    """Register an exported generator as the next version of a model, and decide on the champion.

    `run_id` is the run it comes from, and `folder` what `dcgan export` wrote. Raises `StudyError`
    if the server has no registry or MLflow cannot be reached.
    """
    card = (folder / "README.md").read_text(encoding="utf-8")
    with required("register a model in", store), tempfile.TemporaryDirectory() as place:
        client = open_client(store)
        logged = Path(place) / "model"
        requirements = [f"{package}=={version(package)}" for package in PINNED]
        save_pyfunc(logged, SERVED, {"model": folder}, EXAMPLE, requirements)
        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, "generator", source_run_id=run_id)
        client.log_model_artifacts(model.model_id, str(logged))
        client.finalize_logged_model(model.model_id, "READY")
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = client.create_model_version(
            name,
            # Without a server, MLflow would look for the model in its default database.
            source=f"{SCHEME}{model.model_id}" if store.tracking else model.artifact_location,
            run_id=run_id,
            tags=evidence.tags(),
            description=card,
            model_id=model.model_id,
        )
        wins, why = (True, "it was forced") if force else _judge(client, name, evidence)
        if wins:
            client.set_registered_model_alias(name, CHAMPION, made.version)
        return Registered(name, int(made.version), wins, why)


def _judge(client: Any, name: str, evidence: Evidence) -> tuple[bool, str]:
    """Whether a version beats the present champion by more than chance, and why."""
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return True, "there was none"
    known = Evidence.from_tags(champion.tags)
    called = f"version {champion.version}"
    if known is None:
        return False, f"{called} has no score to compare with"
    if (known.metric, known.extractor, known.photos, known.n_samples) != (
        evidence.metric,
        evidence.extractor,
        evidence.photos,
        evidence.n_samples,
    ):
        return False, (
            f"{called} was scored on other photos, by another extractor or with another number of "
            "images"
        )
    scores = f"{in_digits(evidence.value)} against {in_digits(known.value)}"
    if evidence.high < known.low:
        return True, f"it beats {called}: {evidence.metric} {scores}, intervals apart"
    return False, f"it does not beat {called} by more than chance: {evidence.metric} {scores}"


def fetch(reference: str, store: Store | None = None) -> Path:
    """Download a registered generator, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

    Returns its exported folder, which stays until the process ends. Raises `UsageError` for a
    reference of another form, and `StudyError` if there is no such version.
    """
    name, at, alias = reference.removeprefix(SCHEME).partition("@")
    number = ""
    if not at:
        name, _, number = name.partition("/")
    if not name or not (alias or number.isdecimal()):
        raise UsageError(
            f"{reference} is no registered model; write models:/NAME@champion or models:/NAME/1"
        )
    store = store or Store.at()
    if not store.tracking and not store.mlflow_database.is_file():  # opening it would create it
        raise StudyError(
            f"there is no model {reference}: {store.root} holds no results; name their folder or "
            f"server in {STORE_VARIABLE} or {TRACKING_VARIABLE}"
        )
    with required("read a model in", store):
        client = open_client(store)
        try:
            found = (
                client.get_model_version_by_alias(name, alias)
                if alias
                else client.get_model_version(name, number)
            )
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            raise StudyError(
                f"there is no model {reference} in {store.mlflow_place}; 'study train' registers "
                "one"
            ) from None
        place = Path(tempfile.mkdtemp(prefix="dcgan-model"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        uri = client.get_model_version_download_uri(found.name, found.version)
        try:
            exported = download(uri, place, store) / "artifacts" / "model"
        except OSError as error:
            raise StudyError(f"cannot download {reference}: {first_line(error)}") from None
    if not is_model(exported):
        raise StudyError(f"{reference} is not a generator that 'study train' registered")
    return exported


def reading_command(store: Store, made: Registered) -> str:
    """The command that draws from a version, with the variables that it needs here."""
    here, words = Store.at(), []
    if store.tracking:
        if store.tracking != here.tracking:
            words.append(f"{TRACKING_VARIABLE}={shlex.quote(store.tracking)}")
    elif store.root != here.root:
        words.append(f"{STORE_VARIABLE}={shlex.quote(str(store.root))}")
    return " ".join([*words, f"dcgan generate {SCHEME}{made.name}/{made.number}"])
