# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Photographs that no one here made."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
from PIL import Image


def write_photographs(folder: Path) -> Iterator[Path]:
    """A photograph, and parts of it: wide, high, and grey, as PNG, so that the decoders agree."""
    photograph = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    wide = photograph.crop((0, 100, 501, 320))
    for index, image in enumerate((photograph, wide, wide.transpose(Image.Transpose.ROTATE_90), wide.convert("L"))):
        file = folder / f"photograph_{index}.png"
        image.save(file)
        yield file
