"""The prefetcher: fetches the inputs of the next rows from buckets while another row runs."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from sinagot_catalog.errors import StorageError
from sinagot_catalog.worker.buckets.fetched_files import Answers
from sinagot_catalog.worker.files.local_files import RowPaths, is_related

_ROWS = 5
"""How many rows are prefetched: the one that begins, and those that follow it."""

TimedAnswers = tuple[float, Answers]
"""The time at which the stores were queried, and their answers."""


class Prefetcher:
    """Prefetches rows in threads.

    Args:
        prefetch_row: Queries the paths of a row and fetches its inputs.
    """

    def __init__(self, prefetch_row: Callable[[RowPaths], TimedAnswers]) -> None:
        self._prefetch_row = prefetch_row
        self._threads = ThreadPoolExecutor(_ROWS, thread_name_prefix="sinagot-ahead")
        self._pending: dict[RowPaths, Future[TimedAnswers | None]] = {}

    def prefetch(self, rows: Iterable[RowPaths]) -> None:
        """Start to query rows and to fetch their inputs.

        Args:
            rows: The row that begins now, and the following ones in their order. A row that reads or writes a path
                which an earlier row makes is not prefetched: the path will have changed when the row runs.
        """
        earlier_outputs: set[str] = set()
        pending: dict[RowPaths, Future[TimedAnswers | None]] = {}
        for row in rows:
            is_free = not any(
                is_related(path, other) for path in (*row.inputs, *row.outputs) for other in earlier_outputs
            )
            earlier_outputs.update(row.outputs)
            if is_free and len(pending) < _ROWS:
                known = self._pending.pop(row, None)
                with suppress(RuntimeError):  # no thread is available: the row queries its paths itself
                    pending[row] = known or self._threads.submit(self._attempt, row)
        for gone in self._pending.values():  # returned to the parent, or another attempt
            gone.cancel()
        self._pending = pending

    def take(self, row: RowPaths) -> TimedAnswers | None:
        """The answers for the paths of a row; waits for a running query. None if the row was not prefetched."""
        future = self._pending.pop(row, None)
        return None if future is None or future.cancel() else future.result()

    def forget(self, paths: Sequence[str]) -> None:
        """Discard the answers about these paths, which have just been written."""
        for row in list(self._pending):
            if any(is_related(path, other) for path in (*row.inputs, *row.outputs) for other in paths):
                self._pending.pop(row).cancel()

    def wait(self) -> None:
        """Wait until all running prefetches end."""
        wait(self._pending.values())

    def close(self) -> None:
        """Start no further prefetches."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pending.clear()

    def _attempt(self, row: RowPaths) -> TimedAnswers | None:
        """Prefetch a row; None on any error, which the row itself will report."""
        try:
            return self._prefetch_row(row)
        except (StorageError, OSError, RuntimeError):  # also raised by a store that is being closed
            return None
