"""A Dask cluster: finds or makes the cluster of a run, calls `run_batch` there, and closes what it made."""

import inspect
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import Any

import distributed

from sinagot_catalog.cluster.cluster_address import ClusterAddress
from sinagot_catalog.cluster.cluster_protocol import LostError
from sinagot_catalog.cluster.remote_batch import run_batch
from sinagot_catalog.errors import ServerError, UsageError, did_you_mean
from sinagot_catalog.journal import Resources
from sinagot_catalog.run import declared, limits, this_machine

_TIMEOUT = 10
_MOST_PLANNED = 64
"""The number of workers that an adaptive cluster without a maximum is taken to grow to."""


class DaskCluster:
    """The Dask cluster of a run.

    Args:
        where: The cluster; without any value, threads of this process, each of which uses one worker process.
        workers: The number of these threads.

    Raises:
        UsageError: There is no such class of clusters, or it does not take the arguments.
        ServerError: The scheduler does not answer, or the cluster cannot start.
    """

    def __init__(self, where: ClusterAddress, workers: int) -> None:
        self._made = ExitStack()
        try:
            self._client = self._connected(where, workers)
        except BaseException:
            self._made.close()
            raise

    def _connected(self, where: ClusterAddress, workers: int) -> Any:
        if isinstance(where.given, distributed.Client):
            return where.given
        address = where.given if where.given is not None else where.address
        if address is None and where.scheduler_file is None:
            address = self._made.enter_context(_made(where) if where.cluster_class else _local(workers))
        try:
            client = distributed.Client(
                address, scheduler_file=where.scheduler_file, set_as_default=False, timeout=_TIMEOUT
            )
            return self._made.enter_context(client)
        except (OSError, TimeoutError, RuntimeError) as error:
            at = where.address or where.scheduler_file or "the cluster"
            raise ServerError(f"The Dask scheduler at {at} does not answer: {error}") from error

    def width(self) -> int:
        """How many calls can run at a time; workers that the cluster plans to start count, too."""
        threads = self._client.nthreads()
        present = int(sum(threads.values()))
        per_worker = max(1, present // max(1, len(threads)))
        cluster = self._client.cluster
        adaptive = getattr(cluster, "_adaptive", None)
        most = getattr(adaptive, "maximum", 0) if getattr(adaptive, "state", "") != "stopped" else 0
        most = _MOST_PLANNED if most == math.inf else int(most)
        return max(present, per_worker * max(most, len(getattr(cluster, "plan", ()))))

    @property
    def dashboard(self) -> str | None:
        """The address of the dashboard, None without one."""
        with suppress(Exception):  # a scheduler without a dashboard has no entry for it
            return str(self._client.dashboard_link or "") or None
        return None

    def offers(self) -> list[Mapping[str, float]]:
        """The resources of each worker."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return [worker["resources"] for worker in workers]

    def send(self, name: str, need: Resources, *arguments: Any) -> Any:
        """Call `run_batch` on the cluster."""
        key = f"rows-{name}-{id(self)}-{time.monotonic_ns()}"
        return self._client.submit(run_batch, *arguments, key=key, resources=declared(need) or None)

    def result(self, sent: Any, seconds: float) -> bytes | None:
        """Wait for the result of a call; None if it has not arrived yet."""
        try:
            # Without its result. `sent.result(timeout=...)` would give up the transfer of the result, which other
            # batches share, and distributed would then wait for that transfer for ever.
            sent.exception(timeout=seconds)
        except (TimeoutError, UnboundLocalError):
            # distributed raises the latter if a call is cancelled at the moment when the wait for it times out.
            return None
        try:
            return bytes(sent.result())
        except distributed.scheduler.KilledWorker as error:
            raise LostError from error
        except (distributed.client.FutureCancelledError, distributed.comm.CommClosedError) as error:
            raise ServerError(f"The Dask scheduler is gone: {error}") from error

    def forget(self, sent: Any) -> None:
        """Cancel a call."""
        sent.cancel()

    def close(self) -> None:
        """Close the client, and a cluster that was made for the run; not those of the caller."""
        self._made.close()


def _local(workers: int) -> Any:
    """A cluster of threads of this process."""
    return distributed.LocalCluster(
        processes=False, n_workers=1, threads_per_worker=workers, dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR, resources=limits(this_machine()),
    )  # fmt: skip


def _made(where: ClusterAddress) -> Any:
    """Make an object of the class of the config."""
    path = where.cluster_class or ""
    name = f"[prefect] cluster_class = {path!r}"
    module, _, label = path.rpartition(".")
    try:
        with _handlers_kept():
            library = import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise UsageError(f"{name} cannot be imported: {error}", f"pip install {package}") from error
    if not isinstance(cluster_type := getattr(library, label, None), type):
        near = did_you_mean(label, [attribute for attribute in dir(library) if not attribute.startswith("_")])
        raise UsageError(f"{name}: the module {module} has no class {label!r}{near}")
    try:
        cluster = cluster_type(**where.cluster_kwargs)
    except Exception as error:
        fault = UsageError if isinstance(error, TypeError) else ServerError
        raise fault(f"{name} cannot start with cluster_kwargs: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(cluster, "scheduler_address", None), str):
        raise UsageError(f"{name} is not a class of Dask clusters")
    if where.adapt_kwargs:
        try:
            _check_adapt(cluster, where.adapt_kwargs)
            cluster.adapt(**where.adapt_kwargs)
        except Exception as error:
            cluster.close()
            raise UsageError(f"{name} does not take adapt_kwargs: {error}") from error
    return cluster


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Import modules that set a signal handler, such as those of dask_jobqueue, without their handler.

    A thread cannot set one, and Ctrl-C must end the run in order.
    """
    real = signal.signal

    def only_in_main(number: Any, handler: Any) -> Any:
        in_main = threading.current_thread() is threading.main_thread()
        return real(number, handler) if in_main else signal.getsignal(number)

    signal.signal = only_in_main  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = real


def _check_adapt(cluster: Any, arguments: Mapping[str, Any]) -> None:
    """Check the names of arguments: Dask ignores unknown ones, and adapts without a maximum then."""
    makers = [vars(base)["adapt"] for base in type(cluster).__mro__ if "adapt" in vars(base)]
    parameters = {
        name for make in [*makers, distributed.Adaptive] for name in inspect.signature(make).parameters
    }
    for name in arguments:
        if name not in parameters:
            raise ValueError(f"{name!r} is not an argument of adapt{did_you_mean(name, sorted(parameters))}")
