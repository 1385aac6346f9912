"""`study train`: a full run with its display, and what is said before and after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dcgan.cli.console import load_bank_with_progress, say, stop_signals
from dcgan.cli.display import TrainingDisplay, describe_result
from dcgan.cli.options import data_settings
from dcgan.config.settings import override
from dcgan.data.bank import PhotoBank
from dcgan.errors import DcganError, TrainingInterrupted
from dcgan.evaluation.record import EvalRecord
from dcgan.training.loop import train
from study.results.confirmed_words import expected_in_words
from study.results.full_run import FullRun
from study.results.registered import register_full_run
from study.storage.attributes import with_addresses
from study.storage.store import Store
from study.tracking.registry import CHAMPION, reading_command


def train_in_full(
    store: Store,
    name: str,
    number: int | None,
    data: Path | None,
    rule: str | None = None,
    *,
    register: bool = True,
    force: bool = False,
) -> None:
    """Train the best (or a given) trial's exported config; continues where it was stopped.

    `data` is a folder of photos instead of the study's own. `rule` chooses on a front if there is
    no number. `register` adds the generator to MLflow's model registry, where `force` makes it the
    champion. Exits with code 130 if a signal stopped it.
    """
    run = FullRun.of(store, name, number, rule)
    if data is not None:
        run = replace(run, config=override(run.config, data_settings(data), "--data"))
    bank = load_bank_with_progress(run.config.data)
    say(f"full run of {run.config.provenance['trial']}, results in {run.folder}")
    if expected := expected_in_words(run.config.provenance):
        say(expected)
    try:
        with (
            stop_signals() as should_stop,
            TrainingDisplay("full run") as display,
            run.mirrored(bank, display.line) as deliver,
        ):

            def on_eval(record: EvalRecord) -> bool:
                deliver()
                return display.on_eval(record)

            result = train(
                run.config,
                run.folder,
                bank=bank,
                resume=True,
                on_start=display.on_start,
                on_log=display.on_log,
                on_eval=on_eval,
                should_stop=should_stop,
                rank=run.rank,
            )
    except TrainingInterrupted as stop:
        say(f"stopped after step {stop.step}; the same command continues")
        raise SystemExit(stop.exit_code) from None
    for note in (*result.photo_notes, *result.notes):
        say(f"note: {note}")
    say(f"pictures: {run.folder / 'real_vs_generated.png'}")
    say(describe_result(result))
    if register:
        _register(run, bank, force=force)


def _register(run: FullRun, bank: PhotoBank, *, force: bool) -> None:
    """Register what was trained; without a registry the run is complete all the same."""
    try:
        made = register_full_run(run, bank, force=force)
    except (DcganError, OSError) as error:  # the run itself is complete
        say(f"note: the generator was not registered: {error}")
        return
    champion = f"the {CHAMPION}" if made.champion else f"not the {CHAMPION}"
    say(f"registered as version {made.number} of “{made.name}”: {champion}, because {made.why}")
    say(f"draw from it: {reading_command(with_addresses(run.store, run.study), made)}")
