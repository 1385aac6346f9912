"""What a piece of HTML says: its words, rows and pictures."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

from PIL import Image


class Page(HTMLParser):
    """A parsed piece of HTML.

    Attributes:
        rows: the cells of each row of a table.
        marked: the first cells of the rows of the class `marked`.
        pictures: alternative text → picture.
        text: all words, without the style.
        tags: the names of all tags.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.marked: list[str] = []
        self.pictures: dict[str, Image.Image] = {}
        self.text = ""
        self.tags: list[str] = []
        self._open: list[str] = []
        self._mark = False
        self.feed(html)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "img":
            head, _, data = values["src"].partition(",")
            assert head == "data:image/webp;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            picture.load()
            assert picture.size == (int(values["width"]), int(values["height"]))
            self.pictures[values["alt"]] = picture
            return
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self._mark = values.get("class") == "marked"
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "tr" and self._mark:
            self.marked.append(self.rows[-1][0])

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data
