"""Remote flow runs: follows a flow run on the workers of a deployment or in another process.

Its state comes from the API; its report comes from the `LOG` folder, where the flow stores it.
"""

import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    DeploymentStatus,
    FlowRun,
    State,
    StateType,
)
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Pending

from sinagot_catalog.catalog import Query, Session
from sinagot_catalog.config import count_of, place_of
from sinagot_catalog.errors import NotFoundError, ServerError, UsageError
from sinagot_catalog.flows.deployments.deployer import deployment_named, refusal_of
from sinagot_catalog.flows.local_run import client_of, page_of
from sinagot_catalog.flows.lost_runs import clear_lost, under_way
from sinagot_catalog.flows.run_handle import RunHandle, StillUnderWayError
from sinagot_catalog.flows.server.api import of_prefect
from sinagot_catalog.flows.server.server_state import LocalServer
from sinagot_catalog.flows.stored_run import parameters_of
from sinagot_catalog.journal import RunReport, StoredReport, new_run_id, read_report
from sinagot_catalog.run import Plan, RunOptions, part_of

_TICK = 0.5
_LOST_EVERY = 10.0
_LATE = 10.0
"""Seconds to wait for the report of a cancelled run whose process no longer holds its rows."""
_INTERRUPTED = 130
_SILENCE = 60.0
"""Seconds for which an API may fail to answer before waiting gives up."""


class RemoteFlowRun(RunHandle):
    """A flow run of another process: reads its state from the API, and its report from `LOG`.

    Args:
        source: The session of the workspace whose rows it runs.
        flow_run: The last known state of the flow run.
        api: The local server, or None for the API that the user configured.
    """

    def __init__(self, source: Session, flow_run: FlowRun, *, api: LocalServer | None) -> None:
        super().__init__(None)
        self._source = source
        self._api = api
        self._id = flow_run.id
        self._see(flow_run)
        self.flow_run_id = str(flow_run.id)
        self.url = f"{page_of(api)}/runs/flow-run/{self.flow_run_id}"

    @property
    def state(self) -> str:
        """The present state, from the API."""
        self._look_again()
        return self._last_state

    @property
    def has_begun(self) -> bool:
        """Whether its process has begun to run rows."""
        self._look_again()
        return self._flow_run.start_time is not None

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait for the end and return the report.

        Raises:
            TimeoutError: The flow run is still running, or its process still ends its rows.
            ServerError: It ended without a report: it was refused, cancelled before it began, or lost.
        """
        end = inf if timeout is None else time.monotonic() + timeout
        self.settle(end)
        stored = self._stored_report(end)
        self._source.refresh()
        if stored is None or not stored.ended:
            reason = f": {self._state.message}" if self._state.message else ""
            error = ServerError(
                f"the flow run did not come to its end, it is {self._last_state}{reason}",
                f"What is done is kept; its page is {self.url}.",
            )
            if self._state.is_cancelled():
                error.exit_code = _INTERRUPTED
            raise error
        self.run_id = stored.report.run_id
        return stored.report

    def settle(self, end: float = inf) -> None:
        """Wait until the flow run has ended, or raise a TimeoutError at a time; a failed state is not raised."""
        answered = checked = time.monotonic()
        # One client for all looks: a new one reads the certificates of all authorities each time.
        with client_of(self._api) as client:
            while True:
                try:
                    self._look(client)
                    answered = time.monotonic()
                except ServerError:
                    if time.monotonic() - answered > _SILENCE:
                        raise
                if self._state.is_final():
                    return
                if time.monotonic() - checked > _LOST_EVERY:
                    with suppress(Exception):  # no other program marks it as Crashed if its process has died
                        clear_lost(client, self._source, [self._flow_run])
                    checked = time.monotonic()
                self._pause(end)

    def _stored_report(self, end: float) -> StoredReport | None:
        """Read its stored report; for a cancelled run, wait: its process may still end its rows or write it."""
        late = time.monotonic() + _LATE
        while True:
            stored = read_report(self._source.log_store, str(self._id))
            if stored is None or stored.ended or not self._state.is_cancelled():
                return stored
            if stored.report.run_id in self._source.claims.alive():
                late = time.monotonic() + _LATE
            elif time.monotonic() > late:
                return stored
            self._pause(end)

    def _pause(self, end: float) -> None:
        """Pause before the next look, or raise an error at the end."""
        left = end - time.monotonic()
        if left <= 0:
            raise StillUnderWayError(f"Flow run {self.flow_run_id} is still under way")
        time.sleep(min(_TICK, left))

    def cancel(self) -> None:
        """Request a cancel: its process ends the running rows, or the flow run never begins."""
        with client_of(self._api) as client:
            self._look(client)
            if self._state.is_final():
                return  # the API would set an ended flow run to Cancelling again
            try:
                client.set_flow_run_state(self._id, State(type=StateType.CANCELLING))
            except Exception as error:
                raise ServerError(
                    f"Prefect's API could not be asked to cancel the flow run: {type(error).__name__}: {error}",
                    f"Its page is {self.url}.",
                ) from error

    def _look_again(self) -> None:
        with client_of(self._api) as client:
            self._look(client)

    def _look(self, client: SyncPrefectClient) -> None:
        try:
            self._see(client.read_flow_run(self._id))
        except ObjectNotFound:
            raise NotFoundError(f"the flow run {self.flow_run_id} was deleted") from None
        except Exception as error:
            raise ServerError(
                f"Prefect's API could not be asked for the flow run: {type(error).__name__}: {error}"
            ) from error

    def _see(self, flow_run: FlowRun) -> None:
        self._flow_run = flow_run
        self._state = flow_run.state or Pending()
        self._last_state = str(self._state.name)


def find(source: Session, flow_run_id: str, *, api: LocalServer | None) -> RemoteFlowRun:
    """Find a flow run by its id.

    Raises:
        NotFoundError: There is no such flow run, or it runs another workspace.
    """
    missing = NotFoundError(
        f"there is no flow run {flow_run_id!r}", "Its id stands at the end of the address of its page."
    )
    try:
        identity = UUID(flow_run_id)
    except ValueError:
        raise missing from None
    try:
        with client_of(api) as client:
            flow_run = client.read_flow_run(identity)
    except ObjectNotFound:
        raise missing from None
    place = flow_run.parameters.get("workspace")
    if place is None or place_of(place) != place_of(source.config.files[0]):
        raise NotFoundError(
            f"the flow run {flow_run_id} is of {place or 'no workspace'}, not of this one",
            "Ask the workspace that it runs.",
        )
    return RemoteFlowRun(source, flow_run, api=api)


def send(
    source: Session,
    query: Query,
    options: RunOptions,
    draft: Plan,
    deployment: str,
    *,
    api: LocalServer | None,
    say: Callable[[str], None],
) -> RemoteFlowRun:
    """Start a flow run of a deployment.

    Args:
        source: The session of the workspace.
        query: The selection.
        options: The options of the run.
        draft: The plan of the rows.
        deployment: The name of the deployment.
        api: The local server, or None for the API that the user configured.
        say: Receives messages: the URL of its page, and a hint if no worker polls for its runs.

    Raises:
        NotFoundError: There is no such deployment.
        UsageError: The deployment would cancel some of the parts.
        ServerError: The API refused the run.
    """
    part = part_of(options.part)
    with client_of(api) as client:
        target = deployment_named(client, deployment)
        _check_room(target, part.count if part else 1)
        with suppress(Exception):  # lost runs hold slots of the deployment, and this run would wait for them
            clear_lost(client, source, under_way(client, target.id))
        parameters = parameters_of(source, query, options, draft.frame, new_run_id())
        workspace = parameters["workspace"].removesuffix("/workspace.toml").rpartition("/")[2]
        name = f"{workspace} · {count_of(draft.n_run, 'row')}{f' · part {part}' if part else ''}"
        try:
            flow_run = client.create_flow_run_from_deployment(target.id, parameters=parameters, name=name)
        except PrefectHTTPStatusError as error:
            raise ServerError(
                f"the deployment {deployment!r} did not take the run: {refusal_of(error)}",
                "It takes the rows of a workspace if it was made by `sinagot-catalog deploy` or `serve`.",
            ) from error
    remote = RemoteFlowRun(source, flow_run, api=api)
    say(f"{name}: {remote.url}")
    if target.status == DeploymentStatus.NOT_READY:
        say(_missing(target.work_pool_name))
    return remote


def _check_room(deployment: Any, parts: int) -> None:
    """Check that a deployment does not cancel flow runs which are submitted together.

    Raises:
        UsageError: It runs fewer at once, and cancels what is too much.
    """
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    if limit is None or options is None or limit.limit >= parts:
        return
    if options.collision_strategy == ConcurrencyLimitStrategy.CANCEL_NEW:
        at_once = "1 flow run" if limit.limit == 1 else f"{limit.limit} flow runs"
        raise UsageError(
            f"{parts} parts: the deployment {deployment.name!r} runs {at_once} at a time and cancels the others",
            f"Deploy it with --concurrency {parts}, or with --overlap wait.",
        )


def _missing(pool: str | None) -> str:
    """The hint for a run of a deployment that is not ready: no worker has polled for its runs lately."""
    if pool is None:
        return "it waits until its deployment is served; where it is not:  sinagot-catalog serve"
    worker = of_prefect(f"prefect worker start --pool {shlex.quote(pool)}")
    return f"it waits for a worker; where none is up:  {worker}"
