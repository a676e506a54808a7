# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Label maps as pictures: in colours, over the image that they describe, with a legend.

A label map is an integer array (height, width) of train ids; 255 marks ignored pixels, or 65535 where there are more
than 255 classes. A palette is a sequence of RGB colours (0 to 255), one per train id.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import IMAGEDESCRIPTION, SOFTWARE, TiffImageFile

from .images import open_header
from .models.images import to_rgb
from .models.labels import IGNORE_INDEX
from .replacing import replacing


Palette = Sequence[Sequence[int]]

WIDE_IGNORE_INDEX = 2**16 - 1
ORIGIN = "vitseg"  # the keyword of a PNG's text, and the software of a TIFF
# What class names are written in: Latin, Greek, Cyrillic and more. Pillow's own typeface has nothing beyond English.
_FONT = Path(__file__).with_name("fonts") / "DejaVuSans.ttf"
_LEGIBLE_HEIGHT = 320  # pixels; a smaller picture cannot carry a title and a legend
_LEAST_ROWS = 12  # of a legend alone
_THIN = 1000  # pixels of a picture's shorter side to which a line is one pixel wide, and so on
_PAPER = (255, 255, 255)
_INK = (34, 38, 46)
_FAINT_INK = (120, 126, 138)


def ignored_id(num_labels: int) -> int:
    """What marks ignored pixels in a label map of so many classes: 255, or 65535 if that may be a class."""
    return IGNORE_INDEX if num_labels <= IGNORE_INDEX else WIDE_IGNORE_INDEX


def label_type(num_labels: int) -> np.dtype:
    """In what a label map of so many classes is stored: uint8, or uint16."""
    return np.min_scalar_type(ignored_id(num_labels))


def colorize(label_map: np.ndarray, palette: Palette) -> np.ndarray:
    """Colours a label map.

    Args:
        label_map: train ids (height, width); what is ignored is black.
        palette: RGB colour of each train id.

    Returns:
        RGB picture (height, width, 3), uint8.

    Raises:
        ValueError: if the label map is not an integer array (height, width), or the palette lacks one of its ids.
    """
    label_map = _checked(label_map, len(palette))
    if len(palette) > IGNORE_INDEX:
        return lookup_table(palette)[label_map]
    return np.array(_with_palette(label_map, palette).convert("RGB"))


def overlay(image: Image.Image, label_map: np.ndarray, palette: Palette, opacity: float = 0.5) -> Image.Image:
    """Lays the colours of a label map over the picture it describes, and a thin line between classes; ignored pixels
    show the picture alone.

    Args:
        image: in any mode.
        label_map: train ids (height, width) of the same size as the image.
        palette: RGB colour of each train id.
        opacity: 0 shows the picture, 1 the colours and lines.

    Raises:
        ValueError: if sizes differ, the opacity is not in [0, 1], or the palette lacks an id.
    """
    label_map = np.asarray(label_map)
    if label_map.shape != (image.height, image.width):
        raise ValueError(
            f"The label map has shape {label_map.shape}, but the image is {image.height} high and {image.width} wide: "
            "resize the label map to the image (nearest) first."
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, but must be between 0 and 1.")
    image = to_rgb(image)
    colors = colorize(label_map, palette)
    is_ignored = label_map == ignored_id(len(palette))
    colors[_borders(label_map, is_ignored)] = _PAPER
    mixed = Image.blend(image, Image.fromarray(colors), opacity)
    return Image.composite(image, mixed, Image.fromarray(is_ignored))


def _borders(label_map: np.ndarray, is_ignored: np.ndarray) -> np.ndarray:
    """The pixels of a label map above and to the left of those of another class: a line that is thin on its scale."""
    borders = np.zeros(label_map.shape, bool)
    for offset in range(1, 2 + min(label_map.shape) // _THIN):
        for one, other in (np.s_[:-offset], np.s_[offset:]), (np.s_[:, :-offset], np.s_[:, offset:]):
            borders[one] |= (label_map[one] != label_map[other]) & ~is_ignored[one] & ~is_ignored[other]
    return borders


def area_shares(label_map: np.ndarray) -> dict[int, float]:
    """Share of each id that occurs in a label map among its pixels that are not ignored, in [0, 1]; largest first."""
    label_map = np.asarray(label_map)
    ids, counts = np.unique(label_map[label_map != IGNORE_INDEX], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {int(ids[index]): float(counts[index] / counts.sum()) for index in order}


def with_legend(
    image: Image.Image, names: Sequence[str], palette: Palette, present_ids: Mapping[int, float]
) -> Image.Image:
    """Adds a legend to the right of a picture: swatch, name and area of each class that is present.

    Args:
        image: the picture; it is kept as it is, in the upper left corner.
        names: name of each train id.
        palette: RGB colour of each train id.
        present_ids: the ids to list, in this order, each with its share of the area in [0, 1]; see `area_shares`.
    """
    return _attach_legend(image, names, palette, {"area": present_ids})


def legend(names: Sequence[str], palette: Palette, ids: Sequence[int], height: int) -> Image.Image:
    """A legend alone, whose size depends on nothing but the classes that there are: swatch and name of some of them.

    Args:
        names: name of each train id.
        palette: RGB colour of each train id.
        ids: the ids to list, in this order; those at the end for which there is no room are left out.
        height: of the picture that it belongs to. It may be higher, to have room for twelve classes.
    """
    font = _font(height)
    em = font.size
    row_height = 1.6 * em
    name_width = max((font.getlength(name) for name in names), default=0)
    least_height = row_height * min(len(names), _LEAST_ROWS) + em
    sheet = Image.new("RGB", (int(name_width + 3.6 * em), max(height, int(least_height))), _PAPER)
    num_rows = int((sheet.height - em) / row_height)
    _draw_classes(ImageDraw.Draw(sheet), (0, 0.5 * em + 0.5 * row_height), font, names, palette, ids[:num_rows])
    return sheet


def comparison(
    image: Image.Image, prediction: np.ndarray, truth: np.ndarray, names: Sequence[str], palette: Palette
) -> Image.Image:
    """A picture, the prediction over it and the truth over it, side by side, with one legend.

    The legend lists every class of either label map with its share of the area in both, largest in the truth first.
    Pictures that are too small to carry a title are enlarged by a whole factor.

    Args:
        image: the picture.
        prediction: predicted train ids (height, width).
        truth: true train ids (height, width), 255 ignored.
        names: name of each train id.
        palette: RGB colour of each train id.

    Raises:
        ValueError: if sizes differ or the palette lacks an id.
    """
    predicted, true = area_shares(prediction), area_shares(truth)
    factor = -(-_LEGIBLE_HEIGHT // image.height)
    panels = {"image": to_rgb(image)}
    panels |= {"prediction": overlay(image, prediction, palette), "truth": overlay(image, truth, palette)}
    width, height = image.width * factor, image.height * factor
    font = _font(height)
    gap = int(font.size)
    sheet = Image.new("RGB", (3 * width + 2 * gap, height + 2 * gap), _PAPER)
    brush = ImageDraw.Draw(sheet)
    for index, (title, panel) in enumerate(panels.items()):
        left = index * (width + gap)
        brush.text((left + width // 2, gap), title, fill=_INK, font=font, anchor="mm")
        sheet.paste(panel.resize((width, height), Image.Resampling.NEAREST), (left, 2 * gap))
    ids = list(true) + [label for label in predicted if label not in true]
    columns = {
        "prediction": {label: predicted.get(label, 0.0) for label in ids},
        "truth": {label: true.get(label, 0.0) for label in ids},
    }
    return _attach_legend(sheet, names, palette, columns)


def save_palette_png(label_map: np.ndarray, palette: Palette, path: str | Path, origin: str = "") -> None:
    """Saves a label map as a PNG whose pixel values are the train ids and whose palette shows their colours.

    Args:
        label_map: train ids (height, width); 255 is ignored, and black.
        palette: RGB colour of each train id.
        path: where to write; an existing file is replaced.
        origin: what it was made of, for `origin_of`.

    Raises:
        ValueError: if the label map is not an integer array (height, width), or the palette lacks one of its ids, or
            has more colours than a PNG's.
    """
    if len(palette) > IGNORE_INDEX:
        raise ValueError(
            f"The palette has {len(palette)} colours, but PNGs hold {IGNORE_INDEX}, and one for the rest."
        )
    save_png(_with_palette(_checked(label_map, len(palette)), palette), path, origin)


def save_png(label_map: Image.Image, path: str | Path, origin: str = "") -> None:
    """Saves a label map, complete or not at all, as a PNG that says that vitseg wrote it, and of what."""
    note = PngInfo()
    note.add_text(ORIGIN, origin)
    with replacing(path) as unfinished:
        # Label maps are runs of the same value: to look for those alone is faster, and hardly larger.
        label_map.save(unfinished, format="PNG", pnginfo=note, compress_type=zlib.Z_RLE)


def origin_of(path: str | Path) -> str | None:
    """What a label map was made of, as `save_png` noted it, or another writer in a TIFF's tags; `None` if there is no
    such file, or it is of others."""
    try:
        with open_header(path) as image:
            if isinstance(image, TiffImageFile):
                tags = image.tag_v2
                return tags.get(IMAGEDESCRIPTION) if tags.get(SOFTWARE) == ORIGIN else None
            return image.info.get(ORIGIN)
    except Exception:  # whatever a damaged file leads Pillow to
        return None


def _checked(label_map: np.ndarray, num_colors: int) -> np.ndarray:
    """The label map as an array, once it is known that every id has a colour."""
    label_map = np.asarray(label_map)
    if label_map.ndim != 2 or not np.issubdtype(label_map.dtype, np.integer):
        raise ValueError(
            f"A label map is an integer array (height, width), but this one has shape {label_map.shape} and type "
            f"{label_map.dtype}."
        )
    ids = np.unique(label_map)
    unknown = ids[((ids < 0) | (ids >= num_colors)) & (ids != ignored_id(num_colors))].tolist()
    if unknown:
        raise ValueError(
            f"The label map has ids {unknown}, but the palette has colours for 0 to {num_colors - 1} only."
        )
    return label_map


def _with_palette(label_map: np.ndarray, palette: Palette) -> Image.Image:
    """Ids that have colours as a picture of mode P, which Pillow colours several times as fast as NumPy does."""
    image = Image.fromarray(label_map.astype(np.uint8))
    image.putpalette(lookup_table(palette).tobytes())
    return image


def lookup_table(palette: Palette) -> np.ndarray:
    """Colours of all numbers of a label map (256 or 65536, 3), uint8: black where the palette has none."""
    table = np.zeros((ignored_id(len(palette)) + 1, 3), np.uint8)
    table[: len(palette)] = palette
    return table


def _font(height: int) -> ImageFont.FreeTypeFont:
    """The typeface in a size that suits a picture of this height."""
    return ImageFont.truetype(_FONT, min(max(height // 28, 12), 40))


def _attach_legend(
    image: Image.Image, names: Sequence[str], palette: Palette, columns: Mapping[str, Mapping[int, float]]
) -> Image.Image:
    """Adds a legend with one row per id and one column of area shares per title to the right of a picture.

    Where rows are more than fit beside the picture, and more than twelve, they go on in a block to the right.
    """
    font = _font(image.height)
    em = font.size
    row_height = 1.6 * em
    ids = list(next(iter(columns.values())))
    name_width = max((font.getlength(names[label]) for label in ids), default=0)
    column_widths = [max(font.getlength(title), font.getlength("100.0%")) + 1.2 * em for title in columns]
    block_width = 2.6 * em + name_width + sum(column_widths)
    num_rows = max(int((image.height - em) / row_height) - 1, _LEAST_ROWS)
    blocks = [ids[first : first + num_rows] for first in range(0, len(ids), num_rows)] or [[]]
    width = int(image.width + len(blocks) * block_width + em)
    height = max(image.height, int(row_height * (len(blocks[0]) + 1) + em))
    sheet = Image.new("RGB", (width, height), _PAPER)
    sheet.paste(image, (0, 0))
    brush = ImageDraw.Draw(sheet)
    baseline = 0.5 * em + 0.5 * row_height
    for number, block in enumerate(blocks):
        left = image.width + number * block_width
        _draw_classes(brush, (left, baseline + row_height), font, names, palette, block)
        right = left + 2.6 * em + name_width
        for (title, shares), column_width in zip(columns.items(), column_widths, strict=True):
            right += column_width
            brush.text((right, baseline), title, fill=_FAINT_INK, font=font, anchor="rm")
            for row, label in enumerate(block, start=1):
                text = f"{100 * shares[label]:.1f}%"
                brush.text((right, baseline + row * row_height), text, fill=_INK, font=font, anchor="rm")
    return sheet


def _draw_classes(
    brush: ImageDraw.ImageDraw,
    start: tuple[float, float],
    font: ImageFont.FreeTypeFont,
    names: Sequence[str],
    palette: Palette,
    ids: Sequence[int],
) -> None:
    """Draws swatch and name of classes, one below the other; `start` is the left end of the first row's middle."""
    em = font.size
    left, y = start
    for label in ids:
        brush.rectangle((left + em, y - 0.5 * em, left + 2 * em, y + 0.5 * em), fill=tuple(palette[label]))
        brush.text((left + 2.6 * em, y), names[label], fill=_INK, font=font, anchor="lm")
        y += 1.6 * em
