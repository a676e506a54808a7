# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Saved models load through the Auto classes and pipelines of transformers, with vitseg imported or as remote code.

What an import does can only be seen in a fresh process, so most of this runs in processes of their own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForSemanticSegmentation, Dinov2Config, PreTrainedConfig, PreTrainedModel

import vitseg
from vitseg import PlainVitConfig
from vitseg.publishing.fresh_process import SOURCE, run_script


LABELS = ["sky", "sea", "sand", "rock"]


@dataclass(frozen=True)
class SavedModel:
    """A model folder as it would be published, an image, and what the model answers for it."""

    prefix: str
    folder: Path
    image: Path
    logits: torch.Tensor
    label_map: np.ndarray

    def assert_answered(self, answer: Path) -> None:
        """Compare what a process saved with the answer of the model that was saved."""
        answered = torch.load(answer)
        torch.testing.assert_close(answered["logits"], self.logits, rtol=1e-5, atol=1e-6)
        expected = {LABELS[index]: self.label_map == index for index in np.unique(self.label_map)}
        assert len(expected) > 1
        assert set(answered["masks"]) == set(expected)
        for label, mask in answered["masks"].items():
            assert np.array_equal(mask.numpy() > 0, expected[label]), label


def build_model(prefix: str, backbone_config: PreTrainedConfig) -> PreTrainedModel:
    """A model of the method whose classes begin with `prefix`."""
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: index for index, label in enumerate(LABELS)}}
    decoder: Any = DECODERS[prefix]
    backbone = {} if prefix.startswith("SctNet") else {"backbone_config": backbone_config}
    config = getattr(vitseg, f"{prefix}Config")(**backbone, **decoder, **labels)
    return getattr(vitseg, f"{prefix}ForSemanticSegmentation")(config).eval()


def save_model(folder: Path, prefix: str, backbone_config: PreTrainedConfig) -> SavedModel:
    model = build_model(prefix, backbone_config)
    image_processor = getattr(vitseg, f"{prefix}ImageProcessor")(size={"shortest_edge": 32, "longest_edge": 128})
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 70, 3), dtype=np.uint8))
    inputs = image_processor(image, return_tensors="pt")
    make_choosy(model, inputs["pixel_values"])
    with torch.no_grad():
        outputs = model(**inputs)
    (label_map,) = image_processor.post_process_semantic_segmentation(outputs, target_sizes=[(40, 70)])
    image.save(folder / "image.png")
    model.save_pretrained(folder / "model")
    image_processor.save_pretrained(folder / "model")
    return SavedModel(prefix, folder / "model", folder / "image.png", outputs.logits, label_map.numpy())


def make_choosy(model: PreTrainedModel, pixel_values: torch.Tensor) -> None:
    """A new model prefers one class everywhere."""
    with torch.no_grad():
        if model.config.model_type in ("setr", "sctnet", "sctnet_teacher"):
            model.decode_head.classifier.bias -= model(pixel_values).logits.mean(dim=(0, 2, 3))
            return
        if model.config.model_type == "cts_segmenter":
            # New patches are nearly alike.
            for parameter in model.get_input_embeddings().parameters():
                parameter *= 5
            return
        if model.config.model_type == "structtoken":
            # New structure tokens are nearly the same for all classes.
            model.decode_head.structure_tokens *= 500
            return
        # Each query says its own class, and the masks differ from place to place.
        model.decode_head.classifier.weight.zero_()
        model.decode_head.classifier.weight[:4] = 10 * torch.linalg.pinv(last_queries(model, pixel_values)).T
        model.decode_head.decoders[-1].layers[-1].cross_attention.k_proj.weight *= 1000


def last_queries(model: PreTrainedModel, pixel_values: torch.Tensor) -> torch.Tensor:
    outputs = []
    handle = model.decode_head.decoders[-1].register_forward_hook(
        lambda module, inputs, output: outputs.append(output)
    )
    model(pixel_values)
    handle.remove()
    queries, _ = outputs[0][-1]
    return queries[0]


DECODERS = {
    "CtsSegmenter": {"decoder_num_attention_heads": 2, "decoder_num_layers": 1},
    "Setr": {"decoder_type": "naive", "decoder_hidden_size": 16},
    "SegVit": {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_layers": 1},
    "StructToken": {"decoder_hidden_size": 16, "decoder_num_layers": 1},
    "SctNet": {"base_channels": 8, "context_channels": 8, "image_size": 32},
    "SctNetTeacher": {
        "encoder_config": {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [8, 16, 20, 24],
            "num_attention_heads": [1, 2, 2, 2],
        },
        "decoder_hidden_size": 8,
        "image_size": 32,
    },
}
# Patches of the plain ViT; one method has a policy network in it.
PATCHES = {"CtsSegmenter": {"patch_size": 16, "image_size": 64, "token_sharing": 2}}
SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "out_indices": [1, 2]}
# The code files of a published folder: of a segmenter, of a decoder over a backbone, and of each method.
SEGMENTER = {"configuration_semantic", "image_processing_semantic", "images", "layers", "modeling_semantic"}
SEGMENTER |= {"adapters", "labels", "pipelines", "pixel_losses", "score_maps", "sliding_window", "strict"}
DECODER = {"configuration_decoder", "configuration_plain_vit", "modeling_decoder", "modeling_plain_vit"}
# What a plain ViT loads where it shares tokens.
DECODER |= {"configuration_cts_policy", "modeling_cts_policy", "token_sharing"}
CODE = {"Setr": DECODER, "SegVit": DECODER, "StructToken": DECODER, "CtsSegmenter": DECODER}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> list[SavedModel]:
    """A folder of each method, and of those that take any backbone another one over Dinov2."""
    models = []
    for prefix in DECODERS:
        patches = PATCHES.get(prefix, {"patch_size": 8})
        backbones = [PlainVitConfig(**{**SIZES, **patches}, intermediate_size=96)]
        if not prefix.startswith("SctNet"):
            backbones.append(Dinov2Config(**SIZES, mlp_ratio=2, patch_size=8))
        models += [save_model(tmp_path_factory.mktemp("published"), prefix, backbone) for backbone in backbones]
    return models


ANSWER = """
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoBackbone, AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline


def answer(folder, output_file, **kwargs):
    image = Image.open(folder.parent / "image.png")
    model = AutoModelForSemanticSegmentation.from_pretrained(folder, **kwargs)
    image_processor = AutoImageProcessor.from_pretrained(folder, **kwargs)
    with torch.no_grad():
        logits = model(**image_processor(image, return_tensors="pt")).logits
    segments = pipeline("image-segmentation", model=str(folder), device="cpu", **kwargs)(image)
    masks = {segment["label"]: torch.from_numpy(np.array(segment["mask"])) for segment in segments}
    torch.save({"logits": logits, "masks": masks}, output_file)
    return model, image_processor


output, *folders = map(Path, sys.argv[1:])
"""

IMPORTED = f"""{ANSWER}
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

barrier = Barrier(2)


def load_first(folder):
    barrier.wait()
    import vitseg

    return type(AutoModelForSemanticSegmentation.from_pretrained(folder)).__module__.startswith("vitseg.")


# Two threads load their first model at once.
with ThreadPoolExecutor(2) as threads:
    assert all(threads.map(load_first, (folders[0], folders[-1])))

import vitseg

assert set(vitseg.__all__) <= set(dir(vitseg))
for name in vitseg.__all__:
    assert getattr(vitseg, name).__name__ == name
for index, folder in enumerate(folders):
    model, image_processor = answer(folder, output / f"{{index}}.pt")
    prefix = type(model).__name__.removesuffix("ForSemanticSegmentation")
    model_class = getattr(vitseg, prefix + "ForSemanticSegmentation")
    assert type(model) is model_class
    assert type(image_processor) is getattr(vitseg, prefix + "ImageProcessor")
    if prefix == "SctNet":
        assert type(AutoBackbone.from_config(model.config)) is vitseg.SctNetBackbone
    elif prefix != "SctNetTeacher" and model.config.backbone_config.model_type == "plain_vit":
        assert type(AutoBackbone.from_config(model.config.backbone_config)) is vitseg.PlainVitBackbone
    # What was imported goes before the code in the folder.
    model = AutoModelForSemanticSegmentation.from_pretrained(folder, trust_remote_code=True)
    assert type(model) is model_class
"""

REMOTE = f"""import sys

sys.modules["vitseg"] = None
{ANSWER}
for index, folder in enumerate(folders):
    model, image_processor = answer(folder, output / f"{{index}}.pt", trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    again = output / f"again_{{index}}"
    model.save_pretrained(again)
    image_processor.save_pretrained(again)
    AutoModelForSemanticSegmentation.from_pretrained(again, trust_remote_code=True)
"""


@pytest.mark.slow
def test_with_vitseg_imported(saved, tmp_path):
    folders = [model.folder for model in saved]
    run_script(IMPORTED, tmp_path, *folders, folder=tmp_path, PYTHONPATH=str(SOURCE))
    for index, model in enumerate(saved):
        model.assert_answered(tmp_path / f"{index}.pt")


@pytest.mark.slow
def test_as_remote_code_without_vitseg(saved, tmp_path):
    run_script(REMOTE, tmp_path, *(model.folder for model in saved), folder=tmp_path)
    for index, model in enumerate(saved):
        model.assert_answered(tmp_path / f"{index}.pt")
        again = tmp_path / f"again_{index}"
        files = [{path.name for path in folder.iterdir()} for folder in (model.folder, again)]
        assert files[0] == files[1]
        loaded, original = (AutoModelForSemanticSegmentation.from_pretrained(path) for path in (again, model.folder))
        assert type(loaded) is type(original)
        for name, tensor in original.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name


def test_published_folders_hold_the_code_that_they_run(saved):
    for model in saved:
        method = json.loads((model.folder / "config.json").read_text())["model_type"]
        own = {f"{kind}_{method}" for kind in ("configuration", "modeling", "image_processing")}
        code = {path.stem for path in model.folder.glob("*.py")}
        assert code == own | SEGMENTER | CODE.get(model.prefix, set()), model.prefix
