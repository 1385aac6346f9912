"""Commands that are run inside the folder of photos, whose results lie among the photos."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from ready import Ready

from dcgan.config.settings import save_config
from dcgan.runtime.pictures import save_picture

Shell = Callable[..., subprocess.CompletedProcess[str]]
PHOTOS = 20


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder of photos, which is also the working folder."""
    for seed in range(PHOTOS):
        values = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{seed:02}.jpg")
    return tmp_path


@pytest.fixture
def run(programs: Ready, here: Path) -> Shell:
    def start(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(programs.folder / name), *map(str, arguments)]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return start


def fingerprint(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.partition("fingerprint ")[2].split()[0]


def test_a_run_is_continued_among_its_own_pictures(run: Shell, tiny_config, here: Path) -> None:
    changes = {"train__epochs": 1, "train__grid_every_steps": 1, "eval__n_samples": 16}
    save_config(tiny_config(data__source="folder", **changes), here / "tiny.yaml")
    before = fingerprint(run("dcgan", "inspect", "."))
    train = ("train", "tiny.yaml", "--data", ".", "--out", "run")
    run("dcgan", *train)
    drawn = [*(here / "run").rglob("*.png"), *(here / "run").rglob("*.gif"), here / "photos.png"]
    done = run("dcgan", *train, "--resume", "--set", "train.epochs=2")
    assert f"{PHOTOS} photos" in done.stdout
    note = "pictures that this program made were left out: "
    assert int(done.stderr.partition(note)[2].split()[0]) == len(drawn)
    assert fingerprint(run("dcgan", "inspect", ".")) == before
    run("dcgan", "generate", "run/checkpoint.pt", "-o", "grid.png")
    run("dcgan", "evaluate", "run/checkpoint.pt", "--panel", "closest.png")
    assert fingerprint(run("dcgan", "inspect", ".", "-o", "again.png")) == before


@pytest.mark.slow
def test_a_study_is_continued_among_its_own_results(run: Shell, here: Path) -> None:
    settings: dict[str, Any] = {
        "study": {"name": "tiny", "trials": 2},
        "space": {"model.nz": {"type": "int", "low": 4, "high": 16}},
        "base": {
            "data": {"root": ".", "image_size": 32},
            "model": {"nz": 8, "ngf": 8, "ndf": 4},
            "augment": {"blur_kernel": [3, 3]},
            "train": {"epochs": 1, "batch_size": 8, "device": "cpu", "threads": 1},
            "eval": {"extractor": "random", "n_samples": 16, "every_epochs": 1},
        },
        "full_run": {"train.epochs": 1},
    }
    (here / "tiny.yaml").write_text(yaml.safe_dump(settings))
    run("study", "run", "tiny.yaml", "--data", ".")
    done = run("study", "run", "tiny.yaml", "--data", ".", "--trials", "3", "--workers", "2")
    assert "3 of 3 trials finished" in done.stdout
    assert "pictures that this program made were left out" in done.stderr
    run("study", "train", "tiny")
    # In the photos' own folder, too, and from a config that says where it stands.
    run("study", "run", "tiny.yaml", "--store", ".", "--name", "here")
    done = run("study", "run", "tiny.yaml", "--store", ".", "--name", "here", "--trials", "3")
    assert "3 of 3 trials finished" in done.stdout
    exported = yaml.safe_load((here / "studies/here/best.yaml").read_text())
    assert exported["data"]["root"] == str(here)


def test_comparing_folders_says_what_was_not_read(run: Shell, here: Path) -> None:
    for name in ("one", "two"):
        (here / name).mkdir()
        for seed in range(6):
            (here / name / f"{seed}.jpg").write_bytes((here / f"{seed:02}.jpg").read_bytes())
    (here / "two" / "raw.CR2").write_bytes(b"x")
    save_picture(Image.new("RGB", (48, 40)), here / "two" / "grid.png")
    done = run("dcgan", "fid", "one", "two", "--extractor", "random")
    assert "note: pictures that this program made were left out: 1" in done.stderr
    assert "unusable" not in done.stderr
    assert "note: files that were not read: 1 .cr2; convert images to JPEG or PNG" in done.stderr
