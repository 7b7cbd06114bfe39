"""Hand a planned run to Prefect, and hold on to it.

Prefect is imported only when there is something to do, and after the local server, where one is needed, was
told to start: both take seconds, and take them at the same time.
"""

import html
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from sinagot_catalog import _api, _server
from sinagot_catalog._cluster import check_cluster
from sinagot_catalog._crashed import mark_crashed
from sinagot_catalog._execution import Execution
from sinagot_catalog.errors import ServerError
from sinagot_catalog.run_report import RunReport

if TYPE_CHECKING:
    from sinagot_catalog.flows import Submitted

__all__ = ["RunHandle", "submit"]


class RunHandle:
    """A run that was submitted: to follow, to wait for, to cancel.

    Attributes:
        run_id: The name of the run in the journal.
        flow_run_id: Its id in Prefect, None where there was nothing to do.
        url: Its page in Prefect, None where there was nothing to do.
    """

    def __init__(self, run_id: str, work: "Submitted | RunReport") -> None:
        self.run_id = run_id
        self._work = work
        self.flow_run_id = None if isinstance(work, RunReport) else work.flow_run_id
        self.url = None if isinstance(work, RunReport) else work.url

    @property
    def state(self) -> str:
        """The flow run's state: `Pending`, `Running`, `Completed`, `Failed`, `Cancelled` or `Crashed`."""
        return "Completed" if isinstance(self._work, RunReport) else self._work.state

    def __repr__(self) -> str:
        return f"<RunHandle instance | run_id: {self.run_id}, state: {self.state}, url: {self.url}>"

    def _repr_html_(self) -> str:
        if self.url is None:
            return "<p><b>Run</b>: nothing to do</p>"
        url = html.escape(self.url, quote=True)
        link = f'<a href="{url}">its page in Prefect</a>'
        return f"<p><b>Run</b> {html.escape(self.run_id)}: {self.state} · {link}</p>"

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait until the run has ended.

        Args:
            timeout: Seconds to wait at most; without it, as long as it takes.

        Returns:
            What became of each row.

        Raises:
            TimeoutError: It is still under way; it goes on, and can be waited for again.
            ServerError: Prefect could not run it.
        """
        return self._work if isinstance(self._work, RunReport) else self._work.wait(timeout)

    def cancel(self) -> None:
        """End the run early: no more rows are begun, scripts under way are ended. Returns at once."""
        if not isinstance(self._work, RunReport):
            self._work.cancel()


def submit(
    execution: Execution,
    *,
    wait: bool = False,
    say: Callable[[str], None] | None = None,
    timeout: float = 60.0,
) -> RunHandle:
    """Run what was planned and claimed as a Prefect flow, in a thread of this process.

    Args:
        execution: The run. It is finished here, also where Prefect cannot be reached.
        wait: Return only when the run has ended.
        say: Takes lines for people: where the page is, how to end the server. By default they go to stderr.
        timeout: Seconds that the local server may take to start.

    Returns:
        The handle. A program that ends waits for its runs.

    Raises:
        ServerError: The configured API, or the local server, does not answer.
        KeyboardInterrupt: While waiting; the run was cancelled, and has ended.
    """
    if not execution.n_rows:
        return RunHandle(execution.run_id, execution.finish())
    try:
        work = _begin(execution, say or _to_stderr, timeout)
    except BaseException:
        execution.finish()  # gives the rows back
        raise
    try:
        work.start()
        if wait:
            work.settle()
    except KeyboardInterrupt:
        work.cancel()
        work.settle()
        raise
    return RunHandle(execution.run_id, work)


def _begin(execution: Execution, say: Callable[[str], None], timeout: float) -> "Submitted":
    prefect = execution.source.config.prefect
    check_cluster(prefect.task_runner, prefect.address)
    configured = _api.configured_api()
    local = None if configured else _server.start()
    if configured:
        configured.probe()
    if local is not None and not local.is_healthy():
        say("A local Prefect server is starting; the first start of all takes some ten seconds.")
    from sinagot_catalog import flows

    if local is not None:
        local.wait_healthy(timeout)
        say(
            f"Prefect's page stays up; log in at {local.url}/login with what `sinagot-catalog server status` "
            "prints, end it with `sinagot-catalog server stop`."
        )
    with suppress(ServerError):  # what others left there is no reason to run nothing
        if configured:
            mark_crashed(configured.url, auth=configured.auth, key=configured.key)
        elif local is not None:
            mark_crashed(local.api_url, auth=local.auth)
    work = flows.Submitted(execution, api=local)
    say(f"{execution.label}: {work.url}")
    return work


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - talk, not result
