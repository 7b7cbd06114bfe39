"""The static reader: reads patterns and settings from the syntax tree of a script, without running it.

It goes through the statements from top to bottom, as Python does. Literals, module constants, earlier class
attributes, `+`, f-strings, `os.path.join` and `Path(...) / ...` over those have a value here; any other expression
is *computed*. A hostile source costs bounded time and memory.
"""

import ast
import posixpath
import re
from collections.abc import Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath
from typing import Any

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.scripts.step_function import CHECK, KEYWORDS, parameter_fault

__all__ = ["PATHS", "SETTINGS", "FaultError", "Reading"]

PATHS = ("PATH_IN", "PATH_OUT", "PATH_CONTROL")
_MEANT = re.compile("PATHS?(IN|OUT|CONTROL)(?:S|PUTS?)?")
"""Matches likely misspellings of a name of `PATHS`, in capitals and without underscores."""
SETTINGS = ("VERSION", "RETRIES", "TIMEOUT", "BY", "COLUMNS")


class FaultError(Exception):
    """A script cannot be used: the message and its line."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.line = line


class _ComputedError(Exception):
    """The value of an expression is known only by running it."""


@dataclass
class _Class:
    """A class of the script: its bases, its attributes, and whether every base is known."""

    name: str
    line: int
    bases: tuple["_Class", ...]
    is_whole: bool
    attributes: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> tuple[Any, int]:
        """The value and line of an own or inherited attribute; `_UNKNOWN` if another file may define it."""
        if name in self.attributes:
            return self.attributes[name], self.lines[name]
        for base in self.bases:
            value, line = base.find(name)
            if value is not _ABSENT:
                return value, line
        return (_ABSENT if self.is_whole else _UNKNOWN), 0


def _check_names(script: _Class, known: Collection[str]) -> None:
    """Refuse a name such as `PATH_OUTPUT` if `PATH_OUT` is not set: it would have no effect."""
    for name, line in script.lines.items():
        meant = _MEANT.fullmatch(name.replace("_", ""))
        path = f"PATH_{meant[1]}" if meant else name
        if name != path and path not in known:
            raise FaultError(
                f"the class {script.name} has {name}, which is not read; did you mean {path!r}?", line
            )


class _Mark:
    """A marker value for names that have no value in the source."""

    def __init__(self, name: str) -> None:
        self.name = name


_ABSENT = _Mark("absent")  # no class defines the name
_UNKNOWN = _Mark("unknown")  # another file may define the name
_COMPUTED = _Mark("computed")  # defined, but known only by running it
_TEMPLATE = _Mark("sinagot_catalog.ScriptTemplate")
_STEP = _Mark("sinagot_catalog.step")
_MODULES = {
    "os": _Mark("os"),
    "os.path": _Mark("os.path"),
    "posixpath": _Mark("os.path"),
    "pathlib": _Mark("pathlib"),
    "sinagot_catalog": _Mark("sinagot_catalog"),
}
_MEMBERS: dict[str, Any] = {
    "os.path": _MODULES["os.path"],
    "os.sep": "/",
    "os.path.sep": "/",
    "os.path.join": posixpath.join,
    "pathlib.Path": PurePosixPath,
    "pathlib.PurePath": PurePosixPath,
    "pathlib.PurePosixPath": PurePosixPath,
    "pathlib.PosixPath": PurePosixPath,
    "sinagot_catalog.step": _STEP,
}
_CALLS = (posixpath.join, PurePosixPath, tuple, list, str, dict)
_NUMBER_LIMIT = 10**15
_SIZE_LIMIT = 10_000

Scope = MutableMapping[str, Any]


class Reading:
    """A module, read statement by statement from top to bottom without running it."""

    def __init__(self, module: ast.Module) -> None:
        self.names: dict[str, Any] = {"tuple": tuple, "list": list, "str": str, "dict": dict}
        self.module = module
        self.lines: dict[str, int] = {}
        self.is_function = False
        self._functions: list[_Class] = []
        rebound = {name for node in ast.walk(module) if isinstance(node, ast.Global) for name in node.names}
        try:
            for statement in module.body:
                self._statement(statement, self.names, {})
                for name in rebound & set(self.names):
                    self.names[name] = _COMPUTED
        except RecursionError:
            raise FaultError("the file nests too deeply to be read") from None

    def script(self) -> tuple[dict[str, Any], dict[str, int | None], int]:
        """The attributes of the class `Script` or the step function: values, computed names with lines, line."""
        found = self.names.get("Script")
        if self._functions:
            found = self._only_function(found)
        if found is None:
            raise FaultError(*self._no_script())
        if not isinstance(found, _Class):
            line = next((n.lineno for n in self.module.body if "Script" in _stored(n)), 1)
            return {}, dict.fromkeys((*PATHS, *SETTINGS), line), line
        values: dict[str, Any] = {}
        computed: dict[str, int | None] = {}
        unknown = []
        for name in (*PATHS, *SETTINGS):
            value, line = found.find(name)
            if value is _ABSENT:
                continue
            if value is _UNKNOWN:
                unknown.append(name)
            elif isinstance(value, (_Mark, _Class)) or callable(value):
                computed[name] = line
            else:
                values[name] = value
                self.lines[name] = line
        _check_names(found, {*values, *computed, *unknown})
        # A base class in another file may set these; it is evaluated if the script itself has no input or output.
        needed = {"PATH_IN", "PATH_OUT"} & set(unknown)
        computed |= {name: found.line if name in needed else None for name in unknown}
        if unknown and not needed:
            computed = {
                name: line for name, line in computed.items() if name not in PATHS or line is not None
            }
        return values, computed, found.line

    def _only_function(self, script: Any) -> _Class:
        """The single function under `@step`; a file is one step."""
        first, *others = self._functions
        self.is_function = True
        if others:
            told = ", ".join(f"{one.name} (line {one.line})" for one in self._functions)
            raise FaultError(f"more than one step function: {told}; a file is one step", others[0].line)
        if script is not None and script is not first:
            raise FaultError(f"both a class Script and the step function {first.name}; keep one", first.line)
        return first

    def _no_script(self) -> tuple[str, int]:
        classes = {node.name: node.lineno for node in self.module.body if isinstance(node, ast.ClassDef)}
        if not classes:
            return (
                "no class Script: a script defines class Script(ScriptTemplate), or a function under @step(…)",
                1,
            )
        only = ", ".join(list(classes)[:5])
        return f"no class Script: the file has {only}; a step's class is called Script", min(classes.values())

    def _statement(self, node: ast.stmt, scope: Scope, lines: dict[str, int]) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                result = self._value(value, scope)
                for target in targets:
                    self._assign(target, result, value.lineno, scope, lines)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, self._value(value, scope), value.lineno, scope, lines)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                both = ast.BinOp(ast.copy_location(ast.Name(name, ast.Load()), node), op, value)
                self._set(name, self._value(ast.copy_location(both, node), scope), node.lineno, scope, lines)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.ClassDef():
                scope[node.name] = self._class(node, scope)
                lines[node.name] = node.lineno
            case ast.Pass() | ast.AnnAssign() | ast.Global():
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() if scope is self.names and (
                decorator := self._decorator(node)
            ):
                self._function(node, decorator)
            case _:
                self._run(node, scope, lines)

    def _decorator(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
        """The `@step(…)` decorator of a function; None if it has none."""
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            known = isinstance(called, ast.Name) and called.id == "step" and "step" not in self.names
            if known or self._value(called, self.names) is _STEP:
                return decorator
        return None

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, decorator: ast.expr) -> None:
        """Read a function under `@step`: the keywords become the attributes of a class."""
        if not isinstance(decorator, ast.Call):
            raise FaultError("@step has arguments: write @step(inputs=…, outputs=…)", decorator.lineno)
        if decorator.args:
            raise FaultError("@step takes keywords: write @step(inputs=…, outputs=…)", decorator.lineno)
        _check_parameters(node)
        made = _Class(node.name, node.lineno, (), is_whole=True)
        for word in decorator.keywords:
            line = word.value.lineno
            if word.arg is None:
                for name in KEYWORDS.values():
                    self._set(name, _COMPUTED, line, made.attributes, made.lines)
            elif word.arg in KEYWORDS:
                value = self._value(word.value, self.names)
                self._set(KEYWORDS[word.arg], value, line, made.attributes, made.lines)
            elif word.arg != CHECK:
                known = (*KEYWORDS, CHECK)
                near = did_you_mean(word.arg, known, most=1) or f"; known here: {', '.join(known)}"
                raise FaultError(f"@step has no {word.arg!r}{near}", line)
        self.names[node.name] = made
        self._functions.append(made)

    def _run(self, node: ast.AST, scope: Scope, lines: dict[str, int]) -> None:
        """Mark as computed the names that a statement may bind, and the lists and dicts that it may change."""
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        touched = [scope.get(name) for name in names if isinstance(scope.get(name), (list, dict))]
        changed = {name for name, value in scope.items() if any(value is one for one in touched)}
        for name in _stored(node) | changed:
            self._set(name, _COMPUTED, getattr(node, "lineno", 1), scope, lines)

    def _assign(self, target: ast.expr, result: Any, line: int, scope: Scope, lines: dict[str, int]) -> None:
        match target:
            case ast.Name(id=name):
                self._set(name, result, line, scope, lines)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                if isinstance(changed := scope.get(owner), _Class):
                    self._set(name, result, line, changed.attributes, changed.lines)
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if (
                isinstance(result, (tuple, list))
                and len(result) == len(targets)
                and all(isinstance(one, ast.Name) for one in targets)
            ):
                for one, part in zip(targets, result, strict=True):
                    self._set(getattr(one, "id", ""), part, line, scope, lines)
            case _:
                self._run(target, scope, lines)

    @staticmethod
    def _set(name: str, value: Any, line: int, scope: Scope, lines: dict[str, int]) -> None:
        scope[name] = value
        lines[name] = line

    @staticmethod
    def _import(node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else None
        for alias in node.names:
            if module is None:
                top = alias.name if alias.asname else alias.name.partition(".")[0]
                scope[alias.asname or top] = _MODULES.get(top, _COMPUTED)
                continue
            if alias.name == "*":
                # A star import may rebind any name.
                scope.update(dict.fromkeys(scope, _COMPUTED))
                continue
            full = f"{'os.path' if module == 'posixpath' else module}.{alias.name}"
            is_ours = module.partition(".")[0] in ("sinagot_catalog", "sinagot")
            ours = {"ScriptTemplate": _TEMPLATE, "step": _STEP}.get(alias.name) if is_ours else None
            scope[alias.asname or alias.name] = ours or _MEMBERS.get(full, _COMPUTED)

    def _class(self, node: ast.ClassDef, scope: Scope) -> _Class:
        bases, is_whole = [], True
        for base in node.bases:
            match base:
                case ast.Name(id=name):
                    known = scope.get(name, self.names.get(name))
                    is_template = known is _TEMPLATE or name in ("ScriptTemplate", "object")
                case _:
                    known = None
                    is_template = isinstance(base, ast.Attribute) and base.attr == "ScriptTemplate"
            if isinstance(known, _Class):
                bases.append(known)
            elif not is_template:
                is_whole = False
        made = _Class(node.name, node.lineno, tuple(bases), is_whole)
        inner = _Layered(made.attributes, scope)
        for statement in node.body:
            self._statement(statement, inner, made.lines)
        for name in made.attributes:
            made.lines.setdefault(name, node.lineno)
        return made

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        try:
            return _bounded(self._evaluate(node, scope))
        except _ComputedError:
            return _COMPUTED

    def _evaluate(self, node: ast.expr, scope: Scope) -> Any:  # noqa: C901, PLR0911  # a case per kind of node
        def value(inner: ast.expr) -> Any:
            return _bounded(self._evaluate(inner, scope))

        match node:
            case ast.Constant(value=str() | int() | float() | None as constant):
                return constant
            case ast.Name(id=name):
                found = scope.get(name, _COMPUTED)
                if found is _COMPUTED:
                    raise _ComputedError
                return found
            case ast.Attribute(value=owner, attr=name):
                return _member(value(owner), name)
            case ast.JoinedStr(values=parts):
                return _joined(parts, value)
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
            case ast.Call(func=function, args=arguments, keywords=keywords):
                return _called(value(function), _items(arguments, value), keywords, value)
        raise _ComputedError


class _Layered(dict[str, Any]):
    """The scope of a class body: looks up the enclosing scope too, and stores in the class."""

    def __init__(self, own: dict[str, Any], around: Scope) -> None:
        super().__init__()
        self.own, self.around = own, around

    def get(self, name: str, default: Any = None) -> Any:
        return self.own[name] if name in self.own else self.around.get(name, default)

    def items(self) -> Any:
        return {**self.around, **self.own}.items()

    def __setitem__(self, name: str, value: Any) -> None:
        self.own[name] = value


def _check_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Refuse a step function that the library cannot call."""
    if isinstance(node, ast.AsyncFunctionDef):
        raise FaultError(f"{node.name}() is async: a step's function is a plain one", node.lineno)
    told = node.args
    several = [one for one in (told.vararg, told.kwarg) if one is not None]
    for one in (*told.posonlyargs, *told.args, *told.kwonlyargs, *several):
        fault = parameter_fault(node.name, one.arg, is_several=one in several)
        if fault is not None:
            raise FaultError(fault, one.lineno)


Value = Callable[[ast.expr], Any]


def _stored(node: ast.AST) -> set[str]:
    """Every name that a statement may bind, in its own scope or in an inner one."""
    names = {
        one.id for one in ast.walk(node) if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load)
    }
    kinds = (
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.ExceptHandler,
        ast.MatchAs,
        ast.MatchStar,
    )
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return {node.name}
    names |= {one.name for one in ast.walk(node) if isinstance(one, kinds) and one.name}
    names |= {
        (alias.asname or alias.name).partition(".")[0]
        for one in ast.walk(node)
        if isinstance(one, (ast.Import, ast.ImportFrom))
        for alias in one.names
    }
    return names


def _bounded(value: Any) -> Any:
    """Refuse values that a hostile source makes too large: `a = a + a`, repeated forty times."""
    stack, size = [value], 0
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, PurePath):
            size += len(str(one))
        elif isinstance(one, (tuple, list)):
            stack.extend(one)
        elif isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, int) and abs(one) > _NUMBER_LIMIT:
            raise _ComputedError
        size += 1
        if size + len(stack) > _SIZE_LIMIT:
            raise _ComputedError
    return value


def _member(owner: Any, name: str) -> Any:
    if isinstance(owner, _Class):
        found, _ = owner.find(name)
        if not isinstance(found, _Mark):
            return found
    elif isinstance(owner, _Mark) and f"{owner.name}.{name}" in _MEMBERS:
        return _MEMBERS[f"{owner.name}.{name}"]
    raise _ComputedError


def _joined(parts: Sequence[ast.expr], value: Value) -> str:
    text = ""
    for part in parts:
        text = _bounded(text + _piece(part, value))
    return text


def _piece(part: ast.expr, value: Value) -> str:
    """The text of one part of an f-string; format specs are not read, because their width is unbounded."""
    match part:
        case ast.Constant(value=str() as text):
            return text
        case ast.FormattedValue(value=inner, conversion=-1 | 115, format_spec=None):
            found = value(inner)
            if isinstance(found, (str, int, float, PurePosixPath)):
                return str(found)
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
    made: dict[Any, Any] = {}
    for key, one in zip(keys, values, strict=True):
        if key is None:
            merged = value(one)
            if not isinstance(merged, dict):
                raise _ComputedError
            made |= merged
            continue
        label = value(key)
        if not isinstance(label, (str, int)):
            raise _ComputedError
        made[label] = value(one)
    return made


def _item(owner: Any, key: Any) -> Any:
    try:
        if isinstance(owner, (dict, tuple, list)):
            return owner[key]
    except (LookupError, TypeError):
        pass
    raise _ComputedError


def _combined(op: ast.operator, left: Any, right: Any) -> Any:  # noqa: PLR0911  # a case per kind of sum
    same = next(
        (kind for kind in (str, tuple, list) if isinstance(left, kind) and isinstance(right, kind)), None
    )
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    match op:
        case ast.Add() if same or numbers:
            return left + right
        case ast.Mult() if numbers:
            return left * right
        case ast.Sub() if numbers:
            return left - right
        case ast.Div() if numbers and right:
            return left / right
        case ast.Div() if isinstance(left, PurePosixPath) and isinstance(right, (str, PurePosixPath)):
            return left / right
        case ast.Div() if isinstance(left, str) and isinstance(right, PurePosixPath):
            return left / right
        case ast.BitOr() if isinstance(left, dict) and isinstance(right, dict):
            return left | right
    raise _ComputedError


def _called(function: Any, arguments: list[Any], keywords: Sequence[ast.keyword], value: Value) -> Any:
    if not any(function is known for known in _CALLS):
        raise _ComputedError
    named = {word.arg: value(word.value) for word in keywords if word.arg}
    if len(named) != len(keywords) or (named and function is not dict):
        raise _ComputedError
    if function in (posixpath.join, PurePosixPath, str):
        arguments = [str(one) if isinstance(one, PurePosixPath) else one for one in arguments]
        if not all(isinstance(one, str) for one in arguments):
            raise _ComputedError
    try:
        return function(*arguments, **named)
    except (TypeError, ValueError):
        raise _ComputedError from None
