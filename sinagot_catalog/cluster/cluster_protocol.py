"""The protocol of a cluster: what the executor asks of Dask and of Ray."""

from collections.abc import Mapping
from typing import Any, Protocol

from sinagot_catalog.journal import Resources


class LostError(Exception):
    """The cluster process that ran a batch is gone."""


class Cluster(Protocol):
    """A connected cluster: calls `run_batch` remotely. Methods may be called from many threads."""

    @property
    def dashboard(self) -> str | None:
        """The address of its dashboard, None without one."""

    def width(self) -> int:
        """How many calls can run at a time."""

    def offers(self) -> list[Mapping[str, float]]:
        """The resources of each worker or node that is there."""

    def send(self, name: str, need: Resources, *arguments: Any) -> Any:
        """Call `run_batch` on the cluster; returns a future of the cluster's library.

        Args:
            name: The name of the batch.
            need: What it needs; what is 0 is not asked for.
            arguments: The arguments of `run_batch`.
        """

    def result(self, sent: Any, seconds: float) -> bytes | None:
        """Wait for the result of a call; None if it has not arrived yet.

        Raises:
            LostError: When it will never arrive.
        """

    def forget(self, sent: Any) -> None:
        """Cancel a call whose result is no longer needed."""

    def close(self) -> None:
        """Disconnect from the cluster; a cluster that this object started ends."""
