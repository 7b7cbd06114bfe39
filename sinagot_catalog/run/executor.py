"""Executors: the protocol of what runs the rows of a claimed run.

`MainProcess` (rows in this process), `Pool` (worker processes) and `cluster.ClusterExecutor` (Dask or Ray) follow
it. The order of the calls: `start`, perhaps `wait_started`, `with executor:`, and within it `run` or `run_batch`.
The caller that begins a run chooses the executor and hands it to the run.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeAlias

from sinagot_catalog.journal import Claim, Group, LogBuffer, Resources, Result, RunSpec, StorageOptions

__all__ = ["Executor", "OnResults", "RunSetup"]

OnResults: TypeAlias = Callable[[list[Result]], None]


@dataclass(frozen=True)
class RunSetup:
    """What an executor needs to know of a claimed run, apart from its rows.

    Attributes:
        spec: The spec of the run.
        options: fsspec options of the parts in buckets. They may hold secrets: workers get them over their pipe.
        provenance: What rows made before, by row number; workers get it with the rows.
        n_rows: Number of rows to run.
        needs: What a row of each step needs, for the steps that have rows to run and say so.
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


class Executor(Protocol):
    """Runs the rows of a run."""

    @property
    def width(self) -> int:
        """Number of batches that can run at a time."""

    def start_workers(self, workers: int) -> Self:
        """Start some idle workers before the run is claimed, if the executor can."""

    def start(self, setup: RunSetup) -> Self:
        """Take a run, and start in the background what takes time; a second call for the same run does nothing.

        Raises:
            UsageError: A step needs more than there can ever be.
        """

    def wait_started(self) -> None:
        """Wait for what `start` began in the background, and raise its error."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups; `on_results` is called from this thread.

        An interrupt ends running scripts, cancels the other rows and is raised again.
        """

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups one after the other and wait for them; callable from many threads."""

    def stop(self) -> None:
        """End running scripts now and cancel the other rows; callable from any thread, at any time."""

    def close(self) -> None:
        """End the workers and clean up. Further calls do nothing."""
