"""Extractors of one's own: what is loaded, what its metrics are called, and what is refused."""

import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from dcgan.errors import EvaluationError
from dcgan.evaluation.extractors.base import extract
from dcgan.evaluation.extractors.custom import CustomExtractor
from dcgan.evaluation.extractors.registry import load_extractor

CPU = torch.device("cpu")
BATCH = torch.export.Dim("batch")


def images(count, height=64, width=64, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8))


def means(batch):
    return batch.float().mean(dim=(2, 3))


class Encoder(nn.Module):
    """Five features from one convolution; `last` decides how they are spoilt, if at all."""

    def __init__(self, last=None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(3, 5, 3, stride=2)
        self.last = last or nn.Identity()

    def forward(self, batch):
        return self.last(self.convolution(batch.float() / 127.5 - 1.0).relu()).mean(dim=(2, 3))


def export(path, module, example=None, shapes=({0: BATCH},)):
    example = (images(2),) if example is None else example
    torch.export.save(torch.export.export(module, example, dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return export(tmp_path_factory.mktemp("encoder") / "My Cats-v2.pt2", Encoder().eval())


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


def test_exported_program(encoder):
    extractor = load_extractor(str(encoder), "cpu")
    assert (extractor.name, extractor.dimension, extractor.device) == ("my_cats_v2", 5, CPU)
    assert (extractor.frechet_name, extractor.kernel_name) == ("fd_my_cats_v2", "kd_my_cats_v2")
    assert extractor.source == str(encoder)
    batch = images(7)
    with torch.no_grad():
        expected = Encoder().eval()(batch)
    output = extractor(batch)
    assert (output.dtype, output.requires_grad) == (torch.float32, False)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    for batch_size in (1, 3):
        parts = extract(extractor, batch, batch_size=batch_size)
        np.testing.assert_allclose(parts, expected, rtol=1e-5, atol=1e-6)


def test_a_programs_fingerprint_is_its_content(encoder, tmp_path):
    copy = tmp_path / "copy.pt2"
    copy.write_bytes(encoder.read_bytes())
    other = export(tmp_path / "other.pt2", Encoder(nn.ReLU()).eval())
    prints = [load_extractor(str(path), "cpu").fingerprint for path in (encoder, copy, other)]
    assert prints[0] == prints[1] != prints[2]
    assert len(bytes.fromhex(prints[0])) == 32


def test_any_image_size_where_the_program_allows_it(tmp_path):
    auto = torch.export.Dim.AUTO
    shapes = ({0: BATCH, 2: auto, 3: auto},)
    path = export(tmp_path / "any.pt2", Encoder().eval(), shapes=shapes)
    extractor = load_extractor(str(path), "cpu", image_size=32)
    assert extract(extractor, images(3, 20, 44)).shape == (3, 5)


@pytest.mark.parametrize(
    ("module", "example", "shapes", "message"),
    [
        (Encoder().eval(), None, None, r"batches of 2 images only; export it .*dynamic_shapes="),
        (
            Encoder().eval(),
            (images(2, 32, 32),),
            ({0: BATCH},),
            "images of 32 × 32 pixels only, not of 64; export it for data.image_size",
        ),
        (
            Encoder().eval(),
            (images(2).float(),),
            ({0: BATCH},),
            "must take one uint8 tensor, the images; export it",
        ),
        (
            nn.Bilinear(3, 3, 2).eval(),
            (torch.ones(2, 3), torch.ones(2, 3)),
            ({0: BATCH}, {0: BATCH}),
            "must take one uint8 tensor",
        ),
        (
            Encoder(nn.Dropout(0.5)).train(),
            None,
            ({0: BATCH},),
            "other features for the same images .* dropout",
        ),
        (
            Encoder(nn.BatchNorm2d(5, track_running_stats=False)).train(),
            None,
            ({0: BATCH},),
            "alone in its batch.*BatchNorm in eval mode",
        ),
    ],
)
def test_programs_that_cannot_score(tmp_path, module, example, shapes, message):
    path = export(tmp_path / "bad.pt2", module, example, shapes)
    with pytest.raises(EvaluationError, match=f"the extractor {path} .*{message}"):
        load_extractor(str(path), "cpu")


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def rewritten(source, path, change):
    """Copy an archive; `change` maps each member's name and content to new content, or none."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def test_hidden_code_is_not_run(encoder, tmp_path):
    code = pickle.dumps(Malicious(tmp_path / "ran"))

    def inputs(name, content):
        return code if name.endswith(".pt") else content

    def pickled_weight(name, content):
        if name.endswith("weight_0"):
            return code
        if name.endswith("weights_config.json"):
            config = json.loads(content)
            config["config"]["convolution.weight"]["use_pickle"] = True
            return json.dumps(config).encode()
        return content

    def opaque_constant(name, content):
        if name.endswith("weight_0"):
            return code
        if name.endswith("constants_config.json"):
            entry = {"path_name": "opaque_obj_0", "use_pickle": False}
            return json.dumps({"config": {"a": entry}}).encode()
        return content

    for change in (inputs, pickled_weight, opaque_constant):
        path = rewritten(encoder, tmp_path / "bad.pt2", change)
        with pytest.raises(EvaluationError, match="cannot be read as an exported program"):
            load_extractor(str(path), "cpu")
        assert not (tmp_path / "ran").exists()


def test_files_that_are_no_programs(encoder, tmp_path):
    compiled = rewritten(encoder, tmp_path / "compiled.pt2", lambda name, content: content)
    with zipfile.ZipFile(compiled, "a") as archive:
        archive.writestr("encoder/data/aotinductor/model/a.so", b"")
    torch.save({"weight": torch.ones(2)}, tmp_path / "state.pt2")
    (tmp_path / "text.pt2").write_text("hello")
    (tmp_path / "cut.pt2").write_bytes(encoder.read_bytes()[:5000])
    for name in ("compiled", "state", "text", "cut"):
        path = tmp_path / f"{name}.pt2"
        with pytest.raises(EvaluationError, match="cannot be read as an exported program") as error:
            load_extractor(str(path), "cpu")
        assert "\n" not in str(error.value)
    with pytest.raises(EvaluationError, match=r"absent\.pt2 cannot be read \(No such file"):
        load_extractor(str(tmp_path / "absent.pt2"), "cpu")


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
    return CustomExtractor(
        function, label=label, source="here:mine", definition="", device=CPU, image_size=image_size
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
    with pytest.raises(EvaluationError, match=r"cannot lend its metrics the name .*; rename it"):
        custom(means, label=label)


def test_images_need_not_be_square():
    assert extract(custom(means), images(3, 8, 24)).shape == (3, 3)
