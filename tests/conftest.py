# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What tests of several folders share."""

import gc
import multiprocessing
import multiprocessing.forkserver
import os
import sys
from multiprocessing.context import ForkServerContext
from typing import Any

import datasets
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from golden_cases import ConvertedCases


# Looking for garbage takes a tenth of the time of the tests: compilers and loaded weights leave many objects behind.
gc.set_threshold(100_000, 50, 100)


def pytest_collection_finish() -> None:
    """What was imported and collected stays, and need not be looked at again."""
    gc.freeze()


# Needs mmsegmentation: `make interop`.
collect_ignore = ["interop"]


@pytest.fixture(scope="session")
def tiny_recipe() -> dict[str, Any]:
    """The content of a recipe file: a SETR-PUP that trains on crops of 32 pixels at hundreds of images per second."""
    return {
        "method": "setr",
        "model": {
            "decoder_type": "pup",
            "decoder_hidden_size": 8,
            "decoder_upsample_scales": [2, 2],
            "auxiliary_heads": [{"in_index": 0, "kernel_size": 1, "upsample_scales": [4]}],
            "backbone_config": {
                "model_type": "plain_vit",
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 32,
                "image_size": 32,
                "patch_size": 8,
                "out_indices": [1, 2],
                "drop_path_rate": 0.3,
            },
        },
        "image_processor": {"size": {"shortest_edge": 32, "longest_edge": 128}},
        "training": {
            "optimizer": "adamw",
            "learning_rate": 0.002,
            "weight_decay": 0.01,
            "parameter_rules": {"norm": {"decay_mult": 0.0}, "head": {"lr_mult": 2.0}},
            "min_learning_rate": 1e-5,
            "warmup_iterations": 4,
            "warmup_ratio": 0.1,
            "iterations": 20,
            "batch_size": 4,
            "crop_size": [32, 32],
            "scale": [128, 32],
            "max_gradient_norm": 5.0,
        },
        "evaluation": {
            "mode": "slide",
            "window_size": [32, 32],
            "window_stride": [32, 32],
            "scale": [128, 32],
            "ratios": [1.0],
            "min_short": None,
        },
    }


@pytest.fixture
def own_state(tmp_path, monkeypatch):
    """Programs that run in this process find nothing that earlier ones left, and sum in the order of one thread."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state()
    PartialState._reset_state()


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Makes processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_runs"])
    with pytest.MonkeyPatch.context() as patch:
        # The server that they are forked from looks for modules nowhere else.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        multiprocessing.forkserver.ensure_running()
    return context


@pytest.fixture(scope="session")
def converted_cases(tmp_path_factory) -> ConvertedCases:
    """Model folders of golden cases, which are converted once for all tests of a process."""
    return ConvertedCases(tmp_path_factory.mktemp("converted"))
