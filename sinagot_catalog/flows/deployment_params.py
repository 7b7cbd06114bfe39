"""What a deployment was made for, as its own parameters say; and the manners of a run on a worker."""

import logging
from typing import Any
from uuid import UUID

from prefect import get_client, runtime
from prefect.exceptions import CancelledRun, FailedRun

__all__ = ["made_for"]


class _Plain(logging.Filter):
    """Drops what Prefect's engine says of a flow that returned Failed or Cancelled: its state says it already.

    It takes the state for an exception that nobody caught, and pours its own traceback into the run's log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], (FailedRun, CancelledRun)))


_PLAIN = _Plain()


def made_for() -> dict[str, Any] | None:
    """The parameters of the deployment that this flow run belongs to.

    They are those of the deployment itself: who starts a run chooses the run's parameters, not these.

    Returns:
        None where the flow was called by hand.
    """
    deployment_id = runtime.deployment.id
    if deployment_id is None:
        return None
    for name in ("prefect.flow_runs", "prefect.engine"):
        logging.getLogger(name).addFilter(_PLAIN)  # once, however often
    with get_client(sync_client=True) as client:
        return dict(client.read_deployment(UUID(str(deployment_id))).parameters)
