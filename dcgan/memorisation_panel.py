"""A picture of the generated images that come nearest to training photos, to judge by eye."""

from __future__ import annotations

from PIL import Image, ImageDraw
from torch import Tensor

from dcgan.metrics.memorisation import Memorisation
from dcgan.runtime.pictures import BACKGROUND, grid_scale, image_grid

PAIRS_PER_ROW = 8
MARGIN, LINE_HEIGHT = 8, 22
TEXT, PLAIN, REPEATED = (0, 0, 0), (110, 110, 110), (200, 0, 0)


def closest_pairs_panel(
    fakes: Tensor, photos: Tensor, result: Memorisation, pairs: int = 16
) -> Image.Image:
    """The closest pairs: a generated image above, its nearest photo below, and their ratio.

    The lowest ratios come first; those that count as repetitions are red. A photo is shown as it
    is, also where the generated image resembles its mirror image.

    Args:
        fakes: uint8 (n, 3, S, S), the images that were judged.
        photos: uint8 (m, 3, S, S), the photos they were compared with.
        result: what `dcgan.metrics.memorisation` says of them.
        pairs: how many to show; all if there are fewer.
    """
    closest = result.ratios.argsort(stable=True)[:pairs].tolist()
    tiles = [_pair(fakes[i], photos[int(result.nearest[i])]) for i in closest]
    width, height = tiles[0].width + MARGIN, tiles[0].height + LINE_HEIGHT + MARGIN
    rows = -(-len(tiles) // PAIRS_PER_ROW)
    head = 2 * LINE_HEIGHT + MARGIN
    canvas = Image.new("RGB", (PAIRS_PER_ROW * width + MARGIN, head + rows * height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    lines = "\n".join(_title(result))
    draw.multiline_text((MARGIN, 5), lines, fill=TEXT, font_size=14, spacing=6)
    for position, (i, tile) in enumerate(zip(closest, tiles, strict=True)):
        left = MARGIN + position % PAIRS_PER_ROW * width
        top = head + position // PAIRS_PER_ROW * height
        canvas.paste(tile, (left, top))
        colour = REPEATED if result.memorised[i] else PLAIN
        ratio = f"{float(result.ratios[i]):.2f}"
        draw.text((left + 4, top + tile.height + 1), ratio, fill=colour, font_size=14)
    return canvas


def _pair(fake: Tensor, photo: Tensor) -> Image.Image:
    scale = grid_scale(fake.shape[-1])
    upper, lower = (image_grid(image.unsqueeze(0), scale=scale) for image in (fake, photo))
    tile = Image.new("RGB", (upper.width, upper.height + lower.height), BACKGROUND)
    tile.paste(upper, (0, 0))
    tile.paste(lower, (0, upper.height))
    return tile


def _title(result: Memorisation) -> list[str]:
    low, middle = result.calibration_percentiles[1], result.calibration_percentiles[50]
    return [
        f"generated above, nearest photo below; {result.fraction:.1%} of {len(result.ratios)} "
        f"repeat a photo (ratio up to {result.threshold:.2f})",
        f"ratio: distance to the nearest photo / to the next ones; between photos {middle:.2f} "
        f"(median), {low:.2f} (lowest 1%)",
    ]
