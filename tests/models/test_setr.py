# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SETR behaves as a user of transformers expects: inputs, losses, saving, training, compiling, exporting."""

import json
import logging
import re

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoModelForSemanticSegmentation,
    Trainer,
    TrainingArguments,
)

from vitseg import PlainVitBackbone, PlainVitConfig, SetrConfig, SetrForSemanticSegmentation


NUM_LABELS = 5
DECODERS = pytest.mark.parametrize("decoder_type", ["naive", "pup", "mla"])


def small_config(decoder_type: str, backbone: dict | None = None, **kwargs) -> SetrConfig:
    """A SETR for 64 x 64 windows with four taps: the stem and three blocks."""
    backbone_config = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "image_size": 64,
        "use_class_token": decoder_type != "mla",
        "out_indices": [0, 1, 2, 3],
        **(backbone or {}),
    }
    settings = {"decoder_hidden_size": 16, "mla_branch_size": 8, "num_labels": NUM_LABELS, **kwargs}
    return SetrConfig(backbone_config=PlainVitConfig(**backbone_config), decoder_type=decoder_type, **settings)


def small_model(decoder_type: str, **kwargs) -> SetrForSemanticSegmentation:
    torch.manual_seed(0)
    return SetrForSemanticSegmentation(small_config(decoder_type, **kwargs)).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def label_maps(*shape: int) -> torch.Tensor:
    """Random classes with the first rows ignored."""
    labels = torch.randint(0, NUM_LABELS, shape, generator=torch.Generator().manual_seed(2))
    labels[:, : shape[1] // 5] = 255
    return labels


def logits_of(model: nn.Module, pixel_values: torch.Tensor, **kwargs) -> torch.Tensor:
    with torch.no_grad():
        return model(pixel_values, **kwargs).logits


def gradients_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


# Inputs and outputs.


@DECODERS
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (30, 64), (1, 90), (65, 130), (150, 17)])
def test_logits_have_the_size_of_the_image(decoder_type, size):
    model, pixel_values = small_model(decoder_type), images(2, 3, *size)
    logits = logits_of(model, pixel_values)
    assert logits.shape == (2, NUM_LABELS, *size)
    assert logits.isfinite().all()
    # The images of a batch do not see each other.
    alone = torch.cat([logits_of(model, image[None]) for image in pixel_values])
    torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)


@DECODERS
def test_eager_and_sdpa_agree(decoder_type):
    sdpa, eager = small_model(decoder_type), small_model(decoder_type)
    eager.set_attn_implementation("eager")
    assert sdpa.config._attn_implementation == sdpa.backbone.config._attn_implementation == "sdpa"
    assert eager.backbone.config._attn_implementation == "eager"
    pixel_values = images(2, 3, 64, 80)
    torch.testing.assert_close(logits_of(eager, pixel_values), logits_of(sdpa, pixel_values), rtol=1e-4, atol=1e-5)


@DECODERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_same_label_maps(decoder_type, dtype):
    model, pixel_values = small_model(decoder_type), images(2, 3, 64, 64)
    # A new model prefers one class everywhere: centre the scores and spread them.
    classifier = model.decode_head.classifier
    with torch.no_grad():
        classifier.bias -= logits_of(model, pixel_values).mean(dim=(0, 2, 3))
        classifier.weight *= 100
        classifier.bias *= 100
    expected = logits_of(model, pixel_values).argmax(dim=1)
    assert len(expected.unique()) == NUM_LABELS
    logits = logits_of(model.to(dtype), pixel_values.to(dtype))
    assert logits.dtype == dtype
    assert (logits.argmax(dim=1) == expected).float().mean() >= 0.99


@DECODERS
def test_hidden_states(decoder_type):
    model, pixel_values = small_model(decoder_type), images(2, 3, 48, 64)
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True)
    tokens = 3 * 4 + (decoder_type != "mla")
    assert [hidden_state.shape for hidden_state in outputs.hidden_states] == [(2, tokens, 48)] * 4
    assert outputs.attentions is None
    model.config.output_hidden_states = True
    with torch.no_grad():
        assert len(model(pixel_values).hidden_states) == 4


@DECODERS
def test_attentions(decoder_type):
    model = small_model(decoder_type)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(images(2, 3, 48, 64), output_attentions=True)
    tokens = 3 * 4 + (decoder_type != "mla")
    assert [attention.shape for attention in outputs.attentions] == [(2, 3, tokens, tokens)] * 3
    for attention in outputs.attentions:
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 3, tokens))


@pytest.mark.parametrize("argument", ["output_hidden_states", "output_attentions"])
def test_windows_have_no_common_hidden_states(argument):
    model, pixel_values = small_model("naive"), images(1, 3, 65, 64)
    with pytest.raises(ValueError, match=r"65 x 64 .* windows of 64.*inference_mode = 'whole'"):
        model(pixel_values, **{argument: True})
    model.set_attn_implementation("eager")
    model.config.inference_mode = "whole"
    with torch.no_grad():
        outputs = model(pixel_values, **{argument: True})
    assert len(outputs[argument.removeprefix("output_")]) == (4 if argument == "output_hidden_states" else 3)


def test_outputs_as_a_tuple():
    model, pixel_values, labels = small_model("naive"), images(1, 3, 64, 64), label_maps(1, 64, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)
        loss, logits, loss_dict = model(pixel_values, labels=labels, return_dict=False)
    assert torch.equal(loss, outputs.loss)
    assert torch.equal(logits, outputs.logits)
    assert loss_dict == outputs.loss_dict


@DECODERS
@pytest.mark.parametrize("shape", [(2, 4, 64, 64), (2, 4, 96, 64), (3, 64, 64), (3, 96, 64)])
def test_images_that_are_not_images_are_refused(decoder_type, shape):
    with pytest.raises(ValueError, match=re.escape(f"{shape}; expected (batch, 3, height, width)")):
        small_model(decoder_type)(images(*shape))


# Windows.


def average_of_windows(model: nn.Module, pixel_values: torch.Tensor, tops: list[int], lefts: list[int]):
    """Logits averaged over 64 x 64 windows, one at a time."""
    total, count = 0, 0
    for top in tops:
        for left in lefts:
            window = logits_of(model, pixel_values[..., top : top + 64, left : left + 64])
            bottom, right = pixel_values.shape[-2] - top - 64, pixel_values.shape[-1] - left - 64
            total = total + nn.functional.pad(window, (left, right, top, bottom))
            count = count + nn.functional.pad(torch.ones_like(window), (left, right, top, bottom))
    return total / count


@DECODERS
@pytest.mark.parametrize("window_batch_size", [1, 3, 100])
def test_large_images_are_segmented_in_windows(decoder_type, window_batch_size):
    # Two thirds of 64 are 42.
    model = small_model(decoder_type, window_batch_size=window_batch_size)
    pixel_values = images(2, 3, 70, 120)
    expected = average_of_windows(model, pixel_values, tops=[0, 6], lefts=[0, 42, 56])
    chunk_sizes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: chunk_sizes.append(inputs[0].shape[0]))
    torch.testing.assert_close(logits_of(model, pixel_values), expected, rtol=1e-4, atol=1e-5)
    assert sum(chunk_sizes) == 2 * 6
    assert max(chunk_sizes) == min(window_batch_size, 12)


@DECODERS
def test_whole_mode_training_and_labels_make_one_pass(decoder_type):
    model, pixel_values = small_model(decoder_type), images(1, 3, 80, 128)
    passes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: passes.append(tuple(inputs[0].shape)))
    windowed = logits_of(model, pixel_values)
    assert passes == [(6, 3, 64, 64)]
    labelled = logits_of(model, pixel_values, labels=label_maps(1, 80, 128))
    logits_of(model.train(), pixel_values)
    model.eval().config.inference_mode = "whole"
    whole = logits_of(model, pixel_values)
    assert passes[1:] == [(1, 3, 80, 128)] * 3
    assert not torch.allclose(windowed, whole, atol=1e-3)
    assert labelled.shape == whole.shape


def test_windows_of_other_sizes():
    model = small_model("naive", window_size=[48, 64], window_stride=[48, 32])
    shapes = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
    logits_of(model, images(1, 3, 96, 96))
    logits_of(model, images(1, 3, 48, 64))
    logits_of(model, images(1, 3, 32, 80))
    assert shapes == [(4, 3, 48, 64), (1, 3, 48, 64), (2, 3, 32, 64)]


def test_sliding_in_half_precision():
    model = small_model("naive").to(torch.bfloat16)
    pixel_values = images(1, 3, 70, 64)
    logits = logits_of(model, pixel_values.to(torch.bfloat16))
    assert logits.dtype == torch.bfloat16
    # Images in float32 are taken too.
    torch.testing.assert_close(logits_of(model, pixel_values), logits, rtol=0.05, atol=0.05)


# Losses.


@DECODERS
def test_loss_is_the_mean_over_all_pixels(decoder_type):
    model, pixel_values, labels = small_model(decoder_type), images(2, 3, 50, 64), label_maps(2, 50, 64)
    auxiliary_logits = []
    for head in model.auxiliary_head:
        head.register_forward_hook(lambda module, inputs, output: auxiliary_logits.append(output))
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)

    def by_hand(logits: torch.Tensor) -> torch.Tensor:
        logits = nn.functional.interpolate(logits, size=(50, 64), mode="bilinear", align_corners=False)
        valid = labels != 255
        log_probabilities = logits.log_softmax(dim=1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
        return -log_probabilities[valid].sum() / (2 * 50 * 64)

    expected = {"decode.loss_seg": by_hand(outputs.logits)}
    for index, logits in enumerate(auxiliary_logits):
        expected[f"aux_{index}.loss_seg"] = 0.4 * by_hand(logits)
    assert len(expected) == (4 if decoder_type == "naive" else 5)
    assert set(outputs.loss_dict) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(outputs.loss_dict[name], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outputs.loss, sum(expected.values()), rtol=1e-5, atol=1e-6)


@DECODERS
def test_a_batch_without_labelled_pixels(decoder_type):
    model = small_model(decoder_type).train()
    loss = model(images(2, 3, 64, 64), labels=torch.full((2, 64, 64), 255)).loss
    loss.backward()
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients_of(model).values())


def test_other_ignored_labels_and_weights():
    model = small_model("naive", semantic_loss_ignore_index=-100, auxiliary_loss_weight=1)
    pixel_values, labels = images(1, 3, 64, 64), label_maps(1, 64, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels.where(labels != 255, -100))
        reference = small_model("naive")(pixel_values, labels=labels)
    torch.testing.assert_close(outputs.loss_dict["decode.loss_seg"], reference.loss_dict["decode.loss_seg"])
    torch.testing.assert_close(0.4 * outputs.loss_dict["aux_1.loss_seg"], reference.loss_dict["aux_1.loss_seg"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_of_a_large_image_in_half_precision(dtype):
    # The sum over the pixels is larger than float16 can hold.
    model, pixel_values, labels = small_model("naive").train(), images(1, 3, 256, 320), label_maps(1, 256, 320)
    expected = model(pixel_values, labels=labels).loss
    loss = model.to(dtype)(pixel_values, labels=labels).loss
    torch.testing.assert_close(loss.float(), expected, rtol=0.02, atol=0.0)


@DECODERS
def test_no_auxiliary_heads(decoder_type):
    model = small_model(decoder_type, auxiliary_heads=[])
    assert not any("auxiliary" in name for name in model.state_dict())
    with torch.no_grad():
        outputs = model(images(1, 3, 64, 64), labels=label_maps(1, 64, 64))
    assert list(outputs.loss_dict) == ["decode.loss_seg"]
    assert outputs.loss == outputs.loss_dict["decode.loss_seg"]


@pytest.mark.parametrize("value", [NUM_LABELS, -1, 254])
def test_labels_outside_the_classes_are_refused(value):
    labels = label_maps(2, 64, 64)
    labels[1, 20, 30] = value
    message = rf"value {value}, but the model has 5 classes \(0 to 4, and 255 for ignored pixels\).*do_reduce_labels"
    with pytest.raises(ValueError, match=message):
        small_model("naive")(images(2, 3, 64, 64), labels=labels)


@pytest.mark.parametrize("shape", [(2, 32, 64), (1, 64, 64), (2, 1, 64, 64)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"{shape}; expected (2, 64, 64)")):
        small_model("naive")(images(2, 3, 64, 64), labels=torch.zeros(shape, dtype=torch.int64))


# Configuration.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder_type": "upernet"}, "decoder_type is 'upernet'; expected one of"),
        ({"decoder_type": "mla", "backbone": {"out_indices": [1, 2]}}, r"MLA decoder takes 4 .*\[1, 2\] names 2"),
        ({"window_stride": 65}, r"window_stride \(65, 65\) exceeds window_size \(64, 64\)"),
        ({"window_size": [64, 32], "window_stride": [32, 33]}, r"\(32, 33\) exceeds window_size \(64, 32\)"),
        ({"window_size": 0}, "window_size is 0; expected positive"),
        ({"window_stride": [32, 0]}, r"window_stride is \[32, 0\]; expected positive"),
        ({"window_batch_size": 0}, "window_batch_size is 0; expected at least 1"),
        ({"inference_mode": "sliding"}, "inference_mode is 'sliding'; expected one of"),
        ({"auxiliary_heads": [{"index": 0}]}, "auxiliary_heads holds {'index': 0}; expected the keys"),
        ({"decoder_type": "mla", "auxiliary_heads": [{"in_index": 4}]}, "in_index from 0 to 3"),
        ({"decoder_in_index": 4}, "decoder_in_index is 4"),
        ({"backbone": {"hidden_size": 50}}, "hidden_size 50 is not a multiple of num_attention_heads 3"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    # The configuration classes of transformers wrap what a validation raises.
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config(**{"decoder_type": "pup", **arguments})


def test_unknown_backbones_are_refused():
    with pytest.raises(ValueError, match="model_type None"):
        SetrConfig(backbone_config={"hidden_size": 48})
    with pytest.raises(ValueError, match="model_type 'vit_plain'"):
        SetrConfig(backbone_config={"model_type": "vit_plain"})


@DECODERS
def test_configuration_round_trip(decoder_type, tmp_path):
    config = small_config(
        decoder_type, window_size=[48, 64], window_stride=[32, 40], id2label={0: "sky", 1: "sea"}, num_labels=2
    )
    from_json = SetrConfig.from_dict(json.loads(config.to_json_string(use_diff=False)))
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    for other in (from_json, loaded):
        assert isinstance(other, SetrConfig)
        assert isinstance(other.backbone_config, PlainVitConfig)
        assert other.backbone_config.out_indices == [0, 1, 2, 3]
        assert other.window_size == [48, 64]
        assert other.id2label == {0: "sky", 1: "sea"}
        assert other.auxiliary_heads == config.auxiliary_heads
        assert other.decoder_type == decoder_type
    assert loaded.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()


def test_published_defaults():
    """SETR-PUP and SETR-MLA with ViT-L/16 as the paper trains them on ADE20K."""
    pup, mla = SetrConfig(), SetrConfig(decoder_type="mla")
    assert pup.decoder_type == "pup"
    assert pup.backbone_config.out_indices == [10, 15, 20, 24]
    assert mla.backbone_config.out_indices == [6, 12, 18, 24]
    for config in (pup, mla):
        assert config.backbone_config.hidden_size == 1024
        assert config.window_size == 512
        assert config.window_stride == 341
        assert config.inference_mode == "slide"


def test_auto_backbone():
    with torch.device("meta"):
        backbone = AutoBackbone.from_config(PlainVitConfig())
    assert isinstance(backbone, PlainVitBackbone)
    assert backbone.channels == [768]


# Saving and loading.


@DECODERS
def test_save_and_load_twice(decoder_type, tmp_path):
    model, pixel_values = small_model(decoder_type), images(1, 3, 70, 64)
    expected = logits_of(model, pixel_values)
    model.save_pretrained(tmp_path / "first")
    model.save_pretrained(tmp_path / "first")
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "first")
    assert isinstance(loaded, SetrForSemanticSegmentation)
    assert not loaded.training
    assert torch.equal(logits_of(loaded, pixel_values), expected)
    loaded.save_pretrained(tmp_path / "second")
    again = SetrForSemanticSegmentation.from_pretrained(tmp_path / "second")
    assert torch.equal(logits_of(again, pixel_values), expected)
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("first", "second")]
    assert names[0] == names[1]


@DECODERS
def test_loading_options(decoder_type, tmp_path):
    model, pixel_values = small_model(decoder_type), images(1, 3, 64, 64)
    model.save_pretrained(tmp_path)
    load = SetrForSemanticSegmentation.from_pretrained
    anywhere = load(tmp_path, device_map="auto")
    assert torch.equal(logits_of(anywhere, pixel_values.to(anywhere.device)).cpu(), logits_of(model, pixel_values))
    half = load(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    eager = load(tmp_path, attn_implementation="eager")
    assert eager.backbone.config._attn_implementation == "eager"


@DECODERS
def test_fine_tuning_with_other_classes(decoder_type, tmp_path):
    small_model(decoder_type).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        SetrForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7)
    model = SetrForSemanticSegmentation.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert logits_of(model, images(1, 3, 64, 64)).shape == (1, 7, 64, 64)
    saved = small_model(decoder_type).state_dict()
    for name, tensor in model.state_dict().items():
        is_classifier = tensor.shape[:1] == (7,)
        assert is_classifier != (tensor.shape == saved[name].shape), name
        assert tensor.isfinite().all()
        assert is_classifier or torch.equal(tensor, saved[name]), name
    loss = model(images(1, 3, 64, 64), labels=torch.full((1, 64, 64), 6)).loss
    assert loss.isfinite()


# Training.


@DECODERS
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
def test_gradient_checkpointing_gives_the_same_gradients(decoder_type):
    gradients, forward_passes = [], []
    for checkpointing in (False, True):
        model = small_model(decoder_type).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        calls = []
        model.backbone.layers[1].attention.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        model(images(2, 3, 64, 64), labels=label_maps(2, 64, 64)).loss.backward()
        gradients.append(gradients_of(model))
        forward_passes.append(len(calls))
    assert forward_passes == [1, 2]
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)


@DECODERS
def test_trainer(decoder_type, tmp_path, caplog, monkeypatch, recwarn):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    scenes = [
        {"pixel_values": image, "labels": label_map}
        for image, label_map in zip(images(4, 3, 64, 64), label_maps(4, 64, 64), strict=True)
    ]
    predictions = []
    trainer = Trainer(
        model=small_model(decoder_type),
        args=TrainingArguments(
            output_dir=tmp_path,
            max_steps=3,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=1e-3,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=scenes,
        eval_dataset=scenes,
        compute_metrics=lambda result: predictions.append(result.predictions) or {},
    )
    with torch.no_grad():
        initial = small_model(decoder_type).train()(images(4, 3, 64, 64), labels=label_maps(4, 64, 64)).loss
    result = trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert result.global_step == len(losses) == 3
    # Every step sees all four images, in two batches whose losses are averaged.
    assert losses[0] == pytest.approx(initial.item(), rel=0.1)
    assert losses[-1] < losses[0]
    metrics = trainer.evaluate()
    assert predictions[0].shape == (4, NUM_LABELS, 64, 64)
    with torch.no_grad():
        loss = trainer.model(images(4, 3, 64, 64), labels=label_maps(4, 64, 64)).loss
    assert metrics["eval_loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert [str(warning.message) for warning in recwarn] == []


@DECODERS
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
def test_lora_on_the_attention_projections(decoder_type):
    model = small_model(decoder_type)
    frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    # A and B of two projections in three blocks.
    assert len(trained) == 12
    assert all("lora" in name for name in trained)
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=3.0)
    losses = []
    for _ in range(4):
        loss = adapted(pixel_values=pixel_values, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapted.eval()
    expected = logits_of(adapted, pixel_values)
    merged = adapted.merge_and_unload()
    assert isinstance(merged, SetrForSemanticSegmentation)
    torch.testing.assert_close(logits_of(merged, pixel_values), expected, rtol=1e-4, atol=1e-5)
    assert set(merged.state_dict()) == set(frozen)
    changed = {name for name, tensor in merged.state_dict().items() if not torch.equal(tensor, frozen[name])}
    assert changed == {
        f"backbone.layers.{index}.attention.{projection}.weight"
        for index in range(3)
        for projection in ("q_proj", "v_proj")
    }


# Compiling and exporting. Graphs are captured as always, but run without generating code for them: that takes long.


@pytest.fixture
def cold_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def shallow_model(decoder_type: str) -> SetrForSemanticSegmentation:
    """As few blocks as the decoder can do with: every one of them is compiled."""
    backbone = {} if decoder_type == "mla" else {"num_hidden_layers": 1, "out_indices": [0, 1]}
    return small_model(decoder_type, backbone=backbone)


@DECODERS
@pytest.mark.usefixtures("cold_compiler")
def test_compiled_forward(decoder_type):
    model, pixel_values = shallow_model(decoder_type), images(2, 3, 64, 64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(logits_of(compiled, pixel_values), logits_of(model, pixel_values), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("cold_compiler")
def test_compiled_windows():
    model, pixel_values = shallow_model("naive"), images(1, 3, 64, 80)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(logits_of(compiled, pixel_values), logits_of(model, pixel_values), rtol=1e-4, atol=1e-5)


@DECODERS
@pytest.mark.usefixtures("cold_compiler")
def test_compiled_training_step(decoder_type):
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    model, reference = shallow_model(decoder_type).train(), shallow_model(decoder_type).train()
    loss = torch.compile(model, fullgraph=True, backend="aot_eager")(pixel_values, labels=labels).loss
    loss.backward()
    expected = reference(pixel_values, labels=labels).loss
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients_of(reference).items():
        torch.testing.assert_close(gradients_of(model)[name], gradient, rtol=1e-3, atol=1e-6)


def exported(model: nn.Module) -> torch.export.ExportedProgram:
    dynamic = torch.export.Dim.DYNAMIC
    return torch.export.export(
        model,
        (),
        {"pixel_values": images(2, 3, 80, 112)},
        dynamic_shapes={"pixel_values": {0: dynamic, 2: dynamic, 3: dynamic}},
    )


@DECODERS
def test_export_with_dynamic_height_and_width(decoder_type):
    model = shallow_model(decoder_type)
    program = exported(model).module()
    # An exported program is one pass, whatever the size.
    model.config.inference_mode = "whole"
    for shape in ((2, 3, 80, 112), (1, 3, 64, 64), (3, 3, 97, 33), (1, 3, 33, 250)):
        pixel_values = images(*shape)
        logits = program(pixel_values=pixel_values).logits
        torch.testing.assert_close(logits, logits_of(model, pixel_values), rtol=1e-4, atol=1e-5)


def test_onnx_with_dynamic_height_and_width(tmp_path):
    from onnx.reference import ReferenceEvaluator

    model = shallow_model("pup")
    torch.onnx.export(exported(model), f=tmp_path / "model.onnx", verbose=False)
    evaluator = ReferenceEvaluator(str(tmp_path / "model.onnx"))
    model.config.inference_mode = "whole"
    for shape in ((2, 3, 80, 112), (1, 3, 97, 33)):
        pixel_values = images(*shape)
        (logits,) = evaluator.run(None, {"pixel_values": pixel_values.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), logits_of(model, pixel_values), rtol=1e-4, atol=1e-5)
