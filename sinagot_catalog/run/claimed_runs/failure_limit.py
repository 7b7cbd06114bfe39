"""Failure limit: ends a run after a number of failures of one kind (`--stop-after`)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sinagot_catalog.catalog import failure_kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from sinagot_catalog.journal import Result

_COUNTED = ("error", "timeout")
_WIDTH = 200


class FailureLimit:
    """Counts failures by kind: the same step, error type and message, apart from the parts that vary.

    Args:
        most: The number of failures of one kind that ends the run; None for no limit.
        rows: The rows of the plan.

    Attributes:
        sentence: Why the run ends early; None as long as it goes on.

    Example:
        >>> import polars as pl
        >>> from sinagot_catalog.journal import Result
        >>> limit = FailureLimit(2, pl.DataFrame({"record_id": ["R1", "R2"], "step": ["clean", "clean"]}))
        >>> limit.note([Result(0, "error", error_type="ValueError", message="row 7 is empty")])
        False
        >>> limit.note([Result(1, "error", error_type="ValueError", message="row 12 is empty")])
        True
        >>> limit.sentence
        'stopped after 2 failures of one kind, clean: ValueError: row 12 is empty'
    """

    def __init__(self, most: int | None, rows: pl.DataFrame) -> None:
        self.sentence: str | None = None
        self._most = most
        self._rows = rows.select("record_id", "step")
        self._counts: Counter[tuple[str, str | None, str]] = Counter()

    def note(self, results: Iterable[Result]) -> bool:
        """Count results; return whether they reach the limit, which happens once."""
        if self._most is None or self.sentence is not None:
            return False
        for result in results:
            if result.outcome not in _COUNTED:
                continue
            line = (result.message or "").strip().partition("\n")[0][:_WIDTH]
            record_id, step = self._rows.row(result.row)
            kind = (step, result.error_type, failure_kind_of(record_id, line))
            self._counts[kind] += 1
            if self._counts[kind] >= self._most:
                failures = "1 failure" if self._most == 1 else f"{self._most} failures of one kind"
                self.sentence = (
                    f"stopped after {failures}, {step}: {result.error_type or result.outcome}: {line}"
                )
                return True
        return False
