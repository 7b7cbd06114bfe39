"""Error texts: the type, message and traceback of an exception that a script raised."""

import traceback
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from sinagot_catalog.errors import SEED_IMPORT, SinagotError
from sinagot_catalog.journal import bounded
from sinagot_catalog.secrets import masked

_LINE = "_sinagot_catalog_line"
_BOUND = 64 * 1024


def describe_error(error: BaseException) -> tuple[str, str]:
    """The type and the message of any exception; never raises.

    Example:
        >>> describe_error(ValueError("no boats"))
        ('ValueError', 'no boats')
        >>> describe_error(SystemExit(3))
        ('SystemExit', 'called sys.exit(3)')
        >>> describe_error(ValueError())
        ('ValueError', 'ValueError without a message')
    """
    error_type = _type_name(error)
    try:
        if isinstance(error, SystemExit):
            return error_type, bounded(
                f"called sys.exit({'' if error.code is None else repr(error.code)})", _BOUND
            )
        message = getattr(error, _LINE, "") + str.strip(str(error))
        if isinstance(error, ModuleNotFoundError) and error.name == "sinagot":
            message += f"; write {SEED_IMPORT}"
        # A text column cannot hold a name that is not UTF-8.
        message = message.encode("utf-8", "backslashreplace").decode()
    except BaseException:  # noqa: BLE001 str() of a script's exception may raise anything, SystemExit too
        message = f"{error_type} whose message cannot be read"
    return error_type, bounded(masked(message), _BOUND) or f"{error_type} without a message"


def _type_name(error: BaseException) -> str:
    """The name of an exception's type; an exception of the library may set `error_type`."""
    try:
        name = getattr(error, "error_type", None) if isinstance(error, SinagotError) else None
        return name if isinstance(name, str) else str(type(error).__name__)
    except BaseException:  # noqa: BLE001 a metaclass may raise anything
        return "Exception"


def note_line(error: BaseException, script: str) -> None:
    """Store on an exception of an import the line of the script that raised it."""
    with suppress(BaseException):
        line = None
        trace = error.__traceback__
        while trace is not None:
            line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == script else line
            trace = trace.tb_next
        if line is not None:
            setattr(error, _LINE, f"{Path(script).parent.name}/{Path(script).name}:{line}: ")


def is_plain(error: BaseException) -> bool:
    """Whether the message needs no traceback: the library raised the error, not a line of the script."""
    return isinstance(error, SinagotError) and hasattr(error, "error_type")


def own_traceback(error: BaseException, ours: Collection[str | None]) -> str:
    """The traceback, beginning at the script's own frame.

    Args:
        error: The exception.
        ours: The files of the library whose frames come before the script's.
    """
    try:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename in ours:
            frames = frames.tb_next
        return masked("".join(traceback.format_exception(type(error), error, frames)))
    except BaseException:  # noqa: BLE001 as above
        return f"{_type_name(error)} whose traceback cannot be formatted"
