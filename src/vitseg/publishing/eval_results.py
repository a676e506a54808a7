# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What was measured, as the Hub reads it for the page of a model and for leaderboards: `.eval_results/*.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml


FOLDER = ".eval_results"


def write_eval_results(folder: Path, records: Sequence[dict[str, Any]]) -> dict[str, Path]:
    """
    Write a file for each evaluation on a data set of the Hub; others have no benchmark to belong to.

    Args:
        folder: to write to.
        records: of evaluations, as `vitseg validate` writes them.

    Returns:
        The files by their names in a repository.
    """
    files: dict[str, Path] = {}
    for record in records:
        if record.get("dataset_revision") is None or record["scores"]["mean_iou"] is None:
            continue
        dataset = record["arguments"]["dataset"]
        entry = EvalResultEntry(
            dataset_id=dataset["name"],
            task_id=dataset["config"] or "default",
            value=round(100 * record["scores"]["mean_iou"], 2),
            dataset_revision=record["dataset_revision"],
            notes=f"mean IoU of the split {record['split']}; {record['protocol_in_words']}; {record['dtype']}",
        )
        stem = dataset["name"].replace("/", "--")
        taken = sum(name.startswith(f"{FOLDER}/{stem}.") for name in files)
        file = folder / f"{stem}.{taken + 1}.yaml"
        file.write_text(yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False), encoding="utf-8")
        files[f"{FOLDER}/{file.name}"] = file
    return files
