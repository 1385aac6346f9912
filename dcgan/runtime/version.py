"""The version of the code that made a result."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_version() -> str:
    """The package version, in a checkout with the git commit (and `+dirty` if changed)."""
    try:
        release = version("dcgan-study")
    except PackageNotFoundError:
        release = "unknown"
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return release
    try:
        commit = _git(checkout, "rev-parse", "--short=12", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--", "dcgan", "study")
    except (OSError, subprocess.SubprocessError):
        return release
    return f"{release} ({commit}{'+dirty' if changed else ''})"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
