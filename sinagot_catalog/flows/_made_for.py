"""What a deployment was made for, as its own parameters say."""

from typing import Any
from uuid import UUID

from prefect import get_client, runtime

__all__ = ["made_for"]


def made_for() -> dict[str, Any] | None:
    """The parameters of the deployment that this flow run belongs to.

    They are those of the deployment itself: who starts a run chooses the run's parameters, not these.

    Returns:
        None where the flow was called by hand.
    """
    deployment_id = runtime.deployment.id
    if deployment_id is None:
        return None
    with get_client(sync_client=True) as client:
        return dict(client.read_deployment(UUID(str(deployment_id))).parameters)
