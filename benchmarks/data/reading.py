"""How long, and how much memory, it takes to load a folder of photos: cold, then from the cache.

    python -m benchmarks.data.reading --photos 2000

Makes synthetic 500×375 JPEGs in a temporary folder: 16 pictures, and in each file a comment of its
own, so that all digests differ. `dcgan.data.bank.load_bank` loads them in a fresh process with an
empty cache, then in another one from the cache. The files were just written, so they come from
memory rather than from the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MIB = 2**20
PICTURES = 16
LIMIT_MIB = 1024  # beyond the bank itself, at 20,000 photos


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--image-size", type=int, default=64, choices=(32, 64, 128))
    parser.add_argument("--folder", type=Path, help="where to make the photos (default: TMPDIR)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(load_once(options.child, options.image_size)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = run(Path(folder), options.photos, options.image_size)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def run(folder: Path, photos: int, image_size: int) -> dict[str, Any]:
    """Make the photos, then load them twice, each time in a fresh process."""
    root = folder / "photos"
    started = time.perf_counter()
    megabytes = make_photos(root, photos) / 1e6
    result: dict[str, Any] = {
        "photos": photos,
        "photos_mb": round(megabytes),
        "image_size": image_size,
    }
    result["making_seconds"] = round(time.perf_counter() - started, 1)
    environment = {**os.environ, "DCGAN_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "benchmarks.data.reading", "--child", str(root)]
    command += ["--image-size", str(image_size)]
    for start in ("cold", "warm"):
        output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        result[start] = json.loads(output.stdout)
    assert (result["cold"]["from_cache"], result["warm"]["from_cache"]) == (False, True)
    import torch

    from benchmarks.lib.machine import describe

    return {**result, "machine": describe(torch.device("cpu"))}


def make_photos(root: Path, count: int) -> int:
    """Write the JPEGs, 1000 a folder; returns their size in bytes."""
    import io

    import numpy as np
    from PIL import Image

    encoded = []
    for seed in range(PICTURES):
        rng = np.random.default_rng(seed)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    written = 0
    for number in range(count):
        folder = root / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        comment = f"photo {number:012d}".encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        base = encoded[number % PICTURES]
        written += (folder / f"{number}.jpg").write_bytes(base[:2] + segment + base[2:])
    return written


def load_once(root: Path, image_size: int) -> dict[str, Any]:
    """Load the bank in this process and measure it."""
    from dcgan.config.train_config import DataConfig
    from dcgan.data.bank import load_bank

    before = peak_mib()
    started = time.perf_counter()
    bank = load_bank(DataConfig(root=root, image_size=image_size))
    seconds = time.perf_counter() - started
    bank_mib = bank.images.numel() / MIB
    peak = peak_mib()
    return {
        "seconds": round(seconds, 3),
        "photos_per_second": round(len(bank.images) / seconds),
        "usable": len(bank.images),
        "from_cache": bank.from_cache,
        "note": bank.note,
        "bank_mib": round(bank_mib, 1),
        "imports_mib": round(before, 1),
        "peak_mib": round(peak, 1),
        "beyond_bank_mib": round(peak - bank_mib, 1),
    }


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(", ".join(f"{key} {value}" for key, value in result["machine"].items()))
    print(
        f"{result['photos']:,} JPEGs of 500×375 ({result['photos_mb']} MB) "
        f"→ {result['image_size']}×{result['image_size']}, bank {result['cold']['bank_mib']} MiB"
    )
    print(f"{'start':<6}{'seconds':>9}{'photos/s':>11}{'peak MiB':>10}{'beyond the bank MiB':>21}")
    for start in ("cold", "warm"):
        row = result[start]
        print(
            f"{start:<6}{row['seconds']:>9.2f}{row['photos_per_second']:>11,}"
            f"{row['peak_mib']:>10.0f}{row['beyond_bank_mib']:>21.0f}"
        )
    print(
        f"'Beyond the bank' includes Python and torch ({result['cold']['imports_mib']:.0f} MiB "
        f"once imported); the limit at 20,000 photos is {LIMIT_MIB} MiB."
    )


if __name__ == "__main__":
    main()
