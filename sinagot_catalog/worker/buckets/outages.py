"""Outages of stores: repeats a storage call while the store is unreachable."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from sinagot_catalog.errors import StorageError

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a store may be unreachable before a row fails."""

_FIRST_DELAY = 0.25
_LONGEST_DELAY = 4.0
_TEMPORARY = (
    "Connect",
    "Timeout",
    "ServiceRe",
    "Incomplete",
    "ServerDisconnected",
    "ResponseStreaming",
    "HttpError",
)
"""Parts of the names of exceptions that storage libraries raise for a temporary error."""
_TEMPORARY_ERRNOS = (
    errno.EIO,
    errno.EBUSY,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.ETIMEDOUT,
)


class TransferError(StorageError):
    """A file could not be fetched or written; the message needs no traceback."""

    error_type = "StorageError"


class OutageRetry:
    """Calls repeatable functions; while the store is unreachable, waits and tries again.

    After one row has waited without success, the next rows do not wait until the store answers again.
    """

    def __init__(self) -> None:
        self._patience = PATIENCE

    def __call__(self, do: Callable[[], T]) -> T:
        """Call a function until it succeeds.

        Raises:
            TransferError: When the error is permanent, or lasts too long.
        """
        end = time.monotonic() + self._patience
        delay = _FIRST_DELAY
        while True:
            try:
                result = do()
            except StorageError as error:
                is_temporary = _is_temporary(error.__cause__)
                if not is_temporary or time.monotonic() + delay > end:
                    self._patience = 0.0 if is_temporary else self._patience
                    raise TransferError(error.message, error.hint) from None
                time.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
            else:
                self._patience = PATIENCE
                return result


def _is_temporary(error: BaseException | None) -> bool:
    """Whether an error is temporary: the store is unreachable or busy."""
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    if isinstance(error, OSError) and error.errno in _TEMPORARY_ERRNOS:
        return True
    return error is not None and any(part in type(error).__name__ for part in _TEMPORARY)
