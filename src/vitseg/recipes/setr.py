# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
The published results of SETR: those of the authors' repository, and those of mmsegmentation's re-implementation.

Sources: the README and configurations of https://github.com/fudan-zvg/SETR at commit 1361561, and the model zoo of
mmsegmentation 0.30.0. Where a published file has an error, the record holds what the published model must have been:
the DeiT heads, for one, are as wide as their backbone.
"""

from typing import Any, NamedTuple

from .backbones import DEIT_B, FIRST_VIT_B, FIRST_VIT_L, plain_vit
from .datasets import ADE20K, CITYSCAPES, PASCAL_CONTEXT, SIX_RATIOS, Benchmark
from .schema import PublishedRecipe, PublishedResult, TrainingRecipe, Weights


PRETRAINED = {"vit-l": FIRST_VIT_L, "vit-b": FIRST_VIT_B, "deit-b": DEIT_B}
# The blocks whose output the decoder takes, counted from 1.
OUT_INDICES = {
    ("naive", "vit-l"): [10, 15, 20, 24],
    ("pup", "vit-l"): [10, 15, 20, 24],
    ("mla", "vit-l"): [6, 12, 18, 24],
    ("naive", "vit-b"): [3, 6, 9, 12],
    ("naive", "deit-b"): [3, 6, 9, 12],
    ("pup", "deit-b"): [5, 8, 10, 12],
    ("mla", "deit-b"): [3, 6, 9, 12],
}


class Row(NamedTuple):
    """A row of a table of results; `thousands` counts iterations."""

    decoder: str
    backbone: str
    data: Benchmark
    thousands: int
    batch_size: int
    learning_rate: float
    miou: float
    miou_multi_scale: float | None


def _recipe(
    prefix: str,
    row: Row,
    source: str,
    weights: Weights,
    *,
    backbone_options: dict[str, Any],
    decoder_options: dict[str, Any],
    ratios: tuple[float, ...],
    min_short: int | None,
) -> PublishedRecipe:
    """What all rows have in common."""
    decoder, backbone, data, thousands, batch_size, learning_rate, miou, miou_multi_scale = row
    name = f"{prefix}-{decoder}-{backbone}-{data.name}-{data.crop}-{thousands}k"
    if (decoder, backbone) == ("mla", "vit-l") and data is not CITYSCAPES:
        # The only models that are published for two batch sizes.
        name += f"-b{batch_size}"
    backbone_config = plain_vit(
        backbone,
        data.crop,
        out_indices=OUT_INDICES[decoder, backbone],
        use_class_token=decoder != "mla",
        **backbone_options,
    )
    return PublishedRecipe(
        name=name,
        method="setr",
        model={"decoder_type": decoder, **decoder_options, "backbone_config": backbone_config},
        image_processor=data.image_processor,
        label_set=data.label_set,
        training=TrainingRecipe(
            optimizer="sgd",
            learning_rate=learning_rate,
            weight_decay=0.0,
            # `decode_head` and `auxiliary_head`; MLA's neck learns at the backbone's rate.
            parameter_rules={"head": {"lr_mult": 10.0}},
            min_learning_rate=1e-4,
            iterations=1000 * thousands,
            batch_size=batch_size,
            crop_size=data.crop_size,
            scale=data.scale,
            pretrained=PRETRAINED[backbone],
        ),
        evaluation=data.sliding_test(ratios=ratios, min_short=min_short),
        published=PublishedResult(miou=miou, miou_multi_scale=miou_multi_scale, source=source),
        weights=weights,
    )


def _authors(row: Row, drive_id: str | None) -> PublishedRecipe:
    """A row of the authors' tables; `drive_id` is what their README links to on Google Drive, if anything."""
    decoder, data = row.decoder, row.data
    variant = {"naive": "Naive", "pup": "PUP", "mla": "MLA"}[decoder]
    variant += {"vit-l": "", "vit-b": "_Base", "deit-b": "_DeiT"}[row.backbone]
    original = f"SETR_{variant}_{data.crop}x{data.crop}_{row.thousands}k_{data.name.replace('-', '_')}"
    return _recipe(
        "setr",
        row,
        f"README of https://github.com/fudan-zvg/SETR, configs/SETR/{original}_bs_{row.batch_size}.py",
        Weights(
            status="published" if drive_id else "link empty",
            host="Google Drive, by the authors' README",
            url=f"https://drive.google.com/file/d/{drive_id}/view" if drive_id else None,
            licence="MIT",
            note="may hold 3x3 instead of 1x1 convolutions in its heads" if drive_id and decoder == "naive" else "",
        ),
        backbone_options={},
        decoder_options={},
        # As in the published files, although `min_short` makes the three of them one and the same on ADE20K.
        ratios=(0.5, 0.75, 1.0) if data is ADE20K and decoder != "pup" else SIX_RATIOS,
        min_short=data.crop,
    )


def _mmseg(row: Row, stamp: str, remark: str = "") -> PublishedRecipe:
    """A row of mmsegmentation's model zoo; `stamp` ends the name of the checkpoint file."""
    decoder, data = row.decoder, row.data
    if data is CITYSCAPES:
        original = f"setr_vit-large_{decoder}_8x1_768x768_80k_cityscapes"
        folder = f"setr_{decoder}_vit-large_8x1_768x768_80k_cityscapes"
    else:
        original = folder = f"setr_{decoder}_512x512_160k_b{row.batch_size}_ade20k"
    return _recipe(
        "setr-mmseg",
        row,
        f"model zoo of mmsegmentation 0.30.0, configs/setr/{original}.py{remark}",
        Weights(
            status="published",
            host="OpenMMLab's download server",
            url=f"https://download.openmmlab.com/mmsegmentation/v0.5/setr/{folder}/{folder}_{stamp}.pth",
            licence="Apache-2.0",
        ),
        backbone_options={"interpolate_by_token_count": True},
        decoder_options=_mmseg_decoder(decoder, data),
        ratios=SIX_RATIOS,
        min_short=None,
    )


def _mmseg_decoder(decoder: str, data: Benchmark) -> dict[str, Any]:
    """Where mmsegmentation's decoders differ from the authors'."""
    if decoder == "mla":
        return {
            "mla_align_corners": False,
            "mla_classifier_kernel_size": 1,
            "mla_auxiliary_bias": True,
            # The deepest level comes first.
            "auxiliary_heads": [{"in_index": index} for index in (3, 2, 1, 0)],
        }
    kernel_size = {"naive": 1, "pup": 3}[decoder]
    auxiliary_scales = [4] if decoder == "naive" and data is CITYSCAPES else [4, 4]
    return {
        "decoder_upsample_scales": {"naive": [4], "pup": [2, 2, 2, 2]}[decoder],
        "decoder_conv_bias": False,
        "auxiliary_heads": [
            {"in_index": index, "kernel_size": kernel_size, "upsample_scales": auxiliary_scales} for index in range(3)
        ],
    }


RECIPES = (
    # Decoder, backbone, data, iterations / 1000, batch size, learning rate, mIoU, with multi-scale and flip, weights.
    _authors(Row("naive", "vit-l", CITYSCAPES, 40, 8, 0.01, 77.37, None), "1f3b7I7IwKx-hcr16afjcxkAyXyeNQCAz"),
    _authors(Row("naive", "vit-l", CITYSCAPES, 80, 8, 0.01, 77.90, None), "1dplB4wceJhyVRQfZR5AWODywMN90CY0h"),
    _authors(Row("mla", "vit-l", CITYSCAPES, 40, 8, 0.002, 76.65, None), "18k26X-xM7BEQZUjzkvroeGV-6XwPgBqN"),
    _authors(Row("mla", "vit-l", CITYSCAPES, 80, 8, 0.002, 77.24, None), "1ke6wcsCwP_J-p8sYriCZ3pC8G61bE0v_"),
    _authors(Row("pup", "vit-l", CITYSCAPES, 40, 8, 0.01, 78.39, None), "1DcZltdh6eHwmQ5BvCdHudJRgJUjPzS56"),
    _authors(Row("pup", "vit-l", CITYSCAPES, 80, 8, 0.01, 79.34, None), "1469aYtEAuhT39BrHn0yOv1s71unF85JE"),
    _authors(Row("naive", "vit-b", CITYSCAPES, 40, 8, 0.01, 75.54, None), "1kGzdSLCazsbgZe0Y1Lo6sNwv9s5V3CAp"),
    _authors(Row("naive", "vit-b", CITYSCAPES, 80, 8, 0.01, 76.25, None), "1vOD1-PGNfuM9IUvwnm2CrAXsPkadoyW8"),
    _authors(Row("naive", "deit-b", CITYSCAPES, 40, 8, 0.01, 77.85, None), None),
    _authors(Row("naive", "deit-b", CITYSCAPES, 80, 8, 0.01, 78.66, None), None),
    _authors(Row("mla", "deit-b", CITYSCAPES, 40, 8, 0.002, 78.04, None), None),
    _authors(Row("mla", "deit-b", CITYSCAPES, 80, 8, 0.002, 78.98, None), None),
    _authors(Row("pup", "deit-b", CITYSCAPES, 40, 8, 0.01, 78.79, None), None),
    _authors(Row("pup", "deit-b", CITYSCAPES, 80, 8, 0.01, 79.45, None), None),
    _authors(Row("naive", "vit-l", ADE20K, 160, 16, 0.01, 48.06, 48.80), "17ZlPBcJRKO3c3XoAeNutrExIETu23qKY"),
    _authors(Row("mla", "vit-l", ADE20K, 160, 8, 0.001, 47.79, 50.03), "1Zcaut5LAKYibjyeCcD3m-aG-ETWW6uhA"),
    _authors(Row("mla", "vit-l", ADE20K, 160, 16, 0.001, 48.64, 50.28), None),
    _authors(Row("mla", "deit-b", ADE20K, 160, 16, 0.001, 46.15, 47.71), None),
    _authors(Row("pup", "vit-l", ADE20K, 160, 16, 0.001, 48.62, 50.09), "1hCeiz60ITgVPkWsrKwah8JnwM3G8VVL4"),
    _authors(Row("pup", "deit-b", ADE20K, 160, 16, 0.001, 46.34, 47.30), None),
    # The configuration says 4 images for each GPU, so this was 4 GPUs or a batch of 32; its name says batch 16.
    _authors(Row("naive", "vit-l", PASCAL_CONTEXT, 80, 16, 0.01, 52.89, 53.61), "140T7-wQ3UOzHA0-6pjO3lik_5Vi5RvqJ"),
    _authors(Row("mla", "vit-l", PASCAL_CONTEXT, 80, 8, 0.001, 54.39, 55.39), "1XvhUVIMcdcEYUYKudUcV99vOwhisYh61"),
    _authors(Row("mla", "vit-l", PASCAL_CONTEXT, 80, 16, 0.001, 55.01, 55.83), "1k5CwpKfpNUdAFWOuzwWz9PrRwiGS0Xu9"),
    _authors(Row("mla", "deit-b", PASCAL_CONTEXT, 80, 16, 0.001, 52.91, 53.74), None),
    _authors(Row("pup", "vit-l", PASCAL_CONTEXT, 80, 16, 0.001, 54.37, 55.27), "1kXZYyqjA96d2DTL-tRvQjixfDBIZFIyR"),
    _authors(Row("pup", "deit-b", PASCAL_CONTEXT, 80, 16, 0.001, 52.00, 52.50), None),
    # Likewise, with the stamp of the file.
    _mmseg(Row("naive", "vit-l", ADE20K, 160, 16, 0.01, 48.28, 49.56), "20210619_191258-061f24f5"),
    _mmseg(Row("pup", "vit-l", ADE20K, 160, 16, 0.001, 48.24, 49.99), "20210619_191343-7e0ce826"),
    _mmseg(Row("mla", "vit-l", ADE20K, 160, 8, 0.001, 47.34, 49.05), "20210619_191118-c6d21df0"),
    _mmseg(
        Row("mla", "vit-l", ADE20K, 160, 16, 0.001, 47.39, 49.37),
        "20210619_191057-f9741de7",
        "; later tables say 47.54",
    ),
    _mmseg(Row("naive", "vit-l", CITYSCAPES, 80, 8, 0.01, 78.10, 80.22), "20211123_000505-20728e80"),
    _mmseg(Row("pup", "vit-l", CITYSCAPES, 80, 8, 0.01, 79.21, 81.02), "20211122_155115-f6f37b8f"),
    _mmseg(Row("mla", "vit-l", CITYSCAPES, 80, 8, 0.002, 77.00, 79.59), "20211119_101003-7f8dccbe"),
)
