# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Renaming tensors by an ordered table of rules, where every tensor must be used and every parameter filled.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch


# The tensors of a batch norm, and more than those of a convolution.
BATCH_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"


@dataclass(frozen=True)
class Rule:
    """
    What becomes of the tensors whose whole name matches `pattern`.

    They get the name `target`, in which `\\1` stands for the pattern's first group and so on; several targets share a
    tensor in equal parts along its first dimension. `transform` changes the tensor on the way. Without targets they
    are dropped, for the `reason` given.
    """

    pattern: str
    target: str | tuple[str, ...] = ()
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None
    reason: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target

    def rename(self, name: str) -> list[str] | None:
        """The new names of a tensor, none if it is dropped; `None` if the rule is not for it."""
        match = re.fullmatch(self.pattern, name)
        return None if match is None else [match.expand(target) for target in self.targets]


def module_rules(modules: Mapping[str, str]) -> list[Rule]:
    """
    Modules whose tensors keep their last names: a convolution, a linear layer, a norm.

    Args:
        modules: pattern of their name -> our name, in which `\\1` stands for the pattern's first group and so on.
    """
    last_groups = {theirs: re.compile(theirs).groups + 1 for theirs in modules}
    return [Rule(rf"{name}\.{BATCH_NORM}", rf"{modules[name]}.\{group}") for name, group in last_groups.items()]


def pointwise_rules(theirs: str, ours: str) -> list[Rule]:
    """A 1x1 convolution there, a linear layer here; `theirs` is a pattern."""
    return [
        Rule(rf"{theirs}\.weight", f"{ours}.weight", lambda weight: weight.flatten(1)),
        Rule(rf"{theirs}\.bias", f"{ours}.bias"),
    ]


@dataclass(frozen=True)
class Renamed:
    """
    The outcome of a table of rules: tensors by their new names, the dropped names by reason, and the new names of
    those that the original does not have, and that are therefore 0.
    """

    state_dict: dict[str, torch.Tensor]
    dropped: dict[str, list[str]]
    zero: list[str]


class StateDictMismatch(ValueError):
    """Tensors that no rule knows, that are missing, or whose shape differs; `names` are those of all of them."""

    def __init__(self, model: str, problems: dict[str, list[str]]):
        self.names = [line.split(" ")[0] for lines in problems.values() for line in lines]
        parts = [f"{title} ({len(lines)}):\n    " + "\n    ".join(lines) for title, lines in problems.items() if lines]
        super().__init__(f"The checkpoint does not fit the {model}.\n  " + "\n  ".join(parts))


def rename(
    tensors: Mapping[str, torch.Tensor],
    rules: Sequence[Rule],
    expected: Mapping[str, torch.Tensor],
    model: str = "model",
    absent_biases: str = "",
) -> Renamed:
    """
    Rename `tensors` by the first rule that matches each, and check the result against `expected`.

    Args:
        tensors: an original state dict.
        rules: the table, in order.
        expected: the state dict of the model to fill; only names, shapes and dtypes are looked at. BatchNorm's
            `num_batches_tracked` may be missing and is then 0.
        model: what is to be filled, for the error.
        absent_biases: pattern of the biases of the model that may be missing and are then 0.

    Returns:
        Tensors in the dtypes of `expected`, whatever they were stored in.

    Raises:
        StateDictMismatch: listing the tensors that no rule matches, and those of the model that are missing, extra or
            of another shape.
    """
    renamed: dict[str, torch.Tensor] = {}
    dropped: dict[str, list[str]] = {}
    unknown: list[str] = []
    for name, tensor in tensors.items():
        rule, targets = next(
            ((rule, targets) for rule in rules if (targets := rule.rename(name)) is not None), (None, [])
        )
        if rule is None:
            unknown.append(f"{name} {tuple(tensor.shape)}")
        elif not targets:
            dropped.setdefault(rule.reason, []).append(name)
        else:
            tensor = _transformed(tensor, rule)
            parts = tensor.tensor_split(len(targets)) if len(targets) > 1 else (tensor,)
            renamed.update(zip(targets, parts, strict=True))

    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            renamed.setdefault(name, torch.zeros(tensor.shape, dtype=torch.int64))
    zero = [name for name in expected if name not in renamed and re.fullmatch(absent_biases, name)]
    renamed.update({name: torch.zeros(expected[name].shape) for name in zero})
    problems = {
        "not known to the conversion": unknown,
        "missing": [f"{name} {tuple(expected[name].shape)}" for name in expected.keys() - renamed.keys()],
        "not in the model": [f"{name} {tuple(renamed[name].shape)}" for name in renamed.keys() - expected.keys()],
        "of another shape": [
            f"{name} {tuple(renamed[name].shape)}, expected {tuple(expected[name].shape)}"
            for name in expected.keys() & renamed.keys()
            if renamed[name].shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        raise StateDictMismatch(model, {title: sorted(lines) for title, lines in problems.items()})
    # A part of a tensor would be saved with the whole of it.
    filled = {name: part.to(expected[name].dtype).contiguous() for name, part in renamed.items()}
    return Renamed(filled, dropped, zero)


def _transformed(tensor: torch.Tensor, rule: Rule) -> torch.Tensor:
    try:
        return rule.transform(tensor) if rule.transform else tensor
    except (IndexError, RuntimeError, ValueError):
        # Its shape is not one that can be transformed: reported as it is.
        return tensor
