# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Measure training data, metric and models on this machine, each beside what else the field uses:

    python examples/benchmark.py data
    python examples/benchmark.py metric
    python examples/benchmark.py models setr-pup-vit-l-ade20k-512-160k --peer upernet-swin-large --peer segformer-b5
    python examples/benchmark.py models runs/mine/best --device cuda --dtype bfloat16 --batch-size 16 --compile
    python examples/benchmark.py sharing --device cuda --dtype bfloat16 --batch-size 32
    python examples/benchmark.py speed --device cuda --dtype float16

data     images/s of one core, from encoded image and label map to a training crop: vitseg.data, and the same pipeline
         in OpenCV and NumPy as mmsegmentation has it
metric   images/s of one core: vitseg's mean IoU, and NumPy histograms as mmsegmentation has them
models   size, arithmetic, speed and memory of recipes (with random weights) and model folders, and of peers (with
         random weights): an encoder of timm (timm:NAME), segformer-b0 to -b5, upernet-swin-tiny, -small, -base, -large
sharing  images/s of CTS Segmenter with token sharing over without, beside the published ratios, and the share of the
         time that goes into choosing, gathering and scattering tokens
speed    frames/s of SCTNet by its authors' protocol, each published row at its own input size: as it is, fused, fused
         and compiled, and in ONNX Runtime, beside the published figures

Each prints a table and says what was timed. `--output FILE.json` or `FILE.csv` adds the figures to a file.
"""

import argparse
import platform
import sys

import torch
from benchmarks import metric, models, sctnet_speed, token_sharing, training_data
from benchmarks.arguments import count, table_file

from vitseg.evaluation.throughput import append_rows


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        rows = args.run(args)
        if args.output:
            machine = {"torch": torch.__version__, "processor": platform.processor() or platform.machine()}
            append_rows(args.output, [row | machine for row in rows])
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=table_file, metavar="FILE", help="add the figures to this .json or .csv file")
    shared.add_argument("--repeats", type=count, default=20, metavar="N", help="timings to take the median of (20)")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="data|metric|models|sharing|speed")
    for module in (training_data, metric, models, token_sharing, sctnet_speed):
        module.add_parser(commands, shared)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
