"""`study extend`: the best trials of a study, trained further in a study of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dcgan.cli.console import load_bank_with_progress, say
from dcgan.config.settings import override
from study.cli.run import launch
from study.config.study_config import with_base
from study.running.extend import bring_trials, extend
from study.storage.attributes import with_tracking
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

    `settings` are dotted keys with other values than in the study's config. Raises, and exits, as
    `extend`, `bring_trials` and `launch` do.
    """
    store = with_tracking(store, load_optuna_study(store, name))
    extension = extend(store, name, top, epochs, new_name)
    config = override(extension.config, with_base(settings), "extend")
    extension = extension._replace(config=config)
    for note in bring_trials(extension, store, load_bank_with_progress(config.base.data)):
        say(note)
    launch(config, store)
