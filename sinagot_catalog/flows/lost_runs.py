"""Lost flow runs of workers: finds them by their claim and marks them as Crashed, which frees their slots.

When a worker is killed with its flow, the API does not learn of it. The rows are free at once, or when the lease of
the run has run out, because the claims in the journal tell which runs are alive. But Prefect's page still shows the
flow run as Running, and it holds a slot of its deployment until Prefect's own lease runs out after five minutes.

A flow run is lost if its stored report (see `flow`) has not ended and its claim is neither released nor alive.
`crashed_runs` does the same for clients on this machine.
"""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

from sinagot_catalog.catalog import Session
from sinagot_catalog.journal import read_report

_ACTIVE = (StateType.RUNNING, StateType.CANCELLING)
_PAUSE = 3.0
"""Seconds between two checks: a run that ends releases its rows a moment before its report is stored."""


def clear_lost(client: SyncPrefectClient, source: Session, flow_runs: Sequence[FlowRun]) -> None:
    """Mark the lost runs among some flow runs as Crashed; a run must be lost in two checks.

    Args:
        client: The client of the API.
        source: The session of the workspace that they run.
        flow_runs: Some flow runs.
    """
    if not (lost := _lost(source, flow_runs)):
        return
    time.sleep(_PAUSE)
    for flow_run in _lost(source, [client.read_flow_run(flow_run.id) for flow_run in lost]):
        crashed: State[Any] = Crashed(message="The process that ran it is gone; what is done is kept")
        client.set_flow_run_state(flow_run.id, crashed, force=True)


def _lost(source: Session, flow_runs: Sequence[FlowRun]) -> list[FlowRun]:
    """The lost ones of some flow runs that are active according to the API."""
    active = [run for run in flow_runs if run.state is not None and run.state.type in _ACTIVE]
    return [run for run in active if is_lost(source, run)]


def is_lost(source: Session, flow_run: FlowRun) -> bool:
    """Whether a flow run began, did not end, and has no live run.

    An attempt without a stored report is not lost. Nor is an attempt that released its rows: its report follows.
    """
    stored = read_report(source.log_store, str(flow_run.id))
    if stored is None or stored.ended or not stored.is_claimed or stored.attempt != flow_run.run_count:
        return False
    claim = next((claim for claim in source.claims.all() if claim.run_id == stored.report.run_id), None)
    if claim is None:
        return True  # a later run swept the dead claim
    return claim.state != "released" and not source.claims.is_alive(claim, source.claims.store_time())


def under_way(client: SyncPrefectClient, deployment_id: UUID) -> list[FlowRun]:
    """The active flow runs of a deployment according to the API, without the flow run that calls this."""
    active = {
        "deployment_id": {"any_": [deployment_id]},
        "state": {"type": {"any_": list(_ACTIVE)}},
    }
    flow_runs = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(active), limit=50)
    return [flow_run for flow_run in flow_runs if str(flow_run.id) != str(runtime.flow_run.id)]
