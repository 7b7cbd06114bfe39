"""Step functions: the decorator `@step(inputs=…, outputs=…)`; standard library only, like `script`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from sinagot_catalog.errors import UsageError, did_you_mean
from sinagot_catalog.scripts.script import ScriptTemplate

KEYWORDS = {
    "inputs": "PATH_IN",
    "outputs": "PATH_OUT",
    "control": "PATH_CONTROL",
    "version": "VERSION",
    "retries": "RETRIES",
    "timeout": "TIMEOUT",
    "by": "BY",
    "partial": "PARTIAL",
    "columns": "COLUMNS",
    "report": "REPORT",
    "resources": "RESOURCES",
}
"""The keywords of `step` and the corresponding attributes of a script class."""

CHECK = "check"
"""The keyword of `step` that is a function; unlike the others, it is not read from the source."""

PARAMETERS = (
    "input",
    "output",
    "control",
    "previous",
    "id",
    "records",
    "task",
    "modality",
    "label",
    "logger",
    "debug",
    "data_path",
    "opts",
    "params",
    "record",
)
"""The parameters that a step function may have."""

_OF_PATH = PARAMETERS[:4]


class FunctionScript(ScriptTemplate):
    """The script class that `step` makes of a function.

    Attributes:
        function: The function itself, for calls by hand.
    """

    function: ClassVar[Callable[..., object]]


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
    partial: bool = False,
    columns: bool = False,
    report: bool = False,
    resources: Mapping[str, Any] | None = None,
    check: Callable[..., object] | None = None,
) -> Callable[[Callable[..., object]], type[FunctionScript]]:
    """Make a step of a function: a decorator for `scripts/<step>.py`, instead of a class `Script`.

    The library fills in the function's parameters by name: `input`, `output`, `control`, `previous` (paths, or
    dicts of paths by label), `id`, `records`, `task`, `modality`, `label`, `logger`, `debug`, `data_path`, `opts`,
    `params`, `record`.

    Args:
        function: Not used; catches a decorator that is written without arguments.
        inputs: What the step reads: a path pattern, or a dict of patterns by label; `PATH_IN` of a class.
        outputs: What the step writes; `PATH_OUT`.
        control: What the step may write for a quality check; `PATH_CONTROL`.
        version: Raise it when the results change; earlier results are then `stale`.
        retries: How many more times to try a record that failed.
        timeout: Seconds after which an attempt is ended.
        by: Run once per group of records: the fields of the id that tell the groups; `[]` for all records together.
        partial: Run a group also without the members that failed.
        columns: Whether the output is one row of values, which become a column of `records`; see `COLUMNS`.
        report: Whether the report shows the output: pictures, and the values of tables by group.
        resources: What a row needs, such as `{"cpus": 4, "memory": "8GB", "gpus": 1, "time": "2h"}`.
        check: Called before the outputs are published, with parameters of the same names. If it raises an
            exception, that is the error of the record, and nothing is published.

    Raises:
        UsageError: When a function has a parameter that no step has.

    Example:
        >>> from sinagot_catalog import ScriptTemplate, step
        >>> @step(inputs="raw/{id}.csv", outputs="count/{id}.txt")
        ... def count(input, output):
        ...     output.write_text(str(len(input.read_text().splitlines())))
        >>> count("REC-1", data_path="/data").path.output.as_posix()
        '/data/count/REC-1.txt'
        >>> issubclass(count, ScriptTemplate)
        True
    """
    given = {KEYWORDS[name]: value for name, value in locals().items() if name in KEYWORDS}
    if function is not None:
        raise UsageError(_at(function, "@step has arguments: write @step(inputs=…, outputs=…)"))
    if check is not None and not callable(check):
        raise UsageError(f"@step: check is a function, not {type(check).__name__} ({check!r:.60})")

    def made(function: Callable[..., object]) -> type[FunctionScript]:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(
                _at(function, f"{function.__name__}() is async: a step's function is a plain one")
            )
        attributes = {
            **given,
            "function": staticmethod(function),
            "run": _method(function),
            **({} if check is None else {"check": _method(check)}),
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
            "__doc__": function.__doc__,
        }
        return type(function.__name__, (FunctionScript,), attributes)

    return made


def _method(function: Callable[..., object]) -> Callable[[FunctionScript], None]:
    """The method that calls a function with the values of its parameters."""
    by_place: list[str] = []
    by_name: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        is_several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        name = getattr(function, "__name__", "check")
        fault = parameter_fault(name, parameter.name, is_several=is_several)
        if fault is not None:
            raise UsageError(_at(function, fault))
        (by_place if parameter.kind is parameter.POSITIONAL_ONLY else by_name).append(parameter.name)

    def method(self: FunctionScript) -> None:
        def given(name: str) -> Any:
            return getattr(self.path if name in _OF_PATH else self, name)

        function(*map(given, by_place), **{name: given(name) for name in by_name})

    return method


def parameter_fault(function: str, name: str, *, is_several: bool = False) -> str | None:
    """The fault of a parameter of a step function; None if it has none.

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
