# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Pages of HTML that need neither a server nor a script, of the templates in `templates/`, all in the style of
`page.html`. Whatever is put into them is escaped."""

import base64
import io
from typing import Any

import jinja2
from PIL import Image


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


def render(template: str, **values: Any) -> str:
    """
    A page.

    Args:
        template: name of a file in `templates/`.
        values: what it speaks of.
    """
    return _TEMPLATES.get_template(template).render(values)


def data_address(picture: Image.Image) -> str:
    """A picture in RGB as an address that holds it, for pages that are a single file."""
    picture.save(file := io.BytesIO(), format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
