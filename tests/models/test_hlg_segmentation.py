# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG's segmentation behaves as a user of transformers expects."""

import pytest
import torch
from citizenship import (
    NUM_LABELS,
    Citizenship,
    cold_compiler,  # noqa: F401
    gradients_of,
    images,
    label_maps,
    logits_of,
)
from tiny_hlg import NUM_LAYERS, small_model
from torch import nn

from vitseg import HlgForSemanticSegmentation


class TestSegmentation(Citizenship):
    # What takes long is done once: a training step is compiled here, windows are with other methods, and the models of
    # all tasks are exported in test_hlg.py.
    test_compiled_windows = None
    test_export_with_dynamic_height_and_width = None
    representative = "hlg"
    # Two in each block of the encoder and of the decoder.
    num_adapted = {"hlg": 2 * (NUM_LAYERS + 2)}

    @pytest.fixture
    def variant(self) -> str:
        return "hlg"

    def small_model(self, variant, **kwargs):
        return small_model(**kwargs)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_gives_the_same_label_maps(self, variant, dtype):
        # Coloured quarters, and a classifier that knows what the model makes of each of them.
        model = small_model()
        pixel_values = 6 * images(1, 3, 2, 2).repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
        inputs = []
        handle = model.decode_head.classifier.register_forward_hook(
            lambda module, inputs_, _: inputs.append(inputs_[0])
        )
        logits_of(model, pixel_values)
        handle.remove()
        features = inputs[0][0] - inputs[0][0].mean(dim=(1, 2), keepdim=True)
        prototypes = features[:, 4:14:8, 4:14:8].flatten(1).T  # one in the middle of each quarter
        with torch.no_grad():
            model.decode_head.classifier.weight[:4] = prototypes[:, :, None, None]
            model.decode_head.classifier.weight[4:] = 0
            means = inputs[0][0].mean(dim=(1, 2))
            model.decode_head.classifier.bias[:4] = -(prototypes @ means) - prototypes.square().sum(dim=1) / 2
            model.decode_head.classifier.bias[4:] = -1e3
        expected = logits_of(model, pixel_values).argmax(dim=1)
        assert len(expected.unique()) == 4
        logits = logits_of(model.to(dtype), pixel_values.to(dtype))
        assert logits.dtype == dtype
        assert (logits.argmax(dim=1) == expected).float().mean() >= 0.99

    def test_loading_options(self, variant, tmp_path):
        model, pixel_values = small_model(), images(1, 3, 64, 64)
        model.save_pretrained(tmp_path)
        load = HlgForSemanticSegmentation.from_pretrained
        anywhere = load(tmp_path, device_map="auto")
        # What convolutions round depends on how the weights lie in memory.
        self.assert_same_logits(
            logits_of(anywhere, pixel_values.to(anywhere.device)).cpu(), logits_of(model, pixel_values)
        )
        half = load(tmp_path, dtype=torch.bfloat16)
        assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
        eager = load(tmp_path, attn_implementation="eager")
        assert eager.backbone.config._attn_implementation == "eager"

    def test_hidden_states(self, variant):
        outputs = small_model()(images(2, 3, 50, 64), output_hidden_states=True)
        sizes = [(32, 32, 32), (32, 16, 16), (32, 8, 8), (64, 4, 4), (64, 2, 2)]
        assert [hidden_state.shape for hidden_state in outputs.hidden_states] == [(2, *size) for size in sizes]
        assert outputs.attentions is None

    def test_attentions(self, variant):
        model = small_model()
        model.set_attn_implementation("eager")
        outputs = model(images(2, 3, 64, 64), output_attentions=True)
        # Of each block heads, positions, and windows or, in the last stage, positions.
        shapes = [(1, 256, 9), (1, 256, 9), (1, 64, 4), (2, 16, 1), (2, 4, 4)]
        expected = [(2, *shape) for shape in shapes]
        assert [attention.shape for attention in outputs.attentions] == expected
        for attention in outputs.attentions:
            torch.testing.assert_close(attention.sum(dim=-1), torch.ones(attention.shape[:-1]))

    @pytest.mark.parametrize("argument", ["output_hidden_states", "output_attentions"])
    def test_windows_have_no_common_hidden_states(self, variant, argument):
        model, pixel_values = small_model(), images(1, 3, 65, 64)
        with pytest.raises(ValueError, match=r"65 x 64 .* windows of 64.*inference_mode = 'whole'"):
            model(pixel_values, **{argument: True})
        model.set_attn_implementation("eager")
        model.config.inference_mode = "whole"
        outputs = model(pixel_values, **{argument: True})
        assert len(outputs[argument.removeprefix("output_")]) == {"hidden": 5}.get(argument.split("_")[1], NUM_LAYERS)

    @pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
    def test_gradient_checkpointing_gives_the_same_gradients(self, variant):
        gradients, forward_passes = [], []
        for checkpointing in (False, True):
            model = small_model().train()
            if checkpointing:
                model.gradient_checkpointing_enable()
            calls = []
            for layer in (model.backbone.stages[0].layers[1], model.decode_head.layers[1]):
                layer.attention.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
            model(images(2, 3, 64, 64), labels=label_maps(2, 64, 64)).loss.backward()
            gradients.append(gradients_of(model))
            forward_passes.append(len(calls))
        # The attention of the decoder is used twice in each pass.
        assert forward_passes == [3, 6]
        for name, gradient in gradients[0].items():
            assert gradient is not None, name
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_losses_of_several_auxiliary_heads():
    heads = [{"in_index": 2, "hidden_size": 8}, {"in_index": 3, "hidden_size": 4}]
    model = small_model(auxiliary_heads=heads, auxiliary_loss_weight=0.5)
    outputs = model(images(2, 3, 50, 64), labels=label_maps(2, 50, 64))
    assert set(outputs.loss_dict) == {"decode.loss_seg", "aux_0.loss_seg", "aux_1.loss_seg"}
    torch.testing.assert_close(outputs.loss, sum(outputs.loss_dict.values()))


def test_the_answer_is_squeezed_through_a_square():
    model, pixel_values = small_model(window_size=[64, 160]), images(1, 3, 64, 160)
    squares = []
    model.decode_head.register_forward_hook(lambda module, inputs, output: squares.append(model.to_square(output)))
    logits = logits_of(model, pixel_values)
    assert squares[0].shape == (1, NUM_LABELS, 160, 160)
    expected = nn.functional.interpolate(squares[0], size=(64, 160), mode="bilinear", align_corners=False)
    assert torch.equal(logits, expected)
