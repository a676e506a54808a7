# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
CTS Segmenter: Segmenter, whose plain ViT lets patches that show a single class share a token.

Papers: "Content-aware Token Sharing for Efficient Semantic Segmentation with Vision Transformers",
https://arxiv.org/abs/2306.02095, and "Segmenter: Transformer for Semantic Segmentation",
https://arxiv.org/abs/2105.05633. Originals: https://github.com/tue-mps/cts-segmenter and
https://github.com/rstrudel/segmenter (MIT); Segmenter was re-implemented in mmsegmentation (Apache-2.0) with small
differences, which are configuration switches here. Where the originals' code departs from the papers, this file
follows the code.

The decoder works on the tokens, shared or not; only its logits go back to the grid of patches.
"""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BackboneOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .configuration_cts_segmenter import CtsSegmenterConfig
from .configuration_plain_vit import PlainVitConfig
from .configuration_semantic import InferenceProtocol
from .labels import divisor, unify_ignored
from .layers import copy_tokens, crop
from .modeling_decoder import DecoderModel
from .modeling_plain_vit import PlainVitLayer
from .modeling_semantic import Prediction
from .pipelines import known_to_pipelines
from .pixel_losses import NumItems


class CtsSegmenterDecoderLayer(PlainVitLayer):
    """A block of the mask transformer: that of the encoder, with the decoder's settings."""

    def __init__(self, config: CtsSegmenterConfig, drop_path_rate: float):
        settings = PlainVitConfig(
            hidden_size=config.decoder_hidden_size,
            num_attention_heads=config.decoder_num_attention_heads,
            intermediate_size=config.decoder_mlp_ratio * int(config.decoder_hidden_size),
            hidden_dropout_prob=config.decoder_dropout,
            attention_probs_dropout_prob=config.decoder_dropout,
            drop_path_on_attention=config.decoder_drop_path_on_attention,
            layer_norm_eps=1e-5,
        )
        super().__init__(settings, drop_path_rate)
        # Which kernel computes the attention is up to the model's configuration.
        self.attention.config = config


class CtsSegmenterMaskTransformer(nn.Module):
    """
    Mask transformer: class embeddings and tokens attend to each other; their cosines are the scores.

    Takes tokens `(batch, tokens, in_channels)`; returns scores `(batch, tokens, num_labels)`, for each token
    normalised over the classes.
    """

    def __init__(self, config: CtsSegmenterConfig, in_channels: int):
        super().__init__()
        hidden_size = config.decoder_hidden_size
        self.projection = nn.Linear(in_channels, hidden_size)
        self.class_embeddings = nn.Parameter(torch.zeros(1, config.num_labels, hidden_size))
        drop_path_step = config.decoder_drop_path_rate / max(config.decoder_num_layers - 1, 1)
        self.layers = nn.ModuleList(
            CtsSegmenterDecoderLayer(config, drop_path_rate=drop_path_step * index)
            for index in range(config.decoder_num_layers)
        )
        self.layernorm = nn.LayerNorm(hidden_size, eps=1e-5)
        self.token_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.class_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.class_norm = nn.LayerNorm(config.num_labels, eps=1e-5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        num_labels = self.class_embeddings.shape[1]
        classes = self.class_embeddings.expand(tokens.shape[0], -1, -1)
        hidden_states = torch.cat((self.projection(tokens), classes), dim=1)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        hidden_states = self.layernorm(hidden_states)
        num_tokens = hidden_states.shape[1] - num_labels
        tokens = self.token_projection(copy_tokens(hidden_states, 0, num_tokens))
        classes = self.class_projection(copy_tokens(hidden_states, num_tokens, hidden_states.shape[1]))
        tokens, classes = (nn.functional.normalize(vectors, dim=-1) for vectors in (tokens, classes))
        return self.class_norm(torch.bmm(tokens, classes.transpose(1, 2)))


@known_to_pipelines
class CtsSegmenterForSemanticSegmentation(DecoderModel):
    """
    CTS Segmenter: a plain ViT with or without token sharing, and a mask transformer or a linear layer over its tokens.
    Without token sharing it is Segmenter, and other backbones do too.

    In evaluation mode with windows, an image that is smaller than a window is enlarged, and its logits have the size
    that it was enlarged to (see [`enlarge`]).

    Example:

    ```python
    >>> import torch
    >>> from vitseg import CtsSegmenterConfig, CtsSegmenterForSemanticSegmentation, PlainVitConfig

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=64,
    ...     token_sharing=2,
    ... )
    >>> config = CtsSegmenterConfig(backbone_config=backbone_config, num_labels=5)
    >>> model = CtsSegmenterForSemanticSegmentation(config).eval()
    >>> with torch.no_grad():
    ...     logits = model(torch.randn(1, 3, 80, 112)).logits
    >>> logits.shape
    torch.Size([1, 5, 80, 112])

    ```
    """

    config: CtsSegmenterConfig
    base_model_prefix = "cts_segmenter"
    _no_split_modules = [*DecoderModel._no_split_modules, "CtsSegmenterDecoderLayer"]

    def __init__(self, config: CtsSegmenterConfig):
        super().__init__(config)
        in_channels = self.backbone.channels[-1]
        self.decode_head: nn.Module
        if config.decoder_type == "mask_transformer":
            self.decode_head = CtsSegmenterMaskTransformer(config, in_channels)
        else:
            self.decode_head = nn.Linear(in_channels, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, CtsSegmenterMaskTransformer):
            init.trunc_normal_(module.class_embeddings, std=0.02)
            for projection in (module.token_projection, module.class_projection):
                init.normal_(projection.weight, std=projection.in_features**-0.5)

    def enlarge(self, pixel_values: torch.Tensor, protocol: InferenceProtocol) -> torch.Tensor:
        """An image smaller than a window, enlarged until its shorter side is as long as the window's."""
        height, width = pixel_values.shape[-2:]
        short, long, window = min(height, width), max(height, width), min(protocol.window_size)
        if not self.config.enlarge_small_images or short >= window:
            return pixel_values
        # In this order, as in the original: the quotient first.
        long = int(long / short * window)
        size = (window, long) if height <= width else (long, window)
        return nn.functional.interpolate(pixel_values, size=size, mode="bilinear", align_corners=False)

    def run_backbone(self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> BackboneOutput:
        if self.config.backbone_config.model_type == PlainVitConfig.model_type:
            # It pads images itself, after the policy network has seen them.
            return self.backbone(pixel_values, **kwargs)
        return super().run_backbone(pixel_values, **kwargs)

    def predict(self, features: BackboneOutput, for_losses: bool = False) -> Prediction:
        feature_map = features.feature_maps[-1]
        shared_tokens = getattr(features, "shared_tokens", None)
        if shared_tokens is not None:
            patch_logits = shared_tokens.restore(self.decode_head(features.tokens))
        else:
            tokens = feature_map.flatten(2).transpose(1, 2)
            patch_logits = self.decode_head(copy_tokens(tokens, 0, tokens.shape[1]))
            patch_logits = patch_logits.unflatten(1, feature_map.shape[-2:])
        return Prediction(patch_logits.permute(0, 3, 1, 2))

    def upsample(self, scores: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """Scores of the patches, `(batch, num_labels, rows, columns)`, at the height and width of the image."""
        padded_size = size
        if self.config.crop_padding:
            padded_size = torch.Size(side * self.strides[-1] for side in scores.shape[-2:])
        logits = nn.functional.interpolate(scores, size=padded_size, mode="bilinear", align_corners=False)
        return crop(logits, size)

    @property
    def accepts_loss_kwargs(self) -> bool:
        return super().accepts_loss_kwargs and not self.config.average_valid_pixels

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """As in the base class; with `config.average_valid_pixels`, of pixels that are not ignored."""
        if not self.config.average_valid_pixels:
            return super().count_items(labels)
        ignore_index = self.config.ignore_index
        return (unify_ignored(labels, self.config.num_labels, ignore_index) != ignore_index).sum()

    def losses(
        self, prediction: Prediction, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> dict[str, torch.Tensor]:
        """The cross-entropy `decode.loss_ce`, 0 where all pixels are ignored."""
        if not self.config.average_valid_pixels:
            return super().losses(prediction, labels, num_items_in_batch)
        num_valid = self.count_items(labels) if num_items_in_batch is None else num_items_in_batch
        return super().losses(prediction, labels, divisor(num_valid))


__all__ = ["CtsSegmenterForSemanticSegmentation"]
