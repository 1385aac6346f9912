"""Make the weights of the `random` extractor.

    python -m benchmarks.evaluation.make_random_network OUT

This was run once. The file it wrote ships with the package and is never made again: LAPACK's last
digits, and with them the hash, differ between machines.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from dcgan.evaluation.extractors.random_network import STAGES

SEED = 20240501


def random_kernels(seed: int = SEED) -> dict[str, npt.NDArray[np.float32]]:
    """Kernels (out, in, k, k) whose flattened rows are orthonormal × √2.

    √2 keeps the signal's size through a ReLU, which halves its power (He et al. 2015,
    arXiv:1502.01852); orthonormal rows (Saxe et al. 2014, arXiv:1312.6120) keep features apart.
    """
    rng = np.random.default_rng(seed)
    kernels = {}
    for name, channels_in, channels_out, side in STAGES:
        normal = rng.standard_normal((channels_in * side * side, channels_out))
        q, r = np.linalg.qr(normal)
        # QR leaves each column's sign to the library; a positive diagonal of R makes it unique
        rows = (q * np.sign(np.diag(r))).T * np.sqrt(2.0)
        shape = (channels_out, channels_in, side, side)
        kernels[name] = np.ascontiguousarray(rows.reshape(shape), dtype=np.float32)
    return kernels


def main(arguments: list[str] | None = None) -> None:
    """Write the weights and print their hash."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    out = parser.parse_args(arguments).out
    content = save(random_kernels())
    out.write_bytes(content)
    print(hashlib.sha256(content).hexdigest(), out)


if __name__ == "__main__":
    main()
