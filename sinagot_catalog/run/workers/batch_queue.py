"""Queues of waiting groups: what a worker of the pool gets next.

`BatchQueue` gives out groups in their order. `ResourceQueue` gives out those whose resources are free.
"""

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from typing import NamedTuple

from sinagot_catalog.journal import NO_RESOURCES, Group, Resources, Result, Task
from sinagot_catalog.run.executor import WaitingGroups
from sinagot_catalog.run.resources import Allocator, Grant

_BATCH_SECONDS = 0.25
_FIRST_BATCH = 8
_MOST_A_BATCH = 5_000
_MOST_AHEAD = 10_000
"""The most groups to read ahead for one whose resources are free."""


class Batch(NamedTuple):
    """What a worker gets: tasks, and what they may use; no grant where resources have no limit."""

    tasks: list[Task]
    grant: Grant | None = None


class BatchQueue:
    """The queue of waiting groups; gives them out in batches of about a quarter of a second.

    Args:
        groups: All groups; iterated lazily. Groups of a phase may wait for rows of other groups.
        workers: Number of workers that take batches.
    """

    _first_size = _FIRST_BATCH

    def __init__(self, groups: Iterable[Group], workers: int) -> None:
        self.known = len(groups) if isinstance(groups, Sized) else None
        self._phase = groups if isinstance(groups, WaitingGroups) else None
        self._left = iter(groups) if self._phase is None else self._phase
        self._back: deque[Task] = deque()
        self._workers = workers
        self._sizes: dict[Resources, int] = {}
        self._busy = 0
        self._hungry = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_wanted(self) -> bool:
        """Whether a worker waits for something to do."""
        return self._hungry > 0

    def take(self) -> Batch | None:
        """The next batch, or None at the end; waits while groups wait or a busy worker may give tasks back."""
        with self._changed:
            while not self._is_closed:
                is_waiting = self._phase is not None and self._phase.is_waiting
                batch = self._choose()
                if batch is not None:
                    self._busy += 1
                    return batch
                if not (self._busy or is_waiting):
                    break
                self._hungry += 1
                self._changed.wait()
                self._hungry -= 1
            self._changed.notify_all()
            return None

    def _choose(self) -> Batch | None:
        """The next batch that may start now."""
        tasks = list(itertools.islice(self._next(), self._next_size(NO_RESOURCES, len(self._back))))
        return Batch(tasks) if tasks else None

    def _next(self) -> Iterator[Task]:
        while self._back:
            yield self._back.popleft()
        for group in self._left:
            if self.known is not None:
                self.known -= 1
            yield group, [], {}

    def _next_size(self, need: Resources, n_read: int) -> int:
        size = self._sizes.get(need, self._first_size)
        if self.known is None:
            return size
        # Towards the end the batches shrink, so that no worker gets all the remaining rows.
        return max(1, min(size, (self.known + n_read) // (2 * self._workers)))

    def give_back(self, tasks: list[Task]) -> None:
        """Take back tasks that a worker has not begun, for other workers."""
        with self._changed:
            self._back.extend(tasks)
            self._sizes[NO_RESOURCES] = 1
            self._changed.notify_all()

    def note(self, results: Iterable[Result]) -> None:
        """Note results as they come; called before anyone else sees them."""

    def finished(self, batch: Batch, seconds: float) -> None:
        """Record that a batch has ended and how long it took; this adapts the batch size."""
        with self._changed:
            self._busy -= 1
            need = NO_RESOURCES if batch.grant is None else batch.grant.need
            fitting = int(_BATCH_SECONDS * len(batch.tasks) / max(seconds, 1e-6))
            most = 4 * self._sizes.get(need, self._first_size)
            self._sizes[need] = max(1, min(fitting, most, _MOST_A_BATCH))
            self._changed.notify_all()

    def wake(self) -> None:
        """Let waiting workers look again for something to do."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Give out no more batches."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def rest(self) -> Iterator[Task]:
        """The tasks that no worker took; each comes once, also over several calls."""
        return self._next()


class ResourceQueue(BatchQueue):
    """A queue that gives out a batch only when its resources are free; all rows of a batch need the same.

    Args:
        groups: All groups; iterated lazily. Groups of a phase may wait for rows of other groups.
        workers: Number of workers that take batches.
        allocator: The resources.
    """

    _first_size = 1

    def __init__(self, groups: Iterable[Group], workers: int, allocator: Allocator) -> None:
        super().__init__(groups, workers)
        self._allocator = allocator
        self._splitter = allocator.splitter
        self._lines: dict[Resources, list[tuple[int, Task]]] = {}
        """The waiting tasks by what they need, each line as a heap with the earliest row of the plan first."""

    def _choose(self) -> Batch | None:
        while self._back:
            self._add(self._back.popleft())
        while True:
            needs = sorted((need for need, line in self._lines.items() if line), key=self._earliest)
            index = self._allocator.first(needs)
            if index is not None:
                break
            if not self._read_ahead():
                return None
        need = needs[index]
        line, size = self._lines[need], self._next_size(need, self._n_waiting)
        while len(line) < size and self._read_ahead():
            pass
        tasks = [heapq.heappop(line)[1] for _ in range(min(size, len(line)))]
        return Batch([self._splitter.begin(task) for task in tasks], self._allocator.take(need))

    def _earliest(self, need: Resources) -> int:
        return self._lines[need][0][0]

    def _read_ahead(self) -> bool:
        """Put one more group into its line; False at the end, or when enough groups wait."""
        if self._n_waiting >= _MOST_AHEAD:
            return False
        task = next(self._next(), None)
        if task is not None:
            self._add(task)
        return task is not None

    @property
    def _n_waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    def _add(self, task: Task) -> None:
        first = task[0][0]
        heapq.heappush(self._lines.setdefault(self._splitter.need_of(first), []), (first[0], task))

    def finished(self, batch: Batch, seconds: float) -> None:
        """Record that a batch has ended and how long it took, and give its resources back."""
        if batch.grant is not None:
            self._allocator.give_back(batch.grant)
        super().finished(batch, seconds)

    def note(self, results: Iterable[Result]) -> None:
        """Note results; the rest of a group comes back when its first rows have ended."""
        ready = self._splitter.note(results)
        if ready:
            with self._changed:
                self._back.extend(ready)
                self._changed.notify_all()

    def rest(self) -> Iterator[Task]:
        """The tasks that no worker took."""
        yield from super().rest()
        for line in self._lines.values():
            while line:
                yield line.pop()[1]
        yield from self._splitter.rest()
