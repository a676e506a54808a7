# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Whole configurations of mmsegmentation, in checkpoints and in files: from them alone come method, network, classes,
test protocol and preprocessing.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import case_names, load_case, pixels
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation

from vitseg import cli
from vitseg.conversion.pipelines import read_test_settings
from vitseg.recipes.labels import load_label_set


# Cases of every family whose originals are configurations of mmsegmentation.
FAMILIES = [
    ("setr", "tiny_pup"),
    ("setr", "tiny_mla"),
    ("segvit", "tiny-atm"),
    ("segvit", "tiny-shrunk"),
    ("structtoken", "tiny_cse"),
    ("sctnet", "tiny_odd"),
    ("hlg", "tiny_seg"),
    ("hlg", "tiny_det"),
    *(("mmsegmentation", name) for name in case_names("mmsegmentation")),
]
NAMES = ["sky", "road", "tree", "car", "dog", "cat", "sea"]
PALETTE = [[10 * index, 0, 255 - index] for index in range(7)]

# As mmengine writes it down, in the order of the alphabet, with mmsegmentation 1.2.2's test on ADE20K.
TEST = """
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_root='data/ade/ADEChallengeData2016',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                2048,
                512,
            ), type='Resize'),
            dict(reduce_zero_label=True, type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='ADE20KDataset'))
"""


def text_of(config: dict[str, Any], rest: str = TEST) -> str:
    return f"model = {config.get('model', config)!r}\n{rest}"


def convert(command, checkpoint, *options):
    return command.run("--checkpoint", checkpoint, "--output", command.output, *options)


@pytest.mark.parametrize(("folder", "name"), FAMILIES)
def test_the_text_in_a_checkpoint_is_enough(folder, name, command):
    golden = load_case(folder, name)
    # mmengine's record, and mmcv's.
    meta = {"cfg" if folder == "mmsegmentation" else "config": text_of(golden.config)}
    answer = convert(command, command.checkpoint({"meta": meta, "state_dict": golden.state_dict()}))
    assert answer.status == 0, answer.err
    record = json.loads((command.output / "conversion.json").read_text())
    assert record["method"] == (golden.method if folder == "mmsegmentation" else folder)
    if folder == "mmsegmentation":
        model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
        with torch.no_grad():
            logits = model(pixels(golden.description["outputs"]["logits"]["input"])).logits
        golden.assert_matches("logits", logits)
    image_processor = AutoImageProcessor.from_pretrained(command.output)
    is_segmenter = name != "tiny_det"
    size = (
        {"shortest_edge": 512, "longest_edge": 2048} if is_segmenter else {"shortest_edge": 800, "longest_edge": 1333}
    )
    assert dict(image_processor.size) == size
    assert image_processor.do_reduce_labels == is_segmenter


def test_classes_may_be_named_with_their_modules(command):
    """As mmengine writes them for configurations that import them."""
    golden = load_case("mmsegmentation", "segmenter_mask")
    text = text_of(golden.config)
    for module, names in {
        "models": ("EncoderDecoder", "VisionTransformer", "SegmenterMaskTransformerHead", "SegDataPreProcessor"),
        "datasets.transforms": ("LoadAnnotations", "PackSegInputs"),
        "datasets": ("ADE20KDataset",),
    }.items():
        for name in names:
            text = text.replace(f"'{name}'", f"'mmseg.{module}.{name}'")
    checkpoint = command.checkpoint({"meta": {"cfg": text}, "state_dict": golden.state_dict()})
    assert convert(command, checkpoint).status == 0
    config = AutoConfig.from_pretrained(command.output)
    assert config.decoder_type == "mask_transformer"
    assert AutoImageProcessor.from_pretrained(command.output).do_reduce_labels


def test_classes_and_their_colours(command, tmp_path):
    """Of mmengine's record, and in what is drawn with the model."""
    golden = load_case("mmsegmentation", "segmenter_linear")
    meta = {"cfg": text_of(golden.config, ""), "dataset_meta": {"classes": tuple(NAMES), "palette": PALETTE}}
    answer = convert(command, command.checkpoint({"meta": meta, "state_dict": golden.state_dict()}), "--verify")
    assert answer.status == 0, answer.err
    config = AutoConfig.from_pretrained(command.output)
    assert list(config.id2label.values()) == NAMES
    assert config.palette == PALETTE

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "picture.png")
    arguments = ["--model", command.output, tmp_path / "picture.png", "--output", tmp_path / "drawn"]
    assert cli.main(["segment", *map(str, arguments)]) == 0
    drawn = Image.open(tmp_path / "drawn" / "picture_palette.png")
    shown = int(np.asarray(drawn)[0, 0])
    assert list(drawn.convert("RGB").getpixel((0, 0))) == PALETTE[shown]


def test_a_python_file_with_bases_needs_no_method(command):
    golden = load_case("mmsegmentation", "setr_pup")
    (command.folder / "base.py").write_text(text_of(golden.config), encoding="utf-8")
    file = command.folder / "setr.py"
    file.write_text("_base_ = './base.py'\nmodel = dict(test_cfg=dict(stride=(20, 30)))\n", encoding="utf-8")
    checkpoint = command.checkpoint({"state_dict": golden.state_dict()})
    assert convert(command, checkpoint, "--original-config", file).status == 0
    config = AutoConfig.from_pretrained(command.output)
    assert (config.model_type, config.inference_mode) == ("setr", "slide")
    assert list(config.window_stride) == [20, 30]


class TestRefusals:
    @pytest.fixture
    def weights(self):
        return load_case("mmsegmentation", "setr_naive").state_dict()

    @pytest.mark.parametrize(
        ("text", "of_what"),
        [
            (
                "model = dict(type='FasterRCNN', backbone=dict(type='ResNet'), rpn_head=dict(type='RPNHead'))",
                "FasterRCNN of ResNet",
            ),
            (
                "model = dict(type='RetinaNet', backbone=dict(type='mmdet.ResNet'), "
                "bbox_head=dict(type='RetinaHead'))",
                "RetinaNet of ResNet and RetinaHead",
            ),
            (
                "model = dict(type='ImageClassifier', backbone=dict(type='VisionTransformer'), head=dict(type='H'))",
                "ImageClassifier of VisionTransformer",
            ),
            (
                "model = dict(type='EncoderDecoder', backbone=dict(type='MSCAN'), "
                "decode_head=dict(type='LightHamHead'))",
                "EncoderDecoder of MSCAN and LightHamHead",
            ),
            (
                "model = dict(type='MultimodalEncoderDecoder', image_encoder=dict(type='VisionTransformer'), "
                "decode_head=dict(type='SideAdapterCLIPHead'))",
                "MultimodalEncoderDecoder of SideAdapterCLIPHead",
            ),
        ],
        ids=["mmdetection", "mmdetection_scoped", "mmpretrain", "segnext", "no_backbone"],
    )
    def test_a_model_that_nothing_here_converts(self, text, of_what, weights, command):
        checkpoint = command.checkpoint({"meta": {"cfg": text}, "state_dict": weights})
        command.assert_refused(
            convert(command, checkpoint),
            f"The configuration in {checkpoint} is for {of_what}, which nothing here converts",
            "VisionTransformer and SETRUPHead",
            "MixVisionTransformer and SegformerHead",
        )

    def test_code(self, weights, command):
        marker = command.folder / "marker"
        text = f"import os\nmodel = dict(backbone=os.system('touch {marker}'))\n"
        checkpoint = command.checkpoint({"meta": {"cfg": text}, "state_dict": weights})
        command.assert_refused(convert(command, checkpoint), f"The configuration in {checkpoint}, line 1: import os")
        assert not marker.exists()

    def test_no_configuration(self, weights, command):
        checkpoint = command.checkpoint({"meta": {"epoch": 3}, "state_dict": weights})
        message = f"{checkpoint} does not hold the configuration of its model"
        command.assert_refused(convert(command, checkpoint), message, "--recipe", "--original-config", "--method")
        command.assert_refused(convert(command, checkpoint, "--method", "setr"), message, "--original-config")

    def test_a_configuration_of_data_alone(self, weights, command):
        checkpoint = command.checkpoint({"meta": {"cfg": TEST}, "state_dict": weights})
        command.assert_refused(convert(command, checkpoint), "holds no model configuration")

    @pytest.mark.parametrize(
        ("step", "message"),
        [
            ("dict(type='Resize', scale_factor=0.5)", "Resize has scale_factor=0.5"),
            ("dict(type='Resize', scale=512)", "scale=512"),
            ("dict(type='ResizeToMultiple', size_divisor=32)", "The test pipeline has a ResizeToMultiple"),
            ("dict(type='Normalize', mean=[0.0], std=[1.0], to_rgb=False)", "Normalize has to_rgb=False"),
        ],
    )
    def test_preprocessing_that_ours_does_not_do(self, step, message, weights, command):
        text = text_of(load_case("mmsegmentation", "setr_naive").config, f"test_pipeline = [{step}]")
        checkpoint = command.checkpoint({"meta": {"cfg": text}, "state_dict": weights})
        command.assert_refused(convert(command, checkpoint), message)


class TestSettings:
    """What is read of test pipelines, as releases 0.x and 1.x write them."""

    def test_release_0(self):
        flip = {"type": "MultiScaleFlipAug", "img_scale": (2049, 1025), "img_ratios": [0.5, 1.0], "flip": True}
        steps = [
            {"type": "Resize", "keep_ratio": True},
            {"type": "RandomFlip"},
            {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True},
            {"type": "ImageToTensor", "keys": ["img"]},
            {"type": "Collect", "keys": ["img"]},
        ]
        pipeline = [{"type": "LoadImageFromFile"}, flip | {"transforms": steps}]
        config = {"data": {"test": {"type": "CityscapesDataset", "pipeline": pipeline}}}
        read = read_test_settings(config, {})
        assert read.processing["size"] == {"shortest_edge": 1025, "longest_edge": 2049}
        assert [255 * value for value in read.processing["image_mean"]] == pytest.approx([123.675, 116.28, 103.53])
        assert read.processing["do_reduce_labels"] is False
        assert (read.ratios, read.flip) == ((0.5, 1.0), True)
        assert read.names == load_label_set("cityscapes").names

    def test_one_size_for_all(self):
        config = {"test_pipeline": [{"type": "Resize", "scale": (1024, 512)}]}
        assert read_test_settings(config, {}).processing == {"size": {"height": 512, "width": 1024}}

    @pytest.mark.parametrize(
        ("step", "meta", "dataset", "expected"),
        [
            ({}, {}, {"type": "ADE20KDataset"}, True),
            ({}, {}, {"type": "ADE20KDataset", "reduce_zero_label": False}, False),
            ({}, {"reduce_zero_label": True}, {"type": "MyDataset"}, True),
            ({"reduce_zero_label": False}, {"reduce_zero_label": True}, {"type": "MyDataset"}, False),
            ({}, {}, {"type": "MyDataset"}, False),
        ],
    )
    def test_labels_are_reduced_by_the_first_that_says_so(self, step, meta, dataset, expected):
        pipeline = [{"type": "LoadAnnotations", **step}]
        config = {
            "val_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": dataset | {"pipeline": pipeline}}}
        }
        assert read_test_settings(config, {"dataset_meta": meta}).processing["do_reduce_labels"] is expected

    def test_the_record_knows_the_classes_better(self):
        config = {"test_dataloader": {"dataset": {"type": "ADE20KDataset", "metainfo": {"classes": ("a", "b")}}}}
        assert read_test_settings(config, {}).names == ("a", "b")
        assert read_test_settings(config, {"dataset_meta": {"classes": ["c"]}}).names == ("c",)
        assert read_test_settings({}, {"CLASSES": ["d"], "PALETTE": np.array([[1, 2, 3]])}).palette == [[1, 2, 3]]


class TestOtherWeights:
    def test_those_under_a_key_of_their_own(self, command):
        """mmengine's EMAHook keeps the average as `state_dict`, and counts its steps."""
        golden = load_case("mmsegmentation", "segmenter_linear")
        average = golden.state_dict()
        trained = {f"module.{name}": tensor + 1 for name, tensor in average.items()} | {"steps": torch.tensor(3)}
        content = {"meta": {"cfg": text_of(golden.config)}, "state_dict": average, "ema_state_dict": trained}
        self.check(command, content, "ema_state_dict", average)

    def test_copies_among_the_weights(self, command):
        """mmcv's EMAHook, whose names have no dots."""
        golden = load_case("mmsegmentation", "segmenter_linear")
        weights = golden.state_dict()
        copies = {f"ema_{name.replace('.', '_')}": tensor + 1 for name, tensor in weights.items()}
        content = {"meta": {"config": text_of(golden.config)}, "state_dict": weights | copies}
        self.check(command, content, "ema_", weights)

    def check(self, command, content, entry, expected):
        checkpoint = command.checkpoint(content)
        answer = convert(command, checkpoint)
        assert f"It holds other weights, too: --weights {entry}." in answer.out
        first = AutoModelForSemanticSegmentation.from_pretrained(command.output).decode_head.state_dict()
        command.output = command.output.with_name("other")
        answer = convert(command, checkpoint, "--weights", entry)
        assert answer.status == 0, answer.err
        other = AutoModelForSemanticSegmentation.from_pretrained(command.output).decode_head.state_dict()
        for name, tensor in first.items():
            assert torch.allclose(other[name], tensor + 1), name

    def test_unknown_ones(self, command):
        checkpoint = command.checkpoint({"state_dict": {"a": torch.ones(1)}})
        answer = convert(command, checkpoint, "--weights", "ema_state_dict")
        command.assert_refused(answer, "holds no weights under 'ema_state_dict', but under ['state_dict']")
