"""Section: the suite's tests that need a CUDA GPU.

They are in the test files that ask for one. The reduced form runs a few tests of the CUDA graphs;
those that need a GPU are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.gpu_parts.report import Line, holds
from benchmarks.gpu_parts.setup import ROOT, Setup, finish, start

ASKS = "torch.cuda.is_available()"
REDUCED = (
    ROOT / "tests/dcgan/training/test_cuda_graphs.py",
    "gives_the_numbers or are_not_recorded",
)
"""A file and, for `pytest -k`, parts of names in it."""
SECONDS = 120.0


def own_tests(setup: Setup) -> Iterator[Line]:
    """Run the files and count what passed, failed and was skipped."""
    found = [REDUCED[0]] if setup.reduced else files()
    report, log = setup.scratch / "tests.xml", setup.scratch / "tests.log"
    options = ["-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}"]
    options += ["-k", REDUCED[1]] if setup.reduced else []
    process = start("-P", "-m", "pytest", *options, *found, log=log)
    try:
        finish(process, log, SECONDS)
    except RuntimeError:
        if process.returncode != 1 or not report.exists():  # 1: tests failed, which it lists
            raise
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = [
        case for case in cases if any(case.find(end) is not None for end in ("failure", "error"))
    ]
    yield Line("test files", " ".join(str(file.relative_to(ROOT / "tests")) for file in found))
    yield Line("passed", len(cases) - len(skipped) - len(failed), "tests")
    yield holds("failed", ", ".join(map(name_of, failed)) or "none", "none")
    if setup.reduced:
        yield Line("skipped", ", ".join(map(name_of, skipped)) or "none")
    else:
        yield holds("skipped", ", ".join(map(name_of, skipped)) or "none", "none")


def files() -> list[Path]:
    """The test files that ask for a CUDA GPU."""
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    return [file for file in tests if ASKS in file.read_text(encoding="utf-8")]


def name_of(case: ElementTree.Element) -> str:
    """The name of a test."""
    return case.get("name", "?")
