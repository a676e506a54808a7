# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Train a published recipe, or your own, on one device or many:

    accelerate launch examples/train.py --recipe setr-pup-vit-l-ade20k-512-160k --dataset ade20k --output runs/ade20k

Fine-tune a trained model on your own data:

    accelerate launch examples/train.py --recipe setr-pup-vit-l-ade20k-512-160k --init MODEL --dataset DATA \\
        --iterations 8000 --output runs/mine

The data set is a folder that `vitseg prepare` wrote, or such a data set on the Hub. Devices, machines, mixed precision
and FSDP are chosen by `accelerate launch` or `accelerate config`; on any number of devices a step takes as many images
as the recipe says. A run that was stopped goes on with the same command and `--resume latest`, as if it had not been.

The output folder gets checkpoints/ to resume from, model/ (the last weights), best/ (the best ones, by mean IoU on the
validation split), metrics.jsonl and training.png.
"""

import argparse
import copy
import json
import math
import os
import re
import signal
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import TorchDynamoPlugin, broadcast_object_list, send_to_device, set_seed
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from tqdm.auto import tqdm

from vitseg.arguments import positive_int
from vitseg.data.augmentation import TrainingTransform
from vitseg.data.dataset_labels import DatasetLabels, load_labels, read_labels
from vitseg.data.streaming import ExampleStream, SegmentationStream, default_workers, load_examples, train_loader
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.recipes import load_recipe, recipe_to_json
from vitseg.recipes.lookup import unknown_name
from vitseg.training.checkpoints import (
    CheckpointError,
    all_finite,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from vitseg.training.distribution import copy_full_weights, shard_by_layer
from vitseg.training.history import Progress, Stopwatch
from vitseg.training.initialization import initial_model
from vitseg.training.interruption import StopRequest
from vitseg.training.optimization import build_optimizer, build_schedule
from vitseg.training.policy import insert_policy_net
from vitseg.training.run_folder import RunFolder


def main(arguments: list[str] | None = None) -> int:
    return run(Training, __doc__, arguments)


def run(training: type["Training"], description: str | None, arguments: list[str] | None) -> int:
    """The command line of a training program; returns the exit status."""
    args = parse_arguments(description, arguments)
    try:
        return training(args).run()
    except ValueError as error:
        # What a worker of the data loader raises carries its traceback in front.
        message = str(error).rpartition("ValueError: ")[2].strip()
    except CheckpointError as error:
        message = str(error)
    except OSError as error:
        message = f"{error}. Checkpoints are intact: when this is mended, go on with --resume latest."
    program = Path(str(sys.modules[training.__module__].__file__)).name
    print(f"{program}: {message}", file=sys.stderr)
    return 1


def parse_arguments(description: str | None, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    what = parser.add_argument_group("what to train")
    what.add_argument("--recipe", required=True, metavar="NAME_OR_FILE", help="see `python -m vitseg.recipes`")
    what.add_argument("--dataset", required=True, metavar="DIR_OR_ID", help="prepared folder, or data set on the Hub")
    what.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of this run")
    what.add_argument("--init", metavar="timm|none|FILE|MODEL", help="weights at the start (default: the recipe's)")
    what.add_argument("--policy", metavar="MODEL", help="trained policy network, for a model that shares tokens")
    what.add_argument("--labels", type=Path, metavar="FILE", help="class names, if the data set has no labels.json")
    what.add_argument("--reduce-labels", action="store_true", help="0 means 'no class' in the data set's label maps")
    what.add_argument("--train-split", default="train", metavar="NAME")
    what.add_argument("--validation-split", default="validation", metavar="NAME", help="'none' to do without")

    how = parser.add_argument_group("changes to the recipe")
    how.add_argument("--iterations", type=positive_int, metavar="N", help="optimizer steps")
    how.add_argument("--batch-size", type=positive_int, metavar="N", help="images per step, over all devices")
    how.add_argument("--learning-rate", type=float, metavar="X", help="base learning rate")
    how.add_argument("--teacher", metavar="MODEL|none", help="SCTNet's teacher: a model folder or Hub name")
    how.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other: training.power=1.0")
    how.add_argument("--ema", type=float, metavar="DECAY", help="validate and save a moving average of the weights")
    how.add_argument("--seed", type=int, default=0)

    speed = parser.add_argument_group("memory and speed")
    speed.add_argument("--per-device-batch-size", type=positive_int, metavar="N", help="images at a time on a device")
    speed.add_argument("--gradient-checkpointing", action="store_true", help="recompute activations to save memory")
    speed.add_argument("--compile", action="store_true", help="compile the model with torch.compile")
    speed.add_argument("--workers", type=int, metavar="N", help="loading processes of each device (default: up to 4)")
    speed.add_argument("--shuffle-buffer", type=positive_int, default=1000, metavar="N", help="samples")
    speed.add_argument(
        "--cache", action="store_true", help="copy the data set to the local cache and shuffle it fully"
    )

    run = parser.add_argument_group("course of the run")
    run.add_argument("--resume", metavar="latest|DIR", help="go on from the newest checkpoint, or from this one")
    run.add_argument("--validate-every", type=positive_int, metavar="N", help="steps (default: ten times in all)")
    run.add_argument("--validation-limit", type=positive_int, metavar="N", help="images to validate on (default: all)")
    run.add_argument("--checkpoint-every", type=positive_int, default=1000, metavar="N", help="steps")
    run.add_argument("--keep", type=positive_int, default=2, metavar="N", help="how many checkpoints remain")
    run.add_argument("--log-every", type=positive_int, default=50, metavar="N", help="steps")
    run.add_argument("--report-to", nargs="*", metavar="NAME", help="trackers of Accelerate, such as tensorboard")

    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(str(unknown_name("option", unknown[0], re.findall(r"--[\w-]+", parser.format_usage()))))
    return args


def recipe_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line changes in the recipe, by dotted key."""
    names = ("iterations", "batch_size", "learning_rate", "teacher")
    changes = {f"training.{name}": getattr(args, name) for name in names}
    changes = {key: value for key, value in changes.items() if value is not None}
    for assignment in args.set:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set {assignment} has no value; expected KEY=VALUE, such as training.power=1.0.")
        try:
            changes[key] = json.loads(text)
        except ValueError:
            changes[key] = text
    return changes


class Training:
    """
    A training run: everything that its loop needs, and the loop.

    What differs between tasks is in the first attributes and the last methods, which the programs for other tasks have
    their own of.
    """

    task = "segmentation"
    # What a validation measures, the first of which tells the best weights; and its name.
    scores: tuple[str, ...] = ("mean_iou", "mean_accuracy", "overall_accuracy")
    score_name = "mean IoU"

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.recipe = load_recipe(args.recipe, recipe_changes(args))
        if self.recipe.task != self.task:
            raise ValueError(f"{self.recipe.name} is a recipe for {self.recipe.task}, not for {self.task}.")
        if args.ema is None:
            args.ema = getattr(self.recipe.training, "ema_decay", None)
        self.labels = read_labels(args.labels) if args.labels else self.load_labels()
        self.accelerator = Accelerator(
            log_with=args.report_to,
            project_dir=args.output,
            dynamo_plugin=TorchDynamoPlugin(backend="inductor") if args.compile else None,
        )
        self.accelerator.gradient_accumulation_steps = self.count_accumulation_steps()
        if args.workers is None:
            args.workers = default_workers(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        self.folder = RunFolder(args.output)
        self.folder.require(self.settings, resumes=args.resume is not None)
        self.examples = None
        if args.validation_split != "none":
            self.examples = self.load_examples()

        checkpoint = self.choose_checkpoint()
        self.build_model(resumes=checkpoint is not None)
        if self.examples is not None:
            # A validation that cannot work should fail now, and not after the first hours.
            self.evaluate(limit=2 * self.accelerator.num_processes)
        if checkpoint is not None:
            load_checkpoint(checkpoint, self.accelerator)
            # The number of batches in a step may have changed with the number of devices.
            self.accelerator.step = 0
            self.print(f"Going on from {checkpoint}, after step {self.progress.step}.")
        self.stream = self.open_stream(self.build_transform())

    def count_accumulation_steps(self) -> int:
        """How many batches each process makes of its part of a step."""
        batch_size, processes = self.recipe.training.batch_size, self.accelerator.num_processes
        at_a_time = self.args.per_device_batch_size or max(batch_size // processes, 1)
        steps, rest = divmod(batch_size, at_a_time * processes)
        if rest:
            raise ValueError(
                f"A batch of {batch_size} images cannot be made of {at_a_time} at a time on each of {processes} "
                "devices. Change --batch-size or --per-device-batch-size."
            )
        return steps

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same for a run to be the same."""
        names = ("dataset", "train_split", "reduce_labels", "init", "policy", "ema", "seed", "shuffle_buffer", "cache")
        options = {name: getattr(self.args, name) for name in names}
        return {"recipe": json.loads(recipe_to_json(self.recipe)), "labels": list(self.labels.names), **options}

    def choose_checkpoint(self) -> Path | None:
        """The checkpoint to go on from, if any."""
        if self.args.resume != "latest":
            return Path(self.args.resume) if self.args.resume else None
        found: list[tuple[Path | None, list[str]]] = [(None, [])]
        if self.accelerator.is_main_process:
            found = [find_checkpoint(self.folder.checkpoints)]
        ((path, problems),) = broadcast_object_list(found)
        for problem in problems:
            self.print(f"{problem} Using the one before.")
        if path is None:
            self.print("There is no checkpoint yet: starting from the beginning.")
        return path

    def build_model(self, resumes: bool) -> None:
        """Model, optimizer and schedule, ready for the devices."""
        args, accelerator, training = self.args, self.accelerator, self.recipe.training
        set_seed(args.seed)
        init = args.init or ("timm" if training.pretrained else "none")
        if resumes and (init == "timm" or Path(init).is_file()):
            init = "none"  # the checkpoint has the weights
        self.model, self.image_processor, random_names = initial_model(init, self.recipe, self.labels.id2label)
        self.image_processor.do_reduce_labels = args.reduce_labels
        if args.policy or not (resumes or Path(init).is_dir()):
            insert_policy_net(self.model, "none" if resumes else args.policy)
        if init not in ("none", "timm") and random_names:
            heads = sorted({name.partition(".")[0] for name in random_names})
            listed = random_names if len(random_names) <= 8 else [f"{len(random_names)} parameters of", *heads]
            self.print(f"Not from {init}, and therefore random: {', '.join(listed)}.")
        if args.gradient_checkpointing:
            # The name before transformers 5.2x and the one after.
            enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
            enable()
        if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
            # timm's, which keeps the activations that its batch norms hold.
            self.model = convert_sync_batchnorm(self.model)

        # What is validated and saved: the model itself, a moving average, or a copy of what FSDP keeps in shards.
        self.average = None
        self.evaluated = self.model
        if args.ema is not None:
            self.average = ModelEmaV3(self.model, decay=args.ema).to(accelerator.device)
            self.evaluated = self.average.module
        if accelerator.distributed_type == DistributedType.FSDP:
            if self.average is not None or not accelerator.is_fsdp2:
                raise ValueError("With FSDP, use fsdp_version 2 of Accelerate, and no --ema.")
            self.evaluated = copy.deepcopy(self.model).to(accelerator.device)
            shard_by_layer(accelerator, self.model)

        optimizer = build_optimizer(self.model, training, fused=accelerator.device.type == "cuda")
        self.wrapped, self.optimizer = accelerator.prepare(self.model, optimizer)
        self.schedule = build_schedule(self.optimizer.optimizer, training)
        self.progress = Progress(accelerator.device)
        accelerator.register_for_checkpointing(self.schedule, self.progress)
        if self.average is not None:
            accelerator.register_for_checkpointing(self.average)
        # From here on, processes may drop different paths.
        set_seed(args.seed, device_specific=True)

    def open_stream(self, transform: Any) -> ExampleStream:
        args, accelerator, batch_size = self.args, self.accelerator, self.recipe.training.batch_size
        return self.make_stream(
            transform,
            num_labels=len(self.labels.names),
            batch_size=batch_size,
            seed=args.seed,
            shuffle_buffer=args.shuffle_buffer,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            accumulation_steps=accelerator.gradient_accumulation_steps,
            start=self.progress.step * batch_size,
            streaming=not args.cache,
        )

    def run(self) -> int:
        """Train to the end, or until the system wants the process to stop; returns the exit status."""
        args, iterations = self.args, self.recipe.training.iterations
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.folder.begin(self.settings, self.progress.step)
        self.describe()
        self.accelerator.init_trackers(args.output.name)
        stops = False
        with StopRequest() as stop, self.progress_bar() as bar:
            watch = Stopwatch(self.progress.step)
            batches = iter(train_loader(self.stream, args.workers))
            while self.progress.step < iterations and not stops:
                step_batches = self.load_step(batches, stop, watch)
                if step_batches:
                    self.make_step(step_batches)
                    bar.update()
                    self.measure(bar, watch)
                step = self.progress.step
                stops = self.must_stop(stop) or not step_batches
                if stops or step == iterations or step % args.checkpoint_every == 0:
                    self.checkpoint()
                    watch.restart(step)
        if self.progress.step < iterations:
            self.print(
                f"Stopped after step {step}, as the system asked. To go on, add --resume latest to the command."
            )
            return 128 + signal.SIGTERM
        self.finish()
        return 0

    def load_step(
        self, batches: Iterator[dict[str, Any]], stop: StopRequest, watch: Stopwatch
    ) -> list[dict[str, Any]]:
        """The batches of an optimizer step; none if the loader was stopped."""
        try:
            with watch.waiting():
                return list(islice(batches, self.accelerator.gradient_accumulation_steps))
        except RuntimeError:
            if stop.received:  # the loader's workers got the signal too
                return []
            raise

    def must_stop(self, stop: StopRequest) -> bool:
        """Whether the system asked any process to stop; several agree on it where they wait for each other anyway."""
        if self.accelerator.num_processes > 1 and self.progress.step % self.args.log_every:
            return False
        return stop.received_by_any(self.accelerator)

    def make_step(self, step_batches: list[dict[str, Any]]) -> None:
        """One optimizer step."""
        accelerator, max_norm = self.accelerator, self.recipe.training.max_gradient_norm
        self.wrapped.train()
        for batch in step_batches:
            batch = self.prepare_batch(send_to_device(batch, accelerator.device, non_blocking=True))
            with accelerator.accumulate(self.wrapped):
                outputs = self.wrapped(**batch)
                accelerator.backward(outputs.loss)
                if max_norm is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.wrapped.parameters(), max_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.progress.losses.add({"loss": outputs.loss, **outputs.loss_dict})
        self.learning_rate = self.optimizer.param_groups[0]["lr"]
        self.schedule.step()
        self.progress.step += 1
        if self.average is not None:
            self.average.update(self.model, self.progress.step)

    def measure(self, bar: tqdm, watch: Stopwatch) -> None:
        """Log the losses and validate, if it is time for it."""
        step, is_last = self.progress.step, self.progress.step == self.recipe.training.iterations
        if is_last or step % self.args.log_every == 0:
            self.log(bar, watch)
        if self.examples is not None and (is_last or step % self.validate_every == 0):
            self.validate(bar)
            watch.restart(step)

    def log(self, bar: tqdm, watch: Stopwatch) -> None:
        step = self.progress.step
        losses = self.progress.losses.read(self.accelerator)
        self.refuse_divergence(losses)
        row = {"step": step, **losses, "learning_rate": self.learning_rate}
        images_per_second, waiting = watch.read(step, self.recipe.training.batch_size)
        self.accelerator.log(row | {"images_per_second": images_per_second, "share_waiting": waiting}, step=step)
        if self.accelerator.is_main_process:
            self.folder.metrics.append(row)
        bar.set_postfix_str(
            f"loss {losses['loss']:.3f}, lr {row['learning_rate']:.1e}, {images_per_second:.1f} images/s, "
            f"{waiting:.0%} waiting for data"
        )

    def validate(self, bar: tqdm) -> None:
        """Measure the weights as they are, keep them if they are the best, and draw the curves."""
        scores = self.evaluate(self.args.validation_limit)
        measured = {name: scores[name] for name in self.scores}
        self.accelerator.log(measured, step=self.progress.step)
        score = measured[self.scores[0]]
        is_best = score > self.progress.best_score
        if is_best:
            self.progress.best_score = score
        if self.accelerator.is_main_process:
            self.folder.metrics.append({"step": self.progress.step, **measured})
            self.folder.draw_curves()
            if is_best:
                self.folder.save_model("best", self.evaluated, self.image_processor)
            bar.write(f"Step {self.progress.step}: {self.score_name} {score:.4f}{' (best)' if is_best else ''}")

    def evaluate(self, limit: int | None) -> dict[str, Any]:
        if self.accelerator.is_fsdp2:
            copy_full_weights(self.wrapped, self.evaluated)
        return self.measure_scores(limit)

    def checkpoint(self) -> None:
        """Write a checkpoint, unless the weights are not worth one."""
        losses = self.progress.losses
        losses.synchronize(self.accelerator)
        self.refuse_divergence(losses.means())
        is_broken = torch.tensor(float(not all_finite(self.wrapped)), device=self.accelerator.device)
        if self.accelerator.reduce(is_broken).item():
            self.refuse_divergence({"weights": math.nan})
        save_checkpoint(self.folder.checkpoints, self.progress.step, self.accelerator, self.args.keep)

    def refuse_divergence(self, values: dict[str, float]) -> None:
        broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if broken:
            checkpoint, _ = find_checkpoint(self.folder.checkpoints)
            raise ValueError(
                f"The training diverged: {', '.join(broken)} at step {self.progress.step}. "
                + (f"The last good checkpoint is {checkpoint}. " if checkpoint else "")
                + "Start anew with a lower --learning-rate, --set training.max_gradient_norm=1, or bf16 for fp16."
            )

    def finish(self) -> None:
        if self.accelerator.is_fsdp2:
            copy_full_weights(self.wrapped, self.evaluated)
        if self.accelerator.is_main_process:
            self.folder.save_model("model", self.evaluated, self.image_processor)
            self.folder.draw_curves()
        score = f"{self.score_name} {self.progress.best_score:.4f}"
        best = f", best {score} (best/)" if self.examples is not None else ""
        self.print(f"Done: {self.folder.path / 'model'}{best}")
        self.accelerator.end_training()

    @property
    def validate_every(self) -> int:
        return self.args.validate_every or max(self.recipe.training.iterations // 10, 1)

    def progress_bar(self) -> tqdm:
        return tqdm(
            total=self.recipe.training.iterations,
            initial=self.progress.step,
            desc="Training",
            unit="step",
            disable=not self.accelerator.is_main_process,
        )

    def describe(self) -> None:
        """Say what is trained on what."""
        accelerator, training = self.accelerator, self.recipe.training
        self.print(
            f"{self.recipe.name}: {self.model.num_parameters() / 1e6:.1f} M parameters, "
            f"{len(self.labels.names)} classes. "
            f"{training.iterations} steps of {training.batch_size} images: {accelerator.num_processes} process(es) on "
            f"{accelerator.device.type}, {self.stream.loader_batch_size} images at a time, "
            f"{accelerator.gradient_accumulation_steps} time(s) a step, precision {accelerator.mixed_precision}."
        )
        if accelerator.is_main_process:
            self.describe_examples()

    def print(self, text: str) -> None:
        self.accelerator.print(text)

    # What follows is of segmentation alone.

    def load_labels(self) -> DatasetLabels:
        return load_labels(self.args.dataset)

    def load_examples(self) -> Any:
        """The validation split."""
        return load_examples(self.args.dataset, self.args.validation_split, self.args.reduce_labels)

    def build_transform(self) -> Any:
        """What augments the training data."""
        return TrainingTransform.from_recipe(self.recipe.training, self.image_processor)

    def make_stream(self, transform: Any, **kwargs: Any) -> ExampleStream:
        """The training split; `None` as transform gives labels as they are."""
        return SegmentationStream(
            self.args.dataset, self.args.train_split, transform, do_reduce_labels=self.args.reduce_labels, **kwargs
        )

    def describe_examples(self) -> None:
        """Say what the labels look like to the model."""
        examples = list(islice(self.open_stream(transform=None), 16))
        counts = sum(example["labels"].flatten().bincount(minlength=256) for example in examples)
        shares = {name: counts[index] / counts.sum() for index, name in enumerate(self.labels.names)}
        shares["(ignored)"] = counts[255] / counts.sum()
        commonest = sorted(shares, key=lambda name: -shares[name])[:10]
        print(f"Labels of {len(examples)} images: {', '.join(f'{name} {shares[name]:.1%}' for name in commonest)}.")

    def prepare_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """What the model takes, of a batch on its device."""
        return batch

    def measure_scores(self, limit: int | None) -> dict[str, float]:
        """Measure `self.evaluated` on the validation split."""
        return evaluate_model(
            self.evaluated,
            self.image_processor,
            self.examples,
            self.accelerator,
            limit=limit,
            num_workers=self.args.workers,
        )


if __name__ == "__main__":
    sys.exit(main())
