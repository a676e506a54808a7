# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Which way the pictures of a data set stand that have an EXIF orientation: as their label maps were drawn.

Tools draw label maps on pictures either turned as EXIF says, or as they are stored. Of a photo turned by 90 degrees
the size of its label map tells which; of one that is upside down, mirrored or square nothing does but the others, as
one data set is drawn with one tool. What is found is kept in the footers of the prepared Parquet files.
"""

from collections.abc import Iterable

from ..images import Orientation, exif_orientation, open_header, upright_size
from .pairs import Pair


# What may hold one: the chunk eXIf, and texts.
_ORIENTATION_IN_PNG = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")


def find_orientation(pairs: Iterable[Pair]) -> Orientation | None:
    """
    What the pairs of a data set prove.

    Args:
        pairs: all of them. Those that cannot be read are passed over.

    Returns:
        "upright" or "stored"; `None` if no picture has an EXIF orientation.

    Raises:
        ValueError: naming pictures, if they prove both, or there are some and none proves anything.
    """
    proofs: dict[Orientation | None, list[Pair]] = {"upright": [], "stored": [], None: []}
    for pair in pairs:
        try:
            _note(pair, proofs)
        except Exception:  # What is wrong with it is told when it is encoded.
            continue
    upright, stored, unclear = proofs.values()
    if upright and stored:
        raise ValueError(
            f"The label map of {upright[0].image} was drawn on the picture turned as its EXIF orientation says, and "
            f"that of {stored[0].image} on the picture as it is stored ({len(upright)} and {len(stored)} pictures): "
            "correct those of one kind, or say --orientation upright or stored, which refuses the others."
        )
    if unclear and not upright and not stored:
        raise ValueError(
            f"{len(unclear)} pictures have an EXIF orientation that leaves their size as it is, such as "
            f"{unclear[0].image}, and no other picture tells whether label maps were drawn on pictures turned so or "
            "as they are stored: say --orientation upright or stored."
        )
    return "upright" if upright else "stored" if stored else None


def _note(pair: Pair, proofs: dict[Orientation | None, list[Pair]]) -> None:
    """Put a pair whose picture has an EXIF orientation where it belongs, unless its label map fits neither way."""
    if pair.image is None or pair.annotation is None:
        return
    with pair.image.open() as file, open_header(file) as image:
        if image.format == "PNG":
            # Pillow decodes all of a PNG that has no orientation, to look for it behind the pixels.
            file.seek(0)
            content = file.read()
            if not any(mark in content for mark in _ORIENTATION_IN_PNG):
                return
        if exif_orientation(image) == 1:
            return
        upright, stored = upright_size(image), image.size
    height, width = pair.annotation.read().shape
    if upright == stored == (width, height):
        proofs[None].append(pair)
    elif (width, height) in (upright, stored):
        proofs["upright" if (width, height) == upright else "stored"].append(pair)


def describe_orientation(orientation: Orientation) -> str:
    """What was found, in a sentence."""
    how = "turned so" if orientation == "upright" else "as they are stored"
    return f"Some pictures have an EXIF orientation; label maps are for pictures {how}, and so they are used."
