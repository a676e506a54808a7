# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Copies of models that are faster where they are used, with the same answers up to rounding.

Models are plain: nothing in them depends on the machine they run on. What makes them faster on one is added here.
"""

import copy
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval
from transformers import PreTrainedModel

from ..models.modeling_sctnet import SctNetForSemanticSegmentation
from ..models.modeling_segvit import SegVitClassScores
from ..processor import AMD, processor_vendor
from .attention import CONVOLVED
from .linear import DILATION, ConvolvedClassScores, ConvolvedLinear


# Classes of modules, of ours and of timm, by name -> convolutions, each with the batch norm that alone takes its maps.
NORMS_AFTER_CONVOLUTIONS: Mapping[str, Mapping[str, str]] = {
    "ConvLayer": {"conv": "batch_norm"},
    "HlgStem": {"conv1": "batch_norm1", "conv2": "batch_norm2"},
    "HlgDownsample": {"conv": "batch_norm"},
    "HlgMLP": {"fc1": "batch_norm1", "conv": "batch_norm2"},
    "HlgSmoothing": {"conv1": "batch_norm1", "conv2": "batch_norm2", "conv3": "batch_norm3"},
    "SctNetTeacherConvLayer": {"conv": "norm"},
    "EfficientNetFeatures": {"conv_stem": "bn1"},
    "DepthwiseSeparableConv": {"conv_dw": "bn1", "conv_pw": "bn2"},
    "InvertedResidual": {"conv_pw": "bn1", "conv_dw": "bn2", "conv_pwl": "bn3"},
}

Model = TypeVar("Model", bound=nn.Module)


def tune(model: Model, vendor: str | None = None) -> Model:
    """
    A copy of a model for inference on this machine, with the same answers up to rounding.

    - An SCTNet is fused, see its `fuse()`.
    - Batch norms are folded into the convolutions before them.
    - Linear layers and attention are computed as convolutions where that is faster: in float32 on processors of AMD.
      There, one thread computes convolutions with kernels of one pixel as several do.

    Tune a model in float32 and take the copy to another device or dtype afterwards. Weights that stay as they are have
    the model's memory. The copy can neither be trained nor saved.

    Args:
        model: of any task; it stays as it is.
        vendor: of the processor, as `processor_vendor` has it; by default this machine's.
    """
    if vendor is None:
        vendor = processor_vendor()
    # What is made in inference mode could not be used outside of it.
    tuned: Any
    with torch.inference_mode(False):
        if isinstance(model, SctNetForSemanticSegmentation):
            tuned = model.fuse()
        else:
            tuned = _frozen_copy(model)
            _fold_batch_norms(tuned)
        if vendor == AMD and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available():
            _convolve_linear_layers(tuned)
            _convolve_attention(tuned)
    for module in tuned.modules():
        # The backbone in a model could be saved by itself.
        if isinstance(module, PreTrainedModel):
            module.save_pretrained = _refuse_to_save  # type: ignore[assignment]
            # Which would make a repository first.
            module.push_to_hub = _refuse_to_save  # type: ignore[assignment]
    return tuned


def _frozen_copy(model: Model) -> Model:
    """In evaluation mode, with the model's own memory for its weights."""
    weights = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in model.parameters()}
    return copy.deepcopy(model, weights).eval()


def _fold_batch_norms(model: nn.Module) -> None:
    """Put each batch norm into the convolution before it; an activation that is part of the norm stays."""
    for module in list(model.modules()):
        for convolution_name, norm_name in NORMS_AFTER_CONVOLUTIONS.get(type(module).__name__, {}).items():
            convolution, norm = getattr(module, convolution_name), getattr(module, norm_name)
            if not isinstance(norm, nn.BatchNorm2d) or type(convolution) is not nn.Conv2d:
                continue  # A synchronised norm, an adapted convolution, or one that was folded before.
            # In float32: rounded numbers, multiplied, would be rounded once more.
            folded = fuse_conv_bn_eval(copy.deepcopy(convolution).float(), copy.deepcopy(norm).float())
            folded = folded.to(dtype=convolution.weight.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            setattr(module, convolution_name, folded.requires_grad_(False))
            # timm's norms end with these.
            rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
            setattr(module, norm_name, nn.Sequential(*rest))


def _convolve_linear_layers(model: nn.Module) -> None:
    # A layer that stands in several places stays one.
    convolved: dict[nn.Module, nn.Module] = {}
    for name, module in list(model.named_modules(remove_duplicate=False)):
        # Quantised and adapted ones, which have their own classes, have their own ways.
        if name and type(module) is nn.Linear:
            model.set_submodule(name, convolved.setdefault(module, ConvolvedLinear.of(module)))
        elif type(module) is SegVitClassScores:
            model.set_submodule(name, ConvolvedClassScores())
        elif type(module) is nn.Conv2d and module.kernel_size == (1, 1):
            module.dilation = (DILATION, DILATION)


def _convolve_attention(model: nn.Module) -> None:
    parts = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    # Where another is chosen, or a part has attention of its own, that is left alone.
    if isinstance(model, PreTrainedModel) and {part.config._attn_implementation for part in parts} == {"sdpa"}:
        model.set_attn_implementation(CONVOLVED)


def _refuse_to_save(*args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError("A tuned model is only for inference: save the model that it was made of.")
