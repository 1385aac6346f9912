"""What `dcgan inspect` prints about photos."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dcgan.cli.console import notes_on_files
from dcgan.data.bank import PhotoBank
from dcgan.data.duplicates import DuplicateGroup


def describe_photos(bank: PhotoBank) -> str:
    """Counts, original sizes and every unusable file with its reason."""
    lines = [f"{len(bank.images)} usable photos, fingerprint {bank.fingerprint[:12]}"]
    if bank.sizes:
        widths, heights = zip(*bank.sizes, strict=True)
        short = sorted(min(size) for size in bank.sizes)
        lines.append(
            f"original sizes: {min(widths)}–{max(widths)} wide, {min(heights)}–{max(heights)} "
            f"high, shorter side {short[0]}–{short[-1]} (median {statistics.median(short):.0f})"
        )
    lines += [bank.note] if bank.note else []
    lines += notes_on_files(bank)
    for files, what in (
        (bank.bad, "unusable files"),
        (bank.damaged, "photos that are used although they are damaged"),
    ):
        if files:
            lines.append(f"{len(files)} {what}:")
            lines += [f"  {file.path}: {file.reason}" for file in files]
    return "\n".join(lines)


def describe_duplicates(groups: list[DuplicateGroup], names: Sequence[str], most: int = 20) -> str:
    """The names of photos that are there more than once."""
    if not groups:
        return "no duplicates found"
    extra = sum(len(group.indices) - 1 for group in groups)
    lines = [
        f"{extra} photos show the same picture as another one, which makes scores on held-out "
        "photos look better than they are:"
    ]
    for group in groups[:most]:
        kind = "same pixels" if group.exact else "nearly the same"
        lines.append(f"  {kind}: {', '.join(names[index] for index in group.indices)}")
    if len(groups) > most:
        lines.append(f"  … and {len(groups) - most} more groups")
    return "\n".join(lines)
