# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics, multi-scale and flip evaluation, submissions, pictures, reports and throughput."""
