# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Token sharing of the plain ViT: which patches share, and what every method over it makes of them."""

from typing import Any

import pytest
import torch
from citizenship import NUM_LABELS, images, label_maps, logits_of
from torch import nn
from transformers import AutoModel, AutoModelForSemanticSegmentation, PreTrainedModel

import vitseg
from vitseg import CtsPolicyNet, CtsPolicyNetConfig, PlainVitBackbone, PlainVitConfig
from vitseg.conversion.encoders import fill_encoder
from vitseg.models.token_sharing import candidate_pixels, candidate_positions, share_tokens


def backbone_config(token_sharing: int | None = None, **kwargs) -> PlainVitConfig:
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
    return PlainVitConfig(**{**sizes, "image_size": 64, "token_sharing": token_sharing, **kwargs})


def plain_vit(token_sharing: int | None = None, **kwargs) -> PlainVitBackbone:
    torch.manual_seed(0)
    return PlainVitBackbone(backbone_config(token_sharing, **kwargs)).eval()


# The rule, patch by patch.


def share_by_hand(scores: torch.Tensor, rows: int, columns: int, number: int) -> tuple[list, torch.Tensor]:
    """What each token of an image stands for, a list of lists of patches, and the token of each patch."""
    complete = [(i, j) for i in range(rows // 2) for j in range(columns // 2)]
    chosen = set(sorted(complete, key=lambda place: -scores[place])[:number])
    tokens = [
        [(row, column)] for row in range(rows) for column in range(columns) if (row // 2, column // 2) not in chosen
    ]
    tokens += [[(2 * i + a, 2 * j + b) for a in (0, 1) for b in (0, 1)] for i, j in complete if (i, j) in chosen]
    of_patch = torch.zeros(rows, columns, dtype=torch.int64)
    for index, patches in enumerate(tokens):
        for patch in patches:
            of_patch[patch] = index
    return tokens, of_patch


@pytest.mark.parametrize(
    ("rows", "columns", "number"), [(6, 10, 5), (6, 6, 0), (4, 4, 4), (7, 5, 3), (7, 5, 6), (1, 9, 0), (2, 2, 1)]
)
def test_the_best_superpatches_share(rows, columns, number):
    torch.manual_seed(1)
    logits = torch.randn(3, 2, -(-rows // 2), -(-columns // 2))
    shared = share_tokens(logits, (rows, columns), number)
    pixel_values = images(3, 3, 16 * rows, 16 * columns)
    positions = torch.randn(1, rows, columns, 8)
    pixels, embedded = (
        shared.select(candidates.expand(3, -1, -1))
        for candidates in (candidate_pixels(pixel_values, 16), candidate_positions(positions))
    )
    for index in range(3):
        scores = logits[index].softmax(dim=0)[1]
        tokens, of_patch = share_by_hand(scores, rows, columns, number)
        assert torch.equal(shared.tokens[index], of_patch)
        assert shared.candidates.shape == (3, len(tokens))
        for token, patches in enumerate(tokens):
            expected = torch.stack([positions[0, row, column] for row, column in patches]).mean(dim=0)
            torch.testing.assert_close(embedded[index, token], expected)
            row, column = patches[0]
            side = 16 if len(patches) == 1 else 32
            area = pixel_values[index, :, 16 * row : 16 * row + side, 16 * column : 16 * column + side]
            area = nn.functional.interpolate(area[None], size=(16, 16), mode="bilinear", align_corners=False)
            torch.testing.assert_close(pixels[index, token], area.flatten())
    restored = shared.restore(torch.arange(shared.candidates.shape[1]).repeat(3, 1)[..., None])
    assert torch.equal(restored[..., 0], shared.tokens)


def test_ranked_by_probabilities_in_float32():
    # In half precision all three would be 1.
    logits = torch.zeros(1, 2, 1, 3, dtype=torch.bfloat16)
    logits[0, 1, 0] = torch.tensor([8.0, 9.0, 10.0])
    shared = share_tokens(logits, (2, 6), 1)
    assert torch.equal(shared.tokens[0, 0], torch.tensor([0, 1, 2, 3, 8, 8]))


class Selection(nn.Module):
    def forward(self, policy_logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        rows, columns = 2 * policy_logits.shape[-2], 2 * policy_logits.shape[-1]
        shared = share_tokens(policy_logits, (rows, columns), rows * columns // 16)
        candidates = candidate_positions(values.expand(policy_logits.shape[0], -1, -1, -1))
        return shared.restore(shared.select(candidates))


@pytest.mark.slow
def test_the_selection_in_onnx(tmp_path):
    from onnx.reference import ReferenceEvaluator

    dynamic = torch.export.Dim.DYNAMIC
    model, arguments = Selection(), (torch.randn(2, 2, 3, 4), torch.randn(1, 6, 8, 5))
    shapes = ({0: dynamic, 2: dynamic, 3: dynamic}, {1: dynamic, 2: dynamic})
    program = torch.export.export(model, arguments, dynamic_shapes=shapes)
    torch.onnx.export(program, f=tmp_path / "model.onnx", verbose=False)
    evaluator = ReferenceEvaluator(str(tmp_path / "model.onnx"))
    for rows, columns in ((3, 4), (5, 2)):
        logits, values = torch.randn(2, 2, rows, columns), torch.randn(1, 2 * rows, 2 * columns, 5)
        inputs = dict(zip(evaluator.input_names, (logits.numpy(), values.numpy()), strict=True))
        (answer,) = evaluator.run(None, inputs)
        torch.testing.assert_close(torch.from_numpy(answer), model(logits, values))


# The backbone.


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (40, 64), (17, 100), (5, 5)])
def test_a_policy_that_shares_nothing_changes_nothing(size):
    sharing, plain = plain_vit(0, out_indices=[0, 1, 3]), plain_vit(out_indices=[0, 1, 3])
    plain.load_state_dict({k: v for k, v in sharing.state_dict().items() if not k.startswith("policy_net.")})
    pixel_values = images(2, 3, *size)
    with torch.no_grad():
        pairs = zip(sharing(pixel_values).feature_maps, plain(pixel_values).feature_maps, strict=True)
        for actual, expected in pairs:
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (80, 112), (33, 250)])
def test_patches_that_share_a_token_have_the_same_features(size):
    model, pixel_values = plain_vit(2, out_indices=[0, 1, 3]), images(2, 3, *size)
    rows, columns = -(-size[0] // 16), -(-size[1] // 16)
    number = 2 * (rows // 2) * (columns // 2) // 4
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True)
        logits = model.policy_net(pixel_values).logits
    assert {states.shape for states in outputs.hidden_states} == {(2, 1 + rows * columns - 3 * number, 48)}
    for index, feature_map in zip((0, 1, 3), outputs.feature_maps, strict=True):
        assert feature_map.shape == (2, 48, rows, columns)
        for image in range(2):
            tokens, _ = share_by_hand(logits[image].softmax(dim=0)[1], rows, columns, number)
            for token, patches in enumerate(tokens):
                for row, column in patches:
                    expected = outputs.hidden_states[index][image, 1 + token]
                    assert torch.equal(feature_map[image, :, row, column], expected)


def test_the_policy_network_sees_the_image_before_padding():
    model, pixel_values = plain_vit(2), images(1, 3, 50, 60)
    seen = []
    model.policy_net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(pixel_values)
    assert torch.equal(seen[0], pixel_values)


def test_no_sharing_in_the_blocks_after_one_that_shrinks():
    model, pixel_values = plain_vit(2, shrink_layer=2, out_indices=[1, 2, 3]), images(2, 3, 64, 96)
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True)
        _, of_patch = share_by_hand(model.policy_net(pixel_values).logits[0].softmax(dim=0)[1], 4, 6, 3)
    assert [states.shape[1] for states in outputs.hidden_states] == [1 + 24 - 9] * 2 + [1 + 6] * 2
    assert [feature_map.shape[-2:] for feature_map in outputs.feature_maps] == [(4, 6), (2, 3), (2, 3)]
    # The patches that go on take what their token, shared or not, was.
    before = outputs.hidden_states[1][0, 1:][of_patch[::2, ::2]]
    assert torch.equal(outputs.feature_maps[0][0, :, ::2, ::2], before.permute(2, 0, 1))


def test_imagenet_weights_leave_the_policy_network_alone():
    model = plain_vit(2)
    before = {key: tensor.clone() for key, tensor in model.policy_net.state_dict().items()}
    weights = {"cls_token": torch.ones(1, 1, 48), "pos_embed": torch.ones(1, 17, 48)}
    weights |= {"patch_embed.proj.weight": torch.ones(48, 3, 16, 16), "patch_embed.proj.bias": torch.ones(48)}
    for index in range(3):
        for name, shape in (("norm1", (48,)), ("attn.qkv", (144, 48)), ("attn.proj", (48, 48)), ("norm2", (48,))):
            weights[f"blocks.{index}.{name}.weight"] = torch.ones(shape)
            weights[f"blocks.{index}.{name}.bias"] = torch.ones(shape[0])
        for name, shape in (("mlp.fc1", (96, 48)), ("mlp.fc2", (48, 96))):
            weights[f"blocks.{index}.{name}.weight"] = torch.ones(shape)
            weights[f"blocks.{index}.{name}.bias"] = torch.ones(shape[0])
    fill_encoder(model, weights)
    assert (model.layers[2].mlp.fc2.weight == 1).all()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.policy_net.state_dict().items())


# The policy network alone.


def test_the_policy_network_by_itself(tmp_path):
    torch.manual_seed(0)
    model = CtsPolicyNet(CtsPolicyNetConfig()).eval()
    with torch.no_grad():
        # As after some training.
        for name, tensor in model.named_buffers():
            if "running" in name:
                tensor.copy_(torch.rand_like(tensor) + 0.5)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is CtsPolicyNet
    pixel_values = images(2, 3, 70, 129)
    logits = logits_of(model, pixel_values)
    assert logits.shape == (2, 2, 3, 5)
    assert torch.equal(logits_of(loaded, pixel_values), logits)
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_959_490


def test_the_policy_network_learns():
    torch.manual_seed(0)
    model = CtsPolicyNet(CtsPolicyNetConfig()).train()
    pixel_values = images(4, 3, 64, 64)
    labels = torch.tensor([[[0, 1], [255, 1]]]).repeat(4, 1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = model(pixel_values, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match=r"labels have shape \(4, 3, 2\); expected \(4, 2, 2\)"):
        model(pixel_values, labels=torch.zeros(4, 3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels hold the value 7, but the model has 2 classes"):
        model(pixel_values, labels=torch.full((4, 2, 2), 7))
    model.eval()
    assert model(pixel_values, labels=labels.to(torch.uint8)).loss.equal(model(pixel_values, labels=labels).loss)
    assert model(pixel_values, labels=labels * 0 + 255).loss == 0


# Every method over a plain ViT.


METHODS = {
    "setr_naive": ("Setr", {"decoder_type": "naive", "decoder_hidden_size": 8}),
    "setr_mla": ("Setr", {"decoder_type": "mla", "decoder_hidden_size": 8, "mla_branch_size": 4}),
    "segvit": ("SegVit", {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_layers": 1}),
    "structtoken": ("StructToken", {"decoder_hidden_size": 8, "decoder_num_layers": 1}),
    "cts_segmenter": ("CtsSegmenter", {"decoder_num_attention_heads": 2, "decoder_num_layers": 1}),
}


def method_model(name: str, token_sharing: int | None, **kwargs) -> PreTrainedModel:
    settings: Any
    prefix, settings = METHODS[name]
    torch.manual_seed(0)
    taps = [4] if name in ("structtoken", "cts_segmenter") else [1, 2, 3, 4]
    vit = backbone_config(token_sharing, num_hidden_layers=4, out_indices=taps, **kwargs)
    config = getattr(vitseg, f"{prefix}Config")(
        backbone_config=vit, num_labels=NUM_LABELS, inference_mode="whole", **settings
    )
    return getattr(vitseg, f"{prefix}ForSemanticSegmentation")(config).eval()


@pytest.mark.parametrize("name", METHODS)
def test_a_policy_that_shares_nothing_gives_the_unshared_model(name):
    sharing, plain = method_model(name, 0), method_model(name, None)
    plain.load_state_dict({k: v for k, v in sharing.state_dict().items() if ".policy_net." not in k})
    for size in ((64, 64), (50, 90)):
        pixel_values = images(2, 3, *size)
        torch.testing.assert_close(
            logits_of(sharing, pixel_values), logits_of(plain, pixel_values), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_shares_trains_saves_and_loads(name, tmp_path):
    model = method_model(name, 2, freeze_policy=True).train()
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(5):
        loss = model(pixel_values, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)
    pixel_values = images(2, 3, 50, 90)
    with torch.no_grad():
        outputs = model(pixel_values, output_hidden_states=True)
    assert outputs.logits.shape == (2, NUM_LABELS, 50, 90)
    # 4 x 6 patches, of whose 6 superpatches 3 share.
    assert outputs.hidden_states[-1].shape[1] == 24 - 9 + 1
    assert torch.equal(logits_of(loaded, pixel_values), outputs.logits)
