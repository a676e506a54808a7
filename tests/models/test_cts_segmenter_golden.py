# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""CTS Segmenter answers what the originals answered, from their checkpoints through the public path."""

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import GoldenCase, case_names, fill, load_case, pixels
from torch import nn
from transformers import AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation

from vitseg import CtsPolicyNet, PlainVitBackbone, PlainVitConfig
from vitseg.conversion.encoders import fill_encoder
from vitseg.data.policy_targets import policy_targets
from vitseg.evaluation.inference import ViewInput, mean_probabilities
from vitseg.models.image_processing_semantic import reduce_labels
from vitseg.models.layers import as_pair
from vitseg.models.sliding_window import window_starts
from vitseg.models.token_sharing import SharedTokens, candidate_pixels, candidate_positions, share_tokens
from vitseg.recipes import get_recipe
from vitseg.recipes.protocol import View
from vitseg.training.optimization import build_optimizer, poly_schedule


def kind_of(description: dict) -> str:
    """The cases of mmsegmentation do not name theirs."""
    if "kind" in description:
        return description["kind"]
    if "labels" in description:
        return "mmseg_loss"
    return "mmseg_slide" if "ori_shape" in description["config"] else "forward"


KINDS = {name: kind_of(load_case("cts_segmenter", name).description) for name in case_names("cts_segmenter")}


def cases_of(kind: str) -> list:
    names = [name for name in KINDS if KINDS[name] == kind]
    return [pytest.param(name, marks=pytest.mark.slow) if "full" in name else name for name in names]


@pytest.fixture
def load(converted_cases):
    def load_converted(name: str) -> tuple[GoldenCase, nn.Module]:
        case = load_case("cts_segmenter", name)
        return case, AutoModelForSemanticSegmentation.from_pretrained(converted_cases(case))

    return load_converted


def gradient_norm(original: str, case: GoldenCase, model: Any) -> torch.Tensor:
    parameters: dict[str, Any] = dict(model.named_parameters())
    names = case.our_names(original, model.config)
    return torch.cat([parameters[name].grad.flatten() for name in names]).norm().reshape(1)


def shared_mask(shared: SharedTokens) -> torch.Tensor:
    """1 for the superpatches that share a token, `(batch, rows, columns)`."""
    corners = torch.stack([shared.tokens[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    return (corners == corners[0]).all(dim=0).float()


def patch_codes(shared: SharedTokens) -> torch.Tensor:
    """Scale, row and column of each token, `(batch, tokens, 3)`."""
    rows, columns = shared.tokens.shape[1:]
    patches = shared.candidates
    superpatches = patches - rows * columns
    alone = torch.stack((torch.ones_like(patches), patches // columns, patches % columns), dim=-1)
    halves = (2 * (superpatches // (columns // 2)), 2 * (superpatches % (columns // 2)))
    together = torch.stack((torch.full_like(patches, 2), *halves), dim=-1)
    return torch.where((superpatches < 0)[..., None], alone, together).float()


class Intermediates:
    """Outputs of a model's modules during one forward pass, by the names that the originals gave them."""

    def __init__(self, model: nn.Module, pixel_values: torch.Tensor, labels: torch.Tensor | None = None):
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        for name, module in model.named_modules():
            if name:
                module.register_forward_hook(self.capture(name))
        self.answer = model(pixel_values, labels=labels)

    def capture(self, name: str):
        def hook(module, inputs, output):
            self.inputs[name], self.outputs[name] = inputs, output

        return hook

    @property
    def shared(self) -> SharedTokens:
        return self.outputs["backbone"].shared_tokens

    def get(self, name: str) -> torch.Tensor:
        outputs = self.outputs
        if match := re.fullmatch(r"(?:encoder_block|layer)_(\d+)", name):
            return outputs[f"backbone.layers.{match[1]}"]
        if match := re.fullmatch(r"decoder_(?:block|layer)_(\d+)", name):
            return outputs[f"decode_head.layers.{match[1]}"]
        return {
            "logits": lambda: self.answer.logits,
            "policy_feature_4": lambda: self.inputs["backbone.policy_net.head"][0],
            "policy_logits": lambda: outputs["backbone.policy_net"].logits,
            "policy_scores": lambda: outputs["backbone.policy_net"].logits.softmax(dim=1)[:, 1],
            "mask_shared": lambda: shared_mask(self.shared),
            "patch_code": lambda: patch_codes(self.shared),
            "patch_embeddings": lambda: outputs["backbone.embeddings.layernorm"],
            "patch_embed": lambda: outputs["backbone.embeddings.layernorm"],
            "embeddings": lambda: self.inputs["backbone.layers.0"][0],
            "positions_added": lambda: self.inputs["backbone.layers.0"][0],
            "encoder_output": lambda: outputs["backbone.layernorm"],
            "final_norm": lambda: outputs["backbone.layernorm"],
            "dec_proj": lambda: outputs["decode_head.projection"],
            "decoder_norm": lambda: outputs["decode_head.layernorm"],
            "token_logits": lambda: outputs["decode_head"],
            "mask_norm": lambda: outputs["decode_head"],
            "patch_logits": self.patch_logits,
            "head_logits": self.patch_logits,
        }[name]()

    def patch_logits(self) -> torch.Tensor:
        """The scores of the tokens, by patch."""
        scores, grid_size = self.outputs["decode_head"], self.outputs["backbone"].feature_maps[-1].shape[-2:]
        patches = scores.unflatten(1, grid_size) if self.shared is None else self.shared.restore(scores)
        return patches.permute(0, 3, 1, 2)


@pytest.mark.parametrize("name", cases_of("forward"))
def test_answers_as_the_original(name, load):
    case, model = load(name)
    with torch.no_grad():
        intermediates = Intermediates(model, case.pixel_values())
    for output in case.expected.keys() - {"argmax_histogram"}:
        case.assert_matches(output, intermediates.get(output))
    if "argmax_histogram" in case.expected:
        label_maps = intermediates.answer.logits.argmax(dim=1)
        case.assert_matches("argmax_histogram", label_maps.flatten().bincount(minlength=model.config.num_labels))


@pytest.mark.parametrize("name", cases_of("sliding_window"))
def test_slides_as_the_original(name, load):
    case, model = load(name)
    inference, config = case.config["inference"], model.config
    config.window_batch_size = inference["batch_size"]
    assert as_pair(config.window_size) == as_pair(inference["window_size"])
    size, views = tuple(inference["ori_shape"]), []

    def probabilities(views: list[ViewInput]) -> torch.Tensor:
        with torch.no_grad():
            return mean_probabilities(lambda images: model(images).logits, views, size)

    for index, spec in enumerate(inference["views"]):
        pixel_values = pixels(spec | {"flip": False})  # given as the view shows it
        enlarged = model.enlarge(pixel_values, model.config.protocol()).shape[-2:]
        case.assert_matches(f"resized_shape_view_{index}", torch.tensor(enlarged))
        tops, lefts = (window_starts(side, inference["window_size"], inference["window_stride"]) for side in enlarged)
        anchors = torch.tensor([(top, left) for top in tops for left in lefts])
        case.assert_matches(f"anchors_view_{index}", anchors)
        height, width = pixel_values.shape[-2:]
        views.append(ViewInput(pixel_values, View(height=height, width=width, flip=spec["flip"])))
        case.assert_matches(f"probabilities_view_{index}", probabilities(views[-1:]))
    mean = probabilities(views)
    case.assert_matches("probabilities", mean)
    differing = (mean.argmax(dim=0) != case.expected["prediction"]).sum()
    assert differing <= case.description["outputs"]["prediction"]["may_differ_pixels"]


@pytest.mark.parametrize("name", cases_of("mmseg_slide"))
def test_slides_as_mmsegmentation(name, load, converted_cases):
    case, model = load(name)
    with torch.no_grad():
        outputs = model(case.pixel_values())
    case.assert_matches("logits", outputs.logits)
    image_processor = AutoImageProcessor.from_pretrained(converted_cases(case))
    size = tuple(case.config["ori_shape"])
    (result,) = image_processor.post_process_semantic_segmentation(outputs, [size], return_segmentation_scores=True)
    case.assert_matches("logits_ori", result["segmentation_scores"][None])
    assert (result["segmentation"] != case.expected["argmax"][0]).sum() <= 5


@pytest.mark.parametrize("name", cases_of("loss"))
def test_losses_as_the_original(name, load):
    case, model = load(name)
    intermediates = Intermediates(model.train(), case.pixel_values(), case.labels())
    answer = intermediates.answer
    answer.loss.backward()
    assert answer.loss_dict == {"decode.loss_ce": answer.loss}
    for key in case.expected:
        part, _, original = key.partition("/")
        if part == "grad_norm":
            actual = gradient_norm(original, case, model)
        elif part == "after":
            (ours,) = case.our_names(original, model.config)
            actual = model.get_buffer(ours)
        else:
            actual = answer.loss.reshape(1) if key == "loss" else intermediates.get(key)
        case.assert_matches(key, actual)
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if "policy_net" in name)


@pytest.mark.parametrize("name", cases_of("mmseg_loss"))
def test_losses_as_mmsegmentation(name, load):
    case, model = load(name)
    labels = case.labels()
    outputs = model.train()(case.pixel_values(), labels=labels)
    outputs.loss.backward()
    for key in case.expected:
        if key == "decode.acc_seg":
            right = outputs.logits.argmax(dim=1) == labels
            actual = 100 * right[labels != 255].float().mean().reshape(1)
        elif key.startswith("grad_norm."):
            actual = gradient_norm(key.removeprefix("grad_norm."), case, model)
        else:
            actual = (outputs.loss if key == "loss" else outputs.loss_dict[key]).reshape(1)
        case.assert_matches(key, actual)


@pytest.mark.parametrize("name", cases_of("optimizer_steps"))
def test_trains_as_the_original(name, load):
    """A published recipe's optimizer and schedule, at the case's learning rate and length."""
    case, model = load(name)
    settings = case.config["training"]
    published = get_recipe("cts-segmenter-mask-0-vit-s-ade20k-512").training

    def recipe(schedule: dict):
        return dataclasses.replace(
            published,
            learning_rate=schedule["lr"],
            iterations=schedule["iter_max"],
            warmup_iterations=schedule["iter_warmup"],
            warmup_rule="segmenter",
            min_learning_rate=schedule["min_lr"],
        )

    optimizer = build_optimizer(model, recipe(settings["optimizer"]))
    scheduler = poly_schedule(optimizer, recipe(settings["optimizer"]))
    losses, rates = [], []
    model.train()
    for _ in range(settings["steps"]):
        rates.append(optimizer.param_groups[0]["lr"])
        loss = model(case.pixel_values(), labels=case.labels()).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    case.assert_matches("losses", torch.tensor(losses))
    torch.testing.assert_close(torch.tensor(rates), case.expected["learning_rates"], rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        case.assert_matches("logits_after", model(case.pixel_values()).logits)
    for original in settings["weights_after"]:
        (ours,) = case.our_names(original, model.config)
        case.assert_matches(f"after/{original}", model.get_parameter(ours))

    for key, schedule in settings["schedules"].items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=schedule["lr"])
        scheduler, rates = poly_schedule(optimizer, recipe(schedule)), []
        for _ in range(schedule["iter_max"] + 1):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        torch.testing.assert_close(torch.tensor(rates), case.expected[f"schedule/{key}"], rtol=1e-6, atol=1e-9)


# Token sharing alone.


@pytest.mark.parametrize("name", cases_of("token_sharing"))
def test_shares_as_the_original(name):
    case = load_case("cts_segmenter", name)
    config, pixel_values = case.config, case.pixel_values()
    grid_size = (pixel_values.shape[-2] // config["patch_size"], pixel_values.shape[-1] // config["patch_size"])
    shared = share_tokens(pixels(config["policy_logits"]), grid_size, config["policy_schedule"][1])
    mask = shared_mask(shared)
    case.assert_matches("mask_shared", mask)
    case.assert_matches("mask_not_shared", 1 - mask.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2))
    case.assert_matches("patch_code", patch_codes(shared))

    # The original lays patches side by side, in an image as high as one of them.
    patches = shared.select(candidate_pixels(pixel_values, config["patch_size"]))
    side_by_side = patches.unflatten(2, (3, config["patch_size"], config["patch_size"])).permute(0, 2, 3, 1, 4)
    case.assert_matches("patches", side_by_side.flatten(3))

    spec = config["grid_embeddings"]
    grid = pixels({"seed": spec["seed"], "shape": (1, spec["channels"], *grid_size)}).permute(0, 2, 3, 1)
    positions = shared.select(candidate_positions(grid).expand(3, -1, -1))
    case.assert_matches("position_embeddings", positions.transpose(1, 2)[:, :, None])

    spec = config["token_features"]
    tokens = pixels({"seed": spec["seed"], "shape": (3, spec["channels"], 1, shared.candidates.shape[1])})
    restored = shared.restore(tokens[:, :, 0].transpose(1, 2))
    case.assert_matches("restored", restored.permute(0, 3, 1, 2))


# The policy network.


def stored_label_maps(recipe: dict) -> torch.Tensor:
    """The label maps of a case's recipe, train ids with 255 for ignored pixels."""
    cells = fill.labels(recipe["seed"], tuple(recipe["cells"]), recipe["num_labels"], 255)
    label_maps = np.roll(np.kron(cells, np.ones((1, 16, 16), dtype=np.int64)), recipe["roll"], axis=(1, 2))
    label_maps = label_maps[:, : recipe["crop"][0], : recipe["crop"][1]].copy()
    for top, bottom, left, right in recipe["ignore_boxes"]:
        label_maps[:, top:bottom, left:right] = 255
    return torch.from_numpy(label_maps)


@pytest.mark.parametrize("name", cases_of("policy_targets"))
def test_policy_targets_as_the_original(name):
    case = load_case("cts_segmenter", name)
    label_maps = stored_label_maps(case.config["label_recipe"])
    ade20k = reduce_labels(torch.where(label_maps == 255, 0, label_maps + 1))
    case.assert_matches("targets/ade20k", policy_targets(ade20k, ignore_mixed_border=True))
    case.assert_matches("targets/cityscapes", policy_targets(label_maps, ignore_mixed_border=False))
    # Its background is a class, but the original takes it for pixels to ignore, of which there are none.
    pascal_context = torch.where(label_maps == 0, 255, label_maps)
    case.assert_matches("targets/pascal_context", policy_targets(pascal_context, ignore_mixed_border=False))


@pytest.mark.parametrize("name", cases_of("policy_training"))
def test_policy_network_as_the_original(name, converted_cases):
    case = load_case("cts_segmenter", name)
    model = AutoModel.from_pretrained(converted_cases(case))
    assert isinstance(model, CtsPolicyNet)
    pixel_values = case.pixel_values()
    features = {}
    for stage in range(7):
        model.backbone.blocks[stage].register_forward_hook(
            lambda module, inputs, output, stage=stage: features.__setitem__(stage, output.clone())
        )
    with torch.no_grad():
        model.backbone(pixel_values)
        for index, stage in enumerate((0, 1, 2, 4, 6)):
            case.assert_matches(f"features_eval_{index}", features[stage])
        case.assert_matches("logits_eval", model(pixel_values).logits)
        case.assert_matches("logits_eval_odd", model(pixel_values[..., :77, :101]).logits)

    label_maps = stored_label_maps(case.config["label_recipe"])
    targets = policy_targets(label_maps, ignore_mixed_border=case.config["rule"] == "ade20k")
    case.assert_matches("targets", targets)
    outputs = model.train()(pixel_values, labels=targets)
    outputs.loss.backward()
    case.assert_matches("logits_train", outputs.logits)
    case.assert_matches("loss", outputs.loss.reshape(1))
    for original in case.config["training"]["gradients"]:
        case.assert_matches(f"grad_norm/{original}", model.get_parameter(original).grad.norm().reshape(1))
    for original in case.config["training"]["buffers_after"]:
        case.assert_matches(f"after/{original}", model.get_buffer(original))


# ImageNet weights.


@pytest.mark.parametrize("name", cases_of("pretrained_import"))
def test_imagenet_weights_as_the_original(name):
    case = load_case("cts_segmenter", name)
    encoder = case.config["encoder"]
    config = PlainVitConfig(
        hidden_size=encoder["d_model"],
        num_hidden_layers=encoder["n_layers"],
        num_attention_heads=encoder["n_heads"],
        intermediate_size=4 * encoder["d_model"],
        image_size=encoder["image_size"],
        layer_norm_eps=1e-5,
        use_distillation_token=encoder["distilled"],
        use_final_norm=True,
    )
    model = PlainVitBackbone(config).eval()
    fill_encoder(model, case.state_dict())
    final = []
    model.layernorm.register_forward_hook(lambda module, inputs, output: final.append(output))
    with torch.no_grad():
        model(case.pixel_values())
    attention = model.layers[1].attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    answers = {
        "encoder_output": final[0],
        "imported/pos_embed": model.embeddings.position_embeddings,
        "imported/patch_embed.proj.weight": model.embeddings.patch_embeddings.weight,
        "imported/blocks.1.attn.qkv.weight": torch.cat([projection.weight for projection in projections]),
        "imported/blocks.1.attn.qkv.bias": torch.cat([projection.bias for projection in projections]),
        "imported/blocks.1.attn.proj.weight": attention.o_proj.weight,
        "imported/blocks.0.mlp.fc1.weight": model.layers[0].mlp.fc1.weight,
    }
    for key in case.expected:
        case.assert_matches(key, answers[key])
