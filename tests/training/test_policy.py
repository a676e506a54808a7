# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Training a policy network, and a segmenter with it."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from timm.layers import convert_sync_batchnorm
from training_runs import assert_same_run, losses, options_of, rows, train, weights
from transformers import AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation

from vitseg import CtsPolicyNet, CtsSegmenterImageProcessor
from vitseg.data.policy_targets import PolicyTransform
from vitseg.recipes import load_recipe
from vitseg.scenes import write_scenes
from vitseg.training.policy import policy_accuracy
from vitseg.training.policy_networks import initial_policy_net
from vitseg.training.state import TrainingState
from vitseg.training.tasks import ModelToTrain


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set, a recipe of a policy network and one of a tiny model that shares tokens."""
    folder = tmp_path_factory.mktemp("policy")
    write_scenes(folder / "scenes", num_train=16, num_validation=3)
    training = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-3, "iterations": 16, "batch_size": 4}
    size = {"height": 64, "width": 64}
    policy = {"method": "cts_policy", "task": "policy", "model": {}, "image_processor": {"size": size}}
    (folder / "policy.json").write_text(json.dumps({**policy, "training": {**training, "size": size}}))
    vit = {"model_type": "plain_vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    recipe = tiny_recipe | {
        "method": "cts_segmenter",
        "model": {
            "decoder_num_layers": 1,
            "backbone_config": {**vit, "intermediate_size": 32, "image_size": 64, "token_sharing": 2},
        },
    }
    recipe["training"] = tiny_recipe["training"] | {"iterations": 2, "crop_size": [64, 64], "scale": [256, 64]}
    (folder / "cts.json").write_text(json.dumps(recipe))
    return folder


def run(folder: Path, recipe: str, output: Path, *options: str) -> int:
    return train(*options_of(folder, recipe, output), "--init=none", *options)


OPTIONS = ("--validate-every=8", "--checkpoint-every=10")


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "policy"
    torch.set_num_threads(1)
    assert run(folder, "policy", output, *OPTIONS) == 0
    return output


def test_what_a_run_leaves(trained):
    for name in ("model", "best"):
        assert isinstance(AutoModel.from_pretrained(trained / name), CtsPolicyNet)
        processor = AutoImageProcessor.from_pretrained(trained / name)
        assert dict(processor.size) == {"height": 64, "width": 64}
    assert len(losses(trained)) == 16
    assert sum(losses(trained)[8:]) < sum(losses(trained)[:8])
    assert {row["learning_rate"] for row in rows(trained) if "loss" in row} == {1e-3}
    scores = [(row["step"], row["accuracy"]) for row in rows(trained) if "accuracy" in row]
    assert [step for step, _ in scores] == [8, 16]
    assert all(0 <= accuracy <= 1 for _, accuracy in scores)


def test_a_run_goes_on_where_it_stopped(folder, trained, tmp_path):
    # As if killed after ten steps.
    stopped = tmp_path / "stopped"
    shutil.copytree(trained, stopped)
    shutil.rmtree(stopped / "checkpoints" / "step-00000016")
    assert run(folder, "policy", stopped, *OPTIONS, "--resume") == 0
    assert_same_run(stopped, trained)


def test_a_folder_with_another_run_is_refused(folder, trained, capsys):
    assert run(folder, "policy", trained) == 1
    assert "holds a run already" in capsys.readouterr().err


def test_a_segmenter_takes_the_policy_network(folder, trained, tmp_path):
    output = tmp_path / "cts"
    options = ("--validation-split=none", "--set", "model.backbone_config.freeze_policy=true")
    assert run(folder, "cts", output, *options, "--policy", str(trained / "model")) == 0
    model = AutoModelForSemanticSegmentation.from_pretrained(output / "model")
    expected = weights(trained)
    for name, tensor in model.backbone.policy_net.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_segmenter_on_the_hub_brings_its_policy_network(folder, trained, tmp_path, monkeypatch):
    options = ("--validation-split=none", "--set", "model.backbone_config.freeze_policy=true")
    assert run(folder, "cts", tmp_path / "cts", *options, "--policy", str(trained / "model")) == 0
    # Where a model of the Hub lies once it is downloaded.
    repository = tmp_path / "hub" / "models--me--cts-model"
    shutil.copytree(tmp_path / "cts" / "model", repository / "snapshots" / "0123456789")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123456789")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run(folder, "cts", tmp_path / "tuned", "--validation-split=none", "--init=me/cts-model") == 0
    expected, tuned = weights(trained), weights(tmp_path / "tuned")
    for name, tensor in expected.items():
        assert tuned[f"backbone.policy_net.{name}"].equal(tensor), name


@pytest.mark.parametrize(
    ("recipe", "policy", "message"),
    [
        ("cts", None, "Train one with `vitseg train`"),
        ("cts", "/no/where", "/no/where is not the folder or Hub repository of a policy network"),
        ("plain", "/no/where", "shares no tokens, so it has no use for the policy network"),
    ],
)
def test_a_missing_or_needless_policy_network(recipe, policy, message, folder, tmp_path, capsys):
    plain = json.loads((folder / "cts.json").read_text())
    del plain["model"]["backbone_config"]["token_sharing"]
    (folder / "plain.json").write_text(json.dumps(plain))
    options = ["--validation-split=none", *(["--policy", policy] if policy else [])]
    assert run(folder, recipe, tmp_path / "cts", *options) == 1
    assert message in capsys.readouterr().err


def test_imagenet_weights_from_a_file(tmp_path):
    torch.manual_seed(0)
    classifier = timm.create_model("efficientnet_lite0")
    torch.save(classifier.state_dict(), tmp_path / "efficientnet_lite0.pth")
    model = initial_policy_net(str(tmp_path / "efficientnet_lite0.pth"))
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, classifier.state_dict()[name]), name
    torch.save({"conv_stem.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit the CtsPolicyNet"):
        initial_policy_net(str(tmp_path / "other.pth"))


def test_a_policy_network_with_synchronised_batch_norms_is_validated_and_saved(tmp_path):
    """As several processes on GPUs train it; in one process, they are batch norms like any other."""
    torch.manual_seed(0)
    network, pixel_values = initial_policy_net("none"), torch.randn(2, 3, 64, 96)
    state = TrainingState(
        ModelToTrain(network, CtsSegmenterImageProcessor(), [], convert_sync_batchnorm(network)),
        [],
        load_recipe("cts-policy-ade20k-512").training,
        Accelerator(cpu=True),
        ema=0.5,
    )
    norms = [type(module).__name__ for module in network.modules() if "Norm" in type(module).__name__]
    assert set(norms) == {"SyncBatchNormAct"}
    for _ in range(2):
        state.begin_step()
        state.trained(pixel_values, labels=torch.ones(2, 2, 3, dtype=torch.long)).loss.backward()
        state.optimizer.step()
        state.end_step()
    recipe = load_recipe("cts-policy-ade20k-512", {"training.size": {"height": 64, "width": 96}}).training
    example = {"image": np.zeros((64, 96, 3), np.uint8), "label_map": np.zeros((64, 96), np.uint8)}
    model = state.evaluated_model()
    scores = policy_accuracy(model, [example], PolicyTransform(recipe=recipe), Accelerator(cpu=True))
    assert scores["single_class"] == 1
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            CtsPolicyNet.from_pretrained(tmp_path)(pixel_values).logits, model.eval()(pixel_values).logits
        )


def test_accuracy_counts_superpatches_that_are_not_ignored():
    class Left(torch.nn.Module):
        """Says that all superpatches of the left half hold a single class."""

        def forward(self, pixel_values):
            logits = torch.zeros(1, 2, 2, 4)
            logits[:, 1, :, :2] = 1
            return type("Output", (), {"logits": logits})

    label_map = torch.zeros(64, 128, dtype=torch.uint8)
    label_map[40, 10] = 1  # two classes, bottom left
    label_map[10, 70] = 255  # ignored, top right
    example = {"image": torch.zeros(64, 128, 3, dtype=torch.uint8).numpy(), "label_map": label_map.numpy()}
    recipe = load_recipe("cts-policy-ade20k-512", {"training.size": {"height": 64, "width": 128}}).training
    scores = policy_accuracy(Left(), [example, example], PolicyTransform(recipe=recipe), Accelerator(cpu=True))
    assert scores["accuracy"] == pytest.approx(3 / 7)
    assert scores["single_class"] == pytest.approx(6 / 7)
