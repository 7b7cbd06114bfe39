"""Remote batches: the function that Dask and Ray call in a cluster process, on this or another host.

A cluster process has one pool of worker processes for each run that it serves, and writes its own journal files. It
holds no claim. It monitors the claim of the run (see `journal.claims`): when the run is over, it ends the scripts
that still run and closes the pool.

The first process that runs a batch creates `.staging/<run_id>/<batch>.begun`. A process that finds this file
replaces a lost process: it reads the journal and runs only the rows that have not ended.
"""

import os
import pickle
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sinagot_catalog.errors import SinagotError, StorageError
from sinagot_catalog.journal import (
    Claim,
    ClaimMonitor,
    Claims,
    Group,
    Line,
    LogTail,
    Result,
    RunSpec,
    UnitStepSpec,
    parse_lines,
    unread_part,
)
from sinagot_catalog.run import Pool, RunSetup, Spool, gpus
from sinagot_catalog.scripts import Mirror
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import Store, TextReader, is_url, open_store

_CHECK_EVERY = 1.0
_CHECK_EVERY_REMOTE = 3.0
_ORPHANS_END = 2.5
"""Seconds after which the workers of a killed process have ended, too."""
_MOST_WORKERS = 256
_MOST_LINES = 300
"""The largest number of log lines that a batch returns: about as many as a flow run can log in that time."""


@dataclass(frozen=True)
class BatchRequest:
    """The data of a run that a cluster process needs, without the rows. It contains no secrets.

    Attributes:
        spec: The run.
        claim: The claim of the run.
        log: The `LOG` folder, a path or a URL.
        scripts: The scripts folder, a path or a URL.
        config: The config files of the workspace; read for `[storage]`, if they are readable there.
    """

    spec: RunSpec
    claim: Claim
    log: str
    scripts: str
    config: tuple[str, ...]


class BatchResult(NamedTuple):
    """The result of a batch.

    Attributes:
        results: The results of its rows.
        lines: The log lines of scripts, if only the cluster process can read their journal at once.
        more: The number of further log lines, which were left out.
    """

    results: list[Result]
    lines: Sequence[Line] = ()
    more: int = 0


def begun_path(run_id: str, batch: str) -> str:
    """The path, below the `LOG` folder, of the file that marks a batch as started."""
    return f".staging/{run_id}/{batch}.begun"


def run_batch(request: bytes, batch: bytes) -> bytes:
    """Run a batch in this process.

    All that is sent is pickled here: Dask and Ray would look for futures in it.

    Args:
        request: The `BatchRequest`.
        batch: The name of the batch, its groups and what their rows made before. Without groups, the call only
            starts workers for later batches.

    Returns:
        The `BatchResult`.
    """
    name, groups, before = pickle.loads(batch)  # noqa: S301 - `ClusterExecutor` wrote both
    served = _served(pickle.loads(request))  # noqa: S301
    try:
        if not groups:
            served.start_workers()
            return pickle.dumps(BatchResult([]))
        return pickle.dumps(BatchResult(served.run(name, groups, before), *served.log_lines()))
    finally:
        served.leave()


_SERVED: dict[str, "_ServedRun"] = {}
"""The runs that this process serves, by name: Dask and Ray call a function, and keep nothing between its calls."""
_LOCK = threading.Lock()


def _served(request: BatchRequest) -> "_ServedRun":
    """The state of a run in this process; created with the first batch."""
    with _LOCK:
        served = _SERVED.get(request.spec.run_id)
        if served is None:
            served = _SERVED[request.spec.run_id] = _ServedRun(request)
        served.busy += 1
        return served


class _ServedRun:
    """The state of a run in a cluster process: the pool, the claim monitor, and the spool of a run on a bucket.

    Args:
        request: The run.
    """

    def __init__(self, request: BatchRequest) -> None:
        self.busy = 0
        self._run_id = request.spec.run_id
        self._prefix = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}-"
        self._spool: Spool | None = None
        options = _options(request)
        self._log = open_store(request.log, options.get("log"))
        self._monitor = ClaimMonitor(Claims(self._log), request.claim)
        if self._monitor.state() == "over":
            raise StorageError(
                f"{socket.gethostname()} finds no live claim of run {self._run_id} in {request.log}",
                "The run is over; or that folder does not lie on storage that all workers of the cluster share.",
            )
        spec = self._localised(request, options)
        self._log_tail = LogTail(f"{spec.log}/journal/{self._run_id}") if is_url(request.log) else None
        self._n_workers = 0
        self._runs_done_rows = spec.force
        self._gives_gpus = any(cell.resources.gpus for cell in spec.cells)
        self._pool = Pool(_MOST_WORKERS, threads_per_worker=spec.threads_per_worker)
        self._pool.start(RunSetup(spec, options), self._prefix)
        threading.Thread(
            target=self._follow_claim, name=f"sinagot-follow-{self._run_id}", daemon=True
        ).start()

    def _localised(self, request: BatchRequest, options: dict[str, dict[str, Any]]) -> RunSpec:
        """The run spec with the local folders of this host."""
        spec = request.spec
        if is_url(request.scripts):
            folder = Mirror(open_store(request.scripts, options["scripts"])).folder()
            cells = tuple(_moved(cell, spec.scripts, folder) for cell in spec.cells)
            spec = replace(spec, scripts=folder, cells=cells)
        if spec.remote is not None:
            workers, suffix = os.cpu_count() or 1, f"-{self._prefix}"
            self._spool = Spool(request.log, self._log, self._run_id, workers=workers, suffix=suffix)
            spec = self._spool.spec(spec)
            if is_url(request.log):
                self._fetch_members(spec.log)
        return spec

    def _fetch_members(self, spool: str) -> None:
        """Copy the members of the run's groups from the bucket to the folder of this host."""
        folder = f".staging/{self._run_id}/members"
        paths = [f"{folder}/{name}" for name in self._log.names(folder)]
        for path, content in zip(paths, self._log.read_all(paths), strict=True):
            open_store(spool).write(path, content)

    def run(self, name: str, groups: Sequence[Group], before: Mapping[int, str]) -> list[Result]:
        """Run a batch; if another process lost it, only the rows that have not ended."""
        self._pool.add_provenance(before)
        if self._gives_gpus:
            self._pool.see_gpus(gpus())  # Ray gives others to each batch
        if self._log.create(begun_path(self._run_id, name), b""):
            results = self._pool.run_batch(groups)
        else:
            time.sleep(_ORPHANS_END)
            lost = () if self._runs_done_rows else ("already_done",)
            results = [
                # no row was done when the run was planned, so the lost process did it
                result._replace(outcome="done") if result.outcome in lost else result
                for result in self._pool.resume_batch(groups, events_of(self._log, self._run_id))
            ]
        if self._spool is not None:
            self._spool.send()
        return results

    def start_workers(self) -> None:
        """Start one more worker, before the first batch arrives."""
        with _LOCK:
            self._n_workers += 1
        self._pool.start_workers(self._n_workers)

    def log_lines(self) -> tuple[Sequence[Line], int]:
        """The log lines since the last batch, if the sender cannot read the journal; and the number left out."""
        return ((), 0) if self._log_tail is None else self._log_tail.some(_MOST_LINES)

    def leave(self) -> None:
        """Count a batch as complete."""
        with _LOCK:
            self.busy -= 1

    def _follow_claim(self) -> None:
        """Check the claim every few seconds; stop the pool unless it is live, and close it when it is over."""
        pause = _CHECK_EVERY if self._log.is_local else _CHECK_EVERY_REMOTE
        while True:
            time.sleep(pause)
            state = self._monitor.state()
            if state != "live":
                self._pool.stop()
            if self._spool is not None:
                self._spool.send()
            with _LOCK:
                if state == "over" and not self.busy:
                    del _SERVED[self._run_id]
                    break
        self._pool.close()
        if self._spool is not None:
            self._spool.close()


def _moved(cell: UnitStepSpec, before: str, folder: str) -> UnitStepSpec:
    return replace(cell, script=f"{folder}/{os.path.relpath(cell.script, before)}") if cell.script else cell


def _options(request: BatchRequest) -> dict[str, dict[str, Any]]:
    """The storage options of a run: `[storage]` of its config if it is readable, else only the environment."""
    parts = {
        "dataset": request.spec.dataset,
        "outputs": request.spec.outputs,
        "log": request.log,
        "scripts": request.scripts,
    }
    remote = {part: root for part, root in parts.items() if is_url(root)}
    if not remote:
        return {}
    from sinagot_catalog.config import read_config

    try:
        config = read_config(request.config, read_text=TextReader())
    except (SinagotError, OSError):
        return {part: {} for part in remote}
    return {part: config.options_of(root) for part, root in remote.items()}


def events_of(log: Store, run_id: str) -> Iterator[dict[str, Any]]:
    """The events of one run; the events of one process are in order.

    Args:
        log: The `LOG` folder.
        run_id: The run.
    """
    names = [name for name in log.names(f"journal/{run_id}") if name.endswith(".ndjson")]
    seen: dict[str, int] = {}
    for name, content in zip(
        names, log.read_all([f"journal/{run_id}/{name}" for name in names]), strict=True
    ):
        yield from parse_lines(unread_part(name, content, seen).splitlines())
