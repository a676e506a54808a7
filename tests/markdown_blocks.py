# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Commands and code in README.md and docs/, to be run."""

import re
import runpy
from pathlib import Path


ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# The pages of the documentation, in its order.
_hooks = runpy.run_path(str(ROOT / "docs/hooks.py"))
PAGES = [
    *(ROOT / "docs" / name for name in _hooks["BEFORE_METHODS"]),
    *sorted((ROOT / "docs/methods").glob("*.md")),
    *(ROOT / "docs" / name for name in _hooks["AFTER_METHODS"]),
]


def runnable_blocks(file: Path) -> list[tuple[str, str]]:
    """Language and text of each block but those that say what else they need, which begin with `# needs`."""
    pattern = r"^```(bash|python)\n(?!# needs )(.*?)^```"
    return re.findall(pattern, file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(file: Path) -> list[str]:
    """The lines of the blocks of `bash`, without remarks."""
    blocks = [block for language, block in runnable_blocks(file) if language == "bash"]
    return [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
