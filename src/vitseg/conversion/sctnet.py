# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet (https://github.com/xzz777/SCTNet): configurations to `SctNetConfig`, names to ours."""

from collections.abc import Iterable
from typing import Any

from ..models.configuration_sctnet import SctNetConfig
from .arguments import OriginalClass, refuse_unless
from .base import Converter
from .mmseg import (
    DECODE_HEAD,
    ENCODER_DECODER,
    as_list,
    read_head,
    read_preprocessing,
    read_test_protocol,
    read_training,
)
from .rules import Rule, module_rules


BACKBONE = OriginalClass(
    ("SCTNet",),
    carried={
        "layer_nums": [2, 2, 2, 2],
        "base_channels": 64,
        "spp_channels": 128,
        "in_channels": 3,
        "num_heads": 8,
        "drop_rate": 0.0,
        "drop_path_rate": 0.1,
        # Not an argument there, but a number in its code.
        "cf_inter_channels": 64,
    },
    ignored=("pretrained", "init_cfg"),
)
# Norms and activations of its heads are not the base class's.
HEAD = DECODE_HEAD.derived("SCTHead", ignored=("norm_cfg", "act_cfg"))
AUXILIARY_HEAD = HEAD.derived("AU_SCTHead")
SEGMENTOR = ENCODER_DECODER.derived("EncoderDecoder_Distill", "EncoderDecoder")

CLASSIFIER, ALIGNMENT = r"auxiliary_head\.0\.", r"auxiliary_head\.1\."
ATTENTION_LAYERS = {"layer3_2": "stage3.layers.0", "layer4": "stage4.layers.0", "layer5": "stage4.layers.1"}
# Modules of the authors' backbone, as patterns, and ours.
MODULES = {
    r"conv1\.0": "stem.0.conv",
    r"conv1\.1": "stem.0.norm",
    r"conv1\.3": "stem.1.conv",
    r"conv1\.4": "stem.1.norm",
    r"layer([123])\.(\d+)\.conv([12])": r"stage\1.convolutions.\2.layer\3.conv",
    r"layer([123])\.(\d+)\.bn([12])": r"stage\1.convolutions.\2.layer\3.norm",
    r"layer([123])\.(\d+)\.downsample\.0": r"stage\1.convolutions.\2.shortcut.conv",
    r"layer([123])\.(\d+)\.downsample\.1": r"stage\1.convolutions.\2.shortcut.norm",
    r"convdown4\.0": "stage4.convolutions.conv",
    r"convdown4\.1": "stage4.convolutions.norm",
    **{
        rf"{theirs}\.{their_part}": rf"{ours}.{our_part}"
        for theirs, ours in ATTENTION_LAYERS.items()
        for their_part, our_part in ((r"attn_l\.norm", "attention.norm"), (r"mlp_l\.(\w+)", r"mlp.\1"))
    },
    r"spp\.scale0\.0": "stage5.pooling.scales.0.norm",
    r"spp\.scale0\.2": "stage5.pooling.scales.0.conv",
    r"spp\.scale([1234])\.1": r"stage5.pooling.scales.\1.norm",
    r"spp\.scale([1234])\.3": r"stage5.pooling.scales.\1.conv",
    **{
        rf"spp\.{theirs}\.{number}": f"stage5.pooling.{ours}.{module}"
        for theirs, ours in (
            *((f"process{index + 1}", f"processes.{index}") for index in range(4)),
            ("compression", "compression"),
            ("shortcut", "shortcut"),
        )
        for number, module in ((0, "norm"), (2, "conv"))
    },
}
KERNELS = {"kv": "attention.vertical_kernel", "kv3": "attention.horizontal_kernel"}


class SctNetConverter(Converter):
    """SCTNet's checkpoints: those of its training, and those without what only that needs."""

    refusal = "This is not an SCTNet checkpoint"
    expected_names = "backbone.convdown4.0.weight and decode_head.conv_seg.weight"
    architectures = ((BACKBONE, HEAD),)

    def has_known_names(self) -> bool:
        return {"backbone.convdown4.0.weight", "decode_head.conv_seg.weight"} <= self.tensors.keys()

    def read_config(self, original: dict[str, Any]) -> SctNetConfig:
        """
        The `SctNetConfig` of `backbone`, `decode_head` and `test_cfg`, with the weight of the auxiliary head's loss.
        """
        model = SEGMENTOR.read(original)
        refuse_unless(model, neck=None)
        backbone, head = BACKBONE.read(model["backbone"]), read_head(HEAD, model["decode_head"])
        base_channels = backbone["base_channels"]
        refuse_unless(head, in_channels=4 * base_channels, in_index=0, dropout_ratio=0.0)
        heads = [head]
        for auxiliary in as_list(model["auxiliary_head"]):
            if auxiliary["type"] == "AU_SCTHead":
                part = read_head(AUXILIARY_HEAD, auxiliary)
                refuse_unless(part, in_channels=2 * base_channels, in_index=1, dropout_ratio=0.0)
                heads.append(part)
            elif auxiliary["type"] == "VitGuidanceHead":
                # What a teacher's model knows of it is only needed to train.
                refuse_unless(auxiliary.get("loss_decode", {}), type="AlignmentLoss")
            else:
                raise ValueError(
                    f"auxiliary_head has type={auxiliary['type']!r}; expected AU_SCTHead or VitGuidanceHead."
                )
        return SctNetConfig(
            num_channels=backbone["in_channels"],
            base_channels=base_channels,
            stage_depths=backbone["layer_nums"][:3],
            num_attention_heads=backbone["num_heads"],
            attention_channels=backbone["cf_inter_channels"],
            context_channels=backbone["spp_channels"],
            hidden_dropout_prob=backbone["drop_rate"],
            drop_path_rate=backbone["drop_path_rate"],
            decoder_hidden_size=head["channels"],
            **read_training(heads),
            **read_test_protocol(model["test_cfg"]),
        )

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        return read_preprocessing(original)

    def rules(self, config: SctNetConfig) -> list[Rule]:
        return [
            *_backbone_rules(r"backbone\.", "backbone."),
            *_head_rules(r"decode_head\.", "decode_head."),
            Rule(rf"{CLASSIFIER}.*", reason="only training needs it: the auxiliary head"),
            Rule(
                rf"{ALIGNMENT}teacher_(backbone|head)\..*",
                reason="only training needs it: the teacher, which converts by itself, with --method sctnet_teacher",
            ),
            Rule(rf"{ALIGNMENT}.*", reason="only training needs it: the alignment with the teacher"),
        ]


def training_head_rules() -> list[Rule]:
    """The table that renames what only training needs, for the `Distillation` of `vitseg.training`."""
    return [
        *_head_rules(CLASSIFIER, "auxiliary_head."),
        Rule(rf"{ALIGNMENT}feature_transforms\.(weight|bias)", r"alignment.shared_projection.\1"),
        Rule(rf"{ALIGNMENT}convstage([34])\.(weight|bias)", r"alignment.stage\1_projection.\2"),
    ]


def encoder_rules(config: SctNetConfig, names: Iterable[str]) -> list[Rule]:
    """
    The table that renames a pre-trained backbone of the authors (`SCT-S_Pretrain.pth`, `SCT-B_Pretrain.pth`), whose
    names need have no `backbone.` before them, for a backbone of the same widths and depths.
    """
    return [*_backbone_rules(r"(?:backbone\.)?", ""), Rule(".*", reason="not the backbone's")]


def _backbone_rules(theirs: str, ours: str) -> list[Rule]:
    """`theirs`, a pattern, and `ours` begin the names."""
    return [
        *module_rules({f"{theirs}{module}": f"{ours}{our_module}" for module, our_module in MODULES.items()}),
        *(
            Rule(rf"{theirs}{layer}\.attn_l\.{kernel}", f"{ours}{our_layer}.{our_kernel}")
            for layer, our_layer in ATTENTION_LAYERS.items()
            for kernel, our_kernel in KERNELS.items()
        ),
    ]


def _head_rules(theirs: str, ours: str) -> list[Rule]:
    modules = {"bn1": "norm", "conv1": "layer.conv", "bn2": "layer.norm", "conv_seg": "classifier"}
    return module_rules({f"{theirs}{module}": f"{ours}{our_module}" for module, our_module in modules.items()})
