# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Files for test servers hold the values that the servers want."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from vitseg.evaluation.submission import check_classes, save_label_map, write_zip


PALETTE = [(index, 2 * index % 256, 7) for index in range(150)]


@pytest.mark.parametrize(
    ("output_format", "train_ids", "values"),
    [
        # Road, sidewalk, building, pole, vegetation, sky, person, car, train and bicycle.
        ("cityscapes", [0, 1, 2, 5, 8, 10, 11, 13, 16, 18], [7, 8, 11, 17, 21, 23, 24, 26, 31, 33]),
        ("ade20k", [0, 1, 149], [1, 2, 150]),
        ("ids", [0, 1, 149], [0, 1, 149]),
        ("palette", [0, 1, 149], [0, 1, 149]),
    ],
)
def test_values(output_format, train_ids, values, tmp_path):
    save_label_map(np.array([train_ids, train_ids[::-1]]), output_format, PALETTE, tmp_path / "a" / "x.png")
    with Image.open(tmp_path / "a" / "x.png") as image:
        assert image.mode == ("P" if output_format == "palette" else "L")
        assert np.asarray(image).tolist() == [values, values[::-1]]
        if output_format == "palette":
            assert image.convert("RGB").getpixel((1, 0)) == (1, 2, 7)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.png"]


def test_models_with_other_classes_are_refused():
    check_classes("cityscapes", 19)
    check_classes("ade20k", 150)
    check_classes("ids", 7)
    with pytest.raises(ValueError, match="The format ade20k is for 150 classes, but the model has 19"):
        check_classes("ade20k", 19)


def test_zip_has_no_folders(tmp_path):
    for name in ("b.png", "a.png"):
        (tmp_path / name).write_text(name)
    write_zip([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out" / "submission.zip")
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert archive.namelist() == ["a.png", "b.png"]
        assert archive.read("b.png") == b"b.png"
