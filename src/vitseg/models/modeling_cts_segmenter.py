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
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_cts_segmenter import CtsSegmenterConfig
from .configuration_plain_vit import PlainVitConfig, as_pair
from .linear import Linear
from .modeling_plain_vit import PlainVitLayer, build_backbone, copy_tokens, is_exporting, pad_to_patches
from .modeling_semantic import SegmentationOutput, SlidingWindowMixin, check_labels, pixel_cross_entropy


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
        self.projection = Linear(in_channels, hidden_size)
        self.class_embeddings = nn.Parameter(torch.zeros(1, config.num_labels, hidden_size))
        drop_path_step = config.decoder_drop_path_rate / max(config.decoder_num_layers - 1, 1)
        self.layers = nn.ModuleList(
            CtsSegmenterDecoderLayer(config, drop_path_rate=drop_path_step * index)
            for index in range(config.decoder_num_layers)
        )
        self.layernorm = nn.LayerNorm(hidden_size, eps=1e-5)
        self.token_projection = Linear(hidden_size, hidden_size, bias=False)
        self.class_projection = Linear(hidden_size, hidden_size, bias=False)
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


class CtsSegmenterPreTrainedModel(PreTrainedModel):
    """Initialisation and loading of CTS Segmenter."""

    config: CtsSegmenterConfig
    base_model_prefix = "cts_segmenter"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    # The loss is a mean over the pixels of a batch, which the Trainer must average over accumulated batches.
    accepts_loss_kwargs = False
    _no_split_modules = ["CtsPolicyNet", "PlainVitEmbeddings", "PlainVitLayer", "CtsSegmenterDecoderLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, CtsSegmenterMaskTransformer):
            init.trunc_normal_(module.class_embeddings, std=0.02)
            for projection in (module.token_projection, module.class_projection):
                init.normal_(projection.weight, std=projection.in_features**-0.5)


class CtsSegmenterForSemanticSegmentation(SlidingWindowMixin, CtsSegmenterPreTrainedModel):
    """
    CTS Segmenter: a plain ViT with or without token sharing, and a mask transformer or a linear layer over its tokens.
    Without token sharing it is Segmenter, and other backbones do too.

    In evaluation mode an image larger than `config.window_size` is segmented in overlapping windows, as the published
    results were, and a smaller one is enlarged, unless `config.inference_mode` is `"whole"`.
    """

    _auto_class = "AutoModelForSemanticSegmentation"

    def __init__(self, config: CtsSegmenterConfig):
        super().__init__(config)
        self.backbone = build_backbone(config.backbone_config)
        in_channels = self.backbone.channels[-1]
        self.decode_head: nn.Module
        if config.decoder_type == "mask_transformer":
            self.decode_head = CtsSegmenterMaskTransformer(config, in_channels)
        else:
            self.decode_head = Linear(in_channels, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.backbone.set_input_embeddings(value)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SegmentationOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size.
            labels (`torch.LongTensor` of shape `(batch, height, width)`, *optional*):
                Class ids from 0 to `num_labels - 1`, and `config.semantic_loss_ignore_index` for ignored pixels.

        Returns:
            [`SegmentationOutput`]: `logits` of shape `(batch, num_labels, height, width)`, or of the size that small
            images are enlarged to (see [`enlarged`]); with `labels` also `loss` and `loss_dict`, whose only term is
            `decode.loss_ce`.

        Raises:
            ValueError: if `pixel_values` or `labels` do not fit the model or each other, or if hidden states or
                attentions are asked for where the image has to be cut into windows.

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
        if labels is None and pixel_values.ndim == 4:
            pixel_values = self.enlarged(pixel_values)
        return self.segment_by_protocol(pixel_values, labels, **kwargs)

    def enlarged(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """
        Images as the configured protocol shows them: where windows are cut in evaluation mode and an image is smaller
        than a window, it is enlarged until its shorter side is as long as the window's.
        """
        config = self.config
        if self.training or config.inference_mode != "slide" or not config.enlarge_small_images or is_exporting():
            return pixel_values
        height, width = pixel_values.shape[-2:]
        short, long, window = min(height, width), max(height, width), min(as_pair(config.window_size))
        if short >= window:
            return pixel_values
        # In this order, as in the original: the quotient first.
        long = int(long / short * window)
        size = (window, long) if height <= width else (long, window)
        return nn.functional.interpolate(pixel_values, size=size, mode="bilinear", align_corners=False)

    def segment(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> SegmentationOutput:
        """One pass over whole images; arguments and result as in [`forward`]."""
        config = self.config
        if labels is not None:
            check_labels(labels, pixel_values, config.num_labels, config.semantic_loss_ignore_index)
        patch_size = getattr(config.backbone_config, "patch_size", None)
        is_plain_vit = config.backbone_config.model_type == PlainVitConfig.model_type
        # The plain ViT pads images itself, after the policy network has seen them. The backbones of transformers leave
        # incomplete patches out.
        images = pixel_values if is_plain_vit else pad_to_patches(pixel_values, patch_size or 1)
        outputs = self.backbone(images, **kwargs)
        feature_map = outputs.feature_maps[-1]
        grid_size = feature_map.shape[-2:]
        if is_plain_vit and outputs.shared_tokens is not None:
            patch_logits = outputs.shared_tokens.restore(self.decode_head(outputs.tokens))
        else:
            tokens = feature_map.flatten(2).transpose(1, 2)
            patch_logits = self.decode_head(copy_tokens(tokens, 0, tokens.shape[1])).unflatten(1, grid_size)
        logits = self.enlarge(patch_logits.permute(0, 3, 1, 2), patch_size, pixel_values)

        loss, loss_dict = None, None
        if labels is not None:
            loss = self.compute_loss(logits, labels)
            loss_dict = {"decode.loss_ce": loss}
        return SegmentationOutput(
            loss=loss,
            logits=logits,
            loss_dict=loss_dict,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def enlarge(self, logits: torch.Tensor, patch_size: int | None, image: torch.Tensor) -> torch.Tensor:
        """Logits of the patches, `(batch, num_labels, rows, columns)`, at the height and width of `image`."""
        height, width = image.shape[-2:]
        size = (height, width)
        if self.config.crop_padding and patch_size is not None:
            size = (logits.shape[-2] * patch_size, logits.shape[-1] * patch_size)
        logits = nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        if is_exporting():
            # A slice would fix the program to sizes that need padding, or to those that do not.
            rows, columns = (torch.arange(side, device=logits.device) for side in (height, width))
            return logits.index_select(2, rows).index_select(3, columns)
        return logits[..., :height, :width]

    def compute_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The cross-entropy, 0 where all pixels are ignored."""
        ignore_index = self.config.semantic_loss_ignore_index
        loss = pixel_cross_entropy(logits, labels, ignore_index)
        if not self.config.average_valid_pixels:
            return loss
        return loss * labels.numel() / (labels != ignore_index).sum().clamp(min=1)


# The image-segmentation pipeline knows the models that it supports by name.
MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES[CtsSegmenterConfig.model_type] = (
    CtsSegmenterForSemanticSegmentation.__name__
)

__all__ = ["CtsSegmenterForSemanticSegmentation", "CtsSegmenterPreTrainedModel"]
