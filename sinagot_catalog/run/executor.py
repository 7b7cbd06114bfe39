"""Executors: the protocol of what runs the rows of a claimed run.

`MainProcess` (rows in this process), `Pool` (worker processes) and `cluster.ClusterExecutor` (Dask or Ray) follow
it. The order of the calls: `start`, `with executor:`, and within it `run_batch`; those of this machine also have
`run`, which takes all rows of a phase and passes results on as they come.
The caller that begins a run chooses the executor and hands it to the run.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Protocol, Self, TypeAlias, runtime_checkable

from sinagot_catalog.journal import Claim, Group, LogBuffer, Resources, Result, RunSpec, StorageOptions
from sinagot_catalog.startup import dataclass

OnResults: TypeAlias = Callable[[list[Result]], None]


@dataclass(frozen=True)
class RunSetup:
    """What an executor needs to know of a claimed run, apart from its rows.

    Attributes:
        spec: The spec of the run.
        options: fsspec options of the parts in buckets. They may hold secrets: workers get them over their pipe.
        provenance: What rows made before, by row number; workers get it with the rows.
        n_rows: Number of rows to run.
        needs: What a row of each step needs, for the steps with rows to run that declare resources.
        claim: The claim of the run; cluster processes check that it is alive.
        log_buffer: Takes the log lines of scripts on a cluster whose journal cannot be read here.
        console: Receives what scripts log in this process.
    """

    spec: RunSpec
    options: StorageOptions = field(default_factory=dict)
    provenance: Mapping[int, str] = field(default_factory=dict)
    n_rows: int = 0
    needs: Mapping[str, Resources] = field(default_factory=dict)
    claim: Claim | None = None
    log_buffer: LogBuffer = field(default_factory=LogBuffer)
    console: logging.Logger | None = None


@runtime_checkable
class WaitingGroups(Protocol):
    """Groups some of which wait until rows of others have ended: a phase."""

    def __iter__(self) -> Iterator[Group]:
        """Yield the groups that may start now, each once."""

    @property
    def is_waiting(self) -> bool:
        """Whether groups wait for rows that have not ended."""

    def ended(self, outcomes: Iterable[tuple[int, str]], on_blocked: OnResults) -> None:
        """Release what waited for rows that have ended for good; passes on the rows of it that are blocked."""


def passing_on(
    groups: Iterable[Group] | WaitingGroups, on_results: OnResults, released: Callable[[], None] | None = None
) -> OnResults:
    """A function that passes results on to another one, and releases the groups that waited for their rows.

    Args:
        groups: The groups.
        on_results: The other function.
        released: Called when groups may have been released.
    """
    if not isinstance(groups, WaitingGroups):
        return on_results

    def pass_on(results: list[Result]) -> None:
        on_results(results)
        groups.ended(((result.row, result.outcome) for result in results), on_results)
        if released is not None:
            released()

    return pass_on


class Executor(Protocol):
    """Runs the rows of a run."""

    @property
    def width(self) -> int:
        """Number of batches that can run at a time."""

    def start(self, setup: RunSetup) -> Self:
        """Take a run, and start in the background what takes time; a second call for the same run does nothing.

        Raises:
            UsageError: A step needs more than there can ever be.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups one after the other and wait for them; callable from many threads."""

    def stop(self) -> None:
        """End running scripts now and cancel the other rows; callable from any thread, at any time."""

    def close(self) -> None:
        """End the workers and clean up. Further calls do nothing."""
