# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Every decoder over pretrained encoders of other makes, and every way to train it there.

Each encoder is there in each way, and each decoder over a plain ViT and over a pyramid.
"""

from pathlib import Path

import pytest
import torch
from small_encoders import save_encoder
from training_runs import stop_after, train, weights
from transformers import AutoModelForSemanticSegmentation, PreTrainedModel

from vitseg.scenes import write_scenes


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_state")]
ENCODERS = ["dinov2", "dinov3_vit", "swin", "convnext"]
SMALL = ["model.decoder_hidden_size=16"]
DECODERS = {
    "setr-naive": SMALL,
    "setr-pup": SMALL,
    "setr-mla": [*SMALL, "model.mla_branch_size=8"],
    "segvit": [*SMALL, "model.decoder_num_attention_heads=2"],
    "structtoken-pwe": ["model.decoder_num_layers=2"],
    "segmenter": [*SMALL, "model.decoder_num_attention_heads=2"],
}
WAYS = {"frozen": [], "lora": ["--lora", "2"], "whole": ["--set", "training.freeze=[]"]}
CASES = [
    ("setr-naive", "dinov2", "frozen"),
    ("setr-pup", "dinov2", "lora"),
    ("setr-mla", "dinov2", "whole"),
    ("segvit", "dinov3_vit", "frozen"),
    ("structtoken-pwe", "dinov3_vit", "lora"),
    ("segmenter", "dinov3_vit", "whole"),
    ("setr-pup", "swin", "frozen"),
    ("setr-mla", "swin", "lora"),
    ("setr-naive", "swin", "whole"),
    ("structtoken-pwe", "convnext", "frozen"),
    ("segmenter", "convnext", "lora"),
    ("segvit", "convnext", "whole"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set (`scenes`), and encoders by their names."""
    folder = tmp_path_factory.mktemp("decoders")
    write_scenes(folder / "scenes", num_train=4, num_validation=1)
    for name in ENCODERS:
        save_encoder(name, folder / name)
    return folder


def run(folder: Path, decoder: str, encoder: str, output: Path, *options: str) -> int:
    """Two steps on crops of whole patches, with a checkpoint after each."""
    side = 70 if encoder == "dinov2" else 64
    settings = [
        f"training.crop_size=[{side}, {side}]",
        f"training.scale=[128, {side}]",
        "training.warmup_iterations=1",
        f"evaluation.scale=[128, {side}]",
        'image_processor.size={"shortest_edge": 64, "longest_edge": 128}',
        *DECODERS[decoder],
    ]
    return train(
        *["--recipe", f"dinov3-{decoder}-vit-s", "--backbone", folder / encoder, "--dataset", folder / "scenes"],
        *["--output", output, "--workers=0", "--log-every=1", "--iterations=2", "--batch-size=2"],
        *["--checkpoint-every=1", *options],
        *(argument for setting in settings for argument in ("--set", setting)),
    )


def load(output: Path) -> PreTrainedModel:
    return AutoModelForSemanticSegmentation.from_pretrained(output / "model").eval()


@pytest.mark.parametrize(("decoder", "encoder", "way"), CASES)
def test_a_decoder_over_an_encoder(decoder, encoder, way, folder, tmp_path, monkeypatch):
    """Stopped and resumed, and saved as what was learned alone, it is the model of a run without a stop."""
    monkeypatch.setattr("vitseg.training.run_folder.plot_training", lambda *given: None)  # a fifth of the time
    options = [*WAYS[way], *(["--save-adapter"] if way != "whole" else [])]
    assert run(folder, decoder, encoder, tmp_path / "at once", *WAYS[way]) == 0
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        assert run(folder, decoder, encoder, tmp_path / "stopped", *options) == 143
    assert run(folder, decoder, encoder, tmp_path / "stopped", *options, "--resume") == 0
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("at once", "stopped")]
    assert metrics[0] == metrics[1]

    model, resumed = load(tmp_path / "at once"), load(tmp_path / "stopped")
    pixel_values = torch.randn(2, 3, 66, 90)
    with torch.no_grad():
        logits = model(pixel_values).logits
        assert torch.equal(resumed(pixel_values).logits, logits)
    assert logits.isfinite().all()
    assert logits.shape == (2, model.config.num_labels, 66, 90)

    start = {value.numpy().tobytes() for value in weights(folder, encoder).values()}
    # Norms of inner feature maps are no part of an encoder that has none for them.
    learned = {
        name
        for name, value in model.backbone.state_dict().items()
        if not name.startswith("hidden_states_norms.") and value.numpy().tobytes() not in start
    }
    assert bool(learned) == (way != "frozen"), learned
