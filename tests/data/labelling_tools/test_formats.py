# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg prepare` of exports, as a person runs it: recognized, packed, broken, and with options that do not fit."""

import shutil

import pytest
from data.exported import drawn, write_picture, write_text
from data.labelling_tools.test_labelme import SQUARE, shape, write_labelme

from vitseg import cli
from vitseg.data.labelling_tools import FORMATS
from vitseg.data.prepare import TOOLS
from vitseg.data.streaming import load_examples


def prepare(*arguments: object) -> int:
    return cli.main(["prepare", *map(str, arguments), "--workers", "0"])


def test_the_command_names_the_formats_that_there_are():
    assert tuple(FORMATS) == TOOLS


def test_an_export_is_recognized_and_prepared_but_for_what_is_broken(tmp_path, capsys):
    for name in "abc":
        write_labelme(tmp_path / "mine", name, [shape("car", SQUARE)])
    write_labelme(tmp_path / "mine", "d", [shape("car", [[0, 0], [1, 1]])])
    archive = shutil.make_archive(str(tmp_path / "mine"), "zip", tmp_path / "mine")
    assert prepare(archive, "--output", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert "Taken for labelme, by a.json" in captured.out
    assert "d.json: shape 1: it is a polygon of 2 corners" in captured.err
    assert prepare("labelme", "--source", archive, "--output", tmp_path / "out", "--on-error", "skip") == 0
    printed = capsys.readouterr().out
    assert "2 classes, in alphabetical order. Pixels in no segment are background." in printed
    assert "Skipped 1 pairs" in printed
    rows = [*load_examples(tmp_path / "out", "train"), *load_examples(tmp_path / "out", "validation")]
    assert sorted(row["file_name"] for row in rows) == ["a", "b", "c"]
    for row in rows:
        assert row["label_map"].tolist() == drawn(f"........ {'.111.... ' * 3} ........ ........")


def test_what_is_no_export_or_several_is_said(tmp_path, capsys):
    write_picture(tmp_path / "mine/a.jpg")
    assert prepare(tmp_path / "mine", "--output", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "is in none of these formats: coco" in error
    assert "(folder with --labels FILE)" in error
    write_labelme(tmp_path / "mine", "b", [shape("car", SQUARE)])
    write_text(tmp_path / "mine/data.yaml", "names: [car]")
    assert prepare(tmp_path / "mine", "--output", tmp_path / "out") == 1
    assert "may be one of these: labelme (b.json), yolo (data.yaml). Say which" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is neither a file or folder nor one of ade20k"),
        (["coco"], "coco needs --source"),
        (["coco", "--source", ".", "--train-list", "a"], "the lists of splits are for folder"),
        (["ade20k", "--source", ".", "--background", "ignore"], "are for exports of labelling tools"),
    ],
)
def test_arguments_that_do_not_fit_are_usage_errors(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        prepare(*arguments, "--output", tmp_path / "out")
    assert message in capsys.readouterr().err


def test_archives_that_are_not_read_as_they_are_are_named(tmp_path, capsys):
    write_labelme(tmp_path / "mine", "a", [shape("car", SQUARE)])
    for kind in ("gztar", "zip"):
        shutil.make_archive(str(tmp_path / "packed" / "mine"), kind, tmp_path / "mine")
    assert prepare(tmp_path / "packed/mine.tar.gz", "--output", tmp_path / "out") == 1
    assert "mine.tar.gz is packed in a way that is not read as it is" in capsys.readouterr().err
    outer = shutil.make_archive(str(tmp_path / "outer"), "zip", tmp_path / "packed")
    assert prepare(outer, "--output", tmp_path / "out") == 1
    assert "outer.zip holds mine.zip, which is not read in an archive" in capsys.readouterr().err
