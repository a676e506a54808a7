# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The conversion command: what it makes of SETR's checkpoints, and what it says of everything else."""

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from golden_cases import GoldenCase, load_case
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

import vitseg
from vitseg.conversion import fingerprint
from vitseg.conversion.base import TRANSFORMERS_MODELS
from vitseg.conversion.setr import SetrConverter
from vitseg.recipes import RECIPES, get_recipe
from vitseg.recipes.labels import load_label_set


AUTHORS, MMSEG = "tiny_naive", "mmseg_tiny_naive"
QKV = {AUTHORS: "backbone.blocks.2.attn.qkv", MMSEG: "backbone.layers.2.attn.attn.in_proj"}
NAIVE_RECIPE = "setr-naive-vit-l-ade20k-512-160k"


def case(name: str) -> GoldenCase:
    return load_case("setr", name)


def with_classes(name: str, num_classes: int) -> tuple[dict[str, torch.Tensor], dict]:
    """State dict and configuration of a case, with zeros for classifiers of another number of classes."""
    state_dict, config = case(name).state_dict(), case(name).config
    old = config["decode_head"]["num_classes"]
    for key, tensor in state_dict.items():
        if key.rpartition(".")[0].endswith(("conv_1", "conv_seg")) and len(tensor) == old:
            state_dict[key] = torch.zeros(num_classes, *tensor.shape[1:])
    for head in (config["decode_head"], *config["auxiliary_head"]):
        head["num_classes"] = num_classes
    return state_dict, config


@pytest.fixture
def authors_files(command):
    """The authors' tiny Naive model, as a checkpoint and an original configuration."""
    return command.checkpoint(case(AUTHORS).state_dict()), command.original_config(case(AUTHORS).config)


class TestConversion:
    def test_report(self, command, authors_files):
        checkpoint, original_config = authors_files
        answer = command.convert(checkpoint, original_config)
        num_tensors = len(case(AUTHORS).state_dict())
        assert answer.status == 0
        assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in answer.out
        assert f"{num_tensors} tensors" in answer.out
        # conv_seg's weight and bias, in the decode head and three auxiliary heads.
        assert f"Converted {num_tensors - 8} of them" in answer.out
        assert "Dropped 8 (never applied by the original): decode_head.conv_seg" in answer.out
        assert "7 classes" in answer.out
        config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config
        assert f"{4 + 16 * config.backbone_config.num_hidden_layers} in backbone" in answer.out
        record = json.loads((command.output / "conversion.json").read_text())
        assert (record["recipe"], record["method"], record["dtype"]) == (None, "setr", "float32")
        assert record["file"] == {
            "name": "original.pth",
            "bytes": checkpoint.stat().st_size,
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        }
        assert record["dropped"] == {"never applied by the original": 8}
        assert [path.name for path in command.output.parent.iterdir()] == ["model"]

    @pytest.mark.parametrize("name", [AUTHORS, MMSEG])
    def test_fused_projections_are_split_into_query_key_and_value(self, name, command):
        state_dict = case(name).state_dict()
        separator = "." if name == AUTHORS else "_"
        weight, bias = state_dict[f"{QKV[name]}{separator}weight"], state_dict[f"{QKV[name]}{separator}bias"]
        rows = torch.arange(len(weight), dtype=torch.float32)
        weight.copy_(rows[:, None].expand_as(weight))
        bias.copy_(-rows)
        attention = command.converted(state_dict, case(name).config).backbone.layers[2].attention
        width = len(rows) // 3
        for index, projection in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
            expected = torch.arange(index * width, (index + 1) * width, dtype=torch.float32)
            assert torch.equal(projection.weight, expected[:, None].expand(width, width))
            assert torch.equal(projection.bias, -expected)

    def test_prefix_of_distributed_training(self, command):
        golden = case("mmseg_tiny_pup")
        state_dict = {f"module.{name}": tensor for name, tensor in golden.state_dict().items()}
        model = command.converted(state_dict, golden.config)
        with torch.no_grad():
            golden.assert_matches("logits", model(golden.pixel_values()).logits)

    def test_batch_norm_counters_may_be_missing(self, command):
        golden = case(AUTHORS)
        state_dict = golden.state_dict()
        state_dict = {name: state_dict[name] for name in state_dict if not name.endswith("num_batches_tracked")}
        assert len(state_dict) < len(golden.state_dict())
        model = command.converted(state_dict, golden.config)
        assert model.decode_head.layers[0].batch_norm.num_batches_tracked == 0

    @pytest.mark.parametrize(
        ("name", "switch", "kernel_sizes"), [("tiny_naive_conv3x3", False, [3, 1, 1]), ("tiny_naive", True, [1] * 4)]
    )
    def test_kernels_of_naive_heads_are_those_of_the_checkpoint(self, name, switch, kernel_sizes, command):
        golden = case(name)
        config = golden.config
        for head in (config["decode_head"], *config["auxiliary_head"]):
            head["conv3x3_conv1x1"] = switch
        model = command.converted(golden.state_dict(), config)
        auxiliary_sizes = [head["kernel_size"] for head in model.config.auxiliary_heads]
        assert [model.config.decoder_kernel_size, *auxiliary_sizes] == kernel_sizes
        with torch.no_grad():
            golden.assert_matches("logits", model(golden.pixel_values()).logits)

    def test_empty_output_folder_is_used(self, command, authors_files):
        command.output.mkdir(parents=True)
        assert command.convert(*authors_files).status == 0
        assert (command.output / "config.json").is_file()

    def test_model_dictionary_within_a_whole_configuration(self, command):
        whole = {"model": case(AUTHORS).config, "data": {"samples_per_gpu": 2}}
        assert command.converted(case(AUTHORS).state_dict(), whole).config.num_labels == 7


class TestVerification:
    def test_fingerprint_is_what_the_model_answers(self, command, authors_files):
        answer = command.convert(*authors_files, "--verify")
        assert answer.status == 0, answer.err
        assert "Verified: loaded again, it differs by 0.0e+00" in answer.out
        taken = json.loads((command.output / "fingerprint.json").read_text())
        random = np.random.RandomState(0)
        random.randint(0, 256, (64, 96, 3), dtype=np.uint8)
        pixel_values = torch.from_numpy(random.standard_normal((1, 3, 192, 256))).float()
        with torch.no_grad():
            logits = AutoModelForSemanticSegmentation.from_pretrained(command.output)(pixel_values).logits
        stored = taken["answers"]["logits"]
        assert stored["shape"] == list(logits.shape) == [1, 7, 192, 256]
        assert stored["mean"] == pytest.approx(logits.mean().item(), abs=1e-5)
        assert (stored["min"], stored["max"]) == pytest.approx((logits.min().item(), logits.max().item()), abs=1e-5)
        assert fingerprint.main([str(command.output)]) == 0
        assert "answers as its fingerprint says" in command.capsys.readouterr().out

    def test_other_weights_and_other_preprocessing_are_noticed(self, command, authors_files):
        command.convert(*authors_files, "--verify")
        model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
        settings = command.output / "preprocessor_config.json"
        settings.write_text(settings.read_text().replace("0.485", "0.5"))
        assert fingerprint.main([str(command.output)]) == 1
        assert "does not answer as its fingerprint says" in command.capsys.readouterr().err
        settings.write_text(settings.read_text().replace("0.5", "0.485"))
        with torch.no_grad():
            model.decode_head.classifier.bias[3] += 0.1
        model.save_pretrained(command.output)
        assert fingerprint.main([str(command.output)]) == 1
        assert "difference is" in command.capsys.readouterr().err
        (command.output / "fingerprint.json").write_text("[]")
        assert fingerprint.main([str(command.output)]) == 1
        assert "is no fingerprint" in command.capsys.readouterr().err

    def test_without_it_there_is_none(self, command, authors_files):
        assert command.convert(*authors_files).status == 0
        assert not (command.output / "fingerprint.json").exists()
        assert fingerprint.main([str(command.output)]) == 1
        assert "has no fingerprint.json" in command.capsys.readouterr().err

    def test_weights_that_are_not_finite(self, command):
        state_dict = case(AUTHORS).state_dict()
        state_dict["decode_head.conv_0.bias"][0] = torch.nan
        answer = command.convert(
            command.checkpoint(state_dict), command.original_config(case(AUTHORS).config), "--verify"
        )
        command.assert_refused(answer, "logits are not finite")


class TestHalfPrecision:
    def test_halves_the_weights(self, command, authors_files):
        answer = command.convert(*authors_files, "--half", "--verify")
        assert answer.status == 0, answer.err
        assert 0 < float(re.search(r"half precision changes its answer by (\S+)\.$", answer.out, re.M)[1]) < 0.01
        model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
        assert model.dtype == torch.float16
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert 2 * parameters < (command.output / "model.safetensors").stat().st_size < 2.2 * parameters + 20_000
        assert json.loads((command.output / "conversion.json").read_text())["dtype"] == "float16"
        assert fingerprint.main([str(command.output)]) == 0

    @pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
    def test_weights_are_float32_otherwise_whatever_they_are_in_the_file(self, stored, command):
        state_dict = case(AUTHORS).state_dict()
        for name, tensor in state_dict.items():
            state_dict[name] = tensor.to(stored) if tensor.is_floating_point() else tensor.int()
        model = command.converted(state_dict, case(AUTHORS).config)
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}
        assert json.loads((command.output / "conversion.json").read_text())["dtype"] == "float32"
        weights = load_file(command.output / "model.safetensors")
        assert torch.equal(weights["decode_head.classifier.weight"], state_dict["decode_head.conv_1.weight"].float())
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}

    def test_weights_that_do_not_fit(self, command):
        state_dict = case(AUTHORS).state_dict()
        state_dict["decode_head.syncbn_fc_0.running_var"][0] = 1e5
        answer = command.convert(
            command.checkpoint(state_dict), command.original_config(case(AUTHORS).config), "--half"
        )
        command.assert_refused(answer, "Too large for half precision", "decode_head.layers.0.batch_norm.running_var")


class TestAuxiliaryHeads:
    def test_of_another_form_are_dropped(self, command):
        golden, config = case("mmseg_tiny_naive"), case("mmseg_tiny_naive").config
        for head in config["auxiliary_head"]:
            head["num_convs"] = 1
        checkpoint = command.checkpoint({"state_dict": golden.state_dict()})
        answer = command.convert(checkpoint, command.original_config(config))
        num_dropped = sum(name.startswith("auxiliary_head.") for name in golden.state_dict())
        assert answer.status == 0
        assert f"Dropped {num_dropped} (of another form than the recipe's" in answer.out
        model = AutoModelForSemanticSegmentation.from_pretrained(command.output)
        assert len(model.auxiliary_head) == 0
        with torch.no_grad():
            golden.assert_matches("logits", model(golden.pixel_values()).logits)

    @pytest.mark.parametrize("name", [AUTHORS, "tiny_mla", "mmseg_tiny_mla"])
    def test_may_be_absent(self, name, command):
        golden = case(name)
        state_dict = {key: value for key, value in golden.state_dict().items() if "auxiliary_head" not in key}
        model = command.converted(state_dict, golden.config)
        assert model.config.auxiliary_heads == []
        with torch.no_grad():
            golden.assert_matches("logits", model(golden.pixel_values()).logits)

    def test_do_not_excuse_a_decode_head_that_does_not_fit(self, command):
        config = case("mmseg_tiny_naive").config
        for head in config["auxiliary_head"]:
            head["num_convs"] = 1
        state_dict = case("mmseg_tiny_naive").state_dict()
        state_dict["decode_head.shift"] = state_dict.pop("decode_head.norm.bias")
        answer = command.convert(command.checkpoint(state_dict), command.original_config(config))
        command.assert_refused(answer, "decode_head.shift (48,)", "auxiliary_head.0.layers.1.conv.weight")


class TestMismatch:
    def refuse(self, command, state_dict, *messages):
        answer = command.convert(command.checkpoint(state_dict), command.original_config(case(AUTHORS).config))
        command.assert_refused(answer, "does not fit", *messages)

    def test_every_tensor_is_named(self, command):
        state_dict = case(AUTHORS).state_dict()
        del state_dict["backbone.blocks.1.norm1.weight"], state_dict["backbone.blocks.3.attn.qkv.bias"]
        state_dict["backbone.dist_token"] = torch.zeros(1, 1, 64)
        state_dict["backbone.blocks.4.norm2.bias"] = torch.zeros(64)
        state_dict["decode_head.norm.weight"] = torch.zeros(63)
        self.refuse(
            command,
            state_dict,
            "not known to the conversion (1)",
            "backbone.dist_token (1, 1, 64)",
            "missing (4)",
            "backbone.layers.1.layernorm_before.weight (64,)",
            "backbone.layers.3.attention.q_proj.bias (64,)",
            "backbone.layers.3.attention.k_proj.bias (64,)",
            "backbone.layers.3.attention.v_proj.bias (64,)",
            "not in the model (1)",
            "backbone.layers.4.layernorm_after.bias (64,)",
            "of another shape (1)",
            "decode_head.layernorm.weight (63,), expected (64,)",
        )

    @pytest.mark.parametrize(("num_rows", "parts"), [(1, (1, 0, 0)), (4, (2, 1, 1)), (200, (67, 67, 66))])
    def test_fused_projection_of_another_shape(self, num_rows, parts, command):
        state_dict = case(AUTHORS).state_dict()
        state_dict["backbone.blocks.0.attn.qkv.bias"] = torch.zeros(num_rows)
        lines = [
            f"backbone.layers.0.attention.{part}_proj.bias ({size},), expected (64,)"
            for part, size in zip("qkv", parts, strict=True)
        ]
        self.refuse(command, state_dict, "of another shape (3)", *lines)

    @pytest.mark.parametrize(
        ("name", "line"),
        [
            ("tiny_pup", "decode_head.layers.3.conv.bias (256,)"),
            ("tiny_mla", "backbone.mla.mla_p2.0.weight (256, 256, 3, 3)"),
        ],
    )
    def test_checkpoint_of_another_decoder(self, name, line, command):
        self.refuse(command, case(name).state_dict(), line)

    @pytest.mark.parametrize(
        "names",
        [
            # mmsegmentation's Segmenter, whose backbone has the names of its SETR.
            ["backbone.layers.0.ln1.weight", "backbone.ln1.weight", "decode_head.cls_emb", "decode_head.classes_proj"],
            # mmsegmentation's UPerNet over a ViT.
            ["backbone.layers.0.ln1.weight", "neck.convs.0.conv.weight", "decode_head.conv_seg.weight"],
            # torchvision's ResNet.
            ["conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.bias"],
            # timm's ViT.
            ["cls_token", "pos_embed", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight", "head.weight"],
        ],
        ids=["segmenter", "upernet", "resnet", "timm"],
    )
    @pytest.mark.parametrize("recipe", [NAIVE_RECIPE, None], ids=["recipe", "original_config"])
    def test_checkpoint_of_another_method(self, recipe, names, command):
        checkpoint = command.checkpoint({"state_dict": {name: torch.zeros(2, 2) for name in names}})
        if recipe:
            answer = command.run("--recipe", recipe, "--checkpoint", checkpoint, "--output", command.output)
        else:
            answer = command.convert(checkpoint, command.original_config(case(MMSEG).config))
        command.assert_refused(answer, "not a SETR checkpoint", *names[:3])

    @pytest.mark.parametrize("name", ["tiny_mla", "mmseg_tiny_naive"])
    def test_checkpoint_of_another_recipe(self, name, command):
        checkpoint = command.checkpoint(case(name).state_dict())
        answer = command.run("--recipe", NAIVE_RECIPE, "--checkpoint", checkpoint, "--output", command.output)
        command.assert_refused(answer, "does not fit", "decode_head.layers.0.conv.bias (256,)")


class TestOutput:
    @pytest.mark.parametrize("kind", ["folder", "file"])
    def test_what_is_there_is_kept(self, kind, command, authors_files):
        command.output.parent.mkdir()
        file = command.output if kind == "file" else command.output / "notes.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
        answer = command.convert(*authors_files)
        assert answer.status == 1
        assert f"{command.output} already exists" in answer.err
        assert file.read_text() == "mine"
        assert len(list(command.output.parent.rglob("*"))) == (1 if kind == "file" else 2)

    def test_failure_while_writing_leaves_nothing(self, command, authors_files, monkeypatch):
        def fill_the_disk(self, folder):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(vitseg.SetrImageProcessor, "save_pretrained", fill_the_disk)
        answer = command.convert(*authors_files)
        assert answer.status == 1
        assert "No space left on device" in answer.err
        assert list(command.output.parent.iterdir()) == []


class TestOriginalConfig:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "is not a readable JSON file"),
            ("", "is not a readable JSON file"),
            ("model = dict(type='EncoderDecoder')", "is not a readable JSON file"),
            (b"\xff\xfe\x00", "is not a readable JSON file"),
            ("[]", "holds no model configuration"),
            ('{"type": "EncoderDecoder"}', "expected a dictionary with a 'backbone'"),
            ('{"model": 3}', "holds no model configuration"),
            ('{"backbone": {}}', "lacks the key 'decode_head'"),
        ],
    )
    def test_files_that_are_none(self, content, message, command):
        original_config = command.folder / "original.json"
        if content is not None:
            original_config.write_bytes(content.encode() if isinstance(content, str) else content)
        answer = command.convert(command.checkpoint(case(AUTHORS).state_dict()), original_config)
        command.assert_refused(answer, message)

    @pytest.mark.parametrize(
        ("part", "change", "message"),
        [
            ("backbone", {"num_heads": 5}, "hidden_size 64 is not a multiple of num_attention_heads 5"),
            ("backbone", {"depth": "four"}, "wrong kind"),
            ("backbone", {"embed_dim": [64]}, "wrong kind"),
            ("decode_head", {"align_corners": True}, "VisionTransformerUpHead has align_corners=True"),
            ("decode_head", {"num_conv": 3}, "num_conv=3"),
            ("auxiliary_head", "VisionTransformerUpHead", "wrong kind"),
        ],
    )
    def test_values_that_cannot_be_converted(self, part, change, message, command, authors_files):
        checkpoint, original_config = authors_files
        config = case(AUTHORS).config
        config[part] = {**config[part], **change} if isinstance(change, dict) else change
        original_config.write_text(json.dumps(config))
        command.assert_refused(command.convert(checkpoint, original_config), message)

    def test_what_the_authors_leave_out_has_the_default_of_the_class(self):
        config = case(AUTHORS).config
        for key in ("patch_size", "in_chans", "drop_rate", "embed_dim"):
            del config["backbone"][key]
        del config["decode_head"]["in_index"], config["decode_head"]["conv3x3_conv1x1"]
        read = SetrConverter(case(AUTHORS).state_dict()).read_config(config)
        vit = read.backbone_config
        assert (vit.hidden_size, vit.patch_size, vit.num_channels, vit.hidden_dropout_prob) == (1024, 16, 3, 0.1)
        assert (read.decoder_in_index, read.decoder_kernel_size) == (len(vit.out_indices) - 1, 3)

    @pytest.mark.parametrize(
        ("part", "change", "message"),
        [
            ("backbone", {"hybrid_backbone": "resnet50"}, "hybrid_backbone='resnet50'"),
            ("backbone", {"qk_scale": 0.1}, "qk_scale=0.1"),
            ("backbone", {"mlp_ration": 2}, "VisionTransformer has mlp_ration=2, an argument that is not known"),
            ("decode_head", {"img_size": 96}, "VisionTransformerUpHead has img_size=96; only 64"),
            ("decode_head", {"upsampling_method": "deconv"}, "upsampling_method='deconv'"),
            ("decode_head", {"in_index": 9}, "in_index=9, but there are 4 feature maps"),
            ("decode_head", {"norm_cfg": {"type": "LN"}}, "norm_cfg={'type': 'LN'}"),
        ],
    )
    def test_arguments_of_the_authors_that_cannot_be_converted(self, part, change, message):
        config = case(AUTHORS).config
        config[part] |= change
        with pytest.raises(ValueError, match=re.escape(message)):
            SetrConverter(case(AUTHORS).state_dict()).read_config(config)

    def test_key_that_is_missing(self, command, authors_files):
        checkpoint, original_config = authors_files
        config = case(AUTHORS).config
        del config["decode_head"]["num_classes"]
        original_config.write_text(json.dumps(config))
        command.assert_refused(command.convert(checkpoint, original_config), "lacks the key 'num_classes'")

    def test_different_auxiliary_loss_weights(self, command, authors_files):
        checkpoint, original_config = authors_files
        config = case(AUTHORS).config
        config["auxiliary_head"][1]["loss_decode"]["loss_weight"] = 0.2
        original_config.write_text(json.dumps(config))
        command.assert_refused(command.convert(checkpoint, original_config), "loss_weight=[0.4, 0.2, 0.4]")


class TestClassNames:
    def names(self, command, classes, num_classes=None) -> list[str]:
        state_dict, config = with_classes(AUTHORS, num_classes or len(classes))
        config = command.converted(state_dict, config, CLASSES=classes).config
        assert config.label2id == {name: index for index, name in config.id2label.items()}
        return [config.id2label[index] for index in range(config.num_labels)]

    def test_are_those_of_the_record(self, command):
        assert self.names(command, ("lane", "kerb ", "grass")) == ["lane", "kerb", "grass"]

    @pytest.mark.parametrize("first", [0, 1], ids=["with_background", "without_background"])
    def test_of_pascal_context_get_the_order_of_the_ids(self, first, command):
        label_set = load_label_set("pascal_context60")
        names = self.names(command, label_set.names_in_older_mmseg[first:])
        assert names == list(label_set.names[first:])
        assert names[1 - first : 4 - first] == ["aeroplane", "bag", "bed"]

    def test_of_a_data_set_in_an_order_of_their_own_are_kept(self, command):
        classes = list(reversed(load_label_set("cityscapes").names))
        assert self.names(command, classes) == classes

    def test_of_another_number_are_left_out(self, command):
        assert self.names(command, ["lane", "kerb"], num_classes=3) == ["LABEL_0", "LABEL_1", "LABEL_2"]


class TestRecipes:
    @pytest.fixture
    def tiny_recipe(self, use_recipe):
        """The Naive recipe for ADE20K, with a backbone as small as the golden case's."""
        recipe = get_recipe(NAIVE_RECIPE)
        size = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
        backbone = {**recipe.model["backbone_config"], **size, "image_size": 64, "out_indices": [1, 2, 3, 4]}
        recipe = dataclasses.replace(recipe, model={**recipe.model, "backbone_config": backbone})
        use_recipe(recipe)

    @pytest.mark.parametrize("kernel_size", [1, 3])
    def test_conversion(self, kernel_size, command, tiny_recipe):
        state_dict, _ = with_classes(AUTHORS, 150)
        for head in ("decode_head", "auxiliary_head.0", "auxiliary_head.1", "auxiliary_head.2"):
            state_dict[f"{head}.conv_0.weight"] = torch.zeros(256, 64, kernel_size, kernel_size)
        checkpoint = command.checkpoint({"state_dict": state_dict, "meta": {"CLASSES": ["wrong"] * 150}})
        answer = command.run("--recipe", NAIVE_RECIPE, "--checkpoint", checkpoint, "--output", command.output)
        assert answer.status == 0, answer.err
        config = AutoModelForSemanticSegmentation.from_pretrained(command.output).config
        assert config.decoder_kernel_size == kernel_size
        assert [head["kernel_size"] for head in config.auxiliary_heads] == [kernel_size] * 3
        assert (config.id2label[0], config.id2label[149]) == ("wall", "flag")
        assert config.inference_mode == "slide"
        assert config.protocol()[1:3] == ((512, 512), (341, 341))
        image_processor = AutoImageProcessor.from_pretrained(command.output)
        assert image_processor.do_reduce_labels
        assert (image_processor.size["shortest_edge"], image_processor.size["longest_edge"]) == (512, 2048)

    def test_list(self, command):
        answer = command.run("--list")
        assert answer.status == 0
        lines = answer.out.splitlines()
        assert [line.split()[0] for line in lines] == [*RECIPES, *TRANSFORMERS_MODELS]
        for line in lines[: len(RECIPES)]:
            weights = RECIPES[line.split()[0]].weights
            assert weights.status in line
            assert weights.licence in line
            assert (weights.url or weights.host) in line
        assert lines[-1].endswith(
            "mmsegmentation's SwinTransformer and UPerHead, to transformers' UperNetForSemanticSegmentation"
        )

    def test_list_of_a_method(self, command):
        lines = command.run("--list", "--method", "structtoken").out.splitlines()
        assert len(lines) == 11
        assert all(line.startswith("structtoken-") for line in lines)

    @pytest.mark.parametrize("name", RECIPES)
    def test_without_checkpoint_says_where_it_is(self, name, command):
        weights = RECIPES[name].weights
        answer = command.run("--recipe", name)
        assert answer.status == 1
        assert ("--checkpoint FILE --output DIR" in answer.out) == (weights.status == "published")
        for fact in (weights.url, weights.host, weights.licence, weights.note):
            assert (fact or "") in answer.out
        if "/" in (weights.url or "") and weights.url.endswith(".pth"):
            assert f"file     {weights.url.split('/')[-1]}" in answer.out
        assert f"--recipe {name}" in answer.out

    @pytest.mark.parametrize("rest", [[], ["--checkpoint", "FILE", "--output", "DIR"]])
    def test_unknown_name(self, rest, command, monkeypatch):
        monkeypatch.chdir(command.folder)
        answer = command.run("--recipe", "setr-naive-vit-l-ade20k-512", *rest)
        command.assert_refused(answer, "setr-naive-vit-l-ade20k-512'", NAIVE_RECIPE)
        assert list(command.folder.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--method", "setr"],
        ["--method", "setr", "--original-config", "FILE"],
        ["--method", "setr", "--original-config", "FILE", "--checkpoint", "FILE"],
        ["--method", "resnet", "--original-config", "FILE", "--checkpoint", "FILE", "--output", "DIR"],
        ["--recipe", NAIVE_RECIPE, "--checkpoint", "FILE"],
        ["--recipe", NAIVE_RECIPE, "--original-config", "FILE"],
        ["--list", "--recipe", NAIVE_RECIPE],
        ["--list", "--method", "resnet"],
        ["--method", "setr", "--recipe", NAIVE_RECIPE],
    ],
    ids=" ".join,
)
def test_arguments_that_do_not_go_together(arguments, command):
    with pytest.raises(SystemExit) as stop:
        command.run(*arguments)
    assert stop.value.code == 2
    assert "usage:" in command.capsys.readouterr().err
