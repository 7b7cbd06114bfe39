"""Deployment parameters: reads what a deployment was made for, and mutes a misleading traceback on workers."""

import logging
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, FailedRun

from sinagot_catalog.errors import SinagotError


def _is_no_returned_state(record: logging.LogRecord) -> bool:
    """Drop the log record of Prefect's engine for a flow that returned Failed or Cancelled: the state is enough.

    The engine treats such a state as an uncaught exception, and writes a traceback of its own code into the log.
    """
    returned = (FailedRun, CancelledRun, SinagotError)
    return not (record.exc_info and isinstance(record.exc_info[1], returned))


def deployment_parameters() -> dict[str, Any] | None:
    """The parameters of the deployment that this flow run belongs to.

    A person who starts a run can choose the parameters of the run, but not these parameters of the deployment. So
    `config.permissions` checks a run against them.

    Returns:
        The parameters, or None if the user called the flow directly or as a subflow.
    """
    deployment_id = own_deployment()
    if deployment_id is None:
        return None
    for name in ("prefect.flow_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_is_no_returned_state)  # a repeated call adds nothing
    with get_client(sync_client=True) as client:
        return dict(client.read_deployment(deployment_id).parameters)


def own_deployment() -> UUID | None:
    """The deployment that this flow run itself belongs to, or None.

    Prefect's `runtime.deployment` gives a subflow the deployment of the flow around it. But the author of that flow
    wrote the call, so a subflow is not bound to the deployment's parameters.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    return flow_run.deployment_id if isinstance(flow_run, FlowRun) else None
