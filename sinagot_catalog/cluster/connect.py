"""The cluster of a workspace, opened for a run: what may be sent there, and what is waited for."""

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
    """A cluster that is opened in a thread, while a server is reached: both take seconds, and wait for others.

    Args:
        open_runner: Opens it.
    """

    def __init__(self, open_runner: Callable[[], ClusterRunner]) -> None:
        self._runner: futures.Future[ClusterRunner] = futures.Future()
        threading.Thread(target=self._open, args=(open_runner,), name="sinagot-cluster", daemon=True).start()

    def _open(self, open_runner: Callable[[], ClusterRunner]) -> None:
        try:
            self._runner.set_result(open_runner())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._runner.set_exception(error)

    def runner(self) -> ClusterRunner:
        """Wait until it is open, and look for a Ctrl-C in between; what went wrong is raised here."""
        while not self._runner.done():
            futures.wait([self._runner], _TICK)
        return self._runner.result()

    def close(self) -> None:
        """Let go of the cluster, also where nobody asked for it; one that is not open yet, as soon as it is."""
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
        source: The workspace.
        order: The run.
        workers: How many batches at most at a time.
        ready: How many workers get ready at once, at most.
        local_width: How many workers a cluster of this machine gets.
        heard: Takes what scripts say, where their journal cannot be read here.
        provenance: What rows made before, by their number.

    Raises:
        UsageError: Its workers would need what is not to be sent there; or the package is not installed.
        ServerError: It does not answer.
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
