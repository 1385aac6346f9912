"""A trained generator as a folder that anyone can use: weights, config, model card, samples.

from dcgan import generate, load_model
images = generate("model", 16)    # uint8 (16, 3, S, S)
generator = load_model("model")   # noise (N, nz, 1, 1) → images in [-1, 1]
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from dcgan.config.settings import load_train_config, override, save_config
from dcgan.errors import CheckpointError, DcganError, first_line
from dcgan.models.networks import Generator, build_generator
from dcgan.models.sampling import fixed_noise, render
from dcgan.runtime.files import make_folder, write_atomic, write_text_atomic
from dcgan.runtime.pictures import grid_scale, image_grid, save_picture
from dcgan.training.run.checkpoint import Checkpoint, load_generator

WEIGHTS, CONFIG, CARD, SAMPLES = "generator.safetensors", "config.yaml", "README.md", "samples.png"
HERE_ONLY = {"data.root": None, "eval.weights": None, "train.device": "auto", "train.threads": None}
"""Settings of this machine, which others need not know."""
SHOWN = 64
"""Samples in the picture."""


def write_model(checkpoint: Checkpoint, folder: Path, card: str, which: str = "ema") -> None:
    """Write a generator's folder: weights as they are used, config, model card, samples.

    `which` is `ema` or `raw`. Raises `CheckpointError` if the folder cannot be written.
    """
    generator = load_generator(checkpoint, which, torch.device("cpu"))
    if problem := make_folder(folder):
        raise CheckpointError(f"cannot write {folder}: {problem}; choose another folder")
    state = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    content = save_tensors(state, {"format": "pt"})
    write_atomic(folder / WEIGHTS, lambda file: file.write(content))
    save_config(override(checkpoint.config, HERE_ONLY, "export"), folder / CONFIG)
    images = render(generator, fixed_noise(generator.nz, SHOWN, None))
    save_picture(image_grid(images, scale=grid_scale(images.shape[-1])), folder / SAMPLES)
    write_text_atomic(folder / CARD, card)


def is_model(path: Path) -> bool:
    """Whether a path is the folder of an exported model."""
    return (path / WEIGHTS).is_file()


def read_model(folder: Path, device: torch.device) -> Generator:
    """The generator of an exported folder, in eval mode.

    Raises `CheckpointError` if a file is missing or damaged.
    """
    try:
        generator = build_generator(load_train_config(folder / CONFIG))
        generator.load_state_dict(load_tensors((folder / WEIGHTS).read_bytes()))
    except (OSError, RuntimeError, SafetensorError, DcganError) as error:
        raise CheckpointError(
            f"the model in {folder} cannot be used: {first_line(error)}; export it again with "
            "'dcgan export'"
        ) from None
    return generator.to(device).requires_grad_(False).eval()
