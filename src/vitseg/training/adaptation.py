# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""How much of a model learns: frozen modules, and low-rank adapters (LoRA, https://arxiv.org/abs/2106.09685)."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME

from ..extras import require
from ..models.adapters import ENCODER_FILE, added_modules, encoder_digest, without_peft_warnings
from ..recipes import LoraRecipe, OptimizationRecipe
from ..replacing import write_json


if TYPE_CHECKING:
    from peft import PeftModel


def freeze(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """
    Let modules not learn: none of their parameters asks for a gradient.

    Args:
        model: whose modules they are.
        names: of modules, such as `"backbone"` or `"backbone.layers.0"`.

    Returns:
        The modules, to be kept in evaluation mode.

    Raises:
        ValueError: if there is no such module, or nothing is left that learns.
    """
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            parts = [child for child, _ in model.named_children()]
            raise ValueError(
                f"There is no module {name!r} to freeze. The model has {', '.join(parts)}, and their parts."
            )
        modules[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"With {', '.join(names)} frozen, nothing is left that learns. Freeze the backbone alone.")
    return [modules[name] for name in names]


class Adaptation:
    """
    How much of a model learns, and what is saved of it.

    Args:
        model: some modules of which are frozen, and whose encoder gets low-rank adapters, in place, as `training`
            says. With adapters, the rest of the encoder is frozen too, and the heads learn.
        training: of the model.
        saves_adapter: whether what was learned is saved alone, in PEFT's format. Otherwise it is an ordinary model.

    Raises:
        MissingExtraError: if PEFT is needed and not installed.
        ValueError: if there is no module or layer of a name, nothing learns, or what was learned cannot be told from
            the encoder.
    """

    def __init__(self, model: PreTrainedModel, training: OptimizationRecipe, saves_adapter: bool = False) -> None:
        self.frozen = freeze(model, training.freeze)
        self.lora = getattr(training, "lora", None)
        if self.lora is not None:
            # What they count is of the encoder, which stays as it is.
            self.frozen += [module for module in model.backbone.modules() if isinstance(module, _BatchNorm)]
        self.source = training.pretrained.model if training.pretrained else None
        self.saves_adapter = saves_adapter
        if saves_adapter:
            require("adapters")
            if self.source is None:
                raise ValueError(
                    "An adapter alone is saved beside the encoder it belongs to: name it with --backbone."
                )
            if self.lora is None and any(parameter.requires_grad for parameter in model.backbone.parameters()):
                raise ValueError(
                    "The whole encoder learns, so there is no adapter to save alone. Add --lora 8 or --freeze "
                    "backbone, or leave out --save-adapter."
                )
        self.adapted = add_adapter(model, self.lora) if self.lora is not None else None

    def save_model(self, model: PreTrainedModel, folder: Path) -> None:
        """Write a model, this one or its average, to a folder."""
        if self.adapted is None and not self.saves_adapter:
            model.save_pretrained(folder)
            return
        model = copy.deepcopy(model)
        if self.adapted is None:
            self.write(add_adapter(model, None), folder)
            return
        # For the time being, PEFT's wrapper is around this copy: of the model in training there is none if it is in
        # shards.
        tuner = self.adapted.base_model
        trained, tuner.model = tuner.model, model
        try:
            self.write(self.adapted, folder)
        finally:
            tuner.model = trained

    def write(self, adapted: "PeftModel", folder: Path) -> None:
        """Write a model in PEFT's wrapper, which is not what it was afterwards."""
        if self.saves_adapter:
            save_adapter(adapted, folder, str(self.source))
        else:
            adapted.merge_and_unload().save_pretrained(folder)


def add_adapter(model: PreTrainedModel, recipe: LoraRecipe | None) -> "PeftModel":
    """
    Put low-rank adapters into the encoder of a model, in place, beside which its heads learn; the rest is frozen.

    Args:
        model: has a `backbone`.
        recipe: of the adapters; `None` for none, so that the heads alone learn.

    Raises:
        MissingExtraError: if PEFT is not installed.
        ValueError: if the encoder has no layer of a name.
    """
    require("adapters")
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import DUMMY_TARGET_MODULES

    if recipe is None:
        settings: dict[str, Any] = {"target_modules": DUMMY_TARGET_MODULES}
    else:
        alpha = 2 * recipe.rank if recipe.alpha is None else recipe.alpha
        settings = {"r": recipe.rank, "lora_alpha": alpha, "lora_dropout": recipe.dropout}
        settings["target_modules"] = _target_pattern(model.backbone, recipe.targets)
    learned = [*_heads(model), *(f"backbone.{name}" for name in added_modules(model.backbone))]
    with without_peft_warnings():
        return get_peft_model(model, LoraConfig(**settings, modules_to_save=learned))


def save_adapter(adapted: "PeftModel", folder: Path, source: str) -> None:
    """
    Write adapters and heads in PEFT's format, beside the model's configuration and what tells its encoder.

    Args:
        adapted: is not what it was afterwards.
        folder: where to.
        source: folder, or repository on the Hub, that the encoder is from.
    """
    source = str(Path(source).resolve()) if Path(source).is_dir() else source
    adapted.peft_config["default"].base_model_name_or_path = source
    adapted.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # PEFT's, for a card that somebody has to fill in
    model = adapted.unload()
    write_json(folder / ENCODER_FILE, {"source": source, "digest": encoder_digest(model.backbone)})
    # The configuration, and the code for where vitseg is not installed.
    model.save_pretrained(folder, state_dict={})
    (folder / SAFE_WEIGHTS_NAME).unlink(missing_ok=True)


def _heads(model: PreTrainedModel) -> list[str]:
    """The modules outside the encoder that have parameters, and that PEFT can copy: of lists, what is in them."""
    names: list[str] = []
    for name, module in model.named_children():
        if name != "backbone" and isinstance(module, nn.ModuleList):
            names += [f"{name}.{index}" for index in range(len(module))]
        elif name != "backbone" and any(True for _ in module.parameters()):
            names.append(name)
    return names


def _target_pattern(backbone: PreTrainedModel, targets: Sequence[str]) -> str:
    """
    A pattern for the full names of a backbone's layers of these last names; of all its linear layers without any.

    It names each of them, since what is no layer may have a layer's last name.
    """
    modules = backbone.named_modules()
    layers = {name: module for name, module in modules if isinstance(module, nn.Linear | nn.Conv2d)}
    last_names = {name: name.rpartition(".")[2] for name in layers}
    known = ", ".join(sorted({*last_names.values()}))
    if unknown := sorted(set(targets) - {*last_names.values()}):
        raise ValueError(f"The encoder has no layer named {', '.join(unknown)} to adapt. It has {known}.")
    if targets:
        chosen = [name for name in layers if last_names[name] in targets]
    else:
        chosen = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    if not chosen:
        raise ValueError(f"The encoder has no linear layer: name those to adapt, of {known}.")
    if grouped := sorted({last_names[name] for name in chosen if getattr(layers[name], "groups", 1) > 1}):
        raise ValueError(
            f"{', '.join(grouped)} of the encoder are convolutions in groups, into which adapters cannot be merged. "
            "Leave them out of --lora-targets."
        )
    return rf"backbone\.({'|'.join(map(re.escape, chosen))})"
