"""Flow runs whose process is gone: Prefect goes on calling them Running, until somebody says so.

Nobody tells the API when a worker is killed with the flow that it runs. The rows are free at once, or when the
lease of the run has run out, for the journal's claims say who is alive; but the flow run stands in the page as
Running, and holds a slot of its deployment until Prefect's own lease runs out, which is five minutes. Here such
runs are found by their claim, and marked as Crashed, which gives the slot back.
"""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

from sinagot_catalog.catalog import Session
from sinagot_catalog.journal import read_report

__all__ = ["clear_lost", "is_lost", "under_way"]

_PAUSE = 3.0
"""Seconds between two looks: a run that just ended gives its rows back a moment before its report is there."""


def clear_lost(client: SyncPrefectClient, source: Session, flow_runs: Sequence[FlowRun]) -> list[UUID]:
    """Mark as Crashed which of some flow runs are lost, and were so a moment ago.

    Args:
        client: The API.
        source: The workspace that they run.
        flow_runs: Runs that the API calls under way.

    Returns:
        The ids of those that were.
    """
    if not any(is_lost(source, one) for one in flow_runs):
        return []
    time.sleep(_PAUSE)
    lost = []
    for one in [client.read_flow_run(one.id) for one in flow_runs]:
        if not (one.state is None or one.state.is_final()) and is_lost(source, one):
            told: State[Any] = Crashed(message="The process that ran it is gone; what is done is kept")
            client.set_flow_run_state(one.id, told, force=True)
            lost.append(one.id)
    return lost


def is_lost(source: Session, flow_run: FlowRun) -> bool:
    """Whether a flow run began, did not end, and has no living run.

    An attempt that has told nothing yet is not lost, nor is one that gave its rows back: its report is on its way.
    """
    kept = read_report(source.log_store, str(flow_run.id))
    if kept is None or kept.ended or not kept.is_claimed or kept.attempt != flow_run.run_count:
        return False
    claim = next((one for one in source.claims.all() if one.run_id == kept.report.run_id), None)
    if claim is None:
        return True  # swept by a later run
    return claim.state != "released" and not source.claims.is_alive(claim, source.claims.store_time())


def under_way(client: SyncPrefectClient, deployment_id: UUID) -> list[FlowRun]:
    """The runs of a deployment that the API calls Running, but for the one that asks."""
    types = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
    found = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            state=FlowRunFilterState(type=types),
        ),
        limit=50,
    )
    return [one for one in found if str(one.id) != str(runtime.flow_run.id)]
