# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""A protocol shows an image at the sizes of the originals, in their order."""

import json

import pytest
from tiny_setr import tiny_image_processor, tiny_setr
from transformers import SegformerConfig, SegformerImageProcessor

from vitseg.recipes import get_recipe
from vitseg.recipes.protocol import Protocol, View


def test_a_model_folder_holds_the_single_scale_protocol():
    protocol = Protocol.of_model(tiny_setr("abc").config, tiny_image_processor())
    assert (protocol.mode, protocol.window_size, protocol.window_stride) == ("slide", (32, 32), (21, 21))
    assert protocol.views(100, 120) == [View(height=32, width=38)]
    # The long side would be 96.
    assert protocol.views(100, 300) == [View(height=21, width=64)]
    assert "windows of 32 x 32 at a stride of 21 x 21; no flip" in protocol.describe()


def test_an_image_processor_that_does_not_resize():
    protocol = Protocol.of_model(tiny_setr("abc").config, tiny_image_processor(do_resize=False), ratios=(1.0, 0.5))
    assert protocol.views(101, 77) == [View(height=101, width=77), View(height=50, width=38)]


def test_a_fixed_size():
    protocol = Protocol(mode="whole", size={"height": 64, "width": 96}, ratios=(1.0, 1.75))
    assert protocol.views(10, 500) == [View(height=64, width=96), View(height=112, width=168)]
    assert protocol.describe() == "resized to 64 x 96 times 1, 1.75; whole images; no flip"


def test_scales_are_truncated_and_bounded():
    protocol = Protocol(mode="whole", size={"shortest_edge": 515, "longest_edge": 2048}, ratios=(0.75,))
    assert protocol.views(515, 515) == [View(height=386, width=386)]
    # 1536 x 386 bounds the long side.
    assert protocol.views(100, 1000) == [View(height=154, width=1536)]


@pytest.mark.parametrize(
    ("recipe", "image", "sizes"),
    [
        (
            "setr-pup-vit-l-ade20k-512-160k",
            (512, 683),
            {(512, 683): 3, (640, 854): 1, (768, 1025): 1, (896, 1195): 1},
        ),
        (
            "setr-pup-vit-l-cityscapes-768-80k",
            (1024, 2048),
            {(768, 1536): 2, (1025, 2050): 1, (1281, 2562): 1, (1537, 3074): 1, (1793, 3586): 1},
        ),
    ],
)
def test_the_multi_scale_protocol_of_a_recipe(recipe, image, sizes):
    """Scales that lead to the same size are one view that counts as often."""
    protocol = Protocol.of_recipe(get_recipe(recipe), multi_scale=True, flip=True)
    expected = [
        View(height=height, width=width, flip=flip, weight=weight)
        for (height, width), weight in sizes.items()
        for flip in (False, True)
    ]
    assert protocol.views(*image) == expected
    assert sum(view.weight for view in expected) == 12


def test_the_single_scale_protocol_of_a_recipe():
    protocol = Protocol.of_recipe(get_recipe("setr-pup-vit-l-cityscapes-768-80k"))
    assert protocol.views(1024, 2048) == [View(height=1025, width=2049)]
    assert protocol.window_stride == (512, 512)


def test_a_model_is_given_it_with_each_call():
    config = tiny_setr("abc").config
    protocol = Protocol(mode="slide", window_size=(24, 16), window_stride=(8, 16), size={})
    arguments = protocol.forward_arguments(config, window_batch_size=3)
    assert arguments == {
        "inference_mode": "slide",
        "window_size": (24, 16),
        "window_stride": (8, 16),
        "window_batch_size": 3,
    }
    assert Protocol(mode="whole", size={}).forward_arguments(config)["inference_mode"] == "whole"


def test_models_of_other_libraries_make_one_pass():
    config, image_processor = SegformerConfig(), SegformerImageProcessor(size={"height": 64, "width": 96})
    protocol = Protocol.of_model(config, image_processor)
    assert protocol.describe() == "resized to 64 x 96; whole images; no flip"
    assert protocol.forward_arguments(config) == {}


def test_it_is_plain_data():
    protocol = Protocol.of_model(tiny_setr("abc").config, tiny_image_processor(), ratios=(0.5, 1.0), flip=True)
    assert json.loads(json.dumps(protocol.to_dict()))["size"] == {"shortest_edge": 32, "longest_edge": 64}


@pytest.mark.parametrize("options", [{"ratios": ()}, {"ratios": (1.0, 0.0)}, {"min_short": 32}])
def test_impossible_protocols_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Protocol(mode="whole", size={"height": 32, "width": 32}, **options)
