# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Segment images with a model folder, or a model from the Hub.

    python examples/segment.py --model DIR_OR_HUB_ID image.jpg folder/ --output out/
    python examples/segment.py --model DIR_OR_HUB_ID folder/ --output out/ --batch-size 8 --dtype bfloat16

For image.jpg it writes

    image_overlay.jpg   the image under the colours of its classes, with a legend
    image_palette.png   the label map in these colours: a PNG with a palette, whose pixel values are class ids
    image_ids.png       the same label map as plain bytes, one class id per pixel
    image.json          the area of each class that is present, largest first

Images of the same name keep as many of their folders as tell them apart. A file that is not an image is named and
skipped, and the exit status is 1.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError
from tqdm import tqdm
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

import vitseg  # noqa: F401  (makes its models known to the Auto classes)
from vitseg.evaluation.drawing import Palette, area_shares, default_palette, overlay, save_palette_png, with_legend
from vitseg.models.image_processing_semantic import to_8_bit
from vitseg.recipes.labels import LABEL_SETS, load_label_set


IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# How many batches of images may wait for others of their size.
WAITING_BATCHES = 8


@dataclass(frozen=True)
class Picture:
    """An image file, its pixels as people see them (RGB), and the model's input (1, channels, height, width)."""

    path: Path
    image: Image.Image
    pixel_values: torch.Tensor


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        targets = output_names(find_images(args.images, args.output))
        args.output.mkdir(parents=True, exist_ok=True)
        model, image_processor = load_model(args.model, choose_device(args.device), getattr(torch, args.dtype))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    palette = palette_for(names)
    failures: dict[Path, str] = {}
    pictures = read_pictures(tqdm(targets, unit="image"), image_processor, failures)
    for batch in batches(pictures, args.batch_size):
        for picture, label_map in zip(batch, segment(batch, model, image_processor), strict=True):
            save_results(picture, label_map, names, palette, args.output / targets[picture.path])

    for path, reason in failures.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file, or folder of images")
    parser.add_argument("--model", required=True, metavar="DIR_OR_HUB_ID", help="model folder, or name on the Hub")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="images of one size at a time (1)")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    args = parser.parse_args(arguments)
    if args.batch_size < 1:
        parser.error(f"--batch-size is {args.batch_size}; expected at least 1")
    if args.output.exists() and not args.output.is_dir():
        parser.error(f"--output {args.output} is a file; give a folder")
    return args


def find_images(arguments: Sequence[Path], output: Path) -> list[Path]:
    """The files given, and the images in the folders given and below them, each once."""
    output = output.resolve()
    found: list[Path] = []
    for argument in arguments:
        root = argument.resolve()
        if root.is_dir():
            files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            # An output folder inside may hold the results of an earlier run.
            found += [path for path in files if not (root in output.parents and output in path.parents)]
        else:
            found.append(argument.parent.resolve() / argument.name)
    if not any(path.exists() for path in found):
        raise ValueError(f"there is no image in {', '.join(map(str, arguments))}.")
    return list(dict.fromkeys(found))


def output_names(paths: Sequence[Path]) -> dict[Path, Path]:
    """
    What the results of each image are called: its own name, behind as many of its folders as it takes to be unique.

    The suffix only stays where images of one folder differ in nothing else.
    """
    stems = [path.with_suffix("") for path in paths]
    unique = stems if len(set(stems)) == len(stems) else paths
    tails = {
        path: [Path(*name.parts[-length:]) for length in range(1, len(name.parts))]
        for path, name in zip(paths, unique, strict=True)
    }
    counts = Counter(tail for own in tails.values() for tail in own)
    # A path that ends another path is itself all that tells it apart.
    return {path: next((tail for tail in own if counts[tail] == 1), own[-1]) for path, own in tails.items()}


def choose_device(name: str) -> str:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu.")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def load_model(name: str, device: str, dtype: torch.dtype) -> tuple[PreTrainedModel, BaseImageProcessor]:
    try:
        if not Path(name).is_dir():
            validate_repo_id(name)
        model = AutoModelForSemanticSegmentation.from_pretrained(name, dtype=dtype)
        image_processor = AutoImageProcessor.from_pretrained(name)
    except HFValidationError:
        raise ValueError(f"there is no model folder {name}.") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"cannot load a model from {name}: {str(error).splitlines()[0]}") from error
    if model.config.num_labels > 255:
        raise ValueError(f"{name} has {model.config.num_labels} classes; a label map of bytes holds 255 at most.")
    return model.to(device).eval(), image_processor


def palette_for(names: Sequence[str]) -> Palette:
    """The published colours of the data set that has exactly these classes, or else those of PASCAL VOC."""
    for label_set in map(load_label_set, LABEL_SETS):
        if label_set.names == tuple(names):
            return label_set.palette
    return default_palette(len(names))


def read_pictures(
    paths: Iterable[Path], image_processor: BaseImageProcessor, failures: dict[Path, str]
) -> Iterator[Picture]:
    """The pictures one by one; files that cannot be read go to `failures` with the reason."""
    for path in paths:
        try:
            image = read_image(path)
            pixel_values = image_processor(image, return_tensors="pt")["pixel_values"]
        except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to.
            failures[path] = getattr(error, "strerror", None) or str(error)
        else:
            yield Picture(path, image, pixel_values)


def read_image(path: Path) -> Image.Image:
    """An image file as people see it: upright, in 8-bit RGB, on white where it is transparent."""
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
    except UnidentifiedImageError:
        raise ValueError("not an image of a known format") from None
    if image.mode.startswith("I"):
        # Pillow would cut 16-bit grey off at 255.
        image = Image.fromarray(to_8_bit(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def batches(pictures: Iterable[Picture], batch_size: int) -> Iterator[list[Picture]]:
    """Pictures whose input has the same size: padding others to one size would change what the model answers."""
    waiting: dict[torch.Size, list[Picture]] = {}
    for picture in pictures:
        group = waiting.setdefault(picture.pixel_values.shape, [])
        group.append(picture)
        if len(group) == batch_size:
            yield waiting.pop(picture.pixel_values.shape)
        elif sum(map(len, waiting.values())) == WAITING_BATCHES * batch_size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


@torch.inference_mode()
def segment(
    pictures: Sequence[Picture], model: PreTrainedModel, image_processor: BaseImageProcessor
) -> list[np.ndarray]:
    """A label map of class ids for each picture, uint8 (height, width) of the picture itself."""
    pixel_values = torch.cat([picture.pixel_values for picture in pictures])
    outputs = model(pixel_values.to(model.device, model.dtype))
    outputs.logits = outputs.logits.float()
    sizes = [(picture.image.height, picture.image.width) for picture in pictures]
    label_maps = image_processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
    return [label_map.cpu().numpy().astype(np.uint8) for label_map in label_maps]


def save_results(
    picture: Picture, label_map: np.ndarray, names: Sequence[str], palette: Palette, target: Path
) -> None:
    """Write the four files of a picture to a temporary folder, and move them to `target` when they are complete."""
    pixels, shares = np.bincount(label_map.ravel()), area_shares(label_map)
    report = {
        "image": str(picture.path),
        "width": picture.image.width,
        "height": picture.image.height,
        "classes": [
            {"id": index, "name": names[index], "pixels": int(pixels[index]), "share": share}
            for index, share in shares.items()
        ],
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".segment-", dir=target.parent) as folder:
        unfinished = Path(folder) / target.name
        drawing = with_legend(overlay(picture.image, label_map, palette), names, palette, shares)
        drawing.save(f"{unfinished}_overlay.jpg", quality=90, subsampling=0)
        save_palette_png(label_map, palette, f"{unfinished}_palette.png")
        Image.fromarray(label_map).save(f"{unfinished}_ids.png")
        with Path(f"{unfinished}.json").open("w", encoding="utf-8") as report_file:
            json.dump(report, report_file, indent=2, ensure_ascii=False)
        for file in Path(folder).iterdir():
            file.replace(target.parent / file.name)


if __name__ == "__main__":
    sys.exit(main())
