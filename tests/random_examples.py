# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Images with random labels of five classes."""

import numpy as np
from PIL import Image


class Examples:
    """Images of different sizes with random labels; some cannot be decoded. It remembers which were asked for."""

    def __init__(self, count: int, broken: tuple[int, ...] = ()):
        self.count = count
        self.broken = broken
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        self.read.append(index)
        if index in self.broken:
            raise ValueError(f"Cannot decode the image of {index}.jpg.")
        rng = np.random.default_rng(index)
        height, width = 40 + index, 60 - index
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        label_map = rng.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (height, width))
        return {"image": image, "label_map": label_map, "file_name": f"{index}.jpg"}
