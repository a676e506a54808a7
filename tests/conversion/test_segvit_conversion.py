# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The conversion command on SegViT's checkpoints: every variant of the original's configuration, and what is wrong."""

import dataclasses

import pytest
import torch
from golden_cases import GoldenCase, load_case
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

import vitseg
from vitseg.conversion.segvit import SegVitConverter
from vitseg.recipes import get_recipe
from vitseg.recipes.labels import load_label_set


PASCAL_RECIPE = "segvit-atm-vit-l-pascal-context-59-480-80k"


def case(name: str) -> GoldenCase:
    return load_case("segvit", name)


def model_config(golden: GoldenCase) -> dict:
    return golden.config["model"]


@pytest.fixture
def command(command):
    command.method = "segvit"
    return command


def converted_with(command, name: str, state_dict=None, **parts: dict):
    """The model of a case with changes to parts of its configuration."""
    golden = case(name)
    config = model_config(golden)
    for part, changes in parts.items():
        config[part] = {**config[part], **changes}
    return command.converted(golden.state_dict() if state_dict is None else state_dict, {"model": config})


class TestConversion:
    def test_report(self, command):
        golden = case("tiny-shrunk")
        checkpoint = command.checkpoint({"state_dict": golden.state_dict(), "meta": {"iter": 1}})
        answer = command.convert(checkpoint, command.original_config(golden.config))
        num_tensors = len(golden.state_dict())
        assert answer.status == 0
        assert f"Converted {num_tensors - 3} of them" in answer.out
        assert "Dropped 1 (the class token is cut off before the first block): backbone.cls_token" in answer.out
        assert "Dropped 2 (constant weights of the loss): decode_head.loss_decode.criterion.empty_weight" in answer.out

    def test_packed_projections_are_split_into_query_key_and_value(self, command):
        golden = case("tiny-shrunk")
        state_dict = golden.state_dict()
        modules = {
            "backbone.layers.2.attn.attn": "backbone.layers.2.attention",
            "decode_head.decoder_2.layers.1.self_attn": "decode_head.upsampler.decoders.1.layers.1.self_attention",
            "decode_head.decoder_2.layers.1.multihead_attn": (
                "decode_head.upsampler.decoders.1.layers.1.cross_attention"
            ),
            "decode_head.atm.decoder_1.layers.1.self_attn": "decode_head.decoders.0.layers.1.self_attention",
        }
        for original in modules:
            weight, bias = state_dict[f"{original}.in_proj_weight"], state_dict[f"{original}.in_proj_bias"]
            rows = torch.arange(len(weight), dtype=torch.float32)
            weight.copy_(rows[:, None].expand_as(weight))
            bias.copy_(-rows)
        model = command.converted(state_dict, golden.config)
        for ours in modules.values():
            attention = model.get_submodule(ours)
            width = attention.q_proj.out_features
            for index, projection in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
                expected = torch.arange(index * width, (index + 1) * width, dtype=torch.float32)
                assert torch.equal(projection.weight, expected[:, None].expand(width, width))
                assert torch.equal(projection.bias, -expected)

    @pytest.mark.parametrize("name", ["tiny-atm", "tiny-shrunk", "tiny-single"])
    def test_prefix_of_distributed_training_and_missing_constants(self, name, command):
        golden = case(name)
        state_dict = {
            f"module.{key}": tensor for key, tensor in golden.state_dict().items() if "empty_weight" not in key
        }
        model = command.converted(state_dict, golden.config)
        with torch.no_grad():
            golden.assert_matches("scores", model(golden.pixel_values()).logits)

    def test_image_processor_and_protocol(self, command):
        test_cfg = {"mode": "slide", "crop_size": [64, 64], "stride": [40, 48]}
        model = converted_with(command, "tiny-atm", test_cfg=test_cfg)
        assert (model.config.inference_mode, model.config.window_size) == ("slide", [64, 64])
        assert model.config.window_stride == [40, 48]
        image_processor = AutoImageProcessor.from_pretrained(command.output)
        assert isinstance(image_processor, vitseg.SegVitImageProcessor)
        assert image_processor.size["shortest_edge"] == 64
        assert list(image_processor.image_mean) == list(image_processor.image_std) == [0.5, 0.5, 0.5]


class TestVariants:
    def test_fewer_stages_than_taps(self, command):
        """The head takes the first taps and leaves the deepest."""
        golden = case("tiny-atm")
        state_dict = {key: tensor for key, tensor in golden.state_dict().items() if "_3." not in key}
        model = converted_with(command, "tiny-atm", state_dict, decode_head={"use_stages": 2})
        assert model.config.backbone_config.out_indices == [2, 3]
        two_taps = {"backbone": {"out_indices": [1, 2]}, "decode_head": {"use_stages": 2}}
        command.output = command.output.with_name("two_taps")
        expected = converted_with(command, "tiny-atm", state_dict, **two_taps)
        with torch.no_grad():
            pixel_values = golden.pixel_values()
            assert torch.equal(model(pixel_values).logits, expected(pixel_values).logits)

    @pytest.mark.parametrize(("dec_layers", "terms"), [(1, 3), (2, 6), (3, 9), (5, 9)])
    def test_weights_of_the_loss(self, dec_layers, terms, command):
        golden = case("tiny-atm-loss")
        loss = {**model_config(golden)["decode_head"]["loss_decode"], "dec_layers": dec_layers, "loss_weight": 2.0}
        model = converted_with(command, "tiny-atm-loss", decode_head={"loss_decode": loss})
        with torch.no_grad():
            outputs = model(golden.pixel_values(), labels=golden.labels())
        assert len(outputs.loss_dict) == terms
        for name, value in outputs.loss_dict.items():
            torch.testing.assert_close(value.reshape(1), 2 * golden.expected[f"loss/{name}"], rtol=1e-4, atol=1e-4)

    def test_shrinking_backbone_under_the_plain_heads(self, command):
        for name in ("tiny-atm", "tiny-single-stages"):
            command.output = command.output.with_name(name)
            shrinking = {"type": "vit_shrink", "shrink_idx": 3}
            model = converted_with(command, name, backbone=shrinking)
            assert model.config.backbone_config.shrink_layer == 4
            with torch.no_grad():
                scores = model(case(name).pixel_values()).logits
            assert scores.shape == (2, 7, 64, 64)
            assert scores.isfinite().all()

    def test_defaults_of_the_original(self, command):
        golden = case("tiny-atm")
        config = model_config(golden)
        for key in ("interpolate_mode", "patch_size", "in_channels", "drop_rate", "attn_drop_rate", "final_norm"):
            del config["backbone"][key]
        del config["test_cfg"]
        model = command.converted(golden.state_dict(), config)
        assert model.config.backbone_config.interpolation_mode == "bicubic"
        with torch.no_grad():
            golden.assert_matches("scores", model(golden.pixel_values()).logits)

    def test_arguments_of_the_head_and_the_loss_have_defaults(self):
        config = model_config(case("tiny-atm"))
        for key in ("embed_dims", "num_layers", "num_heads", "use_stages"):
            config["decode_head"].pop(key, None)
        config["decode_head"]["loss_decode"] |= {"mask_weight": 5.0, "cls_weight": 2.0, "loss_weight": 0.5}
        config["decode_head"]["ignore_index"] = 254
        read = SegVitConverter(case("tiny-atm").state_dict()).read_config(config)
        assert (read.decoder_hidden_size, read.decoder_num_layers, read.decoder_num_attention_heads) == (768, 3, 8)
        assert len(read.backbone_config.out_indices) == 3
        assert (read.class_weight, read.mask_weight, read.dice_weight) == (1.0, 2.5, 0.5)
        assert read.semantic_loss_ignore_index == 254

    def test_class_token_that_takes_part(self, command):
        golden = case("tiny-atm")
        model = converted_with(command, "tiny-atm", backbone={"with_cls_token": True})
        state_dict = golden.state_dict()
        assert torch.equal(model.backbone.embeddings.cls_token, state_dict["backbone.cls_token"])
        assert torch.equal(model.backbone.embeddings.position_embeddings, state_dict["backbone.pos_embed"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "part", "changes", "message"),
        [
            ("tiny-atm", "decode_head", {"type": "FCNHead"}, "decode_head is a FCNHead; expected one of ['ATMHead'"),
            ("tiny-atm", "decode_head", {"CE_loss": True}, "ATMHead has CE_loss=True"),
            ("tiny-atm", "decode_head", {"crop_train": True}, "ATMHead has crop_train=True"),
            ("tiny-atm", "decode_head", {"align_corners": True}, "ATMHead has align_corners=True"),
            ("tiny-atm", "decode_head", {"use_stage": 3}, "ATMHead has use_stage=3, an argument that is not known"),
            ("tiny-atm", "backbone", {"shrink_idx": 3}, "VisionTransformer has shrink_idx=3"),
            ("tiny-atm", "decode_head", {"use_stages": 4}, "use_stages=4, but backbone taps 3 layers"),
            ("tiny-atm", "decode_head", {"in_channels": 32}, "in_channels=32; only 64"),
            ("tiny-atm", "decode_head", {"num_heads": 5}, "is not a multiple of decoder_num_attention_heads 5"),
            ("tiny-atm", "decode_head", {"embed_dims": "wide"}, "wrong kind"),
            ("tiny-atm", "decode_head", {"loss_decode": {"type": "CrossEntropyLoss"}}, "only 'ATMLoss'"),
            ("tiny-atm", "backbone", {"type": "SwinTransformer"}, "backbone is a SwinTransformer"),
            ("tiny-atm", "backbone", {"num_heads": 5}, "hidden_size 64 is not a multiple of num_attention_heads 5"),
            ("tiny-shrunk", "backbone", {"with_cls_token": True}, "with_cls_token=True; only False"),
            ("tiny-shrunk", "backbone", {"shrink_idx": 4}, "shrink_layer is 5; expected a block from 1 to 4"),
            ("tiny-shrunk", "decode_head", {"shrink_ratio": 65}, "query_stride is 65"),
        ],
    )
    def test_values_that_cannot_be_converted(self, name, part, changes, message, command):
        golden = case(name)
        config = model_config(golden)
        config[part] = {**config[part], **changes}
        answer = command.convert(command.checkpoint(golden.state_dict()), command.original_config(config))
        command.assert_refused(answer, message)

    @pytest.mark.parametrize(("part", "key"), [("decode_head", "img_size"), ("decode_head", "num_classes")])
    def test_key_that_is_missing(self, part, key, command):
        golden = case("tiny-atm")
        config = model_config(golden)
        del config[part][key]
        answer = command.convert(command.checkpoint(golden.state_dict()), command.original_config(config))
        command.assert_refused(answer, f"lacks the key '{key}'")

    def test_auxiliary_head(self, command):
        golden = case("tiny-atm")
        config = {**model_config(golden), "auxiliary_head": {"type": "FCNHead"}}
        answer = command.convert(command.checkpoint(golden.state_dict()), command.original_config(config))
        command.assert_refused(answer, "no SegViT has")

    def test_every_tensor_that_does_not_fit_is_named(self, command):
        golden = case("tiny-shrunk")
        state_dict = golden.state_dict()
        del state_dict["decode_head.atm.decoder_1.layers.1.multihead_attn.k.weight"]
        del state_dict["decode_head.decoder_2.layers.0.multihead_attn.in_proj_bias"]
        state_dict["decode_head.conv_seg.weight"] = torch.zeros(7, 64, 1, 1)
        state_dict["decode_head.q.weight"] = torch.zeros(25, 32)
        answer = command.convert(command.checkpoint(state_dict), command.original_config(golden.config))
        command.assert_refused(
            answer,
            "not known to the conversion (1)",
            "decode_head.conv_seg.weight (7, 64, 1, 1)",
            "missing (4)",
            "decode_head.decoders.0.layers.1.cross_attention.k_proj.weight (32, 32)",
            "decode_head.upsampler.decoders.1.layers.0.cross_attention.v_proj.bias (32,)",
            "of another shape (1)",
            "decode_head.upsampler.queries (25, 32), expected (16, 32)",
        )

    @pytest.mark.parametrize("name", ["tiny-shrunk", "tiny-single"])
    def test_checkpoint_of_another_head(self, name, command):
        state_dict, config = case(name).state_dict(), case("tiny-atm").config
        answer = command.convert(command.checkpoint(state_dict), command.original_config(config))
        command.assert_refused(answer, "does not fit", "decode_head.decoders.2.layers.0.mlp.fc1.weight (128, 32)")

    @pytest.mark.parametrize("with_recipe", [True, False])
    def test_checkpoint_of_another_method(self, with_recipe, command):
        names = ["backbone.layers.0.ln1.weight", "decode_head.cls_emb", "decode_head.classes_proj"]
        checkpoint = command.checkpoint({"state_dict": {name: torch.zeros(2, 2) for name in names}})
        if with_recipe:
            answer = command.run("--recipe", PASCAL_RECIPE, "--checkpoint", checkpoint, "--output", command.output)
        else:
            answer = command.convert(checkpoint, command.original_config(case("tiny-atm").config))
        command.assert_refused(answer, "not a SegViT checkpoint", *names)


class TestRecipes:
    @pytest.fixture
    def tiny_recipe(self, use_recipe):
        """The recipe for Pascal Context, with a model as small as the golden case's."""
        recipe = get_recipe(PASCAL_RECIPE)
        size = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
        backbone = {**recipe.model["backbone_config"], **size, "image_size": 64, "out_indices": [2, 3, 4]}
        model = {**recipe.model, "backbone_config": backbone, "decoder_hidden_size": 32}
        recipe = dataclasses.replace(recipe, model=model)
        use_recipe(recipe)

    @pytest.mark.parametrize("num_labels", [59, 60])
    def test_pascal_context_has_as_many_classes_as_the_checkpoint(self, num_labels, command, tiny_recipe):
        state_dict = case("tiny-atm").state_dict()
        state_dict["decode_head.q.weight"] = torch.zeros(num_labels, 32)
        state_dict["decode_head.class_embed.weight"] = torch.zeros(num_labels + 1, 32)
        state_dict["decode_head.class_embed.bias"] = torch.zeros(num_labels + 1)
        checkpoint = command.checkpoint({"state_dict": state_dict})
        answer = command.run("--recipe", PASCAL_RECIPE, "--checkpoint", checkpoint, "--output", command.output)
        assert answer.status == 0, answer.err
        config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config
        assert list(config.id2label.values()) == list(load_label_set(f"pascal_context{num_labels}").names)
        assert config.protocol()[1:3] == ((480, 480), (320, 320))
        assert AutoImageProcessor.from_pretrained(command.output).size["shortest_edge"] == 520

    def test_checkpoint_of_another_data_set(self, command, tiny_recipe):
        checkpoint = command.checkpoint(case("tiny-atm").state_dict())
        answer = command.run("--recipe", PASCAL_RECIPE, "--checkpoint", checkpoint, "--output", command.output)
        command.assert_refused(answer, "decode_head.class_queries (7, 32), expected (59, 32)")
