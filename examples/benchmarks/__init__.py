# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What examples/benchmark.py measures, a module for each of its commands."""
