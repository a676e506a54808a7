# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The SCTNet authors' pre-trained backbones start a training."""

import pytest
import torch
from golden_cases import load_case

from vitseg import SctNetBackbone, SctNetConfig
from vitseg.conversion.encoders import load_encoder_weights


CONFIG = SctNetConfig(
    base_channels=8, context_channels=16, out_features=["stem", "stage1", "stage2", "stage3", "stage4"]
)
NAMES = ("stem", "layer1", "layer2", "layer3_2", "layer5")


@pytest.mark.parametrize("form", ["bare", "state_dict", "with a classifier", "a whole model"])
def test_a_pretrained_backbone(form, tmp_path):
    """Its names have no `backbone.` before them."""
    case = load_case("sctnet", "tiny_square")
    weights = case.state_dict()
    if form != "a whole model":
        weights = {
            name.removeprefix("backbone."): tensor for name, tensor in weights.items() if name.startswith("backbone.")
        }
    if form == "with a classifier":
        weights |= {"head.weight": torch.zeros(1000, 64)}
    file = tmp_path / "SCT-S_Pretrain.pth"
    torch.save({"state_dict": weights} if form == "state_dict" else weights, file)
    backbone = SctNetBackbone(CONFIG).eval()
    load_encoder_weights(backbone, file)
    with torch.no_grad():
        feature_maps = backbone(case.pixel_values()).feature_maps
    for name, feature_map in zip(NAMES, feature_maps, strict=True):
        case.assert_matches(name, feature_map)


def test_a_backbone_of_another_width_is_refused(tmp_path):
    file = tmp_path / "SCT-B_Pretrain.pth"
    torch.save({"conv1.0.weight": torch.zeros(16, 3, 3, 3)}, file)
    with pytest.raises(
        ValueError, match=r"(?s)does not fit the SctNetBackbone.*stem\.0\.conv\.weight \(16, 3, 3, 3\), expected"
    ):
        load_encoder_weights(SctNetBackbone(CONFIG), file)
