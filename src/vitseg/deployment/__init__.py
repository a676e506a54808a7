# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Models where they are used: programs for other runtimes, and copies tuned for a machine."""
