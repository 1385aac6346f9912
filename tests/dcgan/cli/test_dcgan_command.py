"""The `dcgan` command as a person uses it: results, exit codes, and errors in one sentence."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from copier import make_copier
from PIL import Image
from ready import Ready

from dcgan import evaluate, generate, load_model
from dcgan.cli.app import app
from dcgan.cli.console import run_app, stop_signals
from dcgan.config.settings import load_train_config, save_config
from dcgan.evaluation.extractors.weights import CANONICAL
from dcgan.evaluation.record import in_digits
from dcgan.models.sampling import fixed_noise, render
from dcgan.training.run.checkpoint import load_checkpoint
from dcgan.training.run.history import read_evals, read_logs


@dataclass
class Answer:
    code: int
    out: str
    err: str


Shell = Callable[..., Answer]


@pytest.fixture
def dcgan(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Run the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_app(lambda: app([str(argument) for argument in arguments]))
        captured = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        assert "Traceback" not in captured.err + captured.out
        return Answer(code or 0, captured.out, captured.err)

    return run


def refused(answer: Answer, code: int) -> str:
    """The one sentence of a refusal."""
    assert answer.code == code, answer.err
    lines = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert answer.err.splitlines()[-1] == lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def config_file(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.yaml"
    save_config(tiny_config(), path)
    return path


def make_photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 good photos and two bad files."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(20):
        make_photo(folder / f"{seed:02d}.png", seed)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    return folder


@pytest.fixture(scope="module")
def run_folder(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, trained by the command."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(SystemExit) as ended:
        run_app(lambda: app(["train", str(config_file), "--out", str(folder)]))
    assert ended.value.code in (0, None)
    return folder


def test_training(dcgan: Shell, config_file: Path, tmp_path: Path) -> None:
    answer = dcgan("train", config_file, "--out", "here", "--set", "train.epochs=1")
    assert answer.code == 0
    assert "Generator(" in answer.out.split("photos, results in")[0]  # the networks come first
    assert "40 photos" in answer.out
    assert str(tmp_path / "here" / "checkpoint.pt") in answer.out
    assert "Loss_D" in answer.err
    assert "D(G(z))" in answer.err
    assert "fd_random" in answer.err
    assert load_train_config(tmp_path / "here" / "config.yaml").train.epochs == 1
    assert (tmp_path / "here" / "result.json").exists()


def test_a_dry_run_trains_nothing(dcgan: Shell, config_file: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    answer = dcgan("train", config_file, "--out", "x", "--dry-run", "--set", "optim.lr_d=5e-5")
    assert answer.code == 0
    assert "lr_d: 5.0e-05" in answer.out
    for part in ("Generator(", "Discriminator(", "parameters", "6 steps in all", "MB"):
        assert part in answer.out
    assert "40 photos, 3 steps an epoch" in answer.out
    assert "training: about" in answer.out
    assert sorted(set(tmp_path.iterdir()) - {tmp_path / "dcgan-cache"}) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere.yaml"], "there is no config file nowhere.yaml"),
        (["train", "nonsense"], "there is no config named 'nonsense'"),
        (["train", "CONFIG", "--set", "train.epoch=3"], "did you mean 'train.epochs'"),
        (["train", "CONFIG", "--set", "train.epochs=0"], "train.epochs"),
        (["train", "CONFIG", "--set", "train.epochs"], "must be key=value"),
        (["train", "reference"], "--data DIR"),
        (["generate", "CHECKPOINT", "--model", "best"], "ema or raw"),
        (["generate", "CHECKPOINT", "-o", "grid.jpg"], "must end in .png"),
        (["generate", "CHECKPOINT", "--walk", "-o", "walk.png"], "must end in .gif"),
        (["generate", "CHECKPOINT", "-o", "no/such/grid.png"], "there is no folder"),
        (["inspect"], "--data DIR"),
    ],
)
def test_usage_errors(
    dcgan: Shell, config_file: Path, run_folder: Path, arguments: list[str], said: str
) -> None:
    named = {"CONFIG": str(config_file), "CHECKPOINT": str(run_folder / "checkpoint.pt")}
    answer = dcgan(*[named.get(argument, argument) for argument in arguments])
    assert said in refused(answer, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["trian", "reference"],
        ["train", "reference", "--epochs", "3"],
        ["generate", "x.pt", "-n", "0"],
        ["generate", "x.pt", "-n", "many"],
        ["evaluate", "x.pt", "--samples", "1"],
    ],
)
def test_wrong_words(dcgan: Shell, arguments: list[str]) -> None:
    answer = dcgan(*arguments)
    assert answer.code == 2
    assert answer.err


def test_photos_that_cannot_be_used(dcgan: Shell, config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "notes.txt").write_text("no photo")
    (tmp_path / "fakes").mkdir()
    for name in ("a.jpg", "b.png"):
        (tmp_path / "fakes" / name).write_text("no photo either")
    table = {
        "missing": "missing",
        "empty": "holds no images",
        "texts": "holds no images (1 other file, such as notes.txt)",
        "fakes": "a.jpg",
    }
    for folder, said in table.items():
        answer = dcgan("train", config_file, "--data", folder, "--out", "run")
        assert said in refused(answer, 1)
        assert not (tmp_path / "run").exists()


def test_fewer_photos_than_a_batch(dcgan: Shell, config_file: Path, photos: Path) -> None:
    arguments = ["--data", photos, "--out", "run", "--set", "train.batch_size=21"]
    answer = dcgan("train", config_file, *arguments)
    assert "20 photos are fewer than one batch of 21" in refused(answer, 1)
    assert "broken.jpg" in answer.err
    assert not Path("run").exists()


def test_training_on_photos_skips_bad_files(
    dcgan: Shell, config_file: Path, photos: Path, tmp_path: Path
) -> None:
    arguments = ["--data", photos, "--out", "run", "--set", "train.epochs=1"]
    answer = dcgan("train", config_file, *arguments)
    assert answer.code == 0
    assert "skipped 2 unusable files" in answer.err
    assert "20 photos" in answer.out
    assert load_train_config(tmp_path / "run" / "config.yaml").data.root == photos


def test_results_that_cannot_be_written(dcgan: Shell, config_file: Path) -> None:
    Path("file").write_text("in the way")
    for out in ("file", "file/run"):
        answer = dcgan("train", config_file, "--out", out)
        assert "cannot write results to" in refused(answer, 2)
    assert Path("file").read_text() == "in the way"


def test_a_used_folder(dcgan: Shell, config_file: Path, run_folder: Path) -> None:
    history = (run_folder / "history.jsonl").read_bytes()
    answer = dcgan("train", config_file, "--out", run_folder)
    assert "--resume" in refused(answer, 2)
    other = ["--resume", "--set", "optim.lr_g=1e-3"]
    answer = dcgan("train", config_file, "--out", run_folder, *other)
    assert "optim.lr_g was 0.0003, now 0.001" in refused(answer, 1)
    assert (run_folder / "history.jsonl").read_bytes() == history


def test_checkpoints_that_cannot_be_used(dcgan: Shell, run_folder: Path, tmp_path: Path) -> None:
    content = (run_folder / "checkpoint.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"state_dict": {"w": torch.zeros(2)}}, tmp_path / "foreign.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pt")
    other = torch.load(run_folder / "checkpoint.pt", weights_only=True)
    other["config"]["model"]["ngf"] = 16
    torch.save(other, tmp_path / "shapes.pt")
    (tmp_path / "folder.pt").mkdir()
    for command in ("generate", "evaluate"):
        for name in ("cut", "text", "foreign", "pickled", "shapes", "folder", "missing"):
            answer = dcgan(command, tmp_path / f"{name}.pt")
            assert f"{name}.pt" in refused(answer, 1)
    assert not (tmp_path / "grid.png").exists()


def test_generate_a_grid(dcgan: Shell, run_folder: Path, tmp_path: Path) -> None:
    checkpoint = run_folder / "checkpoint.pt"
    answer = dcgan("generate", checkpoint, "-n", 6, "-o", "six.png", "--seed", 0)
    assert answer.code == 0
    assert answer.out.strip() == str(tmp_path / "six.png")
    with Image.open("six.png") as picture:
        assert picture.size == ((3 * 34 + 2) * 4, (2 * 34 + 2) * 4)
    dcgan("generate", checkpoint, "-n", 6, "-o", "again.png", "--seed", 0)
    dcgan("generate", checkpoint, "-n", 6, "-o", "raw.png", "--seed", 0, "--model", "raw")
    dcgan("generate", checkpoint, "-n", 6, "-o", "other.png", "--seed", 1)
    six = Path("six.png").read_bytes()
    assert Path("again.png").read_bytes() == six
    assert Path("other.png").read_bytes() != six
    assert Path("raw.png").read_bytes() != six
    dcgan("generate", checkpoint)  # 64 of the fixed noise: the run's own last grid
    assert Path("grid.png").read_bytes() == (run_folder / "samples_final.png").read_bytes()


def test_generate_a_walk(dcgan: Shell, run_folder: Path) -> None:
    assert dcgan("generate", run_folder / "checkpoint.pt", "--walk").code == 0
    with Image.open("walk.gif") as animation:
        assert animation.n_frames == 72  # type: ignore[attr-defined]


def test_export_a_model_to_share(dcgan: Shell, run_folder: Path, tmp_path: Path) -> None:
    answer = dcgan("export", run_folder / "checkpoint.pt", "-o", "model")
    assert answer.out.strip() == str(tmp_path / "model")
    folder = tmp_path / "model"
    assert {path.name for path in folder.iterdir()} == {
        *("generator.safetensors", "config.yaml", "README.md", "samples.png")
    }
    same = generate(run_folder / "checkpoint.pt", 6, seed=3)
    assert torch.equal(generate(folder, 6, seed=3), same)
    generator = load_model(folder, device="cpu")
    assert torch.equal(render(generator, fixed_noise(generator.nz, 6, 3)), same)
    dcgan("generate", "model", "-n", 6, "-o", "six.png", "--seed", 3)
    dcgan("generate", run_folder / "checkpoint.pt", "-n", 6, "-o", "too.png", "--seed", 3)
    assert Path("six.png").read_bytes() == Path("too.png").read_bytes()
    card = (folder / "README.md").read_text(encoding="utf-8")
    scores = evaluate(run_folder / "checkpoint.pt")
    assert f"`fd_random` | {in_digits(scores.frechet)} |" in card
    assert "40 photos of “toy_cats”" in card
    assert f"| `model.nz` | {generator.nz} | 30 |" in card
    assert "| images that repeat a training photo | 0.0% | by chance up to " in card
    assert "It repeats photos" not in card
    shared = card + (folder / "config.yaml").read_text(encoding="utf-8")
    assert str(tmp_path) not in shared  # nothing of this machine
    raw = dcgan("export", run_folder / "checkpoint.pt", "-o", "raw", "--model", "raw", "--no-score")
    assert raw.code == 0
    assert "last weights" in Path("raw/README.md").read_text(encoding="utf-8")
    assert "Not scored" in Path("raw/README.md").read_text(encoding="utf-8")
    assert not torch.equal(generate("raw", 6, seed=3), same)


def test_a_generator_that_repeats_photos_is_exported_only_by_force(
    dcgan: Shell, run_folder: Path, tmp_path: Path
) -> None:
    copier = tmp_path / "copier.pt"
    make_copier(run_folder / "checkpoint.pt", copier, tmp_path / "photos")
    said = refused(dcgan("export", copier, "-o", "model"), 1)
    assert "of 64 images repeat a training photo; by chance up to " in said
    assert "--force exports it" in said
    assert not Path("model").exists()
    assert dcgan("export", copier, "-o", "model", "--force").code == 0
    card = Path("model/README.md").read_text(encoding="utf-8")
    assert "> **It repeats photos. Do not share" in card
    assert card.index("It repeats photos") < card.index("## Use")


def test_an_export_that_cannot_be_made_or_read(dcgan: Shell, run_folder: Path) -> None:
    checkpoint = run_folder / "checkpoint.pt"
    Path("taken").write_text("")
    assert "is no folder" in refused(dcgan("export", checkpoint, "-o", "taken"), 2)
    assert "holds other files" in refused(dcgan("export", checkpoint, "-o", run_folder), 2)
    assert "ema or raw" in refused(dcgan("export", checkpoint, "--model", "best"), 2)
    assert "no checkpoint missing.pt" in refused(dcgan("export", "missing.pt"), 1)
    assert dcgan("export", checkpoint, "-o", "model", "--data", "missing").code == 0
    assert "Not scored" in Path("model/README.md").read_text(encoding="utf-8")
    Path("model/generator.safetensors").write_bytes(b"\0" * 9)
    said = refused(dcgan("generate", "model"), 1)
    assert "the model in model cannot be used" in said
    assert "dcgan export" in said


def test_generate_onto_a_folder(dcgan: Shell, run_folder: Path) -> None:
    Path("taken.png").mkdir()
    assert "taken.png" in refused(
        dcgan("generate", run_folder / "checkpoint.pt", "-o", "taken.png"), 2
    )


def test_a_run_that_an_earlier_release_scored_with_an_exported_program(
    dcgan: Shell, run_folder: Path, tmp_path: Path
) -> None:
    content = torch.load(run_folder / "checkpoint.pt", weights_only=True)
    content["config"]["eval"]["extractor"] = "/photos/encoder.pt2"
    torch.save(content, tmp_path / "checkpoint.pt")
    assert dcgan("generate", "checkpoint.pt").code == 0
    assert "encoder:encode" in refused(dcgan("evaluate", "checkpoint.pt"), 2)
    assert dcgan("evaluate", "checkpoint.pt", "--extractor", "random").code == 0
    (tmp_path / "train.yaml").write_text("eval: {extractor: /photos/encoder.pt2}\n")
    assert "encoder:encode" in refused(dcgan("train", "train.yaml"), 2)


def test_evaluate(dcgan: Shell, run_folder: Path, photos: Path) -> None:
    checkpoint = run_folder / "checkpoint.pt"
    answer = dcgan("evaluate", checkpoint, "--json")
    assert answer.code == 0
    scores = json.loads(answer.out)
    assert scores["checkpoint"] == str(checkpoint)
    assert (scores["extractor"], scores["frechet_metric"]) == ("random", "fd_random")
    for name in ("fd_random", "fd_random_ema", "fd_random_raw"):
        assert math.isfinite(scores[name])
        assert scores[name] > 0
    assert scores["imbalance"] == abs(scores["log_loss_ratio"])
    assert math.isfinite(scores["log_loss_ratio"])
    assert (scores["n_samples"], scores["n_real"], scores["step"]) == (64, 40, 6)
    # The run's own last score, computed again from its checkpoint.
    final = read_evals(run_folder / "history.jsonl")[-1]
    for model in ("ema", "raw"):
        name = f"fd_random_{model}"
        assert scores[name] == pytest.approx(final.metrics[name], rel=1e-6)
    assert scores["log_loss_ratio"] == pytest.approx(final.log_loss_ratio)

    other = dcgan("evaluate", checkpoint, "--data", photos, "--samples", 32, "--json")
    other_scores = json.loads(other.out)
    assert (other_scores["n_samples"], other_scores["n_real"]) == (32, 20)
    assert other_scores["fd_random"] != scores["fd_random"]

    table = dcgan("evaluate", checkpoint)
    assert table.code == 0
    for part in ("fd_random", "kd_random", "64 generated, 40 photos", "imbalance"):
        assert part in table.out
    assert in_digits(scores["fd_random_ema"]) in table.out


def test_evaluate_tells_uncertainty_and_memorisation(
    dcgan: Shell, run_folder: Path, tmp_path: Path
) -> None:
    checkpoint = run_folder / "checkpoint.pt"
    answer = dcgan("evaluate", checkpoint, "--json", "--panel", "pairs.png")
    scores = json.loads(answer.out)
    for model in ("ema", "raw"):
        low, high = (scores[f"fd_random_{model}_{end}"] for end in ("low", "high"))
        assert 0 <= low < scores[f"fd_random_{model}"] < high
    assert scores["fd_random_times_floor"] > 1  # two epochs make no perfect generator
    assert all(0 <= scores[name] <= 1 for name in ("precision", "recall", "coverage"))
    assert 0 <= scores["memorised_fraction"] <= 1
    assert str(tmp_path / "pairs.png") in answer.err
    with Image.open("pairs.png") as panel:
        assert min(panel.size) > 200
    table = dcgan("evaluate", checkpoint).out
    for part in ("95 %", "precision", "coverage", "× floor", "memorised"):
        assert part in table
    assert "must end in .png" in refused(dcgan("evaluate", checkpoint, "--panel", "x.jpg"), 2)


def test_an_extractor_of_ones_own(dcgan: Shell, config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "my_encoders.py").write_text(
        "def colours(images):\n    return images.float().mean(dim=(2, 3))\n"
    )
    own = ["--set", "eval.extractor=my_encoders:colours"]
    answer = dcgan("train", config_file, "--out", "own", *own)
    assert answer.code == 0, answer.err
    assert "scores: fd_colours (extractor colours" in answer.out
    record = read_evals(tmp_path / "own" / "history.jsonl")[-1]
    assert (record.frechet_metric, record.kernel_metric) == ("fd_colours", "kd_colours")
    assert record.frechet > 0
    scores = json.loads(dcgan("evaluate", tmp_path / "own" / "checkpoint.pt", "--json").out)
    assert scores["fd_colours"] == pytest.approx(record.frechet, rel=1e-6)
    other = dcgan("evaluate", tmp_path / "own" / "checkpoint.pt", "--extractor", "random", "--json")
    assert json.loads(other.out)["fd_random"] > 0
    missing = ["--set", "eval.extractor=my_encoders:nothing"]
    assert "nothing" in refused(dcgan("train", config_file, "--out", "no", *missing), 1)


def test_evaluate_says_that_other_photos_are_others(
    dcgan: Shell, run_folder: Path, photos: Path
) -> None:
    checkpoint = run_folder / "checkpoint.pt"
    assert "note:" not in dcgan("evaluate", checkpoint, "--json").err
    answer = dcgan("evaluate", checkpoint, "--data", photos, "--json")
    assert f"these are not the photos that {checkpoint} was trained on" in answer.err
    assert json.loads(answer.out)["n_holdout"] == 0


def test_a_continued_run_announces_what_it_began_with(dcgan: Shell, config_file: Path) -> None:
    begin = ("train", config_file, "--out", "run", "--set", "train.epochs=1")
    assert dcgan(*begin, "--set", "eval.extractor=random").code == 0
    again = (*begin, "--set", "eval.extractor=auto")
    fresh = dcgan("train", config_file, "--out", "other", "--dry-run", *again[4:])
    assert "scores: fd_joint" in fresh.out
    assert "scores: fd_random" in dcgan(*again, "--resume", "--dry-run").out
    answer = dcgan(*again, "--resume")
    assert answer.code == 0, answer.err
    assert "scores: fd_random" in answer.out
    assert load_train_config("run/config.yaml").eval.extractor == "random"


def test_a_dry_run_downloads_nothing_over_a_damaged_file(
    dcgan: Shell, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DCGAN_OFFLINE", "0")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    CANONICAL.cached.parent.mkdir(parents=True)
    CANONICAL.cached.write_bytes(b"cut short")
    dry = ("train", config_file, "--dry-run", "--set")
    assert "delete that file" in refused(dcgan(*dry, "eval.extractor=inception"), 1)
    assert CANONICAL.cached.read_bytes() == b"cut short"


def test_evaluate_on_two_photos(dcgan: Shell, run_folder: Path, tmp_path: Path) -> None:
    for seed in range(2):
        make_photo(tmp_path / "two" / f"{seed}.png", seed)
    checkpoint = run_folder / "checkpoint.pt"
    answer = dcgan("evaluate", checkpoint, "--data", tmp_path / "two", "--json")
    assert answer.code == 0
    scores = json.loads(answer.out)
    assert scores["fd_random"] > 0
    assert not {"precision", "memorised_fraction", "fd_random_times_floor"} & set(scores)
    assert "at least 3 different photos" in answer.err


def test_fid(dcgan: Shell, photos: Path, tmp_path: Path) -> None:
    answer = dcgan("fid", photos, photos, "--extractor", "random", "--size", 32)
    assert answer.code == 0
    assert "20 against 20 images of 32×32 pixels" in answer.out
    assert "broken.jpg" in answer.err
    scores = json.loads(
        dcgan("fid", photos, photos, "--extractor", "random", "--size", 32, "--json").out
    )
    assert scores["fd_random"] == pytest.approx(0.0, abs=1e-9)
    assert (scores["real"], scores["n_fake"]) == (str(photos), 20)
    assert "missing" in refused(dcgan("fid", photos, "missing", "--extractor", "random"), 1)
    assert "differ in size" in refused(dcgan("fid", photos, photos, "--extractor", "random"), 1)
    assert "module:callable" in refused(dcgan("fid", photos, photos, "--extractor", "x"), 2)
    assert "DCGAN_OFFLINE" in refused(dcgan("fid", photos, photos, "--extractor", "inception"), 1)


def test_floor(dcgan: Shell, photos: Path, tmp_path: Path) -> None:
    asked = ("floor", photos, "--extractor", "random", "--size", 32)
    answer = dcgan(*asked)
    assert answer.code == 0
    assert "fd_random of a perfect generator" in answer.out
    assert "With 20 photos and 1024 generated images" in answer.out
    with Image.open("floor.png") as plot:
        assert min(plot.size) > 300
    report = json.loads(dcgan(*asked, "--json", "-o", "other.png").out)
    assert report["floor"] > 0
    assert report["floors"][0]["floor"] > report["floor"]  # fewer photos, a higher floor
    assert report["images_to_resolve_it"] > 1
    near = json.loads(dcgan(*asked, "--json", "--score", 100 * report["floor"]).out)
    assert near["images_to_resolve_it"] != report["images_to_resolve_it"]
    assert "32, 64 or 128" in refused(dcgan("floor", photos, "--size", 33), 2)


def test_doctor(dcgan: Shell) -> None:
    answer = dcgan("doctor")
    assert answer.code == 0
    assert "scores: fd_joint" in answer.out


def test_evaluate_on_a_missing_folder(dcgan: Shell, run_folder: Path) -> None:
    answer = dcgan("evaluate", run_folder / "checkpoint.pt", "--data", "missing")
    assert "missing" in refused(answer, 1)


def test_inspect(dcgan: Shell, photos: Path) -> None:
    answer = dcgan("inspect", photos, "--set", "data.image_size=32", "-o", "sheet.png")
    assert answer.code == 0
    assert "20 usable photos" in answer.out
    assert "2 unusable files:" in answer.out
    for name in ("broken.jpg: ", "tiny.png: "):
        assert name in answer.out
    assert "48–48 wide, 40–40 high" in answer.out
    assert "no duplicates found" in answer.out
    with Image.open("sheet.png") as sheet:
        assert sheet.size == ((5 * 34 + 2) * 4, (4 * 34 + 2) * 4)


def test_inspect_lists_duplicates(dcgan: Shell, tmp_path: Path) -> None:
    for seed in range(4):
        make_photo(tmp_path / "some" / f"{seed}.png", seed)
    make_photo(tmp_path / "some" / "copy of 2.png", 2)
    answer = dcgan("inspect", tmp_path / "some", "--set", "data.image_size=32")
    assert "1 photos show the same picture" in answer.out
    assert "same pixels: 2.png, copy of 2.png" in answer.out


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], []])
def test_help_is_light(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['dcgan', *{arguments!r}]\n"
        "from dcgan.cli.app import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    heavy = {'torch', 'mlflow', 'optuna', 'numpy', 'PIL', 'matplotlib', 'scipy'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == (0 if arguments else 2)
    output = done.stdout + done.stderr
    assert "HEAVY []" in output
    assert "train" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signals(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    """The first is a request, the second an order; afterwards all is as before."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals() as should_stop:
        assert should_stop() is False
        os.kill(os.getpid(), number)
        assert should_stop() is True
        assert "saving a checkpoint first" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_a_stopped_process_saves_and_continues(
    tiny_config, dcgan: Shell, programs: Ready, tmp_path: Path
) -> None:
    """Ctrl-C on a real process, then `--resume`."""
    config = tiny_config(
        train__epochs=2000,
        train__checkpoint_every_epochs=2000,
        train__log_every_steps=3,
        eval__n_samples=16,
    )
    save_config(config, tmp_path / "long.yaml")
    folder = tmp_path / "run"
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    command = ["train", "long.yaml", "--out", folder]
    process = programs.start("dcgan", *command, cwd=tmp_path, **streams)
    try:
        give_up = time.monotonic() + 120
        while not (folder / "history.jsonl").exists() and time.monotonic() < give_up:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "saving a checkpoint first" in errors
    assert "--resume" in errors.splitlines()[-1]
    reached = load_checkpoint(folder / "checkpoint.pt").step
    assert 3 <= reached < 6000
    assert not (folder / "result.json").exists()
    # The original length would take too long: a few epochs more are enough.
    epochs = -(-reached // 3) + 2
    answer = dcgan(
        "train", "long.yaml", "--out", folder, "--resume", "--set", f"train.epochs={epochs}"
    )
    assert answer.code == 0
    assert load_checkpoint(folder / "checkpoint.pt").step == 3 * epochs
    steps = [record.step for record in read_logs(folder / "history.jsonl")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 3 * epochs
    assert reached in steps
