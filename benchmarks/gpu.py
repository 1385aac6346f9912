"""The whole GPU path in one command, in under eight minutes: does it work, and how fast is it?

    python benchmarks/gpu.py --data PHOTOS
    python benchmarks/gpu.py --data PHOTOS --json gpu.json
    python benchmarks/gpu.py --device cpu

Each line of the report passes, fails or informs. A section that ends with an error counts as
failed, and the others still run. The exit code is 1 if anything failed. With `--device cpu` a
reduced form runs, whose speed has no targets: it shows that this program works. The eight minutes
are for one fast GPU, 16 processors and about 500 photos. Without --data the photos are toy cats.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `python benchmarks/gpu.py`

WHOLE_SECONDS = 480.0
REDUCED_TOYS = 96


def main() -> None:
    """Run every section, print the report, exit with 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of photos (default: toy cats)")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write JSON to this file; without a file, print JSON instead of the report",
    )
    arguments = parser.parse_args()
    sys.exit(run(arguments.data, arguments.device, arguments.json))


def run(data: Path | None, device: str, json_file: str | None) -> int:
    """The exit code."""
    import torch

    from benchmarks.gpu_parts.report import Line, at_most
    from benchmarks.gpu_parts.setup import Setup
    from benchmarks.lib.machine import describe
    from benchmarks.lib.photos import TOY_COUNT, photo_folder

    if device == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA GPU; --device cpu runs the reduced form", file=sys.stderr)
        return 2
    to_stdout = json_file == "-"
    machine = describe(torch.device(device))
    say = (lambda text: None) if to_stdout else (lambda text: print(text, flush=True))
    say("  ".join(f"{key} {value}" for key, value in machine.items()))
    toys = REDUCED_TOYS if device == "cpu" else TOY_COUNT
    sections = all_sections()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        photo_folder(data, toys) as root,
    ):
        os.environ["DCGAN_CACHE"] = str(Path(scratch) / "cache")
        setup = Setup(device, Path(root), Path(scratch))
        for section in sections:
            section.run(setup)
            say(f"\n{section}")
    seconds = sum(section.seconds for section in sections)
    whole = at_most("all sections", seconds, WHOLE_SECONDS, "s", applies=device == "cuda")
    lines: list[Line] = [whole, *(line for section in sections for line in section.lines)]
    failed = sum(line.state == "fail" for line in lines)
    say(f"\n{whole}\n{failed} failed, {sum(line.state == 'pass' for line in lines)} passed")
    if json_file:
        content = {"sections": [it.to_dict() for it in sections], "seconds": seconds}
        text = json.dumps({**machine, "device": device, "failed": failed, **content}, indent=2)
        if to_stdout:
            print(text)
        else:
            Path(json_file).write_text(text + "\n", encoding="utf-8")
    return int(failed > 0)


def all_sections() -> list:
    """The sections in their order, with the seconds that each may take on a fast GPU."""
    from benchmarks.gpu_parts.busy import busy
    from benchmarks.gpu_parts.capture import capture
    from benchmarks.gpu_parts.losses import losses
    from benchmarks.gpu_parts.own_tests import own_tests
    from benchmarks.gpu_parts.packing import packing
    from benchmarks.gpu_parts.report import Section
    from benchmarks.gpu_parts.resume import resume
    from benchmarks.gpu_parts.speed import memory, speed
    from benchmarks.gpu_parts.whole_study import whole_study

    return [
        Section("tests that need a GPU", own_tests, 50),
        Section("recording a step", capture, 20),
        Section("images per second", speed, 180),
        Section("how busy the GPU is", busy, 30),
        Section("peak memory", memory, 1),
        Section("trials at once", packing, 75),
        Section("a study of two workers", whole_study, 60),
        Section("killed and resumed", resume, 40),
        Section("losses on GPU and CPU", losses, 20),
    ]


if __name__ == "__main__":
    main()
