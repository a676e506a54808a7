# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a recipe holds: model, image processor, training and evaluation; and of a published result, its figures too.

Recipes are plain data: `json.dumps(dataclasses.asdict(recipe))` works. To change one, `dataclasses.replace` it. Wrong
values are refused when a record is made, unknown keyword arguments of a model or an image processor when it is built.
"""

import copy
import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..methods import METHODS, methods_for
from .augmentation import build_augmentation
from .labels import CLASS_LISTS, LABEL_SETS, load_id2label
from .lookup import unknown_name


if TYPE_CHECKING:
    from transformers.configuration_utils import PreTrainedConfig

    from ..models.image_processing_semantic import SemanticImageProcessor

OPTIMIZERS = ("sgd", "adamw")
WARMUP_RULES = ("mmcv", "segmenter")
INFERENCE_MODES = ("whole", "slide")
WEIGHTS_STATUS = ("published", "link empty", "none")
PARAMETER_MULTIPLIERS = ("lr_mult", "decay_mult")


@dataclass(frozen=True, kw_only=True)
class PretrainedWeights:
    """
    The weights that training starts from.

    Args:
        timm_model: timm's name, with tag, of these weights, or of the nearest that timm offers (see `note`); `None` if
            timm has nothing like them, so that training has to be given the file.
        url: the very file that the original used.
        note: what else there is to know.
        recipe: of weights that timm does not have, the recipe of the published classifier that they belong to.
        model: folder, or repository on the Hub, of a model of transformers whose encoder is the backbone.
    """

    timm_model: str | None = None
    url: str = ""
    note: str = ""
    recipe: str | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """
    Low-rank adapters of an encoder (https://arxiv.org/abs/2106.09685), the rest of which is frozen.

    Args:
        rank: of the two matrices whose product is added to a layer's weight.
        targets: the last names of the layers that get them, such as `"q_proj"`; all linear ones by default.
        alpha: the product is multiplied by `alpha / rank`; `None` for twice the rank.
        dropout: on what an adapter reads.
    """

    rank: int
    targets: tuple[str, ...] = ()
    alpha: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"The rank of the adapters is {self.rank}; expected at least 1.")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(f"The alpha of the adapters is {self.alpha}; expected more than 0: they would not learn.")
        _check_share("dropout", self.dropout)


@dataclass(frozen=True, kw_only=True)
class OhemRecipe:
    """
    Online hard example mining (https://arxiv.org/abs/1604.03540): which pixels' losses count, as in mmsegmentation.

    Args:
        threshold: pixels whose own class has a probability below it.
        min_kept: at least so many of each image, those of the lowest probability, where fewer are below. In
            mmsegmentation it is a number of pixels for each image too, but they are sought in the whole batch, so that
            a step would depend on how it is divided into batches.
    """

    threshold: float = 0.7
    min_kept: int = 0

    def __post_init__(self) -> None:
        _check_share("threshold", self.threshold)
        if self.min_kept < 0:
            raise ValueError(f"min_kept is {self.min_kept}; expected a number of pixels, 0 or more.")


@dataclass(frozen=True, kw_only=True)
class OptimizationRecipe:
    """
    What the training of all tasks has in common.

    Args:
        optimizer: `"sgd"` or `"adamw"`, with PyTorch's defaults for what is not given here.
        learning_rate: of parameters that no rule matches, before the schedule.
        momentum: of SGD.
        nesterov: whether SGD's momentum is Nesterov's.
        weight_decay: of parameters that no rule matches.
        parameter_rules: text -> `{"lr_mult": ..., "decay_mult": ...}` (1 when not given) for the parameters whose full
            name contains the text; of several texts the longest counts. With `lr_mult` 0 they are frozen.
        warmup_iterations: length of the linear warm-up, 0 for none.
        warmup_ratio: factor on the learning rate at iteration 0 of the warm-up.
        iterations: number of optimizer steps.
        batch_size: images per optimizer step, over all devices.
        max_gradient_norm: gradients of all parameters together are scaled down to this norm; `None` leaves them.
        pretrained: the backbone's weights at the start, or `None`.
        freeze: names of modules that do not learn, such as `"backbone"`.
        layer_decay: the learning rate of each block of the backbone in parts of that of the next; the last block has
            the rate that is its own, the embeddings the least. `None` for the same rate in all.
    """

    optimizer: str
    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float
    parameter_rules: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    warmup_iterations: int = 0
    warmup_ratio: float = 1.0
    iterations: int
    batch_size: int
    max_gradient_norm: float | None = None
    pretrained: PretrainedWeights | None = None
    freeze: tuple[str, ...] = ()
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}; expected more than 0 and at most 1.")
        _check_choice("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("learning_rate", "iterations", "batch_size"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a positive number.")
        if self.warmup_iterations < 0:
            raise ValueError(f"warmup_iterations is {self.warmup_iterations}; expected 0 or more.")
        for multipliers in self.parameter_rules.values():
            _check_keywords("parameter rule multiplier", multipliers, PARAMETER_MULTIPLIERS)
            for name, multiplier in multipliers.items():
                if not multiplier >= 0:
                    raise ValueError(f"{name} is {multiplier} in a parameter rule; expected 0 or more.")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe(OptimizationRecipe):
    """
    How a segmentation model was trained.

    Args:
        power: of the polynomial decay, by iteration.
        min_learning_rate: floor of the decay, the same for all parameters.
        crop_size: height and width of the training crops in pixels.
        scale: long and short side that images are resized within, keeping their ratio, before `ratio_range`.
        ratio_range: range of the random factor on `scale`.
        max_category_share: a crop in which one class has this share of the labelled pixels or more is drawn again.
        flip_probability: of the horizontal flip.
        photometric_distortion: whether brightness, contrast, saturation and hue are varied.
        augmentation: transforms of torchvision with their arguments, such as `{"name": "RandomRotation", "degrees":
            10}`, see `recipes.augmentation`. They take the place of `scale`, `ratio_range`, `flip_probability` and
            `photometric_distortion`, before the random crop; `None` for those, as published.
        rare_class_sampling: images that show a class which a smaller share of the images than this shows come several
            times in an epoch, see `data.repetition.repeat_factors`; `None` for once.
        warmup_rule: `"mmcv"` (the rate of the schedule times a growing factor) or `"segmenter"` (up to the rate that
            the schedule has when the warm-up ends; iteration 0 is made at the full rate), see `poly_schedule`.
        teacher: SCTNet's teacher, a model that knows the same classes: a folder or a repository on the Hub. `None` (or
            `"none"`) for none.
        lora: low-rank adapters in the encoder, or `None`.
        class_weights: what the cross-entropy of the pixels of each class is multiplied by: a number for each class,
            or `"balanced"` for those with which all classes count the same, see `training.losses`.
        label_smoothing: share of each pixel's target that is spread over all classes.
        ohem: pixels whose cross-entropy alone counts; `None` for all.
        dice: weight of a Dice loss beside the method's own loss, 0 for none.
    """

    power: float = 0.9
    min_learning_rate: float
    crop_size: tuple[int, int]
    scale: tuple[int, int]
    ratio_range: tuple[float, float] = (0.5, 2.0)
    max_category_share: float = 0.75
    flip_probability: float = 0.5
    photometric_distortion: bool = True
    augmentation: tuple[Mapping[str, Any], ...] | None = None
    rare_class_sampling: float | None = None
    warmup_rule: str = "mmcv"
    teacher: str | None = None
    lora: LoraRecipe | None = None
    class_weights: tuple[float, ...] | str | None = None
    label_smoothing: float = 0.0
    ohem: OhemRecipe | None = None
    dice: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("warm-up rule", self.warmup_rule, WARMUP_RULES)
        for name in ("crop_size", "scale", "ratio_range"):
            _check_pair(name, getattr(self, name))
        for name in ("max_category_share", "flip_probability"):
            _check_share(name, getattr(self, name))
        build_augmentation(self.augmentation or (), fill={})
        if self.rare_class_sampling is not None:
            _check_share("rare_class_sampling", self.rare_class_sampling)
        _check_share("label_smoothing", self.label_smoothing)
        _check_class_weights(self.class_weights)
        if not 0 <= self.dice < math.inf:
            raise ValueError(f"dice is {self.dice}; expected the weight of a loss, 0 or more.")

    @property
    def changed_losses(self) -> list[str]:
        """The fields that make the loss another than the method's own."""
        return [name for name in ("class_weights", "label_smoothing", "ohem", "dice") if getattr(self, name)]


@dataclass(frozen=True, kw_only=True)
class ClassificationTraining(OptimizationRecipe):
    """
    How a classifier was trained, with timm's augmentation.

    Args:
        min_learning_rate: end of the cosine that the learning rate follows by iteration, after the warm-up.
        decay_vectors: whether weight decay applies to biases and other parameters of one dimension.
        crop_size: height and width of the training crops in pixels.
        auto_augment: timm's description of the random changes, such as `"rand-m9-mstd0.5-inc1"`, or `None`.
        random_erasing: probability that a rectangle is replaced by noise.
        mixup: alpha of mixup, 0 for none.
        cutmix: alpha of cutmix, 0 for none. With both, each batch gets either, with equal probability.
        label_smoothing: share of the target that is spread over all classes.
        ema_decay: of the moving average of the weights that is validated and saved, or `None`.
    """

    min_learning_rate: float = 0.0
    decay_vectors: bool = False
    crop_size: tuple[int, int]
    auto_augment: str | None = None
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_pair("crop_size", self.crop_size)
        for name in ("random_erasing", "label_smoothing"):
            _check_share(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class DetectionTraining(OptimizationRecipe):
    """
    How a detector was trained.

    Args:
        decay_iterations: after each of these many steps the learning rate falls to a tenth.
        short_sides: one is drawn for each image, whose short side is resized to it, keeping the ratio.
        longest_side: what the long side is resized to at most.
        flip_probability: of the horizontal flip.
    """

    decay_iterations: tuple[int, ...]
    short_sides: tuple[int, ...]
    longest_side: int
    flip_probability: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.short_sides or min(self.short_sides) <= 0:
            raise ValueError(f"short_sides is {self.short_sides}; expected positive numbers of pixels.")
        _check_share("flip_probability", self.flip_probability)


@dataclass(frozen=True, kw_only=True)
class PolicyTraining(OptimizationRecipe):
    """
    How the policy network of token sharing was trained: at a constant learning rate, once the warm-up is over.

    Args:
        size: what images are resized to: `{"height": ..., "width": ...}`, or `{"shortest_edge": ...}` (the ratio of
            the sides is kept), or nothing.
        crop_size: height and width of a random crop in pixels, `None` for none. They, or `size`, must be multiples of
            32.
        flip_probability: of the horizontal flip.
        ignore_mixed_border: whether the loss leaves out superpatches at the border that hold one class and ignored
            pixels. Elsewhere such superpatches are to have four tokens.
    """

    size: Mapping[str, int] = field(default_factory=dict)
    crop_size: tuple[int, int] | None = None
    flip_probability: float = 0.5
    ignore_mixed_border: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.size) not in ({"height", "width"}, {"shortest_edge"}, set()):
            raise ValueError(f"size is {dict(self.size)}; expected height and width, shortest_edge, or nothing.")
        if "shortest_edge" in self.size and self.crop_size is None:
            raise ValueError(f"size is {dict(self.size)}, so images differ in size: give a crop_size.")
        final = self.crop_size or (self.size.get("height", 0), self.size.get("width", 0))
        if len(final) != 2 or min(final) < 1 or final[0] % 32 or final[1] % 32:
            raise ValueError(f"Images of {' x '.join(map(str, final))} pixels: sides must be multiples of 32.")
        _check_share("flip_probability", self.flip_probability)


# Task -> how it is trained.
TRAINING_RECIPES: Mapping[str, type[OptimizationRecipe]] = {
    "segmentation": TrainingRecipe,
    "classification": ClassificationTraining,
    "detection": DetectionTraining,
    "policy": PolicyTraining,
}


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """
    How the published figures were measured. At a single scale, images are resized by the recipe's image processor.

    Args:
        mode: `"slide"` (overlapping windows) or `"whole"`.
        window_size: height and width of a window in pixels; `None` when `mode` is `"whole"`.
        window_stride: vertical and horizontal distance of the windows; `None` when `mode` is `"whole"`.
        scale: long and short side of the single scale; a multi-scale view is resized within `ratio * scale`.
        ratios: the factors of the multi-scale test.
        min_short: if given, a multi-scale view has a short side of at least this many pixels (`ratio` times the short
            side of `scale` where that is more), and its long side follows without bound.
        flip: whether the multi-scale test takes every view flipped horizontally too.
    """

    mode: str
    window_size: tuple[int, int] | None
    window_stride: tuple[int, int] | None
    scale: tuple[int, int]
    ratios: tuple[float, ...]
    min_short: int | None
    flip: bool = True

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, INFERENCE_MODES)
        slides = self.mode == "slide"
        if (self.window_size is not None, self.window_stride is not None) != (slides, slides):
            raise ValueError(
                f"mode is {self.mode!r}, window_size {self.window_size} and window_stride {self.window_stride}; "
                "expected both with 'slide' and neither with 'whole'."
            )


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """
    What the authors report, in percent. Nothing here was measured with vitseg.

    Args:
        miou: mean IoU at a single scale.
        miou_multi_scale: mean IoU with multi-scale and flip, `None` where none is reported.
        source: where both are reported, and the original's configuration.
        frames_per_second: by PyTorch in float32, one image at a time, where reported; the recipe's card says how.
        frames_per_second_tensorrt: likewise by TensorRT in float16.
        images_per_second: at the batch size and on the device that the recipe's card names, where reported.
    """

    miou: float
    miou_multi_scale: float | None
    source: str
    frames_per_second: float | None = None
    frames_per_second_tensorrt: float | None = None
    images_per_second: float | None = None

    def __post_init__(self) -> None:
        for name in ("miou", "miou_multi_scale"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 100:
                raise ValueError(f"{name} is {value}; expected a percentage from 0 to 100.")

    @property
    def figures(self) -> tuple[str, str]:
        """The figures as tables have them: without and with multi-scale and flip."""
        return f"{self.miou:.2f}", "" if self.miou_multi_scale is None else f"{self.miou_multi_scale:.2f}"


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """
    What the authors report of a classifier or a detector, in percent. Nothing here was measured with vitseg.

    Args:
        metric: `"top-1"` or `"box AP"`.
        value: the figure.
        source: where it is reported, and the original's configuration.
    """

    metric: str
    value: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.value <= 100:
            raise ValueError(f"value is {self.value}; expected a percentage from 0 to 100.")

    @property
    def figures(self) -> tuple[str, str]:
        """The figure as tables have it, beside those of segmentation models."""
        return f"{self.value:.2f} {self.metric}", ""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """
    Where the published weights are.

    Args:
        status: `"published"`, `"link empty"` (announced, but the link leads nowhere) or `"none"`.
        host: who hosts them, in words.
        url: the link that the authors give, `None` unless published.
        licence: SPDX identifier of the licence they are published under.
        note: what else there is to know.
    """

    status: str
    host: str
    url: str | None
    licence: str
    note: str = ""

    def __post_init__(self) -> None:
        _check_choice("status", self.status, WEIGHTS_STATUS)
        if (self.status == "published") != (self.url is not None):
            raise ValueError(f"status is {self.status!r} and url {self.url!r}; published weights alone have a url.")

    @property
    def file_name(self) -> str | None:
        """The name of the published file, where the link tells it."""
        name = (self.url or "").rpartition("/")[2]
        return name if name.endswith((".pth", ".pt", ".safetensors")) else None

    def describe(self) -> str:
        """All of it in one line."""
        where = f"{self.host}: {self.url}" if self.url else self.host
        return f"{self.status} ({self.licence}), {where}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    How a model is built, trained and evaluated, on whatever data set.

    Args:
        name: of the recipe.
        method: the `model_type`, such as `"setr"`.
        task: `"segmentation"`, `"classification"`, `"detection"` (the latter two by HLG alone), or `"policy"`, of
            which token sharing is made.
        model: keyword arguments of the method's configuration, without labels and test protocol. `backbone_config` is
            a dictionary with `model_type`.
        image_processor: keyword arguments of the method's image processor.
        training: see there: a [`TrainingRecipe`], [`ClassificationTraining`], [`DetectionTraining`] or
            [`PolicyTraining`].
        evaluation: see there; `None` for the tasks that have but one way, the image processor's.
    """

    name: str
    method: str
    task: str = "segmentation"
    model: Mapping[str, Any]
    image_processor: Mapping[str, Any]
    training: OptimizationRecipe
    evaluation: EvaluationRecipe | None = None

    def __post_init__(self) -> None:
        _check_choice("task", self.task, TRAINING_RECIPES)
        _check_choice("method", self.method, {name for task in TRAINING_RECIPES for name in methods_for(task)})
        _check_choice(f"method for {self.task}", self.method, methods_for(self.task))
        if not isinstance(self.training, TRAINING_RECIPES[self.task]):
            raise ValueError(f"training is a {type(self.training).__name__}, which is not one for {self.task}.")
        if (self.evaluation is not None) != (self.task == "segmentation"):
            raise ValueError(
                "The recipe has no 'evaluation'." if self.evaluation is None else f"{self.task} takes no 'evaluation'."
            )

    def build_config(self, id2label: Mapping[int, str] | None = None) -> "PreTrainedConfig":
        """
        The method's configuration, with class names and test protocol.

        Args:
            id2label: train id -> class name; `None` for a policy network, which knows no classes.

        Raises:
            ValueError: if `model` or its `backbone_config` holds an argument that the configuration does not have, or
                class names are missing or needless.
        """
        if (id2label is None) != (self.task == "policy"):
            raise ValueError(f"id2label is {id2label}; policy networks take none, all other models the class names.")
        config_class = self._public_class(METHODS[self.method].config_class)
        _check_keywords(f"{config_class.__name__} argument", self.model, _field_names(config_class))
        values: dict[str, Any] = copy.deepcopy(dict(self.model))
        if self.evaluation is not None:
            values |= {
                "inference_mode": self.evaluation.mode,
                "window_size": self.evaluation.window_size,
                "window_stride": self.evaluation.window_stride,
            }
        if id2label is not None:
            values |= {"id2label": dict(id2label), "label2id": {name: index for index, name in id2label.items()}}
        config = config_class(**values)
        for name in {"backbone_config", "encoder_config"} & self.model.keys():
            nested_class = type(getattr(config, name))
            valid_names = {*_field_names(nested_class), "model_type", "out_indices", "out_features"}
            _check_keywords(f"{nested_class.__name__} argument", self.model[name], valid_names)
        return config

    def build_image_processor(self) -> "SemanticImageProcessor":
        """
        The method's image processor.

        Raises:
            ValueError: if `image_processor` holds an argument that the image processor does not have.
        """
        processor_class = self._public_class(METHODS[self.method].processor_class)
        valid_names = processor_class.valid_kwargs.__annotations__
        _check_keywords(f"{processor_class.__name__} argument", self.image_processor, valid_names)
        return processor_class(**copy.deepcopy(dict(self.image_processor)))

    def _public_class(self, name: str | None) -> Any:
        import vitseg

        return getattr(vitseg, str(name))


@dataclass(frozen=True, kw_only=True)
class PublishedRecipe(Recipe):
    """
    The recipe of a published result, named `<method>-<variant>-<backbone>-<dataset>-<crop>-<schedule>`.

    Args:
        label_set: one of `LABEL_SETS`, or of `CLASS_LISTS` for classifiers and detectors.
        published, weights: see there.
    """

    label_set: str
    published: PublishedResult | PublishedScore
    weights: Weights

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("label set", self.label_set, LABEL_SETS if self.task == "segmentation" else CLASS_LISTS)

    def build_config(self, id2label: Mapping[int, str] | None = None) -> "PreTrainedConfig":
        """As [`Recipe.build_config`], with the classes of `label_set` unless others are given."""
        return super().build_config(id2label or load_id2label(self.label_set))


def _field_names(config_class: type) -> set[str]:
    return {config_field.name for config_field in dataclasses.fields(config_class)}


def _check_pair(name: str, values: tuple[float, ...]) -> None:
    if len(values) != 2 or min(values) <= 0:
        raise ValueError(f"{name} is {values}; expected two positive numbers.")


def _check_class_weights(weights: tuple[float, ...] | str | None) -> None:
    if weights is None or weights == "balanced":
        return
    if isinstance(weights, str):
        raise ValueError(f"class_weights is {weights!r}; expected a number for each class, or 'balanced'.")
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ValueError(f"class_weights is {list(weights)}; expected positive numbers, or 0 for what does not count.")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; expected a share from 0 to 1.")


def _check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise unknown_name(what, value, choices)


def _check_keywords(what: str, given: Iterable[str], valid_names: Iterable[str]) -> None:
    for name in given:
        _check_choice(what, name, valid_names)
