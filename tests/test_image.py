"""The Dockerfile: its steps run one by one in a folder, and what it leaves out stays out.

Docker itself builds it where there is a registry to take Python's image from
(.github/workflows/ci.yml).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import pytest
from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[1]
OURS = {"LICENSE", "README.md", "configs", "dcgan", "pyproject.toml", "study"}


def context(folder: Path) -> list[Path]:
    """The files that a build gets of a folder."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    paths = exclude_paths(str(folder), [line for line in patterns if not line.startswith("#")])
    return sorted(path for path in map(Path, paths) if (folder / path).is_file())


def _python() -> str:
    """The folder of a Python that other users may run: of the tests' own, or the system's."""
    own = Path(sys.base_prefix) / "bin"
    return (
        str(own) if all(path.stat().st_mode & stat.S_IXOTH for path in own.parents) else "/usr/bin"
    )


class Image:
    """What the steps of the Dockerfile make, with a folder in place of the root of the image."""

    def __init__(self, root: Path, **arguments: str) -> None:
        self.root = root
        self.variables = {"PATH": f"{_python()}:/usr/bin:/bin"}
        """As in Python's image. How packages are found is the tests' own."""
        kept = ("PIP_", "UV_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
        self.given = {name: it for name, it in os.environ.items() if name.upper().startswith(kept)}
        self.folder, self.user, self.command = root, "", ""
        for step in DockerfileParser(str(ROOT)).structure:
            self._step(step["instruction"], step["value"], arguments)

    def run(self, *words: str, user: bool = True) -> str:
        """What a command prints, as the image's user where the tests may become another."""
        other = user and os.getuid() == 0
        number = int(self.user.partition(":")[0]) if other else None
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.given | self.variables,
            capture_output=True,
            text=True,
            user=number,
            group=number,
            extra_groups=[] if other else None,
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _step(self, instruction: str, value: str, arguments: dict[str, str]) -> None:
        match instruction:
            case "ARG":
                name, _, default = value.partition("=")
                self.variables[name] = arguments.get(name, shlex.split(default)[0])
            case "ENV":
                known = dict(self.variables)
                for word in shlex.split(value):
                    name, _, text = word.partition("=")
                    self.variables[name] = Template(self._here(text)).substitute(known)
            case "RUN":
                self.run("/bin/sh", "-c", self._here(value), user=False)
            case "COPY":
                *sources, target = value.split()
                for path in context(ROOT):
                    if "." in sources or str(path) in sources:
                        copy = Path(self._here(target)) / path
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(ROOT / path, copy)
            case "WORKDIR":
                self.folder = Path(self._here(value))
            case "USER":
                self.user = value
            case "CMD":
                self.command = value
            case _:
                assert instruction in ("COMMENT", "FROM", "VOLUME", "EXPOSE"), instruction

    def _here(self, text: str) -> str:
        """A text with the image's folders inside the root."""
        return re.sub(r"(?<![\w.:/])/(?=(opt|src|results)\b)", f"{self.root}/", text)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder into which any user may look, deleted at once: an image has gigabytes."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def registry() -> None:
    """Skip where packages cannot be installed."""
    asked = [sys.executable, "-m", "pip", "index", "versions", "uv"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr.strip()[-200:]}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("registry")
def test_its_steps_make_an_environment_in_which_any_user_runs_a_study(root: Path) -> None:
    image = Image(root, TORCH="cuda")  # the CPU's builds are on PyTorch's own index
    assert image.user not in ("", "0", "root")
    assert image.command == '["study", "--help"]'
    assert "Usage: study" in image.run("study", "--help")
    assert image.run("python", "-c", "import study; print(study.__file__)").startswith(
        str(root / "opt/venv")
    )
    for extra in ("gcsfs", "optuna_dashboard", "pillow_heif", "psycopg", "ray", "s3fs"):
        image.run("python", "-c", f"import {extra}")
    short = ("base.train.epochs=1", "base.eval.every_epochs=1", "base.eval.n_samples=64")
    settings = [word for setting in short for word in ("--set", setting)]
    image.run("study", "run", "quickstart", "--trials", "1", *settings)
    results = root / "results/mlruns/studies/quickstart"
    assert (results / "best.yaml").stat().st_size > 0
    assert os.getuid() != 0 or results.stat().st_uid == int(image.user.partition(":")[0])


def test_a_build_gets_what_is_installed_and_nothing_else(tmp_path: Path) -> None:
    for name in (*OURS, ".env", ".git", "mlruns", "photos", "runs", ".venv"):
        path = tmp_path / name
        if "." in name[1:] or name in ("LICENSE", ".env"):
            path.write_text("x")
        else:
            (path / "__pycache__").mkdir(parents=True)
            (path / "some.py").write_text("x")
            (path / "__pycache__/some.pyc").write_text("x")
    taken = context(tmp_path)
    assert {path.parts[0] for path in taken} == OURS
    assert Path("study/some.py") in taken
    assert not [path for path in taken if path.suffix == ".pyc"]


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
def test_another_kind_of_torch_is_refused(root: Path) -> None:
    with pytest.raises(AssertionError, match="TORCH is cpu or cuda, not gpu"):
        Image(root, TORCH="gpu")
