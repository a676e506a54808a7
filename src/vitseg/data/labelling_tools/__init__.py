# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Exports of labelling tools, each read as its tool writes it, for the preparation that all data sets share.

A format is a module that yields an `Export`: class names, and the images with what was drawn on them. Label files are
opened when their image's turn comes, by the workers.
"""

from ...extras import require


require("labels")

from .exports import Options
from .formats import FORMATS, open_export, recognize
from .hub import download


__all__ = ["FORMATS", "Options", "download", "open_export", "recognize"]
