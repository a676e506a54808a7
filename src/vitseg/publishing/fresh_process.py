# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Loading model folders as others do: in a fresh process, with vitseg or without it, and nobody to answer a prompt."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import vitseg

from ..conversion import fingerprint
from ..conversion.fingerprint import IMPORTED, Fingerprint


SOURCE = Path(vitseg.__file__).parents[1]
PROGRESS_BARS = ("Loading weights:", "Writing model shards:")


def run_script(script: str, *arguments: str | Path, folder: Path, **environment: str) -> None:
    """
    Run a script in a fresh process, in the empty `folder`, without network, settings and caches of this one.

    Raises:
        ValueError: if it fails, or prints anything but the progress bars of transformers: a prompt, a warning. Where
            it prints `IMPORTED`, what comes before is not looked at.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    cache = {"HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**inherited, **cache, **environment},
        check=False,
    )
    if result.returncode:
        raise ValueError(f"The process failed:\n{result.stderr.strip()}")
    said = result.stdout + result.stderr.rpartition(f"{IMPORTED}\n")[2]
    lines = [line for line in said.splitlines() if line.strip()]
    if words := [line for line in lines if not line.startswith(PROGRESS_BARS)]:
        raise ValueError("The process printed what a user would have to read:\n" + "\n".join(words))


def load_in_fresh_process(folders: Sequence[Path], *, remote_code: bool) -> list[Fingerprint]:
    """
    What model folders answer in one fresh process: with vitseg imported, or with the code in the folders where vitseg
    cannot be imported.

    Raises:
        ValueError: see [`run_script`].
    """
    script = Path(fingerprint.__file__).read_text(encoding="utf-8")
    options = ["--remote-code"] if remote_code else []
    environment = {} if remote_code else {"PYTHONPATH": str(SOURCE)}
    with tempfile.TemporaryDirectory(prefix="vitseg-") as name:
        answer = Path(name) / "answer.json"
        paths = [folder.resolve() for folder in folders]
        run_script(script, *paths, *options, "--take", answer, folder=Path(name), **environment)
        return json.loads(answer.read_text(encoding="utf-8"))
