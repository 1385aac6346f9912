"""A home folder and a user name for users who have none, as in a container with any user id.

Libraries ask for both when they are imported, and fail without.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def ensure_home() -> None:
    """Set `HOME` and `LOGNAME` in the environment if nothing else says them."""
    try:
        Path.home()
    except RuntimeError:
        home = Path(tempfile.gettempdir()) / f"dcgan-home-{os.getuid()}"
        with suppress(OSError):  # without it, libraries keep no files there
            home.mkdir(mode=0o700, exist_ok=True)
        os.environ["HOME"] = str(home)
    try:
        getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the second
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
