# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Running models: from files to masks on disk, label maps for test servers, figures on a data set."""
