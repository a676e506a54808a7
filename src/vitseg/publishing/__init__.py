# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Model folders that others load: what they answer, where they come from, and their cards."""
