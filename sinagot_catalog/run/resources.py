"""Resources of running rows: decides which row may start, so that no more is in use than the machine has.

A resource that no step of the run declares has no limit. Where some step declares `cpus`, the rows of the other
steps count as one CPU each.

Rows start in their order. A row that waits reserves what it needs in a fixed order, GPUs, memory, CPUs, up to the
first that is not free. Later rows that need nothing of this may start before it, and no large row waits for ever.
"""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from sinagot_catalog.config import duration_text, size_text
from sinagot_catalog.errors import UsageError
from sinagot_catalog.journal import FAILED, NO_RESOURCES, Resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sinagot_catalog.journal import Result, Row, RunSpec, Task
    from sinagot_catalog.run.machine import Machine

_TICK = 0.25
"""The longest wait in seconds, so that a signal takes effect."""


class WorkerKind(NamedTuple):
    """What a worker process has for its whole life; libraries read it once, when they are loaded.

    Attributes:
        threads: The thread limit of numeric libraries.
        gpus: The GPUs that it sees; None: those of its parent.
    """

    threads: int
    gpus: tuple[str, ...] | None = None


class Grant(NamedTuple):
    """What a batch of rows may use.

    Attributes:
        need: What each of its rows needs; they run one after the other.
        gpus: The names of its GPUs.
    """

    need: Resources
    gpus: tuple[str, ...] = ()


def amounts(need: Resources) -> dict[str, float]:
    """Return the resources that a row holds while it runs, in the order in which a row that waits reserves them.

    Example:
        >>> amounts(Resources(memory=8_000_000_000, time=60))
        {'memory': 8000000000, 'cpus': 1}
    """
    held: dict[str, float] = {"gpus": need.gpus, "memory": need.memory, "cpus": need.cpus or 1}
    return {name: amount for name, amount in held.items() if amount}


def declared(need: Resources) -> dict[str, float]:
    """The amounts that a row declares."""
    amounts = {"cpus": need.cpus, "memory": need.memory, "gpus": need.gpus}
    return {name: amount for name, amount in amounts.items() if amount}


def needs_text(need: Resources) -> str:
    """Write what a row needs.

    Example:
        >>> needs_text(Resources(cpus=2, memory=8_000_000_000, time=7200.0))
        '2 cpus, 8.0 GB of memory, 2.0 h'
    """
    words = [_text(name, amount) for name, amount in declared(need).items()]
    return ", ".join([*words, duration_text(need.time)] if need.time else words)


def largest(needs: Iterable[Resources]) -> Resources:
    """Return the largest amount of each resource.

    Example:
        >>> largest([Resources(cpus=4), Resources(cpus=1, time=60)])
        Resources(cpus=4, memory=0, gpus=0, time=60)
    """
    found = list(needs)
    return Resources(*map(max, zip(*found, strict=True))) if found else NO_RESOURCES


def check_fits(
    needs: Mapping[str, Resources], there: Mapping[str, float], where: str, hint: str = ""
) -> None:
    """Check that a row of each step can run alone.

    Args:
        needs: What a row of each step needs, by step.
        there: The amount of each resource; one that is missing is not checked.
        where: What has these amounts, such as `this machine`.
        hint: What to do.

    Raises:
        UsageError: A step needs more than there is.

    Example:
        >>> check_fits({"fit": Resources(cpus=64)}, {"cpus": 4}, "this machine")
        Traceback (most recent call last):
        sinagot_catalog.errors.UsageError: step fit needs 64 cpus, and this machine has 4
        Ask for less in RESOURCES of the script or [steps.fit] resources, or run it where there is more.
    """
    for step, need in needs.items():
        for name, amount in amounts(need).items():
            if amount > there.get(name, inf):
                raise UsageError(
                    f"step {step} needs {_text(name, amount)}, and {where} has {_number(name, there[name])}",
                    hint
                    or f"Ask for less in RESOURCES of the script or [steps.{step}] resources, or run it where "
                    "there is more.",
                )


def _text(name: str, amount: float) -> str:
    noun = name.removesuffix("s") if amount == 1 else name
    return f"{_number(name, amount)} of memory" if name == "memory" else f"{amount:g} {noun}"


def _number(name: str, amount: float) -> str:
    return size_text(amount) if name == "memory" else f"{amount:g}"


class Allocator:
    """Gives out the resources of a machine to the rows of a run; callable from many threads.

    Args:
        spec: The run.
        needs: What its rows need.
        there: The machine; None: only GPUs are given out, and a scheduler elsewhere decides what starts.
        threads: The least thread limit of a worker.

    Attributes:
        splitter: Divides groups whose rows need different resources.
    """

    def __init__(
        self, spec: RunSpec, needs: Iterable[Resources], there: Machine | None, *, threads: int
    ) -> None:
        self.splitter = ChainSplitter(spec)
        whole = largest(needs)
        self._free: dict[str, float] = dict.fromkeys(("cpus", "memory", "gpus"), inf)
        self._gpus: list[str] = []
        self._used: set[str] = set()
        self._threads = threads
        self._hides_gpus = any(cell.resources.gpus for cell in spec.cells)
        self._waiting: dict[object, Resources] = {}
        self._changed = threading.Condition(threading.RLock())
        self._is_closed = False
        if there is not None:
            self._free |= {name: limit for name, limit in limits(there).items() if getattr(whole, name)}
            self.see_gpus(there.gpus if whole.gpus else ())

    def see_gpus(self, names: Sequence[str]) -> None:
        """Give out these GPUs from now on; those in use come back when their rows end."""
        with self._changed:
            self._gpus = [name for name in names if name not in self._used]

    @property
    def n_gpus(self) -> int:
        """The number of GPUs, free or in use."""
        return len(self._gpus) + len(self._used)

    def first(self, needs: Sequence[Resources]) -> int | None:
        """Return the position of the first need that may start now; None if all of them have to wait.

        Args:
            needs: The needs that wait, in their order.
        """
        reserved: set[str] = set()
        with self._changed:
            for number, need in enumerate(needs):
                mine: list[str] = []
                for name, amount in amounts(need).items():
                    mine.append(name)
                    if name in reserved or amount > self._left(name):
                        break
                else:
                    return number
                reserved.update(mine)
        return None

    def _left(self, name: str) -> float:
        return len(self._gpus) if name == "gpus" else self._free[name]

    def take(self, need: Resources) -> Grant:
        """Take what a need asks for, which `first` found to be free."""
        with self._changed:
            for name, amount in amounts(need).items():
                self._free[name] -= amount
            gpus, self._gpus = tuple(self._gpus[: need.gpus]), self._gpus[need.gpus :]
            self._used.update(gpus)
            return Grant(need, gpus)

    def give_back(self, grant: Grant) -> None:
        """Give back what a batch used."""
        with self._changed:
            for name, amount in amounts(grant.need).items():
                self._free[name] += amount
            self._used.difference_update(grant.gpus)
            self._gpus = [*grant.gpus, *self._gpus]  # first, for the process that has them already
            self._changed.notify_all()

    def acquire(self, need: Resources) -> Grant | None:
        """Wait until a need may start, and take it; returns None after `close`."""
        with self._changed:
            ticket = object()
            self._waiting[ticket] = need
            try:
                while not self._is_closed:
                    found = self.first(list(self._waiting.values()))
                    if found is not None and list(self._waiting)[found] is ticket:
                        return self.take(need)
                    self._changed.wait(_TICK)
                return None
            finally:
                del self._waiting[ticket]
                self._changed.notify_all()

    def kind_of(self, grant: Grant) -> WorkerKind:
        """The kind of worker that runs a batch."""
        gpus = grant.gpus if grant.need.gpus or self._hides_gpus else None
        return WorkerKind(max(self._threads, grant.need.cpus), gpus)

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


def limits(there: Machine) -> dict[str, float]:
    """Return the amount of each resource of a machine."""
    return {"cpus": there.cpus, "memory": there.memory or inf, "gpus": len(there.gpus)}


class _Chain(NamedTuple):
    """A group of rows, divided: the rows that run now, by number, and the rest of the group."""

    open: dict[int, Row]
    rest: Task


class ChainSplitter:
    """Divides groups where the next row needs other resources; the rest of a group follows when the rows end.

    Args:
        spec: The run.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._needs = [cell.resources._replace(time=0.0) for cell in spec.cells]
        self._chains: dict[int, _Chain] = {}
        self._lock = threading.Lock()

    def need_of(self, row: Row) -> Resources:
        """What a row needs to start."""
        return self._needs[row[1]]

    def begin(self, task: Task) -> Task:
        """Return the first rows of a task, which all need the same."""
        rows, failed, used = task
        need = self.need_of(rows[0])
        end = next((n for n, row in enumerate(rows) if self.need_of(row) != need), None)
        if end is None:
            return task
        chain = _Chain({row[0]: row for row in rows[:end]}, (rows[end:], [*failed], used))
        with self._lock:
            self._chains.update(dict.fromkeys(chain.open, chain))
        return rows[:end], failed, used

    def note(self, results: Iterable[Result]) -> list[Task]:
        """Note how rows ended; return the rests of groups that may start now."""
        ready: list[Task] = []
        with self._lock:
            for result in results:
                chain = self._chains.pop(result.row, None)
                if chain is None:
                    continue
                row = chain.open.pop(result.row)
                if result.outcome in FAILED:
                    chain.rest[1].append(row)
                if not chain.open:
                    ready.append(chain.rest)
        return ready

    def rest(self) -> Iterator[Task]:
        """The rests of groups whose first rows did not end; each comes once, also over several calls."""
        while self._chains:
            with self._lock:
                chain = next(iter(self._chains.values()))
                for row in chain.open:
                    del self._chains[row]
            yield chain.rest
