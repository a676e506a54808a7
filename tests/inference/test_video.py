# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg segment` on clips of a few frames, with a tiny random model."""

import json
import resource
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from street_classes import COLORS, NAMES, colors_and_lines
from tiny_setr import save_tiny_setr
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg import extras
from vitseg.cli import main
from vitseg.inference.loading import load_model
from vitseg.inference.video import Videos


MILLISECONDS = [0, 40, 80, 200, 240, 290, 400, 440]


def pictures(width: int = 60, height: int = 42) -> list[np.ndarray]:
    """Smooth blobs of colour that move to the left, with a white corner at the top left."""
    blobs = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    wide = np.asarray(Image.fromarray(blobs).resize((width + 80, height)))
    frames = [wide[:, 10 * index : 10 * index + width].copy() for index in range(len(MILLISECONDS))]
    for frame in frames:
        frame[:10, :10] = 255
    return frames


def encode(
    file: Path,
    codec: str,
    pixel_format: str,
    frames: Sequence[np.ndarray],
    sound: str | None = None,
    rotation: int | None = None,
) -> Path:
    """A video with frames at uneven times, perhaps with half a second of a tone."""
    time_base = Fraction(1, 1000)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "1"} if codec == "libx264" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        tone = container.add_stream(sound, rate=48000) if sound else None
        for pts, frame in zip(MILLISECONDS, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = pts, time_base
            container.mux(stream.encode(picture))
        if tone is not None:
            wave = (np.sin(np.arange(24000) / 17) * 9000).astype(np.int16)
            samples = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(tone.encode(samples))
            container.mux(tone.encode(None))
        container.mux(stream.encode(None))
    return file


def motion_jpeg(file: Path, packets: Sequence[bytes]) -> Path:
    """A video of these JPEG files, 40 ms each."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 60, 42, "yuvj420p"
        for index, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = index
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)
    return file


def jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()


def times(file: Path) -> list[float]:
    with av.open(str(file)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def rgb(file: Path) -> list[np.ndarray]:
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def sound_packets(file: Path) -> list[tuple[float, bytes]]:
    with av.open(str(file)) as container:
        packets = container.demux(container.streams.audio[0])
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets if packet.size]


def expected_label_maps(model_folder: Path, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    model = AutoModelForSemanticSegmentation.from_pretrained(model_folder)
    image_processor = AutoImageProcessor.from_pretrained(model_folder)
    label_maps = []
    for frame in frames:
        with torch.no_grad():
            logits = model(image_processor(Image.fromarray(frame), return_tensors="pt")["pixel_values"]).logits
        logits = torch.nn.functional.interpolate(logits, frame.shape[:2], mode="bilinear", align_corners=False)
        label_maps.append(logits[0].argmax(dim=0).numpy())
    return label_maps


def run(*arguments: str | Path) -> int:
    return main(["segment", *map(str, arguments)])


def files(folder: Path) -> set[str]:
    """Every file below a folder, hidden ones included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny_setr(tmp_path_factory.mktemp("model"), NAMES)


@pytest.fixture(scope="module")
def lossless(tmp_path_factory) -> Path:
    """A clip that holds the very pixels."""
    return encode(tmp_path_factory.mktemp("lossless") / "clip.mkv", "ffv1", "bgr0", pictures())


class TestResults:
    def test_label_video_holds_class_ids_colours_and_times(self, model, lossless, tmp_path, capsys):
        assert run("--model", model, lossless, "--output", tmp_path, "--video", "labels") == 0
        expected = expected_label_maps(model, pictures())
        assert len(np.unique(expected)) >= 3, "the model is too dull for this test"
        with av.open(str(tmp_path / "clip_labels.mov")) as container:
            ids = [frame.to_ndarray()[0] for frame in container.decode(video=0)]
        assert np.array_equal(ids, expected)
        assert np.array_equal(rgb(tmp_path / "clip_labels.mov"), COLORS[np.array(expected)])
        assert times(tmp_path / "clip_labels.mov") == pytest.approx([number / 1000 for number in MILLISECONDS])
        assert "clip.mkv: 8 frames in " in capsys.readouterr().out

    def test_frames_are_palette_pngs_beside_what_is_known_of_them(self, model, lossless, tmp_path):
        assert run("--model", model, lossless, "--output", tmp_path, "--video", "frames", "--batch-size", "3") == 0
        names = [f"{index:06d}.png" for index in range(8)]
        assert files(tmp_path) == {f"clip_frames/{name}" for name in names} | {"clip_frames.json"}
        expected = np.array(expected_label_maps(model, pictures()))
        for name, label_map in zip(names, expected, strict=True):
            image = Image.open(tmp_path / "clip_frames" / name)
            assert np.array_equal(np.asarray(image), label_map)
            assert np.array_equal(np.asarray(image.convert("RGB")), COLORS[label_map])
        report = json.loads((tmp_path / "clip_frames.json").read_text())
        assert report["seconds"] == pytest.approx([number / 1000 for number in MILLISECONDS])
        assert {row["id"]: row["pixels"] for row in report["classes"]} == {
            int(index): int((expected == index).sum()) for index in np.unique(expected)
        }

    def test_overlay_has_the_colours_the_times_and_the_sound(self, model, tmp_path):
        clip = encode(tmp_path / "clip.mp4", "libx264", "yuv444p", pictures(), "aac")
        assert run("--model", model, clip, "--output", tmp_path / "out") == 0
        assert files(tmp_path / "out") == {"clip_overlay.mp4", "clip_frames.json"}
        overlay = tmp_path / "out" / "clip_overlay.mp4"
        decoded = rgb(clip)
        for drawn, picture, label_map in zip(rgb(overlay), decoded, expected_label_maps(model, decoded), strict=True):
            assert drawn.shape[1] > 60 + 50, "no room for a legend"
            expected = 0.5 * picture + 0.5 * colors_and_lines(label_map)
            assert np.abs(drawn[:40, :58] - expected[:40, :58]).mean() < 10
        assert times(overlay) == pytest.approx(times(clip))
        assert len(sound_packets(clip)) > 20
        assert sound_packets(overlay) == sound_packets(clip)

    def test_sound_that_mp4_does_not_hold_makes_it_quicktime(self, model, tmp_path):
        clip = encode(tmp_path / "clip.mkv", "libvpx-vp9", "yuv420p", pictures(), "pcm_s16le")
        assert run("--model", model, clip, "--output", tmp_path / "out") == 0
        assert files(tmp_path / "out") == {"clip_overlay.mov", "clip_frames.json"}
        samples = [
            b"".join(packet for _, packet in sound_packets(file)) for file in (clip, tmp_path / "out/clip_overlay.mov")
        ]
        assert samples[0] == samples[1]

    @pytest.mark.parametrize("rotation", [90, 180, -90])
    def test_rotated_clips_stand_upright(self, rotation, model, tmp_path):
        clip = encode(tmp_path / "clip.mov", "libx264", "yuv444p", pictures(), rotation=rotation)
        assert run("--model", model, clip, "--output", tmp_path, "--video", "frames", "--max-frames", "1") == 0
        shown = cv2.VideoCapture(str(clip)).read()[1][..., ::-1]
        (expected,) = expected_label_maps(model, [np.ascontiguousarray(shown)])
        actual = np.asarray(Image.open(tmp_path / "clip_frames/000000.png"))
        assert actual.shape == shown.shape[:2]
        assert (actual == expected).mean() > 0.98

    def test_ten_bits_and_odd_sizes(self, model, tmp_path):
        clip = encode(tmp_path / "clip.mkv", "ffv1", "yuv444p10le", pictures(61, 43))
        assert run("--model", model, clip, "--output", tmp_path / "out") == 0
        assert len(rgb(tmp_path / "out/clip_overlay.mp4")) == 8

    def test_pixels_of_which_the_model_is_less_sure_are_ignored(self, model, lossless, tmp_path):
        options = ("--video", "frames", "--abstain", "0.99", "--max-frames", "1")
        assert run("--model", model, lossless, "--output", tmp_path, *options) == 0
        assert 255 in np.asarray(Image.open(tmp_path / "clip_frames/000000.png"))

    def test_results_are_no_clips_of_a_later_run(self, model, lossless, tmp_path):
        (tmp_path / "clip.mkv").write_bytes(lossless.read_bytes())
        Image.fromarray(pictures()[0]).save(tmp_path / "clip.png")
        for kind in ("overlay", "labels", "frames"):
            assert run("--model", model, tmp_path, "--output", tmp_path, "--video", kind) == 0
        before = files(tmp_path)
        assert {"clip_overlay.mp4", "clip_overlay.jpg", "clip_labels.mov", "clip_frames/000007.png"} <= before
        assert run("--model", model, tmp_path, "--output", tmp_path) == 0
        assert files(tmp_path) == before

    def test_are_kept_until_something_changes(self, model, lossless, tmp_path, monkeypatch, capsys):
        output = tmp_path / "out"
        done = []
        segment_file = Videos.segment_file

        def recorded(self, path, *arguments):
            done.append(path.name)
            return segment_file(self, path, *arguments)

        monkeypatch.setattr(Videos, "segment_file", recorded)
        for count, options in enumerate(([], ["--max-frames", "3"], ["--video", "labels"], ["--dtype", "bfloat16"])):
            for _ in range(2):
                assert run("--model", model, lossless, "--output", output, *options) == 0
                assert len(done) == count + 1
        (output / f"{lossless.stem}_overlay.mp4").unlink()
        assert run("--model", model, lossless, "--output", output, "--dtype", "bfloat16") == 0
        assert len(done) == 5

    @pytest.mark.parametrize("kind", ["overlay", "labels", "frames"])
    def test_of_a_clip_that_cannot_be_read_any_more_go(self, kind, model, lossless, tmp_path):
        clip = tmp_path / "clip.mkv"
        shutil.copy(lossless, clip)
        for content, status in ((lossless.read_bytes(), 0), (b"junk", 1)):
            clip.write_bytes(content)
            arguments = ("--model", model, clip, "--video", kind, "--max-frames", "1", "--output", tmp_path / "out")
            assert run(*arguments) == status
        assert not list((tmp_path / "out").iterdir())

    def test_a_name_costs_one_clip_at_most(self, model, lossless, tmp_path, capsys):
        long = tmp_path / f"{'n' * 245}.mkv"
        shutil.copy(lossless, long)
        assert run("--model", model, long, lossless, "--output", tmp_path / "out") == 1
        assert f"{long}: its results cannot be named after it" in capsys.readouterr().err
        assert files(tmp_path / "out") == {f"{lossless.stem}_overlay.mp4", f"{lossless.stem}_frames.json"}

    def test_files_of_others_are_not_replaced(self, model, lossless, tmp_path, capsys):
        (tmp_path / "clip_overlay.mp4").write_bytes(b"mine")
        assert run("--model", model, lossless, "--output", tmp_path) == 1
        assert "clip_overlay.mp4" in capsys.readouterr().err
        assert (tmp_path / "clip_overlay.mp4").read_bytes() == b"mine"


class TestBadInputs:
    def segment(self, model: Path, clip: Path, output: Path, capsys, *options: str) -> str:
        """The line on the clip that is skipped, wholly or in part."""
        capsys.readouterr()
        assert run("--model", model, clip, "--output", output, *options) == 1
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
        assert clip.name in line
        return line

    def test_a_broken_frame_is_named_and_the_others_are_kept(self, model, tmp_path, capsys):
        packets = [jpeg(picture) for picture in pictures()]
        packets[3] = bytes(len(packets[3]))
        clip = motion_jpeg(tmp_path / "clip.mkv", packets)
        line = self.segment(model, clip, tmp_path / "out", capsys)
        assert "the frame at 0.12 s is left out" in line
        assert times(tmp_path / "out/clip_overlay.mp4") == pytest.approx([0, 0.04, 0.08, 0.16, 0.2, 0.24, 0.28])

    def test_what_a_decoder_would_make_up_is_no_frame(self, model, tmp_path, capsys):
        packets = [jpeg(picture) for picture in pictures()]
        packets[3] = packets[3][: len(packets[3]) // 2]
        clip = motion_jpeg(tmp_path / "clip.mkv", packets)
        assert "the frame at 0.12 s is left out" in self.segment(model, clip, tmp_path / "out", capsys)
        assert len(times(tmp_path / "out/clip_overlay.mp4")) == 7

    def test_a_clip_that_breaks_off(self, model, tmp_path, capsys):
        clip = motion_jpeg(tmp_path / "clip.mkv", [jpeg(picture) for picture in pictures()] * 4)
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 3])
        line = self.segment(model, clip, tmp_path / "out", capsys)
        assert "of 1.28 s: the rest is missing" in line
        assert 8 <= len(times(tmp_path / "out/clip_overlay.mp4")) <= 12

    def test_files_without_a_frame(self, model, tmp_path, capsys):
        whole = encode(tmp_path / "whole.mp4", "libx264", "yuv420p", pictures())
        clip = tmp_path / "clip.mp4"
        for content, message in ((whole.read_bytes()[:-200], "no video"), (b"text", "no video"), (b"", "no video")):
            clip.write_bytes(content)
            assert message in self.segment(model, clip, tmp_path / "out", capsys)
        broken = motion_jpeg(tmp_path / "broken.mkv", [bytes(500)])
        assert "no frame that can be decoded" in self.segment(model, broken, tmp_path / "out", capsys)
        assert not (tmp_path / "out").exists() or not files(tmp_path / "out")

    def test_frames_of_another_size_are_scaled_and_named(self, model, tmp_path, capsys):
        small = [jpeg(picture) for picture in pictures(32, 24)]
        clip = motion_jpeg(tmp_path / "clip.mkv", [jpeg(picture) for picture in pictures()] + small)
        assert run("--model", model, clip, "--output", tmp_path / "out", "--video", "labels") == 0
        assert "from 0.32 s on there are frames of 32 x 24 pixels" in capsys.readouterr().err
        assert [frame.shape for frame in rgb(tmp_path / "out/clip_labels.mov")] == [(42, 60, 3)] * 16

    def test_a_full_disk_leaves_nothing(self, model, lossless, tmp_path, capsys):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
        try:
            assert run("--model", model, lossless, "--output", tmp_path) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "error: " in capsys.readouterr().err
        assert files(tmp_path) == set()

    def test_options_for_images(self, model, lossless, tmp_path, capsys):
        assert run("--model", model, lossless, "--output", tmp_path / "out") == 0
        made = files(tmp_path / "out")
        for options in (("--scale", "native"), ("--confidence", "png")):
            line = self.segment(model, lossless, tmp_path / "out", capsys, *options)
            assert f"{options[0]} is for images, not for videos" in line
            assert files(tmp_path / "out") == made, "what took hours is gone"

    def test_missing_packages_are_named_and_images_segmented(self, model, lossless, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "av" else module)
        assert "pip install 'vitseg[video]'" in self.segment(model, lossless, tmp_path / "out", capsys)


class TestCamera:
    def test_what_it_sees_is_an_overlay_until_it_ends(self, model, tmp_path, capsys):
        clip = encode(tmp_path / "clip.mp4", "libx264", "yuv420p", pictures())
        videos = Videos(*load_model(str(model), "cpu", torch.float32))
        videos.segment_camera(str(clip), tmp_path / "seen")
        assert len(times(tmp_path / "seen_overlay.mp4")) == 8
        assert "8 frames in" in capsys.readouterr().out

    def test_there_is_none(self, model, tmp_path, capsys):
        assert run("--model", model, "--camera", "97", "--output", tmp_path) == 1
        assert "error: OpenCV finds no camera 97" in capsys.readouterr().err
        assert files(tmp_path) == set()
