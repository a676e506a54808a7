# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A result says how it was measured, as data, as text and in a model card."""

import io
import json
import warnings

import numpy as np
import pytest
from huggingface_hub import ModelCard

from vitseg.evaluation import MeanIoU
from vitseg.evaluation.results import add_to_model_card, console_table, has_colors, markdown_report, result_record
from vitseg.recipes.protocol import Protocol


NAMES = ["sky", "road", "tree", "car"]


@pytest.fixture
def record() -> dict:
    """Sky is half right, all of the road is found, trees are never, and there is no car."""
    scores = MeanIoU(4).compute(
        predictions=[np.array([[0, 0, 1, 1, 1, 1]])], references=[np.array([[0, 2, 0, 0, 1, 1]])]
    )
    return result_record(
        scores,
        NAMES,
        Protocol(mode="whole", size={"shortest_edge": 512}),
        model="someone/model",
        dataset="someone/scenes",
        split="validation",
        images=1,
        broken=["Cannot decode the image of 7.jpg."],
        dtype="float32",
        device="cpu",
        processes=2,
        images_per_second=12.345,
    )


def test_record_is_json_with_its_circumstances(record):
    content = json.loads(json.dumps(record, allow_nan=False))
    assert content["scores"]["mean_iou"] == pytest.approx((1 / 4 + 2 / 4 + 0) / 3)
    assert [row["iou"] for row in content["classes"]] == [pytest.approx(1 / 4), pytest.approx(2 / 4), 0.0, None]
    assert [row["pixels"] for row in content["classes"]] == [3, 2, 1, 0]
    assert content["protocol"]["size"] == {"shortest_edge": 512}
    assert content["protocol_in_words"] == "short side 512; whole images; no flip"
    assert {"vitseg", "torch", "transformers"} <= content["versions"].keys()


def test_console_table_has_the_best_class_first(record):
    rows = [line.split() for line in console_table(record, colored=False).splitlines()]
    assert [row[0] for row in rows[1:5]] == ["road", "sky", "tree", "car"]
    assert rows[1][1:4] == ["50.00", "100.00", "50.00"]
    assert rows[4][1:] == ["-"] * 5
    assert ["mean", "IoU", "25.00"] in rows


def test_console_table_in_colour(record):
    record["classes"][0]["iou"] = 0.9
    lines = console_table(record, colored=True).splitlines()
    assert lines[1].startswith("\033[32msky")
    assert lines[2].startswith("\033[33mroad")
    assert lines[3].startswith("\033[31mtree")
    assert lines[4].startswith("car")
    assert "\033" not in console_table(record, colored=False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert has_colors(Terminal())
    assert not has_colors(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colors(Terminal())


def test_markdown_report(record):
    report = markdown_report(record)
    assert report.startswith("# 25.00 mean IoU\n")
    for fact in ("someone/model", "someone/scenes, validation, 1 images", "short side 512; whole images; no flip"):
        assert fact in report
    assert "float32 on 2 x cpu, 12.35 images/s" in report or "float32 on 2 x cpu, 12.34 images/s" in report
    assert "Cannot decode the image of 7.jpg." in report
    assert "| road  | 50.00 | 100.00   | 50.00     | 66.67 | 66.67   | 2      |" in report


@pytest.mark.parametrize("text", [None, "# My model\n\nIt sees.\n", "---\nlicense: mit\n---\n# My model\n"])
def test_model_card_gets_an_entry_of_which_there_is_one(record, text, tmp_path):
    card_file = tmp_path / "README.md"
    if text is not None:
        card_file.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_to_model_card(card_file, record)
        record["scores"]["mean_iou"] = 0.5
        add_to_model_card(card_file, record)
        record["protocol_in_words"] = "another protocol"
        add_to_model_card(card_file, record)
    card = ModelCard.load(card_file)
    ious = {
        entry.metric_name: entry.metric_value for entry in card.data.eval_results if entry.metric_type == "mean_iou"
    }
    assert ious == {"mean IoU (short side 512; whole images; no flip)": 50.0, "mean IoU (another protocol)": 50.0}
    assert {(entry.dataset_type, entry.dataset_split) for entry in card.data.eval_results} == {
        ("someone/scenes", "validation")
    }
    assert card.data.model_name == "someone/model"
    assert card.text.strip() == ("# someone/model" if text is None else text.rpartition("---\n")[2].strip())
    assert card.data.to_dict().get("license") == ("mit" if text and "mit" in text else None)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
