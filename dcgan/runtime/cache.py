"""The cache folder and its checked JSON files. You can delete its contents at any time."""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import Any

from dcgan.runtime.files import write_atomic
from dcgan.runtime.home import ensure_home

_CHECKED_JSON = re.compile(rb'\{"crc32":(\d{1,10}),"body":\n(.+)\n\}\n')


def cache_folder() -> Path:
    """`DCGAN_CACHE` if set, else `$XDG_CACHE_HOME/dcgan`, else `~/.cache/dcgan`. May not exist."""
    own, shared = os.environ.get("DCGAN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser().absolute()
        if shared and Path(shared).is_absolute():  # the XDG standard ignores relative ones
            return Path(shared) / "dcgan"
        return Path.home() / ".cache" / "dcgan"
    except RuntimeError:  # the user of a container may have no home folder
        ensure_home()
        return Path.home() / ".cache" / "dcgan"


def write_checked_json(path: Path, body: Any) -> None:
    """Write plain data as JSON with its checksum, like `write_atomic`."""
    # ASCII: file names that are not valid Unicode survive as escapes.
    text = json.dumps(body, separators=(",", ":")).encode("ascii")
    document = b'{"crc32":%d,"body":\n%b\n}\n' % (zlib.crc32(text), text)
    write_atomic(path, lambda file: file.write(document))


def read_checked_json(path: Path) -> Any:
    """What `write_checked_json` wrote; None if the file is missing, unreadable or damaged."""
    try:
        match = _CHECKED_JSON.fullmatch(path.read_bytes())
    except OSError:
        return None
    if match is None or int(match[1]) != zlib.crc32(match[2]):
        return None
    return json.loads(match[2])
