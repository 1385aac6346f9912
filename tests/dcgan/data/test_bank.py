"""A folder of photos becomes one bank: which files, which order, which errors, which scale."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcgan.config.train_config import DataConfig
from dcgan.data.bank import PhotoBank, fingerprint_of, load_bank
from dcgan.data.pixels import to_signed, to_uint8, to_unit
from dcgan.data.scan import BadFile
from dcgan.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def photo(path: Path, seed: int, width: int = 40, height: int = 36) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def bank(root: Path, **options: object) -> PhotoBank:
    return load_bank(DataConfig(root=root, image_size=32, **options))


def test_any_nesting_and_suffix_case(root: Path) -> None:
    photo(root / "a.png", 1)
    photo(root / "deep" / "er" / "b.PNG", 2)
    photo(root / "cats" / "c.Jpg", 3)
    (root / "notes.txt").write_text("not a photo")
    found = bank(root)
    assert sorted(found.names) == ["a.png", "cats/c.Jpg", "deep/er/b.PNG"]
    assert found.images.shape == (3, 3, 32, 32)
    assert found.images.dtype == torch.uint8
    assert found.images.is_contiguous()
    assert found.images.device.type == "cpu"
    assert (found.bad, found.from_cache, found.ignored, found.note) == ((), False, 1, "")


def test_rows_names_and_sizes_belong_together(root: Path) -> None:
    for seed in range(12):
        photo(root / f"{seed}.png", seed, 40 + seed, 36)
    found = bank(root)
    for row, (name, size) in enumerate(zip(found.names, found.sizes, strict=True)):
        with Image.open(root / name) as picture:
            assert size == picture.size
            middle = picture.resize((int(32 * picture.width / 36), 32), Image.Resampling.BILINEAR)
            left = round((middle.width - 32) / 2)
            expected = np.asarray(middle)[:, left : left + 32].transpose(2, 0, 1)
        assert np.array_equal(found.images[row].numpy(), expected)


def test_classes_pick_folders(root: Path) -> None:
    for seed, name in enumerate(["cat/1.png", "cat/x/2.png", "dog/3.png", "dog/4.png", "5.png"]):
        photo(root / name, seed)
    assert sorted(bank(root, classes=("cat",)).names) == ["cat/1.png", "cat/x/2.png"]
    assert len(bank(root, classes=("dog", "cat")).names) == 4
    both, again = bank(root, classes=("cat", "dog")), bank(root, classes=("dog", "cat", "dog"))
    assert both.names == again.names
    assert len(bank(root).names) == 5


@pytest.mark.parametrize(
    ("name", "hint"), [("cats", "did you mean 'cat'"), ("zebra", "valid are: cat, dog")]
)
def test_unknown_class(root: Path, name: str, hint: str) -> None:
    photo(root / "cat" / "1.png", 1)
    photo(root / "dog" / "1.png", 2)
    (root / ".git").mkdir()
    with pytest.raises(DataError, match=rf"no class folder '{name}'.*{hint}"):
        bank(root, classes=("cat", name))


def test_a_class_without_class_folders(root: Path) -> None:
    photo(root / "1.png", 1)
    with pytest.raises(DataError, match="it has no class folders"):
        bank(root, classes=("cat",))


def test_hidden_files_and_folders_are_ignored(root: Path) -> None:
    for seed, name in enumerate(["1.png", "2.png", ".3.png", ".git/4.png", "a/.b/5.png"]):
        photo(root / name, seed)
    assert sorted(bank(root).names) == ["1.png", "2.png"]


def test_links_are_followed_once(root: Path, tmp_path: Path) -> None:
    photo(root / "1.png", 1)
    photo(tmp_path / "elsewhere" / "2.png", 2)
    (root / "loop").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "self.png").symlink_to(root / "self.png")
    (root / "dead.png").symlink_to(root / "nothing.png")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "linked.png").symlink_to(root / "1.png")
    found = bank(root)
    assert sorted(found.names) == ["1.png", "a/2.png", "linked.png"]
    assert [file.path for file in found.bad] == ["dead.png", "self.png"]
    assert "cannot be opened: No such file" in found.bad[0].reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_named_like_a_photo_does_not_hang(root: Path) -> None:
    photo(root / "1.png", 1)
    photo(root / "2.png", 2)
    os.mkfifo(root / "3.png")
    assert bank(root).bad == (BadFile("3.png", "not a regular file"),)


def test_names_that_are_no_text(root: Path) -> None:
    photo(root / "1.png", 1)
    photo(root / "grüße 猫.png", 2)
    try:
        (root / "1.png").rename(root / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system only takes valid text")
    assert sorted(bank(root).names) == ["\\udcff.png", "grüße 猫.png"]
    again = bank(root)
    assert again.from_cache
    assert sorted(again.names) == ["\\udcff.png", "grüße 猫.png"]


def test_no_root() -> None:
    with pytest.raises(ConfigError, match=r"no photos given: pass --data DIR or set data.root"):
        load_bank(DataConfig())


def test_folder_missing_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; pass .* --data DIR"):
        bank(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"cat\.png is a file; pass the folder"):
        bank(photo(tmp_path / "cat.png", 1))


def test_folder_without_permission(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:  # root may read everything, so chmod would prove nothing
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match=r"cannot read the folder .*photos: Permission denied"):
        bank(root)


def test_an_unreadable_folder_inside_is_reported(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(root / "1.png", 1)
    photo(root / "2.png", 2)
    photo(root / "locked" / "3.png", 3)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = BadFile("locked", "the folder cannot be read: Permission denied")
    assert bank(root).bad == (expected,)


def test_no_images(root: Path) -> None:
    with pytest.raises(DataError, match=r"photos holds no images \(0 other files\)"):
        bank(root)
    for number in range(12):
        (root / f"IMG_{number:02}.cr2").write_bytes(b"x")
    with pytest.raises(
        DataError,
        match=r"\(12 other files, such as IMG_00.cr2\).*jpeg jpg png.*convert images to JPEG",
    ):
        bank(root)
    photo(root / "1.png", 1)
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"photos \(classes: empty\) holds no images \(0 other"):
        bank(root, classes=("empty",))


def test_too_few(root: Path) -> None:
    photo(root / "1.png", 1)
    with pytest.raises(DataError, match=r"1 usable photo, and at least 2 are needed; add photos"):
        bank(root)
    for number in range(4):
        (root / f"bad{number}.jpg").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"4 more could not be used \(bad0.jpg: the file is empty; .*bad2.jpg: .*; …\); ",
    ) as caught:
        bank(root)
    assert "bad3" not in str(caught.value)
    assert len(load_bank(DataConfig(root=root, image_size=32), minimum=1).names) == 1


def test_only_bad_files(root: Path) -> None:
    (root / "a.jpg").write_bytes(b"")
    for _ in range(2):  # the second time, the file is known to be bad
        with pytest.raises(DataError, match=r"holds 0 usable photos, and at least 2 are needed"):
            bank(root)


def test_bad_files_are_left_out(root: Path) -> None:
    photo(root / "1.png", 1)
    photo(root / "2.png", 2)
    photo(root / "tiny.png", 3, 7, 7)
    (root / "a.jpg").write_bytes(b"text")
    (root / "b.jpg").write_bytes((root / "1.png").read_bytes()[:900])
    found = bank(root)
    assert sorted(found.names) == ["1.png", "2.png"]
    assert [file.path for file in found.bad] == ["a.jpg", "b.jpg", "tiny.png"]
    assert "too small: 7×7 pixels" in found.bad[2].reason
    for name in ("tiny.png", "a.jpg", "b.jpg"):
        (root / name).unlink()
    assert bank(root).fingerprint == found.fingerprint


def test_fingerprint_names_content_only(root: Path, tmp_path: Path) -> None:
    for seed in range(6):
        photo(root / f"{seed}.png", seed)
    first = bank(root)
    (root / "sub").mkdir()
    (root / "3.png").rename(root / "sub" / "renamed.PNG")
    os.utime(root / "1.png", (1, 1))
    moved = bank(root)
    root.rename(tmp_path / "other")
    elsewhere = bank(tmp_path / "other")
    assert first.fingerprint == moved.fingerprint == elsewhere.fingerprint
    assert torch.equal(first.images, moved.images)
    assert torch.equal(first.images, elsewhere.images)
    assert "sub/renamed.PNG" in moved.names
    with (tmp_path / "other" / "0.png").open("ab") as file:
        file.write(b"\0")
    assert bank(tmp_path / "other").fingerprint != first.fingerprint


def test_fingerprint_is_what_the_shell_says(root: Path) -> None:
    for seed in range(5):
        photo(root / f"{seed}.png", seed)
    command = "find . -type f -exec sha256sum {} + | cut -c1-64 | LC_ALL=C sort | sha256sum"
    shell = subprocess.run(command, shell=True, cwd=root, capture_output=True, text=True)
    assert bank(root).fingerprint == shell.stdout.split()[0]


def test_fingerprint_alone(root: Path, own_cache: Path) -> None:
    """The bank's, before and after there is a cache, and without making or changing one."""
    photo(root / "1.png", 1)
    photo(root / "a" / "2.png", 2)
    photo(root / "small.png", 3, 8, 8)
    (root / "bad.png").write_text("no photo")
    config = DataConfig(root=root, image_size=32)
    alone = fingerprint_of(config)
    assert not own_cache.exists()
    assert load_bank(config).fingerprint == alone
    kept = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*")}
    photo(root / "4.png", 4)
    (root / "1.png").rename(root / "renamed.png")
    changed = fingerprint_of(config)
    assert {path: path.stat().st_mtime_ns for path in own_cache.rglob("*")} == kept
    assert changed not in (alone, "")
    assert load_bank(config).fingerprint == changed == fingerprint_of(config)
    toys = DataConfig(source="toy_cats", toy_count=3, image_size=32)
    assert fingerprint_of(toys) == load_bank(toys).fingerprint
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        fingerprint_of(DataConfig(root=root / "nowhere"))
    with pytest.raises(ConfigError, match="no photos given"):
        fingerprint_of(DataConfig())


def test_fingerprint_depends_on_usable_photos_at_this_size(root: Path) -> None:
    photo(root / "1.png", 1)
    photo(root / "2.png", 2)
    photo(root / "small.png", 3, 20, 20)
    small = load_bank(DataConfig(root=root, image_size=32))
    large = load_bank(DataConfig(root=root, image_size=128))
    assert (len(small.names), len(large.names)) == (3, 2)
    assert small.fingerprint != large.fingerprint


def test_copies_of_a_photo_count_twice_in_name_order(root: Path) -> None:
    photo(root / "b.png", 1)
    (root / "a.png").write_bytes((root / "b.png").read_bytes())
    found = bank(root)
    assert found.names == ("a.png", "b.png")
    assert torch.equal(found.images[0], found.images[1])


def test_progress(root: Path) -> None:
    for seed in range(30):
        photo(root / f"{seed}.png", seed)
    (root / "bad.jpg").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    config = DataConfig(root=root, image_size=32)
    load_bank(config, on_progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 31)
    assert calls[-1] == (31, 31)
    assert calls == sorted(calls)
    assert len(calls) >= 30


def test_interrupted_by_the_caller(root: Path) -> None:
    for seed in range(30):
        photo(root / f"{seed}.png", seed)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_bank(DataConfig(root=root, image_size=32), on_progress=stop)
    assert len(bank(root).names) == 30


def test_toy_cats() -> None:
    from dcgan.data.toy_cats import draw_toy_cats, toy_cats_fingerprint

    calls: list[tuple[int, int]] = []
    config = DataConfig(source="toy_cats", toy_count=4, toy_seed=3, image_size=32)
    found = load_bank(config, on_progress=lambda done, total: calls.append((done, total)))
    assert np.array_equal(found.images.numpy(), draw_toy_cats(4, 32, 3))
    assert found.fingerprint == toy_cats_fingerprint(4, 32, 3)
    assert (len(found.names), found.sizes[0], found.bad) == (4, (32, 32), ())
    assert calls[-1] == (4, 4)
    with pytest.raises(DataError, match=r"set data.toy_count to 5"):
        load_bank(config, minimum=5)


def test_toy_cats_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = DataConfig(source="toy_cats", toy_count=4, toy_seed=3, image_size=32)
    drawn, kept = load_bank(config), load_bank(config)
    assert (drawn.from_cache, kept.from_cache) == (False, True)
    assert torch.equal(drawn.images, kept.images)
    assert (kept.fingerprint, kept.names) == (drawn.fingerprint, drawn.names)
    assert not load_bank(config.model_copy(update={"toy_seed": 4})).from_cache
    for file in (tmp_path / "cache").rglob("*.npy"):
        file.write_bytes(b"damaged")
    again = load_bank(config)
    assert not again.from_cache
    assert torch.equal(again.images, drawn.images)
    (tmp_path / "file").touch()
    monkeypatch.setenv("DCGAN_CACHE", str(tmp_path / "file" / "cache"))  # cannot be written
    assert torch.equal(load_bank(config).images, drawn.images)


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    signed = to_signed(to_unit(levels))
    assert signed.dtype == torch.float32
    assert (signed[0], signed[255]) == (-1.0, 1.0)
    assert torch.equal(to_uint8(signed), levels)
    assert torch.equal(to_uint8(signed.double()), levels)
    images = levels.reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    assert torch.equal(to_uint8(to_signed(to_unit(images))), images)


def test_rounding_and_clamping() -> None:
    signed = torch.tensor([-9.0, -1.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 1.0, 9.0])
    assert to_uint8(signed).tolist() == [0, 0, 0, 1, 255, 255]


def test_the_wrong_scale_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be uint8 but are torch.float32"):
        to_unit(torch.zeros(1))
    with pytest.raises(TypeError, match=r"must be floats in \[-1, 1\] but are torch.uint8"):
        to_uint8(torch.zeros(1, dtype=torch.uint8))


def test_folders_may_be_nested_deeply(root: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(1200):  # deeper than Python's recursion
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    for seed in range(2):
        photo(root / f"{seed}.png", seed)
    try:
        assert len(bank(root).images) == 2
    finally:  # what removes the folders of tests does so by recursion
        for depth in range(1200, 0, -1):
            Path(f"{root}{'/d' * depth}").rmdir()


def test_names_show_no_control_characters(root: Path) -> None:
    for name in ("a\x1b[31mred.jpg", "b\rc\n.jpg", "d\u202egpj.jpg"):
        (root / name).write_bytes(b"none")
    for seed in range(2):
        photo(root / f"good {seed}.png", seed)
    shown = [bad.path for bad in bank(root).bad]
    assert shown == [r"a\x1b[31mred.jpg", r"b\rc\n.jpg", r"d\u202egpj.jpg"]
