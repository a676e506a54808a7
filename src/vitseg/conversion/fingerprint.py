# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a model folder answers to fixed inputs, kept in it as `fingerprint.json`, so that a later load can be checked:

    python -m vitseg.conversion.fingerprint DIR

This file also runs by itself, where vitseg is not installed: it needs torch and transformers alone.
"""

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image


FILE = "fingerprint.json"
SEED = 0
# Neither square nor the size of a training crop, so that heights, widths and positions cannot be mixed up unseen.
INPUT_SIZE = (192, 256)
IMAGE_SIZE = (96, 64)
SLICE_LENGTH = 16
# Printed when all is imported: what other libraries say before is no fault of a folder.
IMPORTED = "Imported."
# Largest difference, in parts of the largest value. Machines and versions round differently.
TOLERANCE = 1e-3

Fingerprint = dict[str, Any]


def take_fingerprint(model: Any, image_processor: Any) -> Fingerprint:
    """
    What the image processor makes of a noisy picture, or of noise in all bands, and what the model answers to noise,
    in float32.

    Args:
        model: of any task, in evaluation mode, on the CPU.
        image_processor: the one that goes with it.

    Raises:
        ValueError: if an answer is not finite.
    """
    random = np.random.RandomState(SEED)
    num_bands = getattr(image_processor, "num_bands", None)
    channels = num_bands or 3
    noise = random.randint(0, 256, (*IMAGE_SIZE[::-1], channels), dtype=np.uint8)
    image = Image.fromarray(noise) if num_bands is None else noise
    pixel_values = torch.from_numpy(random.standard_normal((1, channels, *_input_size(image_processor)))).float()
    with torch.inference_mode():
        outputs = model(pixel_values)
    answers = {name: value for name, value in outputs.items() if torch.is_tensor(value) and value.is_floating_point()}
    return {
        "seed": SEED,
        "input_shape": list(pixel_values.shape),
        "answers": {
            "pixel_values": _summary("pixel_values", image_processor(image, return_tensors="pt")["pixel_values"]),
            **{name: _summary(name, value) for name, value in answers.items()},
        },
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def largest_difference(actual: Fingerprint, expected: Fingerprint) -> float:
    """
    The largest difference between two fingerprints, in parts of the largest value of each answer.

    Raises:
        ValueError: if their answers have other names or shapes.
    """
    shapes = [{name: answer["shape"] for name, answer in each["answers"].items()} for each in (actual, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"The fingerprint has answers of the shapes {shapes[1]}; the model gives {shapes[0]}.")
    return max(_difference(actual["answers"][name], answer) for name, answer in expected["answers"].items())


def check_fingerprint(actual: Fingerprint, expected: Fingerprint) -> float:
    """
    As [`largest_difference`].

    Raises:
        ValueError: see there; and if the difference is larger than `TOLERANCE`.
    """
    difference = largest_difference(actual, expected)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"The model does not answer as its fingerprint says: the difference is {difference:.1e} of the largest "
            f"value, and at most {TOLERANCE:.0e} is rounding."
        )
    return difference


def read_fingerprint(folder: str | Path) -> Fingerprint | None:
    """
    The fingerprint kept in a model folder, `None` if there is none.

    Raises:
        ValueError: if the file holds something else.
    """
    file = Path(folder) / FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content["answers"], dict):
            raise TypeError("answers")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no fingerprint: {error!r}. Delete it, and convert with --verify again."
        ) from error
    return content


def load_folder(folder: str | Path, **options: Any) -> tuple[Any, Any]:
    """
    Model, in float32, and image processor of a folder, by the Auto classes that its configuration names, or by the
    class of transformers that it was saved from.

    Raises:
        ValueError: if it names none.
    """
    config = transformers.AutoConfig.from_pretrained(folder, **options)
    auto_class = auto_class_of(getattr(config, "auto_map", None) or {})
    class_name = auto_class or next(iter(config.architectures or ()), "")
    if not hasattr(transformers, class_name):
        raise ValueError(
            f"{folder} does not say which code loads it: its config.json has no auto_map with a model, and "
            f"architectures={config.architectures}, which transformers does not have."
        )
    model = getattr(transformers, class_name).from_pretrained(folder, dtype=torch.float32, **options)
    return model.eval(), transformers.AutoImageProcessor.from_pretrained(folder, **options)


def auto_class_of(auto_map: Mapping[str, str]) -> str | None:
    """The Auto class of the model in an `auto_map`, such as `"AutoModelForSemanticSegmentation"`."""
    return next((name for name in auto_map if name.startswith("AutoModel")), None)


def _input_size(image_processor: Any) -> tuple[int, int]:
    """Height and width of what the model is shown: where images are cropped to one size, it may take no other."""
    if not getattr(image_processor, "do_center_crop", False):
        return INPUT_SIZE
    crop_size = dict(image_processor.crop_size)
    return crop_size["height"], crop_size["width"]


def _summary(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    values = tensor.detach().double().flatten()
    if not values.isfinite().all():
        raise ValueError(f"The {name} are not finite: something is wrong with the weights.")
    statistics = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    step = max(len(values) // SLICE_LENGTH, 1)
    return {
        "shape": list(tensor.shape),
        **{key: float(f"{value:.7g}") for key, value in statistics.items()},
        "slice": [float(f"{value:.7g}") for value in values[::step][:SLICE_LENGTH].tolist()],
    }


def _difference(actual: dict[str, Any], expected: dict[str, Any]) -> float:
    scale = max(abs(expected["min"]), abs(expected["max"])) or 1.0
    pairs = [(actual[key], expected[key]) for key in ("mean", "std", "min", "max")]
    pairs += zip(actual["slice"], expected["slice"], strict=True)
    return max(abs(one - other) for one, other in pairs) / scale


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check that model folders answer as their fingerprints say.")
    parser.add_argument("folders", nargs="+", metavar="DIR", help="model folder with a fingerprint")
    parser.add_argument("--remote-code", action="store_true", help="with the folder's own code, as without vitseg")
    parser.add_argument("--take", type=Path, metavar="FILE", help="write the fingerprints to FILE, and check nothing")
    args = parser.parse_args(arguments)
    if args.remote_code and "vitseg" in sys.modules:
        # Where vitseg's classes are known, they are taken: this file runs by itself then.
        return subprocess.run([sys.executable, __file__, *(arguments or sys.argv[1:])], check=False).returncode
    options = {}
    if args.remote_code:
        options["trust_remote_code"] = True
    else:
        import vitseg  # noqa: F401  (makes its models known to the Auto classes)
    importlib.import_module("transformers.modeling_utils")
    if args.take:
        print(IMPORTED, file=sys.stderr)
    try:
        taken = [take_fingerprint(*load_folder(folder, **options)) for folder in args.folders]
        if args.remote_code and "vitseg" in sys.modules:
            raise ValueError(
                f"The code of {' or '.join(args.folders)} imports vitseg, so it does not load without it."
            )
        if args.take:
            args.take.write_text(json.dumps(taken), encoding="utf-8")
            return 0
        for folder, actual in zip(args.folders, taken, strict=True):
            expected = read_fingerprint(folder)
            if expected is None:
                raise ValueError(f"{folder} has no {FILE}.")
            print(
                f"{folder} answers as its fingerprint says: largest difference "
                f"{check_fingerprint(actual, expected):.1e}."
            )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
