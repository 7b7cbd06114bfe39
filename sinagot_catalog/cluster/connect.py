"""The cluster connection of a run: checks what may be sent to the cluster, and opens it in the background."""

import threading
from collections.abc import Callable, Mapping
from concurrent import futures

from sinagot_catalog.catalog import Session
from sinagot_catalog.cluster.remote_batch import BatchRequest
from sinagot_catalog.cluster.runner import ClusterRunner, check_cluster
from sinagot_catalog.errors import UsageError
from sinagot_catalog.journal import LogBuffer
from sinagot_catalog.secrets import is_secret

__all__ = ["ClusterConnection", "open_cluster"]

_TICK = 0.5


class ClusterConnection:
    """A connection that a thread opens, while the run connects to the Prefect server: both take seconds.

    Args:
        open_runner: Opens the cluster.
    """

    def __init__(self, open_runner: Callable[[], ClusterRunner]) -> None:
        self._runner: futures.Future[ClusterRunner] = futures.Future()
        threading.Thread(target=self._open, args=(open_runner,), name="sinagot-cluster", daemon=True).start()

    def _open(self, open_runner: Callable[[], ClusterRunner]) -> None:
        try:
            self._runner.set_result(open_runner())
        except BaseException as error:  # noqa: BLE001 - `runner` raises it
            self._runner.set_exception(error)

    def runner(self) -> ClusterRunner:
        """Wait until the cluster is open, in short waits so that Ctrl-C works; raises the errors of opening."""
        while not self._runner.done():
            futures.wait([self._runner], _TICK)
        return self._runner.result()

    def close(self) -> None:
        """Close the cluster, also if it was never used; if it is not open yet, as soon as it is open."""
        self._runner.add_done_callback(_close)


def open_cluster(
    source: Session,
    order: BatchRequest,
    *,
    workers: int | None,
    ready: int,
    local_width: int,
    heard: LogBuffer,
    provenance: Mapping[int, str] | None = None,
) -> ClusterRunner:
    """Open the cluster of a workspace for a run.

    Args:
        source: The session of the workspace.
        order: The run, as a batch request without rows.
        workers: The largest number of batches at a time.
        ready: The largest number of workers to start before the first batch.
        local_width: The number of workers of a cluster on this machine.
        heard: Takes the log lines of scripts, if their journal cannot be read here.
        provenance: What rows made before, by their number; see `journal.ownership`.

    Raises:
        UsageError: When the workers would need secrets that must not be sent; or the package is not installed.
        ServerError: When the cluster does not answer.
    """
    config = source.config
    kind, address = config.prefect.task_runner, config.prefect.address
    if source.storage_options:
        raise UsageError(
            f"storage_options given in code do not travel to the workers of a {kind} cluster",
            "Write them into [storage] with ${ENV}, or rely on the environment of the workers.",
        )
    if any(map(is_secret, [*config.files, config.dataset, config.scripts, config.outputs, config.log])):
        raise UsageError(
            f"an address of the workspace holds a password, which a {kind} cluster would be told",
            "Put it into [storage] as ${NAME}, and the variable into the environment of the workers.",
        )
    check_cluster(kind, address)
    return ClusterRunner(
        "dask" if kind == "dask" else "ray",
        address,
        order,
        source.log_store,
        workers=workers,
        request_stop=lambda: source.claims.request_stop(order.claim),
        heard=heard,
        local_width=local_width,
        ready=ready,
        provenance=provenance,
    )


def _close(opened: futures.Future[ClusterRunner]) -> None:
    if opened.exception() is None:
        opened.result().close()
