# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""`python -m vitseg`: the command `vitseg`, where it is not on the path."""

import sys

from .cli import main


sys.exit(main())
