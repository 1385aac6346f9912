"""Whether the samples of a study's trials show the augmentations that these trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from optuna.trial import TrialState
from torch import Tensor

from dcgan.config.settings import override
from dcgan.data.bank import load_bank
from dcgan.errors import DcganError
from dcgan.evaluation.leakage import DETECTABLE, Detector, Leakage
from dcgan.runtime.files import write_text_atomic
from dcgan.runtime.pictures import grid_images, read_picture
from dcgan.runtime.version import code_version
from dcgan.training.run.folder import RunFolder
from study.config.dimensions import Choices, plain, plain_value
from study.config.study_config import StudyConfig
from study.results.sample_rows import GRID, counting_grid
from study.results.wording import percent
from study.storage.store import StudyFolder
from study.storage.trial_result import TrialResult

KEPT = "traces.json"
OFF = (0, [0, 0], (0, 0))
"""Values of an augmentation that switch it off."""
MOST_TRIALS = 16
"""Trials with a value, best first, whose samples are judged together."""


class Trace(NamedTuple):
    """What samples show of one augmentation."""

    value: str
    """In words, with its short name: `hue 0.1`."""
    with_it: Leakage | None
    """Of trials that had it; None if nothing can be told."""
    without: Leakage | None

    @property
    def shows(self) -> bool:
        """Whether trials with it show it, by more than chance.

        Trials without it are the measure, if there are any: samples differ from photos in other
        ways, too, so that even theirs may lie far from plain photos.
        """
        if self.with_it is None:
            return False
        return self.with_it.low > (self.without.high if self.without else 0.0)

    def describe(self) -> str:
        """One sentence."""
        if self.with_it is None:
            return f"{self.value}: a classifier cannot tell photos with it from plain ones"
        verdict = "shows" if self.shows else "does not show beyond chance"
        told = f"{self.value} {verdict} in the samples: {_in_words(self.with_it)} of the way from "
        told += "plain to augmented photos"
        return f"{told}, {_in_words(self.without)} without it" if self.without else told


def augmentations_of(config: StudyConfig) -> list[str]:
    """The searched keys whose traces can be looked for: augmentations that may be off."""
    found = []
    for key in (f"augment.{name}" for name in DETECTABLE):
        dimension = config.space.get(key)
        if isinstance(dimension, Choices) and any(it in OFF for it in dimension.stored.values()):
            found.append(key)
    return found


def trace_of(
    config: StudyConfig, key: str, rows: Sequence[TrialResult], folder: StudyFolder, photos: Tensor
) -> Trace | None:
    """What the samples of trials with and without an augmentation show of it.

    Args:
        config: the study's.
        key: one of `augmentations_of`.
        rows: its trials, best first; complete ones count.
        folder: its files.
        photos: those it trained on, uint8 (N, 3, S, S).

    Returns:
        None without samples of a trial that had it, or with too few photos.
    """
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    strongest: Any = None
    for row in rows:
        value = _value(config, key, row)
        if row.state != TrialState.COMPLETE or value is None:
            continue
        is_on = value not in OFF
        samples = _samples(config, row, folder) if len(groups[is_on]) < MOST_TRIALS else None
        if samples is not None:
            groups[is_on].append(samples)
            strongest = value if is_on and strongest is None else strongest
    if not groups[True]:
        return None
    augment = override(config.base, {key: strongest}, key).augment
    name = key.rpartition(".")[2]
    try:
        detector = Detector.trained(photos, augment, name)
    except DcganError:
        return None
    judged = {on: detector.judge(group) for on, group in groups.items() if group}
    shown = f"{name} {plain(plain_value(getattr(augment, name)))}"
    return Trace(shown, judged[True], judged.get(False))


def told_traces(
    config: StudyConfig,
    rows: Sequence[TrialResult],
    folder: StudyFolder,
    fingerprint: str | None,
    keys: Sequence[str],
) -> list[str]:
    """A sentence on each of these augmentations, kept in a file until the samples change.

    Empty without the study's photos (their `fingerprint`), which must be on this machine.
    """
    path = folder.path / KEPT
    known: dict[str, list[str]] = {}
    with suppress(OSError, ValueError):
        read = json.loads(path.read_text(encoding="utf-8"))
        known = read if isinstance(read, dict) else {}
    steps = [(row.number, row.step) for row in rows if row.state == TrialState.COMPLETE]
    basis = f"{fingerprint} {code_version()} {steps}"
    missing = [key for key in keys if known.get(key, [""])[0] != basis]
    photos = _photos(config, fingerprint) if missing else None
    for key in missing if photos is not None else []:
        assert photos is not None
        trace = trace_of(config, key, rows, folder, photos)
        known[key] = [basis, trace.describe() if trace else ""]
    if photos is not None:
        with suppress(OSError):
            write_text_atomic(path, json.dumps(known, indent=1) + "\n")
    told = [known[key][1] for key in keys if known.get(key, [""])[0] == basis]
    return [sentence for sentence in told if sentence]


def _photos(config: StudyConfig, fingerprint: str | None) -> Tensor | None:
    try:
        bank = load_bank(config.base.data)
    except DcganError:
        return None
    if fingerprint not in (None, bank.fingerprint):
        return None
    return bank.split(config.base.data.holdout_fraction)[0].images


def _value(config: StudyConfig, key: str, row: TrialResult) -> Any:
    """The value that a trial had, as the config writes it; None if it is not known."""
    dimension, stored = config.space[key], row.params.get(config.short_name(key))
    return dimension.stored.get(stored, stored) if isinstance(dimension, Choices) else stored


def _samples(config: StudyConfig, row: TrialResult, folder: StudyFolder) -> Tensor | None:
    path = counting_grid(RunFolder(folder.trial(row.number)), row)
    picture = read_picture(path) if path else None
    return None if picture is None else grid_images(picture, GRID, config.base.data.image_size)


def _in_words(found: Leakage) -> str:
    low, high = (percent(it).lstrip("+") for it in (found.low, found.high))
    return f"{percent(found.share).lstrip('+')} ({low} to {high})"
