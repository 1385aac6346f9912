"""`study verify`: an exported config, trained again: does it score what it is said to?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcgan.cli.console import load_bank_with_progress, say, stop_signals
from dcgan.cli.display import TrainingDisplay
from dcgan.data.bank import PhotoBank
from dcgan.errors import TrainingInterrupted
from dcgan.evaluation.evaluator import configured_extractor
from dcgan.evaluation.extractors.base import Extractor
from dcgan.evaluation.record import in_digits
from dcgan.runtime.devices import resolve_device
from study.running.verify import Verification


def verify(export: Path, seeds: int, settings: Mapping[str, Any]) -> bool:
    """Train an exported config on fresh seeds; return whether the scores are as promised.

    `settings` are dotted keys that differ on this machine. Exits with code 130 after a signal.
    Raises as `Verification.of` and `Verification.check` do.
    """
    it = Verification.of(export, dict(settings))
    bank = load_bank_with_progress(it.config.data)
    extractor = configured_extractor(it.config, resolve_device(it.config.train.device))
    it.check(bank, extractor)
    predicted = it.promise.predicted(seeds)
    mean = "score" if seeds == 1 else f"mean of {seeds} scores"
    says = f"{in_digits(predicted.low)} to {in_digits(predicted.high)}"
    say(
        f"expected {mean}: {in_digits(predicted.value)} (95 %: {says}) after "
        f"{it.promise.epochs} epochs; results in {it.folder}"
    )
    scores = [_one(it, place, bank, extractor) for place in range(1, seeds + 1)]
    if None in scores:
        say("not as promised: a training diverged")
        return False
    kept = it.promise.is_kept([score for score in scores if score is not None])
    say(f"as promised: within {says}" if kept else f"not as promised: outside {says}")
    return kept


def _one(it: Verification, place: int, bank: PhotoBank, extractor: Extractor) -> float | None:
    try:
        with stop_signals() as should_stop, TrainingDisplay(f"seed {place}") as display:
            score = it.train(
                place,
                bank=bank,
                extractor=extractor,
                on_start=display.on_start,
                on_log=display.on_log,
                on_eval=display.on_eval,
                should_stop=should_stop,
            )
    except TrainingInterrupted as stop:
        say(f"stopped after step {stop.step} of seed {place}; the same command continues")
        raise SystemExit(stop.exit_code) from None
    say(f"seed {place}: " + ("diverged" if score is None else f"score {in_digits(score)}"))
    return score
