# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Annotation files give exactly their values, and the table of values is held to."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from vitseg.data.annotations import MaskFile, MatFile, RunLengths, TrainIds, decode_run_lengths
from vitseg.data.archives import File


VALUES = np.array([[0, 7, 459], [300, 7, 7]], np.uint16)


def on_disk(path: Path, content: bytes) -> File:
    path.write_bytes(content)
    return File(path, path.name, len(content))


def mask_file(path: Path, image: Image.Image, is_colored: bool = False, **options) -> MaskFile:
    stream = BytesIO()
    image.save(stream, **({"format": path.suffix[1:].replace("jpg", "jpeg")} | options))
    return MaskFile(on_disk(path, stream.getvalue()), is_colored)


def read(path: Path) -> np.ndarray:
    return MaskFile(on_disk(path, path.read_bytes())).read()


def mat_file(path: Path, variables: dict, key: str = "S", **options) -> MatFile:
    stream = BytesIO()
    savemat(stream, variables, **options)
    return MatFile(on_disk(path, stream.getvalue()), key)


def test_run_lengths_of_coco():
    """Codes that pycocotools made of these masks."""
    box = np.zeros((5, 7), bool)
    box[1:4, 2:6] = True
    box[2, 3] = False
    np.testing.assert_array_equal(decode_run_lengths(";32NO012004", 5, 7), box)
    y, x = np.mgrid[:60, :80]
    code = "hn0=\\16K4L4M2M4M2N2N2O0O2N2O0O2O0O2O000O2O000000000000000000000001N10001N101N101N2N101N2N2N3L3N3L4L5J_k0"
    np.testing.assert_array_equal(decode_run_lengths(code, 60, 80), (y - 30) ** 2 + (x - 40) ** 2 < 25**2)


def test_run_lengths_of_all_and_nothing():
    assert not decode_run_lengths("6", 2, 3).any()
    assert decode_run_lengths("06", 2, 3).all()


@pytest.mark.parametrize("code", ["", "~~", "6V", " 6"])
def test_what_is_no_run_length_code_is_refused(code):
    with pytest.raises(ValueError, match="not a compressed run-length code"):
        decode_run_lengths(code, 2, 3)


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(ValueError, match="3 x 4 mask"):
        decode_run_lengths("06", 4, 3)
    with pytest.raises(ValueError, match=r"a\.jpg in b\.json: "):
        RunLengths("a.jpg in b.json", 4, 3, ((5, "06"),)).read()


def test_later_segments_cover_earlier_ones():
    values = RunLengths("a", 2, 3, ((9, "06"), (207, "024"))).read()
    np.testing.assert_array_equal(values, [[207, 9, 9], [207, 9, 9]])


@pytest.mark.parametrize("options", [{}, {"do_compression": True}])
def test_matlab_files(tmp_path, options):
    annotation = mat_file(tmp_path / "a.mat", {"S": VALUES, "captions": np.array(["a"], object)}, **options)
    np.testing.assert_array_equal(annotation.read(), VALUES)


def test_matlab_numbers_may_be_doubles(tmp_path):
    np.testing.assert_array_equal(mat_file(tmp_path / "a.mat", {"S": VALUES.astype(float)}).read(), VALUES)
    with pytest.raises(ValueError, match=r"a\.mat holds values in 'S' that are not integers"):
        mat_file(tmp_path / "a.mat", {"S": VALUES + 0.5}).read()


def test_matlab_files_of_no_use_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mat holds no matrix 'LabelMap'"):
        mat_file(tmp_path / "a.mat", {"S": VALUES}, key="LabelMap").read()
    whole = mat_file(tmp_path / "b.mat", {"S": np.arange(9999).reshape(99, 101)}, do_compression=True)
    half = on_disk(tmp_path / "b.mat", (tmp_path / "b.mat").read_bytes()[: whole.size // 2])
    with pytest.raises(ValueError, match=r"b\.mat is not a complete MATLAB file"):
        MatFile(half, "S").read()
    newer = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(400)
    with pytest.raises(ValueError, match=r"c\.mat is in MATLAB's format 7\.3"):
        MatFile(on_disk(tmp_path / "c.mat", newer), "S").read()


def test_masks_hold_integers_of_any_depth(tmp_path):
    eight = VALUES.astype(np.uint8)
    np.testing.assert_array_equal(mask_file(tmp_path / "a.png", Image.fromarray(eight)).read(), eight)
    np.testing.assert_array_equal(mask_file(tmp_path / "b.png", Image.fromarray(VALUES)).read(), VALUES)
    palette = Image.new("P", (3, 2))
    palette.putpalette([255, 0, 0] * 256)
    palette.putdata(eight.ravel().tolist())
    np.testing.assert_array_equal(mask_file(tmp_path / "c.png", palette, transparency=0).read(), eight)
    bits = Image.fromarray(eight > 0)
    np.testing.assert_array_equal(mask_file(tmp_path / "d.png", bits).read(), eight > 0)


def test_colours_are_no_integers_unless_asked_for(tmp_path):
    colors = np.array([[[128, 64, 128], [0, 0, 1]], [[255, 0, 0], [0, 255, 255]]], np.uint8)
    expected = [[0x804080, 0x000001], [0xFF0000, 0x00FFFF]]
    image = Image.fromarray(colors)
    np.testing.assert_array_equal(mask_file(tmp_path / "a.png", image, is_colored=True).read(), expected)
    np.testing.assert_array_equal(
        mask_file(tmp_path / "b.png", image.convert("RGBA"), is_colored=True).read(), expected
    )
    with pytest.raises(ValueError, match=r"c\.png has mode 'RGB'; expected one integer per pixel"):
        mask_file(tmp_path / "c.png", image).read()


def test_palette_masks_can_be_read_by_colour(tmp_path, recwarn):
    image = Image.new("P", (2, 1))
    image.putpalette([128, 64, 128, 255, 0, 0])
    image.putpixel((1, 0), 1)
    mask = mask_file(tmp_path / "a.png", image, is_colored=True, transparency=b"\x00\xff")
    np.testing.assert_array_equal(mask.read(), [[0x804080, 0xFF0000]])
    assert not recwarn.list


def test_damaged_mask_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Cannot decode .*a\.png"):
        MaskFile(on_disk(tmp_path / "a.png", b"no image")).read()


def test_values_become_train_ids(tmp_path):
    annotation = mask_file(tmp_path / "a.png", Image.fromarray(VALUES))
    train_ids = TrainIds({0: 255, 7: 0, 300: 1, 459: 2, -1: 255}).of(annotation)
    assert train_ids.dtype == np.uint8
    np.testing.assert_array_equal(train_ids, [[255, 0, 2], [1, 0, 0]])
    np.testing.assert_array_equal(TrainIds({7: 3}, default=0).of(annotation), [[0, 3, 0], [0, 3, 3]])


def test_values_that_are_not_in_the_table_are_told(tmp_path):
    annotation = mask_file(tmp_path / "a.png", Image.fromarray(VALUES))
    with pytest.raises(ValueError, match=r"a\.png holds the values 300, 459, not in the label table"):
        TrainIds({0: 255, 7: 0}).of(annotation)
    colors = mask_file(tmp_path / "b.png", Image.new("RGB", (2, 2), (1, 2, 255)), is_colored=True)
    with pytest.raises(ValueError, match=r"b\.png holds the colour #0102ff"):
        TrainIds({0: 0}, is_colored=True).of(colors)


# Masks whose values are not, or may not be, what their author meant.


BLOCKS = np.kron(np.array([[0, 1, 2], [2, 3, 0]], np.uint8), np.ones((7, 5), np.uint8))


@pytest.mark.parametrize("is_colored", [False, True])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize(
    "options", [{"format": "JPEG"}, {"format": "WEBP"}, {"format": "TIFF", "compression": "jpeg"}]
)
def test_lossy_masks_are_refused_whatever_their_suffix(options, name, is_colored, tmp_path):
    blocks = BLOCKS if not is_colored else np.stack([BLOCKS] * 3, axis=-1)
    lossy = mask_file(tmp_path / name, Image.fromarray(blocks), is_colored, **options)
    # Every value that came about is an id.
    ids = {value | value << 8 | value << 16 if is_colored else value: 0 for value in range(256)}
    with pytest.raises(ValueError, match=rf"{name} is {options['format']}.*PNG"):
        TrainIds(ids, is_colored=is_colored).of(lossy)


def grey_png(values: np.ndarray, bits: int) -> bytes:
    """A PNG of a few bits for each pixel, as ImageMagick and labelling tools write them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    digits = ["".join(f"{value:0{bits}b}" for value in row) for row in values.tolist()]
    rows = b"".join(b"\0" + int(row + "0" * (-len(row) % 8), 2).to_bytes(-(-len(row) // 8), "big") for row in digits)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_masks_of_a_few_bits_hold_ids(bits, tmp_path):
    ids = np.arange(15, dtype=np.uint8).reshape(3, 5) % min(2**bits, 15)
    (tmp_path / "a.png").write_bytes(grey_png(ids, bits))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("largest", [3, 18, 255, 1000, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_pgm_masks_hold_ids_whatever_their_largest_grey_is(largest, plain, tmp_path):
    ids = np.arange(4).reshape(2, 2) % (largest + 1)
    content = ids.astype(">u2" if largest > 255 else np.uint8).tobytes()
    body = " ".join(map(str, ids.ravel())).encode() if plain else content
    (tmp_path / "a.pgm").write_bytes(b"P%d 2 2 %d\n" % (2 if plain else 5, largest) + body)
    np.testing.assert_array_equal(read(tmp_path / "a.pgm"), ids)


def test_a_mask_that_counts_from_white_is_refused(tmp_path):
    # Portable bitmaps have 1 for black.
    (tmp_path / "a.pbm").write_bytes(b"P1 2 1\n1 0\n")
    with pytest.raises(ValueError, match=r"a\.pbm counts down from white"):
        read(tmp_path / "a.pbm")


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "TIFF"])
def test_a_palette_of_grey_levels_that_are_not_their_positions_is_refused(image_format, tmp_path):
    mask = Image.fromarray(BLOCKS[:, :10] % 2)
    mask.putpalette([0, 0, 0, 255, 255, 255])
    mask.save(tmp_path / "a.png", format=image_format)
    with pytest.raises(ValueError, match=r"a\.png has a palette of grey levels .*convert\('L'\)"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "palette",
    [
        [level for level in range(256) for _ in range(3)],  # Whichever is meant.
        [120, 120, 120, 180, 120, 120, 6, 230, 230, 80, 50, 50],  # ADE20K's, whose first class is grey.
    ],
)
def test_other_palettes_have_positions(palette, tmp_path):
    for name, ids in {"a.png": BLOCKS, "b.png": np.zeros_like(BLOCKS)}.items():
        mask = Image.fromarray(ids)
        mask.putpalette(palette)
        mask.save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name), ids)


def test_a_mask_of_several_pages_is_refused(tmp_path):
    pages = [Image.fromarray(BLOCKS), Image.fromarray(BLOCKS[::-1])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"a\.tif holds 2 pictures"):
        read(tmp_path / "a.tif")
