# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Segmenting image files of every kind: finding and reading them, batches of one size, and the results of each.

For image.jpg these are

    image_overlay.jpg   the image under the colours of its classes, with a legend
    image_palette.png   the label map in these colours: a PNG with a palette, whose pixel values are class ids
    image_ids.png       the same label map as plain bytes, one class id per pixel
    image.json          the area of each class that is present, largest first

Images of the same name keep as many of their folders as tell them apart.
"""

import json
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

from .evaluation.drawing import Palette, area_shares, default_palette, overlay, save_palette_png, with_legend
from .models.image_processing_semantic import to_8_bit
from .recipes.labels import LABEL_SETS, load_label_set


IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# How many batches of images may wait for others of their size.
WAITING_BATCHES = 8


@dataclass(frozen=True)
class Picture:
    """An image file, its pixels as people see them (RGB), and the model's input (1, channels, height, width)."""

    path: Path
    image: Image.Image
    pixel_values: torch.Tensor


def segment_files(
    paths: Sequence[Path],
    output: Path,
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    batch_size: int = 1,
) -> dict[Path, str]:
    """
    Write the results of image files to the folder `output`.

    Returns:
        The files that could not be read, with the reason.
    """
    targets = output_names(paths)
    output.mkdir(parents=True, exist_ok=True)
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    palette = palette_for(names)
    failures: dict[Path, str] = {}
    pictures = read_pictures(tqdm(targets, unit="image"), image_processor, failures)
    for batch in batches(pictures, batch_size):
        for picture, label_map in zip(batch, segment(batch, model, image_processor), strict=True):
            save_results(picture, label_map, names, palette, output / targets[picture.path])
    return failures


def find_images(arguments: Sequence[Path], output: Path) -> list[Path]:
    """
    The files given, and the images in the folders given and below them, each once.

    Raises:
        ValueError: if there is none.
    """
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
    """`"cuda"` or `"cpu"`; `"auto"` is CUDA where there is some."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("PyTorch finds no CUDA device here; use --device cpu.")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def is_model_name(name: str) -> bool:
    """Whether this is a folder, or could be the name of a model on the Hub."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return Path(name).is_dir()
    return True


def load_model(
    name: str, device: str | torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """
    A segmentation model in evaluation mode, and its image processor, from a folder or from the Hub.

    Raises:
        ValueError: if there is no such model, it cannot be loaded, or its label maps would not fit into bytes.
    """
    if not is_model_name(name):
        raise ValueError(f"there is no model folder {name}.")
    try:
        model = AutoModelForSemanticSegmentation.from_pretrained(name, dtype=dtype)
        image_processor = AutoImageProcessor.from_pretrained(name)
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
