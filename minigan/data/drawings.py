"""The built-in data set: ten kinds of small colour drawings, made by code, the same for the same seed.

A shape is a signed distance function: at each point of the plane, the distance to its outline, negative inside. A
pixel's share of the shape is then clip(1/2 - distance in pixels, 0, 1), which draws smooth edges without drawing at a
higher resolution first. Positions, sizes and colours vary, and the turn a little; the kind is the label. They are no
harder than that because the first run should have learned some of them within minutes.
The polygons' distances are the least distance to an edge, signed by the parity of the edges that a ray crosses; the
unions and differences are min and max.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigan.data.dataset import Dataset, Request

TURN = np.radians(15)  # a shape leans at most so far to either side: upright ones are learned in minutes
CHUNK = 64  # drawings at once: at 32 x 32 each float32 plane is 256 kB and stays in the cache


def shapes(ask: Request) -> Dataset:
    """The data set "shapes": 20,000 drawings to train, 10,000 to test; no files needed."""
    n = {"train": 20_000, "test": 10_000}[ask.split]
    images, labels = draw(n, ask.side, ask.seed, ask.split)
    return Dataset(images, labels, CLASSES, f"drawn by the program (seed {ask.seed}, {ask.split})")


def find(root: object, split: str) -> str:
    return "drawn by the program"


def draw(n: int, size: int = 32, seed: int = 0, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    """n drawings, as many of each kind as can be.

    Returns images uint8 (n, size, size, 3) and labels int64 (n,) that index CLASSES, in mixed order.
    The same arguments give the same bytes; the splits are drawn from different streams of random numbers.
    """
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    labels = rng.permutation(np.arange(n, dtype=np.int64) % len(SHAPES))
    # One row of random numbers for each drawing: neither chunks nor kinds change what a drawing looks like.
    placing, colours = rng.random((n, 4)), _colours(rng, labels)
    images = np.empty((n, size, size, 3), np.uint8)
    for label, distance in enumerate(SHAPES.values()):
        of_kind = np.flatnonzero(labels == label)
        for start in range(0, len(of_kind), CHUNK):
            rows = of_kind[start : start + CHUNK]
            images[rows] = _paint(distance, placing[rows], [colour[rows] for colour in colours], size)
    return images, labels


def _paint(
    distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    placing: np.ndarray,
    colours: list[np.ndarray],
    size: int,
) -> np.ndarray:
    """One kind's drawings: placing (n, 4) in [0, 1), colours twice (n, 3); uint8 (n, size, size, 3)."""
    radius = 0.37 + 0.07 * placing[:, 0]  # of the circle around the shape; the image's side is 1
    room = 0.47 - radius  # how far its centre may lie from the image's
    centre = room[:, None] * (2 * placing[:, 1:3] - 1)
    turn = TURN * (2 * placing[:, 3] - 1)
    # From pixels to the shape's own plane, where that circle has radius 1.
    middle = (np.arange(size) + 0.5) / size - 0.5
    cos, sin = (_single(f(turn) / radius)[:, None, None] for f in (np.cos, np.sin))
    dx = _single(middle[None, None, :] - centre[:, 0, None, None])
    dy = _single(middle[None, :, None] - centre[:, 1, None, None])
    pixel = _single(radius * size)[:, None, None]
    cover = np.clip(0.5 - pixel * distance(cos * dx + sin * dy, cos * dy - sin * dx), 0, 1)[..., None]
    front, back = (_single(colour)[:, None, None, :] for colour in colours)
    picture = back + cover * (front - back)
    return (np.clip(picture, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def _single(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


def _colours(rng: np.random.Generator, labels: np.ndarray) -> list[np.ndarray]:
    """Shape and background, each (n, 3) in [0, 1].

    Saturated shapes, each kind around a hue of its own, their luminance (Rec. 709 weights) at most 0.5; pale
    backgrounds.
    """
    n = len(labels)
    hue = (labels + rng.uniform(-0.4, 0.4, n)) / len(SHAPES) % 1
    front = _hsv(hue, rng.uniform(0.75, 1.0, n), rng.uniform(0.75, 1.0, n))
    luminance = front @ np.array([0.2126, 0.7152, 0.0722])
    dimmed = front * np.minimum(1, 0.5 / luminance)[:, None]
    return [dimmed, _hsv(rng.random(n), 0.18 * rng.random(n), 0.93 + 0.07 * rng.random(n))]


def _hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """RGB (n, 3) of hue, saturation, value (n,), all in [0, 1]."""
    # Each channel is a trapezoid over the circle of hues, a third of the circle apart.
    away = np.abs((hue[:, None] - np.array([0, 1 / 3, 2 / 3]) + 0.5) % 1 - 0.5) * 6
    return value[:, None] * (1 - saturation[:, None] * (1 - np.clip(2 - away, 0, 1)))


# The shapes: float32 x, y (n, size, size) in the plane of the circle around them, radius 1, to distances.


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - np.float32(0.88)


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - np.float32(0.72)) - np.float32(0.23)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = x + np.float32(0.1)  # to its middle
    return np.maximum(np.hypot(x, y) - np.float32(0.9), np.float32(0.71) - np.hypot(x - np.float32(0.46), y))


def _polygon(corners: list[tuple[float, float]], rounding: float = 0.04) -> Callable[..., np.ndarray]:
    """The distance function of a closed polygon, its outline moved outwards by `rounding`."""
    edges = [
        tuple(np.float32(c) for c in (*start, *end))
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True)
    ]

    def distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        nearest = np.full_like(x, np.inf)  # squared
        inside = np.zeros(x.shape, bool)
        for x0, y0, x1, y1 in edges:
            ex, ey = x1 - x0, y1 - y0
            px, py = x - x0, y - y0
            t = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)  # the nearest point of the edge
            np.minimum(nearest, (px - t * ex) ** 2 + (py - t * ey) ** 2, out=nearest)
            if ey != 0:  # the ray from (x, y) to the right crosses the edge
                inside ^= ((y0 <= y) != (y1 <= y)) & (px < py * (ex / ey))
        nearest = np.sqrt(nearest)
        return np.where(inside, -nearest, nearest) - np.float32(rounding)

    return distance


def _around(*radii: float, corners: int) -> list[tuple[float, float]]:
    """`corners` points around the centre, their distances from it taken from `radii` in turn."""
    angles = 2 * np.pi * np.arange(corners) / corners
    return [
        (radii[i % len(radii)] * np.sin(angle), -radii[i % len(radii)] * np.cos(angle))
        for i, angle in enumerate(angles)
    ]


def _make_heart() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Two overlapping discs and what lies between them, their crossing, and the tangents to the tip."""
    radius, x, y, tip = 0.46, 0.41, -0.28, 0.86  # discs at (-x, y) and (x, y); y points down in an image
    to_tip = np.hypot(x, tip - y)
    turn = np.arctan2(tip - y, -x) - np.arccos(radius / to_tip)  # from the right disc's centre to the tangent
    touch_x, touch_y = x + radius * np.cos(turn), y + radius * np.sin(turn)
    notch = y - np.sqrt(radius**2 - x**2)
    body = _polygon(
        [(0, tip), (touch_x, touch_y), (x, y), (0, notch), (-x, y), (-touch_x, touch_y)], rounding=0
    )

    def heart(px: np.ndarray, py: np.ndarray) -> np.ndarray:
        lobes = np.hypot(np.abs(px) - np.float32(x), py - np.float32(y)) - np.float32(radius)
        return np.minimum(body(px, py), lobes)

    return heart


_A, _B = 0.28, 0.86  # the cross: half of an arm's width, and its length

# Their order is that of their hues around the circle, from red on.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "heart": _make_heart(),
    "arrow": _polygon(
        [(0.0, -0.94), (0.68, -0.12), (0.24, -0.12), (0.24, 0.9)]
        + [(-0.24, 0.9), (-0.24, -0.12), (-0.68, -0.12)]
    ),
    "crescent": _crescent,
    "triangle": _polygon(_around(0.94, corners=3)),
    "cross": _polygon(
        [(-_A, -_B), (_A, -_B), (_A, -_A), (_B, -_A), (_B, _A), (_A, _A)]
        + [(_A, _B), (-_A, _B), (-_A, _A), (-_B, _A), (-_B, -_A), (-_A, -_A)]
    ),
    "ring": _ring,
    "diamond": _polygon(_around(0.94, corners=4)),
    "disc": _disc,
    "star": _polygon(_around(0.96, 0.40, corners=10)),
    "bolt": _polygon(
        [(0.18, -0.95), (-0.58, 0.14), (-0.06, 0.14), (-0.2, 0.95), (0.58, -0.24), (0.06, -0.24)]
    ),
}
CLASSES = tuple(SHAPES)
