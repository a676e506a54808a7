# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Images that are nearly the same: encoded anew, resized, brighter or darker.

Each has a difference hash of 128 bits: on a grid of 9 x 9 fields, whether each is brighter than the one to its left,
and than the one above it. Two images are near-duplicates if no more than 10 bits differ. Compared are
those that agree in one of 8 bands of 16 bits, so that nobody goes through all pairs: that finds all that differ in up
to 7 bits, and of those that differ in 10, as bits fall, 97 of 100.
"""

import numpy as np
from PIL import Image


BITS, BANDS, MAX_DIFFERENCE = 128, 8, 10
_FIELDS = 9
# A field is brighter only if it is so by this share of the image's contrast: even areas give no bits by chance.
_MARGIN = 0.1
# Brightness, 0 to 255. An image of less contrast is like any other such image.
_LEAST_CONTRAST = 2.0


def difference_hash(image: Image.Image) -> np.ndarray | None:
    """
    The hash of an image, uint16 `(8,)`, in bands; `None` if it is too even to be told from others.

    Args:
        image: in any mode that has a brightness.
    """
    fields = image.convert("L").resize((_FIELDS, _FIELDS), Image.Resampling.BOX)
    brightness = np.asarray(fields, np.float32)
    contrast = brightness.std()
    if contrast < _LEAST_CONTRAST:
        return None
    margin = _MARGIN * contrast
    bits = [np.diff(brightness[:-1], axis=1) > margin, np.diff(brightness[:, :-1], axis=0) > margin]
    return np.packbits(np.stack(bits)).view(np.uint16)


def nearest_duplicates(hashes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    For each of the other images the one that is nearest, if that is a near-duplicate.

    Args:
        hashes: uint16 `(N, 8)`, of the images to look among.
        others: uint16 `(M, 8)`.

    Returns:
        int64 `(M,)`: which of the `N` it is, or -1, and in how many bits it differs.
    """
    # Where thousands are the same, one is enough to compare with.
    hashes, first = np.unique(hashes, axis=0, return_index=True)
    nearest = np.full(len(others), -1)
    differences = np.full(len(others), MAX_DIFFERENCE + 1)
    for band in range(BANDS):
        order = np.argsort(hashes[:, band], kind="stable")
        keys = hashes[order, band]
        starts, ends = (np.searchsorted(keys, others[:, band], side) for side in ("left", "right"))
        for index in np.flatnonzero(ends > starts).tolist():
            bucket = order[starts[index] : ends[index]]
            distances = np.bitwise_count(hashes[bucket] ^ others[index]).sum(-1, dtype=np.int64)
            best = distances.argmin()
            if distances[best] < differences[index]:
                nearest[index], differences[index] = first[bucket[best]], distances[best]
    return nearest, differences
