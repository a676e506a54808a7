# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures and label maps of every kind as the networks see them, the same in training, evaluation and prediction."""

import math
import re
from typing import TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image


PictureOrTensor = TypeVar("PictureOrTensor", Image.Image, torch.Tensor)

# Numbers of 16 bits that all stay below this are those of 12 bits or less, nearly black by their high bytes.
_FEWEST_LEVELS = 2**12
_LOSSLESS_FORMATS = ("BMP", "GIF", "PNG", "PPM", "TIFF")
_BOOLEANS = "holds booleans: for black and white multiply by 255 as uint8; a mask is no image."
_LOSSY_TIFFS = ("jpeg", "tiff_jpeg", "webp")

# What an EXIF orientation asks for; it and the sides of the picture change places from the fifth on.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnsuitableImageError(ValueError):
    """An image whose numbers do not say what they mean. The message is what follows the image's name in a sentence."""


def to_rgb(image: PictureOrTensor) -> PictureOrTensor:
    """
    A picture as 8-bit RGB: of 16 bits the high byte, as OpenCV reads them, grey in all three channels, and white where
    it is transparent.

    Args:
        image: a Pillow image in any mode, which is not turned, or a tensor `(1, 3 or 4, height, width)`: integers from
            0 to 255, uint16, or floating-point numbers, with an opacity from 0 to 1 or to 255 as the colours are.

    Returns:
        A Pillow image in mode "RGB", or a tensor `(3, height, width)`: uint8, or floating-point as `image`.

    Raises:
        UnsuitableImageError: if its numbers do not say what is black and what is white: a file of floating-point
            numbers, integers that are no bytes, 16 bits of which 12 or less are used, booleans; or if a tensor has
            another number of channels.
    """
    return _picture_to_rgb(image) if isinstance(image, Image.Image) else _tensor_to_rgb(image)


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """A picture as [`to_rgb`] makes it, turned as its EXIF orientation says."""
    picture = to_rgb(image)
    turn = _TURNS.get(exif_orientation(image))
    return picture if turn is None else picture.transpose(turn)


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 (as it is) to 8; 1 where it has none or that is damaged."""
    if image.format == "TIFF":  # Pillow turns these by itself.
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever such data lead Pillow to
        return 1
    return orientation if orientation in _TURNS else 1


def to_ids(image: Image.Image) -> np.ndarray:
    """
    The class ids of a label map: the numbers of its pixels as they are stored, or their positions in a palette.

    Args:
        image: a Pillow image. If it was opened from a file, hand it over before its pixels are loaded: only until then
            Pillow tells how the file holds them.

    Returns:
        `(height, width)`, uint8, or int32 where the image has more than 8 bits.

    Raises:
        UnsuitableImageError: if it is in a lossy format, holds no single integer for each pixel, or nobody can tell
            which.
    """
    check_format(image)
    if len(image.getbands()) != 1 or image.mode == "F":
        raise UnsuitableImageError(
            f"has mode {image.mode!r}; expected one integer per pixel, its class id. If its colours stand for "
            f"classes, the label table must name colours (vitseg prepare folder).{_hint_of_grey(image)}"
        )
    storage, largest = _storage(image)
    if re.fullmatch("[1L];[24]?IR?", storage):
        raise UnsuitableImageError("counts down from white, which is 0: save it as a grey PNG that counts up.")
    ids = np.asarray(image)
    if image.mode == "P":
        _check_palette(image, ids)
    elif largest is not None:
        ids = np.rint(ids * (largest / (255 if image.mode == "L" else 65535)))
    return ids.astype(np.uint8 if image.mode in ("1", "L", "P") else np.int32)


def _hint_of_grey(image: Image.Image) -> str:
    """What to do if the channels of a label map are equal, and it is opaque."""
    if image.mode not in ("LA", "RGB", "RGBA"):
        return ""
    values = np.asarray(image.convert("RGBA"))
    is_grey = (values[..., :3] == values[..., :1]).all() and (values[..., 3] == 255).all()
    return (
        " Its channels are equal: if they hold class ids, save one of them, as image.convert('L') is."
        if is_grey
        else ""
    )


def check_format(image: Image.Image) -> None:
    """
    Check that a label map comes from a file of one picture that keeps its values, or from no file.

    Raises:
        UnsuitableImageError: naming the format, or the number of pictures.
    """
    compression = image.info.get("compression") if image.format == "TIFF" else None
    if image.format not in (None, *_LOSSLESS_FORMATS) or compression in _LOSSY_TIFFS:
        kind = f"{image.format} with the compression {compression}" if compression else image.format
        raise UnsuitableImageError(
            f"is {kind}, whatever its name says. Label maps must be in a format that keeps their values, best PNG; "
            "saving this file anew does not bring them back: export it again."
        )
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise UnsuitableImageError(f"holds {frames} pictures; expected one, the label map. Save it alone.")


def check_range(image: torch.Tensor, is_scaled_from_bytes: bool) -> None:
    """
    Check that the numbers of an image are what they are taken for.

    Args:
        image: of any shape and dtype, not empty.
        is_scaled_from_bytes: whether they are from 0 to 255, and will be divided by 255; if not, they may be anything
            but booleans, NaN and infinite.

    Raises:
        UnsuitableImageError: saying what they look like, and what to do.
    """
    if image.dtype == torch.uint8:
        return
    if image.dtype == torch.bool:
        raise UnsuitableImageError(_BOOLEANS)
    low, high = (value.item() for value in image.float().aminmax())
    if not math.isfinite(high - low):
        raise UnsuitableImageError("holds NaN or infinite numbers.")
    if not is_scaled_from_bytes or low == high == 0:
        return
    found = f"holds numbers from {low:g} to {high:g}; expected 0 to 255."
    if low < 0:
        raise UnsuitableImageError(
            f"{found} If it is normalised already, pass do_rescale=False and do_normalize=False; otherwise scale it."
        )
    if high <= 1 and image.is_floating_point():
        raise UnsuitableImageError(
            f"{found} It looks scaled to 0 to 1 already: pass do_rescale=False, or multiply by 255."
        )
    if high > 255:
        raise UnsuitableImageError(f"{found} Scale it, or give 16 bits as uint16.")


def _storage(image: Image.Image) -> tuple[str, int | None]:
    """
    How a file holds its pixels, in Pillow's words, and the largest number if Pillow spreads what it holds over all of
    8 or 16 bits. Of an image that comes from no file, or is loaded already, nobody knows: "" and `None`.
    """
    tiles = getattr(image, "tile", None)
    if not tiles:
        return "", None
    codec, _, _, arguments = tiles[0]
    storage, *others = arguments if isinstance(arguments, tuple) else (arguments,)
    if few_bits := re.fullmatch("L;([24])R?", str(storage)):
        return storage, 2 ** int(few_bits[1]) - 1
    return str(storage), others[0] if codec.startswith("ppm") and others else None


def _check_palette(image: Image.Image, positions: np.ndarray) -> None:
    """Palettes are there to tell ids apart. One of grey levels may be meant by its levels, which OpenCV takes."""
    palette = np.array(image.getpalette("RGB") or [], np.int64).reshape(-1, 3)
    is_grey = bool((palette == palette[:, :1]).all())
    if is_grey and np.isin(positions, np.flatnonzero(palette[:, 0] != np.arange(len(palette)))).any():
        raise UnsuitableImageError(
            "has a palette of grey levels that differ from their positions, and either may be the class ids. Save it "
            "without a palette: image.convert('L') keeps the levels, Image.fromarray(np.array(image)) the positions."
        )


def _picture_to_rgb(image: Image.Image) -> Image.Image:
    storage, _ = _storage(image)
    image.load()
    if image.mode == "F":
        values = np.asarray(image)
        raise UnsuitableImageError(_unscaled("floating-point numbers", values.min(), values.max()))
    if image.mode.startswith("I"):
        # "I;16", or "I" of 32 bits. Pillow would cut them off at 255.
        values = np.asarray(image).astype(np.int64)
        grey = _high_bytes(values)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        return Image.fromarray(grey).convert("RGB")
    if ";16" in storage:
        # Pillow has taken the high bytes already.
        values = np.asarray(image)
        _check_levels(int(values[..., :-1].max() if image.getbands()[-1] == "A" else values.max()) << 8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    try:
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise UnsuitableImageError(f"has mode {image.mode!r}: save it in RGB ({error}).") from error


def _tensor_to_rgb(image: torch.Tensor) -> torch.Tensor:
    if image.shape[0] not in (1, 3, 4):
        raise UnsuitableImageError(f"has {image.shape[0]} channels; expected 1 (grey), 3 (RGB) or 4 (with opacity).")
    if image.dtype == torch.bool:
        raise UnsuitableImageError(_BOOLEANS)
    if image.is_complex():
        raise UnsuitableImageError("holds complex numbers: take what is to be seen of them, scaled to 0 to 255.")
    if not image.is_floating_point() and image.dtype != torch.uint8:
        image = _integers_to_bytes(image)
    if image.shape[0] == 1:
        return image.expand(3, -1, -1)
    if image.shape[0] == 3:
        return image
    # A lone white pixel, even a transparent one, tells that floating-point numbers are scaled like bytes.
    opaque = 1.0 if image.is_floating_point() and image.numel() and image.max() <= 1 else 255.0
    colour, alpha = image[:3].float(), image[3:].float() / opaque
    if image.is_floating_point() and image.numel() and not (alpha.min() >= 0 and alpha.max() <= 1):
        raise UnsuitableImageError(_unscaled("floating-point numbers", image.min(), image.max()))
    return (colour * alpha + opaque * (1.0 - alpha)).add(0.0 if image.is_floating_point() else 0.5).to(image.dtype)


def _integers_to_bytes(image: torch.Tensor) -> torch.Tensor:
    values = image.cpu().numpy().astype(np.int64)
    if image.dtype == torch.uint16:
        return torch.from_numpy(_high_bytes(values)).to(image.device)
    if values.size and (values.min() < 0 or values.max() > 255):
        raise UnsuitableImageError(_unscaled(f"integers ({image.dtype})", values.min(), values.max()))
    return image.to(torch.uint8)


def _high_bytes(values: np.ndarray) -> np.ndarray:
    """Those of 16-bit numbers, int64 of any shape, as uint8."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if not 0 <= low <= high < 2**16:
        raise UnsuitableImageError(_unscaled("integers", low, high))
    _check_levels(high)
    return (values >> 8).astype(np.uint8)


def _check_levels(high: int) -> None:
    """Of 16-bit numbers, the largest is `high`."""
    if 0 < high < _FEWEST_LEVELS:
        raise UnsuitableImageError(
            f"has 16 bits, but its largest number is {high} of 65535: it looks like 12 bits or less, and would be "
            "nearly black. Scale it to 0 to 255 as uint8."
        )


def _unscaled(kind: str, low: float, high: float) -> str:
    return (
        f"holds {kind} from {low:g} to {high:g}, which do not say what is black and what is white: scale it to 0 to "
        "255 as uint8."
    )
