# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A recipe's decoder over a pretrained backbone of transformers: its weights, its layers, its pixels and sizes."""

import copy
import json

import pytest
import torch
from small_encoders import ENCODERS, PYRAMIDS, save_encoder
from transformers import (
    AutoBackbone,
    BitImageProcessor,
    Dinov2Config,
    HieraConfig,
    HieraModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    TimmBackboneConfig,
    ViTConfig,
)

from vitseg import SetrConfig
from vitseg.recipes import load_recipe
from vitseg.training.initialization import initial_model


LABELS = {0: "cat", 1: "dog", 2: "bird"}
DECODERS = {
    "naive": "setr-naive-vit-l-ade20k-512-160k",
    "pup": "setr-pup-vit-l-ade20k-512-160k",
    "mla": "setr-mla-vit-l-ade20k-512-160k-b16",
    "segvit": "segvit-atm-vit-b-ade20k-512-160k",
    "structtoken": "structtoken-pwe-vit-t-ade20k-512-160k",
    "segmenter": "cts-segmenter-mask-0-vit-t-ade20k-512",
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Name -> folder and model of the encoders that a test asks for."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name) / "encoder"
            made[name] = str(folder), save_encoder(name, folder)
        return made[name]

    return get


def feature_maps_of_transformers(name, encoder, recipe, images):
    """What transformers' own classes give at the layers of a recipe."""
    config = copy.deepcopy(encoder.config)
    taps = recipe.model["backbone_config"]["out_indices"]
    if name in ("vit", "vit_mae", "deit"):
        base = getattr(encoder, encoder.base_model_prefix)
        arguments = {"interpolate_pos_encoding": True} | ({"noise": None} if name == "vit_mae" else {})
        if name == "vit_mae":
            base.config.mask_ratio = 0.0
            # Without a mask, MAE still shuffles its patches, by their rank in this noise.
            arguments["noise"] = torch.arange(96 * 64 // 16**2).float().expand(len(images), -1)
        hidden_states = base(images, output_hidden_states=True, **arguments).hidden_states
        tokens = [hidden_states[tap] for tap in taps]
        tokens[-1] = base.layernorm(tokens[-1])
        return [rows[:, -24:].transpose(1, 2).unflatten(2, (6, 4)) for rows in tokens]
    config.out_indices = taps
    backbone = AutoBackbone.from_config(config).eval()
    weights = encoder.state_dict()
    norms = {key: value for key, value in backbone.state_dict().items() if key.startswith("hidden_states_norms.")}
    backbone.load_state_dict({key: weights[key] for key in backbone.state_dict() if key not in norms} | norms)
    return list(backbone(images).feature_maps)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_backbone_computes_what_the_pretrained_encoder_does(name, encoders):
    """At the size it was made for, and with positions interpolated as the encoder does it."""
    source, encoder = encoders(name)
    recipe = load_recipe(DECODERS["naive"], {"training.crop_size": [96, 64]}, backbone=source)
    model, _, random_names = initial_model("pretrained", recipe, LABELS)
    images = torch.randn(2, 3, 98, 70) if "dinov2" in name else torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        ours = model.eval().backbone(images).feature_maps
        theirs = feature_maps_of_transformers(name, encoder, recipe, images)
    torch.testing.assert_close(list(ours), theirs, rtol=1e-4, atol=1e-4)
    assert all("backbone." not in key or "hidden_states_norms" in key for key in random_names)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["dinov2", "dinov3_vit", "swin", "convnext"])
def test_every_decoder_learns_over_it_and_is_saved_with_it(decoder, name, encoders, tmp_path):
    source, _ = encoders(name)
    recipe = load_recipe(DECODERS[decoder], {"training.crop_size": [70, 70]}, backbone=source)
    model, image_processor, _ = initial_model("pretrained", recipe, LABELS)
    images, labels = torch.randn(2, 3, 70, 98), torch.randint(0, 3, (2, 70, 98))
    model(images, labels=labels).loss.backward()
    # All that is to be trained has a gradient: distributed training waits for it.
    assert [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None] == []
    model.eval().save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = model(images).logits
        assert logits.shape == (2, 3, 70, 98)
        assert logits.isfinite().all()
        torch.testing.assert_close(loaded(images).logits, logits, rtol=0, atol=0)
    assert image_processor.image_mean == (0.4, 0.4, 0.4)


def test_layers_are_taken_at_the_published_shares_of_the_depth(tmp_path):
    """SETR-PUP: blocks 10, 15, 20 and 24 of 24; SegViT: 8, 16 and 24, as the fourth, eighth and last of twelve."""
    ViTConfig(num_hidden_layers=12).save_pretrained(tmp_path)
    for decoder, taps in (("pup", [5, 8, 10, 12]), ("mla", [3, 6, 9, 12]), ("structtoken", [12])):
        with pytest.warns(UserWarning, match="no image processor"):
            recipe = load_recipe(DECODERS[decoder], backbone=str(tmp_path))
        assert recipe.model["backbone_config"]["out_indices"] == taps


IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
STEPS = {"do_resize": True, "do_normalize": True}
BYTES = {"do_rescale": True, "rescale_factor": 1 / 255}
SQUARE = {"height": 224, "width": 224}
# preprocessor_config.json as the encoders' repositories on the Hub have it, from transformers of several years.
PROCESSORS = {
    "dinov2": BYTES
    | IMAGENET
    | {"image_processor_type": "BitImageProcessor", "do_center_crop": True, "crop_size": SQUARE, "resample": 3}
    | {"do_convert_rgb": True, "size": {"shortest_edge": 256}},
    "dinov3_vit": BYTES
    | IMAGENET
    | {"image_processor_type": "DINOv3ViTImageProcessorFast", "do_center_crop": None, "crop_size": None}
    | {"data_format": "channels_first", "default_to_square": True, "device": None, "size": SQUARE},
    "beit": HALF
    | {"feature_extractor_type": "BeitFeatureExtractor", "do_center_crop": False, "crop_size": 224, "size": 224},
    "deit": IMAGENET
    | {"feature_extractor_type": "DeiTFeatureExtractor", "do_center_crop": True, "crop_size": 224, "size": 256},
    "vit_mae": IMAGENET | {"feature_extractor_type": "ViTFeatureExtractor", "resample": 3, "size": 224},
    "swin": IMAGENET | {"feature_extractor_type": "ViTFeatureExtractor", "resample": 3, "size": 224},
    "convnext": IMAGENET | {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "size": 224},
    "vit": HALF | {"size": 224},
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_normalised_as_the_repository_of_the_encoder_says(name, tmp_path):
    ENCODERS[name][1].save_pretrained(tmp_path)
    processor = tmp_path / "preprocessor_config.json"
    processor.write_text(json.dumps(STEPS | PROCESSORS[name]))
    recipe = load_recipe(DECODERS["pup"], backbone=str(tmp_path))
    mean, std = (PROCESSORS[name][key] for key in IMAGENET)
    assert (recipe.image_processor["image_mean"], recipe.image_processor["image_std"]) == (mean, std)
    edge = 518 if name == "dinov2" else 512
    assert recipe.image_processor["size"]["shortest_edge"] == edge
    # The same of bytes that are not scaled, and of one number for all channels.
    processor.write_text(json.dumps(STEPS | PROCESSORS[name] | {"do_rescale": False, "image_mean": 51}))
    recipe = load_recipe(DECODERS["pup"], backbone=str(tmp_path))
    assert recipe.image_processor["image_mean"] == [0.2] * 3


def test_what_the_user_says_of_the_backbone_counts(encoders):
    changes = {"model.backbone_config.out_indices": [1, 2, 3, 4], "image_processor.image_mean": [0.1, 0.2, 0.3]}
    recipe = load_recipe(DECODERS["mla"], changes, backbone=encoders("dinov3_vit")[0])
    assert recipe.build_config(LABELS).backbone_config.out_indices == [1, 2, 3, 4]
    assert recipe.build_image_processor().image_mean == (0.1, 0.2, 0.3)


def test_sizes_follow_the_patches(encoders):
    """Of 14 pixels, 37 make the 518 that are nearest to 512."""
    recipe = load_recipe(DECODERS["pup"], backbone=encoders("dinov2")[0])
    assert recipe.training.crop_size == recipe.evaluation.window_size == (518, 518)
    assert recipe.image_processor["size"] == {"shortest_edge": 518, "longest_edge": 2044}
    # That of the images which its position embedding was trained with stays, whatever the crops are.
    again = load_recipe(DECODERS["pup"], {"training.crop_size": [70, 70]}, backbone=encoders("dinov2")[0])
    assert again.model["backbone_config"]["image_size"] == 70
    third = load_recipe(DECODERS["pup"], {"training.crop_size": [140, 140]}, backbone=encoders("dinov2")[0])
    assert third.model["backbone_config"]["image_size"] == 70


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_maps_of_a_pyramid_are_brought_to_one_stride(name, encoders):
    recipe = load_recipe(DECODERS["mla"], {"training.crop_size": [64, 64]}, backbone=encoders(name)[0])
    model, _, _ = initial_model("pretrained", recipe, LABELS)
    with torch.no_grad():
        features = model.eval().run_backbone(torch.randn(1, 3, 70, 96))  # padded to 96 x 96
    assert [tuple(feature_map.shape[-2:]) for feature_map in features.feature_maps] == [(6, 6)] * 4


def test_what_cannot_be_is_refused(encoders, tmp_path):
    with pytest.raises(ValueError, match="no model of transformers"):
        load_recipe(DECODERS["pup"], backbone=str(tmp_path / "nothing"))
    config = SiglipVisionConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    SiglipVisionModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"siglip_vision_model, which transformers has no backbone of.*DINOv2"):
        load_recipe(DECODERS["pup"], backbone=str(tmp_path))
    with pytest.raises(ValueError, match="encoder of its own"):
        load_recipe("sctnet-s-ade20k-512-160k", backbone=encoders("vit")[0])
    with pytest.raises(ValueError, match="token_sharing"):
        load_recipe("cts-segmenter-mask-30-vit-s-ade20k-512", backbone=encoders("vit")[0])
    recipe = load_recipe(DECODERS["pup"], {"model.backbone_config.depth": 3}, backbone=encoders("swin")[0])
    with pytest.raises(ValueError, match=r"SwinConfig argument 'depth'. Did you mean 'depths'"):
        recipe.build_config(LABELS)


def test_encoders_that_cannot_be_are_refused_before_training(tmp_path):
    Dinov2Config(num_channels=4).save_pretrained(tmp_path / "multispectral")
    with pytest.raises(ValueError, match=r"multispectral takes images of 4 channels, but data sets hold RGB"):
        load_recipe(DECODERS["pup"], backbone=str(tmp_path / "multispectral"))
    SetrConfig().save_pretrained(tmp_path / "setr")
    with pytest.raises(ValueError, match=r"setr, which has a decoder of its own: go on from it with --init"):
        load_recipe(DECODERS["pup"], backbone=str(tmp_path / "setr"))
    TimmBackboneConfig(backbone="resnet18").save_pretrained(tmp_path / "timm")
    with pytest.raises(ValueError, match=r"timm is a model of timm in a wrapper.*Take an encoder of transformers"):
        load_recipe(DECODERS["pup"], backbone=str(tmp_path / "timm"))
    sizes = {"image_size": [64, 64], "masked_unit_size": [8, 8], "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
    HieraModel(HieraConfig(embed_dim=8, **sizes)).save_pretrained(tmp_path / "hiera")
    BitImageProcessor().save_pretrained(tmp_path / "hiera")
    with pytest.raises(ValueError, match=r"HieraBackbone .* images of one size alone.*Choose another encoder"):
        initial_model("pretrained", load_recipe(DECODERS["pup"], backbone=str(tmp_path / "hiera")), LABELS)


def test_a_slash_at_the_end_of_a_folder_makes_no_other_run(encoders):
    folder = encoders("vit")[0]
    assert load_recipe(DECODERS["pup"], backbone=f"{folder}/") == load_recipe(DECODERS["pup"], backbone=folder)


def test_weights_of_another_encoder_are_refused(encoders):
    """Such as a recipe's file that was edited to another size."""
    recipe = load_recipe(DECODERS["pup"], {"model.backbone_config.hidden_size": 64}, backbone=encoders("dinov2")[0])
    with pytest.raises(ValueError, match=r"do not fit a Dinov2Backbone: .* has the shape .*32.*, expected .*64"):
        initial_model("pretrained", recipe, LABELS)
