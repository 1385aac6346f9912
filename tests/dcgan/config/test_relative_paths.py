"""Paths in a config file are meant from the folder of that file; others from the working folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from dcgan.config.settings import load_train_config, override, save_config
from dcgan.config.train_config import PATHS, TrainConfig
from dcgan.errors import ConfigError
from study.config.study_config import StudyConfig, load_study_config


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a config file, seen from another working folder."""
    (tmp_path / "project" / "configs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def write(path: Path, data: object) -> Path:
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_list_of_paths_is_complete() -> None:
    found = {
        f"{section}.{name}"
        for section, model in TrainConfig.model_fields.items()
        for name, field in getattr(model.annotation, "model_fields", {}).items()
        if "pathlib" in str(field.annotation)
    }
    assert found == set(PATHS)


def test_a_file_names_its_paths_from_where_it_stands(places: Path) -> None:
    data = {"data": {"root": "../photos"}, "eval": {"weights": "nets/w.pth"}}
    for given in (
        write(places / "project/configs/mine.yaml", data),
        Path("../project/configs/mine.yaml"),
    ):
        config = load_train_config(given)
        assert config.data.root == places / "project/photos"
        assert config.eval.weights == places / "project/configs/nets/w.pth"


def test_the_command_line_names_its_paths_from_the_working_folder(places: Path) -> None:
    file = write(places / "project/configs/mine.yaml", {"data": {"root": "photos"}})
    config = load_train_config(file, {"data.root": "own"})
    assert config.data.root == places / "elsewhere/own"
    assert override(config, {"data.root": "~/x"}).data.root == Path("~/x").expanduser()


def test_a_saved_config_means_the_same_anywhere(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(places / "project/configs/mine.yaml", {"data": {"root": "../photos"}})
    save_config(load_train_config(file), places / "saved.yaml")
    monkeypatch.chdir("/")
    assert load_train_config(places / "saved.yaml").data.root == places / "project/photos"


def test_study_files_too_with_the_paths_of_their_full_runs(places: Path) -> None:
    data = {
        "space": {"model.nz": {"type": "int", "low": 4, "high": 16}},
        "base": {"data": {"root": "photos"}, "model": {"nz": 8}},
        "full_run": {"data.root": "all photos", "train.epochs": 4},
    }
    config = load_study_config(write(places / "project/mine.yaml", data))
    assert config.base.data.root == places / "project/photos"
    assert config.full_run == {"data.root": str(places / "project/all photos"), "train.epochs": 4}
    stored = StudyConfig.model_validate_json(config.model_dump_json())
    assert stored == config


def test_names_that_are_no_text_are_refused_in_one_sentence(places: Path) -> None:
    root = os.fsdecode(b"/photos/caf\xe9")
    with pytest.raises(ConfigError, match=r"data.root: its bytes are no UTF-8 text; rename it"):
        override(TrainConfig(), {"data.root": root})
