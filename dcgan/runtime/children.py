"""The environment of Python processes that a command starts."""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

import dcgan


def child_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The variables of `given`, made safe for `python -m MODULE`.

    A child imports the packages that this process has imported. Python would search the working
    folder first, where a file may have the name of a module (`dcgan.py`, `queue.py`).
    """
    environment = {**given, "PYTHONSAFEPATH": "1"}
    packages = Path(dcgan.__file__).parents[1]
    # Of an installed package no entry is needed, and one would come before the standard library.
    installed = map(os.path.realpath, (*site.getsitepackages(), site.getusersitepackages()))
    own = [] if os.path.realpath(packages) in installed else [str(packages)]
    # An empty entry, as in PYTHONPATH=:/x, stands for the working folder.
    others = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    here = Path.cwd()
    others = [path for path in others if Path(path).resolve() not in (here, packages)]
    environment["PYTHONPATH"] = os.pathsep.join([*own, *others])
    return environment
