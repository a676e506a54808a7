# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A camera to run a model on, frame by frame."""

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import cv2
from PIL import Image

from .clips import Frame


class Camera:
    """
    What a camera sees from now on, like a `Clip` without sound that never ends. Time stamps are those of the clock.

    Args:
        device: the number of the camera; 0 is the first. OpenCV also takes the name of a file or an address.

    Raises:
        ValueError: if there is no such camera, or it shows nothing.
    """

    time_base = Fraction(1, 90000)
    pixel_ratio = Fraction(1)
    num_frames = None

    def __init__(self, device: int | str):
        self.faults: list[str] = []
        self.notes: list[str] = []
        self.sound: Sequence[av.AudioStream] = ()
        self._capture = cv2.VideoCapture(device)
        is_there, self._first = self._capture.read()
        if not is_there:
            self.close()
            raise ValueError(f"OpenCV finds no camera {device}, or it shows nothing: another program may be using it.")
        self.rate = Fraction(round(self._capture.get(cv2.CAP_PROP_FPS)) or 25)
        self.size: tuple[int, int] = self._first.shape[1::-1]

    def __iter__(self) -> Iterator[Frame]:
        start = time.monotonic()
        is_there, pixels, pts = True, self._first, 0
        while is_there:
            yield Frame(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)), pts)
            is_there, pixels = self._capture.read()
            pts = max(round((time.monotonic() - start) / self.time_base), pts + 1)

    def close(self) -> None:
        self._capture.release()
