# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet and its teacher answer what the original answered, from its checkpoints through the public path."""

import pytest
import torch
from golden_cases import GoldenCase, case_names, load_case
from torch import nn
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, SegformerConfig


# The cases of losses are in tests/training/test_distillation.py.
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if "full" in name else name
    for name in case_names("sctnet")
    if "loss" not in name
]


@pytest.fixture
def load(converted_cases):
    def load_converted(name: str) -> tuple[GoldenCase, nn.Module]:
        case = load_case("sctnet", name)
        return case, AutoModelForSemanticSegmentation.from_pretrained(converted_cases(case))

    return load_converted


@pytest.fixture
def load_teacher(converted_cases):
    def load_converted(name: str) -> nn.Module:
        """The teacher inside the checkpoint of a case."""
        folder = converted_cases(load_case("sctnet", name), "sctnet_teacher")
        return AutoModelForSemanticSegmentation.from_pretrained(folder)

    return load_converted


def capture(model: nn.Module) -> dict[str, torch.Tensor]:
    """What the modules of a model return from now on, by their names, in their last call."""
    outputs: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _, inputs, output, name=name: outputs.__setitem__(name, output))
    return outputs


STAGES = {
    "stem": "backbone.stem",
    "layer1": "backbone.stage1",
    "layer2": "backbone.stage2",
    "layer3": "backbone.stage3.convolutions",
    "layer3_2": "backbone.stage3",
    "layer3_2.attn": "backbone.stage3.layers.0.attention",
    "convdown4": "backbone.stage4.convolutions",
    "layer4": "backbone.stage4.layers.0",
    "layer5": "backbone.stage4",
    "layer5.attn": "backbone.stage4.layers.1.attention",
    "spp": "backbone.stage5.pooling",
    "x_out": "backbone.stage5",
    "head_conv": "decode_head.layer.conv",
    "logits_low": "decode_head",
}


def intermediate(outputs: dict, name: str) -> torch.Tensor:
    output = outputs[STAGES[name]]
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("name", NAMES)
def test_answers_as_the_original(name, load, converted_cases):
    case, model = load(name)
    outputs = capture(model)
    with torch.no_grad():
        answer = model(case.pixel_values())
    case.assert_matches("logits", answer.logits)
    for key in case.expected.keys() & STAGES.keys():
        case.assert_matches(key, intermediate(outputs, key))

    image_processor = AutoImageProcessor.from_pretrained(converted_cases(case))
    size = case.description.get("ori_shape") or case.pixel_values().shape[-2:]
    if "logits_ori" in case.expected:
        (result,) = image_processor.post_process_semantic_segmentation(
            answer, [tuple(size)], return_segmentation_scores=True
        )
        case.assert_matches("logits_ori", result["segmentation_scores"][None])
        case.assert_matches("probs_ori", result["segmentation_scores"].softmax(dim=0)[None])
    label_maps = image_processor.post_process_semantic_segmentation(answer, [tuple(size)] * len(answer.logits))
    expected = case.expected["argmax_histogram"]
    counts = torch.stack(label_maps).flatten().bincount(minlength=len(expected))
    # As the case allows, a thousandth of the pixels may be near ties.
    assert (counts - expected).abs().sum() / 2 <= 0.001 * expected.sum()


def test_epsilons(load, load_teacher):
    _, model = load("tiny_loss_bn_eval")
    epsilons = {name: module.eps for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name for name, eps in epsilons.items() if eps == 1e-6} == {
        f"backbone.stage{stage}.layers.{index}.mlp.norm" for stage, index in ((3, 0), (4, 0), (4, 1))
    }
    assert set(epsilons.values()) == {1e-5, 1e-6}
    teacher = load_teacher("tiny_loss_bn_eval")
    kinds = {nn.LayerNorm: 1e-6, nn.BatchNorm2d: 1e-5}
    for kind, eps in kinds.items():
        assert {module.eps for module in teacher.modules() if isinstance(module, kind)} == {eps}
    assert isinstance(teacher.config.encoder_config, SegformerConfig)
