"""Every error that this library raises on purpose.

    SinagotError                 anything below
    ├── UsageError               the caller's words are off: nothing was run (exit code 2)
    │   ├── ConfigError          a workspace.toml or an option
    │   ├── PatternError         a path pattern or an id pattern
    │   ├── SelectionError       a filter, a step label, a task or modality, a frame of rows
    │   └── NotFoundError        a record id, a script or a file that is asked for by name
    ├── StorageError             the dataset cannot be listed, read or written (exit code 1)
    ├── RunError                 some rows failed (exit code 3)
    └── ServerError              Prefect's API or the local server does not answer (exit code 1)

A message is one sentence that says what is wrong and where. `hint`, where there is one, says what to do. Both are
masked: an address in them shows no password, token or signature.
"""

import sys
from collections.abc import Iterable
from difflib import get_close_matches

from sinagot_catalog.secrets import mask_error, masked

__all__ = [
    "ConfigError",
    "NotFoundError",
    "PatternError",
    "RunError",
    "SelectionError",
    "ServerError",
    "SinagotError",
    "StorageError",
    "UsageError",
    "did_you_mean",
]


class SinagotError(Exception):
    """Something went wrong that the library can name.

    Attributes:
        message: What is wrong and where, one sentence.
        hint: What to do about it, or an empty string.
        exit_code: What the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        mask_error(sys.exc_info()[1])  # what it is raised from is shown beside it
        self.message = masked(message)
        self.hint = masked(hint)
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(SinagotError):
    """The caller's words are off; nothing was run."""

    exit_code = 2


class ConfigError(UsageError):
    """A `workspace.toml` or an option has a fault; the message gives its address."""


class PatternError(UsageError, ValueError):
    """A path pattern or an id pattern cannot be used."""


class SelectionError(UsageError, ValueError):
    """A filter, a label, a scope or a frame of rows names what cannot exist."""


class NotFoundError(UsageError, LookupError):
    """What is asked for by name is not there."""


class StorageError(SinagotError, OSError):
    """The dataset cannot be listed, read or written."""


class RunError(SinagotError):
    """Some rows of a run failed."""

    exit_code = 3


class ServerError(SinagotError):
    """Prefect's API or the local server does not answer as it should."""


def did_you_mean(value: str, choices: Iterable[str], *, most: int = 3) -> str:
    """Name what lies nearest to a wrong value, as the end of a sentence.

    Args:
        value: What was given.
        choices: What would have been right.
        most: How many near ones to name.

    Returns:
        `"; did you mean 'x'?"`, or an empty string where nothing is near.

    Example:
        >>> did_you_mean("DOEN", ["INIT", "DONE", "ERROR"])
        "; did you mean 'DONE'?"
        >>> did_you_mean("zzz", ["INIT", "DONE"])
        ''
    """
    names = {str(choice).lower(): str(choice) for choice in choices}
    near = get_close_matches(str(value).lower(), list(names), n=most, cutoff=0.6)
    if not near:
        return ""
    return "; did you mean " + " or ".join(repr(names[name]) for name in near) + "?"
