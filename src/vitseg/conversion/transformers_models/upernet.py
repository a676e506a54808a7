# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
UPerNet: mmsegmentation's `UPerHead`, and its `FCNHead` beside it, as transformers' `UperNetForSemanticSegmentation`.
"""

from abc import abstractmethod
from typing import Any, ClassVar

from transformers import PreTrainedConfig, UperNetConfig

from ..arguments import OriginalClass, refuse_unless
from ..mmseg import DECODE_HEAD, ENCODER_DECODER, as_list, read_head
from ..rules import Rule, module_rules
from .base import TransformersConverter


UPER_HEAD = DECODE_HEAD.derived("UPerHead", carried={"pool_scales": [1, 2, 3, 6]})
AUXILIARY_HEAD = DECODE_HEAD.derived(
    "FCNHead", carried={"num_convs": 2, "concat_input": True}, fixed={"kernel_size": 3, "dilation": 1}
)
# The feature maps that transformers' heads take.
IN_INDEX = [0, 1, 2, 3]
AUXILIARY_IN_INDEX = 2


class UperNetConverter(TransformersConverter):
    """
    Checkpoints of a backbone under `UPerHead`.

    Attributes:
        neck: what is between the two, where there is something.
        auxiliary_refusal: why the auxiliary head is left out, where it is.
    """

    neck: ClassVar[OriginalClass | None] = None
    model_class = "UperNetForSemanticSegmentation"
    auxiliary_refusal = "there is no auxiliary head in the configuration"

    @abstractmethod
    def read_backbone(self, backbone: dict[str, Any]) -> PreTrainedConfig:
        """The configuration of transformers' backbone with its four feature maps."""

    @abstractmethod
    def backbone_rules(self, config: PreTrainedConfig) -> list[Rule]:
        """The rules for the backbone of this configuration."""

    def has_known_names(self) -> bool:
        return "decode_head.fpn_bottleneck.conv.weight" in self.tensors

    def read_config(self, original: dict[str, Any]) -> UperNetConfig:
        model = ENCODER_DECODER.read(original)
        if self.neck is None:
            refuse_unless(model, neck=None)
        else:
            self.neck.read_part(model["type"], "neck", model["neck"])
        head = read_head(UPER_HEAD, model["decode_head"])
        refuse_unless(head, in_index=IN_INDEX)
        refuse_unless(head["loss_decode"], loss_weight=1.0)
        return UperNetConfig(
            backbone_config=self.read_backbone(model["backbone"]),
            hidden_size=head["channels"],
            pool_scales=head["pool_scales"],
            num_labels=head["num_classes"],
            loss_ignore_index=head["ignore_index"],
            **self._read_auxiliary_head(model, head),
        )

    def _read_auxiliary_head(self, model: dict[str, Any], head: dict[str, Any]) -> dict[str, Any]:
        """What ours says of the auxiliary head; if transformers has none like it, `auxiliary_refusal` says why."""
        heads = as_list(model["auxiliary_head"])
        if len(heads) != 1:
            self.auxiliary_refusal = f"only training needs them, and transformers has one, not {len(heads)}"
            return {"use_auxiliary_head": False}
        try:
            auxiliary = read_head(AUXILIARY_HEAD, heads[0])
            refuse_unless(auxiliary, in_index=AUXILIARY_IN_INDEX, num_classes=head["num_classes"])
            refuse_unless(auxiliary, ignore_index=head["ignore_index"])
            if auxiliary["num_convs"] < 1:
                raise ValueError("FCNHead has num_convs=0; only 1 or more can be converted.")
        except ValueError as error:
            self.auxiliary_refusal = f"only training needs it, and {error}"
            return {"use_auxiliary_head": False}
        return {
            "auxiliary_loss_weight": auxiliary["loss_decode"]["loss_weight"],
            "auxiliary_channels": auxiliary["channels"],
            "auxiliary_num_convs": auxiliary["num_convs"],
            "auxiliary_concat_input": auxiliary["concat_input"],
        }

    def rules(self, config: UperNetConfig) -> list[Rule]:
        dropped = [] if config.use_auxiliary_head else [Rule(r"auxiliary_head\..*", reason=self.auxiliary_refusal)]
        return [*dropped, *head_rules(), *self.backbone_rules(config.backbone_config)]

    def differences(self, original: dict[str, Any]) -> list[str]:
        head = read_head(UPER_HEAD, original["decode_head"])
        notes = []
        if head["dropout_ratio"]:
            notes.append(f"the head has no dropout in training, which was {head['dropout_ratio']:g}.")
        if not head["loss_decode"]["avg_non_ignore"]:
            notes.append("the loss is the mean over the pixels that have a label, which was that over all.")
        return notes


def head_rules() -> list[Rule]:
    """The rules for the names of `UPerHead` and `FCNHead`, which transformers keeps but for the last."""
    modules = r"psp_modules\.\d+\.1|bottleneck|(?:lateral|fpn)_convs\.\d+|fpn_bottleneck|convs\.\d+|conv_cat"
    return module_rules(
        {
            rf"(decode_head|auxiliary_head)\.({modules})\.conv": r"\1.\2.conv",
            rf"(decode_head|auxiliary_head)\.({modules})\.bn": r"\1.\2.batch_norm",
            r"(decode_head|auxiliary_head)\.conv_seg": r"\1.classifier",
        }
    )
