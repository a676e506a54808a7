# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Golden cases: what the original implementations answered, for weights and inputs that tests/golden/fill.py makes."""

import importlib.util
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedConfig

from vitseg import cli
from vitseg.conversion.base import converter_of


GOLDEN = Path(__file__).parent / "golden"

_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
assert _spec is not None
assert _spec.loader is not None
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


@dataclass(frozen=True)
class GoldenCase:
    """A case's description and what the original answered."""

    folder: Path
    description: dict[str, Any]
    expected: dict[str, torch.Tensor]

    @property
    def method(self) -> str:
        return self.description["method"]

    @property
    def config(self) -> dict[str, Any]:
        return self.description["config"]

    @property
    def original_config(self) -> dict[str, Any]:
        """The configuration as the original has it, without what cases add to it."""
        return {name: value for name, value in self.config.items() if name != "ori_shape"}

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor of the original."""
        return torch.from_numpy(fill.fill(name, tuple(self.description["state_dict"][name])))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The original state dict, with the integer counters that a case leaves out."""
        tensors = {name: torch.from_numpy(value) for name, value in fill.original_state_dict(self.description).items()}
        for name in list(tensors):
            if name.endswith("running_mean"):
                tensors[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(7)
        return tensors

    def pixel_values(self) -> torch.Tensor:
        return pixels(self.description["input"])

    def labels(self) -> torch.Tensor:
        spec = self.description["labels"]
        labels = fill.labels(spec["seed"], tuple(spec["shape"]), spec["num_labels"], spec["ignore_index"])
        labels[spec.get("all_ignored", [])] = spec["ignore_index"]
        return torch.from_numpy(labels)

    def our_names(self, original: str, config: PreTrainedConfig, method: str | None = None) -> list[str]:
        """
        What the conversion calls a tensor of the original in a model of `config`: a fused projection becomes three.
        """
        rules = converter_of(method or self.method)(self.description["state_dict"]).rules(config)
        return next(names for rule in rules if (names := rule.rename(original)) is not None)

    def assert_matches(self, name: str, actual: torch.Tensor) -> None:
        """Compare an answer, or the slice of it that the case holds, with the original's at the tolerance stated."""
        output = self.description["outputs"][name]
        assert list(actual.shape) == output["shape"], name
        if "slice" in output:
            actual = actual[parse_slices(output["slice"])]
        torch.testing.assert_close(
            actual.detach().float(),
            self.expected[name],
            rtol=output.get("rtol", self.description["rtol"]),
            atol=output.get("atol", self.description["atol"]),
            msg=lambda message: f"{self.folder.name}, {name}: {message}",
        )


def load_case(method: str, name: str) -> GoldenCase:
    folder = GOLDEN / method / name
    return GoldenCase(folder, fill.load_case(folder), load_file(folder / "expected.safetensors"))


def case_names(method: str) -> list[str]:
    return sorted(path.parent.name for path in (GOLDEN / method).glob("*/case.json"))


def pixels(spec: dict[str, Any]) -> torch.Tensor:
    """A normalised input batch, flipped along the width where the case says so."""
    values = torch.from_numpy(fill.pixels(spec["seed"], tuple(spec["shape"])))
    return values.flip(-1) if spec.get("flip") else values


def parse_slices(text: str) -> tuple[slice, ...]:
    """`"[:, ::16, ::4]"` as slices."""
    return tuple(
        slice(*(int(part) if part else None for part in item.strip().split(":")))
        for item in text.strip("[]").split(",")
    )


class ConvertedCases:
    """
    Model folders of golden cases: each is converted once, by the command, as a user would, from a file in the
    original's format.

    Tests only read the folders. A full-size one is gone when the next is asked for.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.converted: dict[tuple[Path, str], Path] = {}
        self.full: Path | None = None
        self.numbers = itertools.count()

    def __call__(self, case: GoldenCase, method: str | None = None) -> Path:
        """The folder of a case; `method` is another than the case's own where its file holds two models."""
        method = method or case.method
        key = (case.folder, method)
        if key not in self.converted or not self.converted[key].exists():
            folder = self.folder / str(next(self.numbers))
            if "full" in case.folder.name:
                if self.full is not None:
                    shutil.rmtree(self.full)
                self.full = folder
            self.converted[key] = convert_case(case, folder, method=method)
        return self.converted[key]


def convert_case(case: GoldenCase, folder: Path, *options: str, method: str | None = None) -> Path:
    """Write the case as a file in the original's format and convert it by the command; returns the model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, original_config = folder / "original.pth", folder / "original.json"
    torch.save({"meta": {"iter": 1}, "state_dict": case.state_dict()}, checkpoint)
    original_config.write_text(json.dumps(case.original_config))
    output = folder / "model"
    command = ["--method", method or case.method, "--original-config", original_config, "--checkpoint", checkpoint]
    assert cli.main(["convert", *map(str, command), "--output", str(output), *options]) == 0
    checkpoint.unlink()
    return output
