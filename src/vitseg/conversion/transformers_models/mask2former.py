# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Mask2Former: mmsegmentation's `Mask2FormerHead`, most of which is mmdetection's, over Swin or ResNet, as transformers'
`Mask2FormerForUniversalSegmentation`.
"""

from typing import Any

from transformers import Mask2FormerConfig, PreTrainedConfig, SwinConfig
from transformers.image_processing_utils import BaseImageProcessor

from ..arguments import OriginalClass, refuse_unless
from ..mmseg import ENCODER_DECODER, TEST_CFG, read_preprocessing
from ..rules import Rule, module_rules
from .base import TransformersConverter
from .mask2former_head import HEAD, read_layers, read_losses
from .resnet import RESNET, read_resnet_config, resnet_rules
from .swin import SWIN_TRANSFORMER, UNUSED_PARAMETERS, read_swin_config, swin_rules


# Where transformers has its parts.
BACKBONE = "model.pixel_level_module.encoder"
PIXEL_DECODER = "model.pixel_level_module.decoder"
TRANSFORMER = "model.transformer_module"

# How the test pads images.
PADDING = OriginalClass(("test_cfg",), carried={"size_divisor": None}, fixed={"size": None})


class Mask2FormerConverter(TransformersConverter):
    """Checkpoints of mmsegmentation's Mask2Former."""

    refusal = "This is no checkpoint of mmsegmentation's Mask2Former"
    expected_names = "decode_head.pixel_decoder.level_encoding.weight and decode_head.query_feat.weight"
    architectures = ((SWIN_TRANSFORMER, HEAD), (RESNET, HEAD))
    model_class = "Mask2FormerForUniversalSegmentation"
    image_processor_class = "Mask2FormerImageProcessor"
    # The weights of the classes in the loss follow from the configuration.
    unused_parameters = rf"{BACKBONE}\.{UNUSED_PARAMETERS}|criterion\.empty_weight"

    def has_known_names(self) -> bool:
        names = {"decode_head.pixel_decoder.level_encoding.weight", "decode_head.query_feat.weight"}
        return names <= self.tensors.keys()

    def read_config(self, original: dict[str, Any]) -> Mask2FormerConfig:
        model = ENCODER_DECODER.read(original)
        refuse_unless(model, neck=None, auxiliary_head=None)
        refuse_unless(TEST_CFG.read(model["test_cfg"] or {}), mode="whole")
        head = HEAD.read(model["decode_head"])
        is_resnet = model["backbone"]["type"] in RESNET.names
        backbone_config = read_resnet_config(model["backbone"]) if is_resnet else read_swin_config(model["backbone"])
        return Mask2FormerConfig(
            backbone_config=backbone_config,
            feature_size=head["feat_channels"],
            mask_feature_size=head["out_channels"],
            hidden_dim=head["feat_channels"],
            num_queries=head["num_queries"],
            enforce_input_projection=head["enforce_decoder_input_project"],
            num_labels=head["num_classes"],
            ignore_value=head["ignore_index"],
            **read_layers(head),
            **read_losses(head),
        )

    def read_image_processor(self, original: dict[str, Any]) -> dict[str, Any]:
        preprocessor = original.get("data_preprocessor")
        if not preprocessor:
            return {}
        PADDING.read(preprocessor.get("test_cfg") or {}, "SegDataPreProcessor's test_cfg")
        return read_preprocessing({"data_preprocessor": {**preprocessor, "test_cfg": None}})

    def build_image_processor(self, config: PreTrainedConfig, settings: dict[str, Any]) -> BaseImageProcessor:
        # With a divisor it would stretch images.
        return super().build_image_processor(
            config, {"size_divisor": 0, "ignore_index": config.ignore_value, **settings}
        )

    def rules(self, config: Mask2FormerConfig) -> list[Rule]:
        backbone = config.backbone_config
        backbone_rules = swin_rules(backbone, BACKBONE) if isinstance(backbone, SwinConfig) else resnet_rules(BACKBONE)
        return [*_head_rules(), *backbone_rules]

    def differences(self, original: dict[str, Any]) -> list[str]:
        notes = [
            "class and mask logits are the original's; `post_process_semantic_segmentation` makes maps of them over a "
            "grid of 384 x 384 points, and the original at the size of its input."
        ]
        test_cfg = (original.get("data_preprocessor") or {}).get("test_cfg") or {}
        if divisor := test_cfg.get("size_divisor"):
            notes.append(
                f"images are not padded, and the original pads their sides to multiples of {divisor}: answers differ "
                "where the sides are no such multiples."
            )
        notes.append("vitseg validate and predict take models with scores of pixels, and this one has those of masks.")
        return notes


def _head_rules() -> list[Rule]:
    """The rules for the names of `Mask2FormerHead`."""
    pixel_decoder, decoder = r"decode_head\.pixel_decoder", r"decode_head\.transformer_decoder"
    encoder, our_encoder = rf"{pixel_decoder}\.encoder\.layers\.(\d+)", rf"{PIXEL_DECODER}.encoder.layers.\1"
    layer, our_layer = rf"{decoder}\.layers\.(\d+)", rf"{TRANSFORMER}.decoder.layers.\1"
    attention = rf"{layer}\.(self|cross)_attn\.attn"
    modules = {
        rf"{pixel_decoder}\.input_convs\.(\d)\.conv": rf"{PIXEL_DECODER}.input_projections.\1.0",
        rf"{pixel_decoder}\.input_convs\.(\d)\.gn": rf"{PIXEL_DECODER}.input_projections.\1.1",
        rf"{pixel_decoder}\.lateral_convs\.0\.conv": f"{PIXEL_DECODER}.adapter_1.0",
        rf"{pixel_decoder}\.lateral_convs\.0\.gn": f"{PIXEL_DECODER}.adapter_1.1",
        rf"{pixel_decoder}\.output_convs\.0\.conv": f"{PIXEL_DECODER}.layer_1.0",
        rf"{pixel_decoder}\.output_convs\.0\.gn": f"{PIXEL_DECODER}.layer_1.1",
        rf"{pixel_decoder}\.mask_feature": f"{PIXEL_DECODER}.mask_projection",
        rf"{encoder}\.self_attn\.(\w+)": rf"{our_encoder}.self_attn.\2",
        rf"{encoder}\.norms\.0": f"{our_encoder}.self_attn_layer_norm",
        rf"{encoder}\.ffn\.layers\.0\.0": f"{our_encoder}.fc1",
        rf"{encoder}\.ffn\.layers\.1": f"{our_encoder}.fc2",
        rf"{encoder}\.norms\.1": f"{our_encoder}.final_layer_norm",
        rf"{attention}\.out_proj": rf"{our_layer}.\2_attn.out_proj",
        rf"{layer}\.norms\.0": f"{our_layer}.cross_attn_layer_norm",
        rf"{layer}\.norms\.1": f"{our_layer}.self_attn_layer_norm",
        rf"{layer}\.ffn\.layers\.0\.0": f"{our_layer}.fc1",
        rf"{layer}\.ffn\.layers\.1": f"{our_layer}.fc2",
        rf"{layer}\.norms\.2": f"{our_layer}.final_layer_norm",
        rf"{decoder}\.post_norm": f"{TRANSFORMER}.decoder.layernorm",
        r"decode_head\.decoder_input_projs\.(\d)": rf"{TRANSFORMER}.input_projections.\1",
        r"decode_head\.query_embed": f"{TRANSFORMER}.queries_embedder",
        r"decode_head\.query_feat": f"{TRANSFORMER}.queries_features",
        r"decode_head\.level_embed": f"{TRANSFORMER}.level_embed",
        r"decode_head\.cls_embed": "class_predictor",
    }
    # Activations lie between its layers.
    modules |= {
        rf"decode_head\.mask_embed\.{2 * index}": f"{TRANSFORMER}.decoder.mask_predictor.mask_embedder.{index}.0"
        for index in range(3)
    }
    in_projections = tuple(rf"{our_layer}.self_attn.{part}_proj.\2" for part in "qkv")
    return [
        *module_rules(modules),
        Rule(rf"{pixel_decoder}\.level_encoding\.weight", f"{PIXEL_DECODER}.level_embed"),
        Rule(rf"{layer}\.self_attn\.attn\.in_proj_(weight|bias)", in_projections),
        Rule(rf"{layer}\.cross_attn\.attn\.in_proj_(weight|bias)", rf"{our_layer}.cross_attn.in_proj_\2"),
    ]
