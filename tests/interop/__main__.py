# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Goes through all cases, prints a table of the largest differences, and writes it to `build/interop.md`.

    PYTHONPATH=build/interop:tests python -m interop [CONCERN ...]

The exit status is 1 if a difference is above its tolerance, or a case failed.
"""

import argparse
import importlib
import multiprocessing
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import mmengine
import mmseg
import torch
import transformers
from mmseg.utils import register_all_modules

from .cases import Case


CONCERNS = ("models", "upernet", "dpt_and_mask2former", "pipeline", "metric", "losses", "schedule")
PROCESSES = 2
TABLE = Path("build") / "interop.md"

# Of all concerns; the processes that are forked off take theirs by number.
cases: list[Case] = []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop")
    parser.add_argument("concerns", nargs="*", metavar="CONCERN", help=f"of {', '.join(CONCERNS)} (all)")
    chosen = parser.parse_args().concerns or CONCERNS
    if unknown := set(chosen) - set(CONCERNS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; the concerns are {', '.join(CONCERNS)}")

    warnings.simplefilter("ignore")
    transformers.utils.logging.disable_progress_bar()
    mmengine.MMLogger.get_instance("mmengine", log_level="ERROR")
    register_all_modules()
    modules = [importlib.import_module(f".{concern}", __package__) for concern in chosen]
    sections = [list(module.cases()) for module in modules]
    cases.extend(case for section in sections for case in section)
    lines = [f"mmsegmentation {mmseg.__version__}, mmengine {mmengine.__version__}, torch {torch.__version__}"]
    print(lines[0])
    failures = 0
    # All packages are imported by now, once for all processes.
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("fork")) as pool:
        outcomes = pool.map(outcome, range(len(cases)))
        for module, section in zip(modules, sections, strict=True):
            title = (module.__doc__ or "").strip().splitlines()[0]
            lines += ["", title, "", *heading(module.COLUMNS)]
            print("\n" + title + "\n" + terminal_row("", {column: column for column in module.COLUMNS}))
            for case in section:
                differences, failure = next(outcomes)
                is_close = not failure and all(value <= case.tolerance for value in differences.values())
                failures += not is_close
                figures = {column: figure(differences.get(column)) for column in module.COLUMNS}
                lines.append(f"| {' | '.join([case.name, *figures.values()])} |")
                print(terminal_row(case.name, figures) + ("" if is_close else "  too far"), flush=True)
                print(failure, end="")
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join(lines) + "\n")
    print(f"\n{failures or 'None'} of {len(cases)} differ by more than they may. The table is in {TABLE}.")
    return int(failures > 0)


def outcome(number: int) -> tuple[Mapping[str, float], str]:
    """The differences of a case, and the traceback of an exception that left none."""
    try:
        return cases[number].compare(), ""
    except Exception:
        return {}, traceback.format_exc()


def heading(columns: Sequence[str]) -> list[str]:
    """The first lines of a table in Markdown."""
    return [f"| {' | '.join(['', *columns])} |", f"|{' --- |' * (len(columns) + 1)}"]


def terminal_row(name: str, figures: Mapping[str, str]) -> str:
    return f"{name:64}" + "".join(f"{value:>10}" for value in figures.values())


def figure(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


if __name__ == "__main__":
    sys.exit(main())
