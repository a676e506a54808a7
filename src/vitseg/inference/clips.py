# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Video files to run a model on, frame by frame as people see them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from PIL import Image

from ..images import check_size


# Of streams that do not say how many frames a second has.
USUAL_RATE = Fraction(25)
# By how much less of a file there may be than it says, in seconds.
TOLERANCE = 0.5


@dataclass(frozen=True)
class Frame:
    """
    A picture of a clip.

    Args:
        image: upright, in 8-bit RGB.
        pts: when it is shown, in units of the clip's time base; later than the frames before.
        duration: for how long, in the same units; 0 if that is not known.
    """

    image: Image.Image
    pts: int
    duration: int = 0


class Clip:
    """
    A video file, which is read once, from its start to its end: iterating gives each `Frame`, and the packets of its
    sound as they lie between the frames.

    Frames that cannot be decoded, or not without damage, are left out, and `faults` names them. Frames of another size
    than the first are scaled to its size.

    Attributes:
        size: width and height of the frames.
        time_base: the unit of time stamps, in seconds.
        rate: frames per second, on average.
        num_frames: how many frames there may be; `None` if the file does not say.
        pixel_ratio: width of a pixel by its height.
        sound: the streams of sound.
        faults: what could not be read so far.
        notes: what was changed so far.

    Raises:
        ValueError: if the file cannot be read, or holds no video of which a frame can be decoded.
    """

    def __init__(self, path: Path):
        self.faults: list[str] = []
        self.notes: list[str] = []
        try:
            # What it may lead to are files of this computer, if it is a list of others.
            self._container = av.open(str(path), container_options={"protocol_whitelist": "file"})
        except av.error.FFmpegError as error:
            is_read = not isinstance(error, OSError)
            unknown = "it is no video of a known format, or its start or end is missing"
            raise ValueError(unknown if is_read else error.strerror) from error
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        streams = self._container.streams
        # The cover of a song is a video of one picture.
        videos = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        if not videos:
            raise ValueError("it holds no video")
        self._video = videos[0]
        self.sound: Sequence[av.AudioStream] = streams.audio
        # Or decoders make up what damaged data do not say.
        self._video.codec_context.options = {"err_detect": "explode"}
        check_size((self._video.codec_context.width, self._video.codec_context.height))
        self.time_base = self._video.time_base or Fraction(1, av.time_base)
        self.rate = self._video.average_rate or self._video.guessed_rate or USUAL_RATE
        self.num_frames: int | None = self._video.frames or None
        self._reformatter = VideoReformatter()
        self._stored_size: tuple[int, int] | None = None  # of the first frame
        self._items = self._read()
        self._begun: list[Frame | av.Packet] = []
        for item in self._items:
            self._begun.append(item)
            if isinstance(item, Frame):
                break
        else:
            raise ValueError("it holds no frame that can be decoded" + "".join(f"; {fault}" for fault in self.faults))
        self.size = item.image.size

    def __iter__(self) -> Iterator[Frame | av.Packet]:
        yield from self._begun
        self._begun.clear()
        yield from self._items

    def close(self) -> None:
        self._container.close()

    def _read(self) -> Iterator[Frame | av.Packet]:
        step = max(round(1 / (self.rate * self.time_base)), 1)
        pts: int | None = None
        for packet in self._packets():
            if packet is not None and packet.stream is not self._video:
                yield packet
                continue
            for decoded in self._decode(packet):
                if pts is None:
                    pts = decoded.pts or 0
                else:
                    pts = pts + step if decoded.pts is None else max(decoded.pts, pts + 1)
                yield Frame(self._upright(decoded), pts, decoded.duration or 0)

    def _packets(self) -> Iterator[av.Packet | None]:
        """The packets of video and sound in the order of the file; then `None`."""
        start, promised = ((self._container.start_time or 0), (self._container.duration or 0))
        end = start
        try:
            for packet in self._container.demux(self._video, *self.sound):
                if packet.pts is not None:
                    end = max(
                        end,
                        round(
                            (packet.pts + (packet.duration or 0)) * (packet.time_base or self.time_base) * av.time_base
                        ),
                    )
                if packet.size:
                    yield packet
        except av.error.FFmpegError as error:
            self.faults.append(f"nothing can be read behind {end / av.time_base:.2f} s: {error.strerror}")
        else:
            if end - start < promised - TOLERANCE * av.time_base:
                there = (end - start) / av.time_base
                self.faults.append(
                    f"it ends after {there:.2f} s of {promised / av.time_base:.2f} s: the rest is missing"
                )
        yield None

    def _decode(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        """The frames that are ready after a packet, or, after the last, all others; without those that are damaged."""
        if packet is not None and packet.is_corrupt:
            self._leave_out(packet, "its data are incomplete")
            return
        try:
            frames = self._video.codec_context.decode(packet)
        except av.error.FFmpegError as error:
            self._leave_out(packet, str(error.strerror))
            return
        for frame in frames:
            if frame.is_corrupt:
                self._leave_out(frame, "its data are damaged")
            else:
                yield frame

    def _leave_out(self, item: av.Packet | av.VideoFrame | None, reason: str) -> None:
        where = "" if item is None or item.pts is None else f" at {float(item.pts * self.time_base):.2f} s"
        self.faults.append(f"the frame{where} is left out: {reason}")

    def _upright(self, frame: av.VideoFrame) -> Image.Image:
        size = (frame.width, frame.height)
        if self._stored_size is None:
            self._stored_size = size
            across = round(frame.rotation / 90) % 2
            ratio = self._video.sample_aspect_ratio or Fraction(1)
            self.pixel_ratio = 1 / ratio if across else ratio
        elif size != self._stored_size and not self.notes:
            (width, height), (first_width, first_height) = size, self._stored_size
            self.notes.append(
                f"from {frame.time or 0:.2f} s on there are frames of {width} x {height} pixels, which are scaled to "
                f"the first's {first_width} x {first_height}"
            )
        width, height = self._stored_size
        pixels = self._reformatter.reformat(frame, width, height, "rgb24").to_ndarray()
        # The display matrix says by how many degrees it is to be turned, counter-clockwise.
        return Image.fromarray(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))))
