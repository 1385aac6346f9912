"""A checkpoint on a disk that is full, with a real small disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dcgan.config.settings import save_config


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0,
    reason="this user cannot mount anything",
)
def test_the_reason_is_the_disk(tiny_config, tmp_path: Path) -> None:
    config = tiny_config(model__ngf=32, model__ndf=32, train__epochs=1, eval__n_samples=16)
    save_config(config, tmp_path / "tiny.yaml")
    (tmp_path / "small").mkdir()
    mount = 'mount -t tmpfs -o size=1500k none "$1" && shift && exec "$@"'
    program = [sys.executable, "-m", "dcgan", "train", "tiny.yaml", "--out", "small/run"]
    command = ["unshare", "-Urm", "sh", "-c", mount, "sh", "small", *program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write the checkpoint ")
    assert last.endswith(": No space left on device")
