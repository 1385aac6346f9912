"""A warm start opens and decodes nothing; no state of the cache can harm a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan.config.train_config import DataConfig
from dcgan.data import cache as bank_cache
from dcgan.data.bank import PhotoBank, load_bank
from dcgan.runtime.cache import cache_folder, read_checked_json, write_checked_json
from dcgan.runtime.files import write_atomic


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed in range(6):
        photo(tmp_path / "photos" / f"{seed}.png", seed)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"not a photo")
    return tmp_path / "photos"


def photo(path: Path, seed: int, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def bank(root: Path, size: int = 32, **options: object) -> PhotoBank:
    return load_bank(DataConfig(root=root, image_size=size, **options))


def assert_same(one: PhotoBank, other: PhotoBank) -> None:
    assert torch.equal(one.images, other.images)
    for name in ("fingerprint", "names", "sizes", "bad", "ignored"):
        assert getattr(one, name) == getattr(other, name)


watching: list[tuple[Path, list[str]]] = []
"""Folders, and the names of the files below them that were opened."""


def note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and watching and isinstance(arguments[0], str | os.PathLike):
        path = Path(arguments[0]).absolute()
        for root, names in watching:
            if path.is_relative_to(root):
                names.append(path.name)


sys.addaudithook(note_opened)  # for good: Python cannot remove one


@contextmanager
def opened_below(root: Path) -> Iterator[list[str]]:
    """Names of the files below a folder that are opened inside the block."""
    watching.append((root, []))
    try:
        yield watching[-1][1]
    finally:
        watching.pop()


def stamps(cache: Path) -> dict[Path, tuple[int, int]]:
    """What changes when a file below the cache is written or replaced."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.rglob("*")}


def test_warm_start_opens_no_photo_and_writes_nothing(root: Path, cache: Path) -> None:
    with opened_below(root) as opened:
        cold = bank(root)
    assert sorted(opened) == [*(f"{n}.png" for n in range(6)), "bad.jpg"]
    before = stamps(cache)
    with opened_below(root) as opened:
        warm = bank(root)
    assert opened == []
    assert stamps(cache) == before
    assert (cold.from_cache, warm.from_cache) == (False, True)
    assert [file.path for file in warm.bad] == ["bad.jpg"]
    assert_same(cold, warm)
    warm.images[0] = 0  # the bank is the caller's own memory ...
    assert_same(cold, bank(root))  # ... not the file's


def test_warm_start_at_two_sizes_and_relative_root(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(root / "small.png", 7, side=20)  # too small for 128, fine for 32
    cold = {size: bank(root, size) for size in (128, 32)}
    assert [len(cold[size].names) for size in (128, 32)] == [6, 7]
    monkeypatch.chdir(root.parent)
    for size in (32, 128):
        with opened_below(root) as opened:
            warm = bank(Path("photos"), size)
        assert opened == []
        assert warm.from_cache
        assert_same(cold[size], warm)


def test_known_bad_files_are_not_opened_again(root: Path) -> None:
    bank(root)
    with opened_below(root) as opened:
        other_size = bank(root, 64)
    assert sorted(opened) == [f"{n}.png" for n in range(6)]
    assert [file.path for file in other_size.bad] == ["bad.jpg"]


def test_moved_and_touched_files_are_hashed_but_not_decoded(root: Path) -> None:
    cold = bank(root)
    (root / "new").mkdir()
    (root / "0.png").rename(root / "new" / "0.png")
    (root / "1.png").touch()
    with opened_below(root) as opened:
        warm = bank(root)
    assert warm.from_cache
    assert sorted(opened) == ["0.png", "1.png"]
    assert torch.equal(cold.images, warm.images)
    assert "new/0.png" in warm.names
    with opened_below(root) as opened:  # what was hashed has been remembered
        assert bank(root).from_cache
    assert opened == []


def test_changed_added_removed_files(root: Path) -> None:
    first = bank(root)
    photo(root / "0.png", 100)
    changed = bank(root)
    photo(root / "more.png", 101)
    (root / "bad.jpg").unlink()
    added = bank(root)
    (root / "more.png").unlink()
    removed = bank(root)
    assert not changed.from_cache
    assert not added.from_cache
    assert removed.from_cache  # the same content as `changed`
    assert len({first.fingerprint, changed.fingerprint, added.fingerprint}) == 3
    assert removed.fingerprint == changed.fingerprint
    assert torch.equal(removed.images, changed.images)
    assert (len(added.names), added.bad) == (7, ())


def test_a_repaired_file_is_used(root: Path) -> None:
    assert len(bank(root).bad) == 1
    photo(root / "bad.jpg", 50)
    assert bank(root).bad == ()


def test_roots_and_classes_do_not_mix(root: Path, tmp_path: Path) -> None:
    photo(root / "a" / "x.png", 21)
    photo(root / "a" / "y.png", 22)
    everything, only_a = bank(root), bank(root, classes=("a",))
    assert len(everything.names) == 8
    assert sorted(only_a.names) == ["a/x.png", "a/y.png"]
    assert_same(bank(root), everything)
    assert bank(root, classes=("a",)).from_cache


def damage(kind: str, path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes(
        {
            "truncated": content[:middle],
            "flipped": flipped,
            "header": bytes([content[9] ^ 255]) + content[1:],
            "longer": content + b"\0",
            "empty": b"",
            "garbage": b"\x80\xff{]",
            "list": b"[1, 2]",
            "null": b'{"crc32": 2068671838, "body": null}',
        }[kind]
    )


@pytest.mark.parametrize(
    "kind", ["truncated", "flipped", "header", "longer", "empty", "garbage", "list", "null"]
)
@pytest.mark.parametrize("which", ["index", "about", "bank"])
def test_damaged_cache_is_rebuilt(root: Path, cache: Path, kind: str, which: str) -> None:
    cold = bank(root)
    files = sorted((cache / "photos").iterdir())
    assert [path.suffix for path in files if "index" not in path.name] == [".json", ".npy"]
    for path in files:
        role = "index" if "index" in path.name else "bank" if path.suffix == ".npy" else "about"
        if role == which:
            damage(kind, path)
    again = bank(root)
    assert_same(cold, again)
    healed = bank(root)
    assert healed.from_cache
    assert_same(cold, healed)


def test_an_index_of_another_shape_or_version_is_ignored(root: Path, cache: Path) -> None:
    cold = bank(root)
    path = next((cache / "photos").glob("index-*.json"))
    body = read_checked_json(path)
    for wrong in (
        {**body, "version": "0, Pillow 1"},
        {**body, "files": [1]},
        {**body, "contents": {"x": [1]}},
        {"version": body["version"]},
        7,
        None,
    ):
        write_checked_json(path, wrong)
        assert_same(cold, bank(root))


def test_folders_where_the_cache_files_should_be(root: Path, cache: Path) -> None:
    cold = bank(root)
    for path in list((cache / "photos").iterdir()):
        path.unlink()
        path.mkdir()
    again = bank(root)
    assert_same(cold, again)
    assert "could not be kept" in again.note


def test_the_bank_file_is_plain_npy(root: Path, cache: Path) -> None:
    images = bank(root).images.numpy()
    path = next((cache / "photos").glob("*.npy"))
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    assert mapped.dtype == np.uint8
    assert np.array_equal(mapped, images)
    about = json.loads(path.with_suffix(".json").read_text())["body"]
    assert about["count"] == 6
    assert about["image_size"] == 32


def test_a_cache_that_cannot_be_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        found = bank(root)
        assert len(found.names) == 6
        assert not found.from_cache
        assert "could not be kept in" in found.note
        assert "DCGAN_CACHE" in found.note


def test_nothing_is_left_behind(root: Path, cache: Path) -> None:
    bank(root)
    assert len(list(cache.rglob("*"))) == 4  # the folder, the index, the bank and its JSON


LOAD = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from dcgan.config.train_config import DataConfig
from dcgan.data.bank import load_bank
print("ready", flush=True)
sys.stdin.readline()
bank = load_bank(DataConfig(root=Path(sys.argv[1]), image_size=32))
print(bank.fingerprint, int(bank.images.sum()), bank.note)
assert not {"torchvision", "optuna", "mlflow"} & set(sys.modules), "loading photos needs none"
"""


@pytest.mark.slow
def test_two_processes_build_the_same_cache_at_once(root: Path, cache: Path) -> None:
    for seed in range(20, 80):
        photo(root / f"{seed}.png", seed)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", LOAD, root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    after = bank(root)
    assert after.from_cache
    assert said == [[after.fingerprint, str(int(after.images.sum()))]] * 2
    assert not list(cache.rglob("*.tmp"))


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("DCGAN_CACHE", "~/here")
    assert cache_folder() == tmp_path / "home" / "here"
    monkeypatch.setenv("DCGAN_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "dcgan"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "dcgan"


def test_write_atomic_keeps_the_old_file_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    write_atomic(path, lambda file: file.write(b"old"))

    def fail(file: object) -> None:
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_bank_keys_cover_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {bank_cache.bank_path("a", 32), bank_cache.bank_path("b", 32)}
    keys.add(bank_cache.bank_path("a", 64))
    monkeypatch.setattr(bank_cache, "PREPROCESSING", "2")
    keys.add(bank_cache.bank_path("a", 32))
    assert len(keys) == 4
