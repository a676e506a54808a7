# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Colours for classes that have none: far apart, bright enough for an overlay, and the same for the same name.

Distances are Euclidean in CIELAB (CIE 1976, white D65), where 2.3 is just noticeable. Colours are compared as most
people see them, and as those do who lack one kind of cone: Machado, Oliveira and Fernandes, "A Physiologically-based
Model for Simulation of Color Vision Deficiency", IEEE TVCG 15 (6), 2009, the matrices of full severity.
"""

import functools
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np

from .labels import load_label_set


Color = tuple[int, int, int]

# Between these, on CIELAB's scale from 0 to 100, colours can be told over a photograph.
DARKEST, BRIGHTEST = 35, 95
# The sets whose colours people chose; those of the others are the bits of a number, or chance.
_COLORED_SETS = ("ade20k", "cityscapes")
# What is of no class stays behind the others.
_BACKGROUND = (100, 100, 100)
# How far from all others a published colour has to be, and what is aimed at for the rest. Where there are many
# classes that gives way, by a factor at a time, until all have a colour.
_PUBLISHED_DISTANCE, _DISTANCE, _CONCESSION = 20.0, 30.0, 0.9
# Without a kind of cone two dimensions of colour are left, in which fewer are far apart.
_SHARES_OF_DISTANCE = np.array([[1], [0.4], [0.4], [0.4]])
_WITHOUT_CONE = np.array(
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)  # protanopia, deuteranopia, tritanopia, for linear RGB
_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def distinct_palette(names: Sequence[str]) -> list[Color]:
    """
    Colours that tell classes apart.

    A name that ADE20K or Cityscapes knows has its colour there, as long as that is bright enough and not too close to
    another. Any other has a colour that follows from its letters, or the next that is not too close. So a name has
    the same colour in most sets of classes, in whatever order they come.

    Args:
        names: of the classes, by id. The same name may come more than once.

    Returns:
        RGB, 0 to 255, a colour for each name.
    """
    plain_names = [_plain(name) for name in names]
    order = sorted(range(len(names)), key=lambda index: (plain_names[index], index))
    palette, colors = _GrowingPalette(), dict[int, Color]()
    for index in order:
        if color := palette.add(_published_colors(plain_names[index]), _PUBLISHED_DISTANCE):
            colors[index] = color
    distance = _DISTANCE
    while len(colors) < len(names):
        for index in order:
            if index not in colors and (color := palette.add(_shuffled_colors(plain_names[index]), distance)):
                colors[index] = color
        distance = distance * _CONCESSION if distance > 1 else 0  # where colours of so many have to repeat
    return [colors[index] for index in range(len(names))]


class _GrowingPalette:
    """Colours of which each is far from those before it."""

    def __init__(self) -> None:
        self._colors, self._seen = _bright_colors()
        self._nearest = np.full(self._seen.shape[:2], np.inf)

    def add(self, candidates: np.ndarray, distance: float) -> Color | None:
        """
        The first of the candidates, numbers of bright colours, that is so far from all colours, which becomes one of
        them; `None` if none is.
        """
        distinct = (self._nearest[:, candidates] >= distance * _SHARES_OF_DISTANCE).all(0)
        if not distinct.any():
            return None
        chosen = candidates[distinct.argmax()]
        distances = np.linalg.norm(self._seen - self._seen[:, chosen, None], axis=-1)
        self._nearest = np.minimum(self._nearest, distances)
        red, green, blue = self._colors[chosen].tolist()
        return red, green, blue


def as_seen(colors: np.ndarray) -> np.ndarray:
    """
    Colours in CIELAB as people see them.

    Args:
        colors: sRGB, 0 to 255, `(N, 3)`.

    Returns:
        `(4, N, 3)`: as those see them who have all kinds of cones, who lack the first (protanopia), the second
        (deuteranopia), and the third (tritanopia).
    """
    values = colors / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    views = np.stack([linear, *(linear @ _WITHOUT_CONE.transpose(0, 2, 1)).clip(0, 1)])
    ratios = views @ _RGB_TO_XYZ.T / _RGB_TO_XYZ.sum(1)
    x, y, z = np.moveaxis(
        np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _plain(name: str) -> str:
    """A name as it is in whatever data set: without capitals, and with spaces between words."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


@functools.cache
def _bright_colors() -> tuple[np.ndarray, np.ndarray]:
    """Those of these sets, and a grid of others: RGB `(N, 3)`, and as they are seen `(4, N, 3)`."""
    published = [color for name in _COLORED_SETS for color in load_label_set(name).palette]
    grid = itertools.product(range(0, 256, 17), repeat=3)
    colors = np.unique([_BACKGROUND, *published, *grid], axis=0)
    seen = as_seen(colors)
    bright = (seen[0, :, 0] >= DARKEST) & (seen[0, :, 0] <= BRIGHTEST)
    return colors[bright], seen[:, bright]


@functools.cache
def _published_names() -> dict[str, list[Color]]:
    """The colours that these sets give to names."""
    published = {"background": [_BACKGROUND]}
    for label_set in map(load_label_set, _COLORED_SETS):
        for name, color in zip(label_set.names, label_set.palette, strict=True):
            published.setdefault(_plain(name), []).append(color)
    return published


def _published_colors(name: str) -> np.ndarray:
    """The numbers of the bright colours that these sets give to a name."""
    colors = _bright_colors()[0]
    published = [np.flatnonzero((colors == color).all(-1)) for color in _published_names().get(name, [])]
    return np.array([number for numbers in published for number in numbers], int)


def _shuffled_colors(name: str) -> np.ndarray:
    """The numbers of all bright colours, in an order that follows from a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest(), "big")
    return np.random.default_rng(seed).permutation(len(_bright_colors()[0]))
