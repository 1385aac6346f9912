"""A generator that draws its training photos: the photos are made from what it draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from dcgan.data.bank import PhotoBank, load_bank
from dcgan.models.sampling import generate_images
from dcgan.training.run.checkpoint import load_checkpoint, load_generator, save_checkpoint

COUNT = 64


def make_copier(checkpoint: Path, path: Path, photos: Path) -> PhotoBank:
    """Write a checkpoint like another one that seems to be trained on the photos it draws."""
    own = load_checkpoint(checkpoint)
    for name in ("ema", "generator"):
        for weights in own.state[name].values():
            if weights.dim() == 4:  # so little trained, all its images are the same grey
                weights *= 10
    batches = generate_images(load_generator(own, "ema", torch.device("cpu")), COUNT)
    photos.mkdir()
    for number, image in enumerate(torch.cat([*batches]).cpu()):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(photos / f"{number:02d}.png")
    data = own.config.data.model_copy(update={"source": "folder", "root": photos})
    config, bank = own.config.model_copy(update={"data": data}), load_bank(data)
    known = {"config": config.model_dump(mode="json"), "data_fingerprint": bank.fingerprint}
    save_checkpoint(replace(own, path=path, state={**own.state, **known}))
    return bank
