# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Makes transformers' own test mixins importable as `tests.test_modeling_common` and so on.

They are not installed with transformers, only part of its source distribution, which is downloaded once from the
package registry into an ignored folder: always that of the installed version.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import transformers


# Marks that the mixins use.
MARKS = ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test")
CACHE = Path(__file__).parents[2] / ".cache"


def source_distribution() -> Path:
    """The unpacked source distribution of the installed transformers."""
    name = f"transformers-{transformers.__version__}"
    if not (CACHE / name).is_dir():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*pip, "--dest", folder, f"transformers=={transformers.__version__}"], check=True)
            with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
                # Early releases of Python 3.10 and 3.11 have no filters.
                filters: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
                archive.extractall(folder, **filters)
            try:
                (Path(folder) / name).rename(CACHE / name)
            except OSError:
                # Another process of this run was first.
                if not (CACHE / name).is_dir():
                    raise
    return CACHE / name


def stand_in(name: str, **attributes: object) -> None:
    """A module that transformers' test mixins import, but that its source distribution leaves out."""
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


# transformers' tests must not look for anything on the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(source_distribution()))
stand_in("tests.exporters")
stand_in("tests.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
stand_in("tests.generation")
stand_in("tests.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
stand_in("fetch_hub_objects_for_ci", url_to_local_path=lambda url: url)


def pytest_configure(config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: a mark of transformers' tests")
