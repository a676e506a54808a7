# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What is written of a video: one under the colours of its classes, or label maps, as a video or as pictures."""

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from ..label_maps import ORIGIN, Palette, legend, lookup_table, overlay, save_palette_png
from .camera import Camera
from .clips import Clip, Frame
from .results import LABEL_FRAMES, LABEL_VIDEO, OVERLAY_VIDEO


Source: TypeAlias = Clip | Camera

# A class is in the legend once it has more than so much of a frame.
LEAST_SHARE = 0.01
# The better "slow" presets would take the processor from the model; a constant quality that hardly shows.
X264_OPTIONS = {"preset": "veryfast", "crf": "18"}
# The colours of HD video, which all players know.
_BT709 = int(Colorspace.ITU709)


class EncodedVideo(AbstractContextManager):
    """
    A video file that is being written, complete when the context ends.

    Args:
        file: its path, whatever its ending.
        container: the name of its format.
        codec: the name of its encoder.
        pixel_format: of the pixels that are encoded.
        size: their width and height.
        source: what the video is made of, whose time stamps its frames have.
        sound: streams of the source whose packets it holds, too.
        options: the encoder's.
    """

    def __init__(
        self,
        file: Path,
        container: str,
        codec: str,
        pixel_format: str,
        size: tuple[int, int],
        source: Source,
        sound: Sequence[av.AudioStream] = (),
        options: Mapping[str, str] | None = None,
    ):
        self._container = av.open(str(file), "w", format=container)
        self._container.metadata["comment"] = ORIGIN
        stream = self._container.add_stream(codec, rate=source.rate, options=dict(options or {}))
        self._stream = cast("av.VideoStream", stream)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = pixel_format
        context = self._stream.codec_context
        context.time_base = source.time_base
        self._time_base = source.time_base
        context.sample_aspect_ratio = source.pixel_ratio
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._sound = {stream.index: self._container.add_stream_from_template(stream) for stream in sound}

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            if error_type is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def encode(self, picture: av.VideoFrame, frame: Frame) -> None:
        """Write a picture, at the time of a frame."""
        picture.pts, picture.time_base, picture.duration = frame.pts, self._time_base, frame.duration
        self._container.mux(self._stream.encode(picture))

    def copy(self, packet: av.Packet) -> None:
        """Write a packet of sound as it is, if its stream is wanted."""
        if packet.stream.index in self._sound:
            packet.stream = self._sound[packet.stream.index]
            self._container.mux(packet)


class OverlayVideo(EncodedVideo):
    """
    The video under the colours of its classes, with its sound, and with a legend on its right: H.264 in MP4, or in
    QuickTime where MP4 cannot hold the sound.

    Classes come into the legend in the order in which they first have 1% of a frame, and stay where they are.
    """

    def __init__(self, file: Path, source: Source, names: Sequence[str], palette: Palette):
        self._names, self._palette = names, palette
        self._listed: list[int] = []
        self._width, self._height = source.size
        paper = legend(names, palette, (), self._height)
        # H.264 takes even numbers of pixels; an odd one is rounded up by the paper.
        size = (self._width + paper.width, paper.height)
        width, height = (number + number % 2 for number in size)
        self._sheet = np.full((height, width, 3), 255, np.uint8)
        self._reformatter = VideoReformatter()
        container = _container_for(source.sound)
        sound = [stream for stream in source.sound if container in _containers_of(stream)]
        source.notes += [
            f"its sound is left out: {container} files do not hold {stream.codec_context.name}"
            for stream in source.sound
            if stream not in sound
        ]
        super().__init__(file, container, "libx264", "yuv420p", (width, height), source, sound, X264_OPTIONS)

    @staticmethod
    def ending(source: Source) -> str:
        """How the name of its file ends."""
        return OVERLAY_VIDEO[_container_for(source.sound)]

    def draw(self, frame: Frame, label_map: np.ndarray, pixels: np.ndarray) -> av.VideoFrame:
        """The picture of a frame, its class ids, uint8 `(height, width)`, and the number of pixels of each class."""
        new = np.setdiff1d(np.flatnonzero(pixels > LEAST_SHARE * label_map.size), self._listed).tolist()
        if new:
            self._listed += sorted(new, key=lambda index: -pixels[index])
            paper = np.asarray(legend(self._names, self._palette, self._listed, self._height))
            self._sheet[: paper.shape[0], self._width : self._width + paper.shape[1]] = paper
        self._sheet[: self._height, : self._width] = np.asarray(overlay(frame.image, label_map, self._palette))
        picture = av.VideoFrame.from_ndarray(self._sheet, format="rgb24")
        return self._reformatter.reformat(picture, format="yuv420p", dst_colorspace=_BT709)


class LabelVideo(EncodedVideo):
    """The label maps as a video that loses nothing: PNGs in QuickTime, of class ids and a palette."""

    def __init__(self, file: Path, source: Source, names: Sequence[str], palette: Palette):
        super().__init__(file, "mov", "png", "pal8", source.size, source)
        opaque = np.full((256, 1), 255, np.uint8)
        self._palette = np.hstack([opaque, lookup_table(palette)])

    @staticmethod
    def ending(source: Source) -> str:
        """How the name of its file ends."""
        return LABEL_VIDEO

    def draw(self, frame: Frame, label_map: np.ndarray, pixels: np.ndarray) -> av.VideoFrame:
        """What is encoded of class ids, uint8 `(height, width)`."""
        ids_and_colors: Any = (label_map, self._palette)
        return av.VideoFrame.from_ndarray(ids_and_colors, format="pal8")


class LabelFrames(AbstractContextManager):
    """The label maps as PNGs in a folder, of class ids and a palette, which are numbered from 0."""

    def __init__(self, folder: Path, source: Source, names: Sequence[str], palette: Palette):
        self._folder, self._palette = folder, palette
        self._folder.mkdir()
        self._numbers = itertools.count()

    def __exit__(self, *_: object) -> None:
        pass

    @staticmethod
    def ending(source: Source) -> str:
        """How the name of its folder ends."""
        return LABEL_FRAMES

    def draw(self, frame: Frame, label_map: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """The class ids, uint8 `(height, width)`."""
        return label_map

    def encode(self, picture: np.ndarray, frame: Frame) -> None:
        """Write a PNG."""
        save_palette_png(picture, self._palette, self._folder / f"{next(self._numbers):06d}.png")

    def copy(self, packet: av.Packet) -> None:
        """Leave out a packet of sound."""


# What is written of a video -> how.
WRITERS: Mapping[str, type[OverlayVideo] | type[LabelVideo] | type[LabelFrames]] = {
    "overlay": OverlayVideo,
    "labels": LabelVideo,
    "frames": LabelFrames,
}


def _containers_of(stream: av.AudioStream) -> list[str]:
    """The containers of overlays that can hold a stream of sound."""
    codec = stream.codec_context.codec.canonical_name
    # Few players know PCM in MP4, and it needs to be told which channel is where.
    names = [name for name in OVERLAY_VIDEO if not (name == "mp4" and codec.startswith("pcm_"))]
    return [name for name in names if codec in _codecs_of(name)]


def _container_for(sound: Sequence[av.AudioStream]) -> str:
    """The container of an overlay that can hold most of the sound."""
    return max(OVERLAY_VIDEO, key=lambda name: sum(name in _containers_of(stream) for stream in sound))


@functools.cache
def _codecs_of(container: str) -> set[str]:
    with av.open(os.devnull, "w", format=container) as file:
        return file.supported_codecs
