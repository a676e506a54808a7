# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SegViT: semantic segmentation with a plain ViT encoder and an attention-to-mask decoder.

Paper: "SegViT: Semantic Segmentation with Plain Vision Transformers", https://arxiv.org/abs/2210.05844. Original:
https://github.com/zbwxp/SegVit (commit 763137e). A learned query for each class attends to the tokens of the image;
what it is similar to, before the softmax of the attention, is the mask of its class. Where the original's code departs
from its paper, this file follows the code, because the published weights do.

In contrast to the original, inputs need not be square: tokens keep the grid of the image they come from.
"""

import itertools
from typing import NamedTuple

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BackboneOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_segvit import SegVitConfig
from .labels import divisor, unify_ignored
from .layers import as_pair, eager_attention_forward, resize
from .modeling_decoder import DecoderModel
from .modeling_semantic import Prediction
from .pipelines import known_to_pipelines
from .pixel_losses import NumItems


# Of the focal loss, https://arxiv.org/abs/1708.02002.
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


def to_tokens(feature_map: torch.Tensor) -> torch.Tensor:
    """`(batch, channels, h, w)` -> `(batch, h * w, channels)`."""
    return feature_map.flatten(2).transpose(1, 2).contiguous()


def to_feature_map(tokens: torch.Tensor, grid_size: tuple[int, int] | torch.Size) -> torch.Tensor:
    """`(batch, h * w, channels)` -> `(batch, channels, h, w)`."""
    return tokens.transpose(1, 2).unflatten(2, grid_size)


class SegVitAttention(nn.Module):
    """
    Multi-head attention of queries to tokens, which can give masks too: attention-to-mask.

    The mask logit of a query at a token is the scaled dot product of the two before the softmax, averaged over the
    heads. Averaging over heads is the same as one product of vectors of full width; so the attended values may come
    from a fused kernel, which keeps its scores to itself.
    """

    def __init__(self, config: SegVitConfig):
        super().__init__()
        hidden_size = config.decoder_hidden_size
        self.config = config
        self.num_heads = config.decoder_num_attention_heads
        self.head_dim = hidden_size // self.num_heads
        self.attention_dropout = config.decoder_dropout
        self.scaling = self.head_dim**-0.5
        self.is_causal = False

        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, return_masks: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(batch, q, hidden)`, `(batch, n, hidden)` -> `(batch, q, hidden)`, mask logits `(batch, q, n)` or None."""
        query, key, value = self.q_proj(queries), self.k_proj(tokens), self.v_proj(tokens)
        attention_interface = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, _ = attention_interface(
            self,
            *(states.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2) for states in (query, key, value)),
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
        )
        masks = torch.matmul(query * (self.scaling / self.num_heads), key.transpose(1, 2)) if return_masks else None
        return self.o_proj(attended.flatten(2)), masks


class SegVitMLP(nn.Module):
    """Two linear layers with ReLU and dropout between them."""

    def __init__(self, config: SegVitConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.decoder_hidden_size, 4 * config.decoder_hidden_size)
        self.dropout = nn.Dropout(config.decoder_dropout)
        self.fc2 = nn.Linear(4 * config.decoder_hidden_size, config.decoder_hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(nn.functional.relu(self.fc1(hidden_states))))


class SegVitDecoderLayer(GradientCheckpointingLayer):
    """A post-norm transformer decoder layer: queries attend to each other, then to tokens, perhaps giving masks."""

    def __init__(self, config: SegVitConfig):
        super().__init__()
        self.self_attention = SegVitAttention(config)
        self.self_attention_layernorm = nn.LayerNorm(config.decoder_hidden_size)
        self.cross_attention = SegVitAttention(config)
        self.cross_attention_layernorm = nn.LayerNorm(config.decoder_hidden_size)
        self.mlp = SegVitMLP(config)
        self.mlp_layernorm = nn.LayerNorm(config.decoder_hidden_size)
        self.dropout = nn.Dropout(config.decoder_dropout)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, return_masks: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        attended, _ = self.self_attention(queries, queries)
        queries = self.self_attention_layernorm(queries + self.dropout(attended))
        attended, masks = self.cross_attention(queries, tokens, return_masks)
        queries = self.cross_attention_layernorm(queries + self.dropout(attended))
        return self.mlp_layernorm(queries + self.dropout(self.mlp(queries))), masks


class SegVitDecoder(nn.Module):
    """
    A chain of decoder layers that read the same tokens.

    Returns what each layer gives: the queries `(batch, q, hidden)`, and from the last `num_masks` layers on their mask
    logits `(batch, q, n)`.
    """

    def __init__(self, config: SegVitConfig):
        super().__init__()
        self.layers = nn.ModuleList(SegVitDecoderLayer(config) for _ in range(config.decoder_num_layers))

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, num_masks: int = 0
    ) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
        outputs = []
        for index, layer in enumerate(self.layers):
            queries, masks = layer(queries, tokens, index >= len(self.layers) - num_masks)
            outputs.append((queries, masks))
        return outputs


class SegVitProjection(nn.Module):
    """A feature map to the decoder's width: a linear layer and a layer norm over the channels."""

    def __init__(self, config: SegVitConfig, in_channels: int):
        super().__init__()
        self.linear = nn.Linear(in_channels, config.decoder_hidden_size)
        self.layernorm = nn.LayerNorm(config.decoder_hidden_size)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        tokens = self.layernorm(self.linear(to_tokens(feature_map)))
        return to_feature_map(tokens, feature_map.shape[-2:])


def build_projections(config: SegVitConfig, in_channels: list[int]) -> nn.ModuleList:
    """A projection, or none, for each of the feature maps."""
    if config.decoder_use_projection:
        return nn.ModuleList(SegVitProjection(config, channels) for channels in in_channels)
    if set(in_channels) != {config.decoder_hidden_size}:
        raise ValueError(
            f"decoder_use_projection is False, but the feature maps have {in_channels} channels and "
            f"decoder_hidden_size is {config.decoder_hidden_size}: without projections they must be equal."
        )
    return nn.ModuleList(nn.Identity() for _ in in_channels)


class SegVitUpsampler(nn.Module):
    """
    Query-based up-sampling of SegViT Shrunk: a learned query for each position of a fixed grid reads the feature maps.

    Takes feature maps `(batch, channels, h, w)`, shallowest first, each with a decoder of its own; returns one,
    `(batch, decoder_hidden_size, *config.query_grid)`.
    """

    def __init__(self, config: SegVitConfig, in_channels: list[int]):
        super().__init__()
        self.grid_size = config.query_grid
        self.projections = build_projections(config, in_channels)
        self.decoders = nn.ModuleList(SegVitDecoder(config) for _ in in_channels)
        self.queries = nn.Parameter(torch.zeros(self.grid_size[0] * self.grid_size[1], config.decoder_hidden_size))

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        queries = self.queries.repeat(feature_maps[0].shape[0], 1, 1)
        for feature_map, projection, decoder in zip(feature_maps, self.projections, self.decoders, strict=True):
            queries, _ = decoder(queries, to_tokens(projection(feature_map)))[-1]
        return to_feature_map(queries, self.grid_size)


class SegVitPrediction(NamedTuple):
    """
    What the class queries answer after some decoder layer.

    Args:
        class_logits: `(batch, num_labels, num_labels + 1)`; of each query, the last one for "no object".
        masks: mask logits of each query, `(batch, num_labels, h, w)`.
    """

    class_logits: torch.Tensor
    masks: torch.Tensor


class SegVitHead(nn.Module):
    """
    The class queries and what they read, in any of the three forms of `config.decoder_type`.

    Takes feature maps `(batch, channels, h, w)`, shallowest first; returns predictions, the last one being the answer
    and the others, asked for by `return_all`, only trained.
    """

    def __init__(self, config: SegVitConfig, in_channels: list[int]):
        super().__init__()
        self.decoder_type = config.decoder_type
        self.num_layers = config.decoder_num_layers
        if config.decoder_type == "tpn_atm":
            self.upsampler = SegVitUpsampler(config, in_channels)
            self.projections = nn.ModuleList([nn.Identity()])
        else:
            self.projections = build_projections(config, in_channels[::-1])
        self.decoders = nn.ModuleList(SegVitDecoder(config) for _ in self.projections)
        self.class_queries = nn.Parameter(torch.zeros(config.num_labels, config.decoder_hidden_size))
        self.classifier = nn.Linear(config.decoder_hidden_size, config.num_labels + 1)

    def forward(self, feature_maps: tuple[torch.Tensor, ...], return_all: bool = False) -> list[SegVitPrediction]:
        if self.decoder_type == "tpn_atm":
            feature_maps = (self.upsampler(feature_maps),)
        # From here on the deepest comes first.
        levels = [
            projection(feature_map)
            for feature_map, projection in zip(feature_maps[::-1], self.projections, strict=True)
        ]
        if self.decoder_type == "single_atm":
            levels = self.sum_of(levels)

        queries = self.class_queries.repeat(levels[0].shape[0], 1, 1)
        # With one decoder for each level, only the last layer of each gives masks.
        num_masks = self.num_layers if return_all and self.decoder_type != "atm" else 1
        outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for level, decoder in zip(levels, self.decoders, strict=True):
            grid_size = level.shape[-2:]
            layer_outputs = decoder(queries, to_tokens(level), num_masks)
            for queries, masks in layer_outputs[-num_masks:]:
                masks = masks.unflatten(2, grid_size)
                if self.decoder_type == "atm" and outputs:
                    masks = masks + resize(outputs[-1][1], grid_size)
                outputs.append((queries, masks))
        if not return_all:
            outputs = outputs[-1:]
        return [SegVitPrediction(self.classifier(queries), masks) for queries, masks in outputs]

    def sum_of(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """The sum of all levels, at the size of the last, once for each decoder."""
        total = levels[0]
        for level in levels[1:]:
            total = resize(total, level.shape[-2:], mode="nearest") + level
        return [total] * len(levels)


class SegVitClassScores(nn.Module):
    """
    Scores of the classes at each pixel: the sum over queries of class probability times mask probability.

    Every query counts for every class, as in MaskFormer (https://arxiv.org/abs/2107.06278), not only for its own.
    Takes a prediction's tensors; returns `(batch, num_labels, h, w)`, scores that are neither logits nor sum to one.
    """

    def forward(self, class_logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        probabilities = class_logits.softmax(dim=-1)[..., :-1]
        return self.mix_channels(masks.sigmoid(), probabilities.transpose(1, 2))

    def mix_channels(self, maps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """`(batch, q, h, w)` and `(batch, c, q)` -> `(batch, c, h, w)`."""
        return torch.einsum("bcq,bqhw->bchw", weights, maps)


def focal_losses(masks: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Focal loss of each mask, averaged over its pixels: `(masks, h, w)` logits and booleans -> `(masks,)`."""
    logits_of_target = torch.where(targets, masks, -masks)
    weight = torch.where(targets, FOCAL_ALPHA, 1.0 - FOCAL_ALPHA)
    miss = torch.sigmoid(-logits_of_target)
    return -(weight * miss**FOCAL_GAMMA * nn.functional.logsigmoid(logits_of_target)).mean(dim=(1, 2))


def dice_losses(masks: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Dice loss of each mask, smoothed by 1: `(masks, h, w)` logits and booleans -> `(masks,)`."""
    probabilities = masks.sigmoid()
    overlap = (probabilities * targets).sum(dim=(1, 2))
    return 1.0 - (2.0 * overlap + 1.0) / (probabilities.sum(dim=(1, 2)) + targets.sum(dim=(1, 2)) + 1.0)


def classes_shown(labels: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Which classes each of the label maps `(batch, height, width)`, int64, shows: bool `(batch, num_labels)`."""
    of_a_class = (labels >= 0) & (labels < num_labels)
    shown = torch.zeros(labels.shape[0], num_labels + 1, dtype=torch.bool, device=labels.device)
    shown.scatter_(1, torch.where(of_a_class, labels, num_labels).flatten(1), True)
    return shown[:, :-1]


def count_queries_and_masks(shown: torch.Tensor, no_object_weight: float) -> torch.Tensor:
    """
    What the losses are means over: queries, those whose class the image does not show with their weight, and masks.

    `shown` is that of [`classes_shown`]; returns float32 `(2,)`.
    """
    num_masks = shown.sum(dtype=torch.float32)
    return torch.stack((num_masks + no_object_weight * (~shown).sum(), num_masks))


class SegVitTargets:
    """
    What the predictions for some label maps should be: query c stands for class c.

    Only classes that an image shows have a mask, about ten of the 150 in a crop of ADE20K. To know how many there are
    takes the one synchronisation with an accelerator in a training step; full-size masks of all classes would take
    fifteen times the memory and time. A compiled program, whose shapes may not depend on the data, holds them all.

    Args:
        labels: class ids, int64 `(batch, height, width)`; values outside the classes belong to no mask.
        num_labels: number of classes.
        no_object_weight: of the queries whose class the image does not show.
        num_items_in_batch: see [`SegVitForSemanticSegmentation.count_items`].
    """

    def __init__(
        self, labels: torch.Tensor, num_labels: int, no_object_weight: float, num_items_in_batch: NumItems = None
    ):
        present = classes_shown(labels, num_labels)
        classes = torch.arange(num_labels, device=labels.device)
        self.classes = torch.where(present, classes, num_labels)  # (batch, num_labels)
        # Of each mask its image, its query, whether it counts, and (masks, height, width) where it is.
        if torch.compiler.is_compiling():
            self.images = torch.arange(labels.shape[0], device=labels.device).repeat_interleave(num_labels)
            self.queries = classes.repeat(labels.shape[0])
        else:
            self.images, self.queries = present.nonzero(as_tuple=True)
        self.shown = present[self.images, self.queries]
        self.masks = labels[self.images] == self.queries[:, None, None]
        self.no_object_weight = no_object_weight
        counts = count_queries_and_masks(present, no_object_weight)
        num_queries, num_masks = counts if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        self.share_of_queries = counts[0] / num_queries
        self.num_masks = divisor(num_masks)

    def losses(self, prediction: SegVitPrediction) -> dict[str, torch.Tensor]:
        """
        The loss terms of a prediction, in float32 and not yet weighted against each other.

        Classes that an image does not show have no mask loss there; their queries should answer "no object". Ignored
        pixels belong to no mask.
        """
        class_weights = prediction.class_logits.new_ones(prediction.class_logits.shape[-1], dtype=torch.float32)
        class_weights[-1:].fill_(self.no_object_weight)  # an assignment would copy it to the device, and wait
        masks = prediction.masks[self.images, self.queries].float()
        masks = resize(masks[:, None], self.masks.shape[-2:])[:, 0]
        return {
            "ce": self.share_of_queries
            * nn.functional.cross_entropy(
                prediction.class_logits.float().transpose(1, 2), self.classes, weight=class_weights
            ),
            "mask": (focal_losses(masks, self.masks) * self.shown).sum() / self.num_masks,
            "dice": (dice_losses(masks, self.masks) * self.shown).sum() / self.num_masks,
        }


@known_to_pipelines
class SegVitForSemanticSegmentation(DecoderModel):
    """
    SegViT: a backbone and an attention-to-mask decoder. Its logits are scores from 0 on, see [`SegVitClassScores`].

    Example:

    ```python
    >>> import torch
    >>> from vitseg import PlainVitConfig, SegVitConfig, SegVitForSemanticSegmentation

    >>> backbone_config = PlainVitConfig(
    ...     hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=64
    ... )
    >>> config = SegVitConfig(backbone_config=backbone_config, decoder_hidden_size=32, num_labels=5)
    >>> model = SegVitForSemanticSegmentation(config).eval()
    >>> with torch.no_grad():
    ...     logits = model(torch.randn(1, 3, 80, 112)).logits
    >>> logits.shape
    torch.Size([1, 5, 80, 112])

    ```
    """

    config: SegVitConfig
    base_model_prefix = "segvit"
    _no_split_modules = [*DecoderModel._no_split_modules, "SegVitDecoderLayer"]

    def __init__(self, config: SegVitConfig):
        super().__init__(config)
        self.decode_head = SegVitHead(config, self.backbone.channels)
        self.class_scores = SegVitClassScores()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, SegVitHead):
            init.normal_(module.class_queries)
            for layer in itertools.chain(*(decoder.layers for decoder in module.decoders)):
                self._init_as_torch_attention(layer.self_attention)
        elif isinstance(module, SegVitUpsampler):
            # As position embeddings, and with attended values of full strength. The original's queries are standard
            # normal and its output projections have a standard deviation of 0.02: a hundred parts of query to one of
            # image, from which small models never learn where anything is.
            init.trunc_normal_(module.queries, std=0.02)
            for layer in itertools.chain(*(decoder.layers for decoder in module.decoders)):
                for attention in (layer.self_attention, layer.cross_attention):
                    self._init_as_torch_attention(attention)
                    init.xavier_uniform_(attention.o_proj.weight)

    def _init_as_torch_attention(self, attention: SegVitAttention) -> None:
        # Xavier's bound for the one matrix that PyTorch's own attention holds query, key and value in.
        bound = (6 / (4 * attention.q_proj.in_features)) ** 0.5
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            init.uniform_(projection.weight, -bound, bound)

    def predict(self, features: BackboneOutput, for_losses: bool = False) -> Prediction:
        """As in the base class; the details are the decode head's predictions, the answer last."""
        *auxiliary, answer = self.decode_head(features.feature_maps, return_all=for_losses)
        # As in the original, masks of whatever grid, padding included, are enlarged to this one size, where scores
        # are formed: enlarging masks to the size of the image instead gives other scores.
        # They are enlarged and mixed much faster with the queries last in memory.
        masks = answer.masks.contiguous(memory_format=torch.channels_last)
        answer = SegVitPrediction(answer.class_logits, resize(masks, as_pair(self.config.mask_size)))
        return Prediction(self.class_scores(*answer), [*auxiliary, answer])

    @property
    def accepts_loss_kwargs(self) -> bool:
        """What transformers' Trainer counts are pixels."""
        return False

    def count_items(self, labels: torch.Tensor) -> torch.Tensor:
        """As in the base class: queries, weighted, and masks, `(2,)`; see [`count_queries_and_masks`]."""
        shown = classes_shown(self.without_ignored(labels), self.config.num_labels)
        return count_queries_and_masks(shown, self.config.no_object_weight)

    def without_ignored(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels with -1, which is no class, where they are ignored; the ignored value may be that of a class."""
        ignore_index = self.config.ignore_index
        labels = unify_ignored(labels, self.config.num_labels, ignore_index)
        return labels.masked_fill(labels == ignore_index, -1)

    def losses(
        self, prediction: Prediction, labels: torch.Tensor, num_items_in_batch: NumItems = None
    ) -> dict[str, torch.Tensor]:
        """
        `decode.loss_ce`, `decode.loss_mask` and `decode.loss_dice` of the answer, and the same with `_0`, `_1`, ... of
        the predictions before it.

        Raises:
            ValueError: if `num_items_in_batch` are not those of [`count_items`].
        """
        config = self.config
        if num_items_in_batch is not None and tuple(torch.as_tensor(num_items_in_batch).shape) != (2,):
            raise ValueError(
                f"num_items_in_batch is {num_items_in_batch}, but the losses are means over queries and over masks: "
                "give the sum of count_items(labels) of the batches of a step."
            )
        *auxiliary, answer = prediction.details
        labels = self.without_ignored(labels)
        targets = SegVitTargets(labels, config.num_labels, config.no_object_weight, num_items_in_batch)
        weights = {"ce": config.class_weight, "mask": config.mask_weight, "dice": config.dice_weight}
        terms = targets.losses(answer)
        losses = {f"decode.loss_{name}": weights[name] * term for name, term in terms.items()}
        for index, auxiliary_prediction in enumerate(auxiliary[: config.num_auxiliary_losses]):
            for name, term in targets.losses(auxiliary_prediction).items():
                losses[f"decode.loss_{name}_{index}"] = config.auxiliary_loss_weight * weights[name] * term
        return losses


__all__ = ["SegVitForSemanticSegmentation"]
