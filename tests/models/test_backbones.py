# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The plain ViT backbone, and decoders over the backbones of transformers in its place."""

import itertools

import pytest
import torch
from citizenship import label_maps
from torch import nn
from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoModelForSemanticSegmentation,
    BeitConfig,
    BertConfig,
    ConvNextConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    DPTConfig,
    DPTForDepthEstimation,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
    VitDetConfig,
)

from vitseg import (
    CtsSegmenterConfig,
    CtsSegmenterForSemanticSegmentation,
    HlgConfig,
    PlainVitBackbone,
    PlainVitConfig,
    SctNetConfig,
    SegVitConfig,
    SegVitForSemanticSegmentation,
    SetrConfig,
    SetrForSemanticSegmentation,
    StructTokenConfig,
    StructTokenForSemanticSegmentation,
)


SIZES = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "out_indices": [1, 2, 3, 4]}
BACKBONE_CONFIGS = {
    "plain_vit_16": PlainVitConfig(**SIZES, intermediate_size=96, image_size=64),
    "plain_vit_8": PlainVitConfig(**SIZES, intermediate_size=96, image_size=[48, 64], patch_size=8),
    "dinov2_14": Dinov2Config(**SIZES, mlp_ratio=2, image_size=56, patch_size=14),
    "dinov2_with_registers_14": Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, image_size=56, patch_size=14),
    "dinov3_16": DINOv3ViTConfig(**SIZES, intermediate_size=96, image_size=64, num_register_tokens=2),
    "beit_8": BeitConfig(**SIZES, intermediate_size=96, image_size=64, patch_size=8),
    "vitdet_8": VitDetConfig(**SIZES, mlp_ratio=2, image_size=64, patch_size=8),
}


def setr(backbone_config: PreTrainedConfig, decoder_type: str = "naive", **kwargs) -> SetrForSemanticSegmentation:
    torch.manual_seed(0)
    config = SetrConfig(
        backbone_config=backbone_config,
        decoder_type=decoder_type,
        decoder_hidden_size=16,
        mla_branch_size=8,
        num_labels=5,
        **kwargs,
    )
    return SetrForSemanticSegmentation(config)


def segvit(backbone_config: PreTrainedConfig, decoder_type: str, **kwargs) -> SegVitForSemanticSegmentation:
    torch.manual_seed(0)
    config = SegVitConfig(
        backbone_config=backbone_config,
        decoder_type=decoder_type,
        decoder_hidden_size=16,
        decoder_num_layers=1,
        decoder_num_attention_heads=2,
        decoder_dropout=0.0,
        query_stride=getattr(backbone_config, "patch_size", 16),
        num_labels=5,
        **kwargs,
    )
    return SegVitForSemanticSegmentation(config)


def plain_vit(**kwargs) -> PlainVitBackbone:
    """A small plain ViT whose position embedding, class token and patches are of one magnitude."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    model = PlainVitBackbone(PlainVitConfig(**{**sizes, "image_size": 64, **kwargs})).eval()
    nn.init.normal_(model.embeddings.position_embeddings)
    return model


def images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# Decoders over backbones.


DECODERS = [
    *((setr, decoder_type) for decoder_type in ("naive", "pup", "mla")),
    *((segvit, decoder_type) for decoder_type in ("atm", "single_atm", "tpn_atm")),
]


@pytest.mark.parametrize(("build", "decoder_type"), DECODERS)
@pytest.mark.parametrize("name", BACKBONE_CONFIGS)
def test_trains_saves_and_loads(name, build, decoder_type, tmp_path):
    model = build(BACKBONE_CONFIGS[name], decoder_type).train()
    pixel_values = images(2, 3, 56, 56)
    labels = torch.randint(0, 5, (2, 56, 56), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = model(pixel_values, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)

    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    assert type(loaded.config.backbone_config) is type(model.config.backbone_config)
    assert type(loaded.backbone) is type(model.backbone)
    # Larger than a window in one direction.
    pixel_values = images(2, 3, 56, 112)
    with torch.no_grad():
        logits = model(pixel_values).logits
        assert torch.equal(loaded(pixel_values).logits, logits)
    assert logits.shape == (2, 5, 56, 112)


@pytest.mark.parametrize("name", BACKBONE_CONFIGS)
def test_windows_are_as_large_as_the_backbone_was_made_for(name):
    config = SetrConfig(backbone_config=BACKBONE_CONFIGS[name])
    assert config.window_size == BACKBONE_CONFIGS[name].image_size


@pytest.mark.parametrize("name", ["plain_vit_16", "dinov2_14", "dinov3_16"])
def test_hidden_states_and_attentions_of_the_backbone(name):
    model = setr(BACKBONE_CONFIGS[name]).eval()
    model.set_attn_implementation("eager")
    size = model.config.window_size
    with torch.no_grad():
        outputs = model(images(1, 3, size, size), output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 5
    assert len(outputs.attentions) == 4
    tokens = outputs.hidden_states[0].shape[1]
    assert {attention.shape for attention in outputs.attentions} == {(1, 3, tokens, tokens)}


@pytest.mark.parametrize("name", BACKBONE_CONFIGS)
def test_sizes_that_are_no_multiple_of_the_patch(name):
    model = setr(BACKBONE_CONFIGS[name]).eval()
    patch = model.config.backbone_config.patch_size
    for size in ((45, 33), (5, 56), (1, 1)):
        pixel_values = images(1, 3, *size)
        padded = nn.functional.pad(pixel_values, (0, -size[1] % patch, 0, -size[0] % patch))
        with torch.no_grad():
            logits = model(pixel_values).logits
            features = model.backbone(padded).feature_maps[-1]
            # Over the plain ViT as the original does; over other backbones the padding is cut off.
            enlarged = size if name.startswith("plain_vit") else padded.shape[-2:]
            expected = nn.functional.interpolate(model.decode_head(features), size=enlarged, mode="bilinear")
            expected = expected[..., : size[0], : size[1]]
        assert logits.shape == (1, 5, *size)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_backbone_without_an_image_size_needs_a_window_size():
    backbone_config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 4]
    )
    with pytest.raises(ValueError, match="window_size"):
        SetrConfig(backbone_config=backbone_config)
    model = setr(backbone_config, window_size=64).eval()
    with torch.no_grad():
        assert model(images(1, 3, 64, 96)).logits.shape == (1, 5, 64, 96)


STAGES = {"depths": [1, 1, 1, 1], "out_indices": [1, 2, 3, 4]}
HIERARCHIES = {
    "swin": SwinConfig(**STAGES, image_size=64, embed_dim=16, num_heads=[1, 1, 2, 2], window_size=4),
    "convnext": ConvNextConfig(**STAGES, hidden_sizes=[8, 8, 16, 16], image_size=64),
    "resnet": ResNetConfig(**STAGES, embedding_size=8, hidden_sizes=[8, 8, 16, 16], layer_type="basic"),
    "hlg": HlgConfig(**STAGES, hidden_sizes=[16, 16, 32, 32], num_attention_heads=[1, 1, 2, 2]),
    "sctnet": SctNetConfig(base_channels=8, context_channels=8, out_indices=[1, 2, 3, 4]),
    "plain_vit_shrunk": PlainVitConfig(**SIZES, intermediate_size=96, image_size=64, shrink_layer=3),
}


def structtoken(backbone_config: PreTrainedConfig, decoder_type: str, **kwargs) -> PreTrainedModel:
    settings = {"extraction": decoder_type, "decoder_hidden_size": 8, "decoder_num_layers": 1, **kwargs}
    return StructTokenForSemanticSegmentation(
        StructTokenConfig(backbone_config=backbone_config, num_labels=5, **settings)
    )


def cts_segmenter(backbone_config: PreTrainedConfig, decoder_type: str, **kwargs) -> PreTrainedModel:
    settings = {"decoder_type": decoder_type, "decoder_hidden_size": 16, "decoder_num_layers": 1, **kwargs}
    return CtsSegmenterForSemanticSegmentation(
        CtsSegmenterConfig(backbone_config=backbone_config, num_labels=5, enlarge_small_images=False, **settings)
    )


EACH_METHOD = [(setr, "pup"), (setr, "mla"), (segvit, "atm"), (structtoken, "sse"), (cts_segmenter, "linear")]


@pytest.mark.parametrize(("build", "decoder_type"), EACH_METHOD)
@pytest.mark.parametrize("name", HIERARCHIES)
def test_over_feature_maps_of_several_strides(name, build, decoder_type, tmp_path):
    """Logits of the image's size, or a refusal before there is a model."""
    if decoder_type == "mla":
        with pytest.raises(ValueError, match=r"takes feature maps of one size.*strides of \[.*set feature_stride, or"):
            build(HIERARCHIES[name], decoder_type, window_size=64)
    settings = {"feature_stride": 16} if decoder_type == "mla" else {}
    model = build(HIERARCHIES[name], decoder_type, window_size=64, **settings).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    for size in ((40, 60), (1, 33), (70, 64)):
        with torch.no_grad():
            logits = model(images(2, 3, *size)).logits
            assert logits.shape == (2, 5, *size)
            assert logits.isfinite().all()
            assert torch.equal(loaded(images(2, 3, *size)).logits, logits)


@pytest.mark.parametrize(("build", "decoder_type"), EACH_METHOD)
@pytest.mark.parametrize("name", ["swin", "convnext", "sctnet"])
def test_padding_is_no_part_of_the_answer(name, build, decoder_type):
    """An image of any size is answered as if it had been padded by hand, whose padding the losses ignore."""
    settings = {"feature_stride": 16} if decoder_type == "mla" else {}
    model = build(HIERARCHIES[name], decoder_type, window_size=64, **settings).eval()
    pixel_values, labels = images(2, 3, 40, 60), label_maps(2, 40, 60)
    padding = (0, 64 - 60, 0, 64 - 40)
    padded = nn.functional.pad(pixel_values, padding), nn.functional.pad(labels, padding, value=255)
    with torch.no_grad():
        outputs = model(pixel_values, labels=labels)
        expected = model(*padded, num_items_in_batch=model.count_items(labels))
    assert torch.equal(outputs.logits, expected.logits[..., :40, :60])
    assert outputs.loss_dict == expected.loss_dict


def test_strides_of_feature_maps():
    strides = {name: setr(config, window_size=64).strides for name, config in HIERARCHIES.items()}
    assert strides.pop("plain_vit_shrunk") == [16, 16, 32, 32]
    assert all(measured == [4, 8, 16, 32] for measured in strides.values()), strides
    for name, config in BACKBONE_CONFIGS.items():
        assert setr(config).strides == [config.patch_size] * 4, name


def test_logits_of_a_position_cover_its_pixels():
    """Padding is cut off, not squeezed into the image."""
    model = cts_segmenter(HIERARCHIES["swin"], "linear", window_size=64).eval()
    scores = torch.rand(1, 5, 2, 2)
    expected = nn.functional.interpolate(scores, size=(64, 64), mode="bilinear")[..., :40, :60]
    assert torch.equal(model.upsample(scores, torch.Size((40, 60))), expected)


def test_depth_estimation_takes_the_tokens_of_a_plain_vit():
    backbone_config = PlainVitConfig(**SIZES, intermediate_size=96, image_size=64, reshape_hidden_states=False)
    torch.manual_seed(0)
    config = DPTConfig(
        backbone_config=backbone_config,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        reassemble_factors=[4, 2, 1, 0.5],
    )
    model = DPTForDepthEstimation(config).eval()
    with torch.no_grad():
        assert model(images(1, 3, 64, 96)).predicted_depth.shape == (1, 64, 96)
        tokens = model.backbone(images(1, 3, 64, 96)).feature_maps
        backbone_config.reshape_hidden_states = True
        maps = model.backbone(images(1, 3, 64, 96)).feature_maps
    for token, feature_map in zip(tokens, maps, strict=True):
        assert token.shape == (1, 1 + 4 * 6, 48)
        assert torch.equal(token[:, 1:].transpose(1, 2).unflatten(2, (4, 6)), feature_map)
    backbone_config.reshape_hidden_states = False
    with pytest.raises(ValueError, match="reshape_hidden_states=False"):
        SetrConfig(backbone_config=backbone_config)


@pytest.mark.parametrize("config_class", [ViTConfig, BertConfig])
def test_models_that_are_no_backbones_are_refused(config_class):
    with pytest.raises(ValueError, match=f"{config_class.__name__}.*backbone"):
        SetrConfig(backbone_config=config_class())


def test_a_backbone_given_as_a_dictionary():
    for name in ("plain_vit_8", "dinov2_14"):
        config = SetrConfig(backbone_config=BACKBONE_CONFIGS[name].to_dict())
        assert type(config.backbone_config) is type(BACKBONE_CONFIGS[name])
        assert config.backbone_config.patch_size == BACKBONE_CONFIGS[name].patch_size
        assert config.backbone_config.out_indices == [1, 2, 3, 4]


# The plain ViT.


@pytest.mark.parametrize("patch_size", [8, 14, 16])
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (17, 40), (15, 100)])
def test_feature_maps_have_one_position_for_each_begun_patch(patch_size, size):
    model = plain_vit(patch_size=patch_size, out_indices=[0, 1, 2])
    with torch.no_grad():
        feature_maps = model(images(2, 3, *size)).feature_maps
    rows, columns = (-(-side // patch_size) for side in size)
    assert [feature_map.shape for feature_map in feature_maps] == [(2, 48, rows, columns)] * 3
    assert model.channels == [48] * 3


@pytest.mark.parametrize("use_class_token", [True, False])
def test_feature_maps_are_the_hidden_states_after_the_chosen_blocks(use_class_token):
    model = plain_vit(use_class_token=use_class_token, num_hidden_layers=3, out_features=["stem", "stage1", "stage3"])
    with torch.no_grad():
        outputs = model(images(2, 3, 48, 80), output_hidden_states=True)
    assert len(outputs.hidden_states) == 4
    assert outputs.hidden_states[0].shape == (2, 15 + use_class_token, 48)
    for index, feature_map in zip([0, 1, 3], outputs.feature_maps, strict=True):
        patches = outputs.hidden_states[index][:, int(use_class_token) :]
        assert torch.equal(feature_map, patches.reshape(2, 3, 5, 48).permute(0, 3, 1, 2))


def test_incomplete_patches_are_filled_with_zeros():
    model, pixel_values = plain_vit(), images(1, 3, 50, 33)
    with torch.no_grad():
        (feature_map,) = model(pixel_values).feature_maps
        (expected,) = model(nn.functional.pad(pixel_values, (0, 15, 0, 14))).feature_maps
    assert torch.equal(feature_map, expected)


def embedded(model: PlainVitBackbone, pixel_values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The embedded patches by hand, `positions` being `(1, hidden, rows, columns)`."""
    convolution = model.embeddings.patch_embeddings
    patch_size = model.config.patch_size
    patches = nn.functional.conv2d(pixel_values, convolution.weight, convolution.bias, stride=patch_size)
    return patches + positions


def stored_positions(model: PlainVitBackbone, rows: int, columns: int) -> torch.Tensor:
    positions = model.embeddings.position_embeddings[:, int(model.config.use_class_token) :]
    return positions.transpose(1, 2).reshape(1, -1, rows, columns)


@pytest.mark.parametrize("use_class_token", [True, False])
@pytest.mark.parametrize("interpolate_by_token_count", [True, False])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 64), (32, 128), (128, 32), (64, 96), (16, 16), (112, 80)])
def test_positions_of_other_grids(size, mode, interpolate_by_token_count, use_class_token):
    model = plain_vit(
        out_indices=[0],
        interpolate_by_token_count=interpolate_by_token_count,
        interpolation_mode=mode,
        use_class_token=use_class_token,
    )
    rows, columns = size[0] // 16, size[1] // 16
    if interpolate_by_token_count and rows * columns == 16:
        positions = stored_positions(model, rows, columns)
    else:
        positions = nn.functional.interpolate(
            stored_positions(model, 4, 4), size=(rows, columns), mode=mode, align_corners=False
        )
    pixel_values = images(1, 3, *size)
    with torch.no_grad():
        (stem,) = model(pixel_values).feature_maps
        expected = embedded(model, pixel_values, positions)
    torch.testing.assert_close(stem, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("image_size", [(48, 72), [48, 72], (44, 66)])
def test_positions_of_an_oblong_image_size(image_size):
    model = plain_vit(patch_size=8, image_size=image_size, out_indices=[0])
    assert model.embeddings.position_embeddings.shape == (1, 6 * 9 + 1, 48)
    pixel_values = images(2, 3, 48, 72)
    with torch.no_grad():
        (stem,) = model(pixel_values).feature_maps
        expected = embedded(model, pixel_values, stored_positions(model, 6, 9))
    torch.testing.assert_close(stem, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("argument", ["hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate"])
def test_dropout_and_stochastic_depth_take_part_in_training_only(argument):
    model, reference, pixel_values = plain_vit(**{argument: 0.5}), plain_vit(), images(4, 3, 64, 64)
    # Attention dropout is drawn inside scaled_dot_product_attention.
    with torch.no_grad():
        (expected,) = reference(pixel_values).feature_maps
        assert torch.equal(model(pixel_values).feature_maps[0], expected)
        model.train()
        first, second = (model(pixel_values).feature_maps[0] for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)
    assert not torch.allclose(first, expected, atol=1e-3)


def test_stochastic_depth_drops_whole_samples_and_grows_with_depth():
    # Rates 0, 0.25 and 0.5 for two residual branches each.
    model = plain_vit(num_hidden_layers=3, drop_path_rate=0.5).train()
    with torch.no_grad():
        hidden_states = model(images(400, 3, 16, 16), output_hidden_states=True).hidden_states
    unchanged = [
        (after == before).all(dim=2).all(dim=1).float().mean().item()
        for before, after in itertools.pairwise(hidden_states)
    ]
    assert unchanged[0] == 0
    assert unchanged[1] == pytest.approx(0.25**2, abs=0.04)
    assert unchanged[2] == pytest.approx(0.5**2, abs=0.08)


def test_stochastic_depth_of_the_mlp_alone():
    model = plain_vit(num_hidden_layers=2, drop_path_rate=0.5, drop_path_on_attention=False).train()
    nn.init.zeros_(model.layers[1].attention.o_proj.weight)
    with torch.no_grad():
        hidden_states = model(images(400, 3, 16, 16), output_hidden_states=True).hidden_states
    unchanged = (hidden_states[2] == hidden_states[1]).all(dim=2).all(dim=1).float().mean().item()
    assert unchanged == pytest.approx(0.5, abs=0.08)
    # The attention of no sample is dropped.
    nn.init.eye_(model.layers[1].attention.o_proj.weight)
    nn.init.zeros_(model.layers[1].mlp.fc2.weight)
    with torch.no_grad():
        hidden_states = model(images(50, 3, 16, 16), output_hidden_states=True).hidden_states
    assert not (hidden_states[2] == hidden_states[1]).all(dim=2).all(dim=1).any()


@pytest.mark.parametrize("use_class_token", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (16, 100), (1, 1)])
def test_a_layer_that_shrinks_goes_on_with_every_second_row_and_column(size, use_class_token):
    sizes = {"num_hidden_layers": 3, "out_indices": [1, 2, 3], "use_class_token": use_class_token}
    model, plain = plain_vit(**sizes, shrink_layer=2), plain_vit(**sizes)
    rows, columns = (-(-side // 16) for side in size)
    pixel_values = images(2, 3, *size)
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True)
        expected = plain(pixel_values).feature_maps
    before, shrunk, after = outputs.feature_maps
    assert torch.equal(before, expected[0])
    # A token that goes on has attended to all of them.
    torch.testing.assert_close(shrunk, expected[1][:, :, ::2, ::2], rtol=1e-5, atol=1e-5)
    assert after.shape == (2, 48, -(-rows // 2), -(-columns // 2))
    if rows > 1:
        assert not torch.allclose(after, expected[2][:, :, ::2, ::2], rtol=1e-3, atol=1e-4)
    num_tokens = after.shape[2] * after.shape[3] + use_class_token
    assert [states.shape[1] for states in outputs.hidden_states[2:]] == [num_tokens] * 2


def test_kept_branches_make_up_for_the_dropped_ones():
    torch.manual_seed(0)
    model = plain_vit(num_hidden_layers=2, drop_path_rate=0.5)
    # Only the attention branch of the last block is left.
    nn.init.zeros_(model.layers[1].mlp.fc2.weight)
    pixel_values = images(1, 3, 32, 32).expand(64, -1, -1, -1)
    with torch.no_grad():
        whole = model(pixel_values, output_hidden_states=True).hidden_states
        branch = whole[2] - whole[1]
        dropped = model.train()(pixel_values, output_hidden_states=True).hidden_states
    kept = ((dropped[2] - dropped[1]) * branch).sum(dim=(1, 2)) / branch.square().sum(dim=(1, 2))
    assert set(kept.round(decimals=3).tolist()) == {0.0, 2.0}


def test_save_and_load_the_backbone_alone(tmp_path):
    model, pixel_values = plain_vit(out_indices=[1, 2]), images(1, 3, 40, 64)
    model.save_pretrained(tmp_path)
    loaded = PlainVitBackbone.from_pretrained(tmp_path)
    assert isinstance(AutoBackbone.from_config(AutoConfig.from_pretrained(tmp_path)), PlainVitBackbone)
    assert loaded.out_features == ["stage1", "stage2"]
    with torch.no_grad():
        pairs = zip(loaded(pixel_values).feature_maps, model(pixel_values).feature_maps, strict=True)
    assert all(torch.equal(actual, expected) for actual, expected in pairs)


def test_images_that_are_not_images_are_refused():
    for shape in ((1, 4, 64, 64), (3, 64, 64)):
        with pytest.raises(ValueError, match=r"expected \(batch, 3, height, width\)"):
            plain_vit()(images(*shape))
