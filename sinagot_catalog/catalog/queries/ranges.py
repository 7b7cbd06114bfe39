"""Ranges: a look at a listing that is too large to hold goes through ranges of records, one after the other.

Each range has a session, which is a session of the same workspace that was opened for these records only: its
catalog is made by the same code, and is dropped before the next range is read. This is possible where no row
depends on a record of another range, and where a range of records is a range of keys; else one look holds all.
"""

from __future__ import annotations

import gc
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.expressions import is_by_row
from sinagot_catalog.catalog.files.listings import key_filter
from sinagot_catalog.catalog.queries.query import filter_text
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.storage import IdRange, count_keys, divided, sample_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sinagot_catalog.catalog.queries.query import Query
    from sinagot_catalog.catalog.session import Session

_SAMPLE = 20_000


class Ranges:
    """The ranges of records of a session, and their sessions.

    Args:
        source: The session.
        part: Which range the session is itself, from 0; None if it is the whole.
        are_whole: Whether the ranges together have all records of the workspace.
    """

    most_keys = 2_000_000
    """How many keys a look holds; a listing with more of them is looked at in ranges."""
    most_held = 20_000_000
    """How many keys a question may hold that cannot go through ranges."""

    def __init__(self, source: Session, part: int | None = None, *, are_whole: bool) -> None:
        self._source = source
        self.part = part
        self.are_whole = are_whole
        self._held: tuple[int, Session] | None = None

    def __bool__(self) -> bool:
        return len(self.spans) > 1

    def __len__(self) -> int:
        return max(1, len(self.spans))

    @cached_property
    def spans(self) -> list[IdRange]:
        """The ranges, in order; fewer than two if one look holds all."""
        source, layout = self._source, self._source.layout()
        if self.part is not None or source.given is None or source.everything:
            return []
        if layout.bys or layout.doubts or layout.near:
            return []
        wanted = key_filter(source, layout, "dataset", source.span or IdRange())
        if not wanted.is_exact or self.n_keys <= self.most_keys:
            return []
        keys = sample_keys(
            source.given, source.config.dataset, source.options, max(1, self.n_keys // _SAMPLE)
        )
        return divided(keys, wanted, self.most_keys * len(keys) // self.n_keys)

    @cached_property
    def n_keys(self) -> int:
        """How many keys the given listing has; 0 if they cannot be counted without being read."""
        return 0 if self._source.given is None else count_keys(self._source.given, self._source.options)

    def sessions(self, query: Query | None = None, *, is_fresh: bool = False) -> Iterator[Session]:
        """Yield a session for each range of records that a query may name; the whole session if there are none.

        Args:
            query: The query.
            is_fresh: Whether each session reads the journal anew; otherwise they share one state of it.

        Raises:
            SelectionError: When a filter needs all rows at once.
        """
        if not self:
            yield self._source
            return
        for predicate in () if query is None else query.all_predicates():
            if not is_by_row(predicate):
                raise SelectionError(
                    f"the filter {filter_text(predicate)} needs all rows at once, and this listing is looked at "
                    "in ranges of records",
                    "Filter by values of each row; or open a part of the records: Workspace(..., records=...).",
                )
        ids = None if query is None or not query.ids() else pl.concat(query.ids())
        wanted = [part for part, span in enumerate(self.spans) if ids is None or _any_in(span, ids)]
        for part in wanted or [0]:
            yield self._source.within(self.spans[part], part) if is_fresh else self._session(part)

    @property
    def any(self) -> Session:
        """A session that knows the columns and the steps: that of a range, or the whole session."""
        return self.held or next(self.sessions())

    @property
    def held(self) -> Session | None:
        """The session of the range that was asked last; None if no range is kept."""
        return None if self._held is None else self._held[1]

    def check_held(self) -> None:
        """Check that all keys can be held at once.

        Raises:
            SelectionError: There are too many.
        """
        if self and self.n_keys > self.most_held:
            raise SelectionError(
                f"this needs all {self.n_keys:,} keys of the listing at once, which memory may not hold",
                "status, ls, plan, run and submit go through the listing in ranges of records; for anything else "
                "open a part of the records: Workspace(..., records=(first, end)).",
            )

    def _session(self, part: int) -> Session:
        """Return the session of a range; that of the last range is kept."""
        if self._held is None or self._held[0] != part:
            self._held = None
            gc.collect()  # the tables of a catalog refer to each other
            self._held = part, self._source.within(self.spans[part], part, self._last)
        return self._held[1]

    @cached_property
    def _last(self) -> pl.DataFrame:
        return self._source.last_states()


def _any_in(span: IdRange, ids: pl.Series) -> bool:
    """Whether one of the ids is in the range."""
    return not ids.to_frame("id").filter(span.holds(pl.col("id"))).is_empty()
