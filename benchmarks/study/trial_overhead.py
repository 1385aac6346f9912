"""What a study adds to a trial: everything except training steps and scoring, as a share of it.

    python -m benchmarks.study.trial_overhead --data PHOTOS

Runs one real trial of the reference recipe (Optuna and MLflow on SQLite, pictures, checkpoints) and
subtracts the time in training steps and in scoring. The longer the trial, the smaller the share:
choose --epochs so that it takes as long as your trials. Without --data the photos are 527 toy cats.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from dcgan.training.run.history import read_evals
from study.config.study_config import StudyConfig, load_study_config
from study.running.observer import Event, Progressed, Silent
from study.running.study import run_study
from study.storage.store import Store


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: 527 toy cats)")
    parser.add_argument("--epochs", type=int, default=65)
    parser.add_argument(
        "--grid-every-steps", type=int, default=1000, help="beside those drawn with each score"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings: dict[str, object] = {
        "study.trials": 1,
        "budget.images": [],
        "train.epochs": arguments.epochs,
        "train.grid_every_steps": arguments.grid_every_steps,
        "eval.every_epochs": 9,
        "eval.extractor": "random",
    }
    if arguments.data:
        settings |= {"data.root": str(arguments.data.resolve())}
    else:
        settings |= {"data.source": "toy_cats", "data.toy_count": 527}
    with tempfile.TemporaryDirectory() as folder:
        result = measure(load_study_config("cats", settings), Store.at(Path(folder)))
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key:40} {value}")


class Clock(Silent):
    """Notes when the trial could begin and when it was done."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def tell(self, event: Event, worker: int | None = None) -> None:
        """Note the time of a `Progressed`."""
        if isinstance(event, Progressed):
            self.marks.append(time.monotonic())


def measure(config: StudyConfig, store: Store) -> dict[str, float]:
    """Run one trial; seconds and shares."""
    clock = Clock()
    assert run_study(config, store, observer=clock).finished == 1
    whole = clock.marks[-1] - clock.marks[0]
    trial = store.study(config.study.name).trial(0)
    training = json.loads((trial / "result.json").read_text())["training_seconds"]
    scoring = sum(record.seconds for record in read_evals(trial / "history.jsonl"))
    overhead = whole - training - scoring
    return {
        "trial_seconds": round(whole, 1),
        "training_seconds": round(training, 1),
        "scoring_seconds": round(scoring, 1),
        "overhead_seconds": round(overhead, 1),
        "overhead_percent": round(100 * overhead / whole, 2),
    }


if __name__ == "__main__":
    main()
