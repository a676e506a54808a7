# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The wheel holds all that vitseg needs, and works where only its dependencies are installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vitseg.recipes import RECIPES


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True)
    return next(folder.glob("vitseg-*.whl"))


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = {
        f"vitseg/{path.relative_to(ROOT / 'src/vitseg').as_posix()}" for path in (ROOT / "src/vitseg").rglob("*")
    }
    expected = {
        name
        for name in source
        if name.endswith((".py", ".json", ".md", ".yaml", "py.typed", ".ttf", "LICENSE_DEJAVU"))
    }
    assert {"vitseg/py.typed", "vitseg/models/modeling_setr.py", "vitseg/recipes/labels/ade20k.json"} <= expected
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"vitseg = vitseg.cli:main" in zipfile.ZipFile(wheel).read(entry_points)


def test_wheel_works_on_its_own(wheel, tmp_path):
    # -I leaves out the repository; the unpacked wheel comes before any installed vitseg.
    program = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import vitseg; assert {wheel.name!r} in vitseg.__file__; "
        "from vitseg.recipes import RECIPES, get_recipe; "
        "config = get_recipe('setr-pup-vit-l-ade20k-512-160k').build_config(); "
        "print(len(RECIPES), config.id2label[0])"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [str(len(RECIPES)), "wall"]
    assert result.stderr == ""
