# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Make one table of many evaluations, highest mean IoU first within each data set.

    vitseg leaderboard runs/*/results.json --output leaderboard.html

takes what `vitseg validate` wrote, files or folders, and prints a Markdown table with the protocol of each; --output
writes it, too, or a page, by its ending. Where protocols, images or classes differ within a data set, a warning says
so.
"""

import argparse
import itertools
import sys
from pathlib import Path

from ..evaluation.comparison import distinct_names, leaderboard_table, read_result, warnings
from ..pages import render
from ..recipes.cards import markdown_table
from ..replacing import replacing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results.json, or its folder")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a .md or .html file to write")


def run(args: argparse.Namespace) -> int:
    if args.output is not None and args.output.suffix not in (".md", ".html"):
        args.usage_error(f"--output {args.output} ends neither with .md nor with .html")
    folders = [str(path.parent if path.name == "results.json" else path) for path in args.results]
    pairs = list(zip(distinct_names(folders), map(read_result, args.results), strict=True))
    header, rows = leaderboard_table(pairs)
    lines = []
    for (dataset, split), group in itertools.groupby(sorted(pairs, key=_data_of), key=_data_of):
        lines += [f"{dataset}, {split}: {line}" for line in warnings(*zip(*group, strict=True))]
    table = markdown_table(header, rows)
    print(table)
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)
    if args.output is not None:
        title, summary = "Leaderboard", f"{len(pairs)} evaluations"
        if args.output.suffix == ".html":
            tables = [("Models", "", header, rows)]
            text = render(
                "comparison.html", title=title, summary=summary, warnings=lines, tables=tables, pictures=[], colors=[]
            )
        else:
            text = "\n\n".join([f"# {title}", *(f"- warning: {line}" for line in lines), table]) + "\n"
        with replacing(args.output) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return 0


def _data_of(pair: tuple[str, dict]) -> tuple[str, str]:
    return pair[1]["dataset"], pair[1]["split"]
