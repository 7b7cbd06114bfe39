"""Run handles: what `submit` returns, to follow a run, wait for it or cancel it. Prefect is not imported here.

`local_run` and `remote_run` have the handles of flow runs.
"""

import asyncio
import html
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

from sinagot_catalog.errors import NamesNearest
from sinagot_catalog.journal import RunReport
from sinagot_catalog.run import ClaimedRun

_TICK = 1.0
"""The longest wait of a thread for a coroutine, in seconds."""


class StillUnderWayError(TimeoutError):
    """The wait is over, and the run has not ended. A run itself may end with any other `TimeoutError`."""


class RunHandle(NamesNearest, ABC):
    """A handle of a submitted run, to follow it, wait for it or cancel it.

    Attributes:
        run_id: The name of the run in the journal; for a run of another process, known after `wait`.
        flow_run_id: The id of the flow run in Prefect, None if there was nothing to do.
        url: The URL of its page in Prefect, None if there was nothing to do.
    """

    flow_run_id: str | None = None
    url: str | None = None
    _last_state = "Completed"

    def __init__(self, run_id: str | None) -> None:
        self.run_id = run_id

    @property
    def state(self) -> str:
        """The state of the flow run: `Scheduled`, `Running`, `Completed`, `Failed`, `Cancelled`, `Crashed`, ..."""
        return self._last_state

    def __repr__(self) -> str:
        return f"<RunHandle instance | run_id: {self.run_id}, state: {self._last_state}, url: {self.url}>"

    def _repr_html_(self) -> str:
        if self.url is None:
            return "<p><b>Run</b>: nothing to do</p>"
        url = html.escape(self.url, quote=True)
        link = f'<a href="{url}">its page in Prefect</a>'
        return f"<p><b>Run</b> {html.escape(self.run_id or '')}: {html.escape(self._last_state)} · {link}</p>"

    @abstractmethod
    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait until the run has ended.

        Args:
            timeout: The most seconds to wait; by default, no limit.

        Returns:
            The report, with the outcome of each row.

        Raises:
            TimeoutError: The run has not ended; it goes on, and you can wait for it again.
            ServerError: Prefect could not run it.
        """

    def __await__(self) -> Generator[Any, None, RunReport]:
        """Wait in a coroutine, as `wait` does: `report = await handle`."""
        return self._awaited().__await__()

    async def _awaited(self) -> RunReport:
        while True:
            try:
                return await asyncio.to_thread(self.wait, _TICK)
            except StillUnderWayError:
                continue

    @abstractmethod
    def cancel(self) -> None:
        """End the run early: no more rows begin, and running scripts are ended. Returns at once."""


class EndedRun(RunHandle):
    """The handle of a run without rows to run."""

    def __init__(self, claimed: ClaimedRun) -> None:
        super().__init__(claimed.run_id)
        self._report = claimed.finish()

    def wait(self, timeout: float | None = None) -> RunReport:  # noqa: ARG002 - it has ended
        """Return the report."""
        return self._report

    def cancel(self) -> None:
        """Do nothing: the run has ended."""
