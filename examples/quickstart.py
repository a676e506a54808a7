# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
From nothing to segmented pictures in a few minutes, on a laptop and without downloading anything:

    python examples/quickstart.py --output demo

Draws a small data set of street scenes, trains a small SETR-PUP on it (examples/train.py with the recipe
examples/recipes/scenes-setr-pup.json), loads the model as anyone would, measures mean IoU on scenes never trained on,
and leaves pictures to look at.
"""

import argparse
import os
import sys
import time
from pathlib import Path


from vitseg import cli  # isort: skip - before PyTorch, whose threads it tells how long to wait for work

import numpy as np
from accelerate import Accelerator, PartialState
from datasets import Dataset
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

from vitseg.data.streaming import load_examples
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.evaluation.metric import MeanIoU
from vitseg.evaluation.plots import plot_class_bars
from vitseg.label_maps import comparison
from vitseg.processor import computes_bfloat16
from vitseg.progress import library_bars_hidden
from vitseg.scenes import SCENE_CLASSES, SCENE_PALETTE, write_scenes


RECIPE = Path(__file__).with_name("recipes") / "scenes-setr-pup.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--iterations", type=int, default=650, help="training steps")
    parser.add_argument("--train-scenes", type=int, default=600, help="scenes to train on")
    parser.add_argument("--validation-scenes", type=int, default=40, help="scenes to measure on")
    args = parser.parse_args(arguments)
    started = time.monotonic()

    scenes = args.output / "scenes"
    if PartialState().is_main_process and not scenes.exists():
        write_scenes(scenes, num_train=args.train_scenes, num_validation=args.validation_scenes)
    PartialState().wait_for_everyone()

    options = {"recipe": RECIPE, "dataset": scenes, "output": args.output, "iterations": args.iterations}
    options |= {"log-every": 10, "validate-every": max(args.iterations // 5, 1), "workers": 0}
    if PartialState().device.type == "cpu":
        # Images as small as these have few tokens: all pairs of them fit into memory, and take less time so.
        options["attention"] = "eager"
        if computes_bfloat16():
            os.environ.setdefault("ACCELERATE_MIXED_PRECISION", "bf16")
    if (args.output / "checkpoints").exists():
        options["resume"] = "latest"
    status = cli.main(["train", *(f"--{name}={value}" for name, value in options.items())])
    if status:
        return status

    accelerator = Accelerator()
    folder = args.output / "model"
    model = AutoModelForSemanticSegmentation.from_pretrained(folder).to(accelerator.device)
    examples = load_examples(scenes, "validation")
    scores = evaluate_model(model, AutoImageProcessor.from_pretrained(folder), examples, accelerator)
    if accelerator.is_main_process:
        print_scores(scores, majority_class_miou(examples))
        draw(args.output, scores, examples)
        print(f"Done in {time.monotonic() - started:.0f} s. Look at {args.output}/*.png")
        print_next_steps(args.output)
    accelerator.end_training()
    return 0


def majority_class_miou(examples: Dataset) -> float:
    """Mean IoU of answering the commonest class everywhere: what a model has to beat."""
    label_maps = [example["label_map"] for example in examples]
    counts = np.bincount(np.concatenate([label_map.ravel() for label_map in label_maps]), minlength=256)
    majority = int(counts[: len(SCENE_CLASSES)].argmax())
    metric = MeanIoU(num_labels=len(SCENE_CLASSES))
    metric.add_batch(
        predictions=[np.full_like(label_map, majority) for label_map in label_maps], references=label_maps
    )
    return float(metric.compute()["mean_iou"])


def print_scores(scores: dict, baseline: float) -> None:
    print("\nclass        IoU   accuracy")
    for index in np.argsort(-scores["per_category_iou"]):
        iou, accuracy = scores["per_category_iou"][index], scores["per_category_accuracy"][index]
        print(f"{SCENE_CLASSES[index]:10} {iou:6.3f}     {accuracy:6.3f}")
    print(f"mean IoU {scores['mean_iou']:.3f} with sliding windows (the commonest class everywhere: {baseline:.3f})\n")


def draw(output: Path, scores: dict, examples: Dataset) -> None:
    """IoU of each class, and a few scenes as the saved model sees them through `pipeline`."""
    plot_class_bars(SCENE_CLASSES, scores["per_category_iou"], output / "iou.png", "IoU on scenes never trained on")
    segment = pipeline("image-segmentation", model=str(output / "model"))
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
    with library_bars_hidden():
        sys.exit(main())
