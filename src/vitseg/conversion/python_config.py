# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Reading mmengine's and mmcv's configurations in Python without running them.

Their files are programs, but what they say is data: assignments of numbers, texts, lists, tuples and `dict(...)`, of
names assigned before, and of what `_base_` files say. That is what is read here, from the syntax tree; whatever else a
file holds is refused, by line.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard


BASE_KEY = "_base_"
DELETE_KEY = "_delete_"
# Values that a configuration may come to, with those of its bases: names that stand for lists of names that stand for
# lists would fill the memory. Published configurations have a thousand.
MAX_VALUES = 200_000
MAX_TEXT = 100_000
READABLE = (
    "numbers, texts, lists, tuples, dictionaries and dict(...), texts joined with +, lists of these for each item of "
    "a list, names assigned before, and what _base_ files say"
)


def read_python_config(path: Path) -> dict[str, Any]:
    """
    All that a configuration file assigns, merged with its `_base_` files as mmengine merges them.

    Dictionaries are merged key by key, but replaced where they hold `_delete_=True`; whatever else is replaced.

    Raises:
        ValueError: if the file or one of its bases is not there, is no Python, or holds anything but `READABLE`; the
            message names file and line.
    """
    return _Reader().read_file(path, ())


def parse_python_config(text: str, name: str) -> dict[str, Any]:
    """
    As [`read_python_config`], for the text that a checkpoint holds, which has no `_base_` files beside it.

    Args:
        text: the configuration.
        name: what errors call it.
    """
    reader = _Reader()
    statements = reader.parse(text, name)
    for statement in statements:
        if _is_assignment_of_base(statement):
            raise ValueError(
                f"{name}, line {statement.lineno}, names {BASE_KEY} files, which only a file has beside it."
            )
    return reader.evaluate(statements, name, {})


def merge(change: Mapping[str, Any], base: Mapping[str, Any], where: str = "The configuration") -> dict[str, Any]:
    """
    `base` with the changes made.

    Raises:
        ValueError: if a dictionary is to change something that is none, naming the key.
    """
    merged = dict(base)
    for key, value in change.items():
        if not isinstance(value, dict):
            merged[key] = value
            continue
        inherited = {} if value.get(DELETE_KEY) else merged.get(key, {})
        if not isinstance(inherited, dict):
            raise ValueError(
                f"{where} changes {key} by a dictionary, but its base has {key}={inherited!r}. {DELETE_KEY}=True in "
                "the dictionary replaces it."
            )
        own = {name: item for name, item in value.items() if name != DELETE_KEY}
        merged[key] = merge(own, inherited, where)
    return merged


@dataclass
class _Scope:
    """What expressions of a file may refer to: the names assigned before, and what its bases say."""

    file: str
    base: Mapping[str, Any]
    names: dict[str, Any] = field(default_factory=dict)


class _Reader:
    """Reads one configuration with its bases, and counts what it comes to."""

    def __init__(self) -> None:
        self.num_values = 0

    def read_file(self, path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
        """A file and its bases; `chain` are the files that it is a base of."""
        path = path.resolve()
        if path in chain:
            raise ValueError(f"{path} is a {BASE_KEY} of itself.")
        if path.suffix != ".py" or not path.is_file():
            of_which = f", a {BASE_KEY} of {chain[-1]}" if chain else ""
            raise ValueError(f"There is no configuration file {path}{of_which}; expected a file that ends in .py.")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a readable Python file: {error}") from error
        statements = self.parse(text, str(path))
        base: dict[str, Any] = {}
        for statement in filter(_is_assignment_of_base, statements):
            for name in self._base_names(statement, path):
                part = self.read_file(path.parent / name, (*chain, path))
                if twice := sorted(base.keys() & part.keys()):
                    raise ValueError(f"Two {BASE_KEY} files of {path} assign {twice[0]!r}; only one may.")
                base |= part
        own = self.evaluate([item for item in statements if not _is_assignment_of_base(item)], str(path), base)
        return merge(own, base, str(path))

    def parse(self, text: str, name: str) -> list[ast.stmt]:
        """The statements of a text, but for texts that stand alone, such as its description."""
        try:
            statements = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{name} is not a configuration in Python: {error}") from error
        return [
            item for item in statements if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
        ]

    def evaluate(self, statements: list[ast.stmt], file: str, base: Mapping[str, Any]) -> dict[str, Any]:
        """What statements assign."""
        scope = _Scope(file, base)
        for statement in statements:
            if not isinstance(statement, ast.Assign):
                raise _refusal(statement, scope)
            for target in statement.targets:
                if not isinstance(target, ast.Name):
                    raise _refusal(statement, scope)
                try:
                    scope.names[target.id] = self._value(statement.value, scope)
                except RecursionError as error:
                    raise ValueError(f"{file}, line {statement.lineno}, is nested too deeply.") from error
        # mmengine takes names with two underscores for Python's own.
        return {name: value for name, value in scope.names.items() if not name.startswith("__")}

    def _base_names(self, statement: ast.Assign, path: Path) -> list[str]:
        names = self._value(statement.value, _Scope(str(path), {}))
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}, line {statement.lineno}, has {BASE_KEY}={names!r}; expected names of files.")
        if foreign := [name for name in names if "::" in name]:
            raise ValueError(
                f"{path}, line {statement.lineno}, takes {foreign[0]!r} from another package. Give the path of a file."
            )
        return list(names)

    def _value(self, node: ast.expr, scope: _Scope) -> Any:
        reading = READINGS.get(type(node))
        if reading is None:
            raise _refusal(node, scope)
        self._count(node, scope)
        return reading(self, node, scope)

    def _count(self, node: ast.AST, scope: _Scope) -> None:
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise ValueError(f"{scope.file}, line {_line(node)}, comes to more than {MAX_VALUES} values.")

    def _copy(self, value: Any, node: ast.AST, scope: _Scope) -> Any:
        """A value that a name stands for, counted as if it were written down again."""
        self._count(node, scope)
        if isinstance(value, dict):
            return {key: self._copy(item, node, scope) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._copy(item, node, scope) for item in value)
        return value

    def _constant(self, node: ast.Constant, scope: _Scope) -> Any:
        if isinstance(node.value, str | int | float | None):
            return node.value
        raise _refusal(node, scope)

    def _sequence(self, node: ast.List | ast.Tuple, scope: _Scope) -> Any:
        items = [self._value(item, scope) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)

    def _dict(self, node: ast.Dict, scope: _Scope) -> dict[str, Any]:
        if not all(isinstance(key, ast.Constant) for key in node.keys):
            raise _refusal(node, scope)
        keys = [self._value(key, scope) for key in node.keys if key is not None]
        return dict(zip(keys, (self._value(value, scope) for value in node.values), strict=True))

    def _call(self, node: ast.Call, scope: _Scope) -> dict[str, Any]:
        """`dict(lr=0.1)`, and `dict({'backbone.norm': 0.1})`, as mmengine writes keys that are no names."""
        is_dict = isinstance(node.func, ast.Name) and node.func.id == "dict" and "dict" not in scope.names
        written = [argument for argument in node.args if isinstance(argument, ast.Dict)]
        is_plain = written == node.args[:1] and all(keyword.arg for keyword in node.keywords)
        if not is_dict or not is_plain or len(node.args) > 1:
            raise _refusal(node, scope)
        items = self._value(written[0], scope) if written else {}
        return items | {str(keyword.arg): self._value(keyword.value, scope) for keyword in node.keywords}

    def _name(self, node: ast.Name, scope: _Scope) -> Any:
        if node.id not in scope.names:
            raise _refusal(node, scope, "a name that was not assigned before")
        return self._copy(scope.names[node.id], node, scope)

    def _signed(self, node: ast.UnaryOp, scope: _Scope) -> Any:
        value = self._value(node.operand, scope)
        if not isinstance(node.op, ast.USub | ast.UAdd) or not isinstance(value, int | float):
            raise _refusal(node, scope)
        return -value if isinstance(node.op, ast.USub) else value

    def _joined(self, node: ast.BinOp, scope: _Scope) -> str:
        left, right = self._value(node.left, scope), self._value(node.right, scope)
        is_text = isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str)
        if not is_text or len(left) + len(right) > MAX_TEXT:
            raise _refusal(node, scope)
        return left + right

    def _for_each(self, node: ast.ListComp, scope: _Scope) -> list[Any]:
        """`[dict(scale=scale) for scale in scales]`, which mmsegmentation's data sets hold."""
        loop = node.generators[0]
        if len(node.generators) > 1 or loop.ifs or loop.is_async or not isinstance(loop.target, ast.Name):
            raise _refusal(node, scope)
        items = self._value(loop.iter, scope)
        if not isinstance(items, list | tuple):
            raise _refusal(node, scope)
        return [
            self._value(node.elt, _Scope(scope.file, scope.base, {**scope.names, loop.target.id: item}))
            for item in items
        ]

    def _of_base(self, node: ast.Attribute, scope: _Scope) -> Any:
        """`_base_.model.backbone`."""
        path: list[str] = []
        part: ast.expr = node
        while isinstance(part, ast.Attribute):
            path.insert(0, part.attr)
            part = part.value
        if not isinstance(part, ast.Name) or part.id != BASE_KEY:
            raise _refusal(node, scope)
        value: Any = scope.base
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                raise _refusal(node, scope, f"which no {BASE_KEY} file assigns")
            value = value[name]
        return self._copy(value, node, scope)

    def _placeholder(self, node: ast.Set, scope: _Scope) -> Any:
        """`{{_base_.model.backbone}}`, which Python takes for a set in a set."""
        inner = node.elts[0]
        if len(node.elts) > 1 or not isinstance(inner, ast.Set) or not isinstance(inner.elts[0], ast.Attribute):
            raise _refusal(node, scope)
        return self._of_base(inner.elts[0], scope)


READINGS: Mapping[type[ast.expr], Callable[[_Reader, Any, _Scope], Any]] = {
    ast.Constant: _Reader._constant,
    ast.List: _Reader._sequence,
    ast.Tuple: _Reader._sequence,
    ast.Dict: _Reader._dict,
    ast.Call: _Reader._call,
    ast.Name: _Reader._name,
    ast.UnaryOp: _Reader._signed,
    ast.BinOp: _Reader._joined,
    ast.ListComp: _Reader._for_each,
    ast.Attribute: _Reader._of_base,
    ast.Set: _Reader._placeholder,
}


def _is_assignment_of_base(statement: ast.stmt) -> TypeGuard[ast.Assign]:
    return isinstance(statement, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == BASE_KEY for target in statement.targets
    )


def _refusal(node: ast.AST, scope: _Scope, what: str = "code") -> ValueError:
    source = " ".join(ast.unparse(node).split())
    shortened = source if len(source) <= 60 else f"{source[:60]} ..."
    return ValueError(
        f"{scope.file}, line {_line(node)}: {shortened} is {what}. A configuration is read, and not run; it may hold "
        f"{READABLE}."
    )


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)
