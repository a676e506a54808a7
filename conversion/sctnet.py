# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet (https://github.com/xzz777/SCTNet): configurations to `SctNetConfig`, names to ours."""

from typing import Any

import torch
from mmseg import as_list, read_test_protocol, refuse_unless
from rules import Rule

from vitseg import SctNetConfig
from vitseg.training.pretrained import sctnet_names


LEAF = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
CLASSIFIER, ALIGNMENT = r"auxiliary_head\.0\.", r"auxiliary_head\.1\."


def read_config(original: dict[str, Any], state_dict: dict[str, torch.Tensor]) -> SctNetConfig:
    """
    The `SctNetConfig` of an original configuration (`backbone`, `decode_head`, `auxiliary_head`, `test_cfg`).

    What only training needs (`auxiliary_head`) is part of the model where configuration and checkpoint both have it,
    but for the teacher.

    Raises:
        ValueError: if it asks for something that the original does not have; the message names it.
    """
    check_names(state_dict)
    backbone, head = original["backbone"], original["decode_head"]
    _refuse_other_type(backbone, "SCTNet")
    _refuse_other_type(head, "SCTHead")
    base_channels = backbone.get("base_channels", 64)
    _check_head(head, 4 * base_channels, in_index=0)
    _check_cross_entropy(head, weight=1.0)
    training: dict[str, Any] = {}
    for auxiliary in as_list(original.get("auxiliary_head")):
        if auxiliary["type"] == "AU_SCTHead":
            _check_head(auxiliary, 2 * base_channels, in_index=1)
            training |= {
                "use_auxiliary_head": "auxiliary_head.0.conv_seg.weight" in state_dict,
                "auxiliary_hidden_size": auxiliary["channels"],
                "auxiliary_loss_weight": _check_cross_entropy(auxiliary, weight=None),
            }
        elif auxiliary["type"] == "VitGuidanceHead":
            training |= _read_alignment(auxiliary, state_dict)
        else:
            raise ValueError(f"auxiliary_head has type={auxiliary['type']!r}; expected AU_SCTHead or VitGuidanceHead.")
    return SctNetConfig(
        num_channels=backbone.get("in_channels", 3),
        base_channels=base_channels,
        stage_depths=list(backbone.get("layer_nums", [2, 2, 2, 2])[:3]),
        num_attention_heads=backbone.get("num_heads", 8),
        attention_channels=backbone.get("cf_inter_channels", 64),
        context_channels=backbone.get("spp_channels", 128),
        hidden_dropout_prob=backbone.get("drop_rate", 0.0),
        drop_path_rate=backbone.get("drop_path_rate", 0.1),
        decoder_hidden_size=head["channels"],
        num_labels=head["num_classes"],
        semantic_loss_ignore_index=head.get("ignore_index", 255),
        **training,
        **read_test_protocol(original.get("test_cfg")),
    )


def _refuse_other_type(part: dict[str, Any], expected: str) -> None:
    if part["type"] != expected:
        raise ValueError(f"The configuration has type={part['type']!r}; expected {expected!r}.")


def _check_head(head: dict[str, Any], in_channels: int, in_index: int) -> None:
    refuse_unless(head, "in_channels", in_channels)
    refuse_unless(head, "in_index", in_index)
    refuse_unless(head, "dropout_ratio", 0.0)
    refuse_unless(head, "align_corners", False)


def _check_cross_entropy(head: dict[str, Any], weight: float | None) -> float:
    """The weight of the loss, which has to be the one given, if any."""
    loss = head.get("loss_decode", {})
    refuse_unless(loss, "type", "CrossEntropyLoss")
    refuse_unless(loss, "use_sigmoid", False)
    refuse_unless(loss, "class_weight", None)
    if weight is not None:
        refuse_unless(loss, "loss_weight", weight)
    return loss.get("loss_weight", 1.0)


def _read_alignment(head: dict[str, Any], state_dict: dict[str, torch.Tensor]) -> dict[str, Any]:
    loss = head.get("loss_decode", {})
    refuse_unless(loss, "type", "AlignmentLoss")
    projections = [
        state_dict.get(f"auxiliary_head.1.{name}.weight")
        for name in ("feature_transforms", "convstage4", "convstage3")
    ]
    arguments: dict[str, Any] = {"alignment_loss_weights": list(loss.get("loss_weight", [3, 15, 15, 15]))}
    if all(projection is not None for projection in projections):
        arguments["alignment_channels"] = [len(projection) for projection in projections]
    return arguments


def adapt_config(config: SctNetConfig, state_dict: dict[str, torch.Tensor]) -> SctNetConfig:
    """A recipe's configuration as it is: that of inference alone."""
    check_names(state_dict)
    return config


def check_names(state_dict: dict[str, torch.Tensor]) -> None:
    """
    Raises:
        ValueError: if these are not the names of an SCTNet checkpoint.
    """
    if "backbone.convdown4.0.weight" not in state_dict or "decode_head.conv_seg.weight" not in state_dict:
        raise ValueError(
            "This is not an SCTNet checkpoint: expected names such as backbone.convdown4.0.weight and "
            f"decode_head.conv_seg.weight. The file's first names are {list(state_dict)[:5]}."
        )


def rules(config: SctNetConfig, state_dict: dict[str, torch.Tensor]) -> list[Rule]:
    """The table that renames a checkpoint for a model of `config`."""
    only_training = "only training needs it"
    classifier = [Rule(rf"{CLASSIFIER}.*", reason=only_training)]
    alignment = [Rule(rf"{ALIGNMENT}.*", reason=only_training)]
    if config.use_auxiliary_head:
        classifier = _head_rules(CLASSIFIER, "auxiliary_head.")
    if config.alignment_channels is not None:
        alignment = [
            Rule(rf"{ALIGNMENT}feature_transforms\.(weight|bias)", r"alignment.shared_projection.\1"),
            Rule(rf"{ALIGNMENT}convstage([34])\.(weight|bias)", r"alignment.stage\1_projection.\2"),
        ]
    return [
        *(Rule(rf"backbone\.{theirs}", f"backbone.{ours}") for theirs, ours in sctnet_names().items()),
        *_head_rules(r"decode_head\.", "decode_head."),
        *classifier,
        Rule(
            rf"{ALIGNMENT}teacher_(backbone|head)\..*",
            reason="the teacher, no part of the model: convert it by itself, with --method sctnet_teacher",
        ),
        *alignment,
    ]


def _head_rules(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(rf"{theirs}{module}\.{LEAF}", rf"{ours}{our_module}.\1")
        for module, our_module in (
            ("bn1", "norm"),
            ("conv1", "layer.conv"),
            ("bn2", "layer.norm"),
            ("conv_seg", "classifier"),
        )
    ]
