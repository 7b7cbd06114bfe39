"""How many rows a task run takes."""

import threading
from collections.abc import Iterable, Iterator, Mapping

from sinagot_catalog.journal import Group, Result

__all__ = ["MOST_TASK_RUNS", "BatchSizer"]

MOST_TASK_RUNS = 1_000
"""What a page, and the server's database, show and hold with ease."""
_MOST_ROWS = 1_000
_FIRST_ROWS = 10
_MOST_SECONDS = 15.0
_LEAST_SECONDS = 0.1
"""A task run costs some 5 ms: spread over this much work that is little."""


class BatchSizer:
    """Cuts the rows of a run into batches, one at a time, by how long rows like them took.

    Slow rows go in small batches (some 15 s of work), quick ones in large ones; towards the end batches shrink, so
    that no worker is left with the rest. What is not known yet is learnt from the first batches.

    Args:
        rows: How many rows the run has, in how many phases.
        size: Rows in a batch, where the user says so.
        seconds: How long a row of a step took before, by cell.

    Example:
        >>> groups = iter([[(n, 0, f"R{n}")] for n in range(100)])
        >>> quick, slow = Cutter(100, seconds={0: 0.001}), Cutter(100, seconds={0: 60.0})
        >>> len(quick.cut(groups, width=2)), len(slow.cut(groups, width=2))
        (100, 0)
    """

    def __init__(
        self,
        rows: int,
        *,
        phases: int = 1,
        size: int | None = None,
        seconds: Mapping[int, float] | None = None,
    ) -> None:
        self._left = rows
        self._runs = max(MOST_TASK_RUNS - phases, 1)  # the last batch of a phase may be a small one
        self._size = size
        self._seconds = dict(seconds or {})
        self._seen: dict[int, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def learn(self, groups: Iterable[Group], results: Iterable[Result]) -> None:
        """Take up how long the rows of a batch took; any thread may call it."""
        cells = {number: cell for group in groups for number, cell, _ in group}
        with self._lock:
            for one in results:
                if one.attempts and one.row in cells:
                    cell = cells[one.row]
                    rows, seconds = self._seen.get(cell, (0, 0.0))
                    self._seen[cell] = rows + 1, seconds + one.seconds
                    self._seconds[cell] = (seconds + one.seconds) / (rows + 1)

    def cut(self, groups: Iterator[Group], width: int) -> list[Group]:
        """Take the next batch; a group is never cut. It is empty when none is left.

        Args:
            groups: What is left of the phase.
            width: How many batches run at a time.
        """
        least = -(-self._left // max(self._runs, 1))
        batch: list[Group] = []
        rows, work, is_known = 0, 0.0, True
        while not (rows >= least and batch and self._is_enough(rows, work if is_known else None, width)):
            group = next(groups, None)
            if group is None:
                break
            batch.append(group)
            rows += len(group)
            each = [self._seconds.get(cell) for _, cell, _ in group]
            work += sum(one for one in each if one is not None)
            is_known = is_known and None not in each
        self._left -= rows
        self._runs -= 1
        return batch

    def _is_enough(self, rows: int, work: float | None, width: int) -> bool:
        if self._size is not None:
            return rows >= self._size
        if work is None:
            return rows >= min(_FIRST_ROWS, -(-self._left // (4 * width)))
        share = self._left * (work / rows) / (2 * width)
        return rows >= _MOST_ROWS or work >= min(_MOST_SECONDS, max(share, _LEAST_SECONDS))
