# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The training loop, the same for all tasks. What a task has of its own is a [`Task`]; what the steps change, a
[`TrainingState`].
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import TorchDynamoPlugin, broadcast_object_list, gather_object, send_to_device, set_seed
from tqdm import tqdm

from .. import __version__
from ..conversion.provenance import TRAINING_FILE
from ..data.fingerprint import fingerprint_files
from ..data.loading import train_loader
from ..data.streaming import ExampleStream, parquet_files
from ..evaluation.inference import require_precision
from ..processor import keep_memory, products_by_onednn
from ..progress import progress_bar
from ..recipes import load_recipe, recipe_to_json
from ..replacing import write_json
from ..workers import default_workers
from .adaptation import Adaptation
from .checkpoints import MANIFEST, all_finite, find_checkpoint, load_checkpoint, save_checkpoint
from .classification import ClassificationTask
from .detection import DetectionTask
from .initialization import PRETRAINED
from .interruption import StopRequest
from .optimization import unfinished_warmup
from .options import TrainingOptions
from .policy import PolicyTask
from .run_folder import RunFolder
from .segmentation import SegmentationTask
from .state import Stopwatch, TrainingState
from .tasks import Task, Validation


# Steps after which several processes ask each other whether to stop: seconds, of the half minute that launchers and
# schedulers give them.
AGREE_EVERY = 10
# Seconds between drawings of the curves: each takes some tenths of one.
DRAW_EVERY = 30.0

# Task of a recipe -> what its training has of its own.
TASKS: Mapping[str, type[Task]] = {
    "segmentation": SegmentationTask,
    "classification": ClassificationTask,
    "detection": DetectionTask,
    "policy": PolicyTask,
}


class Training:
    """
    A training run.

    Args:
        options: what is trained on what, and how the run goes.

    Raises:
        ValueError: if the options do not fit each other, the recipe, the data or the devices, or if the output folder
            holds another run.
    """

    def __init__(self, options: TrainingOptions) -> None:
        self.options = options
        self.recipe = load_recipe(options.recipe, options.changes, options.backbone)
        self.require_one_encoder()
        self.task = TASKS[self.recipe.task](self.recipe, options)
        self.ema = getattr(self.recipe.training, "ema_decay", None) if options.ema is None else options.ema
        if self.ema is not None and not 0 <= self.ema <= 1:
            raise ValueError(f"decay of the moving average (--ema) is {self.ema}; expected 0 to 1.")
        self.accelerator = Accelerator(
            log_with=options.report_to,
            project_dir=options.output,
            dynamo_plugin=TorchDynamoPlugin(backend="inductor") if options.compile else None,
        )
        self.require_trackers()
        require_precision(self.accelerator)
        if self.accelerator.device.type == "cpu":
            keep_memory()
        self.accelerator.gradient_accumulation_steps = self.count_accumulation_steps()
        self.workers = default_workers() if options.workers is None else options.workers
        self.folder = RunFolder(options.output)
        self.folder.require(self.settings, resumes=options.resume is not None)
        self.examples = self.task.load_examples() if options.validation_split != "none" else None
        self.warning = self.task.check_training_split()
        self.inputs = self.fingerprint_inputs()
        self.folder.require_inputs(self.inputs)
        self.checkpoint_to_load = self.choose_checkpoint()
        self.state = self.build_state()

    def run(self) -> int:
        """Train to the end, or until the system or a person wants the process to stop; returns the exit status."""
        if self.examples is not None:
            # A validation that cannot work should fail now, and not after the first hours.
            self.measure_scores(limit=2 * self.accelerator.num_processes)
        self.resume()
        self.begin()
        progress, iterations = self.state.progress, self.recipe.training.iterations
        stops = False
        with (
            products_by_onednn(self.accelerator.device),
            StopRequest() as stop,
            self.open_bar() as bar,
            closing(train_loader(self.open_stream(), self.workers)) as batches,
        ):
            watch = Stopwatch(progress.step)
            while progress.step < iterations and not stops:
                with watch.waiting():
                    step_batches = list(islice(batches, self.accelerator.gradient_accumulation_steps))
                learning_rate = self.make_step(step_batches)
                bar.update()
                self.report(learning_rate, bar, watch)
                stops = self.must_stop(stop)
                if stops or self.is_due(self.options.checkpoint_every):
                    self.save_checkpoint()
                    watch.restart(progress.step)
        if self.accelerator.is_main_process:
            self.folder.draw_curves()
        if progress.step < iterations:
            self.accelerator.print(
                f"Stopped after step {progress.step}. To go on, add --resume latest to the command."
            )
            return 128 + stop.received
        self.finish()
        return 0

    def make_step(self, step_batches: list[dict[str, Any]]) -> float:
        """One optimizer step; returns the learning rate it was made at."""
        accelerator, state, max_norm = self.accelerator, self.state, self.recipe.training.max_gradient_norm
        state.begin_step()
        num_items = self.count_items(step_batches)
        for batch in step_batches:
            arguments = self.task.prepare_batch(send_to_device(batch, accelerator.device, non_blocking=True))
            with accelerator.accumulate(state.trained):
                outputs = state.trained(**arguments, num_items_in_batch=num_items)
                accelerator.backward(outputs.loss)
                if max_norm is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(state.trained.parameters(), max_norm)
                state.optimizer.step()
                state.optimizer.zero_grad()
            state.progress.losses.add({"loss": outputs.loss, **(outputs.get("loss_dict") or {})})
        return state.end_step()

    def count_items(self, step_batches: list[dict[str, Any]]) -> torch.Tensor | None:
        """
        What the losses of a step's batches are means over, so that the gradient is that of all its images together
        however they are divided among batches and processes; `None` where one batch holds all of them.

        It is the mean over the batches: Accelerate averages losses over the batches of a process, and gradients over
        processes.
        """
        count = len(step_batches) * self.accelerator.num_processes
        if count == 1:
            return None
        items = [self.task.count_items(self.state.model, batch) for batch in step_batches]
        return self.accelerator.reduce(torch.stack(items).sum(dim=0)) / count

    def must_stop(self, stop: StopRequest) -> bool:
        """Whether any process was asked to stop; several agree on it every few steps, since they wait for each other
        then."""
        if self.accelerator.num_processes > 1 and self.state.progress.step % AGREE_EVERY:
            return False
        return stop.agree(self.accelerator)

    def is_due(self, every: int) -> bool:
        """Whether something that is done every so many steps, and at the end, is to be done now."""
        step = self.state.progress.step
        return step == self.recipe.training.iterations or step % every == 0

    # Before the first step.

    def require_one_encoder(self) -> None:
        """Refuse weights at the start that would take the place of those of a pretrained backbone."""
        init, backbone = self.options.init, self.options.backbone
        if init in (None, *PRETRAINED):
            return
        if backbone is not None:
            raise ValueError(
                f"--backbone {backbone} brings weights of the encoder, and --init {init} others. Give one of them; a "
                "model over such an encoder goes on with --init alone."
            )
        if self.options.save_adapter:
            raise ValueError(
                f"An adapter is saved beside an encoder as it was published, but --init {init} brings other weights. "
                "Leave out --save-adapter."
            )

    def require_trackers(self) -> None:
        """Refuse trackers that are not installed, which Accelerate leaves out without a word."""
        available = {str(tracker) for tracker in self.accelerator.log_with}
        missing = [name for name in self.options.report_to or () if name not in {*available, "all"}]
        if missing:
            raise ValueError(
                f"--report-to {' '.join(missing)}: not installed (pip install {' '.join(missing)}). "
                f"Installed trackers: {', '.join(map(str, get_available_trackers())) or 'none'}."
            )

    def count_accumulation_steps(self) -> int:
        """How many batches each process makes of its part of a step."""
        batch_size, processes = self.recipe.training.batch_size, self.accelerator.num_processes
        at_a_time = self.options.per_device_batch_size or max(batch_size // processes, 1)
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
        names = ("train_split", "reduce_labels", "init", "policy", "seed", "shuffle_buffer", "cache")
        return {
            "recipe": json.loads(recipe_to_json(self.recipe)),
            "labels": list(self.task.labels.names),
            "ema": self.ema,
            "dataset": str(self.options.dataset).rstrip("/"),
            **{name: getattr(self.options, name) for name in names},
        }

    def fingerprint_inputs(self) -> dict[str, Mapping[str, str]]:
        """What tells the data of the run from others. Each process reads its share of them."""
        source, accelerator = self.options.dataset, self.accelerator
        splits = [self.options.train_split, *([self.options.validation_split] if self.examples is not None else [])]
        inputs: dict[str, Mapping[str, str]] = {}
        for split in splits:
            share = parquet_files(source, split)[accelerator.process_index :: accelerator.num_processes]
            inputs[f"split {split!r} of {source}"] = dict(gather_object([*fingerprint_files(share, source).items()]))
        return inputs

    @property
    def record(self) -> dict[str, Any]:
        """What a saved model says of its training; see [`read_training`]."""
        training = self.recipe.training
        lora = getattr(training, "lora", None)
        settings = dataclasses.asdict(training)
        return {
            "recipe": self.recipe.name,
            "iterations": training.iterations,
            "encoder": training.pretrained.model if training.pretrained else None,
            "freeze": list(training.freeze),
            "lora": None if lora is None else dataclasses.asdict(lora),
            "losses": {name: settings[name] for name in getattr(training, "changed_losses", ())},
            "augmentation": settings.get("augmentation"),
            "vitseg": __version__,
        }

    def choose_checkpoint(self) -> Path | None:
        """The checkpoint to go on from, if any."""
        resume = self.options.resume
        if resume is None:
            return None
        if resume != "latest":
            if not (path := Path(resume)).joinpath(MANIFEST).exists():
                raise ValueError(
                    f"--resume {resume} is no checkpoint, such as {self.folder.checkpoints / 'step-00001000'}. The "
                    "newest of this run is --resume latest."
                )
            return path
        found: list[tuple[Path | None, list[str]]] = [(None, [])]
        if self.accelerator.is_main_process:
            found = [find_checkpoint(self.folder.checkpoints)]
        ((path, problems),) = broadcast_object_list(found)
        for problem in problems:
            self.accelerator.print(f"{problem} Using the one before.")
        if path is None:
            self.accelerator.print("There is no checkpoint yet: starting from the beginning.")
        return path

    def build_state(self) -> TrainingState:
        """Model, optimizer and schedule as at the start, ready for the devices."""
        options, training, resumes = self.options, self.recipe.training, self.checkpoint_to_load is not None
        set_seed(options.seed)
        init = options.init or ("pretrained" if training.pretrained else "none")
        if resumes and (init in PRETRAINED or Path(init).is_file()):
            init = "none"  # the checkpoint has the weights
        start = self.task.build_model(init, resumes)
        self.inputs |= start.inputs
        self.folder.require_inputs(self.inputs)
        if init not in ("none", *PRETRAINED) and start.random_names:
            names = start.random_names
            heads = sorted({name.partition(".")[0] for name in names})
            listed = names if len(names) <= 8 else [f"{len(names)} parameters of", *heads]
            self.accelerator.print(f"Not from {init}, and therefore random: {', '.join(listed)}.")
        if options.attention is not None:
            try:
                start.model.set_attn_implementation(options.attention)
            except (ImportError, ValueError) as error:
                raise ValueError(f"--attention {options.attention} cannot be had: {error}") from error
        if options.gradient_checkpointing:
            # The name before transformers 5.2x and the one after.
            model = start.model
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            try:
                enable()
            except ValueError as error:
                raise ValueError(
                    f"The model cannot do without its activations: leave out --gradient-checkpointing. ({error})"
                ) from error
        self.adaptation = Adaptation(start.model, training, options.save_adapter)
        state = TrainingState(start, self.adaptation.frozen, training, self.accelerator, self.ema)
        # From here on, processes may drop different paths.
        set_seed(options.seed, device_specific=True)
        return state

    def resume(self) -> None:
        """Load the checkpoint to go on from, if any."""
        if self.checkpoint_to_load is not None:
            load_checkpoint(self.checkpoint_to_load, self.accelerator)
            # The number of batches in a step may have changed with the number of devices.
            self.accelerator.step = 0
            self.accelerator.print(f"Going on from {self.checkpoint_to_load}, after step {self.state.progress.step}.")

    def begin(self) -> None:
        """Take the output folder, and say what is trained on what."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.folder.begin(self.settings, self.inputs, self.state.progress.step)
            self.describe()
        self.accelerator.init_trackers(self.options.output.name)

    def describe(self) -> None:
        accelerator, training = self.accelerator, self.recipe.training
        stream = self.open_stream(augments=False)
        print(
            f"{self.recipe.name}: {self.state.model.num_parameters() / 1e6:.1f} M parameters, "
            f"{len(self.task.labels.names)} classes. "
            f"{training.iterations} steps of {training.batch_size} images: {accelerator.num_processes} process(es) on "
            f"{accelerator.device.type}, {stream.loader_batch_size} images at a time, "
            f"{accelerator.gradient_accumulation_steps} time(s) a step, precision {accelerator.mixed_precision}."
        )
        print(self.task.describe(stream))
        for warning in (self.warning, unfinished_warmup(self.state.schedule, training)):
            if warning:
                print(f"Warning: {warning}")

    def open_stream(self, augments: bool = True) -> ExampleStream:
        """The training data that come next; without augmentation, their labels."""
        options, accelerator, batch_size = self.options, self.accelerator, self.recipe.training.batch_size
        return self.task.open_stream(
            self.state.image_processor if augments else None,
            num_labels=len(self.task.labels.names),
            batch_size=batch_size,
            seed=options.seed,
            shuffle_buffer=options.shuffle_buffer,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            accumulation_steps=accelerator.gradient_accumulation_steps,
            start=self.state.progress.step * batch_size,
            streaming=not options.cache,
        )

    def open_bar(self) -> tqdm:
        return progress_bar(
            total=self.recipe.training.iterations,
            initial=self.state.progress.step,
            desc="Training",
            unit="step",
            disable=not self.accelerator.is_main_process,
        )

    # After a step.

    def report(self, learning_rate: float, bar: tqdm, watch: Stopwatch) -> None:
        """Log the losses and validate, if it is time for it."""
        if self.is_due(self.options.log_every):
            self.log(learning_rate, bar, watch)
        every = self.options.validate_every or max(self.recipe.training.iterations // 10, 50)
        if self.examples is not None and self.is_due(every):
            self.validate(bar)
            watch.restart(self.state.progress.step)

    def log(self, learning_rate: float, bar: tqdm, watch: Stopwatch) -> None:
        step = self.state.progress.step
        losses = self.state.progress.losses.read(self.accelerator)
        self.refuse_divergence(losses)
        row = {"step": step, **losses, "learning_rate": learning_rate}
        images_per_second, waiting = watch.read(step, self.recipe.training.batch_size)
        self.accelerator.log(row | {"images_per_second": images_per_second, "share_waiting": waiting}, step=step)
        if self.accelerator.is_main_process:
            self.folder.metrics.append(row)
        bar.set_postfix_str(
            f"loss {losses['loss']:.3f}, lr {learning_rate:.1e}, {images_per_second:.1f} images/s, "
            f"{waiting:.0%} waiting for data"
        )

    def validate(self, bar: tqdm) -> None:
        """Measure the weights as they are, keep them if they are the best, and draw the curves now and then."""
        progress = self.state.progress
        measured = self.measure_scores(self.options.validation_limit)
        self.accelerator.log(measured, step=progress.step)
        score = measured.get(self.task.scores[0], math.nan)
        is_best = score > progress.best_score
        if is_best:
            progress.best_score = score
            self.save_model("best")
        if self.accelerator.is_main_process:
            if measured:
                self.folder.metrics.append({"step": progress.step, **measured})
            self.folder.draw_curves(interval=DRAW_EVERY)
            found = "cannot be measured on these images" if math.isnan(score) else f"{score:.4f}"
            bar.write(f"Step {progress.step}: {self.task.score_name} {found}{' (best)' if is_best else ''}")

    def measure_scores(self, limit: int | None) -> dict[str, float]:
        """The task's scores of the first `limit` examples of the validation split, but for those that are NaN."""
        given = Validation(
            model=self.state.evaluated_model(),
            image_processor=self.state.image_processor,
            examples=self.examples,
            accelerator=self.accelerator,
            limit=limit,
            workers=self.workers,
        )
        scores = self.task.measure(given)
        return {name: scores[name] for name in self.task.scores if not math.isnan(scores[name])}

    def save_checkpoint(self) -> None:
        """Write a checkpoint, unless the weights are not worth one."""
        progress = self.state.progress
        progress.losses.synchronize(self.accelerator)
        self.refuse_divergence(progress.losses.means())
        is_broken = torch.tensor(float(not all_finite(self.state.trained)), device=self.accelerator.device)
        if self.accelerator.reduce(is_broken).item():
            self.refuse_divergence({"weights": math.nan})
        save_checkpoint(self.folder.checkpoints, progress.step, self.accelerator, self.options.keep)

    def refuse_divergence(self, values: Mapping[str, float]) -> None:
        broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if broken:
            checkpoint, _ = find_checkpoint(self.folder.checkpoints)
            raise ValueError(
                f"The training diverged: {', '.join(broken)} at step {self.state.progress.step}. "
                + (f"The last good checkpoint is {checkpoint}. " if checkpoint else "")
                + "Start anew with a lower --learning-rate, --set training.max_gradient_norm=1, or bf16 for fp16."
            )

    def save_model(self, name: str) -> None:
        """Write the model as it is validated to a folder of the run. All processes call this."""
        model = self.state.evaluated_model()
        if self.accelerator.is_main_process:
            with self.folder.replacing(name) as folder:
                self.adaptation.save_model(model, folder)
                write_json(folder / TRAINING_FILE, self.record)
                self.state.image_processor.save_pretrained(folder)

    def finish(self) -> None:
        self.save_model("model")
        score = self.state.progress.best_score
        best = f", best {self.task.score_name} {score:.4f} (best/)" if score >= 0 else ""
        self.accelerator.print(f"Done: {self.folder.path / 'model'}{best}")
        self.accelerator.end_training()
