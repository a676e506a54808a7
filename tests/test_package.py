# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""The wheel holds all that vitseg needs, and works where only its dependencies are installed."""

import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


ROOT = Path(__file__).parents[1]
SESSION = ROOT / "tests/core_session.py"


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
        if name.endswith((".py", ".json", ".md", ".yaml", ".html", "py.typed", ".ttf", "LICENSE_DEJAVU"))
    }
    assert {"vitseg/py.typed", "vitseg/models/modeling_setr.py", "vitseg/recipes/labels/ade20k.json"} <= expected
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    assert b"vitseg = vitseg.cli:main" in zipfile.ZipFile(wheel).read(entry_points)


@pytest.fixture(scope="module")
def requirements(wheel) -> list[str]:
    """What the wheel says that it needs, extras included."""
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]


def needed(requirements: list[str], extras: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """The distributions, by their canonical names, that requirements lead to on this machine."""
    found: dict[str, frozenset[str]] = {}
    waiting = [(Requirement(text), extras) for text in requirements]
    while waiting:
        requirement, wanted_by = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in ("", *wanted_by)):
            continue
        name, wanted = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in found and wanted <= found[name]:
            continue
        found[name] = found.get(name, frozenset()) | wanted
        waiting += [(Requirement(text), wanted) for text in distribution(name).requires or ()]
    return found


@pytest.fixture(scope="module")
def core_python(requirements, tmp_path_factory) -> Path:
    """
    The interpreter of an environment that holds what the wheel needs without extras, but not the wheel.

    Its packages are links to the installed ones, so that it takes neither network nor minutes.
    """
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib*/python*/site-packages"))
    for name in needed(requirements):
        installed = distribution(name)
        for top in {Path(file).parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(installed.locate_file(top))).resolve())
    return folder / "bin/python"


def run_session(python: Path, step: str, folder: Path, **environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "VIRTUAL_ENV"))}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    command = [str(python), str(SESSION), step, str(folder)]
    result = subprocess.run(command, env={**kept, **offline, **environment}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_core_loads_segments_and_converts(wheel, core_python, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "wheel")
    run_session(core_python, "with-vitseg", tmp_path, PYTHONPATH=str(tmp_path / "wheel"))
    run_session(core_python, "without-vitseg", tmp_path)


def test_the_lowest_versions_that_are_tested_are_those_declared(requirements):
    declared = {requirement.name: str(requirement.specifier) for requirement in map(Requirement, requirements)}
    pins = [line for line in (ROOT / ".github/lowest.txt").read_text().splitlines() if not line.startswith("#")]
    for pin in map(Requirement, pins):
        assert str(pin.specifier).replace("==", ">=").removesuffix(".0") == declared[pin.name]
