"""Remote flow runs: follows a flow run on the workers of a deployment or in another process.

Its state comes from the API; its report comes from the `LOG` folder, where the flow stores it.
"""

import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import (
    ConcurrencyLimitStrategy,
    DeploymentStatus,
    FlowRun,
    State,
    StateType,
)
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from sinagot_catalog.catalog import Session
from sinagot_catalog.config import place_of
from sinagot_catalog.errors import NotFoundError, ServerError, UsageError
from sinagot_catalog.flows.deployments.deployer import deployment_named, refusal_of
from sinagot_catalog.flows.local_run import page_of, pointed_at
from sinagot_catalog.flows.lost_runs import clear_lost, under_way
from sinagot_catalog.flows.server.api import of_prefect
from sinagot_catalog.flows.server.server_state import LocalServer
from sinagot_catalog.journal import RunReport, StoredReport, read_report

_TICK = 0.5
_LOST_EVERY = 10.0
_LATE = 10.0
"""Seconds to wait for the report of a cancelled run whose process no longer holds its rows."""
_SILENCE = 60.0
"""Seconds for which an API may fail to answer before waiting gives up."""


class RemoteFlowRun:
    """A flow run of another process: reads its state from the API, and its report from `LOG`.

    Args:
        source: The session of the workspace whose rows it runs.
        flow_run: The last known state of the flow run.
        api: The local server, or None for the API that the user configured.
    """

    def __init__(self, source: Session, flow_run: FlowRun, *, api: LocalServer | None) -> None:
        self._source = source
        self._api = api
        self._seen = flow_run
        self.flow_run_id = str(flow_run.id)
        self.url = f"{page_of(api)}/runs/flow-run/{self.flow_run_id}"

    @classmethod
    def find(cls, source: Session, flow_run_id: str, *, api: LocalServer | None) -> "RemoteFlowRun":
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
            with pointed_at(api), get_client(sync_client=True) as client:
                flow_run = client.read_flow_run(identity)
        except ObjectNotFound:
            raise missing from None
        place = flow_run.parameters.get("workspace")
        if place is None or place_of(place) != place_of(source.config.files[0]):
            raise NotFoundError(
                f"the flow run {flow_run_id} is of {place or 'no workspace'}, not of this one",
                "Ask the workspace that it runs.",
            )
        return cls(source, flow_run, api=api)

    @property
    def last_state(self) -> str:
        """The last known state, without a request to the API."""
        state = self._seen.state
        return "Pending" if state is None else str(state.name or state.type.value.capitalize())

    @property
    def state(self) -> str:
        """The present state, from the API."""
        self._look()
        return self.last_state

    def settle(self) -> None:
        """Wait for the end; a failed state is not raised."""
        self._until(None)

    def wait(self, timeout: float | None) -> RunReport:
        """Wait for the end and return the report.

        Raises:
            TimeoutError: The flow run is still running.
            ServerError: It ended without a report: it was refused, cancelled before it began, or lost.
        """
        if not self._until(timeout):
            raise TimeoutError(f"Flow run {self.flow_run_id} is still under way after {timeout:g} s")
        state = self._seen.state
        stored = self._stored_report(is_late=state is not None and state.is_cancelled())
        self._source.refresh()
        if stored is None or not stored.ended:
            reason = f": {state.message}" if state is not None and state.message else ""
            raise ServerError(
                f"the flow run did not come to its end, it is {self.last_state}{reason}",
                f"What is done is kept; its page is {self.url}.",
            )
        return stored.report

    def _stored_report(self, *, is_late: bool) -> StoredReport | None:
        """Read its stored report; for a cancelled run, wait: its process may still end its rows or write it."""
        end = time.monotonic() + _LATE
        while True:
            stored = read_report(self._source.log_store, self.flow_run_id)
            if stored is None or stored.ended or not is_late:
                return stored
            if stored.report.run_id in self._source.claims.alive():
                end = time.monotonic() + _LATE
            elif time.monotonic() > end:
                return stored
            time.sleep(_TICK)

    def cancel(self) -> None:
        """Request a cancel: its process ends the running rows, or the flow run never begins."""
        self._look()
        if self._seen.state is not None and self._seen.state.is_final():
            return  # the API would set an ended flow run to Cancelling again
        try:
            with pointed_at(self._api), get_client(sync_client=True) as client:
                client.set_flow_run_state(self._seen.id, State(type=StateType.CANCELLING))
        except Exception as error:
            raise ServerError(
                f"Prefect's API could not be asked to cancel the flow run: {type(error).__name__}: {error}",
                f"Its page is {self.url}.",
            ) from error

    def _until(self, timeout: float | None) -> bool:
        """Poll until the flow run has ended or the time is over; return whether it has ended."""
        begun = answered = checked = time.monotonic()
        # One client for all looks: a new one reads the certificates of all authorities each time.
        with pointed_at(self._api), get_client(sync_client=True) as client:
            while True:
                try:
                    self._look(client)
                    answered = time.monotonic()
                except ServerError:
                    if time.monotonic() - answered > _SILENCE:
                        raise
                if self._seen.state is not None and self._seen.state.is_final():
                    return True
                if time.monotonic() - checked > _LOST_EVERY:
                    self._mark_lost(client)
                    checked = time.monotonic()
                left = _TICK if timeout is None else min(_TICK, begun + timeout - time.monotonic())
                if left <= 0:
                    return False
                time.sleep(left)

    def _mark_lost(self, client: SyncPrefectClient) -> None:
        """Mark the flow run as Crashed if its process has died; no other program does it."""
        state = self._seen.state
        if state is not None and (state.is_running() or state.is_cancelling()):
            with suppress(Exception):
                clear_lost(client, self._source, [self._seen])

    def _look(self, client: SyncPrefectClient | None = None) -> None:
        try:
            with ExitStack() as stack:
                if client is None:
                    stack.enter_context(pointed_at(self._api))
                    client = stack.enter_context(get_client(sync_client=True))
                self._seen = client.read_flow_run(self._seen.id)
        except ObjectNotFound:
            raise NotFoundError(f"the flow run {self.flow_run_id} was deleted") from None
        except Exception as error:
            raise ServerError(
                f"Prefect's API could not be asked for the flow run: {type(error).__name__}: {error}"
            ) from error


def send(
    source: Session,
    deployment: str,
    parameters: Callable[[], Mapping[str, Any]],
    *,
    name: str,
    api: LocalServer | None,
    say: Callable[[str], None],
    parts: int = 1,
) -> RemoteFlowRun:
    """Start a flow run of a deployment.

    Args:
        source: The session of the workspace.
        deployment: The name of the deployment.
        parameters: Returns the parameters of the run; called after the deployment was found.
        name: The name of the flow run.
        api: The local server, or None for the API that the user configured.
        say: Receives messages: the URL of its page, and a hint if no worker polls for its runs.
        parts: The number of flow runs that are submitted together.

    Raises:
        NotFoundError: There is no such deployment.
        UsageError: The deployment would cancel some of the parts.
        ServerError: The API refused the run.
    """
    with pointed_at(api), get_client(sync_client=True) as client:
        target = deployment_named(client, deployment)
        _check_room(target, parts)
        with suppress(Exception):  # lost runs hold slots of the deployment, and this run would wait for them
            clear_lost(client, source, under_way(client, target.id))
        try:
            flow_run = client.create_flow_run_from_deployment(
                target.id, parameters=dict(parameters()), name=name
            )
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
