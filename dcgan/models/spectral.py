"""Convolutions whose largest singular value is 1.

Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks" (arXiv:1802.05957).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dcgan.models.convolutions import as_matrix

FIRST_ITERATIONS = 15
"""Power iterations after new weights were drawn; later one for each pass in training."""


class SpectralConv(nn.Conv2d):
    """`nn.Conv2d` with its weight, as a matrix with a row for each output, divided by its norm.

    The norm is estimated by power iteration from the vector `left`, which each pass in training
    mode improves. A state dict holds both.
    """

    left: Tensor
    """float32 `(outputs,)`: estimate of the first left singular vector, of length 1."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)
        self.register_buffer("left", torch.full((outputs,), outputs**-0.5))

    @torch.no_grad()
    def initialise(self, std: float, rng: torch.Generator) -> None:
        """Draw weights and `left` with a CPU generator; the bias is 0."""
        for value in (self.weight, self.left):
            value.copy_(torch.empty(value.shape).normal_(0.0, std, generator=rng))
        if self.bias is not None:
            self.bias.zero_()
        for _ in range(FIRST_ITERATIONS):
            self.left.copy_(self._iterate()[0])

    def normalised(self) -> Tensor:
        """The weight divided by the estimate of its norm. Gradients pass through both."""
        left, right = self._iterate()
        if self.training:
            self.left.copy_(left)
        with torch.autocast(self.weight.device.type, enabled=False):
            return self.weight / (left @ (as_matrix(self.weight) @ right))

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.normalised(), self.bias, self.stride, self.padding)

    @torch.no_grad()
    def _iterate(self) -> tuple[Tensor, Tensor]:
        """Better left and right singular vectors."""
        matrix = as_matrix(self.weight)
        with torch.autocast(matrix.device.type, enabled=False):
            right = F.normalize(matrix.T @ self.left, dim=0)
            return F.normalize(matrix @ right, dim=0), right
