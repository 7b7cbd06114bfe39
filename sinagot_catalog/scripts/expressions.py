"""Script expressions: the values of simple expressions in a script, without running it.

Literals, constants and classes of the script, sums and products, f-strings, `os.path.join` and `Path(...) / ...`
have a value here; any other expression is *computed*. A hostile source costs bounded time and memory.
"""

import ast
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Any

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns import InputPattern, any_of, many, optional


class _ComputedError(Exception):
    """The value of an expression is known only by running it."""


class Marker:
    """A marker value for names that have no value in the source."""

    def __init__(self, name: str) -> None:
        self.name = name


ABSENT = Marker("absent")  # no class defines the name
UNKNOWN = Marker("unknown")  # another file may define the name
COMPUTED = Marker("computed")  # defined, but known only by running it
TEMPLATE = Marker("sinagot_catalog.ScriptTemplate")
STEP = Marker("sinagot_catalog.step")
MODULES = {
    "os": Marker("os"),
    "os.path": Marker("os.path"),
    "posixpath": Marker("os.path"),
    "pathlib": Marker("pathlib"),
    "sinagot_catalog": Marker("sinagot_catalog"),
}
MEMBERS: dict[str, Any] = {
    "os.path": MODULES["os.path"],
    "os.sep": "/",
    "os.path.sep": "/",
    "os.path.join": posixpath.join,
    "pathlib.Path": PurePosixPath,
    "pathlib.PurePath": PurePosixPath,
    "pathlib.PurePosixPath": PurePosixPath,
    "pathlib.PosixPath": PurePosixPath,
    "sinagot_catalog.step": STEP,
    "sinagot_catalog.many": many,
    "sinagot_catalog.optional": optional,
    "sinagot_catalog.any_of": any_of,
}
PORTS = (many, optional, any_of)
"""The functions for inputs that are more than one path."""
_NUMBER_LIMIT = 10**15
_SIZE_LIMIT = 10_000


class Scope:
    """The names of a module or of a class body: their values, and the lines that set them.

    Args:
        around: The scope around it, where names that it lacks are looked up.
    """

    def __init__(self, around: "Scope | None" = None) -> None:
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self._around = around

    def set(self, name: str, value: Any, line: int) -> None:
        """Bind a name."""
        self.values[name] = value
        self.lines[name] = line

    def get(self, name: str) -> Any:
        """The value of a name; `COMPUTED` if it has none."""
        if name in self.values or self._around is None:
            return self.values.get(name, COMPUTED)
        return self._around.get(name)

    def visible(self) -> dict[str, Any]:
        """The values of all names in this scope and around it."""
        return self.values if self._around is None else {**self._around.visible(), **self.values}


@dataclass
class ClassValue:
    """A class of the script: its bases, whether every base is known, and its attributes."""

    name: str
    line: int
    bases: tuple["ClassValue", ...]
    is_whole: bool
    scope: Scope

    def find(self, name: str) -> tuple[Any, int]:
        """The value and line of an own or inherited attribute; `UNKNOWN` if another file may define it."""
        if name in self.scope.values:
            return self.scope.values[name], self.scope.lines[name]
        for base in self.bases:
            value, line = base.find(name)
            if value is not ABSENT:
                return value, line
        return (ABSENT if self.is_whole else UNKNOWN), 0


def value_of(node: ast.expr, scope: Scope) -> Any:
    """The value of an expression; `COMPUTED` if it is known only by running it.

    Args:
        node: The expression.
        scope: The values of names.
    """
    try:
        return _bounded(_evaluate(node, scope))
    except _ComputedError:
        return COMPUTED


def _evaluate(node: ast.expr, scope: Scope) -> Any:  # noqa: C901, PLR0911, PLR0912  # a case per kind of node
    def value(inner: ast.expr) -> Any:
        return _bounded(_evaluate(inner, scope))

    match node:
        case ast.Constant(value=str() | int() | float() | None as constant):
            return constant
        case ast.Name(id=name):
            variable = scope.get(name)
            if variable is COMPUTED:
                raise _ComputedError
            return variable
        case ast.Attribute(value=owner, attr=name):
            return _member(value(owner), name)
        case ast.JoinedStr(values=parts):
            return "".join(_bounded(_items(parts, value)))
        # Format specs are not read, because their width is unbounded.
        case ast.FormattedValue(value=inner, conversion=-1 | 115, format_spec=None) if isinstance(
            found := value(inner), (str, int, float, PurePosixPath)
        ):
            return str(found)
        case ast.Tuple(elts=parts):
            return tuple(_items(parts, value))
        case ast.List(elts=parts):
            return _items(parts, value)
        case ast.Dict(keys=keys, values=values):
            return _dict(keys, values, value)
        case ast.UnaryOp(op=ast.USub(), operand=operand) if isinstance(
            number := value(operand), (int, float)
        ):
            return -number
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(op, value(left), value(right))
        case ast.Subscript(value=owner, slice=ast.Constant(value=key)):
            return _item(value(owner), key)
        case ast.Call(func=function, args=arguments, keywords=[]):
            return _called(value(function), _items(arguments, value))
    raise _ComputedError


Value = Callable[[ast.expr], Any]
"""Evaluates an inner expression."""


def _bounded(value: Any) -> Any:
    """Refuse values that a hostile source makes too large: `a = a + a`, repeated forty times."""
    stack, size = [value], 0
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, PurePath):
            size += len(str(item))
        elif isinstance(item, (tuple, list)):
            stack.extend(item)
        elif isinstance(item, InputPattern):
            stack.extend(item.patterns)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, int) and abs(item) > _NUMBER_LIMIT:
            raise _ComputedError
        size += 1
        if size + len(stack) > _SIZE_LIMIT:
            raise _ComputedError
    return value


def _member(owner: Any, name: str) -> Any:
    if isinstance(owner, ClassValue):
        found, _ = owner.find(name)
        if not isinstance(found, Marker):
            return found
    elif isinstance(owner, Marker) and f"{owner.name}.{name}" in MEMBERS:
        return MEMBERS[f"{owner.name}.{name}"]
    raise _ComputedError


def _items(parts: Sequence[ast.expr], value: Value) -> list[Any]:
    items: list[Any] = []
    for part in parts:
        if isinstance(part, ast.Starred):
            several = value(part.value)
            if not isinstance(several, (tuple, list)):
                raise _ComputedError
            items.extend(several)
        else:
            items.append(value(part))
        if len(items) > _SIZE_LIMIT:
            raise _ComputedError
    return items


def _dict(keys: Sequence[ast.expr | None], values: Sequence[ast.expr], value: Value) -> dict[Any, Any]:
    items: dict[Any, Any] = {}
    for key, item in zip(keys, values, strict=True):
        label = None if key is None else value(key)
        if not isinstance(label, (str, int)):
            raise _ComputedError
        items[label] = value(item)
    return items


def _item(owner: Any, key: Any) -> Any:
    try:
        if isinstance(owner, (dict, tuple, list)):
            return owner[key]
    except (LookupError, TypeError):
        pass
    raise _ComputedError


def _combined(op: ast.operator, left: Any, right: Any) -> Any:
    pairs = [kind for kind in (str, tuple, list, (int, float)) if _are(kind, left, right)]
    match op:
        case ast.Add() if pairs:
            return left + right
        case ast.Mult() if _are((int, float), left, right):
            return left * right
        case ast.Div() if _are((str, PurePosixPath), left, right) and not _are(str, left, right):
            return left / right
    raise _ComputedError


def _are(kind: Any, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def _called(function: Any, arguments: list[Any]) -> Any:
    """The result of `os.path.join`, `Path`, `many`, `optional` or `any_of`."""
    if function in PORTS:
        try:
            return function(*arguments)
        except (TypeError, PatternError):  # running it gives the error
            raise _ComputedError from None
    if function is not posixpath.join and function is not PurePosixPath:
        raise _ComputedError
    if not arguments or not _are((str, PurePosixPath), *arguments):
        raise _ComputedError
    return function(*map(str, arguments))
