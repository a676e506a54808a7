# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Scripts that are commands of vitseg under another name."""

import pytest
from programs import EXAMPLES, run_here


@pytest.mark.parametrize(
    ("script", "command"), [("export", "export"), ("prepare_data", "prepare"), ("publish", "publish")]
)
def test_scripts_are_the_command(script, command, capsys):
    assert run_here(EXAMPLES / f"{script}.py", "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: vitseg {command} ")
