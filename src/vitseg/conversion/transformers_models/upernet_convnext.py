# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""UPerNet over ConvNeXt, which mmsegmentation takes from mmpretrain (and releases 0.x from mmcls)."""

from typing import Any

import torch
from transformers import ConvNextConfig

from ..arguments import OriginalClass, refuse_unless
from ..mmseg import GELU
from ..rules import Rule, module_rules
from .upernet import UPER_HEAD, UperNetConverter


LN2D = OriginalClass(
    ("LN2d", "LN"), carried={"eps": 1e-5}, fixed={"elementwise_affine": True, "bias": True}, ignored=("requires_grad",)
)
CONVNEXT = OriginalClass(
    ("ConvNeXt",),
    carried={
        "arch": "tiny",
        "in_channels": 3,
        "stem_patch_size": 4,
        "drop_path_rate": 0.0,
        "layer_scale_init_value": 1e-6,
        "linear_pw_conv": True,
        "out_indices": -1,
        "gap_before_final_norm": True,
    },
    fixed={"use_grn": False},
    parts={"norm_cfg": (LN2D, {"type": "LN2d", "eps": 1e-6}), "act_cfg": (GELU, {"type": "GELU"})},
    ignored=("frozen_stages", "with_cp", "init_cfg"),
)
# Depths and channels of the stages.
ARCHITECTURES = {
    "atto": ([2, 2, 6, 2], [40, 80, 160, 320]),
    "femto": ([2, 2, 6, 2], [48, 96, 192, 384]),
    "pico": ([2, 2, 6, 2], [64, 128, 256, 512]),
    "nano": ([2, 2, 8, 2], [80, 160, 320, 640]),
    "tiny": ([3, 3, 9, 3], [96, 192, 384, 768]),
    "small": ([3, 3, 27, 3], [96, 192, 384, 768]),
    "base": ([3, 3, 27, 3], [128, 256, 512, 1024]),
    "large": ([3, 3, 27, 3], [192, 384, 768, 1536]),
    "xlarge": ([3, 3, 27, 3], [256, 512, 1024, 2048]),
    "huge": ([3, 3, 27, 3], [352, 704, 1408, 2816]),
}


class UperNetConvNextConverter(UperNetConverter):
    """Checkpoints of mmsegmentation's UPerNet over ConvNeXt."""

    refusal = "This is no checkpoint of mmsegmentation's UPerNet over ConvNeXt"
    expected_names = "backbone.stages.0.0.depthwise_conv.weight and decode_head.fpn_bottleneck.conv.weight"
    architectures = ((CONVNEXT, UPER_HEAD),)

    def has_known_names(self) -> bool:
        return super().has_known_names() and "backbone.stages.0.0.depthwise_conv.weight" in self.tensors

    def read_backbone(self, backbone: dict[str, Any]) -> ConvNextConfig:
        convnext = CONVNEXT.read(backbone)
        # transformers' norms have this epsilon whatever its configuration says.
        refuse_unless(convnext["norm_cfg"], eps=1e-6)
        depths, hidden_sizes = _read_arch(convnext)
        refuse_unless(convnext, out_indices=list(range(len(depths))), gap_before_final_norm=False)
        return ConvNextConfig(
            num_channels=convnext["in_channels"],
            patch_size=convnext["stem_patch_size"],
            num_stages=len(depths),
            depths=depths,
            hidden_sizes=hidden_sizes,
            drop_path_rate=convnext["drop_path_rate"],
            layer_scale_init_value=convnext["layer_scale_init_value"],
            out_features=[f"stage{stage + 1}" for stage in range(len(depths))],
        )

    def backbone_rules(self, config: ConvNextConfig) -> list[Rule]:
        block, our_block = r"backbone\.stages\.(\d)\.(\d+)", r"backbone.encoder.stages.\1.layers.\2"
        modules = {
            r"backbone\.downsample_layers\.0\.0": "backbone.embeddings.patch_embeddings",
            r"backbone\.downsample_layers\.0\.1": "backbone.embeddings.layernorm",
            r"backbone\.downsample_layers\.(\d)\.([01])": r"backbone.encoder.stages.\1.downsampling_layer.\2",
            rf"{block}\.depthwise_conv": f"{our_block}.dwconv",
            rf"{block}\.norm": f"{our_block}.layernorm",
        }
        modules |= {
            rf"backbone\.norm{stage}": f"backbone.hidden_states_norms.stage{stage + 1}"
            for stage in range(config.num_stages)
        }
        return [
            *module_rules(modules),
            *(
                Rule(rf"{block}\.pointwise_conv{index}\.(weight|bias)", rf"{our_block}.pwconv{index}.\3", _as_linear)
                for index in (1, 2)
            ),
            Rule(rf"{block}\.gamma", f"{our_block}.layer_scale_parameter"),
        ]


def _read_arch(convnext: dict[str, Any]) -> tuple[list[int], list[int]]:
    """
    Depths and channels of the stages.

    Raises:
        ValueError: if they are not known.
        KeyError: if a dictionary lacks them.
    """
    arch = convnext["arch"]
    if isinstance(arch, dict):
        return list(arch["depths"]), list(arch["channels"])
    if arch not in ARCHITECTURES:
        raise ValueError(
            f"{convnext['type']} has arch={arch!r}; expected one of {', '.join(ARCHITECTURES)}, or a dictionary of "
            "depths and channels."
        )
    return ARCHITECTURES[arch]


def _as_linear(tensor: torch.Tensor) -> torch.Tensor:
    """A 1x1 convolution (`linear_pw_conv=False`) as the linear layer that does the same; a linear layer as it is."""
    return tensor.flatten(1) if tensor.ndim > 1 else tensor
