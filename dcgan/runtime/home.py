"""A home folder and a user name for users who have none, as in a container with any user id.

Libraries ask for both when they are imported, and fail without.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def ensure_home() -> None:
    """Set `HOME` and `LOGNAME` in the environment if the system has none for this user."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_private_folder())
    try:
        getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the second
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"


def _private_folder() -> Path:
    """A folder below the temporary one that is this user's alone, the same at every start if so."""
    usual = Path(tempfile.gettempdir()) / f"dcgan-home-{os.getuid()}"
    with suppress(OSError):
        usual.mkdir(mode=0o700, exist_ok=True)
        found = usual.lstat()
        private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if private and found.st_uid == os.getuid():
            return usual
    return Path(tempfile.mkdtemp(prefix="dcgan-home-"))
