# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What every segmentation model does as a user of transformers expects: inputs, losses, saving, training, compiling,
exporting. The tests of a method derive a class from `Citizenship`.
"""

import itertools
import logging
import re
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSemanticSegmentation, PreTrainedModel, Trainer, TrainingArguments


NUM_LABELS = 5


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


def gradients_of(model: nn.Module) -> dict[str, torch.Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def average_of_windows(model: nn.Module, pixel_values: torch.Tensor, tops: list[int], lefts: list[int]):
    """Logits averaged over 64 x 64 windows, one at a time."""
    total, count = torch.zeros(()), torch.zeros(())
    for top in tops:
        for left in lefts:
            window = logits_of(model, pixel_values[..., top : top + 64, left : left + 64])
            bottom, right = pixel_values.shape[-2] - top - 64, pixel_values.shape[-1] - left - 64
            total = total + nn.functional.pad(window, (left, right, top, bottom))
            count = count + nn.functional.pad(torch.ones_like(window), (left, right, top, bottom))
    return total / count


def exported(model: nn.Module) -> torch.export.ExportedProgram:
    dynamic = torch.export.Dim.DYNAMIC
    return torch.export.export(
        model,
        (),
        {"pixel_values": images(2, 3, 80, 112)},
        dynamic_shapes={"pixel_values": {0: dynamic, 2: dynamic, 3: dynamic}},
    )


@pytest.fixture
def cold_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Citizenship:
    """
    Tests of a method. A subclass gives `small_model` and `spread_scores`, the fixture `variant` over the method's
    forms, and imports the fixture `cold_compiler`.

    Small models have 64 x 64 windows, a plain ViT of width 48 with patches of 16 pixels, and `NUM_LABELS` classes.
    """

    # The form for what takes long and does not ask what its decoder is.
    representative: str
    # The number of weights that LoRA adapts, of q_proj and v_proj together.
    num_adapted: dict[str, int]
    # At which AdamW lowers the loss with four steps on the adapters.
    lora_learning_rate = 0.01
    logits_atol = 1e-5

    def assert_same_logits(self, actual: torch.Tensor, expected: torch.Tensor) -> None:
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=self.logits_atol)

    def small_model(self, variant: str, **kwargs: Any) -> PreTrainedModel:
        """A model in evaluation mode, always with the same random weights; further arguments are the config's."""
        raise NotImplementedError

    def shallow_model(self, variant: str) -> PreTrainedModel:
        """As few blocks as the decoder can do with, for what takes long."""
        return self.small_model(variant)

    def without_dropout(self, variant: str) -> PreTrainedModel:
        """As `small_model`, where training mode computes the same."""
        return self.small_model(variant)

    def spread_scores(self, model: PreTrainedModel, pixel_values: torch.Tensor) -> None:
        """A new model prefers one class everywhere: make it choose every class somewhere, by clear margins."""
        raise NotImplementedError

    def num_tokens(self, model: PreTrainedModel, rows: int, columns: int) -> list[int]:
        """Tokens before the first block, and after each."""
        config = model.config.backbone_config
        return [rows * columns + config.use_class_token] * (config.num_hidden_layers + 1)

    # Inputs and outputs.

    @pytest.mark.parametrize("size", [(1, 1), (64, 64), (30, 64), (1, 90), (65, 130), (150, 17)])
    def test_logits_have_the_size_of_the_image(self, variant, size):
        model, pixel_values = self.small_model(variant), images(2, 3, *size)
        logits = logits_of(model, pixel_values)
        assert logits.shape == (2, NUM_LABELS, *size)
        assert logits.isfinite().all()
        # The images of a batch do not see each other.
        alone = torch.cat([logits_of(model, image[None]) for image in pixel_values])
        self.assert_same_logits(logits, alone)

    def test_eager_and_sdpa_agree(self, variant):
        sdpa, eager = self.small_model(variant), self.small_model(variant)
        eager.set_attn_implementation("eager")
        assert sdpa.config._attn_implementation == sdpa.backbone.config._attn_implementation == "sdpa"
        assert eager.backbone.config._attn_implementation == "eager"
        pixel_values = images(2, 3, 64, 80)
        self.assert_same_logits(logits_of(eager, pixel_values), logits_of(sdpa, pixel_values))

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_gives_the_same_label_maps(self, variant, dtype):
        # Rounding adds up with depth.
        model, pixel_values = self.shallow_model(variant), images(2, 3, 64, 64)
        self.spread_scores(model, pixel_values)
        expected = logits_of(model, pixel_values).argmax(dim=1)
        assert len(expected.unique()) == NUM_LABELS
        logits = logits_of(model.to(dtype), pixel_values.to(dtype))
        assert logits.dtype == dtype
        assert (logits.argmax(dim=1) == expected).float().mean() >= 0.99

    def test_hidden_states(self, variant):
        model, pixel_values = self.small_model(variant), images(2, 3, 48, 64)
        with torch.no_grad():
            outputs = model(pixel_values, output_hidden_states=True)
        tokens = self.num_tokens(model, 3, 4)
        assert [hidden_state.shape for hidden_state in outputs.hidden_states] == [(2, number, 48) for number in tokens]
        assert outputs.attentions is None
        model.config.output_hidden_states = True
        with torch.no_grad():
            assert len(model(pixel_values).hidden_states) == len(tokens)

    def test_attentions(self, variant):
        model = self.small_model(variant)
        model.set_attn_implementation("eager")
        with torch.no_grad():
            outputs = model(images(2, 3, 48, 64), output_attentions=True)
        tokens = self.num_tokens(model, 3, 4)
        expected = [(2, 3, after, before) for before, after in itertools.pairwise(tokens)]
        assert [attention.shape for attention in outputs.attentions] == expected
        for attention in outputs.attentions:
            torch.testing.assert_close(attention.sum(dim=-1), torch.ones(attention.shape[:-1]))

    @pytest.mark.parametrize("argument", ["output_hidden_states", "output_attentions"])
    def test_windows_have_no_common_hidden_states(self, variant, argument):
        model, pixel_values = self.small_model(variant), images(1, 3, 65, 64)
        with pytest.raises(ValueError, match=r"65 x 64 .* windows of 64.*inference_mode = 'whole'"):
            model(pixel_values, **{argument: True})
        model.set_attn_implementation("eager")
        model.config.inference_mode = "whole"
        with torch.no_grad():
            outputs = model(pixel_values, **{argument: True})
        num_layers = model.config.backbone_config.num_hidden_layers
        assert len(outputs[argument.removeprefix("output_")]) == num_layers + (argument == "output_hidden_states")

    def test_outputs_as_a_tuple(self, variant):
        model, pixel_values, labels = self.small_model(variant), images(1, 3, 64, 64), label_maps(1, 64, 64)
        with torch.no_grad():
            outputs = model(pixel_values, labels=labels)
            loss, logits, loss_dict = model(pixel_values, labels=labels, return_dict=False)
        assert torch.equal(loss, outputs.loss)
        assert torch.equal(logits, outputs.logits)
        assert loss_dict == outputs.loss_dict

    @pytest.mark.parametrize("shape", [(2, 4, 64, 64), (2, 4, 96, 64), (3, 64, 64), (3, 96, 64)])
    def test_images_that_are_not_images_are_refused(self, variant, shape):
        with pytest.raises(ValueError, match=re.escape(f"{shape}; expected (batch, 3, height, width)")):
            self.small_model(variant)(images(*shape))

    # Windows.

    @pytest.mark.parametrize("window_batch_size", [1, 3, 100])
    def test_large_images_are_segmented_in_windows(self, variant, window_batch_size):
        # Two thirds of 64 are 42.
        model = self.small_model(variant, window_batch_size=window_batch_size)
        pixel_values = images(2, 3, 70, 120)
        expected = average_of_windows(model, pixel_values, tops=[0, 6], lefts=[0, 42, 56])
        chunk_sizes = []
        model.backbone.register_forward_pre_hook(lambda module, inputs: chunk_sizes.append(inputs[0].shape[0]))
        self.assert_same_logits(logits_of(model, pixel_values), expected)
        assert sum(chunk_sizes) == 2 * 6
        assert max(chunk_sizes) == min(window_batch_size, 12)

    def test_whole_mode_and_training_make_one_pass(self, variant):
        model, pixel_values = self.small_model(variant), images(1, 3, 80, 128)
        passes = []
        model.backbone.register_forward_pre_hook(lambda module, inputs: passes.append(tuple(inputs[0].shape)))
        windowed = logits_of(model, pixel_values)
        assert passes == [(6, 3, 64, 64)]
        logits_of(model.train(), pixel_values, labels=label_maps(1, 80, 128))
        model.eval().config.inference_mode = "whole"
        whole = logits_of(model, pixel_values)
        assert passes[1:] == [(1, 3, 80, 128)] * 2
        assert not torch.allclose(windowed, whole, rtol=1e-3, atol=1e-5)

    def test_labels_change_no_answer(self, variant):
        """The loss is that of one pass, the logits are those of windows; where both are one pass, it is made once."""
        model, labels = self.small_model(variant), label_maps(1, 80, 128)
        pixel_values, passes = images(1, 3, 80, 128), []
        windowed = logits_of(model, pixel_values)
        whole = model(pixel_values, labels=labels, inference_mode="whole")
        model.backbone.register_forward_pre_hook(lambda module, inputs: passes.append(tuple(inputs[0].shape)))
        outputs = model(pixel_values, labels=labels)
        assert passes == [(6, 3, 64, 64), (1, 3, 80, 128)]
        assert torch.equal(outputs.logits, windowed)
        assert not outputs.logits.requires_grad
        assert torch.equal(outputs.loss, whole.loss)
        assert outputs.loss.requires_grad
        assert outputs.loss_dict.keys() == whole.loss_dict.keys()
        model(pixel_values[..., :64, :64], labels=labels[:, :64, :64])
        assert passes[2:] == [(1, 3, 64, 64)]

    def test_windows_of_other_sizes(self, variant):
        model = self.small_model(variant, window_size=[48, 64], window_stride=[48, 32])
        shapes = []
        model.backbone.register_forward_pre_hook(lambda module, inputs: shapes.append(tuple(inputs[0].shape)))
        logits_of(model, images(1, 3, 96, 96))
        logits_of(model, images(1, 3, 48, 64))
        logits_of(model, images(1, 3, 32, 80))
        assert shapes == [(4, 3, 48, 64), (1, 3, 48, 64), (2, 3, 32, 64)]

    def test_sliding_in_half_precision(self, variant):
        model = self.small_model(variant).to(torch.bfloat16)
        pixel_values = images(1, 3, 70, 64)
        logits = logits_of(model, pixel_values.to(torch.bfloat16))
        assert logits.dtype == torch.bfloat16
        # Images in float32 are taken too.
        torch.testing.assert_close(logits_of(model, pixel_values), logits, rtol=0.05, atol=0.05)

    # Labels.

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
    def test_labels_of_any_integer_dtype(self, variant, dtype):
        model, pixel_values, labels = self.small_model(variant), images(2, 3, 64, 64), label_maps(2, 64, 64)
        expected = model(pixel_values, labels=labels)
        outputs = model(pixel_values, labels=labels.to(dtype))
        assert torch.equal(outputs.loss, expected.loss)
        assert model.count_items(labels.to(dtype)).equal(model.count_items(labels))

    def test_labels_that_are_no_integers_are_refused(self, variant):
        with pytest.raises(ValueError, match=r"labels are torch.float32; expected class ids in an integer dtype"):
            self.small_model(variant)(images(2, 3, 64, 64), labels=label_maps(2, 64, 64) / 255)

    def test_what_data_sets_ignore_is_ignored_by_every_model(self, variant):
        pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
        expected = self.small_model(variant)(pixel_values, labels=labels).loss
        model = self.small_model(variant, semantic_loss_ignore_index=-100)
        for values in (labels, labels.masked_fill(labels == 255, -100)):
            assert torch.equal(model(pixel_values, labels=values).loss, expected)

    @pytest.mark.parametrize("value", [NUM_LABELS, -1, 254])
    def test_labels_outside_the_classes_are_refused(self, variant, value):
        labels = label_maps(2, 64, 64)
        labels[1, 20, 30] = value
        message = (
            rf"value {value}, but the model has 5 classes \(0 to 4, and 255 for what is ignored\).*do_reduce_labels"
        )
        with pytest.raises(ValueError, match=message):
            self.small_model(variant)(images(2, 3, 64, 64), labels=labels)

    @pytest.mark.parametrize("shape", [(2, 32, 64), (1, 64, 64), (2, 1, 64, 64)])
    def test_labels_of_another_shape_are_refused(self, variant, shape):
        with pytest.raises(ValueError, match=re.escape(f"{shape}; expected (2, 64, 64)")):
            self.small_model(variant)(images(2, 3, 64, 64), labels=torch.zeros(shape, dtype=torch.int64))

    # Saving and loading.

    def test_save_and_load_twice(self, variant, tmp_path):
        model, pixel_values = self.small_model(variant), images(1, 3, 70, 64)
        expected = logits_of(model, pixel_values)
        model.save_pretrained(tmp_path / "first")
        model.save_pretrained(tmp_path / "first")
        loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "first")
        assert type(loaded) is type(model)
        assert not loaded.training
        assert torch.equal(logits_of(loaded, pixel_values), expected)
        loaded.save_pretrained(tmp_path / "second")
        again = type(model).from_pretrained(tmp_path / "second")
        assert torch.equal(logits_of(again, pixel_values), expected)
        names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("first", "second")]
        assert names[0] == names[1]

    def test_loading_options(self, variant, tmp_path):
        model, pixel_values = self.small_model(variant), images(1, 3, 64, 64)
        model.save_pretrained(tmp_path)
        load = type(model).from_pretrained
        anywhere = load(tmp_path, device_map="auto")
        logits = logits_of(anywhere, pixel_values.to(anywhere.device)).cpu()
        assert torch.equal(logits, logits_of(model, pixel_values))
        half = load(tmp_path, dtype=torch.bfloat16)
        assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
        eager = load(tmp_path, attn_implementation="eager")
        assert eager.backbone.config._attn_implementation == "eager"

    # Training.

    @pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable")
    def test_gradient_checkpointing_gives_the_same_gradients(self, variant):
        gradients, forward_passes = [], []
        for checkpointing in (False, True):
            model = self.without_dropout(variant).train()
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

    @pytest.mark.slow
    def test_trainer(self, tmp_path, caplog, monkeypatch, recwarn):
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        scenes = [
            {"pixel_values": image, "labels": label_map}
            for image, label_map in zip(images(4, 3, 64, 64), label_maps(4, 64, 64), strict=True)
        ]
        predictions = []
        trainer = Trainer(
            model=self.without_dropout(self.representative),
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
            model = self.without_dropout(self.representative).train()
            initial = model(images(4, 3, 64, 64), labels=label_maps(4, 64, 64)).loss
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

    @pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")
    def test_lora_on_the_attention_projections(self, variant):
        model = self.without_dropout(variant)
        frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        adaptable = {
            name for name in frozen if name.endswith((".q_proj.weight", ".v_proj.weight")) and "attention" in name
        }
        assert len(adaptable) == self.num_adapted[variant]
        pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
        adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], r=4))
        trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
        # A and B of each.
        assert len(trained) == 2 * len(adaptable)
        assert all("lora" in name for name in trained)
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=self.lora_learning_rate)
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
        assert type(merged) is type(model)
        self.assert_same_logits(logits_of(merged, pixel_values), expected)
        assert set(merged.state_dict()) == set(frozen)
        changed = {name for name, tensor in merged.state_dict().items() if not torch.equal(tensor, frozen[name])}
        assert changed == adaptable

    # Compiling and exporting. Graphs are captured as always, but run without generating code, which takes long.
    # That of a training step holds that of the pass over whole images.

    @pytest.mark.slow
    @pytest.mark.usefixtures("cold_compiler")
    def test_compiled_windows(self):
        model, pixel_values = self.shallow_model(self.representative), images(1, 3, 64, 80)
        # Windows are cut outside of the graph of the single pass.
        compiled = torch.compile(model, backend="eager")
        self.assert_same_logits(logits_of(compiled, pixel_values), logits_of(model, pixel_values))

    @pytest.mark.slow
    @pytest.mark.usefixtures("cold_compiler")
    def test_compiled_training_step(self, variant):
        pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
        model, reference = self.shallow_model(variant).train(), self.shallow_model(variant).train()
        loss = torch.compile(model, fullgraph=True, backend="aot_eager")(pixel_values, labels=labels).loss
        loss.backward()
        expected = reference(pixel_values, labels=labels).loss
        expected.backward()
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        for name, gradient in gradients_of(reference).items():
            torch.testing.assert_close(gradients_of(model)[name], gradient, rtol=1e-3, atol=1e-6)

    @pytest.mark.slow
    def test_export_with_dynamic_height_and_width(self, variant):
        model = self.shallow_model(variant)
        program = exported(model).module()
        # An exported program is one pass, whatever the size.
        model.config.inference_mode = "whole"
        for shape in ((2, 3, 80, 112), (1, 3, 64, 64), (3, 3, 97, 33), (1, 3, 33, 250)):
            pixel_values = images(*shape)
            logits = program(pixel_values=pixel_values).logits
            self.assert_same_logits(logits, logits_of(model, pixel_values))
