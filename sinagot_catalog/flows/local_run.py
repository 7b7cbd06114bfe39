"""Local flow runs: drives a run of this process as a flow run of Prefect, in a thread."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import Context
from dataclasses import replace
from typing import Any

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.events.worker import EventsWorker
from prefect.flow_engine import run_flow_sync
from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_UI_URL,
    temporary_settings,
)

from sinagot_catalog.errors import ServerError
from sinagot_catalog.flows.active_run import ActiveRun, as_current
from sinagot_catalog.flows.ancestors import child_context
from sinagot_catalog.flows.artifacts import tags_of
from sinagot_catalog.flows.concurrency import check_limit, open_limit
from sinagot_catalog.flows.crashed_runs import driver
from sinagot_catalog.flows.flow import run_workspace
from sinagot_catalog.flows.run_handle import RunHandle, StillUnderWayError
from sinagot_catalog.flows.server.server_state import LocalServer
from sinagot_catalog.flows.stored_run import parameters_of
from sinagot_catalog.flows.surrounding_run import is_inside
from sinagot_catalog.journal import RunReport
from sinagot_catalog.run import ClaimedRun, Executor

_TICK = 0.2


class LocalFlowRun(RunHandle):
    """A run of this process that a thread drives as a flow run.

    The flow run is created at once, so that its page exists before the work begins. When the program exits, it
    waits for the run.

    Inside a flow of the user, Prefect makes it as a subflow when the thread begins; `flow_run_id` and `url` are
    known when `start` has returned.

    Args:
        claimed: The claimed run.
        executor: The executor of its rows.
        api: The local server, or None for the API that the user configured, or that the surrounding run uses.
    """

    def __init__(self, claimed: ClaimedRun, executor: Executor, *, api: LocalServer | None) -> None:
        super().__init__(claimed.run_id)
        self._api = api
        self._active = ActiveRun(claimed, executor, started=self._hold_the_end)
        frame, run_id = claimed.plan.frame, claimed.run_id
        parameters = parameters_of(claimed.source, claimed.query, claimed.options, frame, run_id)
        self._parameters = parameters | {"run_id": run_id}
        self._context = child_context() if is_inside() else Context()
        self._flow_run: FlowRun | None = None
        with client_of(api) as client:
            check_limit(claimed)
            if not is_inside():
                self._flow_run = client.create_flow_run(
                    run_workspace,
                    name=claimed.label,
                    parameters=self._parameters,
                    context=driver(run_id),
                    tags=tags_of(claimed),
                )
                self._learn_id(str(self._flow_run.id))
        self._last_state = "Pending"
        self._error: BaseException | None = None
        self._begun = threading.Event()
        # An event and not `join`: after an interrupt in `join`, Python 3.11 treats a running thread as ended.
        self._ended = threading.Event()

    def start(self) -> None:
        """Start, and return when the flow has begun: from then on the program waits for it when it exits."""
        threading.Thread(
            target=self._context.run, args=[self._run], name=f"submitted-{self.run_id}", daemon=False
        ).start()
        _wait(self._begun)

    def _learn_id(self, flow_run_id: str) -> None:
        self.flow_run_id = flow_run_id
        page = page_of(self._api)
        self.url = f"{page}/runs/flow-run/{flow_run_id}" if page else None

    def _run(self) -> None:
        """Drive the flow run to its end, in the thread."""
        if self.flow_run_id is not None:  # the console of a flow of the user shows its subflows
            mute_console(self.flow_run_id)
        try:
            with pointed_at(self._api), as_current(self._active):
                EventsWorker.drain_all(timeout=5)  # an existing worker may send to another API
                try:
                    ended = run_flow_sync(
                        run_workspace,
                        flow_run=self._flow_run,
                        parameters=dict(self._parameters),
                        return_type="state",
                    )
                finally:
                    EventsWorker.drain_all(timeout=5)
            self._last_state = (isinstance(ended, State) and ended.name) or "Completed"
        except BaseException as error:  # noqa: BLE001 - `wait` raises it
            self._last_state, self._error = "Crashed", error
        finally:
            _MUTED.discard(str(self.flow_run_id))
            self._active.claimed.finish()  # if the flow did not begin, it holds its rows
            self._ended.set()
            self._begun.set()

    def settle(self) -> None:
        """Wait for the end; an error of the run is not raised."""
        _wait(self._ended)

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait for the end and return the report; raises an error of the run itself."""
        if timeout is None:
            self.settle()
        elif not self._ended.wait(timeout):
            raise StillUnderWayError(f"Run {self.run_id} is still under way after {timeout:g} s")
        if self._active.error is not None:
            raise self._active.error
        if not self._active.is_fed:
            raise ServerError(
                f"Prefect did not run it: {self._error or self.state}", f"Its page is {self.url}."
            )
        return replace(self._active.claimed.finish(), flow_run_id=self.flow_run_id)

    def cancel(self) -> None:
        """Feed no more rows and end the scripts that run."""
        self._active.cancel()

    def _hold_the_end(self, flow_run_id: str) -> None:
        """Make the program wait for the run at exit, before it closes thread pools and Prefect's services.

        At exit, Python closes these before it waits for threads, in reverse order of their registration. So the
        flow calls this when all of them exist: then Python runs this callback first.
        """
        self._last_state = "Running"
        if self.flow_run_id is None:
            self._learn_id(flow_run_id)
        EventsWorker.instance()
        APILogWorker.instance()
        open_limit(self._active.claimed)
        register = getattr(threading, "_register_atexit", None)
        if register is not None:
            with suppress(RuntimeError):  # the program is exiting already
                register(_wait, self._ended)  # the event does not keep the run in memory
        self._begun.set()


def _wait(event: threading.Event) -> None:
    """Wait without a limit, in short waits: so a Ctrl-C takes effect even if another thread got the signal."""
    while not event.wait(_TICK):
        pass


def page_of(api: LocalServer | None) -> str:
    """The URL of Prefect's page; empty for Prefect's temporary server, which has none."""
    return api.url if api is not None else str(PREFECT_UI_URL.value() or "")


def pointed_at(api: LocalServer | None) -> AbstractContextManager[Any]:
    """Point Prefect at the local server, in this thread only; the user's profile does not change."""
    if api is None:
        return nullcontext()
    where: dict[Any, Any] = {PREFECT_API_URL: api.api_url, PREFECT_API_AUTH_STRING: api.auth}
    # No heartbeats: only automations use them, and the local server has none. At the end of each run, stopping the
    # heartbeats would take a second.
    where[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    return temporary_settings(where, restore_defaults={PREFECT_API_KEY})


@contextmanager
def client_of(api: LocalServer | None) -> Iterator[SyncPrefectClient]:
    """A client of the local server, or of the API that the user configured; this thread points at it meanwhile."""
    with pointed_at(api), get_client(sync_client=True) as client:
        yield client


_MUTED: set[str] = set()
"""The flow runs of this library whose log lines stay off the console: their pages have them."""


def _is_for_console(record: logging.LogRecord) -> bool:
    if record.name in ("EventsWorker", "APILogWorker"):
        return record.levelno >= logging.ERROR
    return getattr(record, "flow_run_id", None) not in _MUTED


def mute_console(flow_run_id: str) -> None:
    """Print nothing about this flow run on the console: the caller who submitted it has a handle."""
    _MUTED.add(flow_run_id)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_is_for_console)  # a repeated call adds nothing
