# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The command `vitseg`: what it lists and describes, and its exit status. Other commands have tests of their own."""

import json
import re

import pytest
from tiny_setr import save_tiny_setr

import vitseg
from vitseg.cli import COMMANDS, main
from vitseg.recipes import RECIPES, load_label_set


def described(capsys, subject: str) -> dict[str, list[str]]:
    """What `vitseg describe` says, by the name of the fact."""
    assert main(["describe", subject]) == 0
    title, blank, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith(f"{subject}: ")
    assert blank == ""
    facts: dict[str, list[str]] = {}
    for line in lines:
        name, text = line[:13].strip(), line[13:]
        facts.setdefault(name or list(facts)[-1], []).append(text)
    return facts


class TestList:
    def test_all(self, capsys):
        assert main(["list"]) == 0
        *lines, _, others = capsys.readouterr().out.splitlines()
        assert len(lines) == 2 + len(RECIPES)
        assert others.startswith("Without published results: dinov3-setr-naive-vit-s, ")
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        assert ["setr-pup-vit-l-ade20k-512-160k", "ade20k", "48.62", "50.09", "convertible"] in cells
        assert ["cts-segmenter-mask-30-vit-s-ade20k-512", "ade20k", "45.10", "", "weights never released"] in cells

    def test_of_a_method(self, capsys):
        assert main(["list", "--method", "sctnet"]) == 0
        assert [line.split()[1][:7] for line in capsys.readouterr().out.splitlines()[2:]] == ["sctnet-"] * 8


class TestDescribe:
    @pytest.mark.parametrize("name", RECIPES)
    def test_recipe(self, name, capsys):
        recipe, facts = RECIPES[name], described(capsys, name)
        assert facts["published"][0].startswith(recipe.published.figures[0])
        assert facts["weights"] == [recipe.weights.describe()]
        assert facts["licence"] == [recipe.weights.licence]
        if recipe.evaluation:
            config = dict(re.findall(r"^(\w+): (.+)$", "\n".join(facts["config"]), re.MULTILINE))
            assert json.loads(config["inference_mode"]) == recipe.evaluation.mode
            rule, *mapping = facts["labels"]
            labels = load_label_set(recipe.label_set)
            assert (rule, len(mapping)) == (labels.rule, len(labels.raw_to_train))

    def test_words_of_a_recipe(self, capsys):
        facts = described(capsys, "setr-pup-vit-l-cityscapes-768-80k")
        assert facts["published"][0] == "79.34 mIoU (not measured here)"
        assert facts["protocol"] == [
            "short side 1025 (long side at most 2049); windows of 768 x 768 at a stride of 512 x 512; no flip"
        ]
        assert "  6 -> ignored" in facts["labels"]
        assert " 26 ->  13 car" in facts["labels"]
        assert "  num_hidden_layers: 24" in facts["config"]

    def test_folder(self, capsys, tmp_path):
        folder = save_tiny_setr(tmp_path / "model", ["wall", "sky", "tree"])
        facts = described(capsys, str(folder))
        assert facts["classes"] == ["  0 wall", "  1 sky", "  2 tree"]
        assert "not converted" in facts["weights"][0]
        assert facts["licence"] == ["not known: the folder has no model card that says it"]
        assert facts["protocol"] == [
            "short side 32 (long side at most 64); windows of 32 x 32 at a stride of 21 x 21; no flip"
        ]
        assert facts["fingerprint"] == ["none"]

    def test_converted_folder(self, capsys, tmp_path):
        folder = save_tiny_setr(tmp_path / "model", ["wall", "sky", "tree"])
        record = {"recipe": "setr-pup-vit-l-ade20k-512-160k", "dtype": "float16"}
        record["file"] = {"name": "a.pth", "bytes": 5, "sha256": "0" * 64}
        (folder / "conversion.json").write_text(json.dumps(record))
        facts = described(capsys, str(folder))
        assert facts["recipe"] == ["setr-pup-vit-l-ade20k-512-160k"]
        assert facts["licence"] == ["MIT"]
        assert facts["weights"] == ["converted from a.pth (5 bytes), as float16", "sha256 " + "0" * 64]


class TestExitStatus:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "required: COMMAND"),
            (["show"], "invalid choice: 'show'"),
            (["list", "--method", "unet"], "invalid choice: 'unet'"),
            (["list", "--mehtod", "setr"], "There is no option '--mehtod'. Did you mean '--method'?"),
            (["describe"], "required: RECIPE_OR_DIR_OR_ID"),
            (["describe", "setr-pup-vit-l-ade20k-512"], "Did you mean setr-pup-vit-l-ade20k-512-160k"),
            (["describe", "unet"], "`vitseg list` lists the recipes"),
        ],
    )
    def test_wrong_usage(self, arguments, message, capsys):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert err.startswith("usage: vitseg")
        assert message in err

    def test_work_that_fails(self, tmp_path, capsys):
        assert main(["describe", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith("error: ")

    @pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)], ids=" ".join)
    def test_help(self, arguments, capsys):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 119
        assert "vitseg" in out

    def test_version(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["--version"])
        assert stop.value.code == 0
        assert capsys.readouterr().out == f"vitseg {vitseg.__version__}\n"


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("vitseg.recipes.listing.run", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
