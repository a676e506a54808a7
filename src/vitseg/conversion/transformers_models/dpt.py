# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
DPT: mmsegmentation's `DPTHead` over its `VisionTransformer`, as transformers' `DPTForSemanticSegmentation`.

The class takes square images, and resizes its scores with aligned corners. Only a model that was tested so answers the
same, and no published one was; what is refused says what to change in a copy of the configuration.
"""

from typing import Any

from transformers import DPTConfig, PreTrainedConfig
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import PILImageResampling

from ..arguments import refuse_unless
from ..mmseg import (
    BN,
    DECODE_HEAD,
    ENCODER_DECODER,
    TEST_CFG,
    VISION_TRANSFORMER,
    as_list,
    check_patch_bias,
    read_head,
    vit_taps,
)
from ..plain_vit import resize_positions
from ..rules import Rule, module_rules
from .base import TransformersConverter


NUM_LEVELS = 4
VIT = VISION_TRANSFORMER.derived(
    "VisionTransformer",
    carried={"output_cls_token": False},
    fixed={"with_cls_token": True, "patch_norm": False, "final_norm": False, "drop_path_rate": 0.0},
)
HEAD = DECODE_HEAD.derived(
    "DPTHead",
    carried={
        "align_corners": False,
        "embed_dims": 768,
        "input_transform": None,
        "post_process_channels": [96, 192, 384, 768],
        "readout_type": "ignore",
    },
    fixed={"expand_channels": False},
    parts={"norm_cfg": (BN, {"type": "BN"})},
    # Of the class's own, which has no other use for it.
    ignored=("patch_size",),
)


class DptConverter(TransformersConverter):
    """Checkpoints of mmsegmentation's DPT."""

    refusal = "This is no checkpoint of mmsegmentation's DPT"
    expected_names = "backbone.layers.0.ln1.weight and decode_head.reassemble_blocks.projects.0.conv.weight"
    architectures = ((VIT, HEAD),)
    model_class = "DPTForSemanticSegmentation"
    image_processor_class = "DPTImageProcessor"
    # How positions are resized to another grid.
    interpolation_mode = "bicubic"
    unused_parameters = r"dpt\.layernorm\..*|neck\.fusion_stage\.layers\.0\.residual_layer1\..*"

    def has_known_names(self) -> bool:
        names = {"backbone.layers.0.ln1.weight", "decode_head.reassemble_blocks.projects.0.conv.weight"}
        return names <= self.tensors.keys()

    def read_config(self, original: dict[str, Any]) -> DPTConfig:
        model = ENCODER_DECODER.read(original)
        refuse_unless(model, neck=None, auxiliary_head=None)
        refuse_unless(TEST_CFG.read(model["test_cfg"] or {}), mode="whole")
        vit, head = VIT.read(model["backbone"]), read_head(HEAD, model["decode_head"])
        check_patch_bias(vit, self.tensors)
        _check_head(head, vit)
        self.interpolation_mode = vit["interpolate_mode"]
        return DPTConfig(
            hidden_size=vit["embed_dims"],
            num_hidden_layers=vit["num_layers"],
            num_attention_heads=vit["num_heads"],
            intermediate_size=int(vit["embed_dims"] * vit["mlp_ratio"]),
            hidden_dropout_prob=vit["drop_rate"],
            attention_probs_dropout_prob=vit["attn_drop_rate"],
            layer_norm_eps=vit["norm_cfg"]["eps"],
            qkv_bias=vit["qkv_bias"],
            image_size=as_list(vit["img_size"])[0],
            patch_size=vit["patch_size"],
            num_channels=vit["in_channels"],
            backbone_out_indices=vit_taps(vit),
            readout_type=head["readout_type"],
            neck_hidden_sizes=head["post_process_channels"],
            fusion_hidden_size=head["channels"],
            use_batch_norm_in_fusion_residual=True,
            use_auxiliary_head=False,
            semantic_classifier_dropout=head["dropout_ratio"],
            semantic_loss_ignore_index=head["ignore_index"],
            num_labels=head["num_classes"],
        )

    def build_image_processor(self, config: PreTrainedConfig, settings: dict[str, Any]) -> BaseImageProcessor:
        """The image processor; the positions of `config` become those of the images that it makes."""
        size = settings.get("size", {"height": config.image_size, "width": config.image_size})
        side = size.get("height", 0)
        if side != size.get("width") or side % config.patch_size:
            raise ValueError(
                f"The test resizes images to {size}; only squares of whole patches can be converted, because "
                "DPTForSemanticSegmentation takes no other images. In a copy of the configuration, "
                "Resize(scale=(512, 512), keep_ratio=False) makes some."
            )
        config.image_size = side
        # The crop changes nothing. It says that all images have this size.
        squares = {"size": size, "do_center_crop": True, "crop_size": size}
        return super().build_image_processor(config, {**settings, **squares, "resample": PILImageResampling.BILINEAR})

    def rules(self, config: PreTrainedConfig) -> list[Rule]:
        grid_side = config.image_size // config.patch_size
        layer, our_layer = r"backbone\.layers\.(\d+)", r"dpt.encoder.layer.\1"
        blocks, our_blocks = r"decode_head\.reassemble_blocks", "neck.reassemble_stage"
        fusion, our_fusion = r"decode_head\.fusion_blocks\.(\d)", r"neck.fusion_stage.layers.\1"
        unit, our_unit = rf"{fusion}\.res_conv_unit([12])\.conv([12])", rf"{our_fusion}.residual_layer\2"
        modules = {
            r"backbone\.patch_embed\.projection": "dpt.embeddings.patch_embeddings.projection",
            rf"{layer}\.ln1": f"{our_layer}.layernorm_before",
            rf"{layer}\.attn\.attn\.out_proj": f"{our_layer}.attention.output.dense",
            rf"{layer}\.ln2": f"{our_layer}.layernorm_after",
            rf"{layer}\.ffn\.layers\.0\.0": f"{our_layer}.intermediate.dense",
            rf"{layer}\.ffn\.layers\.1": f"{our_layer}.output.dense",
            rf"{blocks}\.readout_projects\.(\d)\.0": rf"{our_blocks}.readout_projects.\1.0",
            rf"{blocks}\.projects\.(\d)\.conv": rf"{our_blocks}.layers.\1.projection",
            rf"{blocks}\.resize_layers\.(\d)": rf"{our_blocks}.layers.\1.resize",
            r"decode_head\.convs\.(\d)\.conv": r"neck.convs.\1",
            rf"{unit}\.conv": rf"{our_unit}.convolution\3",
            rf"{unit}\.bn": rf"{our_unit}.batch_norm\3",
            rf"{fusion}\.project\.conv": f"{our_fusion}.projection",
            r"decode_head\.project\.conv": "head.head.0",
            r"decode_head\.project\.bn": "head.head.1",
            r"decode_head\.conv_seg": "head.head.4",
        }
        in_projections = tuple(rf"{our_layer}.attention.attention.{part}.\2" for part in ("query", "key", "value"))
        return [
            *module_rules(modules),
            Rule(r"backbone\.cls_token", "dpt.embeddings.cls_token"),
            Rule(
                r"backbone\.pos_embed",
                "dpt.embeddings.position_embeddings",
                lambda positions: resize_positions(positions, (grid_side, grid_side), self.interpolation_mode, 1),
            ),
            Rule(rf"{layer}\.attn\.attn\.in_proj_(weight|bias)", in_projections),
        ]

    def absent_biases(self, config: DPTConfig) -> str:
        patches = r"dpt\.embeddings\.patch_embeddings\.projection\.bias"
        # Without a bias for queries, keys and values it has none after the attention either.
        return patches if config.qkv_bias else rf"{patches}|dpt\.encoder\.layer\.\d+\.attention\.output\.dense\.bias"

    def differences(self, original: dict[str, Any]) -> list[str]:
        return [
            "images have one size, that of the test; positions are resized to it as the original does.",
            "with labels the class needs an auxiliary head, which the original has not "
            "(from_pretrained(DIR, use_auxiliary_head=True) makes a new one to train), and the loss is the mean over "
            "the pixels that have a label.",
        ]


def _check_head(head: dict[str, Any], vit: dict[str, Any]) -> None:
    """
    Raises:
        ValueError: if the head over this backbone is not transformers'.
    """
    if not head["align_corners"]:
        raise ValueError(
            "DPTHead has align_corners=False; only True can be converted, because DPTForSemanticSegmentation resizes "
            "its scores so. True in a copy of the configuration converts it nonetheless, and moves the scores by half "
            "a pixel at the border of an image, and by less inside."
        )
    width, image_sides = vit["embed_dims"], set(as_list(vit["img_size"]))
    if len(image_sides) != 1:
        raise ValueError(f"{vit['type']} has img_size={vit['img_size']!r}; only a square can be converted.")
    refuse_unless(vit, output_cls_token=True)
    refuse_unless(head, embed_dims=width, in_channels=[width] * NUM_LEVELS, in_index=list(range(NUM_LEVELS)))
    refuse_unless(head, input_transform="multiple_select")
    refuse_unless(head["loss_decode"], loss_weight=1.0)
    for part, name in ((vit, "out_indices"), (head, "post_process_channels")):
        if len(as_list(part[name])) != NUM_LEVELS:
            raise ValueError(f"{part['type']} has {name}={part[name]!r}; only {NUM_LEVELS} of them can be converted.")
