# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""UPerNet over Swin."""

from typing import Any

from transformers import SwinConfig

from ..rules import Rule
from .swin import SWIN_TRANSFORMER, UNUSED_PARAMETERS, read_swin_config, swin_rules
from .upernet import UPER_HEAD, UperNetConverter


class UperNetSwinConverter(UperNetConverter):
    """Checkpoints of mmsegmentation's UPerNet over Swin."""

    refusal = "This is no checkpoint of mmsegmentation's UPerNet over Swin"
    expected_names = "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight and decode_head.fpn_bottleneck.conv.weight"
    architectures = ((SWIN_TRANSFORMER, UPER_HEAD),)
    unused_parameters = rf"backbone\.{UNUSED_PARAMETERS}"

    def has_known_names(self) -> bool:
        return super().has_known_names() and "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight" in self.tensors

    def read_backbone(self, backbone: dict[str, Any]) -> SwinConfig:
        return read_swin_config(backbone)

    def backbone_rules(self, config: SwinConfig) -> list[Rule]:
        return swin_rules(config, "backbone")
