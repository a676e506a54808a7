# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The recipe's model, augmentation and optimizer in `transformers.Trainer`, for those who train everything with it:

    python examples/train_with_trainer.py --recipe examples/recipes/scenes-setr-pup.json --dataset demo/scenes \\
        --output runs/trainer

examples/train.py follows the published training to the letter, and resumes exactly; this one is short.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate
from transformers import TrainingArguments

from vitseg.data.augmentation import TrainingTransform
from vitseg.data.dataset_labels import load_labels
from vitseg.data.streaming import load_examples
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.recipes import TrainingRecipe, load_recipe
from vitseg.training.initialization import initial_model
from vitseg.training.optimization import build_optimizer, poly_schedule
from vitseg.training.trainer import StepTrainer, share_of_batch


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, metavar="NAME_OR_FILE")
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_ID")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--init", default="none", metavar="timm|none|FILE|MODEL", help="weights at the start")
    parser.add_argument("--iterations", type=int, help="optimizer steps (default: the recipe's)")
    args = parser.parse_args(arguments)

    recipe = load_recipe(args.recipe, {"training.iterations": args.iterations} if args.iterations else None)
    training = recipe.training
    if not isinstance(training, TrainingRecipe):
        raise ValueError(f"{args.recipe} trains a model for {recipe.task}, which this program does not.")
    if training.rare_class_sampling is not None:
        raise ValueError(f"{args.recipe} repeats rare classes, which this program does not: use `vitseg train`.")
    if training.freeze or training.lora:
        raise ValueError(
            f"{args.recipe} freezes or adapts the encoder, which this program does not: use `vitseg train`."
        )
    if changed := training.changed_losses:
        raise ValueError(
            f"{args.recipe} has {', '.join(changed)}, which this program does not know: use `vitseg train`."
        )
    model, image_processor, _ = initial_model(args.init, recipe, load_labels(args.dataset).id2label)
    image_processor.do_reduce_labels = False  # prepared label maps hold train ids
    examples, validation = load_examples(args.dataset, "train"), load_examples(args.dataset, "validation")
    if len(examples) < training.batch_size:
        raise ValueError(f"{args.dataset} has {len(examples)} images, less than a batch of {training.batch_size}.")
    transform, optimizer = TrainingTransform.from_recipe(training, image_processor), build_optimizer(model, training)

    def augmented(example: dict[str, Any]) -> dict[str, torch.Tensor]:
        image = torch.from_numpy(np.array(example["image"])).permute(2, 0, 1)
        # torch's generator is the one that Trainer seeds.
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        return transform(image, torch.from_numpy(example["label_map"]), rng)

    settings = TrainingArguments(
        output_dir=str(args.output),
        max_steps=training.iterations,
        max_grad_norm=training.max_gradient_norm or 0.0,
        remove_unused_columns=False,
        logging_steps=10,
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_drop_last=True,  # batch norms learn nothing of the one image that may be left
        report_to="none",
    )
    settings.per_device_train_batch_size = share_of_batch(training.batch_size, settings)
    trainer = StepTrainer(
        model=model,
        args=settings,
        train_dataset=examples,
        data_collator=lambda examples: default_collate([augmented(example) for example in examples]),
        processing_class=image_processor,
        optimizers=(optimizer, poly_schedule(optimizer, training)),
    )
    trainer.train()
    trainer.save_model()
    scores = evaluate_model(model, image_processor, validation, trainer.accelerator)
    trainer.accelerator.print(f"mean IoU {scores['mean_iou']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
