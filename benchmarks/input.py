"""How long, and how much memory, it takes to load a folder of photos: cold, then from the cache.

Makes synthetic 500×375 JPEGs in a temporary folder (a handful of pictures, each file with a
comment of its own so that all digests differ) and loads them with `dcgan.data.bank.load_bank`, each
start in a fresh process with an empty cache of its own. The files were just written, so they come
from memory rather than from the disk.

    python benchmarks/input.py --photos 2000
    python benchmarks/input.py --json result.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
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
    """Make the photos, then load them twice in fresh processes."""
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
    # The checkout comes first: the package need not be installed.
    checkout = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [checkout, os.environ.get("PYTHONPATH")])
    )
    command = [sys.executable, __file__, "--child", str(root), "--image-size", str(image_size)]
    for start in ("cold", "warm"):
        output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        result[start] = json.loads(output.stdout)
    assert (result["cold"]["from_cache"], result["warm"]["from_cache"]) == (False, True)
    return {**result, **machine()}


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


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    from importlib.metadata import version

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return {
        "machine": f"{platform.system()} {platform.machine()}, {cpu_name()}",
        "processors": processors or os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("pillow", "numpy", "torch")},
        },
    }


def cpu_name() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"{result['machine']}, {result['processors']} processors; {versions}")
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
