"""Batch sizes: decides how many rows a task run of Prefect takes."""

import threading
from collections.abc import Iterable, Iterator, Mapping

from sinagot_catalog.journal import Group, Result

MOST_TASK_RUNS = 1_000
"""The most task runs of a flow run: more would slow down Prefect's page and the database of the server."""
_MOST_ROWS = 1_000
_FIRST_ROWS = 10
_MOST_SECONDS = 15.0
_LEAST_SECONDS = 0.1
"""The least seconds of work in a task run, so that its cost of about 5 ms is small in comparison."""


class BatchSizer:
    """Divides the rows of a run into batches, according to the time that rows of the same step took.

    Slow rows go into small batches (about 15 s of work), quick rows into large ones. Towards the end the batches
    shrink, so that no worker gets all the remaining rows. Unknown times are learned from the first batches.

    Args:
        rows: Number of rows of the run.
        phases: Number of phases of the run.
        size: Rows in a batch, if the user sets it.
        seconds: Known seconds of a row, by the index of its unit step.

    Example:
        >>> groups = iter([[(n, 0, f"R{n}")] for n in range(100)])
        >>> quick, slow = BatchSizer(100, seconds={0: 0.001}), BatchSizer(100, seconds={0: 60.0})
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
        self._runs = max(MOST_TASK_RUNS - phases, 1)  # the last batch of each phase may be small
        self._size = size
        self._seconds = dict(seconds or {})
        self._seen: dict[int, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def learn(self, groups: Iterable[Group], results: Iterable[Result]) -> None:
        """Learn from the times of a batch; callable from any thread."""
        cells = {number: cell for group in groups for number, cell, _ in group}
        with self._lock:
            for result in results:
                if result.attempts and result.row in cells:
                    cell = cells[result.row]
                    rows, seconds = self._seen.get(cell, (0, 0.0))
                    self._seen[cell] = rows + 1, seconds + result.seconds
                    self._seconds[cell] = (seconds + result.seconds) / (rows + 1)

    def cut(self, groups: Iterator[Group], width: int) -> list[Group]:
        """Take the next batch of whole groups; it is empty when no group is left.

        Args:
            groups: The remaining groups of the phase.
            width: Number of batches that run at a time.
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
            work += sum(seconds for seconds in each if seconds is not None)
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
