"""A client of MLflow's database or server that never blocks training for long.

The only module that imports mlflow, because the environment must be set first.
"""

from __future__ import annotations

import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from study.tracking.environment import forget_breaking, prepare_import, proxies, spare_loopback

prepare_import()

from mlflow.entities import Dataset as Dataset
from mlflow.entities import DatasetInput as DatasetInput
from mlflow.entities import InputTag as InputTag
from mlflow.entities import Metric as Metric
from mlflow.entities import Param as Param
from mlflow.entities import Run as Run
from mlflow.entities import RunTag as RunTag
from mlflow.entities import ViewType as ViewType
from mlflow.exceptions import MlflowException as MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from dcgan.errors import first_line
from study.errors import StudyError
from study.storage.schema_versions import schema_problem
from study.storage.store import Store, make_database
from study.storage.waiting import wait_for_sqlite

# Of mlflow's own SQL, with SQLAlchemy 2.1: no warning for a user, and no error with -W error.
warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")

LOG = "mlflow.log"
"""The file in a results folder with MLflow's own messages and their tracebacks."""

REST_SECONDS = 30.0
"""Pause between two attempts to reach a server that did not answer."""
SILENCE = ("Max retries exceeded", "Connection refused", "timed out", "Connection aborted")
"""Words in the messages of errors that say that the server did not answer."""


class MlflowAwayError(MlflowException):
    """A call was not made, because the server did not answer a moment ago."""


class PatientClient:
    """An MLflow client that stops calling for `REST_SECONDS` after the server did not answer.

    What is not delivered meanwhile is in the runs' folders and is delivered later.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._away_until = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if time.monotonic() < self._away_until:
                raise MlflowAwayError("the server did not answer a moment ago")
            try:
                return method(*args, **kwargs)
            except (MlflowException, OSError) as error:
                if _is_silence(error):
                    self._away_until = time.monotonic() + REST_SECONDS
                raise

        return call


def open_client(store: Store) -> Any:
    """A client of the store's MLflow server, or of its database, which is created if missing."""
    _log_to(store.root / LOG)
    if store.tracking:
        spare_loopback()
        return PatientClient(MlflowClient(tracking_uri=store.tracking))
    forget_breaking()
    wait_for_sqlite(store.mlflow_database)
    make_database(
        store.mlflow_database,
        lambda url: MlflowClient(tracking_uri=url).search_experiments(max_results=1),
    )
    return MlflowClient(tracking_uri=store.mlflow_uri)


class _LogFile(logging.FileHandler):
    """A file that is made at the first message; one that cannot be written changes nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the message would be about a message."""


def _log_to(path: Path) -> None:
    """Write what MLflow says to a file instead of standard error."""
    logger = logging.getLogger("mlflow")
    earlier = [handler for handler in logger.handlers if isinstance(handler, _LogFile)]
    if any(handler.baseFilename == str(path) for handler in earlier):
        return
    for handler in earlier:
        handler.close()
    handler = _LogFile(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(name)s: %(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.WARNING)  # importing mlflow sets it to INFO


def save_pyfunc(
    place: Path, script: Path, artifacts: Mapping[str, Path], example: Any, requirements: list[str]
) -> None:
    """Save a model that MLflow serves by running `script`; nothing is pickled.

    `example` is a request; the script's annotations are the signature.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about mlflow's own models, when it is imported
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            place,
            python_model=str(script),
            artifacts={name: str(path) for name, path in artifacts.items()},
            input_example=example,
            pip_requirements=requirements,
        )


def download(uri: str, place: Path, store: Store) -> Path:
    """Download artifacts of a store's MLflow into a folder; returns where they are."""
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(uri, dst_path=str(place), tracking_uri=store.mlflow_uri))


def _is_silence(error: BaseException) -> bool:
    """Whether an error says that the server did not answer."""
    return any(words in str(error) for words in SILENCE)


def _why(error: BaseException) -> str:
    if "ProxyError" in str(error) or "Proxy Authentication" in str(error):
        named = f" (see {', '.join(proxies())})" if proxies() else ""
        return f"a proxy{named} does not let the call through"
    return "it does not answer" if _is_silence(error) else first_line(error)


@contextmanager
def required(what: str, store: Store, rest: str = "") -> Iterator[None]:
    """Turn MLflow's errors into one sentence, a `StudyError`, where a command needs MLflow.

    `what` is the verb of that sentence, such as `open`, and `rest` its end.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        if not store.tracking and (problem := schema_problem(store.mlflow_database, "mlflow")):
            raise StudyError(problem) from error
        called = f"the MLflow {'server' if store.tracking else 'database'} {store.mlflow_place}"
        raise StudyError(f"cannot {what} {called}: {_why(error)}{rest}") from error


@contextmanager
def tolerate_mlflow_errors(warn: Callable[[str], None]) -> Iterator[None]:
    """Report a failure of MLflow or its database in one sentence instead of raising it."""
    try:
        yield
    except MlflowAwayError:
        pass  # the call before it has already warned
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        warn(f"MLflow was not updated ({_why(error)}); the run's own folder has everything")
