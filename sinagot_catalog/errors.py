"""Errors: every error that this library raises on purpose, and warnings about old names.

    SinagotError                 anything below
    ├── UsageError               invalid usage: nothing was run (exit code 2)
    │   ├── ConfigError          a workspace.toml or an option
    │   ├── PatternError         a path pattern or an id pattern
    │   ├── SelectionError       a filter, a step label, a task or modality, a frame of rows
    │   ├── NotFoundError        a record id, a script or a file that does not exist
    │   └── UnwritableError      a place that the user may not write; a StorageError, too
    ├── StorageError             the dataset cannot be listed, read or written (exit code 1)
    ├── RunError                 some rows failed (exit code 3)
    └── ServerError              Prefect's API or the local server does not answer (exit code 1)

A message is one sentence: what is wrong, and where. `hint`, if there is one, says what to do. The library masks
both: addresses in them show no password, token or signature.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from errno import EROFS
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar
from warnings import warn

from sinagot_catalog.secrets import mask_error, masked

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunReport

SEED_IMPORT = "from sinagot_catalog import ScriptTemplate"
"""What scripts of sinagot 0.2.6 import here."""


class SinagotError(Exception):
    """An error that the library reports in its own words.

    Attributes:
        message: What is wrong and where, one sentence.
        hint: What to do, or an empty string.
        exit_code: The exit code of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        mask_error(sys.exc_info()[1])  # a traceback also shows the cause
        self.message = masked(message)
        self.hint = masked(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    @property
    def one_line(self) -> str:
        """The message and the hint on one line."""
        end = " " if self.message.endswith(("?", ".")) else ". "
        return f"{self.message}{end}{self.hint}" if self.hint else self.message


class UsageError(SinagotError):
    """Invalid usage; nothing was run."""

    exit_code = 2


class ConfigError(UsageError):
    """A `workspace.toml` or an option is wrong; the message gives its address."""


class PatternError(UsageError, ValueError):
    """A path pattern or an id pattern cannot be used."""


class SelectionError(UsageError, ValueError):
    """A filter, a label, a scope or a frame of rows names something that cannot exist."""


class NoMatchWarning(UserWarning):
    """A filter wants a text that no record has, but a similar one."""


class NotFoundError(UsageError, LookupError):
    """A record, script or file of the given name does not exist."""


class StorageError(SinagotError, OSError):
    """The dataset cannot be listed, read or written."""


class AbsentError(StorageError):
    """A file that is to be read does not exist."""


class UnwritableError(UsageError, StorageError):
    """A place that the user named cannot be written: it is absent, or the user has no right to it."""


def not_written(path: object, error: OSError, instead: str = "name another place") -> StorageError:
    """Return the error for a file that cannot be written, with what to do.

    Args:
        path: The file.
        error: Why not.
        instead: What else the user can do, at the end of a sentence.
    """
    text = f"{path} cannot be written: {error.strerror or error}"
    if isinstance(error, PermissionError) or error.errno == EROFS:
        return UnwritableError(text, f"Get the right to write there, or {instead}.")
    if isinstance(error, FileNotFoundError):
        return UnwritableError(text, f"Make its folder, or {instead}.")
    if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
        return UnwritableError(text, f"{instead[0].upper()}{instead[1:]}.")
    return StorageError(text)


class RunError(SinagotError):
    """Some rows of a run failed.

    Attributes:
        report: The `RunReport` of the run, if it came to its end.
    """

    exit_code = 3

    def __init__(self, message: str, hint: str = "", report: "RunReport | None" = None) -> None:
        super().__init__(message, hint)
        self.report = report


class ServerError(SinagotError):
    """Prefect's API or the local server does not answer as expected."""


_ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")
_BEGINNING = 3
"""How long a text must be at least so that names that begin with it are suggested."""


def did_you_mean(value: str, choices: Iterable[str], *, most: int = 3) -> str:
    """Suggest the choices nearest to a wrong value, as the end of a sentence.

    Args:
        value: The wrong value.
        choices: The valid values.
        most: How many suggestions to make.

    Returns:
        `"; did you mean 'x'?"`, or an empty string if no choice is near.

    Example:
        >>> did_you_mean("DOEN", ["INIT", "DONE", "ERROR"])
        "; did you mean 'DONE'?"
        >>> did_you_mean("sub-01", ["sub-01_ses-1", "sub-02_ses-1"], most=1)
        "; did you mean 'sub-01_ses-1'?"
        >>> did_you_mean("sub-1_run-1", ["sub-011_run-1", "sub-001_run-1"], most=1)
        "; did you mean 'sub-001_run-1'?"
        >>> did_you_mean("sub-0", ["sub-01_task-rest_run-1"])
        "; did you mean 'sub-01_task-rest_run-1'?"
        >>> did_you_mean("zzz", ["INIT", "DONE"])
        ''
    """
    near = nearest(value, choices, most=most)
    return "; did you mean " + " or ".join(map(repr, near)) + "?" if near else ""


def nearest(value: str, choices: Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the choices nearest to a wrong value, best first.

    Those that begin with it come first, also where their numbers have other zeros in front.

    Example:
        >>> nearest("7", ["017", "R70", "007"])
        ['007']
        >>> nearest("0012", ["0013", "1200"])
        ['0013']
    """
    names = {str(choice).lower(): str(choice) for choice in choices}
    text = str(value).lower()
    start = _ZEROS.sub("", text)
    plain = {name: _ZEROS.sub("", name) for name in names}
    same = [name for name in names if plain[name] == start]
    longer = sorted(
        name
        for name in names
        if (len(text) >= _BEGINNING and name.startswith(text))
        or (len(start) >= _BEGINNING and plain[name].startswith(start))
    )
    similar = get_close_matches(text, list(names), n=most, cutoff=cutoff)
    return [names[name] for name in list(dict.fromkeys([*same, *longer, *similar]))[:most]]


class NamesNearest:
    """An object whose unknown attribute is an error that says what to write.

    Attributes:
        _rows_in: The attribute that holds its rows, with the class and the columns of these; None if it has none.
    """

    _rows_in: ClassVar[tuple[str, type, Collection[str]] | None] = None

    if not TYPE_CHECKING:  # type checkers report unknown names

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property raised the error: raise it again
                return object.__getattribute__(self, name)
            hint = "" if name.startswith("_") else self._instead(name)
            text = f"{type(self).__name__!r} object has no attribute {name!r}{hint}"
            raise AttributeError(text, name=name, obj=self)

    def _instead(self, name: str) -> str:
        """Return what to write for an unknown name, as the end of a sentence."""
        near = did_you_mean(name, public_names(type(self)))
        if self._rows_in is None:
            return near
        rows, kind, columns = self._rows_in
        if name in columns:
            return f"; a column is {rows}.select({name!r})"
        return near or (
            f"; did you mean {rows}.{name}?" if hasattr(kind, name) else f"; its rows are .{rows}"
        )


def public_names(kind: type) -> list[str]:
    """Return the public names of a class, fields of dataclasses included."""
    names = dict.fromkeys([*dir(kind), *getattr(kind, "__dataclass_fields__", ())])
    return [name for name in names if not name.startswith("_")]


def failure_text(error_type: str | None, message: str) -> str:
    """Return the message of a failure, behind the type of its error if that is known.

    Example:
        >>> failure_text("ValueError", "no samples")
        'ValueError: no samples'
    """
    return f"{error_type}: {message}" if error_type else message


def row_label(*parts: str | None) -> str:
    """Return the name of a row, a step or a unit in messages.

    Args:
        parts: Those of record, task, modality and step that it has, in this order.

    Example:
        >>> row_label("R1", None, "EEG", "clean")
        'R1 EEG clean'
    """
    return " ".join(part for part in parts if part)


# --- old names of arguments ----------------------------------------------------------------------------------

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Accept old names of keyword arguments.

    Args:
        names: The new name of each old one.

    Example:
        >>> import warnings
        >>> @renamed(keep="older_than")
        ... def clear(older_than="90d"):
        ...     return older_than
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     clear(keep="1w")
        '1w'
        >>> print(caught[0].message)
        clear(keep=...) is now clear(older_than=...); the old name goes with the next release
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **options: P.kwargs) -> R:
            for old, new in names.items():
                if old in options:
                    name = function.__name__
                    if new in options:
                        raise TypeError(f"{name}() got both {old}= and {new}=, which is its new name")
                    warn_renamed(f"{name}({old}=...)", f"{name}({new}=...)")
                    options[new] = options.pop(old)
            return function(*args, **options)

        return call

    return decorate


def warn_renamed(old: str, new: str) -> None:
    """Warn the caller of the calling function that a name has changed."""
    warn(f"{old} is now {new}; the old name goes with the next release", DeprecationWarning, stacklevel=3)
