"""What `study list`, `show` and `export` print."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

from optuna.study import Study
from optuna.trial import TrialState

from dcgan.cli.console import say
from dcgan.errors import UsageError
from study.cli.front import front_picture
from study.cli.tables import print_table
from study.errors import StudyError
from study.results.autopsy import autopsies
from study.results.compared import compared
from study.results.confirmed_words import expected_in_words
from study.results.export import FORMATS, SUFFIXES, full_config, write_export
from study.results.leaderboard import best_rows_of, flat, rows_of
from study.results.selection import pick_trial
from study.results.wording import in_words, standing
from study.search.objective import has_recognised, is_pareto
from study.storage.attributes import stored_config, stored_identity, study_config
from study.storage.optuna_db import FINISHED, load_all_studies, load_optuna_study
from study.storage.store import Store, trial_name
from study.storage.trial_summaries import outcomes_of


def print_studies(store: Store) -> None:
    """One line a study: trials finished, total, best score or size of the front."""
    studies = load_all_studies(store)
    say(f"studies in {store.root}:")
    for study in studies:
        finished = [trial for trial in outcomes_of(study) if trial.state in FINISHED]
        try:
            config = study_config(study)
        except StudyError:
            say(f"  {study.study_name}: not begun, or not a study of this release")
            continue
        total = config.study.trials
        best = standing(study, finished)
        say(f"  {study.study_name}: {len(finished)} of {total} trials finished, {best}")


def print_study(
    store: Store,
    name: str,
    *,
    as_json: bool = False,
    everything: bool = False,
    importance: bool = False,
    why: bool = False,
) -> None:
    """The leaderboard of a study: its best rows, or all (`everything`), or all as JSON.

    With `importance` also how much of the score each parameter explains, with `why` one sentence on
    each row that says why the trial ended as it did.
    """
    study = load_optuna_study(store, name)
    if as_json:
        told = autopsies(study) if stored_config(study) else {}
        document = {
            "study": name,
            "store": str(store.root),
            "identity": stored_identity(study),
            "trials": [row.as_dict() | {"why": told.get(row.number)} for row in rows_of(study)],
        }
        say(json.dumps(document, indent=2))
        return
    rows, others = (rows_of(study), Counter[TrialState]()) if everything else best_rows_of(study)
    states = others + Counter(row.state for row in rows)
    finished = sum(states[state] for state in FINISHED)
    config = study_config(study)
    total, lower = config.study.trials, "lower scores are better"
    if is_pareto(study):
        lower = "front: no trial is better in both distance and imbalance"
    if has_recognised(study):
        lower = "front: no trial is better in all of distance, imbalance and recognised"
    print_table(rows, f"{name}: {finished} of {total} trials finished ({lower})", others)
    for line in front_picture(rows) if is_pareto(study) else []:
        say(line)
    if why:
        told = autopsies(study)
        for row in rows:
            say(f"{trial_name(row.number)}: {told[row.number]}")
    say(f"files: {store.study(name).path}")
    say(
        f"checkpoints: of the {config.checkpoints.keep} best trials (checkpoints.keep); 'study "
        f"train {name} --trial N{store.options}' trains another trial again, in full"
    )
    if importance:
        _print_importance(study)


def _print_importance(study: Study) -> None:
    from study.evidence.agreement import ENOUGH
    from study.report.statistics import MOST, importances  # late: it takes seconds

    alike = compared(study_config(study), study.get_trials(deepcopy=False))
    found = importances(alike.trials)
    if len(alike.trials) < ENOUGH:
        say(f"importance: {alike} are too few to say which parameter mattered; {ENOUGH} are needed")
        return
    if not found:
        say(f"importance: {alike} have the same score or parameters, so none mattered")
        return
    aim = "distance" if is_pareto(study) else "score"
    most = f" ({MOST} of them)" if len(alike.trials) > MOST else ""
    say(
        f"importance over {alike}{most}: the share of the {aim}'s variance that a parameter "
        "explains alone (fANOVA), its limits over resamples, and what chance gives"
    )
    width = max(map(len, found))
    for key, share in found.items():
        bar = "█" * round(20 * share.share)
        verdict = "" if share.above_chance else "  not above chance"
        say(
            f"  {key:{width}}  {share.share:4.0%}  ({share.low:.0%} to {share.high:.0%}, chance "
            f"{share.chance:.0%})  {bar}{verdict}"
        )


def print_csv(store: Store, name: str) -> None:
    """All trials of a study as CSV, best first: a column for each parameter and number."""
    rows = [flat(row) for row in rows_of(load_optuna_study(store, name))]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    say(text.getvalue().rstrip("\n"))


def export_trial(
    store: Store,
    name: str,
    number: int | None,
    output: Path | None,
    rule: str | None = None,
    form: str = "yaml",
) -> None:
    """Write a trial's full-run config and say where. `rule` chooses on a front without a number."""
    if form not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, but got {form}")
    study = load_optuna_study(store, name)
    trial = pick_trial(study, number, rule)
    config = full_config(study, trial, rule)
    chosen = config.provenance["trial"]
    default = store.study(name).path / f"{chosen}.{SUFFIXES.get(form, form)}"
    path = (output or default).absolute()
    try:
        write_export(config, path, form)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another -o FILE") from None
    say(f"{chosen} ({in_words(trial)}), to be trained in full for {config.train.epochs} epochs:")
    say(str(path))
    if expected := expected_in_words(config.provenance):
        say(expected)
