# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Commands and code in README.md and docs/, to be run."""

import re
from pathlib import Path


ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def code_blocks(file: Path, language: str) -> list[str]:
    """The blocks of a language but for those that say what else they need, which begin with `# needs`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", file.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [block for block in blocks if not block.startswith("# needs ")]


def commands(file: Path) -> list[str]:
    """The lines of the blocks of `bash`, without remarks."""
    return [line.partition("  #")[0] for block in code_blocks(file, "bash") for line in block.splitlines()]
