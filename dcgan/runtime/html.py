"""Pieces of HTML for notebooks: text, tables and pictures, readable on light and dark pages.

All text is escaped here. The page's own colours are inherited, so no theme needs another version.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from html import escape

from PIL import Image

QUALITY = 80
"""Of WebP: a row of eight samples takes about 10 kB."""
STYLE = """<style>
.dcgan-shown { overflow-x: auto; max-width: 100%; color: inherit; }
.dcgan-shown table { border-collapse: collapse; font-size: 12px; margin: 6px 0; color: inherit; }
.dcgan-shown th, .dcgan-shown td { padding: 3px 9px; text-align: right; white-space: nowrap;
  color: inherit; border: 0; border-bottom: 1px solid rgba(128, 128, 128, .35); }
.dcgan-shown th:first-child, .dcgan-shown td:first-child { text-align: left; }
.dcgan-shown tr.marked td { font-weight: 600; }
.dcgan-shown p { margin: 4px 0; }
.dcgan-shown figure { margin: 8px 0; }
.dcgan-shown img { max-width: 100%; margin: 0; }
.dcgan-shown progress { width: 220px; vertical-align: middle; }
</style>"""


def shown(*parts: str) -> str:
    """Pieces of HTML as what a cell of a notebook shows."""
    return f'{STYLE}<div class="dcgan-shown">{"".join(parts)}</div>'


def heading(text: str) -> str:
    """A line in bold."""
    return f"<p><strong>{escape(text)}</strong></p>"


def sentence(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], marked: Collection[int] = ()
) -> str:
    """A table of text; the rows with the indices `marked` are in bold."""
    top = "".join(f"<th>{escape(text)}</th>" for text in headings)
    lines = []
    for index, cells in enumerate(rows):
        mark = ' class="marked"' if index in marked else ""
        lines.append(f"<tr{mark}>{''.join(f'<td>{escape(text)}</td>' for text in cells)}</tr>")
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def figure(picture: Image.Image, caption: str) -> str:
    """A picture below its caption."""
    text = escape(caption)
    size = f'width="{picture.width}" height="{picture.height}"'
    image = f'<img alt="{text}" {size} src="{data_uri(picture)}">'
    return f"<figure><figcaption>{text}</figcaption>{image}</figure>"


def bar(label: str, done: int, total: int, text: str) -> str:
    """A progress bar between its label and its text."""
    return (
        f'<p>{escape(label)} <progress value="{done}" max="{max(total, 1)}"></progress> '
        f"{done}/{total}{escape(f', {text}' if text else '')}</p>"
    )


def data_uri(picture: Image.Image) -> str:
    """A picture as the source of an image in a page."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
