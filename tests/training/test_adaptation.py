# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How much of a model learns over a pretrained encoder: nothing of it, adapters in it, all of it; what is saved."""

import json
import re
import shutil
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from hub_stand_in import download_from, running_hub
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from small_encoders import save_encoder
from training_runs import (
    SHARDED,
    losses,
    normalize_by_running_statistics,
    options_of,
    train,
    train_in_two,
    weights,
)
from transformers import (
    AutoImageProcessor,
    AutoModelForSemanticSegmentation,
    BitImageProcessor,
    ConvNextBackbone,
    ConvNextConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetModel,
    Swinv2Config,
    Swinv2Model,
    pipeline,
)

from vitseg.cli import main
from vitseg.publishing.card import write_model_card
from vitseg.publishing.publish import config_of_published_adapter, files_to_publish
from vitseg.scenes import write_scenes
from vitseg.training.adaptation import _target_pattern


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
WAYS = {"whole": [], "frozen": ["--freeze", "backbone"], "lora": ["--lora", "2"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recipe) -> Path:
    """A data set (`scenes`), a recipe (`tiny.json`), and encoders by their names."""
    folder = tmp_path_factory.mktemp("adaptation")
    write_scenes(folder / "scenes", num_train=12, num_validation=2)
    training = tiny_recipe["training"] | {"iterations": 4, "batch_size": 2}
    (folder / "tiny.json").write_text(json.dumps(tiny_recipe | {"training": training}))
    for name in ("dinov3_vit", "swin", "vit"):
        save_encoder(name, folder / name)
    return folder


def command(folder: Path, encoder: str, output: Path, *options: str) -> list[str]:
    what = [*options_of(folder, "tiny", output), "--backbone", str(folder / encoder)]
    return [*what, "--checkpoint-every=2", *options]


def run(folder: Path, encoder: str, output: Path, *options: str) -> int:
    return train(*command(folder, encoder, output, *options))


@pytest.fixture(scope="module")
def trained(folder):
    """Encoder, way and further options -> the folder of a run, made once."""

    def get(encoder: str, way: str, *options: str) -> Path:
        output = folder / "-".join([encoder, way, *options])
        if not output.exists():
            assert run(folder, encoder, output, *WAYS[way], *options) == 0
        return output

    return get


def answer(model: Path | PreTrainedModel) -> torch.Tensor:
    """The logits of a model, or of the one in a folder."""
    if isinstance(model, Path):
        model = AutoModelForSemanticSegmentation.from_pretrained(model).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        return model(torch.randn(1, 3, 48, 64)).logits


@pytest.mark.parametrize("encoder", ["dinov3_vit", "swin", "vit"])
def test_a_frozen_encoder_is_the_same_to_the_last_bit(encoder, folder, trained):
    trained_backbone = AutoModelForSemanticSegmentation.from_pretrained(trained(encoder, "frozen") / "model").backbone
    start = {value.numpy().tobytes() for value in weights(folder, encoder).values()}
    for name, value in trained_backbone.state_dict().items():
        # Those norms are no part of the encoder, which has none for its inner feature maps.
        assert name.startswith("hidden_states_norms.") or value.numpy().tobytes() in start, name
    heads = [weights(trained(encoder, way)) for way in ("frozen", "whole")]
    assert any(not torch.equal(heads[0][name], heads[1][name]) for name in heads[0] if "head" in name)


def test_what_learns_may_be_in_shards(processes, folder, tmp_path, monkeypatch):
    """By FSDP, in two processes: it learns as in one, saves the same, and goes on."""
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", normalize_by_running_statistics)
    options = ("--lora", "2", "--save-adapter", "--validation-split=none")
    # AdamW would make steps of the rounding errors in gradients that are next to nothing.
    options += ("--set", "training.optimizer=sgd", "--learning-rate=0.1")
    one, sharded = tmp_path / "one", tmp_path / "sharded"
    assert run(folder, "dinov3_vit", one, *options) == 0

    def run_sharded(*more: str) -> dict[str, torch.Tensor]:
        given = command(folder, "dinov3_vit", sharded, *options, *more)
        assert "Warning" not in train_in_two(processes, *given, log=tmp_path / "sharded.log", **SHARDED)
        return load_file(sharded / "model/adapter_model.safetensors")

    learned = run_sharded()
    assert losses(sharded) == pytest.approx(losses(one), rel=1e-5)
    expected = load_file(one / "model/adapter_model.safetensors")
    assert learned.keys() == expected.keys()
    assert any(tensor.any() for name, tensor in learned.items() if "lora_B" in name)
    assert all(learned[name].allclose(tensor, atol=1e-5) for name, tensor in expected.items())
    shutil.rmtree(sharded / "checkpoints/step-00000004")
    again = run_sharded("--resume=latest")
    assert all(again[name].equal(tensor) for name, tensor in learned.items())


def test_adapters_change_the_encoder_and_leave_an_ordinary_model(folder, trained):
    frozen, adapted = (weights(trained("dinov3_vit", way)) for way in ("frozen", "lora"))
    assert frozen.keys() == adapted.keys()
    changed = {name for name in frozen if "backbone" in name and not torch.equal(frozen[name], adapted[name])}
    linear = {name for name in frozen if "backbone.model.layer" in name or "backbone.layer" in name}
    assert changed == {name for name in linear if name.endswith("weight") and frozen[name].ndim == 2}


@pytest.mark.parametrize("way", ["frozen", "lora"])
@pytest.mark.parametrize("encoder", ["dinov3_vit", "swin", "vit"])
def test_an_adapter_alone_answers_as_the_whole_model(encoder, way, trained):
    whole, alone = trained(encoder, way) / "model", trained(encoder, way, "--save-adapter") / "model"
    assert not (alone / "model.safetensors").exists()
    config = json.loads((alone / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"].endswith(encoder)
    assert {"decode_head", "auxiliary_head.0"} <= set(config["modules_to_save"])
    torch.testing.assert_close(answer(alone), answer(whole), rtol=0, atol=0)


def test_an_adapter_is_a_model_for_every_part_of_transformers(trained, tmp_path):
    alone = trained("dinov3_vit", "lora", "--save-adapter") / "model"
    segmenter = pipeline("image-segmentation", model=str(alone))
    assert segmenter.model.config.id2label[0] == "sky"
    half, info = AutoModelForSemanticSegmentation.from_pretrained(alone, dtype="float16", output_loading_info=True)
    assert half.dtype == torch.float16
    assert not info["missing_keys"]
    other = AutoModelForSemanticSegmentation.from_pretrained(alone, num_labels=3, ignore_mismatched_sizes=True)
    assert other(torch.randn(1, 3, 32, 32)).logits.shape == (1, 3, 32, 32)
    AutoModelForSemanticSegmentation.from_pretrained(alone).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(alone).save_pretrained(tmp_path)
    torch.testing.assert_close(answer(tmp_path), answer(alone), rtol=0, atol=0)


def test_an_adapter_over_another_encoder_is_refused(folder, trained, tmp_path):
    alone = trained("dinov3_vit", "lora", "--save-adapter") / "model"
    file = alone / "encoder.json"
    content = file.read_text()
    save_encoder("dinov3_vit", tmp_path / "other", seed=1)
    file.write_text(json.dumps(json.loads(content) | {"source": str(tmp_path / "other")}))
    with pytest.raises(ValueError, match=r"trained over an encoder with the digest .* it is another"):
        AutoModelForSemanticSegmentation.from_pretrained(alone)
    file.write_text(content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze", "backbone", "decode_head", "auxiliary_head"], "nothing is left that learns"),
        (["--freeze", "encoder"], "no module 'encoder' to freeze. The model has backbone, decode_head"),
        (["--lora", "2", "--lora-targets", "query"], "no layer named query to adapt. It has .*q_proj"),
        (["--save-adapter"], "The whole encoder learns.*--lora 8 or --freeze backbone"),
        (["--set", "training.layer_decay=2"], "layer_decay is 2; expected more than 0 and at most 1"),
        (["--lora", "2", "--set", "training.lora.alpha=0"], "alpha of the adapters is 0; expected more than 0"),
        (["--init", "none"], "--backbone .*dinov3_vit brings weights of the encoder, and --init none others"),
    ],
)
def test_what_cannot_be_is_refused(options, message, folder, tmp_path, capsys):
    assert run(folder, "dinov3_vit", tmp_path / "run", *options) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_an_adapter_is_not_saved_beside_an_encoder_that_is_another(folder, trained, tmp_path, capsys):
    """The weights of a trained model are no longer those of the encoder that its recipe names."""
    start = trained("dinov3_vit", "whole") / "model"
    recipe = json.loads((start.parent / "settings.json").read_text())["recipe"]
    (folder / "over.json").write_text(json.dumps(recipe))
    options = options_of(folder, "over", tmp_path / "run")
    assert train(*options, "--init", start, "--lora", "2", "--save-adapter") == 1
    assert "Leave out --save-adapter" in capsys.readouterr().err


def test_layers_are_adapted_and_not_what_has_a_name_of_theirs(folder, tmp_path, trained):
    """In Swin V2 a linear layer of the position biases is called 0, and so is a block."""
    torch.manual_seed(0)
    config = Swinv2Config(
        embed_dim=8, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4], window_size=4, image_size=64, num_labels=2
    )
    Swinv2Model(config).save_pretrained(tmp_path / "swinv2")
    BitImageProcessor().save_pretrained(tmp_path / "swinv2")
    assert run(folder, tmp_path / "swinv2", tmp_path / "run", "--lora", "2", "--save-adapter") == 0
    AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run/model")


def test_batch_norms_of_an_adapted_encoder_count_nothing(folder, tmp_path, capsys):
    torch.manual_seed(0)
    encoder = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]))
    encoder.save_pretrained(tmp_path / "resnet")
    BitImageProcessor().save_pretrained(tmp_path / "resnet")
    options = ["--lora", "2", "--lora-targets", "convolution", "--save-adapter"]
    assert run(folder, tmp_path / "resnet", tmp_path / "run", *options) == 0
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run/model")
    counted = [value for name, value in loaded.backbone.state_dict().items() if name.endswith("num_batches_tracked")]
    assert counted
    assert not any(counted)
    assert run(folder, tmp_path / "resnet", tmp_path / "again", "--gradient-checkpointing") == 1
    assert "leave out --gradient-checkpointing" in capsys.readouterr().err


def test_convolutions_in_groups_are_refused_as_targets():
    """Their adapters learn, and cannot be merged in the end."""
    backbone = ConvNextBackbone(ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1]))
    with pytest.raises(ValueError, match=r"dwconv of the encoder are convolutions in groups.*--lora-targets"):
        _target_pattern(backbone, ["dwconv"])


@pytest.mark.parametrize("content", ["[]", "{", '{"source": "encoder"}'])
def test_a_damaged_name_of_the_encoder_is_said(content, trained, tmp_path):
    shutil.copytree(trained("dinov3_vit", "lora", "--save-adapter") / "model", tmp_path / "model")
    (tmp_path / "model/encoder.json").write_text(content)
    with pytest.raises(ValueError, match=r"encoder.json is damaged: it does not name an encoder"):
        AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model")


def test_an_adapter_whose_encoder_is_gone_says_where_to_name_it(trained, tmp_path):
    shutil.copytree(trained("dinov3_vit", "lora", "--save-adapter") / "model", tmp_path / "model")
    file = tmp_path / "model/encoder.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"source": str(tmp_path / "gone")}))
    with pytest.raises(ValueError, match=r"lacks its encoder.*name its folder as `source` in .*encoder.json.*gone"):
        AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model")


def test_a_missing_file_of_an_adapter_is_named(trained, tmp_path):
    shutil.copytree(trained("dinov3_vit", "lora", "--save-adapter") / "model", tmp_path / "model")
    (tmp_path / "model/adapter_model.safetensors").unlink()
    with pytest.raises(OSError, match=r"adapter_model.safetensors"):
        AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "model")


def test_without_peft_an_adapter_says_what_to_install(folder, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "peft", None)
    alone = trained("dinov3_vit", "lora", "--save-adapter") / "model"
    assert main(["validate", "--model", str(alone), "--dataset", str(folder / "scenes")]) == 1
    assert "needs PEFT: pip install peft" in capsys.readouterr().err


def test_merging_what_is_not_there_is_refused(tmp_path, capsys):
    assert main(["merge", "--model", str(tmp_path / "nothing"), "--output", str(tmp_path / "o")]) == 1
    assert f"{tmp_path / 'nothing'} is no folder with an adapter, nor one on the Hub" in capsys.readouterr().err


def test_merging_makes_an_ordinary_model(trained, tmp_path, capsys):
    alone, whole = trained("swin", "lora", "--save-adapter") / "model", trained("swin", "lora") / "model"
    assert main(["merge", "--model", str(alone), "--output", str(tmp_path / "merged")]) == 0
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {path.name for path in whole.iterdir()}
    torch.testing.assert_close(answer(tmp_path / "merged"), answer(whole), rtol=0, atol=0)
    assert AutoImageProcessor.from_pretrained(tmp_path / "merged").image_mean == (0.4, 0.4, 0.4)
    assert main(["merge", "--model", str(whole), "--output", str(tmp_path / "again")]) == 1
    assert "holds no adapter" in capsys.readouterr().err


def test_the_programs_take_an_adapter(folder, trained, tmp_path, capsys):
    alone = trained("dinov3_vit", "lora", "--save-adapter") / "model"
    data = ["--dataset", str(folder / "scenes"), "--split", "validation"]
    assert main(["validate", "--model", str(alone), *data, "--output", str(tmp_path / "measured")]) == 0
    assert (tmp_path / "measured" / "results.json").exists()
    assert main(["describe", str(alone)]) == 0
    assert "setr" in capsys.readouterr().out


def test_a_card_says_what_the_encoder_is_and_what_learned(trained, tmp_path):
    """Of an encoder on the Hub; the record of the training names it."""
    model = shutil.copytree(trained("dinov3_vit", "lora") / "model", tmp_path / "model")
    record = json.loads((model / "training.json").read_text())
    assert record["encoder"].endswith("dinov3_vit")
    name = "facebook/dinov3-vits16-pretrain-lvd1689m"
    assert (record["losses"], record["augmentation"]) == ({}, None)
    changes = {"losses": {"class_weights": "balanced", "dice": 0.5}, "augmentation": [{"name": "RandomRotation"}]}
    record |= {"encoder": name, "freeze": ["backbone"], **changes}
    (model / "training.json").write_text(json.dumps(record))
    write_model_card(tmp_path / "README.md", model, "someone/mine", [])
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == name
    assert (card.data.license, card.data.license_name) == ("other", "dinov3-license")
    for words in (f"Encoder: `{name}`, licence: dinov3-license", "Frozen, and therefore as they were: `backbone`"):
        assert words in card.text
    assert "adapters of rank 2 in all linear layers" in card.text
    assert 'changed by class_weights "balanced", dice 0.5' in card.text
    assert "Augmentation: `RandomRotation`" in card.text


def test_an_adapter_is_published_with_its_repository_as_base(trained, tmp_path):
    """There the Auto classes look for the configuration. One whose encoder nobody else has is refused."""
    model = shutil.copytree(trained("dinov3_vit", "lora", "--save-adapter") / "model", tmp_path / "model")
    with pytest.raises(ValueError, match=r"others do not have. Publish the whole model, which `vitseg merge` makes"):
        config_of_published_adapter(model, "someone/mine")
    encoder = json.loads((model / "encoder.json").read_text())
    (model / "encoder.json").write_text(json.dumps(encoder | {"source": "facebook/dinov3-vits16-pretrain-lvd1689m"}))
    assert config_of_published_adapter(model, "someone/mine")["base_model_name_or_path"] == "someone/mine"
    files = files_to_publish(model)
    assert {"adapter_config.json", "adapter_model.safetensors", "encoder.json", "training.json"} <= files.keys()
    assert {"config.json", "preprocessor_config.json", "modeling_setr.py", "adapters.py"} <= files.keys()


@pytest.fixture
def hub(folder, trained, tmp_path, monkeypatch):
    """A Hub with an adapter of two revisions, as it is published, over an encoder that not everybody may download."""
    with running_hub() as hub:
        for revision, way in (("main", "lora"), ("v1", "frozen")):
            model = shutil.copytree(trained("dinov3_vit", way, "--save-adapter") / "model", tmp_path / revision)
            encoder = json.loads((model / "encoder.json").read_text())
            (model / "encoder.json").write_text(json.dumps(encoder | {"source": "meta/encoder"}))
            (model / "adapter_config.json").write_text(json.dumps(config_of_published_adapter(model, "me/adapter")))
            hub.folders["me/adapter", revision] = model
        hub.folders["meta/encoder", "main"] = folder / "dinov3_vit"
        hub.gated["meta/encoder"] = "hf_secret"
        download_from(hub, tmp_path / "hub", monkeypatch)
        yield hub


def test_an_adapter_is_had_from_the_hub_and_its_encoder_from_another_repository(hub, trained, tmp_path, monkeypatch):
    def load(**arguments):
        return AutoModelForSemanticSegmentation.from_pretrained("me/adapter", **arguments)

    with pytest.raises(ValueError, match=r"lacks its encoder.*meta/encoder"):
        load()
    models = [("lora", load(token="hf_secret")), ("frozen", load(token="hf_secret", revision="v1"))]
    # Now they are in the cache, where neither the Hub nor a token is needed.
    asked = len(hub.requests)
    models.append(("lora", load(local_files_only=True)))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    models.append(("frozen", load(revision="v1")))
    assert len(hub.requests) == asked
    for way, model in models:
        torch.testing.assert_close(answer(model), answer(trained("dinov3_vit", way) / "model"), rtol=0, atol=0)


def test_commands_take_an_adapter_of_the_hub(hub, folder, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    whole, merged, image = trained("dinov3_vit", "lora") / "model", tmp_path / "merged", tmp_path / "image.png"
    assert main(["merge", "--model", "me/adapter", "--output", str(merged)]) == 0
    assert {path.name for path in merged.iterdir()} == {path.name for path in whole.iterdir()}
    torch.testing.assert_close(answer(merged), answer(whole), rtol=0, atol=0)
    Image.effect_noise((64, 48), 90).convert("RGB").save(image)
    for name, model in (("whole", str(whole)), ("adapter", "me/adapter")):
        assert main(["segment", str(image), "--model", model, "--output", str(tmp_path / name)]) == 0
    label_maps = [np.asarray(Image.open(tmp_path / name / "image_ids.png")) for name in ("whole", "adapter")]
    assert np.array_equal(*label_maps)
    assert pipeline("image-segmentation", model="me/adapter")(str(image))
