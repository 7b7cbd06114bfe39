"""File events: waits until something changes under some local folders, or a time is over.

The system reports changes where it can (inotify, FSEvents), through watchfiles. It does not report what other
machines write to a network disk, and a tree may have more folders than the system can watch. So callers must also
list again from time to time, with or without events.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence

_TICK_MS = 200
_GROUP_MS = 400


class Changes:
    """Waits for changes under folders.

    Args:
        say: Called once with a message if the system cannot watch a folder.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._folders: tuple[str, ...] = ()
        self._heard: Generator[object] | None = None

    def wait(self, seconds: float, folders: Sequence[str] = ()) -> None:
        """Wait until something changes, at most for `seconds`.

        When folders are given for the first time the call returns as soon as they are watched: changes just before
        that need one more listing.

        Args:
            seconds: How long to wait at most.
            folders: The folders to watch; absent ones are left out.
        """
        wanted = tuple(folder for folder in folders if os.path.isdir(folder))  # noqa: PTH112 - a text, as all paths
        is_new = wanted != self._folders
        if is_new:
            self.close()
            self._folders = wanted
            self._heard = _heard(wanted) if wanted else None
        deadline = time.monotonic() + seconds
        while self._heard is not None:
            try:
                changed = next(self._heard)
            except (OSError, RuntimeError, StopIteration) as error:
                self._heard = None  # the folders stay noted, so that the next call does not try again
                self._say(
                    f"changes of {', '.join(wanted)} cannot be watched ({error}): looking from time to time"
                )
                break
            if changed or is_new or time.monotonic() >= deadline:
                return
        time.sleep(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Stop watching."""
        if self._heard is not None:
            self._heard.close()
        self._heard = None
        self._folders = ()


def _heard(folders: Sequence[str]) -> Generator[object]:
    """Sets of changes, and an empty set at every tick. Hidden files, such as unfinished copies, do not count."""
    from watchfiles import watch

    def counts(_change: object, path: str) -> bool:
        return not path.rpartition("/")[2].startswith(".")

    return watch(
        *folders,
        watch_filter=counts,
        debounce=_GROUP_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
