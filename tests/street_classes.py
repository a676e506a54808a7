# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Five classes of a street, and the colours that vitseg should give them."""

import numpy as np


NAMES = ["wall", "sky", "tree", "road", "car"]
# Those of ADE20K, but for the wall's, which is Cityscapes': in ADE20K it is grey, as the road is.
COLORS = np.array([[102, 102, 156], [6, 230, 230], [4, 200, 3], [140, 140, 140], [0, 102, 200]])


def colors_and_lines(label_map: np.ndarray) -> np.ndarray:
    """A small label map of these classes in colours, with the lines that overlays have between classes."""
    colors = COLORS[label_map]
    colors[:-1][label_map[:-1] != label_map[1:]] = 255
    colors[:, :-1][label_map[:, :-1] != label_map[:, 1:]] = 255
    return colors
