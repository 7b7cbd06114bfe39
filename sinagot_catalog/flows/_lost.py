"""Flow runs whose process is gone: Prefect goes on calling them Running, until somebody says so.

Nobody tells the API when a worker is killed with the flow that it runs. The rows are free at once, or when the
lease of the run has run out, for the journal's claims say who is alive; but the flow run stands in the page as
Running, and holds a slot of its deployment until Prefect's own lease runs out, which is five minutes. Here such
runs are found by their claim, and marked as Crashed, which gives the slot back.
"""

import time
from contextlib import suppress
from uuid import UUID

from prefect import get_client, runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from sinagot_catalog._kept import read_report
from sinagot_catalog._source import Source

__all__ = ["clear_lost", "is_lost", "mark_lost", "under_way"]

_PAUSE = 3.0
"""Seconds between two looks: a run that just ended gives its rows back a moment before its report is there."""


def is_lost(source: Source, flow_run_id: str) -> bool:
    """Whether a flow run began, did not end, and has no living run."""
    kept = read_report(source.log_store, flow_run_id)
    return kept is not None and not kept.ended and kept.report.run_id not in source.claims.alive()


def mark_lost(client: SyncPrefectClient, source: Source, flow_run_id: UUID) -> bool:
    """Mark a flow run as Crashed if it is lost, and was so a moment ago.

    Returns:
        Whether it was.
    """
    if not is_lost(source, str(flow_run_id)):
        return False
    time.sleep(_PAUSE)
    state = client.read_flow_run(flow_run_id).state
    if not is_lost(source, str(flow_run_id)) or (state is not None and state.is_final()):
        return False
    client.set_flow_run_state(
        flow_run_id, Crashed(message="The process that ran it is gone; what is done is kept"), force=True
    )
    return True


def under_way(client: SyncPrefectClient, deployment_id: UUID) -> list[FlowRun]:
    """The runs of a deployment that the API calls Running."""
    types = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            state=FlowRunFilterState(type=types),
        ),
        limit=50,
    )


def clear_lost(source: Source) -> None:
    """Mark the lost runs of the deployment that this flow run is of; a page with a stale line harms no row."""
    deployment_id = runtime.deployment.id
    if deployment_id is None:
        return
    with suppress(Exception), get_client(sync_client=True) as client:
        for flow_run in under_way(client, UUID(str(deployment_id))):
            if str(flow_run.id) != str(runtime.flow_run.id):
                mark_lost(client, source, flow_run.id)
