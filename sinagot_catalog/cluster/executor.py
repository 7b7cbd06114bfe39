"""The cluster as executor: connects to the cluster in the background, and sends the batches of a run there.

Only rows and results are sent. The process of the run keeps the claim, the heartbeat and the report, and connects
to Prefect. So cluster workers need this package and access to the storage, but neither Prefect nor its API.
"""

import itertools
import logging
import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from contextlib import suppress
from typing import Self

from sinagot_catalog.catalog import Session
from sinagot_catalog.cluster.cluster_address import ClusterAddress
from sinagot_catalog.cluster.cluster_protocol import Cluster, LostError
from sinagot_catalog.cluster.remote_batch import BatchRequest, BatchResult, begun_path, events_of
from sinagot_catalog.errors import ServerError, SinagotError, UsageError
from sinagot_catalog.journal import NO_RESOURCES, Claim, Group, Resources, Result, Row, tasks_of
from sinagot_catalog.run import RunContext, RunSetup, cancelled, check_fits, declared, largest
from sinagot_catalog.secrets import is_secret

_TICK = 0.5
_GRACE = 20.0
_TRIES = 2
_WIDTH_EVERY = 2.0
_PATIENCE = 20.0
"""Seconds until a batch that no worker can run is refused: the workers of a cluster do not all come at once."""
_MOST_READY = 64
"""The largest number of workers to start before the first batch: in a large cluster, many may get no batch."""
_DECLARE = {
    "dask": 'Start its workers with what they have: dask worker --resources "cpus=8 memory=32e9 gpus=1".',
    "ray": "Ask for less in RESOURCES of the script or [steps.NAME] resources, or add a larger node.",
}

_logger = logging.getLogger("sinagot_catalog")


class ClusterExecutor:
    """Runs the rows of a claimed run on a cluster; may be called from many threads.

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
        self.where = where
        self._name = f"{where.kind.title()} cluster"
        self._source = source
        self._most = workers
        self._local_width = local_width
        self._opened: futures.Future[Cluster] | None = None
        self._stopped: float | None = None
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._width = (float("-inf"), 0)
        self._fitting = {NO_RESOURCES}
        self._is_closed = False
        self._ended = threading.Event()

    def start(self, setup: RunSetup) -> Self:
        """Take a run, and connect in the background; a second call does nothing."""
        if setup.claim is None:
            raise RuntimeError("a cluster runs only claimed rows")
        if self._opened is None:
            config = self._source.config
            request = BatchRequest(setup.spec, setup.claim, config.log, config.scripts, config.files)
            self._claim: Claim = setup.claim
            self._request = pickle.dumps(request)
            self._context = RunContext(setup)
            self._log_buffer = setup.log_buffer
            self._opened = futures.Future()
            arguments = (setup, self._opened)
            threading.Thread(target=self._open, args=arguments, name="sinagot-cluster", daemon=True).start()
        return self

    def _open(self, setup: RunSetup, opened: "futures.Future[Cluster]") -> None:
        try:
            cluster = self._connected(setup)
        except BaseException as error:  # noqa: BLE001 - `wait_started` raises it
            opened.set_exception(error)
            return
        opened.set_result(cluster)
        with self._lock, suppress(Exception):  # if that fails, the first batch reports why
            if self._is_closed:
                return
            n_ready = min(setup.n_rows, self.width, _MOST_READY)
            # kept: dropping the future cancels the call
            self._ready = [self._send(f"ready-{n}", [], NO_RESOURCES) for n in range(n_ready)]
        self._ended.wait()  # on Linux, the processes of a local Ray cluster die with the thread that started them

    def _connected(self, setup: RunSetup) -> Cluster:
        """Connect to the cluster.

        Raises:
            UsageError: When the workers would need secrets that must not be sent, a step needs more than any worker
                has, or the package is not installed.
            ServerError: When the cluster does not answer.
        """
        config = self._source.config
        if self._source.storage_options:
            raise UsageError(
                f"storage_options given in code do not travel to the workers of a {self._name}",
                "Write them into [storage] with ${ENV}, or rely on the environment of the workers.",
            )
        if any(map(is_secret, [*config.files, config.dataset, config.scripts, config.outputs, config.log])):
            raise UsageError(
                f"an address of the workspace holds a password, which a {self._name} would be told",
                "Put it into [storage] as ${NAME}, and the variable into the environment of the workers.",
            )
        self.where.check()
        cluster: Cluster
        if self.where.kind == "dask":
            from sinagot_catalog.cluster.dask_cluster import DaskCluster

            cluster = DaskCluster(self.where, self._local_width)
        else:
            from sinagot_catalog.cluster.ray_cluster import RayCluster

            cluster = RayCluster(self.where, self._local_width)
        try:
            for step, need in setup.needs.items():
                self._check_fits(cluster, {step: need})
        except UsageError:
            cluster.close()
            raise
        return cluster

    @property
    def _cluster(self) -> Cluster:
        """The cluster, once it is connected; raises the error of a failed connection."""
        if self._opened is None:
            raise RuntimeError("ClusterExecutor.start(setup) comes before any row")
        while not self._opened.done():  # short waits, so that Ctrl-C works
            futures.wait([self._opened], _TICK)
        return self._opened.result()

    def wait_started(self) -> None:
        """Wait until the cluster is connected; raises the error of a failed connection."""
        _ = self._cluster

    def __enter__(self) -> Self:
        self.wait_started()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def width(self) -> int:
        """How many batches can run at a time; a cluster may grow and shrink."""
        checked_at, width = self._width
        if time.monotonic() - checked_at > _WIDTH_EVERY:
            width = self._cluster.width()
            if not width and checked_at < 0:
                _logger.warning("The %s has no workers yet; its batches wait", self._name)
            self._width = time.monotonic(), width
        return max(1, min(width, self._most or width))

    @property
    def dashboard(self) -> str | None:
        """The address of the dashboard of the cluster, None without one."""
        return self._cluster.dashboard

    def run_batch(self, groups: Sequence[Group]) -> list[Result]:
        """Run some groups on the cluster and wait for them.

        A batch whose process is lost is sent once more; the journal tells which of its rows have ended.
        """
        rows = [row for group in groups for row in group]
        with self._lock:
            name = f"{next(self._names):06d}"
        cells = {row[1]: self._context.spec.cells[row[1]] for row in rows}
        needs = {cell.step: cell.resources for cell in cells.values() if any(cell.resources)}
        for _ in range(_TRIES):
            if self._stopped is not None:
                return cancelled(rows)
            self._check_fits(self._cluster, needs)
            with suppress(LostError):
                return self._results(self._send(name, groups, largest(needs.values())), rows, needs)
        return self._lost_results(rows)

    def _check_fits(self, cluster: Cluster, needs: Mapping[str, Resources]) -> None:
        """Check that a batch of these steps can run on a worker; without workers, this is not known yet.

        Raises:
            UsageError: None of the workers that are there can run it.
        """
        need = largest(needs.values())._replace(time=0.0)
        offers = [] if need in self._fitting else cluster.offers()
        if not offers:
            return
        amounts = declared(need)
        if any(all(offer.get(name, 0) >= amount for name, amount in amounts.items()) for offer in offers):
            self._fitting.add(need)
            return
        there = {name: max(offer.get(name, 0) for offer in offers) for name in amounts}
        hint = _DECLARE[self.where.kind]
        for step, own in needs.items():
            largest_worker = {name: there[name] for name in declared(own)}
            check_fits({step: own}, largest_worker, f"the largest worker of the {self._name}", hint)
        raise UsageError(
            f"steps {', '.join(needs)} need {', '.join(amounts)} together, and no worker of the "
            f"{self._name} has all of them",
            hint,
        )

    def _send(self, name: str, groups: Sequence[Group], need: Resources) -> object:
        before = self._context.provenance_of(tasks_of(groups))
        return self._cluster.send(name, need, self._request, pickle.dumps((name, groups, before)))

    def _results(self, sent: object, rows: Sequence[Row], needs: Mapping[str, Resources]) -> list[Result]:
        begun = time.monotonic()
        while True:
            try:
                answer = self._cluster.result(sent, _TICK)
            except (ImportError, AttributeError) as error:
                raise ServerError(
                    f"a worker of the {self._name} cannot run the batch: {error}",
                    "Install the same version of sinagot-catalog there as here.",
                ) from error
            if answer is not None:
                result: BatchResult = pickle.loads(answer)  # noqa: S301 - `run_batch` wrote it
                self._log_buffer.take(result.lines, result.more)
                return result.results
            if self._stopped is not None and time.monotonic() - self._stopped > _GRACE:
                self._cluster.forget(sent)
                return cancelled(rows)
            if time.monotonic() - begun > _PATIENCE:
                self._check_fits(self._cluster, needs)

    def _lost_results(self, rows: Sequence[Row]) -> list[Result]:
        """The results of a batch that was lost twice: rows that ended keep their result, the others fail."""
        events = events_of(self._source.log_store, self._context.spec.run_id)
        recovered, publishing = self._context.recovered({row[0]: row for row in rows}, events)
        ended = {result.row: result for result in recovered}
        message = f"the {self.where.kind.title()} workers that ran its batch were lost, again and again"
        for row in rows:
            if row[0] not in ended:
                paths = publishing.get(row[0])
                ended[row[0]] = self._context.fail(
                    row, "error", message, error_type="WorkerLost", seconds=0.0, attempts=1, paths=paths
                )
        return [ended[row[0]] for row in rows]

    def stop(self) -> None:
        """End running scripts within seconds; the remaining rows are cancelled."""
        if self._stopped is None:
            self._stopped = time.monotonic()
        if self._opened is not None:
            with suppress(SinagotError, OSError):
                self._source.claims.request_stop(self._claim)

    def close(self) -> None:
        """Disconnect, also if the cluster was never used; if it is not open yet, as soon as it is open."""
        if self._opened is not None:
            self._opened.add_done_callback(self._close)

    def _close(self, opened: "futures.Future[Cluster]") -> None:
        """Disconnect from the cluster, and delete the files that only the run needed. Later calls do nothing."""
        with self._lock:  # Ray would start a cluster of its own for a call that comes after the end
            if self._is_closed:
                return
            self._is_closed = True
        if opened.exception() is None:
            opened.result().close()
        self._ended.set()
        self._context.close()
        log = self._source.log_store
        if not log.is_local:
            with suppress(SinagotError):
                folder = begun_path(self._context.spec.run_id, "").rpartition("/")[0]
                log.delete(f"{folder}/{name}" for name in log.names(folder))
