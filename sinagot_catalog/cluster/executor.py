"""The cluster as executor: checks what may be sent to the cluster, and connects to it in the background."""

import threading
from collections.abc import Iterable, Sequence
from concurrent import futures
from typing import Self

from sinagot_catalog.catalog import Session
from sinagot_catalog.cluster.cluster_address import ClusterAddress
from sinagot_catalog.cluster.remote_batch import BatchRequest
from sinagot_catalog.cluster.runner import ClusterRunner
from sinagot_catalog.errors import UsageError
from sinagot_catalog.journal import Group, Result
from sinagot_catalog.run import OnResults, RunSetup
from sinagot_catalog.secrets import is_secret

_TICK = 0.5


class ClusterExecutor:
    """Runs the rows of a claimed run on a cluster.

    A thread connects, while the run connects to the Prefect server: both take seconds.

    Args:
        source: The session of the workspace.
        where: The cluster.
        workers: The largest number of batches at a time; None: as many as the cluster has room for.
        local_width: The number of workers of a cluster on this machine.
    """

    def __init__(
        self, source: Session, where: ClusterAddress, *, workers: int | None, local_width: int
    ) -> None:
        self._source = source
        self._where = where
        self._workers = workers
        self._local_width = local_width
        self._opened: futures.Future[ClusterRunner] | None = None
        self._is_stopping = False

    def start_workers(self, workers: int) -> Self:  # noqa: ARG002 - part of the protocol
        """Do nothing: the cluster starts its workers with the first batches."""
        return self

    def start(self, setup: RunSetup) -> Self:
        """Take a run, and connect in the background; a second call does nothing."""
        if self._opened is None:
            self._opened = futures.Future()
            thread = threading.Thread(
                target=self._open, args=(setup, self._opened), name="sinagot-cluster", daemon=True
            )
            thread.start()
        return self

    def _open(self, setup: RunSetup, opened: "futures.Future[ClusterRunner]") -> None:
        try:
            opened.set_result(self._connect(setup))
        except BaseException as error:  # noqa: BLE001 - `wait_started` raises it
            opened.set_exception(error)

    def _connect(self, setup: RunSetup) -> ClusterRunner:
        """Open the cluster of the workspace.

        Raises:
            UsageError: When the workers would need secrets that must not be sent; or the package is not installed.
            ServerError: When the cluster does not answer.
        """
        source, claim = self._source, setup.claim
        if claim is None:
            raise RuntimeError("a cluster runs only claimed rows")
        config = source.config
        kind = self._where.kind
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
        self._where.check()
        return ClusterRunner(
            self._where,
            BatchRequest(setup.spec, claim, config.log, config.scripts, config.files),
            source.log_store,
            workers=self._workers,
            request_stop=lambda: source.claims.request_stop(claim),
            log_buffer=setup.log_buffer,
            local_width=self._local_width,
            ready=setup.n_rows,
            provenance=setup.provenance,
            needs=setup.needs,
        )

    def wait_started(self) -> None:
        """Wait until the cluster is connected; raises the error of a failed connection."""
        self._runner()

    def _runner(self) -> ClusterRunner:
        if self._opened is None:
            raise RuntimeError("ClusterExecutor.start(setup) comes before any row")
        while not self._opened.done():  # short waits, so that Ctrl-C works
            futures.wait([self._opened], _TICK)
        runner = self._opened.result()
        if self._is_stopping:
            runner.stop()
        return runner

    def __enter__(self) -> Self:
        self.wait_started()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def width(self) -> int:
        """How many batches can run at a time; a cluster may grow and shrink."""
        return self._runner().width

    @property
    def dashboard(self) -> str | None:
        """The address of the dashboard of the cluster, None without one."""
        return self._runner().dashboard

    def run(self, groups: Iterable[Group], on_results: OnResults) -> None:
        """Run all groups as one batch."""
        on_results(self.run_batch(list(groups)))

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups on the cluster and wait for them."""
        return self._runner().run_batch(groups)

    def stop(self) -> None:
        """End running scripts within seconds; the remaining rows are cancelled."""
        self._is_stopping = True
        if self._opened is not None and self._opened.done() and self._opened.exception() is None:
            self._opened.result().stop()

    def close(self) -> None:
        """Disconnect, also if the cluster was never used; if it is not open yet, as soon as it is open."""
        if self._opened is not None:
            self._opened.add_done_callback(_close)


def _close(opened: "futures.Future[ClusterRunner]") -> None:
    if opened.exception() is None:
        opened.result().close()
