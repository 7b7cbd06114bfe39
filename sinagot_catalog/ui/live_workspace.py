"""A live workspace: lists its files repeatedly while a page is open, and keeps the last look that succeeded.

A second session reads a new listing, in a thread of its own, while pages are served from the first; then they are
swapped. Only the first reader waits for a listing.
"""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from sinagot_catalog.errors import SinagotError
from sinagot_catalog.schema import KEYS
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import file_stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from sinagot_catalog.catalog import Session
    from sinagot_catalog.workspace import Workspace

_LOCAL, _REMOTE = 2.0, 60.0
"""Seconds between two listings, of disks and of buckets."""
_SHARE = 10
"""A listing takes at most one part in so many of the time."""
_FILTERS = 8
_COLUMNS = (*KEYS, "status", "reason", "seconds", "ended")


@dataclass(frozen=True)
class Look:
    """A workspace as it was listed at one time; `stamps` are time and size of its tomls when it was opened."""

    workspace: Workspace
    stamps: tuple[tuple[int, int] | None, ...]
    at: datetime

    @property
    def source(self) -> Session:
        """Its session."""
        return self.workspace._source  # noqa: SLF001 - the page shows more than the public tables

    @cached_property
    def rows(self) -> Callable[[str], pl.DataFrame]:
        """Returns the rows of `steps` that fit a filter in SQL, all if it is empty, with the columns to show."""

        @lru_cache(maxsize=_FILTERS)
        def rows(where: str) -> pl.DataFrame:
            steps = self.workspace.steps
            return (steps.sql_filter(where) if where else steps).select(*_COLUMNS)

        return rows

    @cached_property
    def version(self) -> str:
        """A short text that changes when something changes that a page shows."""
        catalog = self.source.catalog()
        steps = catalog.whole_steps
        rows = steps.select(*_COLUMNS, "outcome", "run_id").hash_rows()
        notices = tuple(notice.text for notice in self.source.notices())
        shown = (rows.sum(), steps.height, catalog.n_files, notices, self.source.events().height)
        return f"{hash(shown) & (2**64 - 1):x}"


class LiveWorkspace:
    """A workspace whose files are listed repeatedly.

    Args:
        workspace: The open workspace.
        reopen: Opens the workspace again, after a change of its config.
    """

    def __init__(self, workspace: Workspace, reopen: Callable[[], Workspace]) -> None:
        self._reopen = reopen
        self._files = workspace.config.files
        self._look = Look(workspace, self._stamps(), datetime.now(UTC))
        self._spare: Look | None = None
        self._lock = threading.Lock()
        self._listed = time.monotonic()
        self._id = secrets.token_hex(4)
        self.fault: SinagotError | None = None
        """Why the last listing failed; the look before it is shown."""

    @property
    def look(self) -> Look:
        """The newest look; starts a listing in the background if it is old."""
        self._list_if_old()
        return self._look

    @property
    def version(self) -> str:
        """A text that changes when a page should be drawn again; starts a listing in the background."""
        self._list_if_old()
        return f"{self._id}-{self._look.version}-{self.fault.message if self.fault else ''}"

    def list_again(self) -> None:
        """List the files now, and show them."""
        with self._lock:
            try:
                look = self._opened()
                look.source.refresh()
                _ = look.version
            except SinagotError as error:
                self.fault = error
            except Exception as error:  # noqa: BLE001 - shown, and the next listing may succeed
                self.fault = SinagotError(f"the workspace cannot be listed: {type(error).__name__}: {error}")
            else:
                self._spare, self._look, self.fault = self._look, look, None
            finally:
                self._listed = time.monotonic()

    def _opened(self) -> Look:
        """Return a look that no page shows: of the spare workspace, or of a new one if the config changed."""
        stamps, now = self._stamps(), datetime.now(UTC)
        if self._spare is not None and self._spare.stamps == stamps:
            return Look(self._spare.workspace, stamps, now)
        return Look(self._reopen(), stamps, now)

    def _stamps(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(file_stamp(file) for file in self._files)

    def _list_if_old(self) -> None:
        source = self._look.source
        is_local = all(store.is_local for store in source.stores.values())
        interval = max(_LOCAL if is_local else _REMOTE, _SHARE * source.seconds)
        if time.monotonic() - self._listed > interval and not self._lock.locked():
            self._listed = time.monotonic()
            threading.Thread(target=self.list_again, daemon=True).start()
