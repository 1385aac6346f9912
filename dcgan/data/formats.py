"""The image formats that can be read here, and what to do with files of other kinds.

AVIF is read where Pillow was built with it, HEIC where `pillow-heif` is installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath

import PIL
from PIL import features

_SUFFIXES = {
    "Jpeg": (".jpg", ".jpeg", ".jfif"),
    "Png": (".png",),
    "WebP": (".webp",),
    "Bmp": (".bmp",),
    "Gif": (".gif",),
    "Tiff": (".tif", ".tiff"),
}
_HEIF = (".heic", ".heif", ".hif")
_OTHERS = """.arw .avif .cr2 .cr3 .dng .eps .exr .hdr .ico .j2k .jp2 .jxl .nef .orf .pdf .pgm .ppm
.psd .raf .raw .rw2 .svg .tga .xcf"""
_OTHER_IMAGES = frozenset(_OTHERS.split())
_JUNK = frozenset({"thumbs.db", "desktop.ini"})
MOST_SUFFIXES = 4


def _readable() -> tuple[dict[str, tuple[str, ...]], str]:
    """Suffixes by Pillow's name of a format, and the versions of what reads them."""
    suffixes, reader = dict(_SUFFIXES), f"Pillow {PIL.__version__}"
    if features.check("avif"):
        suffixes["Avif"] = (".avif",)
    for name in suffixes:  # this registers a format; in threads, Pillow's lazy imports would race
        importlib.import_module(f"PIL.{name}ImagePlugin")
    with suppress(ImportError, OSError):  # it is not installed, or a library of it is missing
        importlib.import_module("pillow_heif").register_heif_opener()
        suffixes["Heif"] = _HEIF
        reader += f", pillow-heif {importlib.metadata.version('pillow-heif')}"
    return suffixes, reader


_found, READER = _readable()
"""`READER` names what reads the files, for cache keys: another version may read other pixels."""
FORMATS = tuple(_found)
"""Pillow's names. Named, so that it tries no others (an EPS named .jpg would start Ghostscript)."""
SUFFIXES = frozenset(suffix for suffixes in _found.values() for suffix in suffixes)


def unread_suffixes(paths: Iterable[str]) -> Counter[str]:
    """How many of these files have which suffix in lower case; "" stands for none."""
    found = (PurePosixPath(path) for path in paths)
    return Counter(path.suffix.lower() for path in found if path.name.lower() not in _JUNK)


def describe_unread(counts: Mapping[str, int]) -> str:
    """One line about files that no format here is for, with a remedy; empty without such files."""
    if not counts:
        return ""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in ordered]
    if len(kinds) > MOST_SUFFIXES:
        rest = sum(count for _, count in ordered[MOST_SUFFIXES:])
        kinds = [*kinds[:MOST_SUFFIXES], f"{rest} of other kinds"]
    return f"files that were not read: {', '.join(kinds)}{remedy_for(counts)}"


def remedy_for(suffixes: Iterable[str]) -> str:
    """How to read images of these kinds, after a semicolon; empty if none is an image."""
    unread = set(suffixes) - SUFFIXES
    if unread & {*_HEIF}:
        return "; to read HEIC photos: pip install pillow-heif"
    return "; convert images to JPEG or PNG" if unread & _OTHER_IMAGES else ""
