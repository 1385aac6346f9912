"""Where Inception's weights come from: a named file, torch's hub cache, or a download.

The first of these counts: the file that `eval.weights` (--weights) names; the file that
DCGAN_INCEPTION_WEIGHTS names; the torch hub cache, which torch-fidelity and torchmetrics use too; a
download into that cache, unless DCGAN_OFFLINE=1. A named file may hold any weights. The others must
be the canonical file, byte for byte.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import BinaryIO, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import torch

from dcgan.errors import EvaluationError
from dcgan.runtime.files import write_atomic

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""
WEIGHTS_VARIABLE = "DCGAN_INCEPTION_WEIGHTS"
OFFLINE_VARIABLE = "DCGAN_OFFLINE"
ALTERNATIVES = (
    f"name a file that holds them with --weights or {WEIGHTS_VARIABLE}, or use the extractor joint"
)


@dataclass(frozen=True)
class Release:
    """A published file of weights."""

    url: str
    sha256: str
    size: int
    """In bytes."""
    connect_seconds: float = 10.0
    """Timeout for the beginning of the answer."""

    @property
    def cached(self) -> Path:
        """Its path in torch's hub cache (see TORCH_HOME). The file may not exist."""
        return Path(torch.hub.get_dir(), "checkpoints", self.url.rpartition("/")[2])


CANONICAL = Release(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    95_628_359,
)
"""Inception-v3 of 2015-12-05, ported from TensorFlow by torch-fidelity. It defines FID."""


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights, read once, so that digest and tensors come from the same bytes."""

    path: Path
    content: bytes = field(repr=False)
    source: str
    """Its origin in words."""

    @cached_property
    def sha256(self) -> str:
        """Digest (hex) of the content."""
        return hashlib.sha256(self.content).hexdigest()


def named_weights(given: Path | str | None = None) -> WeightsFile | None:
    """The file named by `given`, else by DCGAN_INCEPTION_WEIGHTS; None if neither names one.

    Raises `EvaluationError` if the file cannot be read.
    """
    who = WEIGHTS_VARIABLE if given is None else "eval.weights"
    named = os.environ.get(WEIGHTS_VARIABLE) if given is None else given
    if not named:
        return None
    path = Path(named).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EvaluationError(
            f"the Inception weights {path} that {who} names cannot be read "
            f"({error.strerror}); correct {who}"
        ) from error
    return WeightsFile(path, content, f"{path} (named by {who})")


def cached_weights(release: Release = CANONICAL) -> WeightsFile | None:
    """The file in the torch hub cache, or None.

    Raises `EvaluationError` if it cannot be read or is not the canonical file.
    """
    path = release.cached
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise EvaluationError(
            f"the Inception weights in the torch hub cache {path} cannot be read "
            f"({error.strerror}); {ALTERNATIVES}"
        ) from error
    file = WeightsFile(path, content, f"the torch hub cache {path}")
    if file.sha256 != release.sha256:
        raise EvaluationError(
            f"the Inception weights in the torch hub cache {path} are not the canonical ones "
            f"({len(content):,} of {release.size:,} bytes, sha256 {file.sha256[:12]}… instead of "
            f"{release.sha256[:12]}…); delete that file to have it downloaded again"
        )
    return file


def download_weights(
    on_progress: OnProgress | None = None, release: Release = CANONICAL
) -> WeightsFile:
    """Download the weights into the torch hub cache. An error leaves no file there.

    Raises `EvaluationError` if DCGAN_OFFLINE is set, the server cannot be reached or sends another
    file, or the cache cannot be written.
    """
    path = release.cached
    if offline():
        raise EvaluationError(
            f"the Inception weights are not in the torch hub cache ({path}) and {OFFLINE_VARIABLE} "
            f"forbids downloading them; {ALTERNATIVES}"
        )
    try:
        with _open(release) as response:
            write_atomic(path, lambda file: _receive(response, file, release, on_progress))
        content = path.read_bytes()
    except (OSError, HTTPException) as error:
        raise EvaluationError(
            f"the Inception weights cannot be downloaded from {release.url} to {path} "
            f"({_reason(error, release)}); {ALTERNATIVES}"
        ) from error
    return WeightsFile(path, content, f"the torch hub cache {path}, downloaded just now")


def offline() -> bool:
    """Whether DCGAN_OFFLINE forbids downloads."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def _open(release: Release) -> HTTPResponse:
    """Request the file. Raises TimeoutError if no answer begins within `connect_seconds` in all.

    A socket's timeout starts again for each address and redirect, and a name lookup has none. So a
    thread asks, which may outlive the timeout. A pool's threads would delay the program's exit.
    """
    answer: Future[HTTPResponse] = Future()

    def ask() -> None:
        try:
            answer.set_result(urlopen(release.url, timeout=release.connect_seconds))
        except Exception as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return answer.result(release.connect_seconds)


def _receive(
    response: HTTPResponse, file: BinaryIO, release: Release, on_progress: OnProgress | None
) -> None:
    digest, done = hashlib.sha256(), 0
    while done <= release.size and (block := response.read(1 << 20)):
        file.write(block)
        digest.update(block)
        done += len(block)
        if on_progress is not None:
            on_progress(min(done, release.size), release.size)
    if done != release.size or digest.hexdigest() != release.sha256:
        short = done < release.size
        problem = f"only {done:,} of {release.size:,} bytes" if short else "another file"
        raise EvaluationError(
            f"the Inception weights cannot be downloaded from {release.url} ({problem} "
            f"arrived); try again, or {ALTERNATIVES}"
        )


def _reason(error: Exception, release: Release) -> str:
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {release.connect_seconds:g} s"
    strerror = getattr(cause, "strerror", None)
    return strerror or str(cause).strip() or type(error).__name__


def weights_at_hand(given: Path | None) -> bool:
    """Whether Inception's weights are on this machine.

    Raises `EvaluationError` if a named file cannot be read or the cached file is damaged.
    """
    return named_weights(given) is not None or cached_weights() is not None
