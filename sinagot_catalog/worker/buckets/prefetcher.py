"""The prefetcher: fetches the inputs of the next rows from buckets while another row runs."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress

from sinagot_catalog.errors import StorageError
from sinagot_catalog.worker.buckets.fetched_files import Answers, FetchedFiles, is_related
from sinagot_catalog.worker.files.local_files import NextRow, PathQuery

_ROWS = 5
"""How many rows are prefetched: the one that begins, and those that follow it."""

_Paths = tuple[tuple[str, ...], tuple[str, ...]]
"""The inputs and the outputs of a row."""

_TimedAnswers = tuple[float, Answers]
"""The time at which the stores were queried, and their answers."""


class Prefetcher:
    """Prefetches the inputs of rows in threads.

    Args:
        fetched: The folder of fetched inputs.
        query: Queries the paths of a row: its inputs, its outputs, how to search for each input.
        roots_of: The roots in which to search for an input.
        outputs: The root of the outputs.
        force: Whether rows run although their outputs exist.
    """

    def __init__(
        self,
        fetched: FetchedFiles,
        *,
        query: Callable[[Sequence[str], Sequence[str], Sequence[PathQuery]], Answers],
        roots_of: Callable[[PathQuery], list[str]],
        outputs: str,
        force: bool,
    ) -> None:
        self._fetched = fetched
        self._query = query
        self._roots_of = roots_of
        self._outputs = outputs
        self._force = force
        self._threads = ThreadPoolExecutor(_ROWS, thread_name_prefix="sinagot-ahead")
        self._pending: dict[_Paths, Future[_TimedAnswers | None]] = {}

    def prefetch(self, rows: Iterable[NextRow]) -> None:
        """Start to query rows and to fetch their inputs.

        Args:
            rows: The row that begins now, and the following ones in their order. A row that reads or writes a path
                which an earlier row makes is not prefetched: the path will have changed when the row runs.
        """
        earlier_outputs: set[str] = set()
        pending: dict[_Paths, Future[_TimedAnswers | None]] = {}
        for inputs, outputs, queries in rows:
            is_free = not any(
                is_related(path, other) for path in (*inputs, *outputs) for other in earlier_outputs
            )
            earlier_outputs.update(outputs)
            if is_free and len(pending) < _ROWS:
                key = (tuple(inputs), tuple(outputs))
                known = self._pending.pop(key, None)
                with suppress(RuntimeError):  # no thread is available: the row queries its paths itself
                    pending[key] = known or self._threads.submit(self._prefetch_row, *key, queries)
        for gone in self._pending.values():  # returned to the parent, or another attempt
            gone.cancel()
        self._pending = pending

    def take(self, inputs: Sequence[str], outputs: Sequence[str]) -> _TimedAnswers | None:
        """The answers for the paths of a row; waits for a running query. None if the row was not prefetched."""
        future = self._pending.pop((tuple(inputs), tuple(outputs)), None)
        return None if future is None or future.cancel() else future.result()

    def forget(self, paths: Sequence[str]) -> None:
        """Discard the answers about these paths, which have just been written."""
        for key in list(self._pending):
            if any(is_related(path, other) for path in (*key[0], *key[1]) for other in paths):
                self._pending.pop(key).cancel()

    def wait(self) -> None:
        """Wait until all running prefetches end."""
        wait(self._pending.values())

    def close(self) -> None:
        """End prefetching; a running download is discarded when it completes."""
        self._fetched.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pending.clear()

    def _prefetch_row(
        self, inputs: tuple[str, ...], outputs: tuple[str, ...], queries: Sequence[PathQuery]
    ) -> _TimedAnswers | None:
        """Query the paths of a row and fetch its inputs; None on any error, which the row itself will report."""
        try:
            answers = self._query(inputs, outputs, queries)
            now = time.monotonic()
            is_done = outputs and all(answers.get((self._outputs, path)) is not None for path in outputs)
            if self._force or not is_done:
                for path, query in zip(inputs, queries, strict=True):
                    self._fetched.prefetch(path, self._roots_of(query), answers)
        except (StorageError, OSError, RuntimeError):  # also raised by a store that is being closed
            return None
        return now, answers
