# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Text files as people's editors write them."""

import codecs
from pathlib import Path


def read_text(file: str | Path) -> str:
    """
    The text of a file: UTF-8, with or without a byte-order mark, or UTF-16 with one.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is in another encoding.
    """
    return decode_text(Path(file).read_bytes())


def decode_text(content: bytes) -> str:
    """As `read_text`, of the content of a file."""
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")
