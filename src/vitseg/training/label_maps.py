# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What tasks on label maps have in common: maps of which nothing can be learned or measured are found at the start."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data.augmentation import IGNORE_INDEX
from ..data.preparation import REPORT_FILE, read_report
from ..data.streaming import SegmentationStream
from ..progress import progress_bar
from .tasks import Task


# A share of the pixels from which on it is no accident that they are of no class.
COMMON = 0.01


class LabelMapTask(Task):
    """A task on images with label maps; see [`Task`]."""

    def load_examples(self) -> Any:
        """
        As [`Task.load_examples`].

        Raises:
            ValueError: if all pixels of what is validated on are ignored.
        """
        examples, split = super().load_examples(), self.options.validation_split
        count = min(len(examples), self.options.validation_limit or len(examples))
        if not _any_labels(examples[index]["label_map"] for index in range(count)):
            raise ValueError(
                f"All pixels of the {count} images to validate on (the split {split!r} of {self.options.dataset}) are "
                "ignored, so nothing can be measured. Correct their label maps, name another --validation-split, or "
                "do without: --validation-split none."
            )
        return examples

    def check_training_split(self) -> str | None:
        source, split = self.options.dataset, self.options.train_split
        is_prepared = (Path(source) / REPORT_FILE).exists()
        if is_prepared and self.options.reduce_labels:
            raise ValueError(
                f"{source} was written by `vitseg prepare`, so its label maps hold train ids, of which 0 is the class "
                f"{self.labels.names[0]!r}. Leave out --reduce-labels, which would make that 'no class'."
            )
        stream = SegmentationStream(
            source, split, num_labels=len(self.labels.names), do_reduce_labels=self.options.reduce_labels
        )
        if not _any_labels(example["labels"].numpy() for example in islice(stream, stream.epoch_length)):
            raise ValueError(
                f"All pixels of the split {split!r} of {source} are ignored, so nothing can be learned. Correct its "
                "label maps, or the file that says what their values mean, and prepare it again."
            )
        report = read_report(Path(source)) if is_prepared else {}
        return absent_classes(self.labels.names, report[split].pixels) if split in report else None


def absent_classes(names: Sequence[str], pixels: Sequence[int]) -> str | None:
    """
    What to know if pixels that are ignored may be meant as a class.

    Args:
        names: of the classes.
        pixels: number of the pixels of a split by train id, 256 entries.
    """
    counts = np.asarray(pixels)
    absent = [name for name, count in zip(names, counts, strict=False) if not count]
    ignored = counts[IGNORE_INDEX] / max(counts.sum(), 1)
    if not absent or ignored < COMMON:
        return None
    return (
        f"No pixel is of the class {', '.join(map(repr, absent))}, while {ignored:.1%} of the pixels are ignored "
        f"({IGNORE_INDEX}, and what had no name). If they are meant to be of that class, say so in the labels file of "
        f'`vitseg prepare`, as in {{"{IGNORE_INDEX}": "{absent[0]}"}}.'
    )


def _any_labels(label_maps: Iterable[np.ndarray]) -> bool:
    """Whether a pixel of any label map is not ignored; the first map nearly always tells."""
    return any(
        (label_map != IGNORE_INDEX).any() for label_map in progress_bar(label_maps, desc="Looking for labels", delay=5)
    )
