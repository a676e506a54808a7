# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a model that FSDP (version 2) keeps in shards."""

from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor
from transformers.modeling_layers import GradientCheckpointingLayer


def shard_by_layer(accelerator: Accelerator, model: nn.Module) -> None:
    """
    Let Accelerate shard the transformer layers of `model` one by one, unless its configuration names other classes.

    By itself it takes the modules that `device_map` must not split. Those of a ViT include the embeddings, which it
    then shards a second time, in vain.

    Raises:
        ValueError: if weights are to be sent from one process to the others, and the state dict does not hold all.
    """
    plugin = accelerator.state.fsdp_plugin
    if plugin.cpu_ram_efficient_loading and dict(model.named_parameters()).keys() - model.state_dict().keys():
        raise ValueError(
            "With a teacher, whose weights are in no state dict, FSDP cannot load weights in one process alone: set "
            "fsdp_cpu_ram_efficient_loading to false in the configuration of Accelerate."
        )
    if plugin.transformer_cls_names_to_wrap is None:
        layers = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
        plugin.transformer_cls_names_to_wrap = sorted({type(layer).__name__ for layer in layers})


def copy_full_weights(sharded: nn.Module, whole: nn.Module) -> None:
    """
    Copy the weights of a model that FSDP (version 2) keeps in shards into a model of the same kind that has all of
    them. All processes call this.

    Validation runs on such a copy: the processes see images of different sizes, and make different numbers of forward
    passes, in which a sharded model would wait for parts of other processes in vain.
    """
    weights = {
        name: value.full_tensor() if isinstance(value, DTensor) else value
        for name, value in sharded.state_dict().items()
    }
    whole.load_state_dict(weights)
