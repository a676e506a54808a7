# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
RetinaNet-HLG: object detection on the encoder of HLG.

Paper: "Vision Transformers: From Semantic Segmentation to Dense Prediction", https://arxiv.org/abs/2207.09339.
Original: https://github.com/fudan-zvg/SETR (commit 1361561, MIT). Feature pyramid, head, anchors, box coding,
assignment and losses are those of RetinaNet in mmdetection; see `modeling_hlg` for the encoder.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torchvision.ops import box_convert, box_iou, sigmoid_focal_loss
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_hlg import IMAGE_MULTIPLE, HlgConfig
from .labels import as_class_ids
from .layers import check_images
from .modeling_hlg import HlgModel, HlgPreTrainedModel
from .pipelines import known_to_pipelines
from .position_groups import divide


# Strides of the levels of the feature pyramid in pixels, from P3 to P7.
PYRAMID_STRIDES = (8, 16, 32, 64, 128)
# Anchors of at least this IoU with an object should find it; those below the lower one should find nothing.
POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.4
# Of the focal loss, https://arxiv.org/abs/1708.02002, and the score that the head starts with.
FOCAL_ALPHA, FOCAL_GAMMA, PRIOR_SCORE = 0.25, 2.0, 0.01
# Boxes are at most this many times as large as their anchors.
MAX_LOG_SCALE = math.log(1000 / 16)


@dataclass
class HlgObjectDetectionOutput(ModelOutput):
    r"""
    Output of [`HlgForObjectDetection`]: what each anchor sees. `post_process_object_detection` of the image processor
    makes detections of it.

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*, returned with `labels`):
            The training loss, the sum of the terms in `loss_dict`.
        loss_dict (`dict[str, torch.Tensor]`, *optional*, returned with `labels`):
            `loss_cls_0` to `loss_cls_4` and `loss_bbox_0` to `loss_bbox_4`, of the levels of the feature pyramid.
        logits (`torch.Tensor` of shape `(batch, anchors, num_labels)`):
            Class scores before the sigmoid. Anchors run over the levels, finest first, in each over its rows and
            columns, and at each position over ratios and sizes.
        pred_boxes (`torch.Tensor` of shape `(batch, anchors, 4)`):
            Boxes as centre x, centre y, width and height, as shares of the width and height of the image without
            padding, clipped to it.
        levels (`torch.Tensor` of shape `(batch, anchors)`):
            Level of the feature pyramid that each anchor belongs to, uint8, the same for all images.
        hidden_states, attentions:
            The encoder's, on request.
    """

    loss: torch.Tensor | None = None
    loss_dict: dict[str, torch.Tensor] | None = None
    logits: torch.Tensor | None = None
    pred_boxes: torch.Tensor | None = None
    levels: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class HlgFeaturePyramid(nn.Module):
    """
    Feature pyramid of RetinaNet (https://arxiv.org/abs/1708.02002): the last three stages, each with what the coarser
    ones add to it, and two levels more, from the last stage itself. There are no norms and activations.

    Takes the feature maps of the four stages; returns five of `pyramid_hidden_size` channels, with the strides
    `PYRAMID_STRIDES`.
    """

    def __init__(self, config: HlgConfig):
        super().__init__()
        in_channels, hidden_size = config.hidden_sizes[1:], config.pyramid_hidden_size
        self.lateral_convs = nn.ModuleList(nn.Conv2d(channels, hidden_size, kernel_size=1) for channels in in_channels)
        self.output_convs = nn.ModuleList(
            [
                *(nn.Conv2d(hidden_size, hidden_size, kernel_size=3, padding=1) for _ in in_channels),
                nn.Conv2d(in_channels[-1], hidden_size, kernel_size=3, stride=2, padding=1),
                nn.Conv2d(hidden_size, hidden_size, kernel_size=3, stride=2, padding=1),
            ]
        )

    def forward(self, feature_maps: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        used = feature_maps[1:]
        levels = [conv(feature_map) for conv, feature_map in zip(self.lateral_convs, used, strict=True)]
        for index in reversed(range(len(levels) - 1)):
            size = levels[index].shape[-2:]
            levels[index] = levels[index] + nn.functional.interpolate(levels[index + 1], size=size, mode="nearest")
        *output_convs, sixth, seventh = self.output_convs
        levels = [conv(level) for conv, level in zip(output_convs, levels, strict=True)]
        levels.append(sixth(used[-1]))
        return [*levels, seventh(levels[-1])]


class HlgDetectionHead(nn.Module):
    """
    Head of RetinaNet, the same for all levels: a tower of convolutions for classes and one for boxes.

    Takes a level `(batch, pyramid_hidden_size, h, w)`; returns class logits `(batch, h * w * anchors, num_labels)` and
    box deltas `(batch, h * w * anchors, 4)`.
    """

    def __init__(self, config: HlgConfig):
        super().__init__()
        hidden_size, num_layers = config.detector_hidden_size, config.detector_num_layers
        in_channels = [config.pyramid_hidden_size, *[hidden_size] * (num_layers - 1)]
        self.num_labels = config.num_labels
        self.class_convs = nn.ModuleList(nn.Conv2d(channels, hidden_size, 3, padding=1) for channels in in_channels)
        self.box_convs = nn.ModuleList(nn.Conv2d(channels, hidden_size, 3, padding=1) for channels in in_channels)
        self.classifier = nn.Conv2d(hidden_size, config.num_anchors * config.num_labels, 3, padding=1)
        self.box_regressor = nn.Conv2d(hidden_size, config.num_anchors * 4, 3, padding=1)

    def forward(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        class_states, box_states = level, level
        for conv in self.class_convs:
            class_states = nn.functional.relu(conv(class_states))
        for conv in self.box_convs:
            box_states = nn.functional.relu(conv(box_states))
        logits, deltas = self.classifier(class_states), self.box_regressor(box_states)
        return self.by_anchor(logits, self.num_labels), self.by_anchor(deltas, 4)

    def by_anchor(self, maps: torch.Tensor, size: int) -> torch.Tensor:
        """`(batch, anchors of a position * size, h, w)` -> `(batch, h * w * anchors of a position, size)`."""
        return maps.flatten(2).transpose(1, 2).unflatten(2, (-1, size)).flatten(1, 2)


def level_anchors(config: HlgConfig, stride: int, grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """
    Anchors of a level: `(rows * columns * num_anchors, 4)` boxes x1, y1, x2, y2 in pixels, float32.

    Their centres are the corners of the cells at the top left, without the usual half cell.
    """
    octaves = torch.arange(config.anchor_scales_per_octave, device=device) / config.anchor_scales_per_octave
    sizes = stride * config.anchor_scale * 2.0**octaves
    # Filled on the device: to copy them there would make every training step wait for it.
    ratios = [torch.full((1,), ratio, dtype=torch.float32, device=device) for ratio in config.anchor_ratios]
    stretch = torch.stack(ratios).sqrt()
    half = torch.stack((sizes / stretch, sizes * stretch), dim=-1).flatten(0, 1) / 2  # (num_anchors, 2)
    row, column = divide(torch.arange(grid[0] * grid[1], device=device), grid[1])
    centres = (torch.stack((column, row), dim=-1) * stride)[:, None]  # (cells, 1, 2)
    return torch.cat((centres - half, centres + half), dim=-1).flatten(0, 1)


def encode_boxes(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """
    Boxes as deltas of anchors, both `(..., 4)` as x1, y1, x2, y2: shifts in sizes of the anchor, and logarithms of
    scales.
    """
    boxes, anchors = (box_convert(boxes, "xyxy", "cxcywh") for boxes in (boxes, anchors))
    shifts = (boxes[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    return torch.cat((shifts, (boxes[..., 2:] / anchors[..., 2:]).log()), dim=-1)


def decode_boxes(deltas: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """What [`encode_boxes`] made deltas of; scales are bounded."""
    centres, sizes = box_convert(anchors, "xyxy", "cxcywh").split(2, dim=-1)
    scales = deltas[..., 2:].clamp(-MAX_LOG_SCALE, MAX_LOG_SCALE).exp()
    return box_convert(torch.cat((centres + deltas[..., :2] * sizes, sizes * scales), dim=-1), "cxcywh", "xyxy")


class HlgDetectionTargets(NamedTuple):
    """
    What each anchor should answer.

    Args:
        labels: int64 `(batch, anchors)`, class ids, and the number of classes where nothing should be found.
        counts: bool `(batch, anchors)`, false where any class will do.
        positive: bool `(batch, anchors)`, where an object should be found.
        deltas: `(batch, anchors, 4)`, from the anchor to its object; 0 where there is none.
    """

    labels: torch.Tensor
    counts: torch.Tensor
    positive: torch.Tensor
    deltas: torch.Tensor

    @property
    def num_positive(self) -> torch.Tensor:
        """What losses are divided by: the positive anchors of the batch, counted as one at least in each image."""
        return self.positive.sum(dim=1).clamp(min=1).sum()


def match_anchors(
    anchors: torch.Tensor, inside: torch.Tensor, boxes: torch.Tensor, classes: torch.Tensor, num_labels: int
) -> HlgDetectionTargets:
    """
    Objects for anchors, by their overlap.

    An anchor whose best IoU with an object is at least 0.5 should find that object; one whose best is below 0.4 should
    find nothing. Whatever their IoU, the anchors that overlap an object the most, which may be many, should find it;
    of several such objects the last.

    Args:
        anchors: `(anchors, 4)`, x1, y1, x2, y2.
        inside: bool `(batch, anchors)`, which anchors an image has.
        boxes: `(batch, objects, 4)`, x1, y1, x2, y2; with at least one object, if only filling.
        classes: int64 `(batch, objects)`; -1 where there is no object.
        num_labels: number of classes.
    """
    exists = (classes >= 0)[:, :, None]
    overlaps = box_iou(boxes, anchors).masked_fill(~(exists & inside[:, None]), -1.0)  # (batch, objects, anchors)
    best_overlap, best_object = overlaps.max(dim=1)
    is_best_of_object = (overlaps == overlaps.amax(dim=2, keepdim=True)) & exists & inside[:, None]
    numbers = torch.arange(boxes.shape[1], dtype=torch.int32, device=boxes.device)[:, None]
    claimed_by = torch.where(is_best_of_object, numbers, -1).amax(dim=1)

    positive = (best_overlap >= POSITIVE_IOU) | (claimed_by >= 0)
    matched = torch.where(claimed_by >= 0, claimed_by, best_object)
    labels = torch.where(positive, classes.gather(1, matched), num_labels)
    counts = (positive | (best_overlap < NEGATIVE_IOU)) & inside
    matched_boxes = boxes.gather(1, matched[:, :, None].expand(-1, -1, 4))
    # The anchors themselves where there is no object: their deltas are 0, and there is no logarithm of nothing.
    deltas = encode_boxes(torch.where(positive[:, :, None], matched_boxes, anchors), anchors)
    return HlgDetectionTargets(labels, counts, positive, deltas)


@known_to_pipelines
class HlgForObjectDetection(HlgPreTrainedModel):
    """RetinaNet-HLG: the HLG encoder, a feature pyramid and the head of RetinaNet."""

    _auto_class = "AutoModelForObjectDetection"
    # transformers' Trainer cannot count what the losses are divided by.
    accepts_loss_kwargs = False

    def __init__(self, config: HlgConfig):
        super().__init__(config)
        self.backbone = HlgModel(config)
        self.neck = HlgFeaturePyramid(config)
        self.bbox_head = HlgDetectionHead(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # By the convolutions themselves: of modules without weights of their own, transformers does not ask.
        if not isinstance(module, nn.Conv2d):
            return
        if module in self.neck.modules():
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif module in self.bbox_head.modules():
            init.normal_(module.weight, std=0.01)
            scores = module is self.bbox_head.classifier
            init.constant_(module.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE) if scores else 0.0)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        pixel_mask: torch.Tensor | None = None,
        labels: list[dict[str, torch.Tensor]] | None = None,
        num_items_in_batch: torch.Tensor | int | float | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> HlgObjectDetectionOutput:
        r"""
        Args:
            pixel_values (`torch.Tensor` of shape `(batch, channels, height, width)`):
                Normalised images of any size, padded at the bottom and right where they differ in size.
            pixel_mask (`torch.Tensor` of shape `(batch, height, width)`, *optional*):
                1 where the image is, 0 where it is padded. By default no image is padded.
            labels (`list[dict[str, torch.Tensor]]`, *optional*):
                The objects of each image: `class_labels`, integers `(objects,)`, and `boxes` `(objects, 4)`, centre x,
                centre y, width and height as shares of the width and height of the image without padding.
            num_items_in_batch (`torch.Tensor`, *optional*):
                What the losses are divided by, if this is one of several batches of a step: the sum of their
                [`count_items`]. By default it is what this batch holds.

        Returns:
            [`HlgObjectDetectionOutput`].

        Raises:
            ValueError: if `pixel_values`, `pixel_mask` or `labels` do not fit the model or each other.
        """
        check_images(pixel_values, self.config.num_channels)
        if pixel_mask is not None and pixel_mask.shape != (pixel_values.shape[0], *pixel_values.shape[-2:]):
            raise ValueError(
                f"pixel_mask has shape {tuple(pixel_mask.shape)}; expected that of pixel_values without its channels, "
                f"{(pixel_values.shape[0], *pixel_values.shape[-2:])}."
            )
        outputs = self.backbone(pixel_values, **kwargs)
        pyramid = self.neck(outputs.feature_maps)
        level_logits, level_deltas = zip(*(self.bbox_head(level) for level in pyramid), strict=True)
        logits, deltas = torch.cat(level_logits, dim=1), torch.cat(level_deltas, dim=1)
        grids = [(level.shape[-2], level.shape[-1]) for level in pyramid]
        anchors = self.anchors(grids, logits.device)
        levels = torch.cat(
            [
                torch.full(boxes.shape[:1], index, dtype=torch.uint8, device=boxes.device)
                for index, boxes in enumerate(anchors)
            ]
        )
        sizes = image_sizes(pixel_values, pixel_mask)

        loss, loss_dict = None, None
        if labels is not None:
            self.check_objects(labels, len(pixel_values))
            targets = self.find_targets(grids, anchors, sizes, labels)
            num_items = targets.num_positive if num_items_in_batch is None else num_items_in_batch
            loss_dict = self.compute_losses(logits, deltas, targets, [len(boxes) for boxes in anchors], num_items)
            loss = sum(loss_dict.values())
        boxes = decode_boxes(deltas.float(), torch.cat(anchors))
        limits = sizes.repeat(1, 2)[:, None]  # (batch, 1, 4), width, height, width, height
        boxes = torch.minimum(boxes.clamp(min=0), limits) / limits
        return HlgObjectDetectionOutput(
            loss=loss,
            loss_dict=loss_dict,
            logits=logits,
            pred_boxes=box_convert(boxes, "xyxy", "cxcywh"),
            levels=levels.repeat(logits.shape[0], 1),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def count_items(
        self,
        labels: list[dict[str, torch.Tensor]],
        pixel_values: torch.Tensor,
        pixel_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        What the losses of a batch are divided by, the anchors that should find an object; arguments as in [`forward`].
        See `count_items` of a segmentation model.
        """
        height, width = (-(-side // IMAGE_MULTIPLE) * IMAGE_MULTIPLE for side in pixel_values.shape[-2:])
        grids = [(-(-height // stride), -(-width // stride)) for stride in PYRAMID_STRIDES]
        sizes = image_sizes(pixel_values, pixel_mask)
        return self.find_targets(grids, self.anchors(grids, sizes.device), sizes, labels).num_positive

    def anchors(self, grids: list[tuple[int, int]], device: torch.device) -> list[torch.Tensor]:
        """The anchors of each level of the pyramid, see [`level_anchors`]; `grids` are their rows and columns."""
        return [
            level_anchors(self.config, stride, grid, device)
            for stride, grid in zip(PYRAMID_STRIDES, grids, strict=True)
        ]

    def check_objects(self, labels: list[dict[str, torch.Tensor]], batch_size: int) -> None:
        """
        Refuse objects that do not fit the images. Values are only looked at on the CPU: on an accelerator that would
        stall every step.

        Raises:
            ValueError: naming what is wrong and what was expected.
        """
        if len(labels) != batch_size:
            raise ValueError(f"labels hold the objects of {len(labels)} images; expected those of {batch_size}.")
        for index, objects in enumerate(labels):
            boxes, classes = objects["boxes"], objects["class_labels"]
            if boxes.shape != (len(classes), 4):
                raise ValueError(
                    f"labels[{index}] has boxes of shape {tuple(boxes.shape)} for {len(classes)} class_labels; "
                    f"expected {(len(classes), 4)}."
                )
            if classes.device.type != "cpu" or torch.compiler.is_compiling():
                continue
            classes = as_class_ids(classes)
            outside = classes[(classes < 0) | (classes >= self.config.num_labels)]
            if outside.numel():
                raise ValueError(
                    f"labels[{index}] holds the class {outside[0].item()}, but the model has "
                    f"{self.config.num_labels} classes (0 to {self.config.num_labels - 1}). Check id2label."
                )

    def find_targets(
        self,
        grids: list[tuple[int, int]],
        anchors: list[torch.Tensor],
        sizes: torch.Tensor,
        labels: list[dict[str, torch.Tensor]],
    ) -> HlgDetectionTargets:
        """What each anchor of each image should answer; `grids` as in [`anchors`], `labels` as in [`forward`]."""
        device = sizes.device
        # At least one place, so that there is something to compare anchors with.
        count = max(1, *(len(objects["class_labels"]) for objects in labels))
        boxes = torch.stack([pad_rows(objects["boxes"].to(device).float(), count, 0.0) for objects in labels])
        ids = [as_class_ids(objects["class_labels"].to(device)) for objects in labels]
        classes = torch.stack([pad_rows(rows, count, -1) for rows in ids])
        boxes = box_convert(boxes * sizes.repeat(1, 2)[:, None], "cxcywh", "xyxy")
        inside = torch.cat(
            [self.inside_image(grid, stride, sizes) for grid, stride in zip(grids, PYRAMID_STRIDES, strict=True)],
            dim=1,
        )
        return match_anchors(torch.cat(anchors), inside, boxes, classes, self.config.num_labels)

    def inside_image(self, grid: tuple[int, int], stride: int, sizes: torch.Tensor) -> torch.Tensor:
        """Whether the cell of an anchor is part of its image, padded to a multiple of 32: `(batch, anchors)`."""
        padded = (sizes / IMAGE_MULTIPLE).ceil() * IMAGE_MULTIPLE
        columns, rows = (padded / stride).ceil()[:, :, None].unbind(1)  # (batch, 1) each
        row, column = (torch.arange(side, device=sizes.device) for side in grid)
        inside = (row < rows)[:, :, None] & (column < columns)[:, None]
        return inside.flatten(1).repeat_interleave(self.config.num_anchors, dim=1)

    def compute_losses(
        self,
        logits: torch.Tensor,
        deltas: torch.Tensor,
        targets: HlgDetectionTargets,
        lengths: list[int],
        num_items: torch.Tensor | int | float,
    ) -> dict[str, torch.Tensor]:
        """Focal loss of the classes and L1 of the deltas of each level, all divided by the same number."""
        divisor = num_items + torch.finfo(torch.float32).eps
        one_hot = nn.functional.one_hot(targets.labels, self.config.num_labels + 1)[..., :-1].float()
        focal = sigmoid_focal_loss(logits.float(), one_hot, alpha=FOCAL_ALPHA, gamma=FOCAL_GAMMA)
        class_losses = (focal * targets.counts[:, :, None]).split(lengths, dim=1)
        distances = (deltas.float() - targets.deltas).abs() * targets.positive[:, :, None]
        box_losses = distances.split(lengths, dim=1)
        return {
            **{f"loss_cls_{index}": loss.sum() / divisor for index, loss in enumerate(class_losses)},
            **{f"loss_bbox_{index}": loss.sum() / divisor for index, loss in enumerate(box_losses)},
        }


def image_sizes(pixel_values: torch.Tensor, pixel_mask: torch.Tensor | None) -> torch.Tensor:
    """Width and height of each image without its padding, float32 `(batch, 2)`."""
    if pixel_mask is None:
        height, width = pixel_values.shape[-2:]
        # From a tensor, so that an exported program takes images of other sizes.
        ones = pixel_values.new_ones((pixel_values.shape[0], 1), dtype=torch.float32)
        return torch.cat((ones * width, ones * height), dim=1)
    mask = pixel_mask.float()
    return torch.stack((mask[:, 0].sum(dim=1), mask[:, :, 0].sum(dim=1)), dim=1)


def pad_rows(rows: torch.Tensor, count: int, value: float) -> torch.Tensor:
    """A tensor of `count` rows that begins with the given ones."""
    return torch.cat((rows, rows.new_full((count - len(rows), *rows.shape[1:]), value)))


__all__ = ["HlgForObjectDetection"]
