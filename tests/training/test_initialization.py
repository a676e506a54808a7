# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Initial weights: from a file, from timm, or from a model, and nothing silently random."""

import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from vitseg.recipes import load_recipe
from vitseg.training.initialization import initial_model


LABELS = {0: "cat", 1: "dog"}


@pytest.fixture
def recipe(tmp_path):
    """A plain ViT of the same widths and depth as `imagenet_model`, for other images."""
    backbone = {
        "model_type": "plain_vit",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": 48,
        "patch_size": 8,
        "out_indices": [1, 2],
    }
    file = tmp_path / "tiny.json"
    values = {
        "method": "setr",
        "model": {"decoder_type": "pup", "decoder_hidden_size": 8, "backbone_config": backbone, "auxiliary_heads": []},
        "image_processor": {},
        "training": {
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "weight_decay": 0.0,
            "min_learning_rate": 0.0,
            "iterations": 1,
            "batch_size": 1,
            "crop_size": [48, 48],
            "scale": [96, 48],
            "pretrained": {"timm_model": "vit_of_my_own", "url": "https://example.org/vit.pth"},
        },
        "evaluation": {
            "mode": "whole",
            "window_size": None,
            "window_stride": None,
            "scale": [96, 48],
            "ratios": [1.0],
            "min_short": None,
        },
    }
    file.write_text(json.dumps(values))
    return load_recipe(file)


@pytest.fixture(scope="module")
def imagenet_model():
    torch.manual_seed(0)
    return timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5)


def assert_starts_from(model, imagenet_model):
    layer, block = model.backbone.layers[1], imagenet_model.blocks[1]
    assert layer.attention.v_proj.weight.equal(block.attn.qkv.weight[64:])
    assert layer.mlp.fc2.bias.equal(block.mlp.fc2.bias)
    assert model.backbone.embeddings.patch_embeddings.weight.equal(imagenet_model.patch_embed.proj.weight)
    assert model.backbone.embeddings.position_embeddings.shape == (1, 37, 32)


@pytest.mark.parametrize("form", ["pth", "wrapped pth", "mmcv's pth", "safetensors"])
def test_a_file_of_imagenet_weights_starts_the_backbone(recipe, imagenet_model, tmp_path, form):
    weights = imagenet_model.state_dict()
    file = tmp_path / f"vit.{form.split()[-1]}"
    if form == "safetensors":
        save_file(weights, file)
    else:
        torch.save({"wrapped pth": {"model": weights}, "mmcv's pth": {"state_dict": weights}}.get(form, weights), file)
    model, image_processor, random = initial_model(str(file), recipe, LABELS)
    assert_starts_from(model, imagenet_model)
    assert {name.split(".")[0] for name in random} == {"decode_head"}
    assert model.config.id2label == LABELS
    assert type(image_processor).__name__ == "SetrImageProcessor"


def test_a_file_of_jax_weights_starts_the_backbone(recipe, imagenet_model, tmp_path):
    weights = {name: tensor.numpy() for name, tensor in imagenet_model.state_dict().items()}
    arrays = {
        "cls": weights["cls_token"],
        "embedding/kernel": weights["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": weights["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": weights["pos_embed"],
        "Transformer/encoder_norm/scale": weights["norm.weight"],
        "Transformer/encoder_norm/bias": weights["norm.bias"],
        "head/kernel": weights["head.weight"].T,
        "head/bias": weights["head.bias"],
    }
    for index in range(2):
        theirs, ours = f"Transformer/encoderblock_{index}", f"blocks.{index}"
        attention = f"{theirs}/MultiHeadDotProductAttention_1"
        for number, part in enumerate(("query", "key", "value")):
            rows = slice(32 * number, 32 * number + 32)
            # Two heads of width 16.
            arrays[f"{attention}/{part}/kernel"] = weights[f"{ours}.attn.qkv.weight"][rows].T.reshape(32, 2, 16)
            arrays[f"{attention}/{part}/bias"] = weights[f"{ours}.attn.qkv.bias"][rows].reshape(2, 16)
        arrays[f"{attention}/out/kernel"] = weights[f"{ours}.attn.proj.weight"].T.reshape(2, 16, 32)
        arrays[f"{attention}/out/bias"] = weights[f"{ours}.attn.proj.bias"]
        for norm, name in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            arrays[f"{theirs}/{norm}/scale"] = weights[f"{ours}.{name}.weight"]
            arrays[f"{theirs}/{norm}/bias"] = weights[f"{ours}.{name}.bias"]
        for dense, name in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            arrays[f"{theirs}/MlpBlock_3/{dense}/kernel"] = weights[f"{ours}.mlp.{name}.weight"].T
            arrays[f"{theirs}/MlpBlock_3/{dense}/bias"] = weights[f"{ours}.mlp.{name}.bias"]
    file = tmp_path / "B_8.npz"
    np.savez(file, **arrays)
    model, _, random = initial_model(str(file), recipe, LABELS)
    assert_starts_from(model, imagenet_model)
    assert {name.split(".")[0] for name in random} == {"decode_head"}


def test_a_damaged_file_of_jax_weights_is_refused(recipe, tmp_path):
    file = tmp_path / "B_8.npz"
    np.savez(file, cls=np.zeros((1, 1, 32), np.float32))
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"B_8\.npz is not a complete \.npz file of arrays of numbers"):
        initial_model(str(file), recipe, LABELS)
    np.savez(file, cls=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match=r"B_8\.npz is not a complete \.npz file of arrays of numbers"):
        initial_model(str(file), recipe, LABELS)


def test_timm_is_asked_for_the_weights_that_the_recipe_names(recipe, imagenet_model, monkeypatch):
    offered = {("vit_of_my_own", True): imagenet_model}
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: offered[name, pretrained])
    model, _, _ = initial_model("timm", recipe, LABELS)
    assert_starts_from(model, imagenet_model)


def test_all_parameters_are_random_without_weights(recipe):
    model, _, random = initial_model("none", recipe, LABELS)
    assert random == [name for name, _ in model.named_parameters()]


def test_imagenet_weights_need_a_plain_vit(recipe, imagenet_model, tmp_path):
    file = tmp_path / "vit.pth"
    torch.save(imagenet_model.state_dict(), file)
    backbone = {"model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone |= {"image_size": 48, "patch_size": 8, "out_indices": [1, 2]}
    recipe.model["backbone_config"].clear()
    recipe.model["backbone_config"].update(backbone)
    with pytest.raises(ValueError, match=r"load into a plain ViT, .* but this is a Dinov2Backbone"):
        initial_model(str(file), recipe, LABELS)


def test_a_file_that_could_run_code_is_refused(recipe, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    file = tmp_path / "vit.pth"
    torch.save({"model": Hostile()}, file)
    with pytest.raises(ValueError, match=r"vit\.pth refers to .*open, which is neither a tensor nor a plain value"):
        initial_model(str(file), recipe, LABELS)
    assert not (tmp_path / "executed").exists()


def test_timm_does_not_have_the_weights_of_every_recipe():
    with pytest.raises(ValueError, match=r"only its authors have.*--init none"):
        initial_model("timm", load_recipe("sctnet-s-ade20k-512-160k"), LABELS)


def test_training_is_in_float32_also_from_a_folder_in_half_precision(recipe, tmp_path):
    model, image_processor, _ = initial_model("none", recipe, LABELS)
    model.half().save_pretrained(tmp_path / "model")
    image_processor.save_pretrained(tmp_path / "model")
    model, _, random = initial_model(str(tmp_path / "model"), recipe, LABELS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert random == []
