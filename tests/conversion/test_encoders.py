# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights give an encoder the features that timm and the originals compute from them."""

import pytest
import timm
import torch
from golden_cases import load_case

from vitseg import PlainVitBackbone, PlainVitConfig, SctNetBackbone, SctNetConfig
from vitseg.conversion.encoders import fill_encoder, load_encoder_weights


def backbone(**kwargs) -> PlainVitBackbone:
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 192}
    return PlainVitBackbone(PlainVitConfig(**{**sizes, **kwargs})).eval()


@pytest.mark.parametrize("name", ["tiny_pretrained_vit", "tiny_pretrained_deit"])
def test_loads_as_the_original(name):
    case = load_case("setr", name)
    model = backbone(image_size=case.config["backbone"]["img_size"])
    fill_encoder(model, case.state_dict())
    case.assert_matches("pos_embed", model.embeddings.position_embeddings)
    with torch.no_grad():
        outputs = model(case.pixel_values(), output_hidden_states=True)
    case.assert_matches("last_block", outputs.hidden_states[-1])


@pytest.mark.parametrize("name", ["tiny_pretrain_timm", "tiny_pretrain_jax"])
def test_loads_as_structtoken(name):
    """Positions are resized bicubically, from timm's names and from those of JAX files."""
    case = load_case("structtoken", name)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    model = backbone(**sizes, image_size=96, interpolation_mode="bicubic")
    fill_encoder(model, case.state_dict())
    case.assert_matches("pos_embed", model.embeddings.position_embeddings)
    attention = model.layers[0].attention
    weight = torch.cat([projection.weight for projection in (attention.q_proj, attention.k_proj, attention.v_proj)])
    case.assert_matches("in_proj_weight", weight)
    with torch.no_grad():
        case.assert_matches("backbone_out", model(case.pixel_values()).feature_maps[-1])


def test_the_final_norm_is_loaded_where_there_is_one():
    case = load_case("structtoken", "tiny_pretrain_jax")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    model = backbone(**sizes, image_size=96, use_final_norm=True)
    fill_encoder(model, case.state_dict())
    assert torch.equal(model.layernorm.weight, case.state_dict()["Transformer/encoder_norm/scale"])


@pytest.mark.parametrize("timm_name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_features_equal_timm(timm_name):
    torch.manual_seed(0)
    reference = timm.create_model(timm_name, depth=3, num_classes=7).eval()
    # timm initialises these to nearly zero.
    for parameter in (reference.cls_token, reference.pos_embed):
        torch.nn.init.normal_(parameter)
    model = backbone(hidden_size=192, intermediate_size=768, image_size=224, out_indices=[1, 2, 3])
    state_dict = reference.state_dict()
    fill_encoder(model, state_dict)
    if "distilled" in timm_name:
        # A backbone has no distillation token, so timm must not attend to it either.
        state_dict["pos_embed"] = state_dict["pos_embed"][:, [0, *range(2, 198)]]
        reference = timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=7).eval()
        reference.load_state_dict(
            {
                name: tensor
                for name, tensor in state_dict.items()
                if name not in ("dist_token",) and "head_dist" not in name
            }
        )
    pixel_values = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = reference.forward_intermediates(
            pixel_values, indices=[0, 1, 2], intermediates_only=True, norm=False
        )
        actual = model(pixel_values).feature_maps
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_without_class_token_its_rows_are_left_out():
    case = load_case("setr", "tiny_pretrained_vit")
    with_token = backbone(image_size=80)
    without_token = backbone(image_size=80, use_class_token=False)
    fill_encoder(with_token, case.state_dict())
    fill_encoder(without_token, case.state_dict())
    positions = with_token.embeddings.position_embeddings[:, 1:]
    assert torch.equal(without_token.embeddings.position_embeddings, positions)


def test_weights_of_another_model_are_refused_by_name():
    state_dict = load_case("setr", "tiny_pretrained_vit").state_dict()
    state_dict["blocks.2.extra.weight"] = state_dict.pop("blocks.1.norm1.bias")
    with pytest.raises(
        ValueError,
        match=r"(?s)not known .*:\s+blocks\.2\.extra\.weight .*missing .*:\s+layers\.1\.layernorm_before\.bias",
    ):
        fill_encoder(backbone(image_size=80), state_dict)
    with pytest.raises(ValueError, match=r"\(48, 3, 16, 16\), expected \(96, 3, 16, 16\)"):
        fill_encoder(backbone(hidden_size=96), load_case("setr", "tiny_pretrained_vit").state_dict())


def test_jax_weights_of_another_model_are_refused_by_name():
    state_dict = load_case("structtoken", "tiny_pretrain_jax").state_dict()
    state_dict["Transformer/encoderblock_1/Extra_1/scale"] = state_dict.pop(
        "Transformer/encoderblock_1/LayerNorm_0/scale"
    )
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    with pytest.raises(
        ValueError, match=r"(?s)Transformer/encoderblock_1/Extra_1/scale .*layers\.1\.layernorm_before\.weight"
    ):
        fill_encoder(backbone(**sizes, image_size=96), state_dict)


def test_weights_that_cannot_be_rearranged_are_named():
    """Their shapes allow neither resizing nor the change of layout."""
    state_dict = load_case("structtoken", "tiny_pretrain_jax").state_dict()
    state_dict["embedding/kernel"] = torch.zeros(16, 16, 32)
    state_dict["Transformer/posembed_input/pos_embedding"] = torch.zeros(1, 37)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    with pytest.raises(
        ValueError, match=r"(?s)patch_embeddings\.weight \(16, 16, 32\).*position_embeddings \(1, 37\)"
    ):
        fill_encoder(backbone(**sizes, image_size=96), state_dict)


# SCTNet.


SCTNET = SctNetConfig(
    base_channels=8, context_channels=16, out_features=["stem", "stage1", "stage2", "stage3", "stage4"]
)
SCTNET_NAMES = ("stem", "layer1", "layer2", "layer3_2", "layer5")


@pytest.mark.parametrize("form", ["bare", "state_dict", "with a classifier", "a whole model"])
def test_a_backbone_of_the_authors_of_sctnet(form, tmp_path):
    """Its names have no `backbone.` before them."""
    case = load_case("sctnet", "tiny_square")
    weights = case.state_dict()
    if form != "a whole model":
        weights = {
            name.removeprefix("backbone."): tensor for name, tensor in weights.items() if name.startswith("backbone.")
        }
    if form == "with a classifier":
        weights |= {"head.weight": torch.zeros(1000, 64)}
    file = tmp_path / "SCT-S_Pretrain.pth"
    torch.save({"state_dict": weights} if form == "state_dict" else weights, file)
    backbone = SctNetBackbone(SCTNET).eval()
    load_encoder_weights(backbone, file)
    with torch.no_grad():
        feature_maps = backbone(case.pixel_values()).feature_maps
    for name, feature_map in zip(SCTNET_NAMES, feature_maps, strict=True):
        case.assert_matches(name, feature_map)


def test_a_backbone_of_sctnet_of_another_width_is_refused(tmp_path):
    file = tmp_path / "SCT-B_Pretrain.pth"
    torch.save({"conv1.0.weight": torch.zeros(16, 3, 3, 3)}, file)
    with pytest.raises(
        ValueError, match=r"(?s)does not fit the SctNetBackbone.*stem\.0\.conv\.weight \(16, 3, 3, 3\), expected"
    ):
        load_encoder_weights(SctNetBackbone(SCTNET), file)
