"""A user id without a name and a home folder, as containers and clusters give."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 54321
CAPABILITIES = "+dac_override,+dac_read_search"  # the interpreter may be in a home of root's

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can be another user"
)


@pytest.mark.slow
def test_a_study_runs_without_a_home(study_file: Callable[..., Path], tmp_path: Path) -> None:
    file = study_file(study__trials=1)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)
    lacking = ("HOME", "USER", "LOGNAME", "DCGAN_CACHE", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in lacking}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    may = [f"--inh-caps={CAPABILITIES}", f"--ambient-caps={CAPABILITIES}"]
    program = [sys.executable, "-m", "study", "run", str(file), "--store", str(tmp_path / "store")]
    done = subprocess.run(
        [*who, *may, *program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "store/studies/tiny/best.yaml").is_file()
