# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNets that are small and yet have no weight or statistic at a value that hides something."""

import torch
from citizenship import NUM_LABELS
from torch import nn

from vitseg import SctNetConfig, SctNetForSemanticSegmentation
from vitseg.models.modeling_sctnet import SctNetAttention


def small_config(**kwargs) -> SctNetConfig:
    settings = {"base_channels": 8, "context_channels": 8, "drop_path_rate": 0.0, "num_labels": NUM_LABELS}
    return SctNetConfig(**{"image_size": 64, **settings, **kwargs})


def set_norms(model: nn.Module) -> None:
    """Statistics and parameters of batch norms as after some training."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5),
                    (module.bias, -0.5, 0.5),
                    (module.running_mean, -0.5, 0.5),
                    (module.running_var, 0.5, 2.0),
                ):
                    assert tensor is not None
                    tensor.uniform_(low, high, generator=generator)
            elif isinstance(module, SctNetAttention):
                module.vertical_kernel.normal_(std=0.2, generator=generator)
                module.horizontal_kernel.normal_(std=0.2, generator=generator)


def small_model(**kwargs) -> SctNetForSemanticSegmentation:
    torch.manual_seed(0)
    model = SctNetForSemanticSegmentation(small_config(**kwargs)).eval()
    set_norms(model)
    return model
