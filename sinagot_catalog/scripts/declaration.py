"""The declaration of a script: its path patterns and settings, read from its source without running it.

`static_reader` reads literals and simple expressions. `subprocess_reader` evaluates any other expression, if the
workspace is trusted.
"""

import ast
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import field
from pathlib import Path, PurePath
from typing import Any

from sinagot_catalog.errors import did_you_mean
from sinagot_catalog.patterns import InputPattern, is_table
from sinagot_catalog.scripts.static_reader import PATHS, FaultError, Reading
from sinagot_catalog.scripts.step_function import KEYWORDS
from sinagot_catalog.scripts.subprocess_reader import content_key, evaluate
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
    trusted: bool = False,
    distrust: Callable[[], str | None] | None = None,
    cache: MutableMapping[str, Any] | None = None,
) -> ScriptSource:
    """Read the patterns and settings of a script from its source, without running it.

    Reads literals, module constants, earlier class attributes, `+`, f-strings, `os.path.join` and `Path(...) / ...`
    over those. Any other expression is computed: a child process evaluates it, but only when `trusted`, or when
    `distrust` returns None.

    Args:
        script: The path of the file.
        scripts: The scripts folder, whose modules the script may import; by default the script's own folder.
        name: The name of the file in messages; by default its path.
        trusted: Whether the script may be run to evaluate what it computes.
        distrust: Returns why the script may not be run, or None if it may; called only if something is computed.
        cache: Stores evaluated values (JSON) by content; also entries with an `error`.

    Returns:
        The declaration; a fault is in `error`, never raised.
    """
    name = name or script
    try:
        judge = distrust or (lambda: None if trusted else "")
        return _read(script, scripts or str(Path(script).parent), name, distrust=judge, cache=cache)
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


def _read(
    script: str,
    scripts: str,
    name: str,
    *,
    distrust: Callable[[], str | None],
    cache: MutableMapping[str, Any] | None,
) -> ScriptSource:
    try:
        source = read_regular(script, _SIZE_LIMIT)
    except FileNotFoundError:
        return ScriptSource(script, name=name, error=_absence(Path(script), name))
    except OSError as error:
        return ScriptSource(
            script, name=name, error=f"script file {name} cannot be read: {error.strerror or error}"
        )
    reading = Reading(_parse(source))
    values, computed, line = reading.script()
    words = {attribute: word for word, attribute in KEYWORDS.items()} if reading.is_function else {}
    if computed:
        reason = distrust()
        if reason is None:
            key = content_key(script, scripts, source)
            if cache is None or key not in cache:
                cache = {} if cache is None else cache
                cache[key] = evaluate(script, scripts)
            values |= _evaluated(cache[key], computed)
        else:
            needed = [name for name in computed if name in PATHS]
            if needed:
                raise FaultError(
                    f"{words.get(needed[0], needed[0])} is computed; "
                    "patterns of a workspace that is not trusted are read, not run: "
                    "write it as a literal or open the workspace with trust=True"
                    + (f" ({reason})" if reason else ""),
                    computed[needed[0]] or line,
                )
    lines = {**{item: at or line for item, at in computed.items()}, **reading.lines}
    for path in PATHS:
        values[path] = _checked_path(words.get(path, path), values.get(path), lines.get(path, line))

    def setting(name: str) -> tuple[str, Any, int | None]:
        return words.get(name, name), values.get(name), lines.get(name, line)

    return ScriptSource(
        script=script,
        path_in=values["PATH_IN"],
        path_out=values["PATH_OUT"],
        path_control=values["PATH_CONTROL"],
        version=_checked_version(*setting("VERSION")),
        retries=_checked_retries(*setting("RETRIES")),
        timeout=_checked_timeout(*setting("TIMEOUT")),
        computed=tuple(computed),
        line=line,
        lines=lines,
        name=name,
        words=words,
        by=_checked_by(*setting("BY")),
        partial=_checked_flag(*setting("PARTIAL")),
        columns=_checked_flag(*setting("COLUMNS")),
        report=_checked_flag(*setting("REPORT")),
        resources=_checked_table(*setting("RESOURCES")),
    )


def _parse(source: bytes) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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


def _checked_path(name: str, value: Any, line: int | None) -> object:
    """A path as a text, a tuple of texts, or a dict of those."""
    if value is None:
        return None
    if isinstance(value, Mapping) and not is_table(value):
        if not all(isinstance(label, str) for label in value):
            raise FaultError(f"{name} is a dict whose labels are not all texts", line)
        return {label: _checked_input(f"{name}[{label!r}]", item, line) for label, item in value.items()}
    return _checked_input(name, value, line)


def _checked_input(name: str, value: Any, line: int | None) -> object:
    """One port: a pattern, or several alternatives; only an input has these."""
    if isinstance(value, Mapping) and is_table(value):
        value = InputPattern(tuple(value["any_of"]), is_optional=bool(value.get("optional")))
    if not isinstance(value, InputPattern):
        return _checked_parts(name, value, line)
    if not name.startswith(("PATH_IN", "inputs")):
        raise FaultError(f"{name} uses many, optional or any_of, which only inputs have", line)
    patterns = tuple(_checked_parts(name, pattern, line) for pattern in value.patterns)
    return InputPattern(patterns, value.is_optional)


def _checked_parts(name: str, value: Any, line: int | None) -> str | tuple[str, ...]:
    if isinstance(value, (str, PurePath)):
        return str(value)
    if isinstance(value, (tuple, list)):
        wrong = [part for part in value if not isinstance(part, (str, PurePath))]
        if not wrong:
            return tuple(str(part) for part in value)
        raise FaultError(f"{name} has a part of type {type(wrong[0]).__name__}: its parts are texts", line)
    raise FaultError(
        f"{name} is of type {type(value).__name__}: a path pattern is a tuple of texts, a text, "
        "or (not within a dict) a dict of those",
        line,
    )


def _checked_version(name: str, value: Any, line: int | None) -> str | None:
    if value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool)):
        return None if value is None else str(value)
    raise FaultError(f"{name} is of type {type(value).__name__}: it is a text or a number", line)


def _checked_retries(name: str, value: Any, line: int | None) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise FaultError(f"{name} is not a whole number from 0", line)


def _checked_timeout(name: str, value: Any, line: int | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
        return float(value)
    raise FaultError(f"{name} is not a number of seconds above 0", line)


def _checked_by(name: str, value: Any, line: int | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, (tuple, list)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if isinstance(value, str):
        raise FaultError(f"{name} is not a list of names of fields: write [{value!r}]", line)
    raise FaultError(f"{name} is not a list of names of fields, such as ['sub']", line)


def _checked_flag(name: str, value: Any, line: int | None) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise FaultError(f"{name} is not True or False", line)


def _checked_table(name: str, value: Any, line: int | None) -> Mapping[str, Any]:
    if value is None or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        return value or {}
    raise FaultError(f"{name} is not a dict such as {{'cpus': 4, 'memory': '8GB'}}", line)


def _evaluated(result: Mapping[str, Any], computed: Mapping[str, int | None]) -> dict[str, Any]:
    if "error" in result:
        raise FaultError(f"{', '.join(computed)} cannot be computed: {result['error']}", result.get("line"))
    return {name: result.get(name) for name in computed}
