# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The page of `vitseg inspect`: what its template says of an inspection."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..models.labels import IGNORE_INDEX
from ..pages import render
from ..progress import progress_bar
from .inspection import FAULTS, SIZE, UNREADABLE, Inspection, Place
from .inspection_pictures import Painter
from .near_duplicates import BITS, MAX_DIFFERENCE


_SHOWN_PAIRS, _SHOWN_FAULTS, _LISTED = 12, 6, 200
_MOST_OTHERS = 200  # values that are no class, in the histogram
_KINDS = ("train", "other1", "other2")  # of splits, in the template's style
_EXPLANATIONS = {
    UNREADABLE: "Training stops at such an image or label map.",
    SIZE: "Image and label map are not of the same width and height: training stops there.",
    "unknown": "Training stops at such a label map.",
    "ignored": "Nothing is learned from such a label map, and nothing measured on it.",
    "single": "That may be so, as in close-ups, or the rest of the image was not labelled.",
    "noise": "Thin seams of other classes, or single pixels, at borders between classes: the mask was resized with "
    "interpolation, or compressed as a JPEG. The pictures are enlarged where there is most of it.",
}


def write_page(inspection: Inspection, folder: Path, num_shown: int) -> None:
    """
    Write `index.html`, and its pictures beside it.

    Args:
        inspection: after its look at the data.
        folder: where to.
        num_shown: how many images to show, or more if it takes more to show each class.
    """
    shown = inspection.choose_shown(num_shown)
    with progress_bar(desc="Drawing pictures", unit="img", delay=2) as progress:
        painter = Painter(inspection, folder, progress)
        values: dict[str, Any] = {
            "shown": [painter.picture(place) for place in shown],
            "duplicates": [
                {
                    "image": painter.picture(pair.image, has_mask=False),
                    "original": painter.picture(pair.original, has_mask=False),
                    "text": f"{pair.difference} of {BITS} bits differ",
                }
                for pair in inspection.duplicates[:_SHOWN_PAIRS]
            ],
            "faults": [_fault(painter, kind, places) for kind in FAULTS if (places := inspection.places_of(kind))],
        }
    values |= (
        _texts(inspection, len(shown)) | {"findings": _findings(inspection)} | _classes(inspection, painter.colors)
    )
    values |= {"values": _values(inspection, painter.colors), "sizes": _sizes(inspection)}
    (folder / "index.html").write_text(render("inspection.html", **values), encoding="utf-8")


def _fault(painter: Painter, kind: str, places: dict[Place, str]) -> dict[str, Any]:
    lines = [f"{place.split}: {painter.inspection.name_of(place)}: {what}" for place, what in places.items()]
    is_close = kind == "noise"
    pictures = [] if kind == UNREADABLE else list(places.items())[:_SHOWN_FAULTS]
    return {
        "kind": kind,
        "title": FAULTS[kind],
        "explanation": _EXPLANATIONS[kind],
        "count": _images(len(places)),
        "is_close": is_close,
        "pictures": [painter.picture(place, what, is_close=is_close) for place, what in pictures],
        "lines": _listed(lines, len(pictures)),
    }


def _findings(inspection: Inspection) -> list[tuple[str, str]]:
    """What a reader should look at first, and where it is on the page."""
    findings = []
    if inspection.duplicates:
        findings.append(("duplicates", f"Nearly the same in two splits: {_images(len(inspection.duplicates))}"))
    for kind, title in FAULTS.items():
        if places := inspection.places_of(kind):
            findings.append((kind, f"{title}: {_images(len(places))}"))
    for split_name, split in inspection.splits.items():
        absent = [name for label, name in enumerate(inspection.labels.names) if not split.images[label]]
        if absent:
            more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
            findings.append(("classes", f"Not in {split_name}: {', '.join(absent[:8])}{more}"))
    return findings


def _texts(inspection: Inspection, num_shown: int) -> dict[str, Any]:
    splits, duplicates = inspection.splits, inspection.duplicates
    totals = {name: sum(split.rows.lengths) for name, split in splits.items()}
    numbers = [
        f"{name}: {_images(len(split))}" + (f" of {totals[name]:,}" if len(split) < totals[name] else "")
        for name, split in splits.items()
    ]
    uncompared = sum(len(split) - len(split.hashed) for split in splits.values())
    has_unknown = any(split.faults["unknown"] for split in splits.values())
    return {
        "dataset": str(inspection.source),
        "summary": f"{'; '.join(numbers)}; {len(inspection.labels.names)} classes",
        "limit_text": ""
        if inspection.limit is None
        else f"Of each split, up to {inspection.limit:,} images were looked at, of row groups drawn at random (seed "
        f"{inspection.seed}). Near-duplicates were searched among these alone.",
        "shown_text": f"{_images(num_shown)}, drawn at random (seed {inspection.seed}) such that each class that "
        "occurs is among them. Where pixels are ignored, the image alone is seen.",
        "has_unknown": has_unknown,
        "duplicates_text": f"{_images(len(duplicates)) if duplicates else 'No image'} of a split "
        f"{'are' if len(duplicates) > 1 else 'is'} nearly the same as one of an earlier split. The method is a "
        "difference hash: brightness on a grid of 9 x 9 fields, each beside the one to its left and the one above, "
        f"{BITS} bits, of which up to {MAX_DIFFERENCE} may differ. It finds images that were encoded anew, resized, "
        "or made brighter or darker, not those cropped or mirrored."
        + (f" {_images(uncompared)} could not be compared: too even, or not readable." if uncompared else ""),
        "duplicates_lines": _listed(
            [
                f"{pair.image.split}: {inspection.name_of(pair.image)} = {pair.original.split}: "
                f"{inspection.name_of(pair.original)} ({pair.difference} bits)"
                for pair in duplicates
            ],
            _SHOWN_PAIRS,
        ),
        "version": __version__,
    }


def _classes(inspection: Inspection, colors: dict[int, str]) -> dict[str, Any]:
    """The table of classes: a bar for its share of the pixels of each split, and one for that of the images."""
    splits = list(inspection.splits.items())
    kinds = {name: _KINDS[min(position, len(_KINDS) - 1)] for position, (name, _) in enumerate(splits)}
    labels = range(len(inspection.labels.names))
    totals = {name: sum(split.pixels[label] for label in labels) or 1 for name, split in splits}
    largest = max(split.pixels[label] / totals[name] for name, split in splits for label in labels) or 1

    def cell(name: str, text: str, share: float) -> dict[str, Any]:
        return {"kind": kinds[name], "width": round(100 * share, 2) or share, "text": text}

    rows = []
    for label in labels:
        shares = {name: split.pixels[label] / totals[name] for name, split in splits}
        pixels = [cell(name, _percent(share), share / largest) for name, share in shares.items()]
        images = [
            cell(name, f"{split.images[label]:,}", split.images[label] / max(len(split), 1)) for name, split in splits
        ]
        name = inspection.labels.names[label]
        occurs = any(split.images[label] for _, split in splits)
        row = {"id": label, "name": name, "color": colors[label], "occurs": occurs, "cells": pixels + images}
        rows.append(row)
    return {"classes": rows, "splits": [{"name": name, "kind": kinds[name]} for name, _ in splits]}


def _values(inspection: Inspection, colors: dict[int, str]) -> dict[str, Any]:
    """The histogram of values: those of classes, whether they occur or not, and the most frequent of others."""
    pixels = sum((split.pixels for split in inspection.splits.values()), Counter[int]())
    names = inspection.labels.names
    others = Counter({value: count for value, count in pixels.items() if not 0 <= value < len(names)})
    values = sorted([*range(len(names)), *(value for value, _ in others.most_common(_MOST_OTHERS))])
    bar_width = max(4, min(28, 1000 // len(values) - 2))
    top = max(1.0, math.log10(max(pixels.values(), default=1)))
    every = math.ceil(28 / (bar_width + 2))  # so that numbers have room
    bars = []
    for position, value in enumerate(values):
        height = 150 * max(math.log10(pixels[value]), 0.1) / top if pixels[value] else 0
        is_class = 0 <= value < len(names)
        meaning = names[value] if is_class else "ignored" if value == IGNORE_INDEX else "no class"
        other = "var(--faint)" if value == IGNORE_INDEX else "var(--wrong)"
        bars.append(
            {
                "x": 50 + position * (bar_width + 2),
                "y": round(170 - height, 1),
                "height": round(height, 1),
                "color": colors[value] if is_class else other,
                "text": f"{value}, {meaning}: {pixels[value]:,} pixels",
                "label": value if position % every == 0 else None,
            }
        )
    exponents = range(0, math.floor(top) + 1, max(1, math.ceil(top / 5)))
    ticks = [{"y": round(170 - 150 * exponent / top, 1), "text": _short(10**exponent)} for exponent in exponents]
    text = f"Of others than classes, the {_MOST_OTHERS} most frequent are shown." if len(others) > _MOST_OTHERS else ""
    return {
        "text": text,
        "bars": bars,
        "bar_width": bar_width,
        "width": 60 + len(values) * (bar_width + 2),
        "ticks": ticks,
    }


def _sizes(inspection: Inspection) -> dict[str, Any]:
    """The scatter plot of widths and heights, a dot for all that fall on the same hundredth of its sides."""
    largest = max((max(size) for split in inspection.splits.values() for size in split.sizes), default=1)
    step = _tick_step(largest)
    end = step * math.ceil(largest / step)

    def place(width: float, height: float) -> dict[str, float]:
        return {"x": round(56 + 448 * width / end, 1), "y": round(352 - 336 * height / end, 1)}

    dots = []
    for position, (name, split) in enumerate(inspection.splits.items()):
        merged: Counter[tuple[int, int]] = Counter()
        for (width, height), count in split.sizes.items():
            merged[round(100 * width / end), round(100 * height / end)] += count
        for (column, row), count in merged.items():
            width, height = column * end // 100, row * end // 100
            dots.append(
                {
                    **place(column * end / 100, row * end / 100),
                    "kind": _KINDS[min(position, len(_KINDS) - 1)],
                    "radius": round(4 + 14 * math.sqrt(count / len(split)), 1),
                    "text": f"{name}: about {width} x {height}, {_images(count)}",
                }
            )
    sizes = sum((split.sizes for split in inspection.splits.values()), Counter[tuple[int, int]]())
    return {
        "text": _sizes_in_words(sizes),
        "ticks": [place(value, value) | {"text": value} for value in range(0, end + 1, step)],
        "dots": sorted(dots, key=lambda dot: -dot["radius"]),  # small ones lie on large ones
    }


def _sizes_in_words(sizes: Counter[tuple[int, int]]) -> str:
    if not sizes:
        return "No image can be read."
    common = ", ".join(f"{width} x {height} ({_images(count)})" for (width, height), count in sizes.most_common(3))
    if len(sizes) <= 3:
        return f"Width x height: {common}."
    by_area = sorted(sizes, key=math.prod)
    smallest, largest = (f"{width} x {height}" for width, height in (by_area[0], by_area[-1]))
    return f"{len(sizes):,} sizes, from {smallest} to {largest} (width x height). Most often: {common}."


def _listed(lines: Sequence[str], num_shown: int) -> dict[str, Any]:
    """The first of some lines; none if there are pictures of all."""
    return {"first": lines[:_LISTED] if len(lines) > num_shown else [], "total": len(lines)}


def _tick_step(largest: int) -> int:
    """A round number of which eight at most make the largest."""
    magnitude = 10 ** max(len(str(largest)) - 2, 0)
    return next(magnitude * factor for factor in (1, 2, 5, 10, 20) if largest <= 8 * magnitude * factor)


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    """A share in [0, 1], with as many digits as a rare class needs."""
    if share == 0:
        return "0"
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}" if share >= 0.0001 else "<0.01%"


def _short(number: int) -> str:
    for power, letter in (9, "G"), (6, "M"), (3, "k"):
        if number >= 10**power:
            return f"{number // 10**power}{letter}"
    return str(number)
