# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`vitseg publish`: what a repository would hold, and uploads to a stand-in for the Hub."""

import functools
import json
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from golden_cases import convert_case, load_case
from hub_stand_in import Hub, running_hub
from huggingface_hub import ModelCard
from programs import load_here
from tiny_setr import save_tiny_setr

from vitseg import cli
from vitseg.conversion import fingerprint
from vitseg.publishing import publish, upload
from vitseg.publishing.fresh_process import load_in_fresh_process
from vitseg.scenes import SCENE_CLASSES, write_scenes


REPOSITORY = "someone/tiny"
RECIPE = "setr-naive-vit-l-ade20k-512-160k"


def run(*arguments: str | Path) -> int:
    return cli.main(["publish", *map(str, arguments)])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, num_train=1, num_validation=2)
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory) -> Path:
    return convert_case(load_case("setr", "tiny_naive"), tmp_path_factory.mktemp("converted"), "--verify")


@pytest.fixture
def model(converted, tmp_path) -> Path:
    """A converted folder, as if its file had been that of a recipe."""
    folder = tmp_path / "model"
    shutil.copytree(converted, folder)
    record = json.loads((folder / "conversion.json").read_text())
    (folder / "conversion.json").write_text(json.dumps({**record, "recipe": RECIPE}))
    return folder


@pytest.fixture
def loads(monkeypatch):
    """Folders are loaded in this process. What only a fresh one shows is seen by the tests without this."""
    monkeypatch.setattr(publish, "load_in_fresh_process", load_here)


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(upload, "HfApi", functools.partial(huggingface_hub.HfApi, hub.url, token="hf_secret"))
        monkeypatch.setattr(upload.time, "sleep", lambda seconds: None)
        yield hub


class TestDryRun:
    def test_holds_what_the_repository_would(self, model, tmp_path, loads):
        output = tmp_path / "dry"
        assert run("--model", model, "--repo", REPOSITORY, "--dry-run", output) == 0
        names = {path.name for path in output.iterdir()}
        assert names == {path.name for path in model.iterdir()} | {"README.md"}
        for name in names - {"README.md", "fingerprint.json"}:
            assert (output / name).read_bytes() == (model / name).read_bytes()
        assert fingerprint.main([str(output)]) == 0

    def test_twice_gives_the_same(self, model, tmp_path, loads):
        for name in ("one", "two"):
            assert run("--model", model, "--repo", REPOSITORY, "--dry-run", tmp_path / name) == 0
        for path in (tmp_path / "one").iterdir():
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name

    def test_model_that_was_trained(self, tmp_path, loads, capsys):
        model = save_tiny_setr(tmp_path / "model", ["wall", "sky"])
        (model / "optimizer.bin").write_bytes(b"")
        arguments = ("--model", model, "--repo", REPOSITORY, "--dry-run", tmp_path / "dry")
        assert run(*arguments) == 1
        assert "say --license" in capsys.readouterr().err
        assert run(*arguments, "--license", "cc-by-4.0") == 0
        assert "Left out: optimizer.bin" in capsys.readouterr().out
        card = ModelCard.load(tmp_path / "dry" / "README.md")
        assert card.data.license == "cc-by-4.0"
        assert "They were trained with vitseg." in card.text
        assert fingerprint.main([str(tmp_path / "dry")]) == 0


class TestCard:
    def card(self, model: Path, output: Path, *options: str | Path) -> ModelCard:
        assert run("--model", model, "--repo", REPOSITORY, "--dry-run", output, *options) == 0
        return ModelCard.load(output / "README.md")

    def test_published_figures_are_text_alone(self, model, tmp_path, loads):
        card = self.card(model, tmp_path / "dry")
        assert card.data.eval_results is None
        assert "model-index" not in card.data.to_dict()
        assert "Published, not measured here: **48.06 mIoU, 48.80 with multi-scale and flip** on ade20k" in card.text
        assert "Nothing was measured with these converted weights." in card.text
        assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
            "mit",
            "transformers",
            "image-segmentation",
        )
        assert card.data.datasets == ["scene_parse_150"]
        sha256 = json.loads((model / "conversion.json").read_text())["file"]["sha256"]
        assert sha256 in card.text
        assert f'model="{REPOSITORY}"' in card.text
        assert "SETR segments an image with a plain Vision Transformer" in card.text

    def test_licence_that_is_no_open_one(self, model, tmp_path, loads, capsys):
        record = json.loads((model / "conversion.json").read_text())
        record["recipe"] = "segvit-atm-vit-b-ade20k-512-160k"
        (model / "conversion.json").write_text(json.dumps(record))
        # Its method is another one, but the licence is that of the recipe.
        config = json.loads((model / "config.json").read_text())
        assert config["model_type"] == "setr"
        arguments = ("--model", model, "--repo", REPOSITORY, "--dry-run", tmp_path / "dry")
        assert run(*arguments, "--license", "mit") == 1
        assert "LicenseRef-BSD-2-Clause-academic-use, not mit" in capsys.readouterr().err

    def test_measured_figures(self, tmp_path, scenes, loads, capsys):
        model = save_tiny_setr(tmp_path / "model", SCENE_CLASSES)
        measured = ("--model", model, "--dataset", scenes, "--workers", 0, "--output")
        assert cli.main(["validate", *map(str, measured), str(tmp_path / "all")]) == 0
        assert cli.main(["validate", *map(str, measured), str(tmp_path / "part"), "--limit", "1"]) == 0
        results = tmp_path / "all" / "results.json"
        options = ("--license", "mit", "--results", results)
        card = self.card(model, tmp_path / "dry", *options)
        scores = json.loads(results.read_text())["scores"]
        index = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert index == {
            name: round(100 * scores[name], 2) for name in ("mean_iou", "mean_accuracy", "overall_accuracy")
        }
        assert card.data.model_name == "tiny"
        assert f"{100 * scores['mean_iou']:.2f}" in card.text

        arguments = ("--model", model, "--repo", REPOSITORY, "--dry-run", tmp_path / "none", "--license", "mit")
        assert run(*arguments, "--results", tmp_path / "part" / "results.json") == 1
        assert "measured on the first 1 images alone" in capsys.readouterr().err
        assert run(*arguments, "--results", model / "config.json") == 1
        assert "is no results.json" in capsys.readouterr().err
        other = save_tiny_setr(tmp_path / "other", [*SCENE_CLASSES, "boat"])
        assert run("--model", other, *arguments[2:], "--results", results) == 1
        assert "measured with other weights" in capsys.readouterr().err
        assert not (tmp_path / "none").exists()


class TestRefusals:
    def refuse(self, model: Path, output: Path, capsys) -> str:
        capsys.readouterr()
        assert run("--model", model, "--repo", REPOSITORY, "--dry-run", output) == 1
        assert not output.exists()
        return capsys.readouterr().err

    def test_other_answers_than_the_fingerprint(self, model, tmp_path, loads, capsys):
        file = model / "fingerprint.json"
        taken = json.loads(file.read_text())
        taken["answers"]["logits"]["mean"] += 0.1
        file.write_text(json.dumps(taken))
        assert "does not answer as its fingerprint says" in self.refuse(model, tmp_path / "dry", capsys)

    @pytest.mark.slow
    def test_code_that_prints_or_needs_vitseg(self, model, tmp_path, capsys):
        code = model / "modeling_setr.py"
        code.write_text(code.read_text() + "\nimport vitseg\n")
        err = self.refuse(model, tmp_path / "dry", capsys)
        assert "loaded without vitseg" in err
        assert "vitseg" in err.splitlines()[-1]

    def test_link_out_of_the_folder(self, model, tmp_path, capsys):
        secret = tmp_path / "secret"
        secret.write_text("mine")
        (model / "LICENSE").symlink_to(secret)
        assert f"is a link to {secret}" in self.refuse(model, tmp_path / "dry", capsys)

    def test_teacher(self, model, tmp_path, capsys):
        config = model / "config.json"
        config.write_text(config.read_text().replace('"model_type": "setr"', '"model_type": "sctnet_teacher"'))
        assert "A sctnet_teacher is not published: SegFormer's" in self.refuse(model, tmp_path / "dry", capsys)

    def test_folder_that_is_no_model(self, tmp_path, capsys):
        assert "There is no model folder" in self.refuse(tmp_path / "missing", tmp_path / "dry", capsys)
        (tmp_path / "empty").mkdir()
        assert "has no config.json" in self.refuse(tmp_path / "empty", tmp_path / "dry", capsys)

    @pytest.mark.parametrize("name", ["tiny", "a/b/c", "some one/tiny"])
    def test_names(self, name, model, capsys):
        with pytest.raises(SystemExit) as stop:
            run("--model", model, "--repo", name)
        assert stop.value.code == 2
        assert "--repo" in capsys.readouterr().err

    def test_dry_run_over_something(self, model, tmp_path, capsys):
        with pytest.raises(SystemExit) as stop:
            run("--model", model, "--repo", REPOSITORY, "--dry-run", model)
        assert stop.value.code == 2
        assert "already exists" in capsys.readouterr().err


# huggingface_hub's own, of how it hands a file to its HTTP library.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.usefixtures("loads")
class TestUpload:
    def test_one_commit_of_all_files(self, hub: Hub, model, tmp_path, capsys):
        arguments = ("--model", model, "--repo", REPOSITORY, "--private")
        assert run(*arguments) == 0
        assert "Published: http://" in capsys.readouterr().out
        assert (hub.created["organization"], hub.created["name"]) == ("someone", "tiny")
        assert "private" in (
            hub.created.get("visibility"),
            *(key for key, value in hub.created.items() if value is True),
        )
        assert run("--model", model, "--repo", REPOSITORY, "--dry-run", tmp_path / "dry") == 0
        assert hub.files == {path.name: path.read_bytes() for path in (tmp_path / "dry").iterdir()}
        assert len(hub.commits) == 1
        assert set(hub.commits[0]) == set(hub.files)

    def test_again_uploads_nothing(self, hub, model, capsys):
        arguments = ("--model", model, "--repo", REPOSITORY)
        assert run(*arguments) == 0
        hub.requests.clear()
        assert run(*arguments) == 0
        assert "someone/tiny holds all of this already" in capsys.readouterr().out
        assert len(hub.commits) == 1
        assert not [request for request in hub.requests if request.startswith("PUT") or "/commit/" in request]

    def test_only_what_has_changed(self, hub, model):
        arguments = ("--model", model, "--repo", REPOSITORY)
        assert run(*arguments) == 0
        code = model / "modeling_setr.py"
        code.write_text(code.read_text() + "# A remark.\n")
        assert run(*arguments) == 0
        assert hub.commits[1:] == [["modeling_setr.py"]]

    def test_failures_of_the_server_are_tried_again(self, hub, model, capsys):
        hub.failures = {"/api/repos/create": 1, "/commit/main": 2}
        assert run("--model", model, "--repo", REPOSITORY) == 0
        assert capsys.readouterr().err.count("Trying again in") == 3
        assert len(hub.commits) == 1
        assert len([request for request in hub.requests if request.startswith("PUT")]) == 1

    def test_gives_up_and_goes_on_in_another_run(self, hub, model, capsys):
        arguments = ("--model", model, "--repo", REPOSITORY)
        hub.failures = {"/commit/main": 5}
        assert run(*arguments) == 1
        assert re.search(r"^error: .*500", capsys.readouterr().err, re.MULTILINE)
        assert hub.commits == []
        assert run(*arguments) == 0
        assert len(hub.commits) == 1
        # The weights were there already.
        assert len([request for request in hub.requests if request.startswith("PUT")]) == 1

    def test_what_the_server_refuses_is_not_tried_again(self, hub, model, capsys, monkeypatch):
        monkeypatch.setattr(upload, "HfApi", functools.partial(huggingface_hub.HfApi, f"{hub.url}/nowhere", token="x"))
        assert run("--model", model, "--repo", REPOSITORY) == 1
        assert "Trying again" not in capsys.readouterr().err
        assert len(hub.requests) == 1


CASES = (
    ("cts_segmenter", "tiny_mask_policy"),
    ("hlg", "tiny_cls"),
    ("hlg", "tiny_det"),
    ("hlg", "tiny_seg"),
    ("sctnet", "tiny_square"),
    ("segvit", "tiny-atm"),
    ("setr", "tiny_pup"),
    ("structtoken", "tiny_pwe"),
)


@pytest.mark.slow
def test_models_of_every_method_from_conversion_to_publication(tmp_path, monkeypatch, capsys):
    """A fresh process takes seconds to start: the first of each kind loads the models of all methods."""
    folders = [convert_case(load_case(*case), tmp_path / case[1]) for case in CASES]
    answers: dict[bool, dict[Path, fingerprint.Fingerprint]] = {}

    def load_all(wanted, *, remote_code):
        if remote_code not in answers:
            loaded = load_in_fresh_process(folders, remote_code=remote_code)
            answers[remote_code] = dict(zip(folders, loaded, strict=True))
        return [answers[remote_code][folder] for folder in wanted]

    monkeypatch.setattr(publish, "load_in_fresh_process", load_all)
    for (method, case), folder in zip(CASES, folders, strict=True):
        output = tmp_path / "dry" / case
        options = ("--license", "other", "--dry-run", output)
        assert run("--model", folder, "--repo", f"someone/{method}", *options) == 0
        printed = capsys.readouterr().out
        assert "Loads with vitseg; it differs" in printed
        assert "Loads without vitseg, with trust_remote_code=True; it differs" in printed
        assert ModelCard.load(output / "README.md").data.library_name == "transformers"
        assert (output / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
