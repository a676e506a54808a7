# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Export a model to ONNX, for images of any size, and check the file in ONNX Runtime:

    vitseg export --model runs/mine/best --format onnx --output exported

The program makes one pass over an image and gives logits of its size; it cuts no windows. It computes in float32, also
of a model that is stored in half precision. An SCTNet is fused first.
Besides `model.onnx`, the folder gets the model's configuration and its image processor, which says how images are to
be prepared. What cannot be exported, and where its answers differ from the model's, is said.
"""

import argparse
from pathlib import Path

from ..extras import require
from ..replacing import standing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, type=standing, metavar="DIR_OR_ID", help="model folder, or model on the Hub"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--format", choices=("onnx",), default="onnx")


def run(args: argparse.Namespace) -> int:
    # Without the extra, --help works.
    require("export")
    from .onnx import export

    export(args.model, args.output)
    return 0
