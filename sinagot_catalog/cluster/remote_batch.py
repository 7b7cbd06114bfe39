"""A batch of a run in a process of a cluster, on this or another host: what Dask and Ray call.

Such a process has a pool of its own for each run that it serves, with workers as everywhere, and writes journal
files of its own. It holds no claim: it follows that of the run (see `_journal`), and when the run is over it ends
what still runs and lets go of the pool.
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
"""Seconds after which the workers of a process that was killed have ended, too."""
_SEATS = 256
_MOST_LINES = 300
"""Lines of scripts that go back with a batch: about what the log of a flow run takes while it lasts."""


@dataclass(frozen=True)
class BatchRequest:
    """What a process elsewhere needs to know of a run, beside its rows. No secret is in it.

    Attributes:
        spec: The run.
        claim: Its claim.
        log: The `LOG` folder, a path or a URL.
        scripts: The folder of the scripts, a path or a URL.
        config: The files of the workspace's config: read for `[storage]`, where they can be.
    """

    spec: RunSpec
    claim: Claim
    log: str
    scripts: str
    config: tuple[str, ...]


class BatchResult(NamedTuple):
    """What comes back of a batch.

    Attributes:
        results: What became of its rows.
        lines: What scripts said meanwhile, where only this process can read their journal at once.
        more: How many further lines there were.
    """

    results: list[Result]
    lines: Sequence[Line] = ()
    more: int = 0


def to_text(answer: BatchResult) -> str:
    """An answer as one text.

    Example:
        >>> from_text(to_text(Answer([Result(3, "done", 0.5, 1, extras=("a.txt",))]))).results
        [Result(row=3, outcome='done', seconds=0.5, attempts=1, error_type=None, message=None, extras=('a.txt',))]
    """
    return json.dumps(answer)


def from_text(text: str) -> BatchResult:
    """The answer that a text holds."""
    results, lines, more = json.loads(text)
    return BatchResult(
        [Result(*values)._replace(extras=tuple(values[-1])) for values in results],
        [(level, said) for level, said in lines],
        more,
    )


def begun_path(run_id: str, batch: str) -> str:
    """What says, below the `LOG` folder, that a batch was begun."""
    return f".staging/{run_id}/{batch}.begun"


def run_batch(order: bytes, batch: str) -> str:
    """Run a batch in this process.

    Args:
        order: An `BatchRequest`, pickled.
        batch: The name of the batch, its groups and what their rows made before, as JSON. Without groups, all gets
            ready for those that come.

    Returns:
        An answer; see `from_text`.
    """
    name, groups, before = json.loads(batch)
    here = _serving(pickle.loads(order))  # noqa: S301 - our own other half wrote it
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
    """What this process has for a run; made with its first batch."""
    with _LOCK:
        here = _SERVED.get(order.spec.run_id)
        if here is None:
            here = _SERVED[order.spec.run_id] = _Serving(order)
        here.busy += 1
        return here


class _Serving:
    """A run, as this process serves it.

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
        if self._follower.look() == "over":
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
        """The run with the folders of this host in it."""
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
        """Run a batch; of one that was lost elsewhere, the rows that did not end."""
        self._pool.add_provenance(before)
        is_first = self._log.create(begun_path(self._run_id, name), b"")
        known = {} if is_first else self._recovered(groups)
        tasks: list[Task] = [
            ([row for row in group if row[0] not in known], _failed(group, known), {}) for group in groups
        ]
        results = self._pool.run_tasks([task for task in tasks if task[0]])
        if not is_first:  # none of them was done when the run was planned
            results = [
                one._replace(outcome="done") if one.outcome == "already_done" else one for one in results
            ]
        if self._shipper is not None:
            with suppress(StorageError):
                self._shipper.send_all()
        return [*known.values(), *results]

    def start_workers(self) -> None:
        """Start one more worker, before there is something to do."""
        with _LOCK:
            self._warm += 1
        self._pool.start_workers(self._warm)

    def said(self) -> tuple[Sequence[Line], int]:
        """What scripts said since the last batch, where whoever sent it cannot read it; and how many lines more."""
        return ((), 0) if self._said is None else self._said.some(_MOST_LINES)

    def _recovered(self, groups: Sequence[Group]) -> dict[int, Result]:
        """What became of rows that a process had which is gone, by number."""
        time.sleep(_ORPHANS_END)
        rows = [row for group in groups for row in group]
        return {one.row: one for one in self._pool.recovered(rows, events_of(self._log, self._run_id))}

    def leave(self) -> None:
        """Say that a batch is through."""
        with _LOCK:
            self.busy -= 1

    def _follow(self) -> None:
        """Look how the run stands, and end what it began here when it is over."""
        pause = _LOOK_EVERY if self._log.is_local else _LOOK_EVERY_REMOTE
        while True:
            time.sleep(pause)
            state = self._follower.look()
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
    """What opens the buckets of a run: `[storage]` of its config where that can be read, else the environment."""
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
    """The events of one run, those of one process in their order.

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
