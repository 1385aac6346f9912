"""A user's own extractor: what is loaded, what its metrics are called, and what is refused."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dcgan.errors import ConfigError, EvaluationError
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.custom import custom_extractor
from dcgan.evaluation.extractors.registry import load_extractor

CPU = torch.device("cpu")


def images(count, height=64, width=64, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def means(batch):
    return batch.float().mean(dim=(2, 3))


class Encoder(nn.Module):
    """Five features from one convolution."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, batch):
        return self.convolution(batch.float() / 127.5 - 1.0).relu().mean(dim=(2, 3))


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Write a module into a fresh working folder and return its unique name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    written = []

    def write(source):
        name = f"encoder_{len(written)}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(f"import torch\n{source}\n")
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_callable_in_the_working_folder(write_module):
    name = write_module("def Cat_Means(images):\n    return images.double().mean(dim=(2, 3))")
    before = sys.path.copy()
    extractor = load_extractor(f"{name}:Cat_Means", "cpu", image_size=32)
    assert sys.path[: len(before)] == before  # nothing there can hide an installed module
    assert (extractor.name, extractor.dimension) == ("cat_means", 3)
    assert (extractor.frechet_name, extractor.kernel_name) == ("fd_cat_means", "kd_cat_means")
    assert extractor.source == f"{name}:Cat_Means"
    batch = images(5, 20, 44)
    assert extractor(batch).dtype == torch.float32
    np.testing.assert_allclose(extract(extractor, batch), means(batch), rtol=1e-6)


def test_a_network_in_a_module_is_put_into_eval_mode(write_module):
    name = write_module(
        "class Nets:\n"
        "    small = torch.nn.Sequential(\n"
        "        torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.AdaptiveAvgPool1d(7)\n"
        "    )\n"
        "    small.register_forward_pre_hook(lambda _, args: args[0].float())\n"
    )
    extractor = load_extractor(f"{name}:Nets.small", "cpu", image_size=8)
    assert (extractor.name, extractor.dimension) == ("small", 7)


def test_an_exported_program_takes_three_lines(tmp_path, monkeypatch):
    """The lines in docs/metrics.md, run as they stand there."""
    page = Path(__file__).parents[4] / "docs" / "metrics.md"
    lines = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (three,) = [block for block in lines if "torch.export.load" in block]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "encoder.py").write_text(three)
    network, batch = Encoder().eval(), images(7)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (images(2),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "encoder.pt2")
    try:
        extractor = load_extractor("encoder:encode", "cpu")
    finally:
        sys.modules.pop("encoder", None)
    assert (extractor.name, extractor.dimension) == ("encode", 5)
    with torch.no_grad():
        expected = network(batch)
    for batch_size in (1, 3):
        parts = extract(extractor, batch, batch_size=batch_size)
        np.testing.assert_allclose(parts, expected, rtol=1e-5, atol=1e-6)


def test_a_program_by_itself_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'import torch', 'program = .*my\.pt2.*encoder:encode$"):
        load_extractor(str(tmp_path / "my.pt2"), "cpu")


def test_a_callables_fingerprint(write_module):
    source = "def f(images):\n    return images.float().mean(dim=(2, 3))\ng = f"
    first, same = write_module(source), write_module(source)
    other = write_module(source + " # changed")
    with_string = write_module(source + "\nf.fingerprint = 'weights 1'")

    def fingerprint(spec):
        return load_extractor(spec, "cpu").fingerprint

    assert fingerprint(f"{first}:f") == fingerprint(f"{same}:f")
    different = {fingerprint(f"{name}:f") for name in (first, other, with_string)}
    assert len(different | {fingerprint(f"{first}:g")}) == 4


def test_a_module_changed_after_its_import(write_module, tmp_path):
    name = write_module("def f(images):\n    return images.float().mean(dim=(2, 3))")
    load_extractor(f"{name}:f", "cpu")
    (tmp_path / f"{name}.py").write_text("def f(images):\n    return images.float().sum((2, 3))")
    with pytest.raises(EvaluationError, match="was changed after it was imported; start Python"):
        load_extractor(f"{name}:f", "cpu")


def test_its_input_is_its_own():
    def greedy(batch):
        batch //= 2
        return means(batch)

    extractor = custom(greedy)
    batch = images(3)
    before = batch.clone()
    extract(extractor, batch)
    assert torch.equal(batch, before)


@pytest.mark.parametrize(
    ("source", "attribute", "message"),
    [
        ("", "f", r"is not in .*\.py \(module .* has no attribute 'f'\)"),
        ("f = 3", "f", "must be callable but is int"),
        ("raise KeyError('weights')", "f", "cannot be imported .KeyError: 'weights'"),
        ("raise SystemExit(2)", "f", "cannot be imported .SystemExit: 2"),
        ("def f(x): return x.mean(\n", "f", "cannot be imported .SyntaxError"),
        (
            "def f(x): pass\nf.fingerprint = 7",
            "f",
            "must have a string as its attribute fingerprint.* has int",
        ),
    ],
)
def test_modules_that_cannot_be_used(write_module, source, attribute, message):
    name = write_module(source)
    with pytest.raises(EvaluationError, match=f"the extractor {name}:{attribute} .*{message}"):
        load_extractor(f"{name}:{attribute}", "cpu")


def test_modules_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(EvaluationError, match=f"No module named 'absent_.*then in {tmp_path}"):
        load_extractor("absent_encoder:f", "cpu")
    with pytest.raises(EvaluationError, match="sys:getsizeof is in a module without a file"):
        load_extractor("sys:getsizeof", "cpu")


def custom(function, label="mine", image_size=16):
    return custom_extractor(
        function, source=f"here:{label}", definition="", device=CPU, image_size=image_size
    )


def fails(batch):
    raise KeyError("layer 4\nand more")


def counted(batch, calls=[]):  # noqa: B006  # its memory is what the test is about
    calls.append(1)
    return means(batch) + len(calls)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, r"failed on images of the shape \(4, 3, 16, 16\) \(KeyError: .*layer 4"),
        (lambda batch: means(batch).numpy(), "floating-point tensor but returned ndarray"),
        (lambda batch: batch.flatten(1), "floating-point tensor but returned torch.uint8"),
        (lambda batch: batch.float(), r"the shape \(4, d\), but returned \(4, 3, 16, 16\)"),
        (lambda batch: means(batch).mean(dim=1), r"but returned \(4,\)"),
        (lambda batch: means(batch)[:3], r"but returned \(3, 3\)"),
        (lambda batch: means(batch)[:, :0], r"but returned \(4, 0\)"),
        (lambda batch: means(batch) * torch.nan, "NaN or infinite"),
        (lambda batch: means(batch) / 0.0, "NaN or infinite"),
        (counted, "other features for the same images when called again"),
        (lambda batch: means(batch) + torch.rand(len(batch), 3), "when called again"),
        (lambda batch: means(batch) - means(batch).mean(dim=0), "alone in its batch"),
        (lambda batch: means(batch).expand(4, 3), r"the shape \(1, d\), but returned"),
    ],
)
def test_functions_that_do_not_keep_the_rules(function, message):
    with pytest.raises(EvaluationError, match=f"the extractor here:mine .*{message}"):
        custom(function)


def test_rounding_is_allowed():
    rng = torch.Generator().manual_seed(0)

    def jittery(batch):
        return means(batch) * (1.0 + 1e-6 * torch.rand(len(batch), 3, generator=rng))

    assert custom(jittery).dimension == 3
    assert custom(lambda batch: means(batch).half()).dimension == 3
    assert custom(lambda batch: means(batch) * 0.0).dimension == 3


def test_gradients_and_random_streams_are_left_alone():
    network = Encoder()
    state = torch.get_rng_state()
    extractor = custom(network)
    assert not extractor(images(2)).requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_out_of_memory_is_left_to_the_caller():
    def hungry(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        custom(hungry)


@pytest.mark.parametrize(
    "label", ["random", "Inception", "custom", "AUTO", "_", "кот", "cats_ema", "a raw"]
)
def test_taken_names(label):
    with pytest.raises(EvaluationError, match=r"cannot give its metrics the name .*; rename it"):
        custom(means, label=label)


def test_images_need_not_be_square():
    assert extract(custom(means), images(3, 8, 24)).shape == (3, 3)
