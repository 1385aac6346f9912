"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import ready

from dcgan.config.settings import override
from dcgan.config.train_config import TrainConfig

# Networks this small are several times slower on two busy cores than on one thread. Read by torch
# when it is first imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test reaches for the network or for what lies in a person's own cache.
os.environ["DCGAN_OFFLINE"] = "1"
os.environ.pop("DCGAN_INCEPTION_WEIGHTS", None)
# Under nohup, programs that tests start would rightly ignore the hang-ups that tests send.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

TINY: dict[str, Any] = {
    "data.source": "toy_cats",
    "data.toy_count": 40,  # three steps an epoch, the last with 8 photos
    "data.image_size": 32,
    "augment.blur_kernel": [3, 5],
    "model.nz": 6,
    "model.ngf": 8,
    "model.ndf": 8,
    "train.epochs": 2,
    "train.batch_size": 16,
    "train.device": "cpu",
    "train.threads": 1,
    "train.ema_half_life_images": 60,
    "train.grid_every_steps": 1000,
    "eval.extractor": "random",
    "eval.n_samples": 64,
    "eval.every_epochs": 0,
    "eval.select": "last",
}


def pytest_configure(config: pytest.Config) -> None:
    """Start one ready process for all the processes of a test run."""
    if hasattr(config, "workerinput"):  # of pytest-xdist: the first process has started it
        return
    folder = Path(tempfile.mkdtemp(prefix="ready"))
    os.environ[ready.VARIABLE] = str(folder)
    process = ready.start(folder)

    def stop() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder)

    config.add_cleanup(stop)


@pytest.fixture(scope="session")
def programs() -> ready.Ready:
    """`python`, `study` and `dcgan` as programs that start at once: see `ready`."""
    return ready.Ready(Path(os.environ[ready.VARIABLE]))


@pytest.fixture(scope="session", autouse=True)
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures shared by several tests run before the cache of a test is set: give them one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DCGAN_CACHE", str(tmp_path_factory.mktemp("session-cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch-home")))
        yield


@pytest.fixture(autouse=True)
def _test_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "dcgan-cache"))


@pytest.fixture
def unprivileged() -> Callable[[Path], AbstractContextManager[None]]:
    """Be somebody whom permissions bind, even where the tests run as root."""

    @contextmanager
    def drop(folder: Path) -> Iterator[None]:
        """Args: folder: what they may enter and write to, as far as its own files let them."""
        if os.getuid() != 0:
            yield
            return
        for parent in folder.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        folder.chmod(0o777)
        os.setresuid(65534, 65534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)

    return drop


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., TrainConfig]:
    """Make the config of a tiny run; arguments are dotted keys with `__` for the dot."""

    def make(**settings: Any) -> TrainConfig:
        changed = {key.replace("__", "."): value for key, value in settings.items()}
        return override(TrainConfig(), TINY | changed)

    return make
