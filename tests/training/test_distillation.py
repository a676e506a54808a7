# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""SCTNet learns from its teacher as in the original, and the teacher stays what it is."""

import copy
import re

import pytest
import torch
from citizenship import NUM_LABELS, cold_compiler, gradients_of, images, label_maps  # noqa: F401
from distillation_cases import load_distillation, our_name
from golden_cases import case_names, load_case
from tiny_sctnet import set_norms, small_model
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from vitseg import SctNetTeacherConfig, SctNetTeacherForSemanticSegmentation
from vitseg.models.layers import resize
from vitseg.recipes import get_recipe
from vitseg.training import distillation
from vitseg.training.distillation import Distillation
from vitseg.training.optimization import build_optimizer
from vitseg.training.teacher import SegformerTeacher, Teacher


MAPS = {"logits": 0, "fused": 1, "stage4": 2, "stage3": 3}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if "full" in name else name
        for name in case_names("sctnet")
        if "loss" in name
    ],
)
def test_losses_as_the_original(name, converted_cases, monkeypatch):
    case = load_case("sctnet", name)
    model = load_distillation(case, converted_cases, with_teacher=True)
    # What the published training never looks at: gradients and statistics of the frozen teacher.
    model.teacher.requires_grad_(True)
    outputs, divergences, taught = {}, [], {}
    for key, module in (("decode", model.student.decode_head), ("aux_0", model.auxiliary_head)):
        module.register_forward_hook(lambda _, inputs, output, key=key: outputs.__setitem__(key, output))

    def divergence(expected, actual, temperature):
        taught[len(divergences)] = (expected, actual)
        divergences.append(original_divergence(expected, actual, temperature))
        return divergences[-1]

    def match(maps, reference):
        taught["features"] = (reference, original_match(maps, reference))
        return taught["features"][1]

    original_divergence, original_match = distillation.channel_divergence, distillation.match_statistics
    monkeypatch.setattr(distillation, "channel_divergence", divergence)
    monkeypatch.setattr(distillation, "match_statistics", match)
    mode = case.description["mode"]
    assert (mode["dropout"], mode["drop_path"]) == (0, 0)
    model.train(mode["batch_norm"] == "train")
    labels = case.labels()
    answer = model(case.pixel_values(), labels)
    answer.loss.backward()

    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    for key in case.expected:
        if key == "loss":
            actual = answer.loss
        elif "loss" in key:
            actual = answer.loss_dict[key]
        elif key.endswith("acc_seg"):
            predicted = resize(outputs[key.removesuffix(".acc_seg")], labels.shape[-2:]).argmax(dim=1)
            actual = 100 * (predicted == labels)[labels != 255].float().mean()
        elif key.endswith("logits_low"):
            actual = outputs["decode" if key.startswith("decode") else "aux_0"]
        elif match_ := re.fullmatch(r"alignment\.(\d)", key):
            actual = divergences[int(match_[1])]
        elif match_ := re.fullmatch(r"(grad_norm|after)\.(.*)", key):
            ours = our_name(case, match_[2], model)
            actual = parameters[ours].grad.norm() if match_[1] == "grad_norm" else buffers[ours]
        elif key in ("teacher_stage1", "teacher_stage2"):
            with torch.no_grad():
                actual = model.teacher.encode(case.pixel_values())[int(key[-1]) - 1]
        elif key in ("teacher_concat", "student_aligned"):
            actual = taught["features"][key == "student_aligned"]
        else:
            whose, what = key.split("_")
            actual = taught[MAPS[what]][whose == "student"]
        actual = actual.detach().reshape(case.description["outputs"][key]["shape"])
        case.assert_matches(key, actual)


def test_auxiliary_logits_as_the_original(converted_cases):
    case = load_case("sctnet", "tiny_square")
    model = load_distillation(case, converted_cases, with_teacher=False)
    with torch.no_grad():
        stage2 = model.student.backbone(case.pixel_values()).feature_maps[0]
        case.assert_matches("aux_logits_low", model.auxiliary_head(stage2))


# By itself.


ENCODER = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 20, 24], "num_attention_heads": [1, 2, 2, 2]}


def small_teacher(num_labels: int = NUM_LABELS) -> SctNetTeacherForSemanticSegmentation:
    torch.manual_seed(1)
    config = SctNetTeacherConfig(
        encoder_config=ENCODER, decoder_hidden_size=12, image_size=64, num_labels=num_labels, initializer_range=0.2
    )
    teacher = SctNetTeacherForSemanticSegmentation(config).eval()
    set_norms(teacher)
    return teacher


def segformer_teacher() -> SegformerTeacher:
    torch.manual_seed(1)
    config = SegformerConfig(**ENCODER, decoder_hidden_size=12, num_labels=NUM_LABELS)
    return SegformerTeacher(SegformerForSemanticSegmentation(config))


def taught_model(teacher: Teacher | None, **settings) -> Distillation:
    student = small_model()
    torch.manual_seed(2)
    return Distillation(student, teacher, **settings).train()


@pytest.mark.parametrize("make_teacher", [small_teacher, segformer_teacher, lambda: None], ids=["own", "hub", "none"])
def test_training_with_and_without_a_teacher(make_teacher):
    teacher = make_teacher()
    model = taught_model(teacher)
    before = copy.deepcopy(teacher.state_dict()) if teacher else {}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    pixel_values, labels, losses = images(4, 3, 64, 64), label_maps(4, 64, 64), []
    for _ in range(8):
        outputs = model(pixel_values, labels)
        outputs.loss.backward()
        assert all(parameter.grad is not None for parameter in trained)
        optimizer.step()
        optimizer.zero_grad()
        losses.append({name: term.item() for name, term in outputs.loss_dict.items()})
    names = {"decode.loss_ce", "aux_0.loss_ce"} | ({"aux_1.loss_guidance"} if teacher else set())
    assert set(losses[0]) == names
    assert outputs.loss.item() == pytest.approx(sum(losses[-1].values()), rel=1e-5)
    for name in names:
        assert losses[-1][name] < losses[0][name], name
    # Nothing in the teacher has moved, statistics of batch norms included.
    for name, tensor in before.items():
        assert torch.equal(teacher.state_dict()[name], tensor), name


def test_the_teacher_is_frozen_and_in_no_checkpoint():
    model = taught_model(small_teacher())
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())
    model.eval().train()
    assert not any(module.training for module in model.teacher.modules())
    model.double()
    assert {parameter.dtype for parameter in model.teacher.parameters()} == {torch.float64}
    state_dict = model.state_dict()
    assert {name.split(".")[0] for name in state_dict} == {"student", "auxiliary_head", "alignment"}
    assert {name for name in state_dict if name.startswith("student.")} == {
        f"student.{name}" for name in small_model().state_dict()
    }
    # It loads without the teacher, and with nothing else missing.
    other = nn.ModuleDict({"part": taught_model(small_teacher())})
    other.load_state_dict({f"part.{name}": tensor for name, tensor in state_dict.items()})
    del state_dict["auxiliary_head.classifier.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "auxiliary_head.classifier.bias"\. '):
        model.load_state_dict(state_dict)


def test_heads_are_trained_with_the_student():
    """Its parameters first, so that the optimizer of a run that goes on has them in the same order."""
    names = [name for name, parameter in taught_model(small_teacher()).named_parameters() if parameter.requires_grad]
    assert list(dict.fromkeys(name.split(".")[0] for name in names)) == ["student", "auxiliary_head", "alignment"]
    assert taught_model(small_teacher()).names_of_heads() == [name for name in names if not name.startswith("student")]


def test_heads_learn_faster_by_the_published_recipes():
    """The rules of parameters, by their names in the model, reach them here too."""
    training = get_recipe("sctnet-s-ade20k-512-160k").training
    model = taught_model(small_teacher())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in build_optimizer(model, training).param_groups:
        for name in (names[id(parameter)] for parameter in group["params"]):
            is_head = name.startswith(("student.decode_head.", "auxiliary_head.", "alignment."))
            assert group["lr"] == pytest.approx((10 if is_head else 1) * training.learning_rate), name
            spared = name.startswith("student.") and (".attention.norm." in name or ".mlp.norm." in name)
            assert group["weight_decay"] == (0 if spared else training.weight_decay), name


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="teacher knows 7 classes and the model 5"):
        Distillation(small_model(), small_teacher(num_labels=7))


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match=r"labels have shape \(2, 32, 64\); expected \(2, 64, 64\)"):
        taught_model(None)(images(2, 3, 64, 64), label_maps(2, 32, 64))


def test_cross_entropy_counts_all_pixels():
    model, pixel_values, labels = taught_model(None).eval(), images(2, 3, 50, 64), label_maps(2, 50, 64)
    with torch.no_grad():
        outputs = model(pixel_values, labels)
        stage2 = model.student.backbone(pixel_values).feature_maps[0]
        auxiliary = nn.functional.interpolate(model.auxiliary_head(stage2), (50, 64), mode="bilinear")
    valid = labels != 255
    for name, logits, weight in (("decode", outputs.logits, 1.0), ("aux_0", auxiliary, 0.4)):
        log_probabilities = logits.log_softmax(dim=1).gather(1, labels.where(valid, 0)[:, None])[:, 0]
        expected = -weight * log_probabilities[valid].sum() / (2 * 50 * 64)
        torch.testing.assert_close(outputs.loss_dict[f"{name}.loss_ce"], expected, rtol=1e-5, atol=1e-6)


def test_alignment_by_the_paper():
    """The four divergences, written down once more, with their weights."""
    teacher, pixel_values, labels = small_teacher(), images(2, 3, 64, 96), label_maps(2, 64, 96)
    settings = {"alignment_loss_weights": (1.0, 10.0, 100.0, 1000.0), "temperature": 2.0}
    model = taught_model(teacher, **settings).eval()
    with torch.no_grad():
        outputs = model(pixel_values, labels)
        _, stage3, stage4, fused = model.student.backbone(pixel_values).feature_maps
        stages = teacher.encode(pixel_values)
        features = teacher.concatenate(stages)
        projected = nn.functional.interpolate(model.alignment.shared_projection(fused), (16, 24), mode="bilinear")
        aligned = torch.empty_like(features)
        for channel in range(features.shape[1]):
            ours, theirs = projected[:, channel], features[:, channel]
            aligned[:, channel] = (ours - ours.mean()) / (ours.std() + 1e-6) * theirs.std() + theirs.mean()
        taught, learned = teacher.classify(features), teacher.classify(aligned)
        pairs = [
            (taught[1], learned[1]),
            (taught[0], learned[0]),
            (stages[3], model.alignment.stage4_projection(stage4)),
            (stages[2], model.alignment.stage3_projection(stage3)),
        ]
        expected = 0.0
        for weight, (theirs, ours) in zip((1, 10, 100, 1000), pairs, strict=True):
            p, q = ((maps.double().flatten(2) / 2).softmax(dim=-1) for maps in (theirs, ours))
            expected += weight * 4 * (p * (p.log() - q.log())).sum() / (p.shape[0] * p.shape[1])
    assert outputs.loss_dict["aux_1.loss_guidance"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("size", [(29, 40), (45, 61), (64, 64)])
def test_the_teacher_takes_what_the_model_takes(size):
    """From 29 pixels on, each stage of both has the same size, so nothing but the classifier's input is resized."""
    model, pixel_values = taught_model(small_teacher()), images(2, 3, *size)
    with torch.no_grad():
        hidden_states = model.student(pixel_values, output_hidden_states=True).hidden_states
        stages = model.teacher.encode(pixel_values)
    assert [stage.shape[-2:] for stage in stages] == [hidden_states[index].shape[-2:] for index in (1, 2, 3, 4)]


def test_images_that_are_too_small_for_the_teacher():
    with pytest.raises(ValueError, match="28 x 40 pixels; SegFormer needs 29 or more"):
        taught_model(small_teacher())(images(2, 3, 28, 40), label_maps(2, 28, 40))


def test_a_segformer_of_transformers_teaches_what_it_answers():
    teacher, pixel_values = segformer_teacher(), images(1, 3, 50, 70)
    teacher.model.eval()
    with torch.no_grad():
        features = teacher.concatenate(teacher.encode(pixel_values))
        _, logits = teacher.classify(features)
        expected = teacher.model(pixel_values).logits
    assert teacher.alignment_channels == [48, 24, 20]
    assert features.shape[1] == 48
    torch.testing.assert_close(logits, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("cold_compiler")
def test_compiled_training_step_with_a_teacher():
    pixel_values, labels = images(2, 3, 64, 64), label_maps(2, 64, 64)
    model, reference = taught_model(small_teacher()), taught_model(small_teacher())
    loss = torch.compile(model, fullgraph=True, backend="aot_eager")(pixel_values, labels).loss
    loss.backward()
    expected = reference(pixel_values, labels).loss
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    for name, gradient in gradients_of(reference).items():
        torch.testing.assert_close(gradients_of(model)[name], gradient, rtol=1e-2, atol=1e-4)


def test_training_reads_no_value_on_the_host():
    model = taught_model(small_teacher())
    model.to("meta")
    labels = torch.zeros(2, 64, 64, dtype=torch.int64, device="meta")
    assert model(torch.empty(2, 3, 64, 64, device="meta"), labels=labels).loss.shape == ()
