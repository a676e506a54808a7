# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What a model is: configuration, network and image processor of each method, one file each."""
