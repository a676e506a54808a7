# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches of training examples, made by other processes."""

import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from ..workers import leave_signals
from .streaming import Example, ExampleStream


def train_loader(stream: ExampleStream, num_workers: int) -> Generator[dict[str, Any]]:
    """
    Batches of a stream, the same for any number of workers, which end when the generator is closed.

    Args:
        stream: it says how many examples a batch has.
        num_workers: number of processes that decode and augment, for this training process; 0 does it in this one.

    Yields:
        Endlessly, what the stream makes; of segmentation examples, `pixel_values` (float32,
        `(batch, 3, height, width)`) and `labels` (int64, `(batch, height, width)`).

    Raises:
        ValueError, OSError: those of the stream, in its own words, when the batch that it could not make is due.
    """
    loader = DataLoader(
        _ReportingStream(stream),
        batch_size=stream.loader_batch_size,
        num_workers=num_workers,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        drop_last=True,
        collate_fn=functools.partial(_collate, collate=stream.collate or default_collate),
        # Starting an iteration draws a number; from the global generator, a resumed run would draw one more.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, _Failure):
            raise (OSError if batch.is_os_error else ValueError)(batch.message)
        yield batch


@dataclass(frozen=True)
class _Failure:
    """An error of a stream, as what passes between processes: as an error, it would come out as a traceback's text."""

    is_os_error: bool
    message: str


class _ReportingStream(IterableDataset):
    """The examples of a stream; once it fails, its failure in the place of each."""

    def __init__(self, stream: ExampleStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Example | _Failure]:
        try:
            yield from self.stream
        except (ValueError, OSError) as error:
            # Again and again, because a loader drops a batch that is not full.
            yield from itertools.repeat(_Failure(isinstance(error, OSError), str(error)))


def _collate(examples: list[Any], collate: Callable[[list[Example]], dict[str, Any]]) -> dict[str, Any] | _Failure:
    return next((example for example in examples if isinstance(example, _Failure)), None) or collate(examples)


def _start_worker(worker_id: int) -> None:
    leave_signals(worker_id)
    # PyTorch does the same for itself: the workers are what runs in parallel.
    cv2.setNumThreads(0)
