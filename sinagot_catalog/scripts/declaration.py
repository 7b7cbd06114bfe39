"""The declaration of a script: its path patterns and settings, read from its source without running it.

`static_reader` reads literals and simple expressions. `subprocess_reader` evaluates any other expression, if the
workspace is trusted.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import field
from math import inf
from pathlib import Path, PurePath
from typing import Any

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.patterns import InputPattern, is_table
from sinagot_catalog.scripts.static_reader import PATHS, FaultError, Reading, parse
from sinagot_catalog.scripts.subprocess_reader import evaluate
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import read_regular

_SIZE_LIMIT = 4_000_000


@dataclass(frozen=True)
class ScriptSource:
    """The declared patterns and settings of a script.

    Attributes:
        script: The path of the file.
        path_in: `PATH_IN` as a text, a tuple of texts or a dict of those by label; None if it is absent.
        path_out: `PATH_OUT`, likewise.
        path_control: `PATH_CONTROL`, likewise.
        version: `VERSION` as a text.
        retries: `RETRIES`.
        timeout: `TIMEOUT` in seconds.
        computed: The attributes whose values cannot be read from the source.
        error: Why the script cannot be used, with file and line; None if it can be used.
        line: The line of the fault, or of the class `Script`, or of the function under `@step`.
        lines: The line of each attribute that is present; the line of the class if it is not known.
        name: The name of the file in messages.
        words: The file's own names for the attributes, if they differ (keywords of `@step`).
        by: `BY`, the fields of the groups that it runs over; None if it runs over records.
        partial: `PARTIAL`, whether a group also runs without the members that failed.
        columns: `COLUMNS`, whether the values of its output are a column of records.
        report: `REPORT`, whether the report shows what it writes.
        resources: `RESOURCES`, what a row needs, as it is written.
    """

    script: str
    path_in: object = None
    path_out: object = None
    path_control: object = None
    version: str | None = None
    retries: int | None = None
    timeout: float | None = None
    computed: tuple[str, ...] = ()
    error: str | None = None
    line: int | None = None
    lines: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] | None = None
    partial: bool = False
    columns: bool = False
    report: bool = False
    resources: Mapping[str, Any] = field(default_factory=dict)

    def where(self, name: str) -> str:
        """The place of `PATH_IN` and the others in messages: the file, the line and the file's own name for it."""
        line = self.lines.get(name)
        return f"{self.name or self.script}{f':{line}' if line else ''}: {self.words.get(name, name)}"


def read_script(
    script: str,
    *,
    scripts: str | None = None,
    name: str | None = None,
    distrust: Callable[[], str | None] = str,
    cache: MutableMapping[str, Any] | None = None,
) -> ScriptSource:
    """Read the patterns and settings of a script from its source, without running it.

    Reads literals, module constants, earlier class attributes, `+`, f-strings, `os.path.join` and `Path(...) / ...`
    over those. Any other expression is computed: a child process evaluates it, but only when `distrust` returns
    None.

    Args:
        script: The path of the file.
        scripts: The scripts folder, whose modules the script may import; by default the script's own folder.
        name: The name of the file in messages; by default its path.
        distrust: Returns why the script may not be run, or None if it may; called only if something is computed. By
            default it may not.
        cache: Stores evaluated values (JSON) by content; also entries with an `error`.

    Returns:
        The declaration; a fault is in `error`, never raised.
    """
    name = name or script
    try:
        source = read_regular(script, _SIZE_LIMIT)
    except FileNotFoundError:
        return ScriptSource(script, name=name, error=_absence(Path(script), name))
    except OSError as error:
        fault = f"script file {name} cannot be read: {error.strerror or error}"
        return ScriptSource(script, name=name, error=fault)
    try:
        reading = Reading(parse(source))
        if reading.computed and (reason := distrust()) is not None:
            _refuse_computed(reading, reason)
        elif reading.computed:
            folder = scripts or str(Path(script).parent)
            _add(reading, evaluate(script, folder, source, {} if cache is None else cache))
        return _checked(reading, script, name)
    except FaultError as fault:
        where = f"{name}:{fault.line}: " if fault.line else f"{name}: "
        return ScriptSource(script, name=name, error=where + fault.sentence, line=fault.line)


def _absence(script: Path, name: str) -> str:
    """Return the error of a script that is not there, with the nearest name or what to move."""
    folder = script.parent
    if folder.exists():
        near = did_you_mean(script.stem, [path.stem for path in folder.glob("*.py")], most=1)
        return f"script file {name} is missing{near}"
    if (folder.parent / script.name).exists():
        return f"there is no folder {folder} of scripts; make it, and move {script.name} there"
    near = did_you_mean(folder.name, [path.name for path in folder.parent.glob("*/")], most=1)
    return f"there is no folder {folder} of scripts{near}"


def _refuse_computed(reading: Reading, reason: str) -> None:
    """Refuse paths that only running the script can tell."""
    needed = next((name for name in reading.computed if name in PATHS), None)
    if needed is not None:
        raise FaultError(
            f"{reading.words.get(needed, needed)} is computed; "
            "patterns of a workspace that is not trusted are read, not run: "
            "write it as a literal or open the workspace with trust=True"
            + (f" ({reason})" if reason else ""),
            reading.computed[needed] or reading.line,
        )


def _add(reading: Reading, result: Mapping[str, Any]) -> None:
    """Add the values of what the script computes."""
    if "error" in result:
        names = ", ".join(reading.computed)
        raise FaultError(f"{names} cannot be computed: {result['error']}", result.get("line"))
    reading.values |= {name: result.get(name) for name in reading.computed}


def _checked(reading: Reading, script: str, name: str) -> ScriptSource:
    """The declaration of a script whose attributes have the right types."""
    lines = {**{item: at or reading.line for item, at in reading.computed.items()}, **reading.lines}
    checked: dict[str, Any] = {}
    for attribute, value in reading.values.items():
        if value is not None:
            word = reading.words.get(attribute, attribute)
            try:
                checked[attribute.lower()] = (
                    _checked_path(word, value)
                    if attribute in PATHS
                    else _checked_setting(attribute, word, value)
                )
            except FaultError as fault:
                raise FaultError(fault.sentence, lines.get(attribute, reading.line)) from None
    return ScriptSource(
        script,
        computed=tuple(reading.computed),
        line=reading.line,
        lines=lines,
        name=name,
        words=reading.words,
        **checked,
    )


def _checked_path(name: str, value: Any) -> object:
    """A path as a text, a tuple of texts, or a dict of those."""
    if isinstance(value, Mapping) and not is_table(value):
        if not all(isinstance(label, str) for label in value):
            raise FaultError(f"{name} is a dict whose labels are not all texts")
        return {label: _checked_input(f"{name}[{label!r}]", item) for label, item in value.items()}
    return _checked_input(name, value)


def _checked_input(name: str, value: Any) -> object:
    """One port: a pattern, or several alternatives; only an input has these."""
    if isinstance(value, Mapping) and is_table(value):
        value = InputPattern(tuple(value["any_of"]), is_optional=bool(value.get("optional")))
    if not isinstance(value, InputPattern):
        return _checked_parts(name, value)
    if not name.startswith(("PATH_IN", "inputs")):
        raise FaultError(f"{name} uses many, optional or any_of, which only inputs have")
    return InputPattern(tuple(_checked_parts(name, item) for item in value.patterns), value.is_optional)


def _checked_parts(name: str, value: Any) -> str | tuple[str, ...]:
    if isinstance(value, (str, PurePath)):
        return str(value)
    if not isinstance(value, (tuple, list)):
        raise FaultError(
            f"{name} is of type {type(value).__name__}: a path pattern is a tuple of texts, a text, "
            "or (not within a dict) a dict of those"
        )
    for part in value:
        if not isinstance(part, (str, PurePath)):
            raise FaultError(f"{name} has a part of type {type(part).__name__}: its parts are texts")
    return tuple(map(str, value))


def _checked_setting(attribute: str, name: str, value: Any) -> Any:
    """A setting as `ScriptSource` has it."""
    kinds, convert, is_right, fault = _SETTINGS[attribute]
    is_flag = isinstance(value, bool)  # and so an int, too
    if not (isinstance(value, kinds) and is_flag == (kinds is bool) and is_right(value)):
        raise FaultError(f"{name} is {fault.format(type=type(value).__name__)}")
    return convert(value)


def _are_texts(items: Iterable[object]) -> bool:
    return all(isinstance(item, str) for item in items)


_FLAG = bool, bool, lambda _: True, "not True or False"
_SETTINGS: Mapping[str, tuple[Any, Callable[[Any], Any], Callable[[Any], bool], str]] = {
    "VERSION": ((str, int, float), str, lambda _: True, "of type {type}: it is a text or a number"),
    "RETRIES": (int, int, lambda count: count >= 0, "not a whole number from 0"),
    "TIMEOUT": ((int, float), float, lambda time: 0 < time < inf, "not a number of seconds above 0"),
    "BY": ((tuple, list), tuple, _are_texts, "not a list of names of fields, such as ['sub']"),
    "PARTIAL": _FLAG,
    "COLUMNS": _FLAG,
    "REPORT": _FLAG,
    "RESOURCES": (Mapping, dict, _are_texts, "not a dict such as {{'cpus': 4, 'memory': '8GB'}}"),
}
"""By setting its types, what converts its value, which values it can have, and what a wrong one is."""
