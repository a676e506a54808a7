# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
From nothing to segmented pictures in a few minutes, on a laptop and without downloading anything:

    python examples/quickstart.py --output demo

Draws a small data set of street scenes, trains a small SETR-PUP on it, measures mean IoU on scenes never trained on,
saves the model, loads it again as anyone would, and leaves pictures to look at.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import Dataset
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm
from transformers import pipeline

from vitseg import PlainVitConfig, SetrConfig, SetrForSemanticSegmentation, SetrImageProcessor
from vitseg.data.augmentation import TrainingTransform
from vitseg.data.scenes import SCENE_CLASSES, SCENE_PALETTE, write_scenes
from vitseg.data.streaming import SegmentationStream, load_examples, train_loader
from vitseg.evaluation.drawing import comparison, plot_class_bars, plot_training
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.evaluation.metric import MeanIoU
from vitseg.recipes import TrainingRecipe
from vitseg.training.optimization import build_optimizer, poly_schedule


CROP_SIZE = 128
RECIPE = TrainingRecipe(
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    parameter_rules={"norm": {"decay_mult": 0.0}, "position_embeddings": {"decay_mult": 0.0}},
    min_learning_rate=1e-6,
    warmup_iterations=40,
    warmup_ratio=0.01,
    iterations=650,
    batch_size=8,
    crop_size=(CROP_SIZE, CROP_SIZE),
    scale=(4 * CROP_SIZE, CROP_SIZE),
    ratio_range=(0.75, 1.33),
    pretrained=None,
)
MAX_GRADIENT_NORM = 1.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--iterations", type=int, default=RECIPE.iterations, help="training steps")
    parser.add_argument("--train-scenes", type=int, default=600, help="scenes to train on")
    parser.add_argument("--validation-scenes", type=int, default=40, help="scenes to measure on")
    args = parser.parse_args(arguments)
    recipe = dataclasses.replace(RECIPE, iterations=args.iterations)
    started = time.monotonic()

    accelerator = Accelerator()
    set_seed(0)
    scenes, model_folder = args.output / "scenes", args.output / "model"
    if accelerator.is_main_process and not scenes.exists():
        write_scenes(scenes, num_train=args.train_scenes, num_validation=args.validation_scenes)
    accelerator.wait_for_everyone()

    model = build_model()
    image_processor = SetrImageProcessor(size={"shortest_edge": CROP_SIZE, "longest_edge": 4 * CROP_SIZE})
    accelerator.print(f"Training a SETR-PUP of {model.num_parameters() / 1e6:.1f} M parameters.")
    history = train(model, scenes, recipe, accelerator)

    examples = load_examples(scenes, "validation")
    scores = evaluate_model(model, image_processor, examples, accelerator)
    if accelerator.is_main_process:
        print_scores(scores, majority_class_miou(examples))
        model.save_pretrained(model_folder)
        image_processor.save_pretrained(model_folder)
        draw(args.output, model_folder, history, scores, examples)
        print(f"Done in {time.monotonic() - started:.0f} s. Look at {args.output}/*.png")
        print_next_steps(args.output)
    accelerator.end_training()
    return 0


def build_model() -> SetrForSemanticSegmentation:
    """A SETR-PUP that a CPU trains in minutes: patches of 8 pixels, six blocks, three upsampling convolutions."""
    backbone_config = PlainVitConfig(
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        image_size=CROP_SIZE,
        patch_size=8,
        out_indices=[3, 6],
    )
    config = SetrConfig(
        backbone_config=backbone_config,
        decoder_type="pup",
        decoder_hidden_size=64,
        decoder_upsample_scales=[2, 2, 2],
        auxiliary_heads=[{"in_index": 0, "kernel_size": 3, "upsample_scales": [4]}],
        id2label=dict(enumerate(SCENE_CLASSES)),
        label2id={name: index for index, name in enumerate(SCENE_CLASSES)},
    )
    return SetrForSemanticSegmentation(config)


def train(
    model: SetrForSemanticSegmentation, scenes: Path, recipe: TrainingRecipe, accelerator: Accelerator
) -> list[dict[str, float]]:
    """Train `model` in place; returns step, loss and learning rate of every step."""
    transform = TrainingTransform(
        crop_size=recipe.crop_size,
        scale=recipe.scale,
        ratio_range=recipe.ratio_range,
        max_category_share=recipe.max_category_share,
        flip_probability=recipe.flip_probability,
        photometric_distortion=recipe.photometric_distortion,
    )
    stream = SegmentationStream(
        scenes,
        "train",
        transform,
        num_labels=model.config.num_labels,
        batch_size=recipe.batch_size,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    optimizer = build_optimizer(model, recipe)
    schedule = poly_schedule(optimizer, recipe)
    # The stream already gives each process its own share.
    wrapped_model, optimizer = accelerator.prepare(model, optimizer)
    wrapped_model.train()

    history = []
    batches = iter(train_loader(stream, num_workers=0))
    with tqdm(total=recipe.iterations, desc="Training", disable=not accelerator.is_main_process) as progress:
        for step in range(1, recipe.iterations + 1):
            batch = {name: tensor.to(accelerator.device) for name, tensor in next(batches).items()}
            with accelerator.autocast():
                loss = wrapped_model(**batch).loss
            accelerator.backward(loss)
            clip_grad_norm_(wrapped_model.parameters(), MAX_GRADIENT_NORM)
            learning_rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

            history.append({"step": step, "loss": loss.item(), "learning_rate": learning_rate})
            progress.update()
            rate = progress.format_dict["rate"] or 0.0
            progress.set_postfix_str(
                f"loss {loss.item():.3f}, lr {learning_rate:.1e}, {rate * recipe.batch_size:.0f} images/s"
            )
    return history


def majority_class_miou(examples: Dataset) -> float:
    """Mean IoU of answering the commonest class everywhere: what a model has to beat."""
    label_maps = [example["label_map"] for example in examples]
    counts = sum(np.bincount(label_map.ravel(), minlength=256) for label_map in label_maps)
    majority = int(counts[: len(SCENE_CLASSES)].argmax())
    metric = MeanIoU(num_labels=len(SCENE_CLASSES))
    metric.add_batch(
        predictions=[np.full_like(label_map, majority) for label_map in label_maps], references=label_maps
    )
    return metric.compute()["mean_iou"]


def print_scores(scores: dict, baseline: float) -> None:
    print("\nclass        IoU   accuracy")
    for index in np.argsort(-scores["per_category_iou"]):
        iou, accuracy = scores["per_category_iou"][index], scores["per_category_accuracy"][index]
        print(f"{SCENE_CLASSES[index]:10} {iou:6.3f}     {accuracy:6.3f}")
    print(f"mean IoU {scores['mean_iou']:.3f} with sliding windows (the commonest class everywhere: {baseline:.3f})\n")


def draw(output: Path, model_folder: Path, history: list[dict], scores: dict, examples: Dataset) -> None:
    """Training curve, IoU of each class, and a few scenes as the saved model sees them through `pipeline`."""
    plot_training(history, output / "training.png")
    plot_class_bars(SCENE_CLASSES, scores["per_category_iou"], output / "iou.png", "IoU on scenes never trained on")
    segment = pipeline("image-segmentation", model=str(model_folder))
    for index in range(min(4, len(examples))):
        example = examples[index]
        prediction = np.full(example["label_map"].shape, 255, np.uint8)
        for found in segment(example["image"]):
            prediction[np.asarray(found["mask"]) > 0] = SCENE_CLASSES.index(found["label"])
        picture = comparison(example["image"], prediction, example["label_map"], SCENE_CLASSES, SCENE_PALETTE)
        picture.save(output / f"scene_{index}.png")
        example["image"].save(output / f"scene_{index}.jpg", quality=95)


def print_next_steps(output: Path) -> None:
    print("Next:")
    print(f"  python examples/segment.py --model {output}/model {output}/scene_0.jpg --output {output}/segmented")
    print("  python conversion/convert.py --list")
    print("  python -m vitseg.recipes")


if __name__ == "__main__":
    sys.exit(main())
