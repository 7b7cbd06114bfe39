"""Remote batches: the function that Dask and Ray call in a cluster process, on this or another host.

A cluster process has one pool of worker processes for each run that it serves, and writes its own journal files. It
holds no claim. It monitors the claim of the run (see `journal.claims`): when the run is over, it ends the scripts
that still run and closes the pool.

The first process that runs a batch creates `.staging/<run_id>/<batch>.begun`. A process that finds this file
replaces a lost process: it reads the journal and runs only the rows that have not ended.
"""

import json
import os
import pickle
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sinagot_catalog.errors import SinagotError, StorageError
from sinagot_catalog.journal import (
    FAILED,
    PIECE,
    Claim,
    ClaimMonitor,
    Claims,
    Group,
    JournalUploader,
    Line,
    LogTail,
    Remote,
    Result,
    RunSpec,
    Task,
    UnitStepSpec,
    close_spool,
    open_spool,
)
from sinagot_catalog.run import Pool
from sinagot_catalog.scripts import Mirror
from sinagot_catalog.storage import Store, TextReader, is_url, open_store

__all__ = ["BatchRequest", "BatchResult", "begun_path", "events_of", "from_text", "run_batch", "to_text"]

_LOOK_EVERY = 1.0
_LOOK_EVERY_REMOTE = 3.0
_ORPHANS_END = 2.5
"""Seconds after which the workers of a killed process have ended, too."""
_SEATS = 256
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


def to_text(answer: BatchResult) -> str:
    """Encode a batch result as one text.

    Example:
        >>> from_text(to_text(BatchResult([Result(3, "done", 0.5, 1, extras=("a.txt",))]))).results
        [Result(row=3, outcome='done', seconds=0.5, attempts=1, error_type=None, message=None, extras=('a.txt',))]
    """
    return json.dumps(answer)


def from_text(text: str) -> BatchResult:
    """Decode a batch result."""
    results, lines, more = json.loads(text)
    return BatchResult(
        [Result(*values)._replace(extras=tuple(values[-1])) for values in results],
        [(level, said) for level, said in lines],
        more,
    )


def begun_path(run_id: str, batch: str) -> str:
    """The path, below the `LOG` folder, of the file that marks a batch as started."""
    return f".staging/{run_id}/{batch}.begun"


def run_batch(order: bytes, batch: str) -> str:
    """Run a batch in this process.

    Args:
        order: A pickled `BatchRequest`.
        batch: The name of the batch, its groups and what their rows made before, as JSON. Without groups, the call
            only starts workers for later batches.

    Returns:
        The batch result as a text; see `from_text`.
    """
    name, groups, before = json.loads(batch)
    here = _serving(pickle.loads(order))  # noqa: S301 - `ClusterRunner` wrote it
    try:
        if not groups:
            here.start_workers()
            return to_text(BatchResult([]))
        results = here.run(
            name,
            [[(row, cell, record) for row, cell, record in one] for one in groups],
            {int(row): text for row, text in before.items()},
        )
        return to_text(BatchResult(results, *here.said()))
    finally:
        here.leave()


_SERVED: dict[str, "_Serving"] = {}
_LOCK = threading.Lock()


def _serving(order: BatchRequest) -> "_Serving":
    """The state of a run in this process; created with the first batch."""
    with _LOCK:
        here = _SERVED.get(order.spec.run_id)
        if here is None:
            here = _SERVED[order.spec.run_id] = _Serving(order)
        here.busy += 1
        return here


class _Serving:
    """The state of a run in a cluster process: the pool, the claim monitor and the journal uploader.

    Args:
        order: The run.
    """

    def __init__(self, order: BatchRequest) -> None:
        self.busy = 0
        self._run_id = order.spec.run_id
        self._prefix = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}-"
        options = _options(order)
        self._log = open_store(order.log, options.get("log"))
        self._follower = ClaimMonitor(Claims(self._log), order.claim)
        if self._follower.state() == "over":
            raise StorageError(
                f"{socket.gethostname()} finds no live claim of run {self._run_id} in {order.log}",
                "The run is over; or that folder does not lie on storage that all workers of the cluster share.",
            )
        spec = self._localised(order, options)
        self._spool = None if spec.remote is None else spec.remote.spool
        self._shipper = JournalUploader(self._log, spec.log, self._run_id) if is_url(order.log) else None
        self._said = None if self._shipper is None else LogTail(f"{spec.log}/journal/{self._run_id}")
        self._warm = 0
        self._pool = Pool(_SEATS, threads_per_worker=spec.threads_per_worker)
        self._pool.begin(spec, options, self._prefix)
        threading.Thread(target=self._follow, name=f"sinagot-follow-{self._run_id}", daemon=True).start()

    def _localised(self, order: BatchRequest, options: dict[str, dict[str, Any]]) -> RunSpec:
        """The run spec with the local folders of this host."""
        spec = order.spec
        if is_url(order.scripts):
            folder = Mirror(open_store(order.scripts, options["scripts"])).folder()
            cells = tuple(_moved(cell, spec.scripts, folder) for cell in spec.cells)
            spec = replace(spec, scripts=folder, cells=cells)
        if spec.remote is not None:
            spool = open_spool(f"{spec.run_id}-{self._prefix}", order.log)
            room = shutil.disk_usage(spool).free // (2 * (os.cpu_count() or 1))
            remote = Remote(order.log, spool, min(spec.remote.fetch_limit, room))
            spec = replace(spec, log=spool if is_url(order.log) else order.log, remote=remote)
        return spec

    def run(self, name: str, groups: Sequence[Group], before: Mapping[int, str]) -> list[Result]:
        """Run a batch; if another process lost it, only the rows that have not ended."""
        self._pool.add_provenance(before)
        is_first = self._log.create(begun_path(self._run_id, name), b"")
        known = {} if is_first else self._recovered(groups)
        tasks: list[Task] = [
            ([row for row in group if row[0] not in known], _failed(group, known), {}) for group in groups
        ]
        results = self._pool.run_tasks([task for task in tasks if task[0]])
        if not is_first:  # no row was done when the run was planned, so the lost process did it
            results = [
                one._replace(outcome="done") if one.outcome == "already_done" else one for one in results
            ]
        if self._shipper is not None:
            with suppress(StorageError):
                self._shipper.send_all()
        return [*known.values(), *results]

    def start_workers(self) -> None:
        """Start one more worker, before the first batch arrives."""
        with _LOCK:
            self._warm += 1
        self._pool.start_workers(self._warm)

    def said(self) -> tuple[Sequence[Line], int]:
        """The log lines since the last batch, if the sender cannot read the journal; and the number left out."""
        return ((), 0) if self._said is None else self._said.some(_MOST_LINES)

    def _recovered(self, groups: Sequence[Group]) -> dict[int, Result]:
        """The results of rows that a lost process ended, by row number."""
        time.sleep(_ORPHANS_END)
        rows = [row for group in groups for row in group]
        return {one.row: one for one in self._pool.recovered(rows, events_of(self._log, self._run_id))}

    def leave(self) -> None:
        """Count a batch as complete."""
        with _LOCK:
            self.busy -= 1

    def _follow(self) -> None:
        """Check the claim every few seconds; stop the pool unless it is live, and close it when it is over."""
        pause = _LOOK_EVERY if self._log.is_local else _LOOK_EVERY_REMOTE
        while True:
            time.sleep(pause)
            state = self._follower.state()
            if state != "live":
                self._pool.stop()
            if self._shipper is not None:
                with suppress(StorageError):
                    self._shipper.send_all()
            with _LOCK:
                if state == "over" and not self.busy:
                    del _SERVED[self._run_id]
                    break
        self._pool.close()
        if self._spool is not None:
            close_spool(self._spool)


def _failed(group: Group, known: dict[int, Result]) -> Group:
    return [row for row in group if row[0] in known and known[row[0]].outcome in FAILED]


def _moved(cell: UnitStepSpec, before: str, folder: str) -> UnitStepSpec:
    return replace(cell, script=f"{folder}/{os.path.relpath(cell.script, before)}") if cell.script else cell


def _options(order: BatchRequest) -> dict[str, dict[str, Any]]:
    """The storage options of a run: `[storage]` of its config if it is readable, else only the environment."""
    parts = {
        "dataset": order.spec.dataset,
        "outputs": order.spec.outputs,
        "log": order.log,
        "scripts": order.scripts,
    }
    remote = {part: root for part, root in parts.items() if is_url(root)}
    if not remote:
        return {}
    from sinagot_catalog.config import read_config

    try:
        config = read_config(order.config, read_text=TextReader())
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
        if piece := PIECE.fullmatch(name):
            start = seen.get(piece["name"], 0) - int(piece["start"])
            seen[piece["name"]] = max(seen.get(piece["name"], 0), int(piece["end"]))
            content = content[max(0, start) :]  # noqa: PLW2901 - pieces may overlap
        for line in content.splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event
