"""The main process as executor: rows run one after the other here, without time-outs, but a debugger works.

A crash of a script is a crash of this process. Interrupts are those of the user or of a script (see
`worker.process.row_interrupts`).
"""

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from sinagot_catalog.journal import Group, Result
from sinagot_catalog.run.executor import OnResults, RunSetup, passing_on
from sinagot_catalog.run.machine import this_machine
from sinagot_catalog.run.resources import check_fits, limits
from sinagot_catalog.run.run_context import cancelled
from sinagot_catalog.scripts import MainOutput
from sinagot_catalog.worker import JobRunner, MainInterrupts, clear_staging, staging_path


class MainProcess:
    """Runs rows in this process. With `debug`, an exception of a script is raised here, after its event."""

    _setup: RunSetup

    def __init__(self) -> None:
        self.width = 1
        self._interrupts = MainInterrupts()
        self._output = MainOutput()
        self._jobs: JobRunner | None = None
        self._lock = threading.Lock()
        self._is_stopping = False

    def start(self, setup: RunSetup) -> Self:
        """Take a run; what it needs is made when its rows begin."""
        if setup.needs:
            check_fits(setup.needs, limits(this_machine()), "this machine")
        self._setup = setup
        return self

    def __enter__(self) -> Self:
        setup = self._setup
        self._jobs = JobRunner(
            setup.spec,
            "main",
            output=self._output,
            console=setup.console,
            options=setup.options,
            raising=setup.spec.debug,
            provenance=dict(setup.provenance),
            interrupts=self._interrupts,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal and clear the staging. Further calls do nothing."""
        jobs, self._jobs = self._jobs, None
        if jobs is None:
            return
        jobs.close()
        spec = jobs.spec
        clear_staging(staging_path(spec.log, spec.run_id), spec.outputs, spec.dataset)

    def run(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups; calls `on_results` after each row. An interrupt cancels the other rows, and is raised."""
        on_results = passing_on(groups, on_results)
        left = iter(groups)
        group: Group = []
        done = 0
        try:
            with self._interrupts.guard as guard:
                for group in left:  # an interrupt cancels the rest of it below
                    done = 0
                    for result in self._run_group(group):
                        done += 1
                        on_results([result])
                        guard.check()
        except KeyboardInterrupt:
            self._is_stopping = True
            for rest in itertools.chain([group[done:]], left):
                on_results(cancelled(rest))
            raise

    def _run_group(self, group: Group) -> Iterator[Result]:
        done = 0
        jobs = self._jobs
        if jobs is not None and not self._is_stopping:
            # A debugger needs the real streams.
            with contextlib.nullcontext() if jobs.spec.debug else self._output:
                for result in jobs.run((group, [], {})):
                    done += 1
                    yield result
                    if self._is_stopping:
                        break
        yield from cancelled(group[done:])

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups; a lock admits a single thread at a time."""
        with self._lock:
            return [result for group in groups for result in self._run_group(group)]

    def stop(self) -> None:
        """Begin no further row; the running row ends by itself."""
        self._is_stopping = True
