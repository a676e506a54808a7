# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Segmenting videos frame by frame: decoding, the model, and drawing with encoding at the same time."""

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from ..arguments import positive_int, whole_number
from ..extras import MissingExtraError, require
from ..image_files import printable
from ..models.labels import IGNORE_INDEX
from ..overlapping import overlapping
from ..progress import progress_bar
from ..replacing import replacing, write_json
from ..stamps import file_stamp, identity, model_stamp
from .confidence import ConfidenceOptions, label_picture
from .ledger import Ledger
from .loading import MOST_CLASSES, class_names, palette_for
from .outcomes import Outcome, why_failed
from .results import (
    FRAMES,
    VIDEO_KINDS,
    area_report,
    check_replaceable,
    read_video_report,
    remove_video_results,
)
from .stopwatch import Stopwatch


if TYPE_CHECKING:
    from .camera import Camera
    from .clips import Clip, Frame

# How many frames, and packets of sound, may wait for the model, beside a batch.
WAITING = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("videos")
    group.add_argument(
        "--video",
        choices=tuple(VIDEO_KINDS),
        default="overlay",
        help="what is written: an overlay with the sound, label maps as a lossless video, or as PNGs (overlay)",
    )
    group.add_argument("--camera", type=whole_number, metavar="N", help="segment what camera N sees, until Ctrl-C")
    group.add_argument("--max-frames", type=positive_int, metavar="N", help="the first N frames of each video alone")


class Videos:
    """
    Segments videos.

    Args:
        model: a segmentation model in evaluation mode, with 255 classes at most.
        image_processor: the model's.
        kind: what is written of a video, "overlay", "labels" or "frames".
        batch_size: how many frames go through the model at a time.
        max_frames: how many frames of each video, if not all.
        confidence_options: below which confidence pixels are ignored, if that was asked.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        image_processor: BaseImageProcessor,
        kind: str = "overlay",
        batch_size: int = 1,
        max_frames: int | None = None,
        confidence_options: ConfidenceOptions | None = None,
    ):
        require("video")
        self.model = model
        self.image_processor = image_processor
        self.kind = kind
        self.batch_size = batch_size
        self.max_frames = max_frames
        self.confidence_options = confidence_options
        self.names = class_names(model)
        self.palette = palette_for(self.names, model.config)

    def segment_file(self, path: Path, target: Path, origin: str = "") -> tuple[dict[str, Any], float]:
        """
        Write the results of a video file; their names begin like `target`. What had to be changed is printed, and how
        fast it went.

        Args:
            path: the file.
            target: how the names of its results begin.
            origin: what they are made of, for `read_video_report`.

        Returns:
            The content of `TARGET_frames.json`: size and classes as in an `area_report`, the times at which frames are
            shown in seconds, and what could not be read (`left_out`); and the seconds that the model took.

        Raises:
            OSError: if the results cannot be written.
            ValueError: if it cannot be read, or results would replace what is none.
        """
        from .clips import Clip

        with closing(Clip(path)) as clip:
            return self._segment(clip, printable(path), target, origin)

    def segment_camera(self, device: int | str, target: Path) -> None:
        """
        Write the results of what a camera sees until it ends, Ctrl-C is pressed, or there are `max_frames`.

        Raises:
            OSError: if the results cannot be written.
            ValueError: if there is no such camera.
        """
        from .camera import Camera

        with closing(Camera(device)) as camera:
            self._segment(camera, f"camera {device}", target, origin="", ends_at=KeyboardInterrupt)

    def _segment(
        self,
        source: "Clip | Camera",
        name: str,
        target: Path,
        origin: str,
        ends_at: type[BaseException] | None = None,
    ) -> tuple[dict[str, Any], float]:
        from .video_files import WRITERS

        watch = Stopwatch()
        writer_class = WRITERS[self.kind]
        ending = writer_class.ending(source)
        check_replaceable(target, (ending, FRAMES))
        num_frames = min(filter(None, (source.num_frames, self.max_frames)), default=None)
        times: list[float] = []
        pixels = np.zeros(IGNORE_INDEX, np.int64)
        with (
            replacing(f"{target}{ending}") as unfinished,
            writer_class(unfinished, source, self.names, self.palette) as writer,
            progress_bar(total=num_frames, unit="frame", desc=name) as progress,
            suppress(ends_at) if ends_at else nullcontext(),
        ):

            @torch.inference_mode()
            def write(answer: tuple[Any, torch.Tensor | None]) -> None:
                item, logits = answer
                if logits is None:
                    writer.copy(item)
                    return
                with watch.during("classes"):
                    size = item.image.height, item.image.width
                    label_map, _ = label_picture(logits, size, self.image_processor, self.confidence_options)
                with watch.during("drawing"):
                    present = np.bincount(label_map.ravel(), minlength=IGNORE_INDEX)[:IGNORE_INDEX]
                    picture = writer.draw(item, label_map, present)
                with watch.during("encoding"):
                    writer.encode(picture, item)
                pixels[:] += present
                times.append(float(item.pts * source.time_base))
                progress.update()

            # Decoding goes on in a thread, and all that is done with scores in another.
            inputs = self._inputs(source, watch)
            read = overlapping(
                lambda _: next(inputs, None), itertools.count(), threads=1, waiting=WAITING + self.batch_size
            )
            with closing(read):
                for _ in overlapping(write, self._scores(read, watch), threads=1, waiting=1):
                    pass
            Path(f"{target}{FRAMES}").unlink(missing_ok=True)  # so that it never lies beside another's video
        report = area_report(Path(name), source.size, pixels, self.names)
        report = {"video": report.pop("image"), **report, "left_out": source.faults, "seconds": times}
        report["origin"] = origin
        write_json(f"{target}{FRAMES}", report)
        for note in source.notes:
            print(f"note: {name}: {note}", file=sys.stderr)
        print(f"{name}: {watch.describe(len(times))}")
        return report, watch.busy["model"]

    def _inputs(self, source: "Clip | Camera", watch: Stopwatch) -> Iterator[tuple[Any, torch.Tensor | None]]:
        """Frames with the model's input (1, channels, height, width), and packets of sound with none."""
        from .clips import Frame

        num_frames = 0
        for item in watch.each("decoding", iter(source)):
            pixel_values = None
            if isinstance(item, Frame):
                with watch.during("resizing"):
                    pixel_values = self.image_processor(item.image, return_tensors="pt")["pixel_values"]
                num_frames += 1
            yield item, pixel_values
            if num_frames == self.max_frames:
                return

    def _scores(
        self, inputs: Iterator[tuple[Any, torch.Tensor | None] | None], watch: Stopwatch
    ) -> Iterator[tuple[Any, torch.Tensor | None]]:
        """Frames with their scores (num_labels, height, width), and packets of sound with none."""
        batch: list[tuple[Any, torch.Tensor]] = []
        for entry in inputs:
            if entry is None:  # the end
                break
            item, pixel_values = entry
            if pixel_values is None:
                yield item, None
                continue
            batch.append((item, pixel_values))
            if len(batch) == self.batch_size:
                yield from self._run_model(batch, watch)
                batch.clear()
        if batch:
            yield from self._run_model(batch, watch)

    @torch.inference_mode()
    def _run_model(
        self, batch: "Sequence[tuple[Frame, torch.Tensor]]", watch: Stopwatch
    ) -> "Iterable[tuple[Frame, torch.Tensor]]":
        frames, pixel_values = zip(*batch, strict=True)
        with watch.during("model"):
            logits = self.model(torch.cat(pixel_values).to(self.model.device, self.model.dtype)).logits
            if self.model.device.type == "cuda":
                torch.cuda.synchronize()
        return zip(frames, logits, strict=True)


def segment_files(
    args: argparse.Namespace,
    paths: Sequence[str],
    names: Sequence[str],
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    options: ConfidenceOptions | None,
    ledger: Ledger,
) -> None:
    """
    Write the results of this process's share of videos, one after the other.

    Args:
        args: the command line of `vitseg segment`.
        paths: the files, each once.
        names: what their results are called.
        model, image_processor, options: see `Videos`.
        ledger: where to take down what becomes of the videos.

    Raises:
        OSError: if nothing can be written, such as on a full disk.
    """
    work = identity(
        model=model_stamp(args.model),
        image_processor=image_processor.to_dict(),
        dtype=str(model.dtype),
        confidence=options and asdict(options),
        max_frames=args.max_frames,
    )
    share = ledger.process.share(len(paths))
    try:
        videos = make_videos(args, model, image_processor, options)
    except (MissingExtraError, ValueError) as error:  # It says nothing of results that are there.
        for index in share:
            ledger.add(Outcome(paths[index], "failed", names[index], str(error)))
        return
    for index in share:
        path, target = Path(paths[index]), args.output / names[index]
        status: Literal["done", "kept"] = "kept"
        seconds = None
        try:
            origin = identity(work=work, video=[printable(path), *file_stamp(path)])
            report = read_video_report(target, args.video, origin)
            if report is None:
                status = "done"
                report, seconds = videos.segment_file(path, target, origin)
            reason = "; ".join(report["left_out"])
        except (OSError, ValueError) as error:
            report, reason = None, why_failed(error, path)
            remove_video_results(target)
        ledger.add(
            Outcome(paths[index], "failed" if reason else status, names[index], reason or None, report, seconds)
        )


def segment_camera(
    args: argparse.Namespace,
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    options: ConfidenceOptions | None,
) -> None:
    """
    Write the results of the camera that the command line names; see `segment_files`.

    Raises:
        MissingExtraError: if a package is missing.
        ValueError: if there is no such camera.
    """
    videos = make_videos(args, model, image_processor, options)
    videos.segment_camera(args.camera, args.output / f"camera_{args.camera}")


def make_videos(
    args: argparse.Namespace,
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    options: ConfidenceOptions | None,
) -> Videos:
    """
    What segments videos as the command line says.

    Raises:
        MissingExtraError: if a package is missing.
        ValueError: if an option is for images, or the model has more classes than label maps of videos hold.
    """
    for name in ("scale", "gsd", "confidence"):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is for images, not for videos")
    if model.config.num_labels > MOST_CLASSES:
        raise ValueError(
            f"the model has {model.config.num_labels} classes, and the label maps of videos hold {MOST_CLASSES}: "
            "segment its frames as pictures, as `ffmpeg -i CLIP %06d.png` takes them out"
        )
    return Videos(model, image_processor, args.video, args.batch_size, args.max_frames, options)
