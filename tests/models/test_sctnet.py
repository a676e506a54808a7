# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet behaves as a user of transformers expects, and its deployment is fast."""

import copy
import json
import re

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
from huggingface_hub.errors import StrictDataclassClassValidationError
from peft import LoraConfig, get_peft_model
from tiny_sctnet import small_config, small_model
from torch import nn
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
)

from vitseg import (
    SctNetBackbone,
    SctNetConfig,
    SctNetForSemanticSegmentation,
    SctNetImageProcessor,
    SetrConfig,
    SetrForSemanticSegmentation,
)
from vitseg.models.modeling_sctnet import SctNetAttention, SctNetPyramidPooling, normalize_twice


def exported(model: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {"pixel_values": {0: dynamic, 2: dynamic, 3: dynamic}}
    return torch.export.export(model, (), {"pixel_values": images(*shape)}, dynamic_shapes=shapes)


class TestCitizenship(Citizenship):
    representative = "sctnet"

    @pytest.fixture(params=["sctnet"])
    def variant(self, request) -> str:
        """There is but one."""
        return request.param

    def small_model(self, variant, **kwargs):
        # As published an image is never cut into windows; that it can be is tested as with other methods.
        return small_model(inference_mode="slide", **kwargs)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("is_fused", [False, True])
    def test_half_precision_gives_the_same_label_maps(self, variant, is_fused, dtype):
        torch.manual_seed(0)
        model = SctNetForSemanticSegmentation(small_config(base_channels=32)).eval()
        # With areas of a class, not noise: between areas, rounding decides.
        pixel_values = nn.functional.interpolate(images(2, 3, 2, 2), size=(64, 64), mode="bicubic")
        with torch.no_grad():
            model.decode_head.classifier.bias -= model(pixel_values).logits.mean(dim=(0, 2, 3))
        expected = logits_of(model, pixel_values).argmax(dim=1)
        assert len(expected.unique()) == NUM_LABELS
        logits = logits_of((model.fuse() if is_fused else model).to(dtype), pixel_values.to(dtype))
        assert logits.dtype == dtype
        assert (logits.argmax(dim=1) == expected).float().mean() >= 0.99

    def test_whole_mode_and_training_make_one_pass(self, variant):
        model, pixel_values, labels = self.small_model(variant), images(2, 3, 80, 128), label_maps(2, 80, 128)
        passes = []
        model.backbone.register_forward_pre_hook(lambda module, inputs: passes.append(tuple(inputs[0].shape)))
        windowed = logits_of(model, pixel_values)
        assert {shape[1:] for shape in passes} == {(3, 64, 64)}
        del passes[:]
        logits_of(copy.deepcopy(model).train(), pixel_values, labels=labels)
        model.config.inference_mode = "whole"
        whole = logits_of(model, pixel_values)
        assert passes == [(2, 3, 80, 128)] * len(passes)
        assert not torch.allclose(windowed, whole, rtol=1e-3, atol=1e-5)

    @pytest.mark.slow
    def test_export_with_dynamic_height_and_width(self, variant):
        """
        Of itself, PyTorch takes a map of one row or column for another program. The maps of the pooling have more from
        257 pixels on; for smaller images it has to be told.
        """
        model = small_model()
        program = exported(model, (2, 3, 300, 400)).module()
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):
            any_size = exported(model, (2, 3, 80, 112)).module()
        small = ((1, 3, 64, 64), (3, 3, 97, 33), (1, 3, 1, 90))
        for shape in (*small, (2, 3, 300, 400), (1, 3, 257, 610)):
            pixel_values = images(*shape)
            expected = logits_of(model, pixel_values)
            self.assert_same_logits(any_size(pixel_values=pixel_values).logits, expected)
            if shape not in small:
                self.assert_same_logits(program(pixel_values=pixel_values).logits, expected)

    def test_eager_and_sdpa_agree(self, variant):
        """There is one implementation, of convolutions: no other can be asked for."""
        assert self.small_model(variant).config._attn_implementation == "eager"

    def test_hidden_states(self, variant):
        model, pixel_values = self.small_model(variant), images(2, 3, 48, 64)
        with torch.no_grad():
            outputs = model(pixel_values, output_hidden_states=True)
        shapes = [(8, 12, 16), (8, 12, 16), (16, 6, 8), (32, 3, 4), (64, 2, 2), (32, 6, 8)]
        assert [tuple(hidden_state.shape[1:]) for hidden_state in outputs.hidden_states] == shapes
        assert outputs.attentions is None
        model.config.output_hidden_states = True
        with torch.no_grad():
            assert len(model(pixel_values).hidden_states) == 6

    def test_attentions(self, variant):
        model = self.small_model(variant)
        with torch.no_grad():
            outputs = model(images(2, 3, 48, 64), output_attentions=True)
        shapes = [tuple(attention.shape) for attention in outputs.attentions]
        # Eight vertical and eight horizontal heads of eight maps.
        assert shapes == [(2, 16, 8, 3, 4), (2, 16, 8, 2, 2), (2, 16, 8, 2, 2)]
        for attention in outputs.attentions:
            total = attention.sum(dim=2)
            torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("argument", ["output_hidden_states", "output_attentions"])
    def test_windows_have_no_common_hidden_states(self, variant, argument):
        model, pixel_values = self.small_model(variant), images(1, 3, 65, 64)
        with pytest.raises(ValueError, match=r"65 x 64 .* windows of 64.*inference_mode = 'whole'"):
            model(pixel_values, **{argument: True})

    def test_loading_options(self, variant, tmp_path):
        model, pixel_values = self.small_model(variant), images(1, 3, 64, 64)
        model.save_pretrained(tmp_path)
        load = type(model).from_pretrained
        anywhere = load(tmp_path, device_map="auto")
        logits = logits_of(anywhere, pixel_values.to(anywhere.device)).cpu()
        assert torch.equal(logits, logits_of(model, pixel_values))
        half = load(tmp_path, dtype=torch.bfloat16)
        assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}

    @pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
    def test_gradient_checkpointing_gives_the_same_gradients(self, variant):
        gradients, forward_passes = [], []
        for checkpointing in (False, True):
            model = self.without_dropout(variant).train()
            if checkpointing:
                model.gradient_checkpointing_enable()
            calls = []
            for layer in (model.backbone.stage1.convolutions[1].layer1, model.backbone.stage4.layers[1].attention):
                layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
            model(images(2, 3, 64, 64), labels=label_maps(2, 64, 64)).loss.backward()
            gradients.append(gradients_of(model))
            forward_passes.append(len(calls))
        assert forward_passes == [2, 4]
        for name, gradient in gradients[0].items():
            assert gradient is not None, name
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)

    @pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
    def test_lora_on_the_attention_projections(self, variant):
        """On the convolutions of the feed-forward blocks: attention's kernels are used twice, and not by a module."""
        model = self.small_model(variant)
        frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        adapted = get_peft_model(model, LoraConfig(target_modules=r".*\.mlp\.conv[12]", r=4))
        trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
        assert len(trained) == 2 * 2 * 3
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.01)
        pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
        losses = []
        for _ in range(4):
            loss = adapted(pixel_values=pixel_values, labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        expected = logits_of(adapted.eval(), pixel_values)
        merged = adapted.merge_and_unload()
        self.assert_same_logits(logits_of(merged, pixel_values), expected)
        changed = {name for name, tensor in merged.state_dict().items() if not torch.equal(tensor, frozen[name])}
        assert changed == {name for name in frozen if re.search(r"\.mlp\.conv[12]\.weight", name)}


# The network.


def test_attention_by_the_paper():
    """Grouped double normalisation, and the same kernels as keys and, with swapped axes, as values."""
    model = small_model(num_attention_heads=4).double()
    attention = model.backbone.stage3.layers[0].attention
    maps = images(2, 32, 5, 6).double()
    with torch.no_grad():
        output, _ = attention(maps)
        expected = torch.zeros_like(output)
        normalized = attention.norm(maps)
        for kernel, padding in ((attention.vertical_kernel, (3, 0)), (attention.horizontal_kernel, (0, 3))):
            scores = nn.functional.conv2d(normalized, kernel, padding=padding)
            weights = scores.exp() / scores.exp().sum(dim=(2, 3), keepdim=True)
            for head in range(4):
                maps_of_head = slice(16 * head, 16 * head + 16)
                weights[:, maps_of_head] /= weights[:, maps_of_head].sum(dim=1, keepdim=True) + 1e-6
            expected += nn.functional.conv2d(weights, kernel.transpose(0, 1), padding=padding)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_is_normalised_in_float32(dtype):
    """A map as large as in Cityscapes: the softmax of half precision would vanish, or lose what the epsilon adds."""
    scores = images(1, 64, 64, 128).to(dtype)
    expected = normalize_twice(scores.double(), 8)
    actual = normalize_twice(scores, 8)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.double(), expected, rtol=0.01, atol=1e-4)


def test_averages_count_the_zeros_beyond_the_edge():
    pooling = SctNetPyramidPooling(2, 3, 4)
    maps = torch.ones(1, 2, 6, 7)
    rows = torch.tensor([3, 5, 4]) / 5
    columns = torch.tensor([3, 5, 5, 3]) / 5
    torch.testing.assert_close(pooling.pools[1](maps)[0, 0], rows[:, None] * columns)
    # Of a map of one position, a window of 17 x 17 sees 1 of 289.
    torch.testing.assert_close(pooling.pools[3](maps[..., :1, :1]), torch.full((1, 2, 1, 1), 1 / 289))


@pytest.mark.parametrize(("depths", "ends_with_relu"), [([1, 1, 1], True), ([2, 3, 2], False)])
def test_stages_end_with_a_plain_sum_unless_they_have_one_block(depths, ends_with_relu):
    model = small_model(stage_depths=depths)
    with torch.no_grad():
        _, stage1, stage2, *_ = model(images(1, 3, 64, 64), output_hidden_states=True).hidden_states
    for maps in (stage1, stage2):
        assert bool((maps >= 0).all()) == ends_with_relu


def test_initial_weights():
    """PyTorch's own convolutions, and attention kernels that are small but not zero."""
    torch.manual_seed(0)
    model = SctNetForSemanticSegmentation(small_config(base_channels=16))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert 0.9 * bound < module.weight.abs().max() <= bound
            assert 0 < module.bias.abs().max() <= bound
        elif isinstance(module, SctNetAttention):
            for kernel in (module.vertical_kernel, module.horizontal_kernel):
                assert kernel.std().item() == pytest.approx(0.001, rel=0.1)


def test_missing_weights_are_initialised_like_new_ones(tmp_path):
    model = small_model()
    state_dict = {name: tensor for name, tensor in model.state_dict().items() if "_kernel" not in name}
    model.save_pretrained(tmp_path, state_dict=state_dict)
    loaded, info = SctNetForSemanticSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert len(info["missing_keys"]) == 6
    assert loaded.backbone.stage4.layers[0].attention.vertical_kernel.std().item() == pytest.approx(0.001, rel=0.1)


def test_stochastic_depth_is_the_same_everywhere():
    model = small_model(drop_path_rate=0.3)
    rates = [module.drop_prob for module in model.modules() if hasattr(module, "drop_prob")]
    assert rates == [0.3] * 3
    layer = model.backbone.stage4.layers[0]
    maps = images(400, 64, 1, 1)
    with torch.no_grad():
        kept = layer.drop_path(maps)
        assert torch.equal(kept, maps)
        dropped = layer.train().drop_path(maps)
    is_dropped = (dropped == 0).all(dim=(1, 2, 3))
    assert 0.2 < is_dropped.float().mean() < 0.4
    torch.testing.assert_close(dropped[~is_dropped], maps[~is_dropped] / 0.7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stage_depths": [2, 2]}, "stage_depths is .*three"),
        ({"stage_depths": [2, 0, 2]}, "stage_depths is .*positive"),
        ({"num_attention_heads": 7}, "attention_channels 64 is not a multiple of num_attention_heads 7"),
        ({"inference_mode": "windows"}, "inference_mode is 'windows'"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config(**arguments)


def test_configuration_round_trip(tmp_path):
    config = small_config(image_size=[48, 64], out_features=["stage2", "stage4"], stage_depths=[1, 2, 3])
    assert config.window_size == [48, 64]
    config.save_pretrained(tmp_path)
    for other in (SctNetConfig.from_dict(json.loads(config.to_json_string())), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(other, SctNetConfig)
        assert (other.out_features, list(other.stage_depths)) == (["stage2", "stage4"], [1, 2, 3])
        assert (other.image_size, other.inference_mode) == ([48, 64], "whole")
        assert (other.base_channels, other.context_channels, other.num_labels) == (8, 8, NUM_LABELS)


def test_fine_tuning_with_other_classes(tmp_path):
    small_model().save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        SctNetForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7)
    model = SctNetForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, 7, 64, 64)
    saved = small_model().state_dict()
    different = {name for name, tensor in model.state_dict().items() if tensor.shape != saved[name].shape}
    for name in saved.keys() - different:
        assert torch.equal(model.state_dict()[name], saved[name]), name
    assert different == {"decode_head.classifier.weight", "decode_head.classifier.bias"}


# The backbone.


def test_backbone_of_a_segmentation_model(tmp_path):
    model, pixel_values = small_model(), images(1, 3, 70, 100)
    model.save_pretrained(tmp_path)
    backbone = SctNetBackbone.from_pretrained(tmp_path, out_features=["stem", "stage2", "stage3", "stage4", "stage5"])
    assert type(AutoBackbone.from_config(backbone.config)) is SctNetBackbone
    assert backbone.channels == [8, 16, 32, 64, 32]
    with torch.no_grad():
        maps = backbone(pixel_values).feature_maps
        hidden_states = model(pixel_values, output_hidden_states=True).hidden_states
    for feature_map, hidden_state in zip(maps, [hidden_states[0], *hidden_states[2:]], strict=True):
        assert torch.equal(feature_map, hidden_state)


def test_a_new_head_over_a_pretrained_backbone(tmp_path):
    model = small_model()
    model.backbone.save_pretrained(tmp_path)
    loaded, info = SctNetForSemanticSegmentation.from_pretrained(tmp_path, num_labels=3, output_loading_info=True)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"decode_head"}
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[name], tensor), name


def test_under_another_decoder():
    config = SetrConfig(
        backbone_config=small_config(out_features=["stage3", "stage4"]),
        decoder_type="naive",
        decoder_hidden_size=8,
        auxiliary_heads=[],
        num_labels=3,
    )
    logits = logits_of(SetrForSemanticSegmentation(config).eval(), images(1, 3, 64, 64))
    assert logits.shape == (1, 3, 64, 64)


# Training.


def test_labels_give_the_loss_of_all_pixels():
    model, pixel_values, labels = small_model(), images(2, 3, 50, 64), label_maps(2, 50, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)
    valid = labels != 255
    log_probabilities = outputs.logits.log_softmax(dim=1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
    expected = -log_probabilities[valid].sum() / (2 * 50 * 64)
    torch.testing.assert_close(outputs.loss, expected, rtol=1e-5, atol=1e-6)
    assert list(outputs.loss_dict) == ["decode.loss_ce"]


def test_a_model_learns_from_labels_alone():
    model, pixel_values, labels = small_model().train(), images(4, 3, 64, 64), label_maps(4, 64, 64)
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=2e-3), []
    for _ in range(8):
        loss = model(pixel_values, labels=labels).loss
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_training_takes_two_images_or_more():
    with pytest.raises(ValueError, match="two images or more at a time"):
        small_model().train()(images(1, 3, 64, 64), labels=label_maps(1, 64, 64))


# Deployment.


@pytest.mark.parametrize("settings", [{}, {"stage_depths": [1, 3, 2]}, {"base_channels": 16}], ids=str)
@pytest.mark.parametrize("size", [(64, 64), (61, 93), (1, 1)])
def test_a_fused_model_answers_the_same(settings, size):
    model, pixel_values = small_model(**settings), images(2, 3, *size)
    before = copy.deepcopy(model.state_dict())
    fused = model.fuse()
    expected, actual = logits_of(model, pixel_values), logits_of(fused, pixel_values)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    # The model is as it was.
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(logits_of(model, pixel_values), expected)


def test_what_is_fused():
    model = small_model()
    kinds = [type(module) for module in model.fuse().modules()]
    # Left are those before convolutions: two in each attention layer, one in each unit of the pooling and in the head.
    assert kinds.count(nn.BatchNorm2d) == 2 * 3 + 5 + 4 + 2 + 1
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 19 + 2 + 6 * 2 + 2 + 1 + 1 - 1


def test_everything_is_channels_last():
    fused = small_model().fuse()
    for name, parameter in fused.named_parameters():
        if parameter.ndim == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
    layouts = {}
    for name, module in fused.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: layouts.__setitem__(
                    name, output.is_contiguous(memory_format=torch.channels_last)
                )
            )
    # The images themselves may have either layout.
    assert logits_of(fused, images(1, 3, 64, 96)).is_contiguous(memory_format=torch.channels_last)
    assert [name for name, is_last in layouts.items() if not is_last] == []


def test_a_fused_model_is_only_for_inference(tmp_path):
    fused = small_model().train().fuse()
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    for broken in (fused, fused.backbone, copy.deepcopy(fused)):
        with pytest.raises(ValueError, match="only for inference"):
            broken.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="only for inference"):
            broken.push_to_hub("someone/model")
    assert not list(tmp_path.iterdir())


def test_a_model_is_fused_once():
    model, pixel_values = small_model(), images(2, 3, 61, 93)
    fused = model.fuse()
    again = fused.fuse()
    assert again is not fused
    assert torch.equal(logits_of(again, pixel_values), logits_of(fused, pixel_values))


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
def test_adapted_convolutions_are_not_fused():
    settings = LoraConfig(target_modules=["conv", "conv1", "conv2"], r=2, init_lora_weights=False)
    model, pixel_values = get_peft_model(small_model(), settings).eval(), images(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(pixel_values=pixel_values).logits
    torch.testing.assert_close(logits_of(model.get_base_model().fuse(), pixel_values), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("cold_compiler")
def test_a_compiled_fused_model():
    model, pixel_values = small_model(), images(2, 3, 61, 93)
    compiled = torch.compile(model.fuse(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(logits_of(compiled, pixel_values), logits_of(model, pixel_values), rtol=1e-3, atol=1e-4)


class HostReads(torch.overrides.TorchFunctionMode):
    """Refuses what copies values of tensors to the host, for which a GPU has to be waited for."""

    reads = ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero", "unique")

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        assert getattr(function, "__name__", "") not in self.reads, function
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("is_fused", [False, True])
def test_no_value_is_read_by_the_host(is_fused):
    """As a CUDA graph needs it; tensors on the meta device have no values to read either."""
    model = small_model().fuse() if is_fused else small_model()
    with HostReads():
        logits_of(model, images(1, 3, 64, 96))
    outputs = model.to("meta")(torch.empty(1, 3, 64, 96, device="meta"))
    assert outputs.logits.shape == (1, NUM_LABELS, 64, 96)


def test_training_reads_no_value_on_the_host():
    model = small_model().train()
    model.to("meta")
    labels = torch.zeros(2, 64, 64, dtype=torch.int64, device="meta")
    assert model(torch.empty(2, 3, 64, 64, device="meta"), labels=labels).loss.shape == ()


# The image processor.


@pytest.mark.parametrize("size", [(512, 1024), (768, 1536), (1024, 2048)])
def test_the_size_of_the_test_is_the_image_processors(size, tmp_path):
    small_config(image_size=list(size)).save_pretrained(tmp_path)
    SctNetImageProcessor(size={"shortest_edge": size[0], "longest_edge": size[1]}).save_pretrained(tmp_path)
    image_processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(image_processor) is SctNetImageProcessor
    image = torch.zeros(3, 1024, 2048, dtype=torch.uint8)
    assert image_processor(image, return_tensors="pt")["pixel_values"].shape == (1, 3, *size)
