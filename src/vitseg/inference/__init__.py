# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""From files to masks on disk."""
