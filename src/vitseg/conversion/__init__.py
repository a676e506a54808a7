# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Foreign weights: from the files of original implementations, of timm and of JAX to models of this package, and what a
model folder says about where it came from.
"""
