"""The embedded data set: cats drawn by the program, framed like close-up photos.

`_Cat` decides what a picture shows. The functions paint it back to front, enlarged, and reduce it.
Shapes are in the cat's own units (centre of the head 0, half its width 1, x to the right, y down),
so that placing, scaling or tilting the head moves everything on it.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

TOY_CATS_VERSION: int = 1
"""Raise it if the same (seed, index) shows another picture."""

Ink = tuple[int, ...]  # RGB, or RGB and an opacity (0-255)
Point = tuple[float, float]
Pattern = Literal["solid", "tabby", "patches", "tuxedo", "points"]

_OVERSAMPLING = {32: 4, 64: 3, 128: 2}  # canvas pixels per final pixel, along a side
_COATS: tuple[tuple[Ink, Ink, Ink, tuple[Pattern, ...]], ...] = (
    # fur, markings, pale parts (muzzle, chest), the patterns it comes in
    ((214, 132, 62), (164, 84, 34), (248, 222, 188), ("solid", "tabby", "tabby", "tuxedo")),
    ((134, 136, 144), (78, 80, 88), (206, 206, 210), ("solid", "tabby", "tuxedo")),
    ((56, 52, 55), (36, 33, 37), (238, 234, 228), ("solid", "tuxedo", "tuxedo")),
    ((236, 230, 222), (206, 124, 58), (250, 246, 240), ("solid", "patches", "patches")),
    ((230, 202, 160), (186, 142, 96), (248, 234, 212), ("solid", "tabby")),
    ((138, 108, 80), (62, 46, 36), (214, 194, 164), ("tabby", "tabby", "solid")),
    ((178, 178, 176), (66, 66, 70), (234, 232, 228), ("tabby",)),
    ((226, 212, 190), (84, 62, 52), (196, 176, 152), ("points",)),
)
_EYES: tuple[Ink, ...] = ((132, 176, 74), (216, 164, 48), (226, 198, 84), (190, 112, 40))
_BLUE_EYES: Ink = (92, 156, 214)
_PINK: Ink = (226, 152, 148)
_DARK: Ink = (26, 20, 20)
_SIDES = (-1.0, 1.0)
_CIRCLE: tuple[Point, ...] = tuple(
    (math.cos(math.pi * k / 16), math.sin(math.pi * k / 16)) for k in range(32)
)


class _Cat:
    """What a picture shows. Lengths are in half-widths of the head unless said otherwise."""

    def __init__(self, rng: np.random.Generator) -> None:
        fur, marking, pale, patterns = _COATS[rng.integers(len(_COATS))]
        self.pattern = patterns[rng.integers(len(patterns))]
        tone = rng.uniform(0.86, 1.12)
        blue = self.pattern == "points" or rng.random() < 0.08
        angle, strength = rng.uniform(0.0, 2 * math.pi), rng.uniform(0.05, 0.3)
        self.centre = rng.normal(0.5, 0.035), rng.normal(0.47, 0.03)  # of the head, in image sides
        self.radius = rng.uniform(0.25, 0.34)  # half the head's width, in image sides
        self.tilt = rng.normal(0.0, 0.13)  # of the head, radians
        # x of the face's midline: not 0 where the head is turned
        self.middle = float(np.clip(rng.normal(0.0, 0.1), -0.22, 0.22))
        self.length = rng.uniform(0.8, 0.95)  # of the face
        self.cheeks = rng.uniform(0.0, 0.12)
        self.fluff = rng.uniform(0.005, 0.035)  # roughness of the outline
        self.ear_height = rng.uniform(0.85, 1.15)
        self.ear_splay = rng.uniform(-0.08, 0.22)
        self.body = rng.uniform(0.9, 1.3)  # half the width of the shoulders
        self.lean = rng.normal(0.0, 0.22)  # how far to the side of the head the body is
        self.fur, self.marking = _scale(fur, tone), _scale(marking, tone)
        self.pale = _scale(pale, 0.5 + 0.5 * tone)
        self.nose = _mix(_PINK, _DARK, rng.choice((0.1, 0.25, 0.8)))
        eye = _BLUE_EYES if blue else _EYES[rng.integers(len(_EYES))]
        self.eye = _scale(eye, rng.uniform(0.85, 1.1))
        self.eye_size = rng.uniform(0.2, 0.26)
        self.eye_open = 0.0 if rng.random() < 0.07 else rng.uniform(0.6, 1.0)  # 0: asleep
        self.pupil = rng.uniform(0.0, 1.0)  # 0: a slit, 1: round
        self.gaze = rng.normal(0.0, 0.3), rng.normal(0.0, 0.2)
        self.wall = _hsv(rng.random(), rng.uniform(0.02, 0.45), rng.uniform(0.25, 0.9))
        self.floor = _hsv(rng.uniform(0.02, 0.16), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.8))
        self.horizon = rng.uniform(0.45, 1.3)  # where the wall ends, in image sides
        self.spots = int(rng.integers(0, 7))  # lights and things out of focus behind the cat
        self.window = bool(rng.random() < 0.2)
        self.light = strength * math.cos(angle), strength * math.sin(angle)  # a vector
        self.warmth = rng.normal(0.0, 0.05)
        self.exposure = rng.uniform(0.85, 1.15)


def draw_toy_cats(
    count: int, image_size: int, seed: int, on_progress: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """Draw cats: uint8 RGB (count, 3, S, S), S = `image_size` in pixels: 32, 64 or 128.

    Picture i depends only on the seed (at least 0), i and S; all S show the same cats but for fine
    texture. `on_progress` is called after each picture with the number done so far.
    """
    if image_size not in _OVERSAMPLING:
        raise ValueError(f"image_size must be 32, 64 or 128, but got {image_size}")
    pictures = np.empty((count, 3, image_size, image_size), dtype=np.uint8)
    for index in range(count):
        # A spawn key, because as plain entropy (seed, index) pairs of huge seeds can coincide.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        pictures[index] = _paint(_Cat(rng), image_size, rng).transpose(2, 0, 1)
        on_progress(index + 1)
    return pictures


def toy_cats_fingerprint(count: int, image_size: int, seed: int) -> str:
    """The hex SHA-256 of a set's definition. Its pixels may differ between versions of Pillow."""
    definition = f"toy_cats v{TOY_CATS_VERSION} count={count} size={image_size} seed={seed}"
    return hashlib.sha256(definition.encode()).hexdigest()


def _scale(colour: Ink, factor: float) -> Ink:
    return tuple(min(255, int(channel * factor)) for channel in colour)


def _mix(first: Ink, second: Ink, share: float) -> Ink:
    return tuple(int(a + share * (b - a)) for a, b in zip(first, second, strict=True))


def _hsv(hue: float, saturation: float, value: float) -> Ink:
    return tuple(int(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))


def _oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> list[Point]:
    cos, sin = math.cos(turn), math.sin(turn)
    a, b, c, d = rx * cos, ry * sin, rx * sin, ry * cos
    return [(x + a * u - b * v, y + c * u + d * v) for u, v in _CIRCLE]


class _Pen:
    """Draws in the cat's units on a canvas."""

    def __init__(self, canvas: Image.Image, cat: _Cat, tilt: float) -> None:
        self._draw = ImageDraw.Draw(canvas, "RGBA" if canvas.mode == "RGB" else "L")
        self._unit = cat.radius * canvas.width
        self._x, self._y = cat.centre[0] * canvas.width, cat.centre[1] * canvas.width
        self._cos, self._sin = self._unit * math.cos(tilt), self._unit * math.sin(tilt)

    def _place(self, points: Sequence[Point]) -> list[Point]:
        cos, sin = self._cos, self._sin
        return [(self._x + cos * x - sin * y, self._y + sin * x + cos * y) for x, y in points]

    def fill(self, points: Sequence[Point], ink: Ink | int) -> None:
        self._draw.polygon(self._place(points), fill=ink)

    def line(self, points: Sequence[Point], ink: Ink, width: float) -> None:
        self._draw.line(self._place(points), ink, max(1, round(width * self._unit)))


@dataclass(frozen=True)
class _Picture:
    """An unfinished picture, enlarged."""

    cat: _Cat
    canvas: Image.Image  # RGB
    furry: Image.Image  # L: where the cat is
    rng: np.random.Generator  # for details no trait names

    def wear(self, coat: Image.Image, outline: Sequence[Point], tilt: float) -> None:
        """Paste the part of `coat` within an outline: round, soft, rough at the edge."""
        cat = self.cat
        _Pen(coat, cat, tilt).line([*outline, outline[0]], (*_DARK, 50), width=0.26)
        stretch = 1.0 + cat.fluff * self.rng.uniform(-1.0, 1.0, len(outline))
        rough = [(x * f, y * f) for (x, y), f in zip(outline, stretch.tolist(), strict=True)]
        shape = Image.new("L", coat.size)
        _Pen(shape, cat, tilt).fill(rough, 255)
        if coat.width > 128:  # in the smallest pictures nobody could see it
            coat = coat.filter(ImageFilter.BoxBlur(0.035 * coat.width * cat.radius))
        self.canvas.paste(coat, mask=shape)
        self.furry.paste(255, mask=shape)


def _paint(cat: _Cat, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the picture as uint8 RGB, shape (size, size, 3)."""
    factor = _OVERSAMPLING[size]
    side = size * factor
    canvas = _background(cat, rng).resize((side, side), Image.Resampling.BICUBIC)
    picture = _Picture(cat, canvas, Image.new("L", (side, side)), rng)
    _body(picture)
    _ears(picture)
    _head(picture)
    _face(picture)
    return _photograph(canvas.reduce(factor), picture.furry.reduce(factor), cat, rng)


def _background(cat: _Cat, rng: np.random.Generator) -> Image.Image:
    """A room out of focus, 32 × 32 pixels; the caller enlarges it."""
    side = 32
    room = Image.new("RGB", (side, side), cat.wall)
    draw = ImageDraw.Draw(room, "RGBA")
    if cat.window:
        left, width = rng.uniform(-4, 26), rng.uniform(6, 12)
        draw.rectangle((left, -1, left + width, rng.uniform(10, 22)), (236, 242, 250))
        draw.line((left + width / 2, 0, left + width / 2, 20), _scale(cat.wall, 0.8))
    draw.rectangle((-1, cat.horizon * side, side, 2 * side), cat.floor)
    for _ in range(cat.spots):
        x, y, radius = rng.uniform(0, side), rng.uniform(0, 0.8 * side), rng.uniform(1, 5)
        ink = _hsv(rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 1.0))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), (*ink, 150))
    return room.filter(ImageFilter.BoxBlur(rng.uniform(0.6, 2.0)))


def _body(picture: _Picture) -> None:
    cat, rng = picture.cat, picture.rng
    dim = 0.84  # the head is nearer to the light
    coat = Image.new("RGB", picture.canvas.size, _scale(cat.fur, dim))
    pen = _Pen(coat, cat, 0.0)
    if cat.pattern == "tabby":
        for k in range(5):
            y = 0.95 + 0.34 * k + rng.uniform(-0.06, 0.06)
            for side in _SIDES:
                edge = cat.lean + side * (cat.body + 0.1)
                inner = (edge - 0.65 * side, y + 0.16)
                pen.fill([(edge, y - 0.05), inner, (edge, y + 0.2)], _scale(cat.marking, dim))
    if cat.pattern == "patches":
        _patches(pen, cat, rng, 1.6, dim)
    if cat.pattern in ("tabby", "tuxedo", "patches"):
        pen.fill(_oval(0.7 * cat.lean, 1.45, 0.5, 0.85), _scale(cat.pale, dim))
    for k in range(4):  # the head's soft shadow
        pen.fill(_oval(0.3 * cat.lean, 0.7, 0.75 + 0.12 * k, 0.26 + 0.12 * k), (*_DARK, 40))
    x = cat.lean + cat.body * rng.uniform(-0.1, 0.1)
    for leg in (-0.32, 0.32):  # only seen where the cat is small in the picture
        pen.line([(x + leg, 1.75), (x + leg * 1.15, 3.0)], (*_DARK, 60), 0.05)
    picture.wear(coat, _oval(cat.lean, 1.75, cat.body, 1.35), tilt=0.0)


def _patches(pen: _Pen, cat: _Cat, rng: np.random.Generator, y: float, dim: float) -> None:
    for k in range(4):
        ink = cat.marking if k % 2 else (52, 47, 48)
        x, dy, turn = rng.uniform(-1.0, 1.0), rng.uniform(-0.7, 0.5), rng.uniform(0.0, math.pi)
        rx, ry = rng.uniform(0.25, 0.5, 2)
        pen.fill(_oval(x, y + dy, rx, ry, turn), _scale(ink, dim))


def _ears(picture: _Picture) -> None:
    cat = picture.cat
    pen, mask = _Pen(picture.canvas, cat, cat.tilt), _Pen(picture.furry, cat, cat.tilt)
    skin = _mix(_PINK, cat.fur, 0.3)
    back = _mix(cat.fur, cat.marking, 1.0 if cat.pattern == "points" else 0.25)
    splay, top = cat.ear_splay, -0.62 - 0.72 * cat.ear_height
    ear = [(0.95, -0.15), (0.95, -0.62), (0.78 + splay, top), (0.7 + splay, top), (0.42, -1.0)]
    layers = ((1.0, back, 0.92), (0.64, skin, 1.0), (0.4, skin, 0.8))  # size, colour, brightness
    for side in _SIDES:
        for size, colour, brightness in layers:
            shape = [(0.64 + size * (x - 0.64), -0.66 + size * (y + 0.66)) for x, y in ear]
            shape.append((0.64 - 0.44 * size, -0.6))
            placed = [(side * x + 0.45 * cat.middle, y) for x, y in shape]
            pen.fill(placed, _scale(colour, brightness))
            if size == 1.0:
                mask.fill(placed, 255)


def _head(picture: _Picture) -> None:
    cat, middle = picture.cat, picture.cat.middle
    coat = Image.new("RGB", picture.canvas.size, cat.fur)
    pen = _Pen(coat, cat, cat.tilt)
    if cat.pattern == "patches":
        _patches(pen, cat, picture.rng, -0.2, 1.0)
    if cat.pattern == "tabby":
        _forehead_and_cheek_stripes(pen, cat)
    if cat.pattern == "points":
        for k in range(5):  # the dark face fades into the light fur
            pen.fill(_oval(middle, 0.22, 0.72 - 0.09 * k, 0.62 - 0.06 * k), (*cat.marking, 75))
    if cat.pattern == "tuxedo":
        pen.fill([(middle, -0.6), (middle + 0.3, 0.5), (middle - 0.3, 0.5)], cat.pale)
    if cat.pattern != "points":
        muzzle = _mix(cat.fur, cat.pale, 0.4 if cat.pattern == "solid" else 1.0)
        for side in _SIDES:
            pen.fill(_oval(middle + side * 0.44, -0.08, 0.34, 0.32, -0.3 * side), (*muzzle, 70))
            pen.fill(_oval(1.2 * middle + side * 0.2, 0.43, 0.29, 0.24), muzzle)
        pen.fill(_oval(1.2 * middle, 0.65, 0.24, 0.16), muzzle)
    reach = [1.0 + 2 * cat.cheeks * abs(x) * max(0.0, y) for x, y in _CIRCLE]
    skull = [(r * x, r * cat.length * y) for (x, y), r in zip(_CIRCLE, reach, strict=True)]
    picture.wear(coat, skull, cat.tilt)


def _forehead_and_cheek_stripes(pen: _Pen, cat: _Cat) -> None:
    for x, top in ((-0.36, -0.78), (-0.13, -0.86), (0.13, -0.86), (0.36, -0.78)):  # the "M"
        left, right = cat.middle + x - 0.07, cat.middle + x + 0.07
        pen.fill([(left, top), (right, top), (cat.middle + 0.8 * x, -0.34)], cat.marking)
    for side in _SIDES:
        for y in (0.0, 0.24, 0.48):
            tip = (side * 0.6 + cat.middle, y + 0.04)
            pen.fill([(side * 1.1, y), (side * 1.1, y + 0.15), tip], cat.marking)


def _face(picture: _Picture) -> None:
    cat, rng = picture.cat, picture.rng
    pen = _Pen(picture.canvas, cat, cat.tilt)
    for side in _SIDES:
        _eye(pen, cat, side)
    x, y = 1.35 * cat.middle, 0.27  # the nose; it stands out, so it moves further
    ink = (*_mix(_DARK, cat.fur, 0.25), 220)
    for side in _SIDES:
        mouth = [(0.0, 0.1), (0.0, 0.2), (0.1 * side, 0.28), (0.22 * side, 0.26)]
        pen.line([(x + u, y + v) for u, v in mouth], ink, 0.035)
    nose = [(-0.15, -0.05), (0.0, -0.08), (0.15, -0.05), (0.03, 0.11), (-0.03, 0.11)]
    pen.fill([(x + u, y + v) for u, v in nose], cat.nose)
    pen.fill(_oval(x - 0.04, y - 0.03, 0.05, 0.02), (255, 255, 255, 90))
    droop = rng.uniform(-0.05, 0.2)
    hair = (255, 255, 255, 150) if sum(cat.fur) < 560 else (120, 112, 108, 150)
    for side in _SIDES:
        for k in range(3):
            start = (x + side * (0.22 + 0.04 * k), 0.42 + 0.06 * k)
            end = (x + side * rng.uniform(1.0, 1.3), 0.22 + 0.2 * k + droop)
            pen.line([start, end], hair, 0.015)


def _eye(pen: _Pen, cat: _Cat, side: float) -> None:
    near = 1.0 - 0.9 * cat.middle * side  # the eye turned away looks narrower
    x, y, width = cat.middle + side * 0.44, -0.06, cat.eye_size * near
    if cat.eye_open == 0.0:
        lid = [(x + width * u / 4, y + 0.11 - 0.007 * u * u) for u in range(-4, 5)]
        pen.line(lid, _mix(_DARK, cat.fur, 0.15), 0.06)
        return
    height, turn = cat.eye_size * 0.95 * cat.eye_open, -0.22 * side
    pen.fill(_oval(x, y, width + 0.045, height + 0.045, turn), _mix(_DARK, cat.fur, 0.1))
    pen.fill(_oval(x, y, width, height, turn), cat.eye)
    glow = _oval(x, y + 0.35 * height, 0.75 * width, 0.55 * height, turn)
    pen.fill(glow, (*_scale(cat.eye, 1.25), 140))
    px, py = x + 0.3 * width * cat.gaze[0], y + 0.2 * height * cat.gaze[1]
    slit = (width * (0.16 + 0.5 * cat.pupil), height * (0.86 - 0.1 * cat.pupil))
    pen.fill(_oval(px, py, *slit), _DARK)
    pen.fill(_oval(px - 0.06, py - 0.4 * height, 0.055, 0.055), (255, 255, 255))


def _photograph(
    picture: Image.Image, furry: Image.Image, cat: _Cat, rng: np.random.Generator
) -> np.ndarray:
    """Add fur and what a camera sees: light from one side, vignette, exposure, warmth."""
    size = picture.width
    y, x = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    shade = cat.exposure * (1.0 + cat.light[0] * x + cat.light[1] * y - 0.1 * (x * x + y * y))
    noise = Image.fromarray(rng.normal(0.0, 0.075, (max(16, size // 4), size)).astype(np.float32))
    hairs = np.asarray(noise.resize((size, size), Image.Resampling.BILINEAR))  # upright strands
    shade = shade * (1.0 + hairs * (np.asarray(furry) / 255.0))
    warmth = np.array([1.0 + cat.warmth, 1.0, 1.0 - cat.warmth])
    pixels: np.ndarray = np.asarray(picture) * shade[..., None] * warmth
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
