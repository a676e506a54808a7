# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What tests of several folders share."""

import pytest
from golden_cases import ConvertedCases


@pytest.fixture(scope="session")
def converted_cases(tmp_path_factory) -> ConvertedCases:
    """Model folders of golden cases, which are converted once for all tests of a process."""
    return ConvertedCases(tmp_path_factory.mktemp("converted"))
