# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Publish a model folder on the Hugging Face Hub, with a model card, after checking that others can load it.

    vitseg publish --model DIR --repo ORG/NAME --dry-run FOLDER
    vitseg publish --model DIR --repo ORG/NAME --results runs/measured/results.json --private

The folder is loaded in fresh processes, with vitseg and without it, which must print no warning and answer as its
fingerprint says. The card states what conversion.json and the recipe say of the weights, published figures as
published, and measured ones from the results.json files of `vitseg validate` alone; those of data sets on the Hub go
into .eval_results, too, where the Hub's leaderboards read them. All files go up in one commit.
A run that failed is started again, and uploads only what is missing; what is there already is not uploaded twice.

With --dry-run nothing leaves the machine: FOLDER gets what the repository would. To log in, `hf auth login`.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError, HTTPError
from huggingface_hub.utils import validate_repo_id

from ..conversion import fingerprint, provenance
from ..conversion.fingerprint import Fingerprint, check_fingerprint, read_fingerprint
from ..inference.confidence import CALIBRATION_FILE
from ..models.adapters import ADAPTER_CONFIG, ADAPTER_FILES, ENCODER_FILE
from ..replacing import replacing, standing, write_json
from .card import read_results, write_model_card
from .eval_results import write_eval_results
from .fresh_process import load_in_fresh_process
from .upload import upload


CARD = "README.md"
NEEDED = ("config.json", "preprocessor_config.json", "*.safetensors", "modeling_*.py")
# What is published; model folders of a training run hold more.
RECORDS = (provenance.FILE, provenance.TRAINING_FILE, CALIBRATION_FILE)
PUBLISHED = (*NEEDED, "*.py", "*.safetensors.index.json", "LICENSE*", *ADAPTER_FILES, ENCODER_FILE, *RECORDS)
# Method -> why its weights are not to be published.
NOT_PUBLISHED = {
    "sctnet_teacher": "SegFormer's weights are NVIDIA's, for non-commercial use, and only training needs them. "
    "Convert the teacher where it is used"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="model folder")
    parser.add_argument("--repo", required=True, metavar="ORG/NAME", help="repository, made if need be")
    parser.add_argument("--private", action="store_true", help="if it is made, only its owners can see it")
    parser.add_argument(
        "--results",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="results.json files of `vitseg validate`",
    )
    parser.add_argument("--license", metavar="ID", help="the Hub's name of the licence, for weights of no recipe")
    parser.add_argument("--dry-run", type=Path, metavar="FOLDER", help="write all files to FOLDER, and upload nothing")


def run(args: argparse.Namespace) -> int:
    try:
        validate_repo_id(args.repo)
    except HFValidationError as error:
        args.usage_error(f"--repo: {error}")
    if "/" not in args.repo:
        args.usage_error(f"--repo is {args.repo}; expected ORG/NAME")
    if args.dry_run and args.dry_run.exists() and (not args.dry_run.is_dir() or any(args.dry_run.iterdir())):
        args.usage_error(f"--dry-run {args.dry_run} already exists; give a new folder, or delete it first")
    try:
        publish(args)
    except HTTPError as error:
        raise OSError(str(error)) from error
    return 0


def publish(args: argparse.Namespace) -> None:
    model = Path(standing(args.model))
    files = files_to_publish(model)
    records = read_results(args.results, model)
    with tempfile.TemporaryDirectory(prefix="publish-") as name:
        # Before the processes, which take seconds: it may be refused.
        files[CARD] = Path(name) / CARD
        write_model_card(files[CARD], model, args.repo, records, args.license)
        files |= write_eval_results(Path(name), records)
        files[fingerprint.FILE] = Path(name) / fingerprint.FILE
        if ENCODER_FILE in files:
            files[ADAPTER_CONFIG] = Path(name) / ADAPTER_CONFIG
            write_json(files[ADAPTER_CONFIG], config_of_published_adapter(model, args.repo))
        write_json(files[fingerprint.FILE], check_loading(model))
        if args.dry_run:
            copy(files, args.dry_run)
        else:
            upload(files, args.repo, args.private)


def files_to_publish(folder: Path) -> dict[str, Path]:
    """
    The files of a model folder by their names in the repository, without card and fingerprint.

    Raises:
        ValueError: if some are missing, lead out of the folder, or are not to be published.
    """
    if not folder.is_dir():
        raise ValueError(f"There is no model folder {folder}.")
    if missing := [pattern for pattern in NEEDED if not any(folder.glob(pattern))]:
        raise ValueError(f"{folder} has no {', '.join(missing)}. Save the model and its image processor there.")
    method = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if method in NOT_PUBLISHED:
        raise ValueError(f"A {method} is not published: {NOT_PUBLISHED[method]}.")
    files = sorted({path for pattern in PUBLISHED for path in folder.glob(pattern)})
    for path in files:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path} is a link to {path.resolve()}, outside the folder. It is not published.")
    left_out = {path.name for path in folder.iterdir()} - {path.name for path in files} - {CARD, fingerprint.FILE}
    if left_out:
        print(f"Left out: {', '.join(sorted(left_out))}")
    return {path.name: path for path in files}


def config_of_published_adapter(folder: Path, repository: str) -> dict[str, Any]:
    """
    PEFT's configuration of an adapter as its repository has it: of a repository with an adapter, the Auto classes look
    for the model's configuration in the "base model" that is named here, and it is in the very repository.

    Raises:
        ValueError: if nobody else has the encoder.
    """
    source = json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8"))["source"]
    if Path(source).exists():
        raise ValueError(
            f"{folder} is an adapter over the encoder in {source}, which others do not have. Publish the whole model, "
            "which `vitseg merge` makes."
        )
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return {**config, "base_model_name_or_path": repository}


def check_loading(folder: Path) -> Fingerprint:
    """
    The fingerprint of a folder, which loads as others will load it.

    Raises:
        ValueError: if it does not, or answers otherwise.
    """
    kept = read_fingerprint(folder)
    for words, remote_code in (("without vitseg, with trust_remote_code=True", True), ("with vitseg", False)):
        try:
            (answers,) = load_in_fresh_process([folder], remote_code=remote_code)
            kept = kept or answers
            difference = check_fingerprint(answers, kept)
        except ValueError as error:
            raise ValueError(f"{folder} cannot be published: loaded {words}: {error}") from error
        print(f"Loads {words}; it differs from its fingerprint by {difference:.1e}.")
    return kept or answers


def copy(files: Mapping[str, Path], output: Path) -> None:
    """Write the files to a folder, which is complete or absent."""
    with replacing(output) as unfinished:
        unfinished.mkdir()
        for name, path in files.items():
            (unfinished / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, unfinished / name)
    for name in sorted(files):
        print(f"{(output / name).stat().st_size:12,} {name}")
    print(f"Nothing was uploaded. {output} holds what the repository would.")
