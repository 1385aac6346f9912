"""The canonical FID at the end of a run: the same as its own evaluation, and never a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from inception_weights import write_random_weights

from dcgan.cli.display import describe_result
from dcgan.data.bank import load_bank
from dcgan.evaluation.canonical import canonical_fid
from dcgan.evaluation.evaluator import Evaluator
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.training.loop import train
from dcgan.training.run.checkpoint import load_checkpoint, load_generator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    write_random_weights(path)
    return path


def test_a_run_ends_with_it(
    weights: Path, tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", str(weights))
    config = tiny_config(eval__fid_at_end=True, train__epochs=1, eval__n_samples=24)
    result = train(config, tmp_path)
    inception = load_extractor("inception", CPU)
    evaluator = Evaluator(load_bank(config.data), inception, config.eval)
    generator = load_generator(load_checkpoint(tmp_path / "checkpoint.pt"), "ema", CPU)
    expected = evaluator.score(generator, in_full=False)
    assert set(result.fid) == set(expected) > {"fid_custom", "fid_custom_low", "kid_custom"}
    assert result.fid["fid_custom"] == pytest.approx(expected["fid_custom"], rel=1e-4)
    assert result.final.frechet_metric == "fd_random"
    assert json.loads((tmp_path / "result.json").read_text())["fid"] == result.fid
    assert f"fid_custom {result.fid['fid_custom']:.1f} (" in describe_result(result)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, "Inception's weights are not on this machine"),
        ("missing.pth", "missing.pth that DCGAN_INCEPTION_WEIGHTS names cannot be read"),
        ("damaged.pth", "damaged.pth"),
    ],
)
def test_what_goes_wrong_is_a_note(
    tiny_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, reason: str
) -> None:
    (tmp_path / "damaged.pth").write_bytes(b"cut short")
    monkeypatch.delenv("DCGAN_INCEPTION_WEIGHTS", raising=False)
    if name:
        monkeypatch.setenv("DCGAN_INCEPTION_WEIGHTS", str(tmp_path / name))
    config = tiny_config(eval__fid_at_end=True, train__epochs=1)
    result = train(config, tmp_path / "run")
    assert result.fid == {}
    assert any("fid was not computed" in note and reason in note for note in result.notes)
    assert (tmp_path / "run" / "result.json").exists()


def test_a_run_scored_by_inception_needs_nothing_more(tiny_config) -> None:
    config = tiny_config(eval__extractor="inception")
    found = canonical_fid(config, None, None, CPU)  # type: ignore[arg-type]
    assert (found.scores, found.notes) == ({}, ())
