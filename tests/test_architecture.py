# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md says what is so: which rooms there are, who imports whom, and which files a method has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitseg.methods import METHODS
from vitseg.recipes import RECIPES


ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/vitseg"
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROOMS = {folder.name for folder in SOURCE.iterdir() if (folder / "__init__.py").exists()}
# How Python finds modules: nobody's to write to.
IMPORT_MACHINERY = {"sys.path", "sys.modules", "sys.meta_path", "sys.path_hooks"}
KINDS = ("configuration", "modeling", "image_processing")
# Whether a method needs the files that the checklist asks of "every method", and so on.
NEEDS = {
    "every method": lambda method: True,
    "an own image processor": lambda method: method.processor_class == f"{method.prefix}ImageProcessor",
    "published results": lambda method: method.model_type in {recipe.method for recipe in RECIPES.values()},
}


def table_rows(section: str) -> list[list[str]]:
    """The cells of the table in a section of the page, without its head."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\|.*\|$", text, re.M)]
    assert rows, section
    return rows[2:]


def order_of_rooms() -> list[list[str]]:
    """What the page says of imports: rooms from left to right, with those that share brackets together."""
    line = next(line for line in PAGE.splitlines() if line.startswith("models <- "))
    return [step.strip("()").split(", ") for step in line.split(" <- ")]


def imported_names(file: Path) -> Iterator[str]:
    """The dotted names of all that a file of vitseg imports, wherever in the file."""
    package = file.relative_to(SOURCE.parent).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imports_between_rooms() -> dict[tuple[str, str], list[str]]:
    """(importer, imported) -> the files that do it, of rooms and of the modules beside them."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE)
        room = place.parts[0].removesuffix(".py")
        for name in imported_names(file):
            package, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if package == "vitseg" and other != room:
                found.setdefault((room, other), []).append(str(place))
    return found


def test_the_page_names_the_rooms_that_there_are():
    assert {row[0].strip("`/") for row in table_rows("Rooms")} == ROOMS
    assert {room for step in order_of_rooms() for room in step} - {"cli"} == ROOMS


def test_rooms_import_only_what_stands_to_their_left():
    position = {room: index for index, step in enumerate(order_of_rooms()) for room in step}
    edges = imports_between_rooms()
    wrong = {
        f"{room} imports {other}": files
        for (room, other), files in edges.items()
        if room in position and other in position
        if position[other] > position[room] or (other, room) in edges
    }
    assert wrong == {}


def test_models_stand_alone():
    """They travel with the weights, to where there is no vitseg."""
    assert {other: files for (room, other), files in imports_between_rooms().items() if room == "models"} == {}


def test_what_stands_beside_the_rooms_needs_no_room():
    """So that every room may use it, except the models; the command line and the package are at the other end."""
    ends = {"__init__", "__main__", "cli"}
    beside = {file.stem for file in SOURCE.glob("*.py")} - ends
    edges = {pair: files for pair, files in imports_between_rooms().items() if pair[0] in beside}
    assert {pair: files for pair, files in edges.items() if pair[1] in (ROOMS - {"models"}) | ends} == {}


@pytest.mark.parametrize("folder", ["src", "conversion", "examples"])
def test_nothing_touches_how_python_imports(folder):
    touched = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        # Whether something is imported may be asked: `name in sys.modules`.
        asked = [operand for node in nodes if isinstance(node, ast.Compare) for operand in node.comparators]
        attributes = [node for node in nodes if isinstance(node, ast.Attribute) and node not in asked]
        lines = [node.lineno for node in attributes if ast.unparse(node) in IMPORT_MACHINERY]
        lines += [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "sys"]
        touched += [f"{file.relative_to(ROOT)}:{line}" for line in lines]
    assert touched == []


@pytest.mark.parametrize("model_type", METHODS)
def test_a_method_has_the_files_of_the_checklist(model_type):
    method = METHODS[model_type]
    missing = []
    for file, needed_by, _ in table_rows("Adding a method"):
        place = ROOT / file.strip("`").replace("METHOD", model_type)
        if NEEDS[needed_by](method) and not place.exists():
            missing.append(str(place.relative_to(ROOT)))
    assert missing == []


def test_every_file_of_a_method_is_of_one_in_the_table():
    """A network that the table does not name is nobody's: no Auto class, recipe or test would find it."""
    named = {module for method in METHODS.values() for module in method.modules_of_classes.values()}
    shared = {f"{kind}_{part}" for kind in KINDS for part in ("semantic", "decoder")}
    files = {file.stem for kind in KINDS for file in (SOURCE / "models").glob(f"{kind}_*.py")}
    assert files - named - shared == set()


def test_progress_is_shown_in_one_way():
    """A bar of its own would fill a log with copies of itself."""
    calls = re.compile(r"\btqdm\(")
    files = [file.name for file in sorted(SOURCE.rglob("*.py")) if calls.search(file.read_text(encoding="utf-8"))]
    assert files == ["progress.py"]
