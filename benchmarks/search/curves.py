"""Learning curves of random configs of the real cats, for simulations of searches.

    python -m benchmarks.search.curves train --data PHOTOS --work DIR [--configs 60]
    python -m benchmarks.search.curves collect --work DIR

`train` trains the baselines and random configs of curves.yaml to the end, unpruned. It scores
both generators of each, the moving average and the last weights, nine times. Config 37 is the same
whenever and wherever it is drawn. A run that was stopped continues, finished ones are kept, and
several processes may share the work: start the command again. A collapsed run ends early.

`collect` adds the finished runs to benchmarks/search/cats_curves.csv, one line a score.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import torch
from filelock import FileLock, Timeout
from optuna.samplers import RandomSampler

from dcgan.config.train_config import TrainConfig
from dcgan.data.bank import load_bank
from dcgan.errors import TrainingDivergedError
from dcgan.evaluation.evaluator import Evaluator, configured_extractor
from dcgan.evaluation.record import EvalRecord
from dcgan.runtime.files import write_text_atomic
from dcgan.training.loop import train
from dcgan.training.run.checkpoint import load_checkpoint, load_generator
from dcgan.training.run.folder import RunFolder
from dcgan.training.run.history import read_history
from study.config.space import suggest, trial_config
from study.config.study_config import StudyConfig, load_study_config
from study.search.collapse import collapse_reason

HERE = Path(__file__).parent
CONFIG, TABLE = HERE / "curves.yaml", HERE / "cats_curves.csv"
SCORES = ("ema", "raw", "recognised", "imbalance")
RUN = "curve.json"
"""What `train` writes into the folder of a finished run."""


def main() -> None:
    """Train, or collect what was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    phases = parser.add_subparsers(dest="phase", required=True)
    training = phases.add_parser("train")
    training.add_argument("--data", type=Path, required=True, help="folder of photos")
    training.add_argument("--configs", type=int, default=60, help="how many there shall be")
    collecting = phases.add_parser("collect")
    for phase in (training, collecting):
        phase.add_argument("--work", type=Path, required=True, help="folder for the runs")
    arguments = parser.parse_args()
    if arguments.phase == "collect":
        print(f"{TABLE}: {collect(arguments.work)} configs")
        return
    torch.set_num_threads(1)
    config = load_study_config(str(CONFIG), {"data.root": str(arguments.data.resolve())})
    train_all(config, arguments.work, arguments.configs)


def train_all(config: StudyConfig, work: Path, count: int) -> None:
    """Train what is neither in `work` nor in the table; a lock keeps two processes apart."""
    known = {row["config"] for row in read_table(TABLE)}
    for index in range(count):
        folder = work / f"{index:03d}"
        if str(index) in known or (folder / RUN).exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), FileLock(folder / "lock", blocking=False):
            if not (folder / RUN).exists():
                train_one(config, index, folder)


def config_of(config: StudyConfig, index: int) -> tuple[dict[str, Any], TrainConfig]:
    """The searched values of a config, by short names, and the whole of it."""
    study = optuna.create_study(sampler=RandomSampler(seed=index))
    if index < len(config.baselines):
        study.enqueue_trial(config.baseline_params(config.baselines[index]))
    trial = study.ask()
    suggest(trial, config)
    return trial.params, trial_config(config, trial.params, index)


def train_one(config: StudyConfig, index: int, folder: Path) -> None:
    """Train one config, or continue it, and write its curve."""
    params, whole = config_of(config, index)
    bank = load_bank(whole.data)
    extractor = configured_extractor(whole, torch.device("cpu"))
    evaluator = Evaluator(bank, extractor, whole.eval)
    run = RunFolder(folder / "run")
    points: list[dict[str, Any]] = []
    path = folder / "points.json"
    if path.exists():
        points = json.loads(path.read_text(encoding="utf-8"))
    scored = {it.epoch for it in read_history(run.history) if isinstance(it, EvalRecord)}
    if scored - {point["epoch"] for point in points}:  # ended between the two: a point is lost
        shutil.rmtree(run.path)
        points.clear()
    reason: str | None = None

    def on_eval(record: EvalRecord) -> bool:
        nonlocal reason
        last = load_generator(load_checkpoint(run.checkpoint), "raw", torch.device("cpu"))
        raw = evaluator.score(last, in_full=False)[record.frechet_metric]
        seen = [point for point in points if point["epoch"] < record.epoch]
        values = record.frechet, raw, record.metrics.get("recognised"), record.imbalance
        point = {"epoch": record.epoch, "images": record.epoch * len(bank.images)}
        points[:] = [*seen, point | dict(zip(SCORES, values, strict=True))]
        write_text_atomic(path, json.dumps(points))
        reason = collapse_reason(read_history(run.history), whole, config.collapse)
        return reason is not None

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        train(whole, run.path, bank=bank, extractor=extractor, resume=True, on_eval=on_eval)
    except TrainingDivergedError as error:
        reason = f"diverged in epoch {error.epoch}"
    facts = {"config": index, "params": params, "collapsed": reason or "", "points": points}
    write_text_atomic(folder / RUN, json.dumps(facts))
    print(f"{index:03d}: {points[-1:]}, {reason or 'to the end'}", flush=True)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of the table as it is now; none if there is no table."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def collect(work: Path) -> int:
    """Add the finished runs of a work folder to the table; return how many configs it holds."""
    rows = {(int(row["config"]), int(row["epoch"])): row for row in read_table(TABLE)}
    for path in sorted(work.glob(f"*/{RUN}")):
        found = json.loads(path.read_text(encoding="utf-8"))
        rows |= {(int(row["config"]), int(row["epoch"])): row for row in rows_of(found)}
    ordered = [rows[key] for key in sorted(rows)]
    if ordered:
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(ordered[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(ordered)
    return len({config for config, _ in rows})


def rows_of(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A run as rows of the table; one that diverged before its first score has one, of epoch 0."""
    params = {
        name: f"{value:.6g}" if isinstance(value, float) else value
        for name, value in found["params"].items()
    }
    collapsed = {"collapsed": int(bool(found["collapsed"]))}
    for point in found["points"] or [{"epoch": 0, "images": 0}]:
        known = {name: point.get(name) for name in SCORES}
        scores = {name: "" if it is None else f"{it:.5g}" for name, it in known.items()}
        place = {"config": found["config"], "epoch": point["epoch"], "images": point["images"]}
        yield place | scores | collapsed | params


if __name__ == "__main__":
    main()
