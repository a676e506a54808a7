# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Text files as people's editors write them."""

import codecs
import json
from pathlib import Path
from typing import Any


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
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not in UTF-8 ({error.reason} at byte {error.start}): save it in that encoding"
        ) from error


def parse_json(text: str) -> Any:
    """
    What JSON holds.

    Raises:
        ValueError: if it is no JSON, or a key of an object stands there twice, of which one would be lost.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if repeated := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"{repeated!r} stands there twice")
    return dict(pairs)
