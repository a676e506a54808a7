# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Saved models load through the Auto classes and pipelines of transformers, with vitseg imported or as remote code.

What an import does can only be seen in a fresh process, so most of this runs in processes of their own.
"""

import json
from dataclasses import dataclass
from pathlib import Path

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
    backbone = {} if prefix.startswith("SctNet") else {"backbone_config": backbone_config}
    config = getattr(vitseg, f"{prefix}Config")(**backbone, **DECODERS[prefix], **labels)
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


@pytest.fixture(scope="module", params=DECODERS)
def saved(request, tmp_path_factory) -> SavedModel:
    patches = PATCHES.get(request.param, {"patch_size": 8})
    backbone_config = PlainVitConfig(**{**SIZES, **patches}, intermediate_size=96)
    return save_model(tmp_path_factory.mktemp("published"), request.param, backbone_config)


@pytest.fixture(scope="module")
def saved_with_dinov2(saved, tmp_path_factory) -> SavedModel:
    if saved.prefix.startswith("SctNet"):
        return saved  # which has a backbone of its own
    backbone_config = Dinov2Config(**SIZES, mlp_ratio=2, patch_size=8)
    return save_model(tmp_path_factory.mktemp("published_with_dinov2"), saved.prefix, backbone_config)


ANSWER = """
def answer(folder, image_file, output_file, **kwargs):
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

    image = Image.open(image_file)
    model = AutoModelForSemanticSegmentation.from_pretrained(folder, **kwargs)
    image_processor = AutoImageProcessor.from_pretrained(folder, **kwargs)
    with torch.no_grad():
        logits = model(**image_processor(image, return_tensors="pt")).logits
    segments = pipeline("image-segmentation", model=folder, device="cpu", **kwargs)(image)
    masks = {segment["label"]: torch.from_numpy(np.array(segment["mask"])) for segment in segments}
    torch.save({"logits": logits, "masks": masks}, output_file)
    return model, image_processor
"""

VITSEG_FIRST = f"""{ANSWER}
import sys

import vitseg

assert "torch" not in sys.modules
assert "transformers" not in sys.modules
assert set(vitseg.__all__) <= set(dir(vitseg))
answer(*sys.argv[1:])
for name in vitseg.__all__:
    assert getattr(vitseg, name).__name__ == name
try:
    vitseg.SetrForSegmentation
except AttributeError as error:
    assert "SetrForSegmentation" in str(error)
else:
    raise AssertionError("vitseg has a name that it should not have")
"""

TRANSFORMERS_FIRST = f"""{ANSWER}
import sys

from transformers import AutoBackbone, AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline

import vitseg

model, image_processor = answer(*sys.argv[1:])
prefix = type(model).__name__.removesuffix("ForSemanticSegmentation")
model_class = getattr(vitseg, prefix + "ForSemanticSegmentation")
assert type(model) is model_class
assert type(image_processor) is getattr(vitseg, prefix + "ImageProcessor")
if prefix == "SctNet":
    assert type(AutoBackbone.from_config(model.config)) is vitseg.SctNetBackbone
elif prefix != "SctNetTeacher":
    assert type(AutoBackbone.from_config(model.config.backbone_config)) is vitseg.PlainVitBackbone
# What was imported goes before the code in the folder.
model = AutoModelForSemanticSegmentation.from_pretrained(sys.argv[1], trust_remote_code=True)
assert type(model) is model_class
"""

REMOTE_CODE = f"""{ANSWER}
import sys

sys.modules["vitseg"] = None
folder, folder_with_dinov2, image_file, output_file, folder_again, output_file_again, output_file_dinov2 = sys.argv[1:]
model, image_processor = answer(folder, image_file, output_file, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules."), type(model)
model.save_pretrained(folder_again)
image_processor.save_pretrained(folder_again)
answer(folder_again, image_file, output_file_again, trust_remote_code=True)
answer(folder_with_dinov2, image_file, output_file_dinov2, trust_remote_code=True)
"""


@pytest.mark.parametrize("script", [VITSEG_FIRST, TRANSFORMERS_FIRST], ids=["vitseg_first", "transformers_first"])
def test_with_vitseg_imported(script, saved, tmp_path):
    run_script(script, saved.folder, saved.image, tmp_path / "answer.pt", folder=tmp_path, PYTHONPATH=str(SOURCE))
    saved.assert_answered(tmp_path / "answer.pt")


def test_as_remote_code_without_vitseg(saved, saved_with_dinov2, tmp_path):
    inputs = [saved.folder, saved_with_dinov2.folder, saved.image]
    outputs = [tmp_path / name for name in ("answer.pt", "again", "answer_again.pt", "answer_dinov2.pt")]
    run_script(REMOTE_CODE, *inputs, *outputs, folder=tmp_path)
    saved.assert_answered(tmp_path / "answer.pt")
    saved.assert_answered(tmp_path / "answer_again.pt")
    saved_with_dinov2.assert_answered(tmp_path / "answer_dinov2.pt")

    model = AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "again")
    model_class = getattr(vitseg, f"{saved.prefix}ForSemanticSegmentation")
    assert type(model) is model_class
    original = model_class.from_pretrained(saved.folder)
    for name, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    files = [{path.name for path in folder.iterdir()} for folder in (saved.folder, tmp_path / "again")]
    assert files[0] == files[1]


def test_published_folders_hold_their_code(saved):
    files = {path.name for path in saved.folder.iterdir()}
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= files
    method = json.loads((saved.folder / "config.json").read_text())["model_type"]
    code = {f"{kind}_{method}.py" for kind in ("configuration", "modeling", "image_processing")}
    assert code | {"modeling_plain_vit.py"} <= files
