# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
What `pip install vitseg` must be enough for, without any extra. Two processes do it, of which the second runs where
vitseg is not installed:

    python tests/core_session.py with-vitseg DIR
    python tests/core_session.py without-vitseg DIR
"""

import contextlib
import io
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation, pipeline


# Commands that need an extra, and which.
EXTRA_OF_COMMANDS = {
    "prepare": "data",
    "validate": "eval",
    "predict": "eval",
    "compare": "eval",
    "train": "train",
    "publish": "eval",
}


def with_vitseg(folder: Path) -> None:
    """Convert a golden case, load it, segment with it; be told what is missing for the rest."""
    from golden_cases import convert_case, load_case

    from vitseg.cli import main
    from vitseg.extras import EXTRAS
    from vitseg.recipes import get_recipe

    present = {module for modules in EXTRAS.values() for module in modules if find_spec(module)}
    assert not present, f"{present} are here, which the core does not bring"

    assert get_recipe("setr-pup-vit-l-ade20k-512-160k").build_config().id2label[0] == "wall"
    case = load_case("setr", "tiny_pup_slide")
    model_folder = convert_case(case, folder, "--verify")
    model = AutoModelForSemanticSegmentation.from_pretrained(model_folder).eval()
    with torch.inference_mode():
        logits = model(case.pixel_values()).logits
    case.assert_matches("logits", logits)
    torch.save({"pixel_values": case.pixel_values(), "logits": logits}, folder / "answer.pt")

    picture, segmented = str(folder / "picture.png"), folder / "segmented"
    Image.linear_gradient("L").convert("RGB").resize((90, 60)).save(picture)
    assert pipeline("image-segmentation", model=str(model_folder))(picture)
    assert main(["segment", "--model", str(model_folder), picture, "--output", str(segmented)]) == 0
    assert len(list(segmented.iterdir())) == 4
    with contextlib.redirect_stderr(io.StringIO()) as said:
        arguments = ["segment", "--model", str(model_folder), picture, "--output", str(segmented)]
        assert main([*arguments, "--manifest", str(folder / "manifest")]) == 1
    assert said.getvalue().endswith(": pip install 'vitseg[data]'\n"), said.getvalue()
    for command in (["list"], ["describe", str(model_folder)], ["convert", "--list"]):
        assert main(command) == 0

    export = ["export", "--model", str(model_folder), "--output", str(folder / "exported")]
    for command, extra in [*(([name], extra) for name, extra in EXTRA_OF_COMMANDS.items()), (export, "export")]:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert main(command) == 1
        assert said.getvalue().endswith(f": pip install 'vitseg[{extra}]'\n"), said.getvalue()


def without_vitseg(folder: Path) -> None:
    """Load the same folder by the code in it."""
    assert find_spec("vitseg") is None
    answer = torch.load(folder / "answer.pt", weights_only=True)
    model = AutoModelForSemanticSegmentation.from_pretrained(folder / "model", trust_remote_code=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(answer["pixel_values"]).logits, answer["logits"])
    AutoImageProcessor.from_pretrained(folder / "model", trust_remote_code=True)
    segment = pipeline("image-segmentation", model=str(folder / "model"), trust_remote_code=True)
    assert segment(str(folder / "picture.png"))


if __name__ == "__main__":
    {"with-vitseg": with_vitseg, "without-vitseg": without_vitseg}[sys.argv[1]](Path(sys.argv[2]))
