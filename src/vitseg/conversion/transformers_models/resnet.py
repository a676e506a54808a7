# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""ResNet: mmsegmentation's `ResNet` as transformers' `ResNetBackbone`."""

from typing import Any

from transformers import ResNetConfig

from ..arguments import OriginalClass, refuse_unless
from ..mmseg import BN
from ..rules import Rule, module_rules


RESNET = OriginalClass(
    ("ResNet",),
    required=("depth",),
    carried={
        "in_channels": 3,
        "stem_channels": 64,
        "base_channels": 64,
        "out_indices": [0, 1, 2, 3],
        "style": "pytorch",
    },
    fixed={
        "num_stages": 4,
        "strides": [1, 2, 2, 2],
        "dilations": [1, 1, 1, 1],
        "deep_stem": False,
        "avg_down": False,
        "conv_cfg": None,
        "dcn": None,
        "stage_with_dcn": [False, False, False, False],
        "plugins": None,
        "multi_grid": None,
        "contract_dilation": False,
    },
    parts={"norm_cfg": (BN, {"type": "BN"})},
    ignored=("frozen_stages", "norm_eval", "with_cp", "zero_init_residual", "pretrained", "init_cfg"),
)
# Depth -> kind of the blocks, how much wider than `base_channels` their output is, and their number in each stage.
DEPTHS = {
    18: ("basic", 1, [2, 2, 2, 2]),
    34: ("basic", 1, [3, 4, 6, 3]),
    50: ("bottleneck", 4, [3, 4, 6, 3]),
    101: ("bottleneck", 4, [3, 4, 23, 3]),
    152: ("bottleneck", 4, [3, 8, 36, 3]),
}


def read_resnet_config(backbone: dict[str, Any]) -> ResNetConfig:
    """
    The configuration of transformers' backbone with a feature map of each stage.

    Raises:
        ValueError: if it is another backbone, or one of its arguments cannot be converted.
    """
    resnet = RESNET.read(backbone)
    if resnet["depth"] not in DEPTHS:
        raise ValueError(f"ResNet has depth={resnet['depth']!r}; only {list(DEPTHS)} can be converted.")
    refuse_unless(resnet, out_indices=[0, 1, 2, 3])
    layer_type, expansion, depths = DEPTHS[resnet["depth"]]
    return ResNetConfig(
        num_channels=resnet["in_channels"],
        embedding_size=resnet["stem_channels"],
        hidden_sizes=[resnet["base_channels"] * 2**stage * expansion for stage in range(4)],
        depths=depths,
        layer_type=layer_type,
        downsample_in_bottleneck=resnet["style"] == "caffe",
        out_features=[f"stage{stage + 1}" for stage in range(4)],
    )


def resnet_rules(ours: str) -> list[Rule]:
    """The rules for the names of `ResNet`, under `backbone`; `ours` is where transformers' backbone lies."""
    modules = {
        r"backbone\.conv1": f"{ours}.embedder.embedder.convolution",
        r"backbone\.bn1": f"{ours}.embedder.embedder.normalization",
    }
    for stage in range(4):
        block, our_block = rf"backbone\.layer{stage + 1}\.(\d+)", rf"{ours}.encoder.stages.{stage}.layers.\1"
        for layer in range(3):
            modules[rf"{block}\.conv{layer + 1}"] = f"{our_block}.layer.{layer}.convolution"
            modules[rf"{block}\.bn{layer + 1}"] = f"{our_block}.layer.{layer}.normalization"
        modules[rf"{block}\.downsample\.0"] = f"{our_block}.shortcut.convolution"
        modules[rf"{block}\.downsample\.1"] = f"{our_block}.shortcut.normalization"
    return module_rules(modules)
