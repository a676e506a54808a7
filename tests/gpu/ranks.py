# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Two processes that share one device and the images of a step, through batch norms that know of both, have the loss, the
gradient and the statistics of one that has all images.
"""

import multiprocessing
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .device import synchronize_batch_norms, use_exact_float32
from .models import batch, build, scenes_recipe, without_chance
from .running import Settings, Tell


RECIPE = "setr-pup"
# Of the 16 squares of 2 x 2 patches, those that share a token.
SHARING = {"ranks": None, "ranks with token sharing": 6}
NUM_RANKS = 2
# Between both, in float32.
TOLERANCE = 1e-3


def check_ranks(settings: Settings, tell: Tell) -> None:
    """Loss, gradient and statistics of two ranks beside those of one process, with token sharing and without."""
    together = {}
    for key in SHARING:
        with tell.failures(key):
            together[key] = run_ranks(settings, key)
    # Only now does this process touch the device: ranks are forked from one that has not.
    for key, measured in together.items():
        with tell.failures(key):
            alone = measure(settings, key, rank=None)
            difference = max(abs(measured[name] - alone[name]) / abs(alone[name]) for name in alone)
            text = ", ".join(f"{name} {measured[name]:.5f} (one: {alone[name]:.5f})" for name in alone)
            tell(key, float(difference <= TOLERANCE), text)


def run_ranks(settings: Settings, key: str) -> dict[str, float]:
    """What the ranks measure, the same in all."""
    context = multiprocessing.get_context("fork")
    store = settings.folder / key.replace(" ", "-")
    receiver, sender = context.Pipe(duplex=False)
    ranks = [context.Process(target=_run_rank, args=(rank, store, settings, key, sender)) for rank in range(NUM_RANKS)]
    for rank in ranks:
        rank.start()
    sender.close()
    try:
        answers = [receiver.recv() for _ in ranks]
    finally:
        for rank in ranks:
            rank.join(5)
            rank.kill()
    for answer in answers:
        if isinstance(answer, str):
            raise RuntimeError(answer)
    return answers[0]


def _run_rank(rank: int, store: Path, settings: Settings, key: str, sender: Connection) -> None:
    try:
        distributed.init_process_group("gloo", init_method=store.as_uri(), rank=rank, world_size=NUM_RANKS)
        sender.send(measure(settings, key, rank))
        distributed.destroy_process_group()
    except Exception:
        sender.send(traceback.format_exc())


def measure(settings: Settings, key: str, rank: int | None) -> dict[str, float]:
    """A step's loss and gradient, and what the batch norms learned, of all images or of a rank's part of them."""
    use_exact_float32()
    torch.manual_seed(0)
    recipe, device = scenes_recipe(RECIPE), settings.device
    changes = {"model.backbone_config.patch_size": 16, "model.backbone_config.token_sharing": SHARING[key]}
    model = without_chance(build(recipe, device, changes)).train()
    for name, parameter in model.named_parameters():
        # It learns nothing of the segmenter's loss.
        parameter.requires_grad_("policy_net" not in name)
    inputs: dict[str, Any] = batch(recipe, 2 * NUM_RANKS, device)
    forward: nn.Module = synchronize_batch_norms(model, device)
    if rank is not None:
        inputs = {name: values[rank::NUM_RANKS] for name, values in inputs.items()}
        forward = DistributedDataParallel(forward)
    loss = forward(**inputs).loss
    loss.backward()
    loss = loss.detach()
    if rank is not None:
        distributed.all_reduce(loss)
        loss /= NUM_RANKS
    gradients = [parameter.grad for parameter in forward.parameters() if parameter.grad is not None]
    variances = [buffer for name, buffer in forward.named_buffers() if name.endswith("running_var")]
    return {"loss": loss.item(), "gradient": norm(gradients), "variances": norm(variances)}


def norm(tensors: list[torch.Tensor]) -> float:
    return torch.linalg.vector_norm(torch.stack([tensor.norm() for tensor in tensors])).item()
