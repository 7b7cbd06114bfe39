"""A step written as a function: `@step(inputs=…, outputs=…)`; standard library only, as `script`."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sinagot_catalog.errors import UsageError, did_you_mean
from sinagot_catalog.scripts.script import ScriptTemplate

__all__ = ["CHECK", "KEYWORDS", "PARAMETERS", "FunctionScript", "parameter_fault", "step"]

KEYWORDS = {
    "inputs": "PATH_IN",
    "outputs": "PATH_OUT",
    "control": "PATH_CONTROL",
    "version": "VERSION",
    "retries": "RETRIES",
    "timeout": "TIMEOUT",
    "by": "BY",
}
"""The keywords of `step` and the attributes of a script class that they stand for."""

CHECK = "check"
"""The keyword of `step` that is a function, not an attribute that is read without running the script."""

PARAMETERS = (
    "input",
    "output",
    "control",
    "previous",
    "id",
    "task",
    "modality",
    "label",
    "logger",
    "debug",
    "data_path",
    "opts",
)
"""What a step's function may ask for."""

_OF_PATH = PARAMETERS[:4]


class FunctionScript(ScriptTemplate):
    """What `step` makes of a function.

    Attributes:
        function: The function itself, to be called by hand.
        asked: The names of its parameters: those that only a position reaches, and the others.
    """

    function: ClassVar[Callable[..., object]]
    asked: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())

    def run(self) -> None:
        """Call the function with what its parameters ask for."""
        self._call(type(self).function, self.asked)

    def _call(self, function: Callable[..., object], asked: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        by_place, by_name = asked
        function(*map(self._given, by_place), **{name: self._given(name) for name in by_name})

    def _given(self, name: str) -> Any:
        return getattr(self.path if name in _OF_PATH else self, name)


def step(
    function: object = None,
    /,
    *,
    inputs: Any = (),
    outputs: Any = (),
    control: Any = (),
    version: str | int | None = None,
    retries: int | None = None,
    timeout: float | None = None,
    by: Sequence[str] | None = None,
    check: Callable[..., object] | None = None,
) -> Callable[[Callable[..., object]], type[FunctionScript]]:
    """Make a step of a function: the decorator for `scripts/<step>.py`, in the place of a class `Script`.

    The function's parameters are filled in by their names: `input`, `output`, `control`, `previous` (paths, or
    dicts of them by label), `id`, `task`, `modality`, `label`, `logger`, `debug`, `data_path`, `opts`.

    Args:
        function: Nothing: the decorator is written with its arguments.
        inputs: What the step reads: a path pattern, or a dict of those by label; `PATH_IN` of a class.
        outputs: What it writes; `PATH_OUT`.
        control: What it may write for a quality check; `PATH_CONTROL`.
        version: Raise it when the results change; earlier results are then `stale`.
        retries: How many times more to try a record that failed.
        timeout: Seconds after which an attempt is ended.
        by: Reserved for steps that run once per group of records: a step with it is refused.
        check: Called on the outputs before they are published, with parameters of the same names. What it raises
            is the error of the record, and nothing is published.

    Raises:
        UsageError: When a parameter of a function is none that a step has.

    Example:
        >>> @step(inputs="raw/{id}.csv", outputs="count/{id}.txt")
        ... def count(input, output):
        ...     output.write_text(str(len(input.read_text().splitlines())))
        >>> count("REC-1", data_path="/data").path.output.as_posix()
        '/data/count/REC-1.txt'
        >>> issubclass(count, ScriptTemplate)
        True
    """
    if function is not None:
        raise UsageError(_at(function, "@step has arguments: write @step(inputs=…, outputs=…)"))
    given = {
        "PATH_IN": inputs,
        "PATH_OUT": outputs,
        "PATH_CONTROL": control,
        "VERSION": version,
        "RETRIES": retries,
        "TIMEOUT": timeout,
        "BY": by,
    }

    def made(function: Callable[..., object]) -> type[FunctionScript]:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(
                _at(function, f"{function.__name__}() is async: a step's function is a plain one")
            )
        attributes = {
            **given,
            "function": staticmethod(function),
            "asked": _asked(function),
            **({} if check is None else {"check": _checker(check)}),
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
            "__doc__": function.__doc__,
        }
        return type(function.__name__, (FunctionScript,), attributes)

    return made


def _asked(function: Callable[..., object]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a function's parameters: those that only a position reaches, and the others."""
    by_place: list[str] = []
    by_name: list[str] = []
    for one in inspect.signature(function).parameters.values():
        is_several = one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        name = getattr(function, "__name__", "check")
        fault = parameter_fault(name, one.name, is_several=is_several)
        if fault is not None:
            raise UsageError(_at(function, fault))
        (by_place if one.kind is one.POSITIONAL_ONLY else by_name).append(one.name)
    return tuple(by_place), tuple(by_name)


def _checker(function: Callable[..., object]) -> Callable[[FunctionScript], None]:
    """The method `check` that calls a function with what its parameters ask for."""
    if not callable(function):
        raise UsageError(f"@step: check is a function, not {type(function).__name__} ({function!r:.60})")
    asked = _asked(function)

    def check(self: FunctionScript) -> None:
        self._call(function, asked)

    return check


def parameter_fault(function: str, name: str, *, is_several: bool = False) -> str | None:
    """What is wrong with a parameter of a step's function, None where nothing is.

    Example:
        >>> parameter_fault("count", "inptu")
        "count() asks for 'inptu', which no step has; did you mean 'input'?"
        >>> parameter_fault("count", "input")
    """
    if is_several:
        return f"{function}() takes any number of {name!r}: name each of its parameters"
    if name in PARAMETERS:
        return None
    near = did_you_mean(name, PARAMETERS, most=1)
    known = f"; known here: {', '.join(PARAMETERS)}. A labelled path is input[{name!r}] or output[{name!r}]"
    return f"{function}() asks for {name!r}, which no step has{near or known}"


def _at(function: object, sentence: str) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return f"{code.co_filename}:{code.co_firstlineno}: {sentence}" if code is not None else sentence
