# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Segmenters of transformers, tiny and random, measured as their own image processors process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
import transformers
from accelerate import Accelerator
from PIL import Image
from torch import nn
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin

from vitseg.cli import main
from vitseg.data.streaming import load_examples
from vitseg.evaluation.evaluator import evaluate_model
from vitseg.inference.loading import load_model
from vitseg.recipes.protocol import Protocol
from vitseg.scenes import SCENE_CLASSES, write_scenes


NAMES = ["wall", "building", "sky", "floor", "tree"]
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
SQUARE, SHORT = {"height": 64, "width": 64}, {"shortest_edge": 64, "longest_edge": 96}


def swin() -> transformers.SwinConfig:
    return transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


SMALL_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
    "patch_size": 16,
}


def segformer():
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
        **LABELS,
    )
    return transformers.SegformerForSemanticSegmentation(config), transformers.SegformerImageProcessor(size=SQUARE)


def upernet():
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=8, pool_scales=[1, 2], use_auxiliary_head=False, **LABELS
    )
    return transformers.UperNetForSemanticSegmentation(config), transformers.SegformerImageProcessor(size=SQUARE)


def dpt():
    config = transformers.DPTConfig(
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        use_auxiliary_head=False,
        **SMALL_VIT,
        **LABELS,
    )
    return transformers.DPTForSemanticSegmentation(config), transformers.DPTImageProcessor(size=SQUARE)


def beit():
    config = transformers.BeitConfig(
        out_indices=[0, 1, 2, 3], pool_scales=[1, 2], use_auxiliary_head=False, **SMALL_VIT, **LABELS
    )
    return transformers.BeitForSemanticSegmentation(config), transformers.BeitImageProcessor(
        size=SQUARE, do_reduce_labels=True
    )


def data2vec():
    config = transformers.Data2VecVisionConfig(
        out_indices=[0, 1, 2, 3], pool_scales=[1, 2], use_auxiliary_head=False, **SMALL_VIT, **LABELS
    )
    return transformers.Data2VecVisionForSemanticSegmentation(config), transformers.BeitImageProcessor(size=SQUARE)


def mobilevit():
    config = transformers.MobileViTConfig(
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 8, 8, 8, 8, 8],
        num_attention_heads=2,
        aspp_out_channels=8,
        atrous_rates=[1, 2, 3],
        **LABELS,
    )
    # It crops, too, which the measured model does not do, and shows blue first.
    image_processor = transformers.MobileViTImageProcessor(size={"shortest_edge": 64})
    return transformers.MobileViTForSemanticSegmentation(config), image_processor


def mobilenet_v2():
    config = transformers.MobileNetV2Config(depth_multiplier=0.25, **LABELS)
    image_processor = transformers.MobileNetV2ImageProcessor(size={"shortest_edge": 64})
    return transformers.MobileNetV2ForSemanticSegmentation(config), image_processor


def sapiens2():
    head = transformers.Sapiens2HeadConfig(upsample_out_channels=[8], conv_out_channels=[8])
    config = transformers.Sapiens2Config(head_config=head, **SMALL_VIT, **LABELS)
    image_processor = transformers.Sapiens2ImageProcessor(size=SQUARE)
    return transformers.Sapiens2ForSemanticSegmentation(config), image_processor


def maskformer():
    decoder = transformers.DetrConfig(
        d_model=16,
        decoder_layers=1,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        encoder_layers=0,
        num_queries=4,
        encoder_attention_heads=2,
    )
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **LABELS
    )
    return transformers.MaskFormerForInstanceSegmentation(config), transformers.MaskFormerImageProcessor(size=SHORT)


def mask2former():
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=4,
        **LABELS,
    )
    return transformers.Mask2FormerForUniversalSegmentation(config), transformers.Mask2FormerImageProcessor(size=SHORT)


def oneformer():
    config = transformers.OneFormerConfig(
        backbone_config=swin(),
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        query_dec_layers=1,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=4,
        task_seq_len=8,
        text_encoder_vocab_size=256,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_context_length=8,
        **LABELS,
    )
    letters = [letter + end for letter in "thetaskisemantic" for end in ("", "</w>")]
    words = dict.fromkeys([*letters, "<|startoftext|>", "<|endoftext|>"])
    tokenizer = transformers.CLIPTokenizer(vocab={word: index for index, word in enumerate(words)}, merges=[])
    image_processor = transformers.OneFormerImageProcessor(size=SHORT)
    processor = transformers.OneFormerProcessor(image_processor, tokenizer, max_seq_length=8, task_seq_length=8)
    return transformers.OneFormerForUniversalSegmentation(config), processor


def eomt(config_class=transformers.EomtConfig, model_class=transformers.EomtForUniversalSegmentation, **settings):
    settings = SMALL_VIT | {"num_blocks": 1, "num_queries": 4, "num_upscale_blocks": 1} | settings
    if config_class is transformers.EomtConfig:
        del settings["intermediate_size"]
    image_processor = transformers.EomtImageProcessor(
        size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True
    )
    return model_class(config_class(**settings, **LABELS)), image_processor


def eomt_dinov3():
    return eomt(transformers.EomtDinov3Config, transformers.EomtDinov3ForUniversalSegmentation)


FAMILIES = [
    segformer,
    upernet,
    dpt,
    beit,
    data2vec,
    mobilevit,
    mobilenet_v2,
    sapiens2,
    maskformer,
    mask2former,
    oneformer,
    eomt,
    eomt_dinov3,
]
# What shows a model its images: an image processor, or one with a tokenizer.
Processor: TypeAlias = BaseImageProcessor | ProcessorMixin
Family = Callable[[], tuple[PreTrainedModel, Processor]]


def saved(folder: Path, family: Family) -> tuple[PreTrainedModel, Processor]:
    """A model of a family whose answers differ from place to place."""
    torch.manual_seed(1)
    model, processor = family()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:
                scale = 20 if "class_predictor" in name or "queries" in name else 1
                weights.copy_(scale * torch.randn_like(weights) / weights[0].numel() ** 0.5)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def photos() -> list[dict]:
    rng = np.random.default_rng(0)
    examples = []
    for height, width in ((90, 121), (130, 88)):
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        label_map = rng.integers(0, 5, (height, width))
        label_map[:4] = 255
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        examples.append({"image": image, "label_map": label_map})
    return examples


def counted(label_maps: list[np.ndarray], examples: list[dict]) -> np.ndarray:
    confusion = np.zeros((5, 5), int)
    for prediction, example in zip(label_maps, examples, strict=True):
        for truth, answer in zip(example["label_map"].flat, prediction.flat, strict=True):
            if truth != 255:
                confusion[truth, answer] += 1
    return confusion


def own_scores(model: PreTrainedModel, processor: Processor, image: Image.Image, flip: bool = False) -> torch.Tensor:
    """Scores of all classes at the size of an image, as the documentation of the family has it."""
    image_processor: Any = getattr(processor, "image_processor", processor)
    whole = {"do_center_crop": False} if getattr(image_processor, "do_center_crop", None) else {}
    task = {} if image_processor is processor else {"task_inputs": ["semantic"]}
    shown = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
    inputs = processor(images=[shown], return_tensors="pt", **whole, **task)
    with torch.no_grad():
        outputs = model(**{name: value for name, value in inputs.items() if name != "text_inputs"})
    (answer,) = image_processor.post_process_semantic_segmentation(
        outputs, target_sizes=[(image.height, image.width)], return_segmentation_scores=True
    )
    return answer.segmentation_scores.flip(-1) if flip else answer.segmentation_scores


def check_confusion(found: np.ndarray, expected: np.ndarray) -> None:
    assert (expected.sum(axis=0) > 0).sum() > 1  # or nothing was tested
    assert np.abs(found - expected).sum() <= 0.002 * expected.sum()  # rounding


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_measured_as_it_processes(family, tmp_path):
    own, examples = saved(tmp_path, family), photos()
    label_maps = [own_scores(*own, example["image"]).argmax(dim=0).numpy() for example in examples]
    model, image_processor = load_model(str(tmp_path), "cpu", torch.float32)
    scores = evaluate_model(model, image_processor, examples, Accelerator(cpu=True))
    check_confusion(scores["confusion_matrix"], counted(label_maps, examples))


@pytest.mark.parametrize("family", [mask2former, dpt])
def test_flips_are_averaged(family, tmp_path):
    own, examples = saved(tmp_path, family), photos()
    label_maps = [
        sum(own_scores(*own, each["image"], flip).softmax(dim=0) for flip in (False, True)).argmax(dim=0).numpy()
        for each in examples
    ]
    model, image_processor = load_model(str(tmp_path), "cpu", torch.float32)
    protocol = Protocol.of_model(model.config, image_processor, flip=True)
    scores = evaluate_model(model, image_processor, examples, Accelerator(cpu=True), protocol=protocol)
    check_confusion(scores["confusion_matrix"], counted(label_maps, examples))


def test_windows_of_a_mask_classifier_and_half_precision(tmp_path):
    (model, processor), examples = saved(tmp_path, mask2former), photos()[:1]
    pixel_values = processor(images=[examples[0]["image"]], return_tensors="pt")["pixel_values"]
    total = torch.zeros(1, 5, *pixel_values.shape[-2:])
    count = torch.zeros(pixel_values.shape[-1])
    starts = (0, 24, pixel_values.shape[-1] - 64)
    for left in starts:
        with torch.no_grad():
            outputs = model(pixel_values[..., left : left + 64])
        (answer,) = processor.post_process_semantic_segmentation(
            outputs, target_sizes=[(64, 64)], return_segmentation_scores=True
        )
        total[..., left : left + 64] += answer.segmentation_scores
        count[left : left + 64] += 1
    expected = nn.functional.interpolate(total / count, size=(90, 121), mode="bilinear")[0].argmax(dim=0).numpy()
    loaded, image_processor = load_model(str(tmp_path), "cpu", torch.float32)
    protocol = Protocol(mode="slide", window_size=(64, 64), window_stride=(24, 24), size=SHORT)
    accelerator = Accelerator(cpu=True)
    scores = evaluate_model(loaded, image_processor, examples, accelerator, protocol=protocol, window_batch_size=2)
    check_confusion(scores["confusion_matrix"], counted([expected], examples))
    half = evaluate_model(loaded.to(torch.bfloat16), image_processor, examples, accelerator, protocol=protocol)
    differing = np.abs(half["confusion_matrix"] - scores["confusion_matrix"]).sum()
    assert differing < 0.2 * scores["confusion_matrix"].sum()


def test_an_eomt_takes_one_size_alone(tmp_path):
    own, examples = saved(tmp_path, eomt), photos()[:1]
    model, image_processor = load_model(str(tmp_path), "cpu", torch.float32)
    larger = Protocol.of_model(model.config, image_processor, ratios=[1.5])
    with pytest.raises(ValueError, match=r"takes images of 64 x 64 pixels, but is shown 96 x 64: .*--window 64 64"):
        evaluate_model(model, image_processor, examples, Accelerator(cpu=True), protocol=larger)
    # Padding of smaller ones does not count: black at the bottom and the right leaves the rest as it is.
    pixels = np.array(examples[0]["image"].resize((64, 48)))
    padded = Image.fromarray(np.pad(pixels, ((0, 16), (0, 0), (0, 0))))
    expected = own_scores(*own, padded)[:, :48]
    pixel_values = image_processor(padded, return_tensors="pt")["pixel_values"][:, :, :48]
    with torch.no_grad():
        scores = model(pixel_values).logits[0]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)


def rename_classes(folder: Path, names: list[str]) -> None:
    configuration = json.loads((folder / "config.json").read_text())
    configuration["id2label"] = dict(enumerate(names))
    configuration["label2id"] = {name: index for index, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(configuration))


def test_classes_are_found_by_name(tmp_path, capsys):
    scenes, folder, output = tmp_path / "scenes", tmp_path / "model", tmp_path / "out"
    write_scenes(scenes, num_train=1, num_validation=2)
    own = saved(folder, mask2former)
    rename_classes(folder, ["wall", "Side_walk", "heaven; sky", "floor", "TREE"])
    arguments = ["validate", "--model", str(folder), "--dataset", str(scenes), "--workers", "0"]
    assert main([*arguments, "--output", str(output), "--save-images", "1", "--report"]) == 0
    printed = capsys.readouterr().out
    assert "note: 2 of 12 classes are found in the model by name" in printed
    assert "note: the data set lacks these, which are wrong where predicted: wall, Side_walk, floor" in printed

    ids = {2: SCENE_CLASSES.index("sky"), 4: SCENE_CLASSES.index("tree")}
    intersect, pred, label = np.zeros((3, 12), int)
    for example in load_examples(scenes, "validation"):
        answers = own_scores(*own, example["image"]).argmax(dim=0).numpy()
        for truth, answer in zip(example["label_map"].flat, answers.flat, strict=True):
            if truth != 255:
                label[truth] += 1
                if answer in ids:
                    pred[ids[answer]] += 1
                    intersect[truth] += ids[answer] == truth
    union = pred + label - intersect
    record = json.loads((output / "results.json").read_text())
    assert [row["name"] for row in record["classes"]] == list(SCENE_CLASSES)
    assert [row["pixels"] for row in record["classes"]] == label.tolist()
    expected = (intersect[union > 0] / union[union > 0]).mean()
    assert record["scores"]["mean_iou"] == pytest.approx(expected, abs=1e-4)
    assert record["unmatched_classes"]["model"] == ["wall", "Side_walk", "floor"]
    assert "- classes of the model alone: wall, Side_walk, floor" in (output / "results.md").read_text()
    assert main([*arguments, "--calibration"]) == 2
    assert "Calibration is of a model's own classes" in capsys.readouterr().err
    assert main([*arguments, "--match-classes", "id"]) == 2
    assert "has 12 classes, but the model has 5." in capsys.readouterr().err
    rename_classes(folder, list("abcde"))
    assert main(arguments) == 2
    assert "has 12 classes, but the model has 5, and none has the same name" in capsys.readouterr().err

    image = tmp_path / "image.png"
    example["image"].save(image)
    assert main(["segment", "--model", str(folder), str(image), "--output", str(tmp_path / "segmented")]) == 0
    label_map = np.asarray(Image.open(tmp_path / "segmented" / "image_ids.png"))
    assert (label_map != answers).mean() < 0.002
