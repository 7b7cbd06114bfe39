"""The journal: what runs wrote down, and which run may touch which row.

What lies in the `LOG` folder:

    journal/<run_id>/<process>.ndjson   events, one JSON object a line; one writer per file, lines only appended
    journal/compact-<n>.parquet         events of ended runs, merged; names the folders and files it replaces
    claims/<n>.json                     one run's claim; made create-only, n orders the runs
    claims/<run_id>.parquet             the rows of that claim
    claims/<run_id>.beat                touched while the run lives
    <record_id>.log, .log.1 ... .log.5  lines of sinagot itself, read only

The protocol of claims:

    state      who writes it        what it means
    (none)                          the number is free; only max + 1 is ever tried
    live       the run, create-only its rows are its own as long as the run is alive
    released   the run, at its end  its rows are free
    (deleted)  a later run          only released or dead claims, and never the highest number

    A run takes a row only when no live claim of a lower number holds it. A number is made only after the one
    below it was seen, so of two runs the later one always sees the earlier one's claim. A run is alive while its
    process is (same host: boot, pid and start time agree), or while its beat is younger than its lease (another
    host). A run that died holds nothing. Rows are run at least once: each job looks at its outputs again first.

    event          status              written
    start          PROCESSING          before a row runs, and before each further attempt
    log            (none)              for each line of a script's logger
    publishing     PROCESSING          before several outputs, or a directory, are moved into place
    done           DONE                after the outputs are in place
    error          ERROR               after a failed attempt, with its traceback
    not_available  DATA_NOT_AVAILABLE  instead of start, where an input is absent
    cancelled      INIT                for a started row of a run that was stopped
"""

import io
import json
import os
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from sinagot_catalog._identity import boot_id, start_time
from sinagot_catalog._store import Store
from sinagot_catalog.errors import StorageError
from sinagot_catalog.schema import EVENTS, KEYS, STATUS, TIME
from sinagot_catalog.status import StepStatus

__all__ = [
    "LAST",
    "LINE_EVENTS",
    "SCHEMA",
    "Claim",
    "Claims",
    "Journal",
    "from_lines",
    "from_seed",
    "is_seed_log",
    "last_states",
]

SCHEMA = 1
_COMPACT_FROM = 100
_OVER: set[str] = set()
"""Runs of this process that have ended: it knows so even where it could not be written down."""
_LOOKS = 5
_LINE: dict[str, Any] = {
    "schema": pl.Int64(),
    "time": pl.String(),
    "event": pl.String(),
    "run_id": pl.String(),
    "record_id": pl.String(),
    "task": pl.String(),
    "modality": pl.String(),
    "step_label": pl.String(),
    "step_status": pl.Int64(),
    "message": pl.String(),
    "error_type": pl.String(),
    "traceback": pl.String(),
    "output": pl.String(),
    "seconds": pl.Float64(),
    "attempts": pl.Int64(),
    "host": pl.String(),
    "pid": pl.Int64(),
    "workspace_version": pl.String(),
    "script_version": pl.String(),
    "inputs": pl.List(pl.List(pl.Int64())),
    "paths": pl.List(pl.String()),
}
LINE_EVENTS: dict[str, Any] = {**EVENTS, "_inputs": _LINE["inputs"], "_paths": _LINE["paths"]}
LAST: dict[str, Any] = {
    **KEYS,
    "event": pl.String(),
    "run_id": pl.String(),
    "started": TIME,
    "ended": TIME,
    "seconds": pl.Float64(),
    "attempts": pl.UInt16(),
    "error_type": pl.String(),
    "message": pl.String(),
    "host": pl.String(),
    "_inputs": _LINE["inputs"],
    "_script": pl.String(),
    "_workspace": pl.String(),
}
"""The last state of a step: its last event that is a status, and when the attempt began."""

_SEED_EVENTS = {0: "init", 20: "start", 30: "done", 40: "error", 41: "not_available"}
_SEED_LOG = re.compile(r"(?s).+\.log(?:\.\d+)?")


class Journal:
    """Reads the events of every run.

    Args:
        store: The `LOG` folder.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[str, tuple[int | None, pl.DataFrame]] = {}
        self._merged: dict[str, tuple[set[str], pl.DataFrame]] = {}

    def events(self) -> pl.DataFrame:
        """Every event in order of time: the columns of `EVENTS` and `_inputs`."""
        for _ in range(_LOOKS):
            try:
                return self._events()
            except StorageError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                # a run that ended merged files while they were read: what it wrote is there now
        return self._events()

    def _events(self) -> pl.DataFrame:
        # Folders first: what is merged after this line is found merged below, what is merged later is missed there.
        folders = self.store.folders("journal")
        merged, frames = self._compacted()
        runs = [name for name in folders if name not in merged]
        frames += self._lines([path for path in self._files_of(runs) if path.endswith(".ndjson")], from_lines)
        seed = [name for name in self.store.names("") if is_seed_log(name)]
        frames += self._lines(seed, from_seed)
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def _compacted(self) -> tuple[set[str], list[pl.DataFrame]]:
        """The events of merged runs, and what they replace."""
        names = [name for name in self.store.names("journal") if name.endswith(".parquet")]
        self._merged = {name: self._merged.get(name) or self._read_compacted(name) for name in names}
        merged = {name for replaced, _ in self._merged.values() for name in replaced}
        return merged, [frame for name, (_, frame) in self._merged.items() if name not in merged]

    def _read_compacted(self, name: str) -> tuple[set[str], pl.DataFrame]:
        content = io.BytesIO(self.store.read(f"journal/{name}"))
        replaced = set(json.loads(pl.read_parquet_metadata(content).get("merged", "[]")))
        content.seek(0)
        return replaced, pl.read_parquet(content)

    def _lines(self, paths: list[str], parse: Callable[[bytes], pl.DataFrame]) -> list[pl.DataFrame]:
        """Read files of lines, only those that have grown since the last look."""
        sizes = self.store.stat(paths).size
        frames = []
        for path, size in zip(paths, sizes, strict=True):
            known = self._read.get(path)
            if known is None or size is None or known[0] != size:
                known = self._read[path] = (size, parse(self.store.read(path)))
            frames.append(known[1])
        return frames

    def compact(self, alive: frozenset[str], *, least: int = _COMPACT_FROM) -> bool:
        """Merge the files of ended runs into one, where there are many.

        The new file names what it replaces before anything is deleted, so a reader that comes between sees each
        event once.
        """
        old = [name for name in self.store.names("journal") if name.endswith(".parquet")]
        merged, frames = self._compacted()
        folders = self.store.folders("journal")
        runs = [name for name in folders if name not in merged | alive]
        paths = self._files_of(runs)
        if len(paths) < least:
            return False
        frames += self._lines(paths, from_lines)
        content = io.BytesIO()
        pl.concat(frames).sort("time", maintain_order=True).write_parquet(
            content, metadata={"merged": json.dumps(sorted({*runs, *old, *merged})), "schema": str(SCHEMA)}
        )
        number = 1 + max((int(found[0]) for name in old if (found := re.findall(r"\d+", name))), default=0)
        if self.store.create(f"journal/compact-{number:08d}.parquet", content.getvalue()):
            left = self._files_of(name for name in folders if name in merged)  # by one that died
            self.store.delete([*paths, *left, *(f"journal/{name}" for name in old)])
            return True
        return False

    def _files_of(self, runs: Iterable[str]) -> list[str]:
        return [f"journal/{run}/{name}" for run in runs for name in self.store.names(f"journal/{run}")]


def is_seed_log(name: str) -> bool:
    """Whether a name right in the `LOG` folder is that of a log of sinagot itself."""
    return "/" not in name and _SEED_LOG.fullmatch(name) is not None


def from_lines(content: bytes) -> pl.DataFrame:
    """Parse lines of ours; a torn or foreign line is left out."""
    frame = _json_lines(content).filter(pl.col("event").is_not_null() & pl.col("time").is_not_null())
    if frame.select((pl.col("schema") > SCHEMA).any()).item():
        raise StorageError(
            "the journal holds lines of a newer version of sinagot-catalog",
            "Upgrade with pip install -U sinagot-catalog.",
        )
    time = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
    return _as_events(frame.with_columns(time.dt.replace_time_zone("UTC"))).filter(
        pl.col("time").is_not_null()
    )


def from_seed(content: bytes) -> pl.DataFrame:
    """Parse lines of sinagot itself: local times without a zone, no run."""
    frame = _json_lines(content).filter(pl.col("step_label").is_not_null() & pl.col("event").is_null())
    offset = datetime.now().astimezone().utcoffset()
    time = pl.col("time").str.slice(0, 26).str.to_datetime(time_unit="us", strict=False) - pl.lit(offset)
    event = pl.col("step_status").replace_strict(_SEED_EVENTS, default="log", return_dtype=pl.String)
    return _as_events(
        frame.with_columns(
            time.dt.replace_time_zone("UTC"), event.alias("event"), pl.lit(None, pl.String).alias("run_id")
        )
    )


def _json_lines(content: bytes) -> pl.DataFrame:
    try:
        return pl.read_ndjson(content, schema=_LINE, ignore_errors=True)
    except pl.exceptions.PolarsError:
        good = b"\n".join(line for line in content.splitlines() if _is_object(line))
        return pl.read_ndjson(good, schema=_LINE, ignore_errors=True)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _as_events(frame: pl.DataFrame) -> pl.DataFrame:
    names = {status.value: status.name for status in StepStatus}
    return frame.select(
        *(name for name in ("time", "event", "run_id", "record_id", "task", "modality")),
        pl.col("step_label").alias("step"),
        pl.when(pl.col("event") != "log")
        .then(pl.col("step_status").replace_strict(names, default=None, return_dtype=STATUS))
        .alias("status"),
        *("message", "error_type", "traceback", "output", "seconds"),
        pl.col("attempts").cast(pl.UInt16, strict=False),
        *("host", "pid", "workspace_version", "script_version"),
        pl.col("inputs").alias("_inputs"),
        pl.col("paths").alias("_paths"),
    ).select(*LINE_EVENTS)


def last_states(events: pl.DataFrame) -> pl.DataFrame:
    """The last state of each step, a row per step that has any: the columns of `LAST`."""
    keys = list(KEYS)
    states = events.filter(pl.col("event") != "log")
    started = (
        states.filter(pl.col("event") == "start")
        .unique(subset=keys, keep="last", maintain_order=True)
        .select(*keys, pl.col("time").alias("started"))
    )
    ended = pl.col("event").is_in(["done", "error", "not_available", "cancelled"])
    return (
        states.unique(subset=keys, keep="last", maintain_order=True)
        .join(started, on=keys, how="left", nulls_equal=True)
        .with_columns(
            # an error that names paths came between two of them: some may be new, some old
            pl.when((pl.col("event") == "error") & pl.col("_paths").is_not_null())
            .then(pl.lit("half"))
            .otherwise(pl.col("event"))
            .alias("event"),
            pl.when(ended).then(pl.col("time")).alias("ended"),
            pl.col("script_version").alias("_script"),
            pl.col("workspace_version").alias("_workspace"),
        )
        .select(*LAST)
    )


@dataclass(frozen=True)
class Claim:
    """One run's hold on its rows."""

    number: int
    run_id: str
    host: str
    boot_id: str
    pid: int
    pid_start: str
    lease: float
    time: str
    state: str = "live"
    schema: int = SCHEMA

    @property
    def path(self) -> str:
        """Where the claim lies below the `LOG` folder."""
        return f"claims/{self.number:08d}.json"

    @property
    def is_ours(self) -> bool:
        """Whether the run is, or was, a process of this machine since it booted."""
        return self.host == socket.gethostname() and self.boot_id == boot_id()


class Claims:
    """Takes and gives back rows for runs.

    Args:
        store: The `LOG` folder.
        lease: For how many seconds a run of another host counts as alive after its last beat.
    """

    def __init__(self, store: Store, lease: float = 60.0) -> None:
        self.store = store
        self.lease = lease

    def all(self) -> list[Claim]:
        """Every claim that lies there, in order of number."""
        claims = []
        for name in self.store.names("claims"):
            if name.endswith(".json") and name.removesuffix(".json").isdecimal():
                try:
                    claims.append(Claim(**json.loads(self.store.read(f"claims/{name}"))))
                except (StorageError, ValueError, TypeError):
                    continue  # released and deleted by another run since it was listed
        return claims

    def alive(self) -> frozenset[str]:
        """The runs that are alive now."""
        return frozenset(claim.run_id for claim in self.all() if self.is_alive(claim))

    def is_alive(self, claim: Claim, *, asker: str | None = None) -> bool:
        """Whether a claim's run still goes on; `asker` is a run that has just written its beat."""
        if claim.state != "live" or claim.run_id in _OVER:
            return False
        if claim.is_ours:
            return start_time(claim.pid) == claim.pid_start
        beat = self.store.stat([f"claims/{claim.run_id}.beat"]).modified[0]
        return beat is not None and self._now(asker) - beat / 1e9 < claim.lease

    def _now(self, run_id: str | None) -> float:  # noqa: ARG002 - where the clock is another one, it matters
        """The time by the clock that beats are told by."""
        return datetime.now(UTC).timestamp()

    def take(self, run_id: str, rows: pl.DataFrame) -> tuple[Claim, pl.DataFrame]:
        """Claim rows for a run.

        Args:
            run_id: The run.
            rows: The columns of `KEYS`.

        Returns:
            The claim, and the rows that live runs with lower claims hold.
        """
        self.store.write(f"claims/{run_id}.parquet", _parquet(rows.select(*KEYS)))
        self.store.write(f"claims/{run_id}.beat", b"")
        claim = self._create(run_id)
        lower = [one for one in self.all() if one.number < claim.number]
        live = [one for one in lower if self.is_alive(one, asker=run_id)]
        gone = [one for one in lower if one not in live]
        self.store.delete(path for one in gone for path in _files(one))
        held = [
            pl.read_parquet(self.store.read(f"claims/{one.run_id}.parquet"))
            for one in live
            if self.store.exists(f"claims/{one.run_id}.parquet")
        ]
        return claim, pl.concat([pl.DataFrame(schema=KEYS), *held])

    def _create(self, run_id: str) -> Claim:
        for _ in range(1000):
            there = self.store.names("claims")
            numbers = [int(one.removesuffix(".json")) for one in there if re.fullmatch(r"\d+\.json", one)]
            claim = Claim(
                number=1 + max(numbers, default=0),
                run_id=run_id,
                host=socket.gethostname(),
                boot_id=boot_id(),
                pid=os.getpid(),
                pid_start=start_time(os.getpid()) or "",
                lease=self.lease,
                time=datetime.now(UTC).isoformat(),
            )
            if self.store.create(claim.path, json.dumps(asdict(claim)).encode()):
                return claim
        raise StorageError(
            f"no claim could be made in {self.store.root}/claims: other runs were always quicker"
        )

    def beat(self, claim: Claim) -> None:
        """Say that the run is alive."""
        self.store.write(f"claims/{claim.run_id}.beat", b"")

    def release(self, claim: Claim) -> None:
        """Give the rows back; the number stays taken."""
        _OVER.add(claim.run_id)
        self.store.write(claim.path, json.dumps({**asdict(claim), "state": "released"}).encode())
        self.store.delete(_files(claim)[1:])


def _files(claim: Claim) -> list[str]:
    return [claim.path, f"claims/{claim.run_id}.parquet", f"claims/{claim.run_id}.beat"]


def _parquet(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def new_run_id(*, now: datetime | None = None) -> str:
    """A name for a run that sorts by time."""
    return f"{(now or datetime.now(UTC)):%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
