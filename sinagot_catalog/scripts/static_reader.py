"""The static reader: reads patterns and settings from the syntax tree of a script, without running it.

It goes through the statements from top to bottom, as Python does. `expressions` gives the values of expressions.
"""

import ast
import gc
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.scripts.expressions import (
    ABSENT,
    COMPUTED,
    MEMBERS,
    MODULES,
    PORTS,
    STEP,
    TEMPLATE,
    UNKNOWN,
    ClassValue,
    Marker,
    Scope,
    value_of,
)
from sinagot_catalog.scripts.step_function import CHECK, KEYWORDS, parameter_fault

PATHS = ("PATH_IN", "PATH_OUT", "PATH_CONTROL")
_MEANT = re.compile("PATHS?(IN|OUT|CONTROL)(?:S|PUTS?)?")
"""Matches likely misspellings of a name of `PATHS`, in capitals and without underscores."""
_SIMILAR = 0.87
"""How similar a misspelt name is: one letter of eight differs, or two changed places."""


class FaultError(Exception):
    """A script cannot be used: the message and its line."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.line = line


def parse(source: bytes) -> ast.Module:
    """The syntax tree of a file.

    Raises:
        FaultError: When it is no Python.
    """
    try:
        with _undisturbed():
            return ast.parse(source)
    except SyntaxError as error:
        if "codec can't decode" in str(error.msg) or isinstance(error.__cause__, UnicodeError):
            raise FaultError("the file is not UTF-8") from None
        text = (error.text or "").strip()
        raise FaultError(
            f"{type(error).__name__}: {error.msg}" + (f": {text[:80]}" if text else ""), error.lineno
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise FaultError(f"the file cannot be parsed: {error}") from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Within it nothing is warned of, and no garbage is collected.

    Python 3.11 counts the depth of the tree in one variable for all threads. Garbage collection in the middle of it
    can run a finaliser, or let another thread in: if that parses, too (`inspect.signature` does), a SystemError of
    "AST constructor recursion depth mismatch" follows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


class Reading:
    """A module, read statement by statement from top to bottom without running it.

    Attributes:
        values: The attributes of the class `Script` or of the step function.
        computed: The attributes whose values cannot be read, with their lines where these are known.
        line: The line of the class or the function.
        lines: The lines of the values.
        words: The file's own names for the attributes, if they differ (keywords of `@step`).

    Raises:
        FaultError: When the module has no class `Script` or step function, or another fault.
    """

    def __init__(self, module: ast.Module) -> None:
        self.values: dict[str, Any] = {}
        self.computed: dict[str, int | None] = {}
        self.lines: dict[str, int] = {}
        self.words: dict[str, str] = {}
        self._module = module
        self._names = Scope()
        self._functions: list[ClassValue] = []
        rebound = {name for node in ast.walk(module) if isinstance(node, ast.Global) for name in node.names}
        try:
            for statement in module.body:
                self._statement(statement, self._names)
                self._names.values |= {name: COMPUTED for name in rebound if name in self._names.values}
        except RecursionError:
            raise FaultError("the file nests too deeply to be read") from None
        self.line = self._declaration()

    def _declaration(self) -> int:
        """Note the attributes of the class `Script` or the step function; returns its line."""
        declaration = self._names.values.get("Script")
        if self._functions:
            declaration = self._only_function(declaration)
        if declaration is None:
            raise FaultError(*self._no_script())
        if not isinstance(declaration, ClassValue):
            line = next((n.lineno for n in self._module.body if "Script" in _bound_names(n)), 1)
            self.computed = dict.fromkeys(KEYWORDS.values(), line)
            return line
        unknown = []
        for name in KEYWORDS.values():
            value, line = declaration.find(name)
            if value is ABSENT:
                continue
            if value is UNKNOWN:
                unknown.append(name)
            elif isinstance(value, (Marker, ClassValue)) or callable(value):
                self.computed[name] = line
            else:
                self.values[name] = value
                self.lines[name] = line
        _check_names(declaration, {*self.values, *self.computed, *unknown})
        # A base class in another file may set these; it is evaluated if the script itself has no input or output.
        needed = {"PATH_IN", "PATH_OUT"} & set(unknown)
        if needed:
            self.computed |= {name: declaration.line if name in needed else None for name in unknown}
        else:
            self.computed |= {name: None for name in unknown if name not in PATHS}
        return declaration.line

    def _only_function(self, script: Any) -> ClassValue:
        """The single function under `@step`; a file is one step."""
        first, *others = self._functions
        self.words = {attribute: word for word, attribute in KEYWORDS.items()}
        if others:
            names = ", ".join(f"{step.name} (line {step.line})" for step in self._functions)
            raise FaultError(f"more than one step function: {names}; a file is one step", others[0].line)
        if script is not None and script is not first:
            raise FaultError(f"both a class Script and the step function {first.name}; keep one", first.line)
        return first

    def _no_script(self) -> tuple[str, int]:
        classes = {node.name: node.lineno for node in self._module.body if isinstance(node, ast.ClassDef)}
        if not classes:
            return (
                "no class Script: a script defines class Script(ScriptTemplate), or a function under @step(…)",
                1,
            )
        only = ", ".join(list(classes)[:5])
        return f"no class Script: the file has {only}; a step's class is called Script", min(classes.values())

    def _statement(self, node: ast.stmt, scope: Scope) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                result = value_of(value, scope)
                for target in targets:
                    self._assign(target, result, value.lineno, scope)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value_of(value, scope), value.lineno, scope)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                both = ast.BinOp(ast.copy_location(ast.Name(name, ast.Load()), node), op, value)
                scope.set(name, value_of(ast.copy_location(both, node), scope), node.lineno)
            case ast.Import() | ast.ImportFrom():
                _import(node, scope)
            case ast.ClassDef():
                scope.set(node.name, self._class(node, scope), node.lineno)
            case ast.Pass() | ast.AnnAssign() | ast.Global():
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() if scope is self._names and (
                decorator := self._decorator(node)
            ):
                self._function(node, decorator)
            case _:
                _mark_computed(node, scope)

    def _decorator(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.expr | None:
        """The `@step(…)` decorator of a function; None if it has none."""
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            known = isinstance(called, ast.Name) and called.id == "step" and "step" not in self._names.values
            if known or value_of(called, self._names) is STEP:
                return decorator
        return None

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, decorator: ast.expr) -> None:
        """Read a function under `@step`: the keywords become the attributes of a class."""
        if not isinstance(decorator, ast.Call):
            raise FaultError("@step has arguments: write @step(inputs=…, outputs=…)", decorator.lineno)
        if decorator.args:
            raise FaultError("@step takes keywords: write @step(inputs=…, outputs=…)", decorator.lineno)
        _check_parameters(node)
        step = ClassValue(node.name, node.lineno, (), is_whole=True, scope=Scope())
        for word in decorator.keywords:
            line = word.value.lineno
            if word.arg is None:
                for name in KEYWORDS.values():
                    step.scope.set(name, COMPUTED, line)
            elif word.arg in KEYWORDS:
                step.scope.set(KEYWORDS[word.arg], value_of(word.value, self._names), line)
            elif word.arg != CHECK:
                known = (*KEYWORDS, CHECK)
                near = did_you_mean(word.arg, known, most=1) or f"; known here: {', '.join(known)}"
                raise FaultError(f"@step has no {word.arg!r}{near}", line)
        self._names.set(node.name, step, node.lineno)
        self._functions.append(step)

    def _assign(self, target: ast.expr, result: Any, line: int, scope: Scope) -> None:
        match target:
            case ast.Name(id=name):
                scope.set(name, result, line)
            case ast.Attribute(value=ast.Name(id=owner), attr=name):
                if isinstance(changed := scope.get(owner), ClassValue):
                    changed.scope.set(name, result, line)
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if (
                isinstance(result, (tuple, list))
                and len(result) == len(targets)
                and all(isinstance(target, ast.Name) for target in targets)
            ):
                for element, part in zip(targets, result, strict=True):
                    self._assign(element, part, line, scope)
            case _:
                _mark_computed(target, scope)

    def _class(self, node: ast.ClassDef, scope: Scope) -> ClassValue:
        bases, is_whole = [], True
        for base in node.bases:
            value = value_of(base, scope)
            name = getattr(base, "id", getattr(base, "attr", None))
            if isinstance(value, ClassValue):
                bases.append(value)
            elif value is not TEMPLATE and name not in ("ScriptTemplate", "object"):
                is_whole = False
        inner = Scope(scope)
        for statement in node.body:
            self._statement(statement, inner)
        return ClassValue(node.name, node.lineno, tuple(bases), is_whole, inner)


def _mark_computed(node: ast.AST, scope: Scope) -> None:
    """Mark as computed the names that a statement may bind, and the lists and dicts that it may change."""
    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    visible = scope.visible()
    touched = [value for name in names if isinstance(value := scope.get(name), (list, dict))]
    changed = {name for name, value in visible.items() if any(value is item for item in touched)}
    for name in _bound_names(node) | changed:
        scope.set(name, COMPUTED, getattr(node, "lineno", 1))


def _import(node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else None
    for alias in node.names:
        if module is None:
            top = alias.name if alias.asname else alias.name.partition(".")[0]
            scope.set(alias.asname or top, MODULES.get(top, COMPUTED), node.lineno)
            continue
        if alias.name == "*":
            # A star import may rebind any name.
            scope.values |= dict.fromkeys(scope.values, COMPUTED)
            continue
        full = f"{'os.path' if module == 'posixpath' else module}.{alias.name}"
        is_ours = module.partition(".")[0] in ("sinagot_catalog", "sinagot")
        named = {"ScriptTemplate": TEMPLATE, "step": STEP, **{port.__name__: port for port in PORTS}}
        ours = named.get(alias.name) if is_ours else None
        scope.set(alias.asname or alias.name, ours or MEMBERS.get(full, COMPUTED), node.lineno)


def _check_names(script: ClassValue, names: Collection[str]) -> None:
    """Refuse a name such as `PATH_OUTPUT` if `PATH_OUT` is not set: it would have no effect."""
    for name, line in script.scope.lines.items():
        meant = _MEANT.fullmatch(name.replace("_", ""))
        as_long = [path for path in PATHS if len(path) == len(name)]
        similar = get_close_matches(name, as_long, n=1, cutoff=_SIMILAR)
        path = f"PATH_{meant[1]}" if meant else similar[0] if similar else name
        if name != path and path not in names:
            raise FaultError(
                f"the class {script.name} has {name}, which is not read; did you mean {path!r}?", line
            )


def _check_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Refuse a step function that the library cannot call."""
    if isinstance(node, ast.AsyncFunctionDef):
        raise FaultError(f"{node.name}() is async: a step's function is a plain one", node.lineno)
    args = node.args
    several = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, *several):
        fault = parameter_fault(node.name, arg.arg, is_several=arg in several)
        if fault is not None:
            raise FaultError(fault, arg.lineno)


def _bound_names(node: ast.AST) -> set[str]:
    """Every name that a statement may bind, in its own scope or in an inner one."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return {node.name}
    names = set[str]()
    for child in ast.walk(node):
        match child:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.alias():
                names.add((child.asname or child.name).partition(".")[0])
            case _ if isinstance(own := getattr(child, "name", None), str):  # such as of `except ... as`
                names.add(own)
    return names
