# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""HLG behaves as a user of transformers expects, in all three tasks, and its encoder as its description has it."""

import itertools
import re

import pytest
import torch
from citizenship import (
    NUM_LABELS,
    cold_compiler,  # noqa: F401
    gradients_of,
    images,
    label_maps,
    logits_of,
)
from huggingface_hub.errors import StrictDataclassClassValidationError
from peft import LoraConfig, get_peft_model
from tiny_hlg import NUM_LAYERS, objects, small_config, small_model
from torch import nn
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from vitseg import (
    HlgBackbone,
    HlgConfig,
    HlgForImageClassification,
    HlgForObjectDetection,
    HlgForSemanticSegmentation,
    HlgModel,
)
from vitseg.models.modeling_hlg import HlgLocalGlobalAttention, HlgPositionBias
from vitseg.models.position_groups import Grouping


# A classifier as it was published, but for its size.
PUBLISHED_CLASSIFIER = {"global_bias": "prefix", "use_stage_norm": False, "layer_norm_eps": 1e-5}
OTHER_TASKS = pytest.mark.parametrize("model_class", [HlgForImageClassification, HlgForObjectDetection])


def without_attention(model: PreTrainedModel) -> PreTrainedModel:
    """For what takes long and is done with the whole encoder where it segments."""
    for stage in model.backbone.stages:
        for layer in stage.layers:
            layer.attention = nn.Identity()
    return model


def labels_for(model_class: type[PreTrainedModel]):
    return torch.tensor([1, 3]) if model_class is HlgForImageClassification else objects(3, 0)


def tensors_of(outputs) -> list[torch.Tensor]:
    return [value for value in outputs.values() if isinstance(value, torch.Tensor)]


def assert_same(actual, expected, **tolerance) -> None:
    for one, other in zip(tensors_of(actual), tensors_of(expected), strict=True):
        torch.testing.assert_close(one, other, **{"rtol": 1e-4, "atol": 1e-5, **tolerance})


@OTHER_TASKS
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (30, 70), (65, 130)])
def test_any_size(model_class, size):
    model, pixel_values = small_model(model_class), images(2, 3, *size)
    with torch.no_grad():
        outputs = model(pixel_values)
        alone = [model(image[None]) for image in pixel_values]
    for index, tensor in enumerate(tensors_of(outputs)):
        assert tensor.isfinite().all()
        # The images of a batch do not see each other.
        expected = torch.cat([tensors_of(output)[index] for output in alone])
        torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_class", [HlgForImageClassification, HlgForObjectDetection, HlgModel, HlgBackbone])
def test_padding_is_zeros_at_the_bottom_and_right(model_class):
    model, pixel_values = small_model(model_class), images(1, 3, 50, 33)
    padded = nn.functional.pad(pixel_values, (0, 31, 0, 14))
    with torch.no_grad():
        if model_class is HlgForObjectDetection:
            # Boxes are shares of what is no padding.
            assert torch.equal(model(pixel_values).logits, model(padded).logits)
        else:
            for one, other in zip(model(pixel_values).to_tuple()[0], model(padded).to_tuple()[0], strict=True):
                assert torch.equal(one, other)


@OTHER_TASKS
def test_eager_and_sdpa_agree(model_class):
    sdpa, eager = small_model(model_class), small_model(model_class)
    eager.set_attn_implementation("eager")
    used = []
    for model in (sdpa, eager):
        attention = model.backbone.stages[0].layers[0].attention.local_attention
        used.append(attention.config._attn_implementation)
    assert used == ["sdpa", "eager"]
    with torch.no_grad():
        assert_same(eager(images(2, 3, 64, 80)), sdpa(images(2, 3, 64, 80)))


@OTHER_TASKS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(model_class, dtype):
    model, pixel_values = small_model(model_class), images(4, 3, 64, 64)
    layer = model.classifier if model_class is HlgForImageClassification else model.bbox_head.classifier
    with torch.no_grad():
        layer.weight *= 100
        logits = model(pixel_values).logits
        half = model.to(dtype)(pixel_values.to(dtype)).logits
    assert half.dtype == dtype
    assert (half - logits).abs().max() < 0.02 * logits.abs().max()


@OTHER_TASKS
def test_hidden_states_attentions_and_tuples(model_class):
    model, pixel_values = small_model(model_class), images(1, 3, 64, 64)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True, output_attentions=True)
        plain = model(pixel_values)
        as_tuple = model(pixel_values, return_dict=False)
    assert len(outputs.hidden_states) == 5
    assert len(outputs.attentions) == NUM_LAYERS
    assert plain.hidden_states is None
    assert torch.equal(as_tuple[0], plain.logits)


@OTHER_TASKS
def test_saving_and_loading(model_class, tmp_path):
    auto_class = {
        HlgForImageClassification: AutoModelForImageClassification,
        HlgForObjectDetection: AutoModelForObjectDetection,
    }[model_class]
    model, pixel_values = small_model(model_class), images(1, 3, 64, 64)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(pixel_values)
        loaded = auto_class.from_pretrained(tmp_path)
        assert type(loaded) is model_class
        assert_same(loaded(pixel_values), expected)
        anywhere = auto_class.from_pretrained(tmp_path, device_map="auto")
        logits = anywhere(pixel_values.to(anywhere.device)).logits.cpu()
        torch.testing.assert_close(logits, expected.logits, rtol=1e-4, atol=1e-5)
        half = auto_class.from_pretrained(tmp_path, dtype=torch.bfloat16)
        assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    other = auto_class.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert other(pixel_values).logits.shape[-1] == 7
    for name, tensor in other.state_dict().items():
        if "classifier" not in name:
            assert torch.equal(tensor, model.state_dict()[name]), name
    assert other(pixel_values, labels=labels_for(model_class)[:1]).loss.isfinite()


@OTHER_TASKS
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
def test_gradient_checkpointing(model_class):
    gradients = []
    for checkpointing in (False, True):
        model = small_model(model_class).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(images(2, 3, 64, 64), labels=labels_for(model_class)).loss.backward()
        gradients.append(gradients_of(model))
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def collate(examples: list[dict]) -> dict:
    labels = [example["labels"] for example in examples]
    pixel_values = torch.stack([example["pixel_values"] for example in examples])
    return {"pixel_values": pixel_values, "labels": labels if isinstance(labels[0], dict) else torch.stack(labels)}


@pytest.mark.slow
@OTHER_TASKS
def test_trainer(model_class, tmp_path, recwarn):
    labels = [*labels_for(model_class), *labels_for(model_class)]
    examples = [
        {"pixel_values": image, "labels": label} for image, label in zip(images(4, 3, 64, 64), labels, strict=True)
    ]
    predictions = []
    trainer = Trainer(
        model=small_model(model_class),
        args=TrainingArguments(
            output_dir=tmp_path,
            max_steps=4,
            per_device_train_batch_size=4,
            learning_rate=3e-3,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
            eval_do_concat_batches=False,
        ),
        data_collator=collate,
        train_dataset=examples,
        eval_dataset=examples,
        compute_metrics=lambda result: predictions.append(result.predictions) or {},
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert trainer.evaluate()["eval_loss"] > 0
    assert len(predictions) == 1
    assert [str(warning.message) for warning in recwarn] == []


@OTHER_TASKS
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
def test_lora_on_the_attention_projections(model_class):
    model = small_model(model_class)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * 2 * NUM_LAYERS
    optimizer, losses = torch.optim.AdamW(trained, lr=0.02), []
    for _ in range(4):
        loss = adapted(pixel_values=images(2, 3, 64, 64), labels=labels_for(model_class)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapted.eval()
    expected = logits_of(adapted, images(2, 3, 64, 64))
    torch.testing.assert_close(
        logits_of(adapted.merge_and_unload(), images(2, 3, 64, 64)), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.usefixtures("cold_compiler")
@OTHER_TASKS
def test_compiled_training_step(model_class):
    pixel_values, labels = images(2, 3, 64, 64), labels_for(model_class)
    model, reference = (without_attention(small_model(model_class)).train() for _ in range(2))
    outputs = torch.compile(model, fullgraph=True, backend="aot_eager")(pixel_values, labels=labels)
    outputs.loss.backward()
    expected = reference(pixel_values, labels=labels)
    expected.loss.backward()
    assert_same(outputs, expected)
    for name, gradient in gradients_of(reference).items():
        torch.testing.assert_close(gradients_of(model)[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("model_class", [HlgForImageClassification, HlgForSemanticSegmentation, HlgForObjectDetection])
def test_export_with_dynamic_height_and_width(model_class):
    """
    torch.export takes dimensions never to be 1. So an exported program takes images of more than 32 pixels, of which
    one side has more than 96, so that there are two windows; a detector, with its coarse levels, of more than 128.
    """
    is_detector, dynamic = model_class is HlgForObjectDetection, torch.export.Dim.DYNAMIC
    model = small_model(model_class, inference_mode="whole")
    if model_class is not HlgForSemanticSegmentation:
        model = without_attention(model)
    shapes = {"pixel_values": {0: dynamic, 2: dynamic, 3: dynamic}}
    exported = torch.export.export(model, (), {"pixel_values": images(2, 3, 160, 224)}, dynamic_shapes=shapes)
    program = exported.module()
    smaller = [(1, 3, 129, 250)] if is_detector else [(3, 3, 97, 33), (1, 3, 33, 250)]
    for shape in ((2, 3, 160, 224), (1, 3, 192, 192), *smaller):
        pixel_values = images(*shape)
        with torch.no_grad():
            assert_same(program(pixel_values=pixel_values), model(pixel_values))


# The encoder.


@pytest.mark.parametrize("size", [(256, 256), (224, 192), (448, 448), (64, 64)])
def test_published_classifiers_take_one_size_alone(size):
    model = small_model(HlgForImageClassification, **PUBLISHED_CLASSIFIER)
    with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} pixels.*only 224 x 224 is defined"):
        model(images(1, 3, *size))
    assert logits_of(model, images(1, 3, 224, 224)).shape == (1, NUM_LABELS)


@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize(("grid", "shape"), [((2, 3), (7, 7)), ((8, 8), (2, 5)), ((1, 1), (3, 2))])
def test_groups(grid, shape, dilated):
    (rows, columns), (height, width) = grid, shape
    maps = images(2, rows * height, columns * width, 3)
    grouping = Grouping(grid, shape, dilated, maps.device)
    groups = grouping.split(maps)
    assert groups.shape == (2, rows * columns, height * width, 3)
    for a, b, k, m in itertools.product(*map(range, (rows, columns, height, width))):
        r, c = (a + k * rows, b + m * columns) if dilated else (a * height + k, b * width + m)
        assert torch.equal(groups[:, a * columns + b, k * width + m], maps[:, r, c])
    assert torch.equal(grouping.merge(groups), maps)
    # What an exported program does instead.
    assert torch.equal(maps.flatten(1, 2)[:, grouping.order].view(groups.shape), groups)


def bias_by_hand(bias: HlgPositionBias, grid: tuple[int, int], rule: str, keys: tuple[int, int]) -> torch.Tensor:
    """Entries of the whole table, one by one, as the rules say."""
    rows, columns = grid
    offsets = [(dr, dc) for dr in range(1 - rows, rows) for dc in range(1 - columns, columns)]
    table = bias.network(torch.tensor(offsets).float())
    key_rows, key_columns = keys
    answer = torch.zeros(table.shape[1], rows * columns, key_rows * key_columns)
    for n, m in itertools.product(range(rows * columns), range(key_rows * key_columns)):
        if rule == "prefix":
            (r, c), (a, b) = divmod(n, rows), divmod(m, rows)
            entry = (r - a + rows - 1) * (2 * rows - 1) + c - b + rows - 1
        else:
            (r, c), (a, b) = divmod(n, columns), divmod(m, key_columns)
            entry = (r - a + key_rows - 1) * (2 * key_columns - 1) + c - b + key_columns - 1
        answer[:, n, m] = table[entry]
    return answer[None]


@pytest.mark.parametrize(
    ("grid", "rule", "keys"),
    [
        ((7, 7), "usual", (7, 7)),
        ((3, 5), "usual", (3, 5)),
        ((16, 24), "key_grid", (3, 4)),
        ((8, 8), "key_grid", (8, 8)),
        ((9, 4), "key_grid", (2, 1)),
        ((14, 14), "prefix", (2, 2)),
        # More keys than there are columns.
        ((28, 28), "prefix", (4, 8)),
    ],
)
def test_position_bias(grid, rule, keys):
    torch.manual_seed(0)
    bias = HlgPositionBias(64, 3)
    for linear in bias.modules():
        if isinstance(linear, nn.Linear):
            nn.init.normal_(linear.weight)
    with torch.no_grad():
        expected = bias_by_hand(bias, grid, rule, keys)
        if rule == "prefix":
            actual = bias(torch.zeros(()), grid, num_keys=keys[0] * keys[1])
        else:
            actual = bias(torch.zeros(()), grid, key_grid=None if rule == "usual" else keys)
    torch.testing.assert_close(actual, expected)


def test_position_biases_follow_the_weights():
    model, pixel_values = small_model(), images(1, 3, 64, 64)
    before = logits_of(model, pixel_values)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, HlgPositionBias):
                module.layers[2][2].weight.mul_(50)
    changed = logits_of(model, pixel_values)
    assert not torch.allclose(changed, before)
    other = small_model()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits_of(other, pixel_values), changed)
    model.load_state_dict(small_model().state_dict())
    torch.testing.assert_close(logits_of(model, pixel_values), before)
    # An answer in another precision leaves nothing behind, nor does one from inference mode.
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model(pixel_values)
    torch.testing.assert_close(logits_of(model, pixel_values), before)
    model(pixel_values, labels=label_maps(1, 64, 64)).loss.backward()
    assert model.backbone.stages[0].layers[0].attention.global_position_bias.projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("pooling", ["mean", "max", "conv"])
def test_window_pooling(pooling):
    torch.manual_seed(0)
    config = small_config(window_pooling=pooling)
    attention = HlgLocalGlobalAttention(config, 16, 1, dilated=False, drop_path_rate=0.0)
    windows = images(2, 6, 49, 16)
    pooled = attention.pool(windows)
    if pooling == "conv":
        maps = windows.reshape(12, 7, 7, 16).permute(0, 3, 1, 2)
        expected = attention.window_conv(maps).reshape(2, 6, 16)
    else:
        expected = windows.mean(dim=2) if pooling == "mean" else windows.max(dim=2).values
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("model_class", [HlgForImageClassification, HlgForSemanticSegmentation])
def test_gradients_of_a_single_image(model_class):
    """Against finite differences: PyTorch's own backward pass of batch norm may be wrong for one image."""
    model = small_model(model_class).double()
    pixel_values = images(1, 3, 64, 64).double()

    def value() -> torch.Tensor:
        logits = model(pixel_values).logits
        return (
            logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(4), dtype=logits.dtype)
        ).sum()

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    in_heads = 2 * 3 + 2 if model_class is HlgForSemanticSegmentation else 0
    assert len(norms) == 2 + 5 * 2 + 4 + 4 * 3 + in_heads
    parameters = [
        model.backbone.stages[0].layers[0].downsample.conv.weight,
        model.backbone.stages[2].layers[0].downsample.batch_norm.weight,
        model.backbone.stages[0].layers[1].attention.smoothing.conv2.weight,
    ]
    value().backward()
    for parameter in parameters:
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += step * direction
                values.append(value().item())
                parameter -= step * direction
        slope = (parameter.grad * direction).sum().item()
        assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_as_a_backbone_of_another_head():
    torch.manual_seed(0)
    config = small_config(out_features=["stage1", "stage2", "stage3", "stage4"])
    backbone = AutoBackbone.from_config(config)
    assert type(backbone) is HlgBackbone
    assert backbone.channels == [32, 32, 64, 64]
    model = UperNetForSemanticSegmentation(
        UperNetConfig(backbone_config=config, hidden_size=16, auxiliary_in_channels=64, num_labels=NUM_LABELS)
    )
    assert type(model.backbone) is HlgBackbone
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-3), []
    for _ in range(4):
        outputs = model(images(2, 3, 64, 96), labels=label_maps(2, 64, 96))
        outputs.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(outputs.loss.item())
    assert outputs.logits.shape == (2, NUM_LABELS, 64, 96)
    assert losses[-1] < losses[0]


def test_backbone_and_model_give_the_same_maps():
    model, backbone = small_model(HlgModel), small_model(HlgBackbone, out_indices=[0, 2, 4])
    backbone.load_state_dict(model.state_dict())
    pixel_values = images(2, 3, 64, 96)
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True)
        feature_maps = backbone(pixel_values).feature_maps
    assert [feature_map.shape[1] for feature_map in feature_maps] == backbone.channels == [32, 32, 64]
    for index, feature_map in zip((0, 2, 4), feature_maps, strict=True):
        assert torch.equal(outputs.hidden_states[index], feature_map)
    assert all(map(torch.equal, outputs.feature_maps, outputs.hidden_states[1:]))
    assert torch.equal(outputs.last_hidden_state, feature_maps[-1].flatten(2).transpose(1, 2))
    torch.testing.assert_close(outputs.pooler_output, feature_maps[-1].mean(dim=(2, 3)))


def test_auto_classes(tmp_path):
    small_model(HlgModel).save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is HlgModel
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is HlgConfig
    # transformers' AutoBackbone takes folders of the Hub alone.
    assert type(AutoBackbone.from_config(config)) is type(HlgBackbone.from_pretrained(tmp_path)) is HlgBackbone


@pytest.mark.parametrize("model_class", [HlgForSemanticSegmentation, HlgForObjectDetection, HlgBackbone])
def test_a_classifier_gives_its_encoder(model_class, tmp_path):
    classifier = small_model(HlgForImageClassification, **PUBLISHED_CLASSIFIER)
    for parameter in classifier.parameters():
        nn.init.normal_(parameter)
    classifier.save_pretrained(tmp_path)
    model, info = model_class.from_pretrained(tmp_path, config=small_config(), output_loading_info=True)
    encoder = model if model_class is HlgBackbone else model.backbone
    expected = classifier.backbone.state_dict()
    for name, tensor in encoder.state_dict().items():
        if re.match(r"stages\.[0-2]\.layernorm", name):
            # As before any training.
            assert torch.equal(tensor, torch.ones(()).expand_as(tensor) if name.endswith("weight") else tensor * 0)
        else:
            assert torch.equal(tensor, expected[name]), name
    new = {re.sub(r"^backbone\.", "", name).split(".")[0] for name in info["missing_keys"]}
    assert new <= {"stages", "decode_head", "auxiliary_head", "neck", "bbox_head"}


def test_initial_weights():
    """Those of the originals: PyTorch's own for convolutions, other ones for the pyramid and the detector's head."""
    torch.manual_seed(0)
    model = HlgForObjectDetection(small_config(hidden_sizes=[64, 64, 128, 128], pyramid_hidden_size=64, num_labels=80))
    stage, head = model.backbone.stages[2].layers[0], model.bbox_head
    deviations = {
        stage.attention.q_proj.weight: 0.02,
        # Uniform between +-1 / sqrt(inputs).
        stage.mlp.fc1.weight: (1 / 3 / 64) ** 0.5,
        model.backbone.stem.conv2.weight: (1 / 3 / (64 * 9)) ** 0.5,
        model.neck.lateral_convs[0].weight: (2 / (64 + 64)) ** 0.5,
        head.class_convs[0].weight: 0.01,
        head.box_regressor.weight: 0.01,
    }
    for parameter, deviation in deviations.items():
        assert parameter.std().item() == pytest.approx(deviation, rel=0.05)
    torch.testing.assert_close(head.classifier.bias.sigmoid(), torch.full((9 * 80,), 0.01))
    assert not any(conv.bias.any() for conv in (*model.neck.lateral_convs, *model.neck.output_convs))
    assert not stage.attention.q_proj.bias.any()
    segmenter = HlgForSemanticSegmentation(small_config(auxiliary_heads=[{"in_index": 2, "hidden_size": 256}]))
    assert segmenter.auxiliary_head[0].classifier.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not segmenter.auxiliary_head[0].classifier.bias.any()
    assert segmenter.decode_head.classifier.bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depths": [2, 2, 0, 2]}, "at least 1 block in each stage"),
        ({"depths": [2, 2, 2]}, "a number for each of 4 stages"),
        ({"num_attention_heads": [3, 1, 2, 2]}, "multiples of the number of heads"),
        ({"hidden_sizes": [16, 24, 32, 32], "num_attention_heads": [1, 1, 1, 1]}, "a multiple of the one before"),
        ({"global_bias": "none"}, "global_bias is 'none'; expected one of"),
        ({"window_pooling": "median"}, "window_pooling is 'median'"),
        ({"mlp_width": "both"}, "mlp_width is 'both'"),
        ({"decoder_hidden_size": 40, "decoder_num_attention_heads": 3}, "a multiple of decoder_num_attention_heads 3"),
        ({"auxiliary_heads": [{"in_index": 4, "hidden_size": 8}]}, "in_index from 0 to 3"),
        ({"detector_num_layers": 0}, "detector_num_layers is 0; expected at least 1"),
        ({"inference_mode": "sliding"}, "inference_mode is 'sliding'"),
    ],
)
def test_wrong_configurations_are_refused(arguments, message):
    with pytest.raises(StrictDataclassClassValidationError, match=rf"(?s)ValueError.*{message}"):
        small_config(**arguments)


def test_configuration_round_trip(tmp_path):
    config = small_config(
        window_size=[48, 64], out_features=["stem", "stage3"], anchor_ratios=[1.0], mlp_width="output"
    )
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, HlgConfig)
    assert (loaded.window_size, loaded.window_stride, loaded.out_indices) == ([48, 64], [32, 42], [0, 3])
    assert (loaded.num_anchors, loaded.mlp_width, loaded.hidden_sizes) == (3, "output", [32, 32, 64, 64])
    assert loaded.to_dict() == AutoConfig.from_pretrained(tmp_path).to_dict()


def test_soft_targets():
    model, pixel_values = small_model(HlgForImageClassification), images(2, 3, 64, 64)
    targets = torch.tensor([[0.7, 0.3, 0, 0, 0], [0, 0, 0.2, 0.2, 0.6]])
    outputs = model(pixel_values, labels=targets)
    expected = -(targets * outputs.logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(outputs.loss, expected)
    hard = model(pixel_values, labels=torch.tensor([1, 4])).loss
    torch.testing.assert_close(hard, model(pixel_values, labels=torch.eye(5)[[1, 4]]).loss)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
@OTHER_TASKS
def test_classes_of_any_integer_dtype(model_class, dtype):
    model, pixel_values, labels = small_model(model_class), images(2, 3, 64, 64), labels_for(model_class)
    expected = model(pixel_values, labels=labels).loss
    if model_class is HlgForObjectDetection:
        labels = [{**objects, "class_labels": objects["class_labels"].to(dtype)} for objects in labels]
    else:
        labels = labels.to(dtype)
    assert model(pixel_values, labels=labels).loss.equal(expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([1, 255]), r"labels hold the value 255, but the model has 5 classes .*Check id2label"),
        (torch.tensor([[1], [2]]), r"labels have shape \(2, 1\); expected \(2,\), a class id for each image"),
    ],
)
def test_classes_of_images_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=message):
        small_model(HlgForImageClassification)(images(2, 3, 64, 64), labels=labels)


def test_classes_beyond_what_label_maps_hold(tmp_path):
    """A classifier may have a thousand; a segmenter that is made of it has its own."""
    small_model(HlgForImageClassification, num_labels=1000).save_pretrained(tmp_path)
    load = HlgForSemanticSegmentation.from_pretrained
    with pytest.raises(ValueError, match="Of 1000 classes, 255 is one"):
        load(tmp_path)
    names = dict(enumerate("abcde"))
    model = load(tmp_path, id2label=names, label2id={name: id for id, name in names.items()})
    assert model.config.semantic_loss_ignore_index == 255
    assert model(images(2, 3, 64, 64), labels=label_maps(2, 64, 64)).loss > 0


def test_multi_label_classification():
    model = small_model(HlgForImageClassification, problem_type="multi_label_classification")
    labels = torch.tensor([[1.0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
    outputs = model(images(2, 3, 64, 64), labels=labels)
    expected = nn.functional.binary_cross_entropy_with_logits(outputs.logits, labels)
    torch.testing.assert_close(outputs.loss, expected)


@pytest.mark.parametrize("shape", [(2, 4, 64, 64), (3, 64, 64)])
@OTHER_TASKS
def test_images_that_are_not_images_are_refused(model_class, shape):
    with pytest.raises(ValueError, match=re.escape(f"{shape}; expected (batch, 3, height, width)")):
        small_model(model_class)(images(*shape))
