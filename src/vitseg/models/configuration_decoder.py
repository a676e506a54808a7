# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the configurations of methods share that put a decoder over a backbone."""

from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig
from transformers.configuration_utils import PreTrainedConfig

from .configuration_plain_vit import PlainVitConfig
from .configuration_semantic import WindowedInferenceConfig
from .strict import strict


@strict
class DecoderConfig(WindowedInferenceConfig):
    r"""
    Base of the configurations of methods that put a decoder over a backbone.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the backbone: a [`PlainVitConfig`], or that of any transformers backbone. Each method has
            its published one as default.
        feature_stride (`int`, *optional*):
            Pixels of the image that a position of the decoder's feature maps stands for: all of the backbone's are
            resized to that. By default they stay as the backbone gives them. Needed for pyramids, such as Swin and
            ConvNeXt, whose maps differ in size.
        kwargs:
            Arguments of [`WindowedInferenceConfig`]. `window_size` defaults to the backbone's `image_size`.
    """

    sub_configs = {"backbone_config": AutoConfig}

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    feature_stride: int | None = None

    def __post_init__(self, **kwargs):
        if self.backbone_config is None:
            self.backbone_config = self.default_backbone_config()
        self.backbone_config = resolve_backbone_config(self.backbone_config)
        if self.window_size is None:
            self.window_size = getattr(self.backbone_config, "image_size", None)
        if self.window_size is None:
            name = type(self.backbone_config).__name__
            raise ValueError(f"backbone_config, a {name}, has no image_size: pass window_size, in pixels.")
        super().__post_init__(**kwargs)

    def validate_backbone(self):
        if self.feature_stride is not None and self.feature_stride < 1:
            raise ValueError(f"feature_stride is {self.feature_stride}; expected pixels, at least 1, or None.")
        if not getattr(self.backbone_config, "reshape_hidden_states", True):
            raise ValueError(
                "backbone_config has reshape_hidden_states=False, which gives tokens, but decoders take feature maps: "
                "set it to True."
            )

    def default_backbone_config(self) -> PreTrainedConfig:
        """The backbone of the method's best-known published model."""
        raise NotImplementedError(f"{type(self).__name__} has no default backbone: pass backbone_config.")


def resolve_backbone_config(backbone_config: dict[str, Any] | PreTrainedConfig) -> PreTrainedConfig:
    """
    The configuration object of a backbone given as such, or as the dictionary that a JSON file holds.

    A `plain_vit` dictionary is resolved here rather than by transformers' table of model types, so that a model loaded
    as remote code, where vitseg is not installed, finds its backbone beside its own file.

    Raises:
        ValueError: if an object is not a backbone's configuration, or a dictionary names no model type, or one that
            neither vitseg nor transformers knows.
    """
    if isinstance(backbone_config, PreTrainedConfig):
        if not hasattr(backbone_config, "out_indices"):
            raise ValueError(
                f"backbone_config is a {type(backbone_config).__name__}, which is not a backbone's configuration: "
                "give a PlainVitConfig, or one that transformers' AutoBackbone knows, such as Dinov2Config."
            )
        return backbone_config
    model_type = backbone_config.get("model_type")
    if model_type == PlainVitConfig.model_type:
        return PlainVitConfig.from_dict(backbone_config)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"backbone_config has model_type {model_type!r}. Give 'plain_vit' or a backbone of transformers such as "
            "'dinov2', or pass a configuration object."
        )
    return CONFIG_MAPPING[model_type].from_dict(backbone_config)
