"""The model card of an exported generator: what it is made of, how good it is, its limits."""

from __future__ import annotations

from typing import Any

from dcgan.config.settings import dotted_keys, get_dotted, load_train_config
from dcgan.config.train_config import TrainConfig
from dcgan.evaluation.memorisation import Memorisation
from dcgan.evaluation.record import EvalRecord, in_digits
from dcgan.runtime.version import code_version
from dcgan.training.run.checkpoint import Checkpoint

MADE = ("data.", "augment.", "model.", "projected.", "loss.", "optim.", "train.")
"""Settings that say how the model was made."""
LEFT_OUT = frozenset(
    {
        *("data.root", "train.device", "train.threads", "train.cuda_graphs"),
        *("train.checkpoint_every_epochs", "train.grid_every_steps", "train.log_every_steps"),
    }
)
USE = """\
```python
from dcgan import generate, load_model

images = generate("FOLDER", 16)     # uint8 (16, 3, S, S), RGB
generator = load_model("FOLDER")    # noise (N, nz, 1, 1) from N(0, 1) → images in [-1, 1]
```"""


def model_card(
    checkpoint: Checkpoint, scores: EvalRecord | None, memorised: Memorisation | None, which: str
) -> str:
    """The card in Markdown. `scores` and what is `memorised` may not be known."""
    config, name = checkpoint.config, "last weights" if which == "raw" else "moving average"
    size, seconds = config.data.image_size, checkpoint.seconds
    lines = [
        f"# A DCGAN generator of {size} × {size} images",
        "",
        "![samples](samples.png)",
        "",
        f"The {name} of the generator after {checkpoint.epoch} epochs ({checkpoint.step} steps of "
        f"{config.train.batch_size} images, {seconds / 60:.0f} minutes). Written by dcgan-study "
        f"{code_version()}.",
        "",
        *_warning(memorised),
        "## Use",
        "",
        USE,
        "",
        "## Data",
        "",
        _data(checkpoint, scores),
        "",
        "## Recipe",
        "",
        *_recipe(config),
        "",
        "## Scores",
        "",
        *_scores(scores, memorised),
        "",
        "## Not for",
        "",
        "- Claims about the world: the images are of nothing that exists, and show what a few "
        "hundred photos show, with their gaps and habits.",
        "- Comparisons with scores from other photos, extractors, sizes or numbers of images.",
        "- Publication of images that repeat training photos without the right to those photos.",
    ]
    return "\n".join(lines) + "\n"


def _warning(memorised: Memorisation | None) -> list[str]:
    if memorised is None or not memorised.beyond_chance:
        return []
    text = "It repeats photos. Do not share what it draws without the right to the training photos"
    return [f"> **{text}**: {memorised.describe()}.", ""]


def _data(checkpoint: Checkpoint, scores: EvalRecord | None) -> str:
    data = checkpoint.config.data
    name = data.source if data.root is None else data.root.name
    count = f"{scores.n_real} photos" if scores else "photos"
    return f"{count} of “{name}”, fingerprint `{checkpoint.data_fingerprint}`."


def _recipe(config: TrainConfig) -> list[str]:
    """What differs from the reference recipe."""
    reference = load_train_config("reference")
    changed: dict[str, Any] = {
        key: get_dotted(config, key)
        for key in dotted_keys(TrainConfig)
        if key.startswith(MADE)
        and key not in LEFT_OUT
        and get_dotted(config, key) != get_dotted(reference, key)
    }
    known = {key: get_dotted(reference, key) for key in changed}
    rows = [f"| `{key}` | {value} | {known[key]} |" for key, value in changed.items()]
    if not rows:
        return ["The reference recipe."]
    return ["| setting | here | reference recipe |", "|---|---|---|", *rows]


def _scores(scores: EvalRecord | None, memorised: Memorisation | None) -> list[str]:
    if scores is None:
        return ["Not scored, and not examined for copies of training photos."]
    fd, kd, metrics = scores.frechet_metric, scores.kernel_metric, scores.metrics
    rows = [("Fréchet distance", fd, in_digits), ("kernel distance", kd, _plain)]
    lines = ["| | value | 95 % |", "|---|---|---|"]
    for title, key, form in rows:
        low, high = metrics.get(f"{key}_low"), metrics.get(f"{key}_high")
        limits = "" if low is None or high is None else f"{form(low)} to {form(high)}"
        lines.append(f"| {title} `{key}` | {form(metrics[key])} | {limits} |")
    if "recognised" in metrics:
        low, high = metrics["recognised_low"], metrics["recognised_high"]
        value = f"{metrics['recognised']:.1%}"
        lines.append(f"| recognised as what the photos show | {value} | {low:.1%} to {high:.1%} |")
    if (times := metrics.get(f"{fd}_times_floor")) is not None:
        lines.append(f"| distance ÷ noise floor of the photos | {times:.2f} | |")
    if memorised is not None:
        chance = f"by chance up to {memorised.calibration.floor:.1%}"
        share = f"{memorised.fraction:.1%}"
        lines.append(f"| images that repeat a training photo | {share} | {chance} |")
    judged = f"{scores.n_samples} images, extractor {scores.extractor}"
    return [*lines, "", f"{judged}, fingerprint `{scores.extractor_fingerprint[:12]}`."]


def _plain(value: float) -> str:
    return f"{value:.4g}"
