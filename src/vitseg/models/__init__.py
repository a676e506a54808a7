# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a model is: configuration, network and image processor of each method, one file each."""

# Loading transformers' tables registers vitseg's classes (see vitseg/auto.py), which imports the modules here. It has
# to happen before one of them is halfway through its own imports.
import transformers.models.auto.image_processing_auto
import transformers.models.auto.modeling_auto  # noqa: F401
