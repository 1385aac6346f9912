"""A study that an earlier release scored with an exported program, which this one does not load."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from study.storage.attributes import CONFIG_ATTRIBUTE
from study.storage.optuna_db import load_optuna_study
from study.storage.store import Store

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def scored_by_a_program(own_finished: Store) -> Store:
    study = load_optuna_study(own_finished, "tiny")
    config = json.loads(study.user_attrs[CONFIG_ATTRIBUTE])
    config["base"]["eval"]["extractor"] = "/photos/encoder.pt2"
    study.set_user_attr(CONFIG_ATTRIBUTE, json.dumps(config))
    return own_finished


def test_it_is_shown_and_exported(scored_by_a_program: Store, shell: Shell, tmp_path: Path) -> None:
    store = scored_by_a_program.root
    assert json.loads(shell("show", "tiny", "--json", "--store", store).stdout)
    assert "tiny" in shell("list", "--store", store).stdout
    shell("export", "tiny", "-o", "best.yaml", "--store", store)
    exported = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert exported["eval"]["extractor"] == "/photos/encoder.pt2"


def test_only_scoring_refuses_it(
    scored_by_a_program: Store, shell: Shell, study_file: Callable[..., Path]
) -> None:
    store = scored_by_a_program.root
    file = study_file(base__eval__extractor="/photos/encoder.pt2", study__trials=7)
    for command in (["run", file], ["worker", "tiny"]):
        done = shell(*command, "--store", store, code=2)
        assert "set eval.extractor to encoder:encode" in done.stderr
    assert "encoder:encode" in shell("doctor", "--store", store, code=1).stdout
