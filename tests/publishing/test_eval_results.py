# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Results in the files that the Hub reads."""

import yaml
from huggingface_hub import parse_eval_result_entries

from vitseg.evaluation import progress
from vitseg.publishing.eval_results import write_eval_results


def record(mean_iou: float, revision: str | None, dataset: str = "org/streets") -> dict:
    return {
        "scores": {"mean_iou": mean_iou},
        "split": "validation",
        "protocol_in_words": "original size; whole images; no flip",
        "dtype": "float32",
        "dataset_revision": revision,
        "arguments": {"dataset": {"name": dataset, "config": None}},
    }


def test_results_on_data_sets_of_the_hub(tmp_path):
    files = write_eval_results(tmp_path, [record(0.48637, "abc"), record(0.5, "abc"), record(0.9, None, "data/mine")])
    assert sorted(files) == [".eval_results/org--streets.1.yaml", ".eval_results/org--streets.2.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[".eval_results/org--streets.1.yaml"].read_text()))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("org/streets", "default", 48.64)
    assert entry.dataset_revision == "abc"
    assert entry.notes == "mean IoU of the split validation; original size; whole images; no flip; float32"


def test_the_commit_of_a_data_set(monkeypatch):
    files = ["hf://datasets/org/streets@0123abc/data/validation-0.parquet"]
    monkeypatch.setattr(progress, "parquet_files", lambda name, split: files)
    assert progress.dataset_revision("org/streets", "validation") == "0123abc"
    files[0] = "/data/streets/data/validation-0.parquet"
    assert progress.dataset_revision("/data/streets", "validation") is None
