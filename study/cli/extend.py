"""`study extend`: the best trials of a study, trained further in a study of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dcgan.cli.console import load_bank_with_progress, say
from dcgan.config.settings import override
from study.cli.run import launch
from study.running.extend import check_extension, extend
from study.storage.attributes import with_addresses
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store


def launch_extension(
    store: Store,
    name: str,
    top: int,
    epochs: int,
    new_name: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Begin the extension of a study, or continue it, as `launch` does.

    `settings` are dotted keys that differ on this machine: photos, workers, the time that it may
    take. Raises, and exits, as `extend`, `check_extension` and `launch` do.
    """
    store = with_addresses(store, load_optuna_study(store, name))
    extension = extend(store, name, top, epochs, new_name)
    config = override(extension.config, settings)
    extension = replace(extension, config=config)
    if len(config.baselines) < top:
        trials = f"{len(config.baselines)} trial{'s' * (len(config.baselines) != 1)}"
        say(f"--top {top}: only {trials} of '{name}' trained to the end, so no more are extended")
    bank = load_bank_with_progress(config.base.data)
    for note in check_extension(extension, store, bank):
        say(note)
    launch(config, store)
