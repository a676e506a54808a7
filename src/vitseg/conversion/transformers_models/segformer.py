# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SegFormer of its authors (https://github.com/NVlabs/SegFormer, on mmsegmentation 0.11), as transformers'
`SegformerForSemanticSegmentation`.

mmsegmentation's own SegFormer is another network: its head has a batch norm and a ReLU after the layer of each stage,
which transformers' head has not. It converts as `sctnet_teacher`.
"""

from typing import Any

from transformers import SegformerConfig

from ..arguments import OriginalClass, refuse_unless
from ..mmseg import DECODE_HEAD, ENCODER_DECODER, read_head
from ..rules import Rule, module_rules
from .base import TransformersConverter


# The authors have a class for each size, without arguments that they use. Widths and depths of the stages:
SIZES = {
    "mit_b0": ([32, 64, 160, 256], [2, 2, 2, 2]),
    "mit_b1": ([64, 128, 320, 512], [2, 2, 2, 2]),
    "mit_b2": ([64, 128, 320, 512], [3, 4, 6, 3]),
    "mit_b3": ([64, 128, 320, 512], [3, 4, 18, 3]),
    "mit_b4": ([64, 128, 320, 512], [3, 8, 27, 3]),
    "mit_b5": ([64, 128, 320, 512], [3, 6, 40, 3]),
}
MIT = OriginalClass(tuple(SIZES), ignored=("style", "init_cfg", "pretrained"))
DECODER_PARAMS = OriginalClass(("decoder_params",), required=("embed_dim",))
# The norm after the fused maps is a batch norm whatever the configuration says.
HEAD = DECODE_HEAD.derived(
    "SegFormerHead", required=("decoder_params",), fixed={"feature_strides": [4, 8, 16, 32]}, ignored=("norm_cfg",)
)


class SegformerConverter(TransformersConverter):
    """Checkpoints of SegFormer's authors."""

    refusal = (
        "This is no checkpoint of SegFormer's authors (mmsegmentation's own has another head, that transformers does "
        "not have, and converts as sctnet_teacher)"
    )
    expected_names = "backbone.block1.0.attn.kv.weight and decode_head.linear_c1.proj.weight"
    architectures = ((MIT, HEAD),)
    model_class = "SegformerForSemanticSegmentation"

    def has_known_names(self) -> bool:
        return {"backbone.block1.0.attn.kv.weight", "decode_head.linear_c1.proj.weight"} <= self.tensors.keys()

    def read_config(self, original: dict[str, Any]) -> SegformerConfig:
        model = ENCODER_DECODER.read(original)
        refuse_unless(model, neck=None, auxiliary_head=None)
        head = read_head(HEAD, model["decode_head"])
        refuse_unless(head, in_index=[0, 1, 2, 3])
        refuse_unless(head["loss_decode"], loss_weight=1.0)
        hidden_sizes, depths = SIZES[MIT.read(model["backbone"])["type"]]
        return SegformerConfig(
            depths=depths,
            hidden_sizes=hidden_sizes,
            decoder_hidden_size=DECODER_PARAMS.read(head["decoder_params"])["embed_dim"],
            classifier_dropout_prob=head["dropout_ratio"],
            semantic_loss_ignore_index=head["ignore_index"],
            num_labels=head["num_classes"],
        )

    def rules(self, config: SegformerConfig) -> list[Rule]:
        modules: dict[str, str] = {
            r"decode_head\.linear_fuse\.conv": "decode_head.linear_fuse",
            r"decode_head\.linear_fuse\.bn": "decode_head.batch_norm",
            r"decode_head\.linear_pred": "decode_head.classifier",
        }
        shared = []
        for stage in range(config.num_encoder_blocks):
            number, our_stage = stage + 1, f"segformer.stages.{stage}"
            block, our_block = rf"backbone\.block{number}\.(\d+)", rf"{our_stage}.blocks.\1"
            modules |= {
                rf"backbone\.patch_embed{number}\.proj": f"{our_stage}.patch_embeddings.proj",
                rf"backbone\.patch_embed{number}\.norm": f"{our_stage}.patch_embeddings.layer_norm",
                rf"backbone\.norm{number}": f"{our_stage}.layer_norm",
                rf"{block}\.norm1": f"{our_block}.layernorm_before",
                rf"{block}\.attn\.q": f"{our_block}.attention.q_proj",
                rf"{block}\.attn\.proj": f"{our_block}.attention.o_proj",
                rf"{block}\.attn\.sr": f"{our_block}.attention.sequence_reduction.sequence_reduction",
                rf"{block}\.attn\.norm": f"{our_block}.attention.sequence_reduction.layer_norm",
                rf"{block}\.norm2": f"{our_block}.layernorm_after",
                rf"{block}\.mlp\.(fc1|fc2|dwconv\.dwconv)": rf"{our_block}.mlp.\2",
                rf"decode_head\.linear_c{number}\.proj": f"decode_head.linear_projections.{stage}.proj",
            }
            keys_and_values = tuple(rf"{our_block}.attention.{part}_proj.\2" for part in "kv")
            shared.append(Rule(rf"{block}\.attn\.kv\.(weight|bias)", keys_and_values))
        unused = Rule(r"decode_head\.conv_seg\..*", reason="the original does not use it either")
        return [unused, *shared, *module_rules(modules)]

    def differences(self, original: dict[str, Any]) -> list[str]:
        notes = ["layer norms of the blocks and stages add 1e-05 to the variance, which was 1e-06."]
        if not read_head(HEAD, original["decode_head"])["loss_decode"]["avg_non_ignore"]:
            notes.append("the loss is the mean over the pixels that have a label, which was that over all.")
        return notes
