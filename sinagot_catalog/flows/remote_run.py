"""A flow run that goes on elsewhere: on the workers of a deployment, or in another process."""

import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import DeploymentStatus, FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from sinagot_catalog.catalog import Session
from sinagot_catalog.config import place_of
from sinagot_catalog.errors import NotFoundError, ServerError
from sinagot_catalog.flows.api import of_prefect
from sinagot_catalog.flows.deployer import deployment_named
from sinagot_catalog.flows.local_run import page_of, pointed_at
from sinagot_catalog.flows.local_server import LocalServer
from sinagot_catalog.flows.lost_runs import clear_lost, under_way
from sinagot_catalog.journal import RunReport, StoredReport, read_report

__all__ = ["RemoteFlowRun", "send"]

_TICK = 0.5
_LOST_EVERY = 10.0
_LATE = 10.0
"""Seconds within which the process of a run that was cancelled writes its report."""
_SILENCE = 60.0
"""Seconds for which an API may be away before waiting gives up."""


class RemoteFlowRun:
    """A flow run, looked at from afar: its state is the API's, its report lies beside the journal.

    Args:
        source: The workspace whose rows it runs.
        flow_run: The flow run as it was last seen.
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
            NotFoundError: The API knows of none.
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
                found = client.read_flow_run(identity)
        except ObjectNotFound:
            raise missing from None
        place = found.parameters.get("workspace")
        if place is None or place_of(place) != place_of(source.config.files[0]):
            raise NotFoundError(
                f"the flow run {flow_run_id} is of {place or 'no workspace'}, not of this one",
                "Ask the workspace that it runs.",
            )
        return cls(source, found, api=api)

    @property
    def last_state(self) -> str:
        """The state as it was last seen; the API is not asked."""
        state = self._seen.state
        return "Pending" if state is None else str(state.name or state.type.value.capitalize())

    @property
    def state(self) -> str:
        """The state now."""
        self._look()
        return self.last_state

    def settle(self) -> None:
        """Wait for the end, whatever it is."""
        self._until(None)

    def wait(self, timeout: float | None) -> RunReport:
        """Wait for the end and give the report.

        Raises:
            TimeoutError: It is still under way.
            ServerError: It ended without a report: it was refused, cancelled before it began, or lost.
        """
        if not self._until(timeout):
            raise TimeoutError(f"Flow run {self.flow_run_id} is still under way after {timeout:g} s")
        state = self._seen.state
        kept = self._kept(is_late=state is not None and state.is_cancelled())
        self._source.refresh()
        if kept is None or not kept.ended:
            told = f": {state.message}" if state is not None and state.message else ""
            raise ServerError(
                f"the flow run did not come to its end, it is {self.last_state}{told}",
                f"What is done is kept; its page is {self.url}.",
            )
        return kept.report

    def _kept(self, *, is_late: bool) -> StoredReport | None:
        """What is kept of its report; of a run that is called cancelled its process may be about to write it."""
        end = time.monotonic() + _LATE
        while True:
            kept = read_report(self._source.log_store, self.flow_run_id)
            if kept is None or kept.ended or not is_late or time.monotonic() > end:
                return kept
            time.sleep(_TICK)

    def cancel(self) -> None:
        """Ask for its end: rows under way are ended where it runs, or it never begins."""
        self._look()
        if self._seen.state is not None and self._seen.state.is_final():
            return  # from where the API would take it back into Cancelling
        try:
            with pointed_at(self._api), get_client(sync_client=True) as client:
                client.set_flow_run_state(self._seen.id, State(type=StateType.CANCELLING))
        except Exception as error:
            raise ServerError(
                f"Prefect's API could not be asked to cancel the flow run: {type(error).__name__}: {error}",
                f"Its page is {self.url}.",
            ) from error

    def _until(self, timeout: float | None) -> bool:
        """Look until it has ended, or the time is over; give whether it has ended."""
        begun = heard = asked = time.monotonic()
        while True:
            try:
                self._look()
                heard = time.monotonic()
            except ServerError:
                if time.monotonic() - heard > _SILENCE:
                    raise
            if self._seen.state is not None and self._seen.state.is_final():
                return True
            if time.monotonic() - asked > _LOST_EVERY:
                self._say_lost()
                asked = time.monotonic()
            left = _TICK if timeout is None else min(_TICK, begun + timeout - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)

    def _say_lost(self) -> None:
        """Tell the API where the process that ran it is gone, for nobody else does."""
        state = self._seen.state
        if state is not None and (state.is_running() or state.is_cancelling()):
            with suppress(Exception), pointed_at(self._api), get_client(sync_client=True) as client:
                clear_lost(client, self._source, [self._seen])

    def _look(self) -> None:
        try:
            with pointed_at(self._api), get_client(sync_client=True) as client:
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
) -> RemoteFlowRun:
    """Ask a deployment for a run.

    Args:
        source: The workspace.
        deployment: Its name.
        parameters: Gives the run's own; called when the deployment was found.
        name: What the run is called.
        api: The local server, or None for the API that the user configured.
        say: Takes lines for people: where its page is, and who is missing where nobody asks for its runs.

    Raises:
        NotFoundError: There is no such deployment.
        ServerError: The API refused the run.
    """
    with pointed_at(api), get_client(sync_client=True) as client:
        known = deployment_named(client, deployment)
        with suppress(Exception):  # they hold the slots of the deployment
            clear_lost(client, source, under_way(client, known.id))
        try:
            flow_run = client.create_flow_run_from_deployment(
                known.id, parameters=dict(parameters()), name=name
            )
        except PrefectHTTPStatusError as error:
            detail = f"HTTP {error.response.status_code}"
            with suppress(ValueError):
                detail = str(error.response.json().get("detail") or detail)
            raise ServerError(
                f"the deployment {deployment!r} did not take the run: {detail}",
                "It takes the rows of a workspace if it was made by `sinagot-catalog deploy` or `serve`.",
            ) from error
    remote = RemoteFlowRun(source, flow_run, api=api)
    say(f"{name}: {remote.url}")
    if known.status == DeploymentStatus.NOT_READY:
        say(_missing(known.work_pool_name))
    return remote


def _missing(pool: str | None) -> str:
    """Say what a run waits for of whose deployment nobody has asked for runs of late."""
    if pool is None:
        return "it waits until its deployment is served; where it is not:  sinagot-catalog serve"
    worker = of_prefect(f"prefect worker start --pool {shlex.quote(pool)}")
    return f"it waits for a worker; where none is up:  {worker}"
