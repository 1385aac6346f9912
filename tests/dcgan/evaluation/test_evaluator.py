"""Scores equal what anyone would compute by hand, and evaluating leaves no trace."""

from __future__ import annotations

import gc
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dcgan.evaluation.evaluator as evaluation
from dcgan.config.train_config import EvalConfig
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.evaluation.evaluator import Evaluator, seen_in
from dcgan.evaluation.extractors.base import Extractor, extract, extract_with_classes
from dcgan.evaluation.extractors.registry import load_extractor
from dcgan.evaluation.metrics.frechet import frechet_distance
from dcgan.evaluation.metrics.kernel import kernel_distance
from dcgan.evaluation.metrics.recognised import recognised
from dcgan.evaluation.record import EvalRecord
from dcgan.models.ema import with_fresh_batchnorm
from dcgan.models.sampling import SCORING_BATCH, generate_images
from dcgan.runtime.cache import cache_folder
from dcgan.training.recorder import balance_of
from dcgan.training.run.history import STEP_FIELDS
from dcgan.training.step import TrainState, training_step

CPU = torch.device("cpu")
N = 64


@pytest.fixture(scope="module")
def bank(tiny_config) -> PhotoBank:
    return load_bank(tiny_config().data)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return load_extractor("random", CPU)


@pytest.fixture(scope="module")
def state(tiny_config, bank: PhotoBank) -> TrainState:
    state = TrainState.fresh(tiny_config(), CPU)
    for _ in range(4):
        training_step(state, bank.images[:16], tiny_config())
    return state


def some_losses(steps: int, loss_d: float, loss_g: float) -> Tensor:
    losses = torch.full((steps, len(STEP_FIELDS)), 0.5)
    losses[:, STEP_FIELDS.index("loss_d")] = loss_d
    losses[:, STEP_FIELDS.index("loss_g")] = loss_g
    return losses


def snapshot(state: TrainState) -> dict[str, Tensor]:
    kept = {f"g.{key}": value.clone() for key, value in state.generator.state_dict().items()}
    kept |= {f"e.{key}": value.clone() for key, value in state.ema.state_dict().items()}
    streams = {"noise": state.noise_rng, "augment": state.augment_rng}
    kept |= {name: stream.get_state().clone() for name, stream in streams.items()}
    return kept | {"global": torch.random.get_rng_state()}


@pytest.mark.parametrize("model", ["ema", "raw"])
def test_scores_by_hand(
    state: TrainState, bank: PhotoBank, extractor: Extractor, model: str
) -> None:
    config = EvalConfig(n_samples=N, score_model=model)
    result = Evaluator(bank, extractor, config).evaluate(
        with_fresh_batchnorm(state.ema),
        state.generator,
        balance_of(some_losses(8, 1.0, 1.0)),
        step=8,
        epoch=3,
    )
    state.generator.eval()
    networks = {"ema": with_fresh_batchnorm(state.ema), "raw": state.generator}
    real = extract(extractor, bank.images)
    for name, network in networks.items():
        images = torch.cat(list(generate_images(network, N)))
        assert images.shape == (N, 3, 32, 32)
        assert images.dtype == torch.uint8
        fake = extract(extractor, images)
        score, kernel = result.metrics_of(name), kernel_distance(real, fake)
        for distance in (score["fd_random"], result.metrics[f"fd_random_{name}"]):
            assert distance == pytest.approx(frechet_distance(real, fake), rel=1e-6)
        for distance in (score["kd_random"], result.metrics[f"kd_random_{name}"]):
            assert distance == pytest.approx(kernel.value, rel=1e-5)
        error = score["kd_random_standard_error"]
        assert error == pytest.approx(kernel.standard_error, rel=1e-5)
    state.generator.train()
    assert result.metrics is result.metrics_of(model)
    assert result.frechet == result.metrics["fd_random"] != result.other["fd_random"]
    assert result.kernel == result.metrics["kd_random"] != result.other["kd_random"]
    assert (result.step, result.epoch, result.n_samples, result.n_real) == (8, 3, N, 40)
    assert result.log_loss_ratio == pytest.approx(math.log(2))
    assert result.imbalance == pytest.approx(math.log(2))


@pytest.mark.parametrize("model", ["ema", "raw"])
def test_in_training_only_what_a_record_holds_is_computed(
    state: TrainState, bank: PhotoBank, extractor: Extractor, model: str
) -> None:
    evaluator = Evaluator(bank, extractor, EvalConfig(n_samples=N, score_model=model), bank)
    args = (with_fresh_batchnorm(state.ema), state.generator, balance_of(some_losses(8, 1.0, 1.0)))
    full = evaluator.evaluate(*args, step=8, epoch=3)
    brief = evaluator.evaluate(*args, step=8, epoch=3, other="distances")
    assert brief.scores() == full.scores()
    costly = {"precision", "coverage", "fd_random_times_floor", "fd_random_holdout"}
    assert not costly & set(brief.other)
    assert costly < set(full.other)
    assert costly < set(brief.metrics)
    alone = evaluator.evaluate(*args, step=8, epoch=3, other="nothing")
    other = "fd_random_raw" if model == "ema" else "fd_random_ema"
    left_out = {other, f"{other}_low", f"{other}_high", other.replace("fd", "kd")}
    assert set(full.metrics) - set(alone.metrics) == left_out
    assert alone.metrics == {key: full.metrics[key] for key in alone.metrics}
    assert alone.other == {}


def with_tones(extractor: Extractor) -> Extractor:
    """The same features, and a class for each of four ranges of mean brightness."""

    def with_classes(images: Tensor) -> tuple[Tensor, Tensor]:
        return extractor.function(images), images.float().mean(dim=(1, 2, 3)).long() // 64

    return replace(extractor, with_classes=with_classes, fingerprint="tones")


def test_a_classifier_says_what_is_recognised(
    state: TrainState, bank: PhotoBank, extractor: Extractor
) -> None:
    tones = with_tones(extractor)
    evaluator = Evaluator(bank, tones, EvalConfig(n_samples=N))
    args = (with_fresh_batchnorm(state.ema), state.generator, None)
    state.generator.eval()
    result = evaluator.evaluate(*args, step=8, epoch=3, other="distances")
    images = torch.cat(list(generate_images(args[0], N)))
    _, photos = tones.with_classes(bank.images)
    expected = recognised(photos, tones.with_classes(images)[1])
    assert expected is not None
    assert result.metrics["recognised"] == expected.share
    assert result.metrics["recognised_of_photos"] == expected.of_photos > 0.5
    kept = seen_in(bank, tones)[1]  # from the disk now
    assert kept is not None
    assert torch.equal(kept, photos)
    assert "recognised" not in result.other
    plain = Evaluator(bank, extractor, EvalConfig(n_samples=N)).evaluate(*args, step=8, epoch=3)
    assert result.frechet == pytest.approx(plain.frechet, rel=1e-9)
    assert "recognised" not in plain.metrics
    assert seen_in(bank, extractor)[1] is None
    state.generator.train()


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_leaves_no_trace(
    state: TrainState, bank: PhotoBank, extractor: Extractor, training: bool
) -> None:
    state.generator.train(training)
    before = snapshot(state)
    evaluator = Evaluator(bank, extractor, EvalConfig(n_samples=N))
    args = (with_fresh_batchnorm(state.ema), state.generator, balance_of(some_losses(8, 1.0, 1.0)))
    first = evaluator.evaluate(*args, step=8, epoch=3)
    assert state.generator.training is training
    after = snapshot(state)
    assert [key for key in before if not torch.equal(before[key], after[key])] == []
    second = evaluator.evaluate(*args, step=8, epoch=3)
    assert (first.scores(), first.other) == (second.scores(), second.other)
    state.generator.train()


def test_mode_is_restored_after_an_error(
    state: TrainState, bank: PhotoBank, extractor: Extractor
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(extractor, name)

        def __call__(self, images: Tensor) -> Tensor:
            return extractor(images) if len(images) == len(bank.images) else 1 / 0

    evaluator = Evaluator(bank, Broken(), EvalConfig(n_samples=N))
    state.generator.train()
    with pytest.raises(ZeroDivisionError):
        evaluator.evaluate(
            with_fresh_batchnorm(state.ema),
            state.generator,
            balance_of(some_losses(8, 1, 1)),
            step=8,
            epoch=3,
        )
    assert state.generator.training


def test_an_image_is_the_same_bits_whatever_the_count(state: TrainState) -> None:
    network = with_fresh_batchnorm(state.ema)
    whole = torch.cat(list(generate_images(network, 70)))
    assert whole.shape == (70, 3, 32, 32)
    for count in (1, 31, 32, 33, 64, 65):
        parts = list(generate_images(network, count))
        assert all(len(part) <= SCORING_BATCH for part in parts)
        assert torch.equal(torch.cat(parts), whole[:count])


def test_noise_is_fixed_or_of_a_seed(state: TrainState) -> None:
    network = with_fresh_batchnorm(state.ema)

    def images(seed: int | None) -> Tensor:
        return torch.cat(list(generate_images(network, 8, seed)))

    assert torch.equal(images(None), images(None))
    assert torch.equal(images(0), images(0))
    assert not torch.equal(images(0), images(1))
    assert not torch.equal(images(0), images(None))


def test_record_names_carry_the_extractor(
    state: TrainState, bank: PhotoBank, extractor: Extractor
) -> None:
    config = EvalConfig(n_samples=N, score_model="raw")
    result = Evaluator(bank, extractor, config).evaluate(
        with_fresh_batchnorm(state.ema),
        state.generator,
        balance_of(torch.empty(0, 5)),
        step=0,
        epoch=0,
    )
    record = result.to_dict()
    assert record["fd_random"] == record["fd_random_raw"] == result.frechet
    assert record["fd_random_ema"] == result.metrics_of("ema")["fd_random"]
    assert record["kd_random"] == record["kd_random_raw"] == result.kernel
    assert record["kd_random_standard_error"] > 0
    assert record["score_model"] == "raw"
    assert (record["imbalance"], record["log_loss_ratio"]) == (None, None)
    assert not {"fid", "kid", "fd", "kd"} & set(record)
    assert EvalRecord.from_dict(record) == result


@pytest.mark.parametrize(
    ("loss_d", "loss_g", "ratio"),
    [
        (2 * math.log(2), math.log(2), 0.0),  # the equilibrium: the published loss_D is a sum
        (1.0, 1.0, math.log(2)),
        (1.0, 0.25, -math.log(2)),
        (0.2, 0.1 * math.e, 1.0),
    ],
)
def test_balance(loss_d: float, loss_g: float, ratio: float) -> None:
    assert balance_of(some_losses(10, loss_d, loss_g)) == pytest.approx(ratio, abs=1e-6)


def test_balance_looks_at_the_second_half() -> None:
    assert balance_of(torch.empty(0, 5)) is None
    losses = torch.cat([some_losses(100, 1.0, 9.0), some_losses(100, 1.0, 1.0)])
    assert balance_of(losses) == pytest.approx(math.log(2), abs=1e-6)


class Counting:
    """`extract_with_classes`, counting the images it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        monkeypatch.setattr(evaluation, "extract_with_classes", self)

    def __call__(self, extractor: Extractor, images: Tensor, **options: Any) -> Any:
        self.images += len(images)
        return extract_with_classes(extractor, images, **options)


def the_cache() -> Path:
    (path,) = (cache_folder() / "features").glob("*.npz")
    return path


def test_real_features_are_computed_once(
    bank: PhotoBank, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    first = seen_in(bank, extractor)[0]
    assert counting.images == 40
    second = seen_in(bank, extractor)[0]
    assert counting.images == 40
    assert np.array_equal(first, second)
    assert np.array_equal(first, extract(extractor, bank.images))
    assert [path.suffix for path in the_cache().parent.iterdir()] == [".npz"]


def test_other_photos_or_extractors_have_features_of_their_own(
    tiny_config, bank: PhotoBank, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    seen_in(bank, extractor)
    others = [{"data__toy_seed": 1}, {"data__toy_count": 41}, {"data__image_size": 64}]
    for number, settings in enumerate(others, start=1):
        before = counting.images
        other = load_bank(tiny_config(**settings).data)
        seen_in(other, extractor)
        assert counting.images - before == len(other.images)
        assert len(list((cache_folder() / "features").glob("*.npz"))) == number + 1

    class Renamed:
        fingerprint = "0" * 64

        def __getattr__(self, name: str) -> Any:
            return getattr(extractor, name)

        def __call__(self, images: Tensor) -> Tensor:
            return extractor(images)

    before = counting.images
    seen_in(bank, Renamed())
    assert counting.images - before == 40


@pytest.mark.parametrize(
    "damage", ["empty", "cut", "text", "array", "zip", "name", "shape", "nan", "float32"]
)
def test_a_damaged_cache_is_rebuilt(
    bank: PhotoBank, extractor: Extractor, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    good = np.asarray(seen_in(bank, extractor)[0])
    path = the_cache()
    content = path.read_bytes()
    contents = {"empty": b"", "cut": content[:5000], "text": b"features", "zip": b"PK\x03\x04" * 9}
    if damage in contents:
        path.write_bytes(contents[damage])
    elif damage == "array":
        with path.open("wb") as file:
            np.save(file, good)
    else:
        bad = {"shape": good[1:], "nan": good * np.nan, "float32": good.astype(np.float32)}
        name = "other" if damage == "name" else "features"
        np.savez(path, **{name: bad.get(damage, good)})
    counting = Counting(monkeypatch)
    try:
        rebuilt = seen_in(bank, extractor)[0]
    except Exception as error:  # not let out: its traceback would keep the damaged file open
        rebuilt, problem = None, repr(error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            error.__traceback__ = error.__context__ = None
            gc.collect()
    assert rebuilt is not None, problem
    assert np.array_equal(rebuilt, good)
    assert counting.images == 40
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", ["missing", "fewer", "float64"])
def test_damaged_classes_are_rebuilt(bank: PhotoBank, extractor: Extractor, damage: str) -> None:
    tones = with_tones(extractor)
    features, classes = map(np.asarray, seen_in(bank, tones))
    bad = {"fewer": classes[1:], "float64": classes.astype(np.float64)}
    others = {"classes": bad[damage]} if damage in bad else {}
    np.savez(the_cache(), features=features, **others)
    assert np.array_equal(np.asarray(seen_in(bank, tones)[1]), classes)
    with np.load(the_cache()) as file:
        assert np.array_equal(file["classes"], classes)


def test_an_unwritable_cache_costs_nothing_but_time(
    bank: PhotoBank, extractor: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "file" / "cache"))
    assert np.array_equal(seen_in(bank, extractor)[0], extract(extractor, bank.images))
