# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the page of `vitseg inspect`: images, and what lies over them, their masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tqdm.std
from PIL import Image

from ..bands import picture_of, read_image
from ..models.labels import IGNORE_INDEX
from ..recipes.colors import distinct_palette
from .inspection import Inspection, Place, decode_labels
from .mask_faults import edge_noise


_FOLDER = "pictures"
_LONGEST = 480  # pixels of a picture's longer side
_CLOSE = 48  # pixels of an image that are shown of noise
_FIELD = 3  # pixels, of the chessboard that marks what is no class
_LISTED = 6  # classes of a picture


class Painter:
    """
    Draws pictures into a folder, each once.

    Args:
        inspection: of the data set.
        folder: of the page.
        progress: is told of each.
    """

    def __init__(self, inspection: Inspection, folder: Path, progress: tqdm.std.tqdm):
        self.inspection, self.folder, self.progress = inspection, folder, progress
        self.palette = inspection.labels.palette or distinct_palette(inspection.labels.names)
        self.colors = {label: _css(color) for label, color in enumerate(self.palette)}
        self._drawn: dict[tuple[Place, bool], dict[str, Any]] = {}
        (folder / _FOLDER).mkdir()

    def picture(self, place: Place, what: str = "", has_mask: bool = True, is_close: bool = False) -> dict[str, Any]:
        """An image and its mask, or a part of them from close by, and what the page says of them."""
        if (place, is_close) not in self._drawn:
            self._drawn[place, is_close] = self._draw(place, is_close)
            self.progress.update()
        picture = self._drawn[place, is_close] | {"what": what}
        return picture if has_mask else picture | {"mask": None}

    def _draw(self, place: Place, is_close: bool) -> dict[str, Any]:
        inspection, split = self.inspection, self.inspection.splits[place.split]
        row = split.row(place.number)
        label_map = decode_labels(row, inspection.do_reduce_labels)
        height, width = label_map.shape
        image = picture_of(read_image(row["image"], None, split.rows.orientation, (width, height)), inspection.bands)
        classes = self._classes(label_map)
        if is_close:
            left, top = _noisiest(label_map)
            label_map = label_map[top : top + _CLOSE, left : left + _CLOSE]
            image = image.crop((left, top, left + label_map.shape[1], top + label_map.shape[0]))
        image.thumbnail((_LONGEST, _LONGEST))
        stem = f"{_FOLDER}/{place.split}-{place.number}{'-close' if is_close else ''}"
        image.save(self.folder / f"{stem}.jpg", quality=90)
        self._mask(label_map, image.size).save(self.folder / f"{stem}.png")
        listed = ", ".join(item["name"] for item in classes) or "no class"
        return {
            "photo": f"{stem}.jpg",
            "mask": f"{stem}.png",
            "width": image.width,
            "height": image.height,
            "split": place.split,
            "name": inspection.name_of(place),
            "alt": f"{inspection.name_of(place)} with {listed}",
            "classes": classes,
        }

    def _classes(self, label_map: np.ndarray) -> list[dict[str, str]]:
        """The largest classes of a label map."""
        names = self.inspection.labels.names
        ids, counts = np.unique(label_map, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        largest = [(int(ids[index]), counts[index]) for index in order if 0 <= ids[index] < len(names)][:_LISTED]
        return [
            {"name": names[label], "color": self.colors[label], "share": _rounded(count / label_map.size)}
            for label, count in largest
        ]

    def _mask(self, label_map: np.ndarray, size: tuple[int, int]) -> Image.Image:
        """The colours of a label map; what is ignored is transparent, what is no class a chessboard."""
        rows, columns = (np.arange(new) * old // new for new, old in zip(size[::-1], label_map.shape, strict=True))
        label_map = label_map[np.ix_(rows, columns)]
        is_class = (label_map >= 0) & (label_map < len(self.palette))
        fields = np.add.outer(np.arange(len(rows)) // _FIELD, np.arange(len(columns)) // _FIELD) % 2
        colors = np.asarray(self.palette, np.uint8)[np.where(is_class, label_map, 0)]
        colors = np.where(is_class[..., None], colors, 255 * fields[..., None].astype(np.uint8))
        opacity = np.where(label_map == IGNORE_INDEX, 0, 255).astype(np.uint8)
        return Image.fromarray(np.dstack([colors, opacity]))


def _rounded(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _css(color: Sequence[int]) -> str:
    """A colour as style sheets have it."""
    red, green, blue = color
    return f"rgb({red}, {green}, {blue})"


def _noisiest(label_map: np.ndarray) -> tuple[int, int]:
    """Left and top of the square with most of the noise."""
    noise, _ = edge_noise(label_map)
    sums = cv2.boxFilter(noise.astype(np.float32), -1, (_CLOSE, _CLOSE), borderType=cv2.BORDER_CONSTANT)
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    height, width = noise.shape
    left, top = int(column) - _CLOSE // 2, int(row) - _CLOSE // 2
    return min(max(left, 0), max(width - _CLOSE, 0)), min(max(top, 0), max(height - _CLOSE, 0))
