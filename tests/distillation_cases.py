# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet's golden cases of its training: student, teacher and training heads from one checkpoint."""

import re

from golden_cases import ConvertedCases, GoldenCase
from transformers import AutoModelForSemanticSegmentation

from vitseg.conversion.rules import rename
from vitseg.conversion.sctnet import training_head_rules
from vitseg.training.distillation import Distillation


# As the original names them.
TEACHER = r"auxiliary_head\.1\.teacher_(backbone|head)\."


def load_distillation(case: GoldenCase, folders: ConvertedCases, with_teacher: bool) -> Distillation:
    """Student, teacher and training heads from the checkpoint of a case."""
    student = AutoModelForSemanticSegmentation.from_pretrained(folders(case))
    teacher = None
    if with_teacher:
        teacher = AutoModelForSemanticSegmentation.from_pretrained(folders(case, "sctnet_teacher"))
    heads = {head["type"]: head for head in case.config["auxiliary_head"]}
    settings = {}
    if with_teacher:
        settings["alignment_loss_weights"] = heads["VitGuidanceHead"]["loss_decode"]["loss_weight"]
    auxiliary = heads["AU_SCTHead"]
    model = Distillation(
        student,
        teacher,
        auxiliary_hidden_size=auxiliary["channels"],
        auxiliary_loss_weight=auxiliary["loss_decode"]["loss_weight"],
        **settings,
    )
    rules = training_head_rules()
    tensors = {name: tensor for name, tensor in case.state_dict().items() if any(rule.rename(name) for rule in rules)}
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("student.")}
    model.load_state_dict(rename(tensors, rules, expected).state_dict, strict=False)
    return model.eval()


def our_name(case: GoldenCase, original: str, model: Distillation) -> str:
    """What the conversion calls a tensor of the original."""
    if re.match(TEACHER, original):
        assert model.teacher is not None
        (name,) = case.our_names(original, model.teacher.config, "sctnet_teacher")
        return f"teacher.{name}"
    for rule in training_head_rules():
        if names := rule.rename(original):
            return names[0]
    (name,) = case.our_names(original, model.student.config)
    return f"student.{name}"
