# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
SegViT on images that are not square, against a plain reference.

The original refuses most such images, or scrambles their masks. The reference is its own formulas, written here once
more without classes, batches or fused attention, where tokens keep the grid of the image.
"""

import pytest
import torch
from citizenship import images, logits_of
from torch import nn
from torch.nn.functional import interpolate, layer_norm, linear, pad

from vitseg import PlainVitConfig, SegVitConfig, SegVitForSemanticSegmentation


NUM_LABELS = 5
NUM_HEADS = {"backbone.": 3, "decode_head.": 2}


def model_of(variant: str, **kwargs) -> SegVitForSemanticSegmentation:
    """A model whose masks differ from place to place."""
    torch.manual_seed(0)
    shrunk = variant == "tpn_atm"
    backbone_config = PlainVitConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=NUM_HEADS["backbone."],
        intermediate_size=96,
        initializer_range=0.2,
        image_size=64,
        use_class_token=False,
        interpolation_mode="bicubic",
        shrink_layer=2 if shrunk else None,
        out_indices=[1, 3] if shrunk else [2, 3],
    )
    config = SegVitConfig(
        backbone_config=backbone_config,
        decoder_type=variant,
        decoder_hidden_size=32,
        decoder_num_layers=2,
        decoder_num_attention_heads=NUM_HEADS["decode_head."],
        num_labels=NUM_LABELS,
        inference_mode="whole",
        **kwargs,
    )
    model = SegVitForSemanticSegmentation(config).eval()
    for module in model.decode_head.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    if shrunk:
        nn.init.normal_(model.decode_head.upsampler.queries)
    return model


class Reference:
    """SegViT for one image, from the weights of a model."""

    def __init__(self, model: SegVitForSemanticSegmentation, query_grid: tuple[int, int] | None = (4, 4)):
        self.weights = model.state_dict()
        self.query_grid = query_grid
        self.variant = model.config.decoder_type

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        eps = 1e-6 if name.startswith("backbone.") else 1e-5
        return layer_norm(x, x.shape[-1:], self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps)

    def attention(self, name: str, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From tokens x to tokens y, and the scores before the softmax, averaged over heads."""
        num_heads = NUM_HEADS["backbone." if name.startswith("backbone.") else "decode_head."]
        q, k, v = (self.linear(f"{name}.{part}_proj", z) for part, z in (("q", x), ("k", y), ("v", y)))
        outputs, all_scores = [], []
        for query, key, value in zip(*(z.chunk(num_heads, dim=-1) for z in (q, k, v)), strict=True):
            scores = query @ key.T / query.shape[-1] ** 0.5
            outputs.append(scores.softmax(dim=-1) @ value)
            all_scores.append(scores)
        return self.linear(f"{name}.o_proj", torch.cat(outputs, dim=-1)), torch.stack(all_scores).mean(dim=0)

    def features(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        """Feature maps `(rows, columns, channels)` after each block, counted from 1."""
        image = pad(image, (0, -image.shape[-1] % 16, 0, -image.shape[-2] % 16))
        rows, columns = image.shape[-2] // 16, image.shape[-1] // 16
        patches = image.reshape(3, rows, 16, columns, 16).permute(1, 3, 0, 2, 4).reshape(rows * columns, -1)
        name = "backbone.embeddings.patch_embeddings"
        x = linear(patches, self.weights[f"{name}.weight"].flatten(1), self.weights[f"{name}.bias"])
        positions = self.weights["backbone.embeddings.position_embeddings"][0].T.reshape(1, -1, 4, 4)
        positions = interpolate(positions, size=(rows, columns), mode="bicubic", align_corners=False)
        x = x + positions[0].flatten(1).T
        features = {}
        for block in (1, 2, 3):
            layer = f"backbone.layers.{block - 1}"
            queries = x
            if self.variant == "tpn_atm" and block == 2:
                kept = [row * columns + column for row in range(0, rows, 2) for column in range(0, columns, 2)]
                queries, rows, columns = x[kept], (rows + 1) // 2, (columns + 1) // 2
            name = f"{layer}.layernorm_before"
            x = queries + self.attention(f"{layer}.attention", self.norm(name, queries), self.norm(name, x))[0]
            hidden = nn.functional.gelu(self.linear(f"{layer}.mlp.fc1", self.norm(f"{layer}.layernorm_after", x)))
            x = x + self.linear(f"{layer}.mlp.fc2", hidden)
            features[block] = x.reshape(rows, columns, -1)
        return features

    def decoder_layer(self, name: str, q: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q = self.norm(f"{name}.self_attention_layernorm", q + self.attention(f"{name}.self_attention", q, q)[0])
        attended, scores = self.attention(f"{name}.cross_attention", q, tokens)
        q = self.norm(f"{name}.cross_attention_layernorm", q + attended)
        hidden = self.linear(f"{name}.mlp.fc1", q).clamp(min=0)
        return self.norm(f"{name}.mlp_layernorm", q + self.linear(f"{name}.mlp.fc2", hidden)), scores

    def lateral(self, name: str, feature: torch.Tensor) -> torch.Tensor:
        return self.norm(f"{name}.layernorm", self.linear(f"{name}.linear", feature.flatten(0, 1)))

    def answer(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class logits of each query, and its mask on the grid of the tokens that it read last."""
        features = self.features(image)
        q = self.weights["decode_head.class_queries"]
        masks = torch.zeros(())
        if self.variant == "tpn_atm":
            tokens = self.weights["decode_head.upsampler.queries"]
            for stage, feature in enumerate((features[1], features[3])):
                memory = self.lateral(f"decode_head.upsampler.projections.{stage}", feature)
                for layer in range(2):
                    name = f"decode_head.upsampler.decoders.{stage}.layers.{layer}"
                    tokens, _ = self.decoder_layer(name, tokens, memory)
            assert self.query_grid is not None
            memories, (rows, columns) = [tokens], self.query_grid
        else:
            deepest_first = (features[3], features[2])
            memories = [self.lateral(f"decode_head.projections.{i}", x) for i, x in enumerate(deepest_first)]
            if self.variant == "single_atm":
                memories = [sum(memories)] * 2
            rows, columns = features[3].shape[:2]
        for stage, memory in enumerate(memories):
            for layer in range(2):
                q, scores = self.decoder_layer(f"decode_head.decoders.{stage}.layers.{layer}", q, memory)
            masks = masks + scores if self.variant == "atm" else scores
        return self.linear("decode_head.classifier", q), masks.reshape(NUM_LABELS, rows, columns)

    def scores(self, image: torch.Tensor, mask_size: tuple[int, int]) -> torch.Tensor:
        class_logits, masks = self.answer(image)
        masks = interpolate(masks[None], size=mask_size, mode="bilinear", align_corners=False)[0].sigmoid()
        total = torch.zeros(NUM_LABELS, *mask_size)
        for probabilities, mask in zip(class_logits.softmax(dim=1), masks, strict=True):
            for index in range(NUM_LABELS):
                total[index] += probabilities[index] * mask
        return interpolate(total[None], size=image.shape[-2:], mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("variant", ["atm", "single_atm", "tpn_atm"])
# 64 x 64 and 32 x 128 have as many patches as the position embedding; 64 x 144 is what the original scrambles.
@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 64), (32, 128), (64, 144), (80, 48), (50, 101), (16, 90)])
def test_any_shape(variant, size):
    model, pixel_values = model_of(variant), images(2, 3, *size)
    logits = logits_of(model, pixel_values)
    reference = Reference(model)
    expected = torch.stack([reference.scores(image, (64, 64)) for image in pixel_values])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    # The reference would notice a scrambled map.
    assert expected.std(dim=(2, 3)).max() > 1e-3


@pytest.mark.parametrize(
    ("variant", "query_grid"), [("atm", None), ("single_atm", None), ("tpn_atm", (4, 8)), ("tpn_atm", (3, 6))]
)
def test_masks_of_an_oblong_size(variant, query_grid):
    query_stride = 48 // query_grid[0] if query_grid else 16
    model, pixel_values = model_of(variant, mask_size=(48, 96), query_stride=query_stride), images(1, 3, 64, 128)
    expected = Reference(model, query_grid).scores(pixel_values[0], (48, 96))
    torch.testing.assert_close(logits_of(model, pixel_values)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["atm", "single_atm", "tpn_atm"])
@pytest.mark.parametrize("size", [(64, 128), (128, 64), (40, 80)])
def test_windows_of_images_twice_as_long_as_high(variant, size):
    model, pixel_values = model_of(variant), images(1, 3, *size)
    model.config.inference_mode = "slide"
    reference = Reference(model)
    starts = {64: [0], 128: [0, 42, 64], 40: [0], 80: [0, 16]}
    total, count = torch.zeros(NUM_LABELS, *size), torch.zeros(size)
    for top in starts[size[0]]:
        for left in starts[size[1]]:
            window = (..., slice(top, top + 64), slice(left, left + 64))
            total[window] += reference.scores(pixel_values[0][window], (64, 64))
            count[window] += 1
    torch.testing.assert_close(logits_of(model, pixel_values), (total / count)[None], rtol=1e-4, atol=1e-5)
