# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train the policy network of content-aware token sharing, on one device or many:

    accelerate launch examples/train_policy.py --recipe cts-policy-ade20k-512 --dataset data/ade20k \\
        --output runs/policy

It learns which squares of 32 x 32 pixels show a single class. A model that shares tokens is then trained with it:

    accelerate launch examples/train.py --recipe cts-segmenter-mask-30-vit-s-ade20k-512 --dataset data/ade20k \\
        --policy runs/policy/model --output runs/cts

The data set is one that `vitseg prepare` wrote, or such a data set on the Hub. A run that was stopped goes on with
the same command and `--resume`. The output folder gets checkpoints/, model/ (the last weights) and metrics.jsonl.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from timm.layers import convert_sync_batchnorm
from tqdm.auto import tqdm

from vitseg.data.dataset_labels import load_labels
from vitseg.data.policy_targets import PolicyTransform
from vitseg.data.streaming import SegmentationStream, default_workers, load_examples, train_loader
from vitseg.recipes import PolicyTraining, load_recipe
from vitseg.training.checkpoints import CheckpointError, find_checkpoint, load_checkpoint, save_checkpoint
from vitseg.training.history import Progress
from vitseg.training.interruption import StopRequest
from vitseg.training.optimization import build_optimizer
from vitseg.training.policy import initial_policy_net, policy_accuracy
from vitseg.training.run_folder import RunFolder


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        PolicyRun(args).run()
    except (ValueError, CheckpointError) as error:
        # What a worker of the data loader raises carries its traceback in front.
        print(f"train_policy.py: {str(error).rpartition('ValueError: ')[2].strip()}", file=sys.stderr)
        return 1
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", required=True, metavar="NAME_OR_FILE", help="such as cts-policy-ade20k-512")
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


class PolicyRun:
    """A run, and all that it holds from step to step."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        changes = {f"training.{name}": getattr(args, name) for name in ("iterations", "batch_size", "learning_rate")}
        self.recipe = load_recipe(args.recipe, {key: value for key, value in changes.items() if value is not None})
        if not isinstance(self.recipe.training, PolicyTraining):
            raise ValueError(f"The recipe {self.recipe.name} is for {self.recipe.task}, not for a policy network.")
        self.training = self.recipe.training
        self.accelerator = Accelerator()
        self.folder = RunFolder(args.output)
        names = ("dataset", "train_split", "reduce_labels", "init", "seed")
        self.settings = {"recipe": dataclasses.asdict(self.recipe), **{name: getattr(args, name) for name in names}}
        self.folder.require(self.settings, resumes=args.resume)
        self.num_labels = len(load_labels(args.dataset).names)
        self.transform = PolicyTransform(recipe=self.training)
        self.examples = load_examples(args.dataset, args.validation_split, args.reduce_labels)
        self.progress = Progress(self.accelerator.device)
        set_seed(args.seed)
        self.prepare_model()

    def prepare_model(self) -> None:
        """Weights and optimizer as at the start, or as the newest checkpoint has them."""
        checkpoint = find_checkpoint(self.folder.checkpoints)[0] if self.args.resume else None
        self.model = initial_policy_net("none" if checkpoint else self.args.init)
        if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda":
            self.model = convert_sync_batchnorm(self.model)
        optimizer = build_optimizer(self.model, self.training)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.accelerator.register_for_checkpointing(self.progress)
        if checkpoint:
            load_checkpoint(checkpoint, self.accelerator)

    def load_batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """Those after the step that the run has come to."""
        stream = SegmentationStream(
            self.args.dataset,
            self.args.train_split,
            self.transform,
            num_labels=self.num_labels,
            do_reduce_labels=self.args.reduce_labels,
            batch_size=self.training.batch_size,
            seed=self.args.seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            start=self.progress.step * self.training.batch_size,
        )
        workers = default_workers(self.accelerator.num_processes) if self.args.workers is None else self.args.workers
        return iter(train_loader(stream, workers))

    def run(self) -> None:
        """All steps, or those until the run is asked to stop, which leaves a checkpoint."""
        is_main, progress, iterations = self.accelerator.is_main_process, self.progress, self.training.iterations
        if is_main:
            self.folder.begin(self.settings, progress.step)
        batches = self.load_batches()
        bar = tqdm(total=iterations, initial=progress.step, unit="step", disable=not is_main)
        with StopRequest() as stop, bar:
            while progress.step < iterations and not stop.received_by_any(self.accelerator):
                self.train_step(next(batches))
                bar.update()
                self.report(bar)
        if progress.step < iterations:
            self.save_checkpoint()
            self.accelerator.print(f"Stopped after step {progress.step}. To go on, add --resume to the command.")
            return
        if is_main:
            self.folder.save_model("model", self.model, self.recipe.build_image_processor())
        self.accelerator.print(f"Done: {self.folder.path / 'model'}")

    def train_step(self, batch: dict[str, torch.Tensor]) -> None:
        self.wrapped.train()
        batch = {name: tensor.to(self.accelerator.device, non_blocking=True) for name, tensor in batch.items()}
        loss = self.wrapped(**batch).loss
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.progress.losses.add({"loss": loss})
        self.progress.step += 1

    def report(self, bar: tqdm) -> None:
        """What is due after a step: losses, scores, a checkpoint."""
        step = self.progress.step

        def is_due(every: int) -> bool:
            return step % every == 0 or step == self.training.iterations

        if is_due(self.args.log_every):
            losses = self.progress.losses.read(self.accelerator)
            if not math.isfinite(losses["loss"]):
                raise ValueError(f"The training diverged at step {step}: use a lower --learning-rate.")
            self.record(losses)
            bar.set_postfix(losses)
        if is_due(self.args.validate_every or math.ceil(self.training.iterations / 5)):
            scores = policy_accuracy(
                self.model, self.examples, self.transform, self.accelerator, self.args.validation_limit
            )
            self.record(scores)
            bar.write(
                f"Step {step}: {scores['accuracy']:.1%} of the superpatches right "
                f"({scores['single_class']:.1%} hold a single class)"
            )
        if is_due(self.args.checkpoint_every):
            self.save_checkpoint()

    def record(self, row: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.folder.metrics.append({"step": self.progress.step, **row})

    def save_checkpoint(self) -> None:
        save_checkpoint(self.folder.checkpoints, self.progress.step, self.accelerator, keep=2)


if __name__ == "__main__":
    sys.exit(main())
