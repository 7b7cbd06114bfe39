"""The cluster runner: sends the batches of a run to Dask or Ray. Only it and `dask_connection` import them.

Only rows and results are sent. The process of the run keeps the claim, the heartbeat and the report, and connects
to Prefect. So cluster workers need this package and access to the storage, but neither Prefect nor its API.
"""

import itertools
import json
import logging
import os
import pickle
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from sinagot_catalog.cluster.cluster_address import ClusterAddress
from sinagot_catalog.cluster.remote_batch import BatchRequest, begun_path, events_of, from_text, run_batch
from sinagot_catalog.errors import ServerError, SinagotError, UsageError
from sinagot_catalog.journal import NO_RESOURCES, Group, LogBuffer, Resources, Result, Row
from sinagot_catalog.run import RunContext, cancelled, check_fits, declared, largest
from sinagot_catalog.storage import Store

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


class _LostError(Exception):
    """The cluster process that ran a batch is gone."""


class _PendingError(Exception):
    """A batch still runs. A `TimeoutError` is an error of the batch itself, such as a disk that does not answer."""


class _Cluster(Protocol):
    """The interface of a cluster: calls `run_batch` remotely."""

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

    def result(self, sent: Any, seconds: float) -> str:
        """Wait for the result of a call.

        Raises:
            _PendingError: When the result has not arrived yet.
            _LostError: When it will never arrive.
        """

    def forget(self, sent: Any) -> None:
        """Cancel a call whose result is no longer needed."""

    @property
    def dashboard(self) -> str | None:
        """The address of the dashboard of the cluster, None without one."""

    def close(self) -> None:
        """Disconnect from the cluster; a cluster that this object started ends."""


class ClusterRunner:
    """Runs batches on a cluster; may be called from many threads.

    Args:
        where: The cluster.
        request: The run, as a batch request without rows.
        log: The `LOG` folder.
        workers: The largest number of batches at a time; None: as many as the cluster has room for.
        request_stop: Called once when the run ends early, to inform the cluster processes.
        log_buffer: Takes the log lines of scripts, if their journal cannot be read here.
        local_width: The number of workers of a cluster on this machine.
        ready: The largest number of workers to start before the first batch.
        provenance: What rows made before, by their number; sent with the rows.
        needs: What a row of each step needs.

    Raises:
        UsageError: A step needs more than any worker has.
    """

    def __init__(
        self,
        where: ClusterAddress,
        request: BatchRequest,
        log: Store,
        *,
        workers: int | None,
        request_stop: Callable[[], None],
        log_buffer: LogBuffer,
        local_width: int,
        ready: int = 0,
        provenance: Mapping[int, str] | None = None,
        needs: Mapping[str, Resources] | None = None,
    ) -> None:
        self._kind = where.kind
        self._request = pickle.dumps(request)
        self._context = RunContext(request.spec, provenance=provenance)
        self._log = log
        self._most = workers
        self._request_stop = request_stop
        self._log_buffer = log_buffer
        self._stopped: float | None = None
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._width = (float("-inf"), 0)
        self._cluster: _Cluster = (_Dask if where.kind == "dask" else _Ray)(where, local_width)
        self._is_closed = False
        self._fitting = {NO_RESOURCES}
        try:
            for step, need in (needs or {}).items():
                self._check_fits({step: need})
        except UsageError:
            self.close()
            raise
        self._start_calls: list[Any] = []  # kept: dropping the future cancels the call
        with suppress(Exception):  # if that fails, the first batch reports why
            self._start_calls += [
                self._send(f"ready-{n}", [], NO_RESOURCES) for n in range(min(ready, self.width, _MOST_READY))
            ]

    def close(self) -> None:
        """Disconnect from the cluster, and delete the files that only the run needed. Later calls do nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._cluster.close()
        self._context.close()
        if not self._log.is_local:
            with suppress(SinagotError):
                folder = begun_path(self._context.spec.run_id, "").rpartition("/")[0]
                self._log.delete(f"{folder}/{name}" for name in self._log.names(folder))

    @property
    def width(self) -> int:
        """How many batches can run at a time; a cluster may grow and shrink."""
        checked_at, width = self._width
        if time.monotonic() - checked_at > _WIDTH_EVERY:
            width = self._cluster.width()
            if not width and checked_at < 0:
                _logger.warning("The %s cluster has no workers yet; its batches wait", self._kind.title())
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
            self._check_fits(needs)
            with suppress(_LostError):
                return self._results(self._send(name, groups, largest(needs.values())), rows, needs)
        return self._lost_results(rows)

    def _check_fits(self, needs: Mapping[str, Resources]) -> None:
        """Check that a batch of these steps can run on a worker; without workers, this is not known yet.

        Raises:
            UsageError: None of the workers that are there can run it.
        """
        need = largest(needs.values())._replace(time=0.0)
        offers = [] if need in self._fitting else self._cluster.offers()
        if not offers:
            return
        amounts = declared(need)
        if any(all(offer.get(name, 0) >= amount for name, amount in amounts.items()) for offer in offers):
            self._fitting.add(need)
            return
        there = {name: max(offer.get(name, 0) for offer in offers) for name in amounts}
        where = f"the largest worker of the {self._kind.title()} cluster"
        for step, own in needs.items():
            check_fits(
                {step: own}, {name: there[name] for name in declared(own)}, where, _DECLARE[self._kind]
            )
        raise UsageError(
            f"steps {', '.join(needs)} need {', '.join(amounts)} together, and no worker of the "
            f"{self._kind.title()} cluster has all of them",
            _DECLARE[self._kind],
        )

    def _send(self, name: str, groups: Sequence[Group], need: Resources) -> Any:
        known = self._context.provenance
        before = {row[0]: known[row[0]] for group in groups for row in group if row[0] in known}
        return self._cluster.send(name, need, self._request, json.dumps([name, groups, before]))

    def _results(self, sent: Any, rows: Sequence[Row], needs: Mapping[str, Resources]) -> list[Result]:
        begun = time.monotonic()
        while True:
            try:
                result = from_text(self._cluster.result(sent, _TICK))
            except _PendingError:
                if self._stopped is not None and time.monotonic() - self._stopped > _GRACE:
                    self._cluster.forget(sent)
                    return cancelled(rows)
                if time.monotonic() - begun > _PATIENCE:
                    self._check_fits(needs)
            except (ImportError, AttributeError) as error:
                raise ServerError(
                    f"a worker of the {self._kind.title()} cluster cannot run the batch: {error}",
                    "Install the same version of sinagot-catalog there as here.",
                ) from error
            else:
                self._log_buffer.take(result.lines, result.more)
                return result.results

    def _lost_results(self, rows: Sequence[Row]) -> list[Result]:
        """The results of a batch that was lost twice: rows that ended keep their result, the others fail."""
        recovery = self._context.recovered(
            {row[0]: row for row in rows}, events_of(self._log, self._context.spec.run_id)
        )
        ended = {result.row: result for result in recovery[0]}
        message = f"the {self._kind.title()} workers that ran its batch were lost, again and again"
        results = []
        for row in rows:
            if row[0] not in ended:
                paths = recovery[1].get(row[0])
                with self._context.lines(row) as lines:
                    lines.error(
                        row[2], message, error_type="WorkerLost", seconds=0.0, attempts=1, paths=paths
                    )
            results.append(ended.get(row[0]) or Result(row[0], "error", 0.0, 1, "WorkerLost", message))
        return results

    def stop(self) -> None:
        """End running scripts within seconds; the remaining rows are cancelled."""
        if self._stopped is None:
            self._stopped = time.monotonic()
            with suppress(SinagotError, OSError):
                self._request_stop()


class _Dask:
    """A Dask cluster."""

    def __init__(self, where: ClusterAddress, workers: int) -> None:
        import distributed

        from sinagot_catalog.cluster.dask_connection import DaskConnection

        self._lost = (distributed.scheduler.KilledWorker,)
        self._gone = (distributed.client.FutureCancelledError, distributed.comm.CommClosedError)
        self._connection = DaskConnection(where, workers)
        self._client = self._connection.client

    def width(self) -> int:
        return self._connection.width()

    @property
    def dashboard(self) -> str | None:
        return self._connection.dashboard

    def offers(self) -> list[Mapping[str, float]]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return [worker["resources"] for worker in workers]

    def send(self, name: str, need: Resources, *arguments: Any) -> Any:
        key = f"rows-{name}-{id(self)}-{time.monotonic_ns()}"
        return self._client.submit(run_batch, *arguments, key=key, resources=declared(need) or None)

    def result(self, sent: Any, seconds: float) -> str:
        try:
            # Without its result. `sent.result(timeout=...)` would give up the transfer of the result, which other
            # batches share, and distributed would then wait for that transfer for ever.
            sent.exception(timeout=seconds)
        except (TimeoutError, UnboundLocalError) as error:
            # distributed raises the latter if a call is cancelled at the moment when the wait for it times out.
            raise _PendingError from error
        try:
            return str(sent.result())
        except self._lost as error:
            raise _LostError from error
        except self._gone as error:
            raise ServerError(f"The Dask scheduler is gone: {error}") from error

    def forget(self, sent: Any) -> None:
        sent.cancel()

    def close(self) -> None:
        self._connection.close()


def _keep_token_private() -> None:
    """Make the token of a local Ray cluster readable only by its owner: Ray itself writes it with the umask's mode.

    Any user who can read the token can run code on the cluster. Does nothing if Ray is configured to use another
    token.
    """
    makes_one = hasattr(sys.modules.get("ray._private.worker"), "enable_token_auth_by_default")
    mode = os.environ.get("RAY_AUTH_MODE", "token" if makes_one else "disabled")
    if mode.lower() != "token" or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        return
    token = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # Ray itself reports a home folder that is not writable
        token.parent.mkdir(mode=0o700, exist_ok=True)
        if not token.exists():
            descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - no other way to make it with this mode
                file.write(secrets.token_hex(32))
        elif token.stat().st_uid == os.getuid():
            token.chmod(0o600)


class _Ray:
    """A Ray cluster; without an address, one on this machine."""

    def __init__(self, where: ClusterAddress, workers: int) -> None:
        import ray

        address = where.address
        self._ray = ray
        self.dashboard: str | None = None
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            if address is None:
                _keep_token_private()
            own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
            try:
                context = ray.init(
                    address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    **own,
                )
            except Exception as error:  # Ray raises a plain Exception for a start that takes too long
                raise ServerError(
                    f"The Ray cluster at {address or 'this machine'} does not answer: {error}",
                    "A head that asks for a token wants RAY_AUTH_MODE=token here, and the token in "
                    "RAY_AUTH_TOKEN or ~/.ray/auth_token.",
                ) from error
            if context.dashboard_url:  # empty for a head without a dashboard
                self.dashboard = f"http://{context.dashboard_url}"
        # Ray would retry silently: instead, `run_batch` sends a lost batch again and knows which rows ended.
        self._call = ray.remote(num_cpus=1, max_retries=0)(run_batch)

    def width(self) -> int:
        return int(self._ray.cluster_resources().get("CPU", 0))

    def offers(self) -> list[Mapping[str, float]]:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        names = {"cpus": "CPU", "memory": "memory", "gpus": "GPU"}
        return [{name: node.get(own, 0) for name, own in names.items()} for node in nodes]

    def send(self, name: str, need: Resources, *arguments: Any) -> Any:
        options = {"num_cpus": need.cpus or 1, "num_gpus": need.gpus, "memory": need.memory or None}
        return self._call.options(name=f"rows {name}", **options).remote(*arguments)

    def result(self, sent: Any, seconds: float) -> str:
        errors = self._ray.exceptions
        try:
            return str(self._ray.get(sent, timeout=seconds))
        except errors.GetTimeoutError:
            raise _PendingError from None
        except errors.RayTaskError as error:
            raise (error.cause or error) from None
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        ) as error:
            raise _LostError from error

    def forget(self, sent: Any) -> None:
        self._ray.cancel(sent, force=True)

    def close(self) -> None:
        if self._is_ours:
            self._ray.shutdown()
