# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
mmsegmentation's models that transformers has itself: a file for each, and what several of them share.

What is made of their checkpoints are folders of transformers' own classes, in which nothing is vitseg's.
"""
