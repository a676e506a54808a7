# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Scripts that are commands of vitseg under another name."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("script", "command"), [("export", "export"), ("prepare_data", "prepare"), ("publish", "publish")]
)
def test_scripts_are_the_command(script, command, capsys):
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(script).main(["--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: vitseg {command} ")
