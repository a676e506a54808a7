# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train the policy network of content-aware token sharing, on one device or many:

    accelerate launch examples/train_policy.py --recipe cts-policy-ade20k-512 --dataset data/ade20k \\
        --output runs/policy

It learns which squares of 32 x 32 pixels show a single class. A model that shares tokens is then trained with it:

    accelerate launch examples/train.py --recipe cts-segmenter-mask-30-vit-s-ade20k-512 --dataset data/ade20k \\
        --policy runs/policy/model --output runs/cts

The data set is a folder that prepare_data.py wrote, or such a data set on the Hub. A run that was stopped goes on with
the same command and `--resume`. The output folder gets checkpoints/, model/ (the last weights) and metrics.jsonl.
"""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.layers import convert_sync_batchnorm
from tqdm.auto import tqdm

from vitseg import CtsSegmenterImageProcessor
from vitseg.data.dataset_labels import load_labels
from vitseg.data.policy_targets import PolicyTransform
from vitseg.data.streaming import SegmentationStream, default_workers, load_examples, train_loader
from vitseg.recipes import load_policy_recipe
from vitseg.training.checkpoints import CheckpointError, find_checkpoint, load_checkpoint, save_checkpoint
from vitseg.training.history import Progress
from vitseg.training.interruption import StopRequest
from vitseg.training.policy import initial_policy_net, policy_accuracy
from vitseg.training.run_folder import RunFolder


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        train(args)
    except (ValueError, CheckpointError) as error:
        # What a worker of the data loader raises carries its traceback in front.
        print(f"train_policy.py: {str(error).rpartition('ValueError: ')[2].strip()}", file=sys.stderr)
        return 1
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", required=True, metavar="NAME_OR_FILE", help="see vitseg.recipes.POLICY_RECIPES")
    parser.add_argument(
        "--dataset", required=True, metavar="DIR_OR_ID", help="prepared folder, or data set on the Hub"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of this run")
    parser.add_argument("--init", default="timm", metavar="timm|none|FILE|MODEL", help="weights at the start (timm)")
    parser.add_argument("--reduce-labels", action="store_true", help="0 means 'no class' in the data set's label maps")
    parser.add_argument("--train-split", default="train", metavar="NAME")
    parser.add_argument("--validation-split", default="validation", metavar="NAME")
    parser.add_argument("--iterations", type=int, metavar="N", help="optimizer steps, in place of the recipe's")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per step, over all devices, likewise")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, metavar="N", help="loading processes of each device (default: up to 4)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--validate-every", type=int, metavar="N", help="steps (default: five times in all)")
    parser.add_argument("--validation-limit", type=int, metavar="N", help="images to validate on (default: all)")
    parser.add_argument("--checkpoint-every", type=int, default=1000, metavar="N", help="steps")
    parser.add_argument("--log-every", type=int, default=50, metavar="N", help="steps")
    return parser.parse_args(arguments)


def train(args: argparse.Namespace) -> None:
    changes = {name: getattr(args, name) for name in ("iterations", "batch_size", "learning_rate")}
    recipe = load_policy_recipe(args.recipe, {name: value for name, value in changes.items() if value is not None})
    accelerator = Accelerator()
    folder = RunFolder(args.output)
    names = ("dataset", "train_split", "reduce_labels", "init", "seed")
    settings = {"recipe": dataclasses.asdict(recipe), **{name: getattr(args, name) for name in names}}
    folder.require(settings, resumes=args.resume)
    labels, transform = load_labels(args.dataset), PolicyTransform(recipe=recipe)
    examples = load_examples(args.dataset, args.validation_split, args.reduce_labels)

    set_seed(args.seed)
    checkpoint = find_checkpoint(folder.checkpoints)[0] if args.resume else None
    model = initial_policy_net("none" if checkpoint else args.init)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        model = convert_sync_batchnorm(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    progress = Progress(accelerator.device)
    accelerator.register_for_checkpointing(progress)
    if checkpoint:
        load_checkpoint(checkpoint, accelerator)
    stream = SegmentationStream(
        args.dataset,
        args.train_split,
        transform,
        num_labels=len(labels.names),
        do_reduce_labels=args.reduce_labels,
        batch_size=recipe.batch_size,
        seed=args.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        start=progress.step * recipe.batch_size,
    )
    if accelerator.is_main_process:
        folder.begin(settings, progress.step)

    def record(row: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            folder.metrics.append({"step": progress.step, **row})

    validate_every = args.validate_every or math.ceil(recipe.iterations / 5)
    workers = default_workers(accelerator.num_processes) if args.workers is None else args.workers
    batches = iter(train_loader(stream, workers))
    bar = tqdm(total=recipe.iterations, initial=progress.step, unit="step", disable=not accelerator.is_main_process)
    with StopRequest() as stop, bar:
        while progress.step < recipe.iterations and not stop.received_by_any(accelerator):
            wrapped.train()
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in next(batches).items()}
            loss = wrapped(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            progress.losses.add({"loss": loss})
            progress.step += 1
            bar.update()
            is_last = progress.step == recipe.iterations
            if is_last or progress.step % args.log_every == 0:
                losses = progress.losses.read(accelerator)
                if not math.isfinite(losses["loss"]):
                    raise ValueError(f"The training diverged at step {progress.step}: use a lower --learning-rate.")
                record(losses)
                bar.set_postfix(losses)
            if is_last or progress.step % validate_every == 0:
                scores = policy_accuracy(model, examples, transform, accelerator, args.validation_limit)
                record(scores)
                bar.write(
                    f"Step {progress.step}: {scores['accuracy']:.1%} of the superpatches right "
                    f"({scores['single_class']:.1%} hold a single class)"
                )
            if is_last or progress.step % args.checkpoint_every == 0:
                save_checkpoint(folder.checkpoints, progress.step, accelerator, keep=2)
    if progress.step < recipe.iterations:
        save_checkpoint(folder.checkpoints, progress.step, accelerator, keep=2)
        accelerator.print(f"Stopped after step {progress.step}. To go on, add --resume to the command.")
        return
    if accelerator.is_main_process:
        size = dict(recipe.size) or {"shortest_edge": min(recipe.crop_size or (512, 512))}
        folder.save_model("model", model, CtsSegmenterImageProcessor(size=size))
    accelerator.print(f"Done: {folder.path / 'model'}")


if __name__ == "__main__":
    sys.exit(main())
