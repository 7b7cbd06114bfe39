"""The journal's reader: reads the events of all runs, and merges the files of ended runs.

This docstring defines the protocols of the journal. The files in the `LOG` folder:

    journal/<run_id>/<process>.ndjson   events, one JSON object a line; one writer per file, lines only appended
    journal/<run_id>/ended              empty: no process of the run writes any more
    journal/compact-<n>.parquet         events of ended runs, merged; names the folders that it replaces
    claims/<n>.json                     one run's claim; made create-only, n orders the runs
    claims/<run_id>.parquet             the rows of that claim
    claims/<run_id>.beat                the heartbeat: touched while the run is alive
    .staging/<run_id>/<process>/        what its scripts write, until it is moved to its final path
    <record_id>.log, .log.1 ... .log.5  lines of sinagot itself, read only

The protocol of claims (`journal.claims` implements it):

    state      who writes it         what it means
    (none)                           the number is free; only the highest of claims and journal + 1 is tried
    live       the run, create-only  the run holds its rows as long as it is alive
    stopping   the run               as live; its processes on other hosts end their scripts
    live, gone                       the run is dead: its rows are free, the next run deletes the claim
    released   the run, at its end   its rows are free
    (deleted)  a later run           only released or dead claims, and never the highest number

    A run takes a row only when no live claim of a lower number holds it. So of two live runs the run with the
    higher number must have seen the lower claim. A run takes the number after the highest that it saw. If it is
    delayed before it writes the claim, other runs may already have higher numbers. So each claim names its
    predecessor. A claim is valid only when no higher number exists, or when the next higher claim names it; else
    the run deletes its claim and tries the next number. If the answer to a create is lost, the run recognizes its
    claim by the run id in it.

    A run is alive while its process is alive, if that can be checked: the host and its namespace of process ids
    must be the same, and boot id, pid and start time must agree. Else it is alive while its heartbeat is younger
    than its lease. The age is measured by the store's clock: the run that checks compares with the time of its own
    heartbeat. (A catalog writes nothing and uses this machine's clock; a wrong clock can only show a wrong
    PROCESSING.) A run that finds its claim gone was suspended for longer than its lease: it ends its scripts and
    gives up the remaining rows. It finds out within a quarter of the lease after it wakes up. Until then a row may
    run twice; its outputs are whole in any case. Each job checks its outputs again before it starts.

    Batches of a run may run on other hosts, on a cluster. They hold no claim themselves. Each of their processes
    reads the run's claim every few seconds, and ends its scripts when the claim is gone, released, dead (no
    heartbeat for a lease) or stopping. A process that starts such a batch makes `.staging/<run_id>/<batch>.begun`.
    If the file exists already, the process replaces a lost one, and reads from the journal which rows ended.

The protocol of a row, in the file of the process that runs it:

    event          status              written
    start          PROCESSING          before a row runs
    log            (none)              for each line of a script's logger, and each failed attempt
    publishing     PROCESSING          before several outputs, or a directory, are moved to their final paths;
                                       `paths` names them, `made` the folders and the undeclared files among them
    done           DONE                after all outputs are at their final paths; `made` names what only this line
                                       assigns to the row: its folders, and files that no output declares
    accepted       DONE                when the user accepts the present state of the outputs
    error          ERROR               after the last failed attempt, with its traceback; instead of start, if a
                                       file that no run made is at the path of an output
    not_available  DATA_NOT_AVAILABLE  instead of start, if an input is absent
    cancelled      INIT                for a started row of a run that was stopped

    Each item of `made` is an object: `path`, and for a folder `fingerprint` (see `storage.fingerprints`), `count`,
    `bytes` and `names` (null for more than 1,000). In `publishing` an undeclared file has a `fingerprint`, too: its
    row may be killed before it publishes the file. A `done` of an older version lacks `made`; if `made` is there,
    even empty, it is complete. `inputs` of `done` and `accepted` holds for each input the size and time of a file,
    or the bytes, number of files and fingerprint (as a signed number) of a folder; null if nothing is known of it.
    `code` is the hash of the step's code (see `scripts.code_hash`). `journal.ownership` defines what a row may
    replace; compaction and `gc` keep the last `done` and the last `publishing` line of each row for it.
    The last event of a row is the event with the highest claim number, which each line carries; at equal numbers
    time decides. A new number exceeds every number in claims and journal. A line without a number counts as 0.

    last event     run    outputs       the row is
    start          alive  any           PROCESSING
    start          dead   all there     DONE: the only output is moved by one rename
    start          dead   some missing  ERROR, lost; it runs again
    publishing     alive  any           PROCESSING
    publishing     dead   any           ERROR, half published; it runs again in any case
    done, accepted any    all there     DONE
    error          any    all there     DONE, kept; if it names paths: ERROR, half published
    any other      any    some missing  as the other status rules decide

The protocol of compaction: the files of a run are merged when it has written `ended`, or has not written for a day
(a run of another host that was only suspended may go on writing). The new file is made create-only and names what
it replaces before anything is deleted. It holds everything that the previous compacted file held: readers use the
highest number and skip the folders that it names. `gc` is a compaction that leaves out old events, except those
that decide the status of a row.
"""

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Any, TypeGuard

import polars as pl

from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.log_names import is_journal_file
from sinagot_catalog.schema import EVENTS, KEYS, STATUS, TIME
from sinagot_catalog.status import StepStatus
from sinagot_catalog.storage import Store

__all__ = [
    "LAST",
    "LINE_EVENTS",
    "ORDER",
    "Journal",
    "from_lines",
    "from_seed",
    "is_seed_log",
    "last_states",
    "new_run_id",
    "with_states",
]

SCHEMA = 1
_COMPACT_FROM = 100
_LOOKS = 5
_ENDED = "ended"
_DAY = 86_400.0
_LINE: dict[str, Any] = {
    "schema": pl.Int64(),
    "time": pl.String(),
    "event": pl.String(),
    "run_id": pl.String(),
    "claim": pl.Int64(),
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
    "code": pl.String(),
    "inputs": pl.List(pl.List(pl.Int64())),
    "paths": pl.List(pl.String()),
    "made": pl.List(
        pl.Struct(
            {
                "path": pl.String(),
                "fingerprint": pl.String(),
                "count": pl.Int64(),
                "bytes": pl.Int64(),
                "names": pl.List(pl.String()),
            }
        )
    ),
}
_HIDDEN = ("inputs", "paths", "made")
LINE_EVENTS: dict[str, Any] = {**EVENTS, **{f"_{name}": _LINE[name] for name in _HIDDEN}}
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
    "_code": pl.String(),
    "_workspace": pl.String(),
    "_claim": pl.Int64(),
    "_time": TIME,
}
"""The last state of a row: its last event that is a status, and when the attempt began."""

_KEPT = ("start", "publishing", "done", "accepted")
"""Compaction keeps the last event of each of these kinds for every row: when it began, and what it made."""
ORDER = ("claim", "time")
"""The order of events: clocks may be wrong, but claim numbers rise from run to run."""

_SEED_EVENTS = {0: "init", 20: "start", 30: "done", 40: "error", 41: "not_available"}
_COMPACT = re.compile(r"compact-(\d+)\.parquet")
_SEED_LOG = re.compile(r"(?s).+\.log(?:\.\d+)?")


class Journal:
    """Reads the events of every run.

    Args:
        store: The `LOG` folder.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[str, tuple[int | None, pl.DataFrame]] = {}
        self._merged: tuple[str, set[str], pl.DataFrame] | None = None

    def events(self) -> pl.DataFrame:
        """Every event in order of time: the columns of `EVENTS` and `_inputs`."""
        for _ in range(_LOOKS):
            try:
                return self._events()
            except StorageError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
                # A run merged files while they were read; the merged file exists now.
        return self._events()

    def _events(self) -> pl.DataFrame:
        # List folders first: a folder that is merged after this line is in the merged file that is read below. If
        # it is merged later still, reading its files fails, and `events` tries again.
        folders = self.store.folders("journal")
        merged, frames = self._compacted()
        runs = [name for name in folders if name not in merged]
        paths = [path for path in self._files_of(runs) if path.endswith(".ndjson")]
        frames += self._lines(paths, from_lines)
        seed = [name for name in self.store.names("") if is_seed_log(name)]
        frames += self._lines(seed, from_seed)
        self._read = {path: self._read[path] for path in (*paths, *seed)}
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def of_runs(self, runs: Iterable[str]) -> pl.DataFrame | None:
        """The events of some runs, in order of time; None if the events of one run cannot be read separately."""
        files = [[path for path in self._files_of([run]) if path.endswith(".ndjson")] for run in runs]
        if not all(files):
            return None  # merged already
        try:
            frames = self._lines([path for paths in files for path in paths], from_lines)
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            return None  # merged since
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def _compacted(self) -> tuple[set[str], list[pl.DataFrame]]:
        """The folders of merged runs, and their events."""
        names = self._compact_names()
        if not names:
            return set(), []
        if self._merged is None or self._merged[0] != names[-1]:
            content = io.BytesIO(self.store.read(f"journal/{names[-1]}"))
            try:
                merged = set(json.loads(pl.read_parquet_metadata(content).get("merged", "[]")))
                content.seek(0)
                self._merged = names[-1], merged, _completed(pl.read_parquet(content))
            except (pl.exceptions.PolarsError, OSError, ValueError) as error:
                raise StorageError(
                    f"{self.store.root}/journal/{names[-1]} cannot be read: it is no Parquet file",
                    "It holds the events of runs that ended; without it, rows stand as their files say.",
                ) from error
        return self._merged[1], [self._merged[2]]

    def _compact_names(self) -> list[str]:
        names = [name for name in self.store.names("journal") if _COMPACT.fullmatch(name)]
        return sorted(names, key=_number)

    def _lines(self, paths: list[str], parse: Callable[[bytes], pl.DataFrame]) -> list[pl.DataFrame]:
        """Read files of lines, only those that have grown since the last call."""
        sizes = self.store.stat(paths).size
        frames = []
        for path, size in zip(paths, sizes, strict=True):
            known = self._read.get(path)
            if known is None or size is None or known[0] != size:
                known = self._read[path] = (size, parse(self.store.read(path)))
            frames.append(known[1])
        return frames

    def end(self, run_id: str) -> None:
        """Record that no process of a run writes any more."""
        if self.store.names(f"journal/{run_id}"):
            self.store.write(f"journal/{run_id}/{_ENDED}", b"")

    def compact(
        self,
        alive: frozenset[str],
        *,
        least: int = _COMPACT_FROM,
        now: float | None = None,
        since: datetime | None = None,
    ) -> bool:
        """Merge the files of ended runs into one, if there are many.

        The new file names what it replaces before anything is deleted, so a concurrent reader sees each event once.

        Args:
            alive: The runs that are alive.
            least: The number of files from which merging is worthwhile.
            now: The store's time, by default this machine's.
            since: Leave out older events, except those that decide the status of a row.

        Returns:
            Whether files were merged.
        """
        old = self._compact_names()
        folders = self.store.folders("journal")
        merged, frames = self._compacted()
        ended = self._ended([name for name in folders if name not in merged | alive], now)
        if len([path for path in ended if path.endswith(".ndjson")]) < least:
            return False
        frames += self._lines([path for path in ended if path.endswith(".ndjson")], from_lines)
        events = pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)
        kept = events if since is None else _thinned(events, since)
        content = io.BytesIO()
        names = sorted({path.split("/")[1] for path in ended} | merged.intersection(folders))
        kept.write_parquet(content, metadata={"merged": json.dumps(names), "schema": str(SCHEMA)})
        number = 1 + (_number(old[-1]) if old else 0)
        if not self.store.create(f"journal/compact-{number:08d}.parquet", content.getvalue()):
            return False  # another run merges them
        # Files that an earlier compaction merged but died before it deleted them.
        left = [
            one
            for one in self._files_of(merged.intersection(folders))
            if is_journal_file(one.rpartition("/")[2])
        ]
        self.store.delete([*ended, *left, *(f"journal/{name}" for name in old)])
        for name in names:
            self.store.prune(f"journal/{name}")
        return True

    def _ended(self, runs: list[str], now: float | None) -> list[str]:
        """The files of those runs in which no process writes any more."""
        now = datetime.now(UTC).timestamp() if now is None else now
        ended: list[str] = []
        for run in runs:
            files = [path for path in self._files_of([run]) if is_journal_file(path.rpartition("/")[2])]
            if f"journal/{run}/{_ENDED}" in files or _latest(self.store, files) < now - _DAY:
                ended += files
        return ended

    def _files_of(self, runs: Iterable[str]) -> list[str]:
        return [f"journal/{run}/{name}" for run in runs for name in self.store.names(f"journal/{run}")]


def _completed(events: pl.DataFrame) -> pl.DataFrame:
    """Events of an earlier version, with the columns that were added since."""
    absent = {name: dtype for name, dtype in LINE_EVENTS.items() if name not in events.columns}
    events = events.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in absent.items())
    return events.with_columns(pl.col("claim").fill_null(0)).select(*LINE_EVENTS)


def _number(name: str) -> int:
    """The number in the name of a file."""
    return int("".join(re.findall(r"\d+", name)[:1]) or 0)


def _latest(store: Store, paths: Sequence[str]) -> float:
    """When the newest of some files was written, in seconds; a file that is gone counts as just written."""
    times = store.stat(paths).modified
    return max((math.inf if one is None else one / 1e9 for one in times), default=math.inf)


def _thinned(events: pl.DataFrame, since: datetime) -> pl.DataFrame:
    """Events since a time, and of the older events those that decide the status of their row."""
    rows = events.sort(*ORDER, maintain_order=True).with_row_index("_at")
    states = rows.filter(pl.col("event") != "log")
    kinds = [states, *(states.filter(pl.col("event") == kind) for kind in _KEPT)]
    last = [one.unique(subset=list(KEYS), keep="last").select("_at") for one in kinds]
    stands = pl.col("_at").is_in(pl.concat(last).to_series().implode())
    return rows.filter(stands | (pl.col("time") >= since)).drop("_at").sort("time", maintain_order=True)


def is_seed_log(name: str) -> bool:
    """Whether a name directly in the `LOG` folder is the name of a log of sinagot itself."""
    return "/" not in name and _SEED_LOG.fullmatch(name) is not None


def from_lines(content: bytes) -> pl.DataFrame:
    """Parse journal lines of this library; incomplete and foreign lines are left out."""
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
    """Parse log lines of sinagot itself: they have local times without a zone, and no run."""
    frame = _json_lines(content).filter(pl.col("step_label").is_not_null() & pl.col("event").is_null())
    local = frame.select(pl.col("time").str.slice(0, 26).str.to_datetime(time_unit="us", strict=False))
    time = local["time"] - _offsets(local["time"])
    event = pl.col("step_status").replace_strict(_SEED_EVENTS, default="log", return_dtype=pl.String)
    return _as_events(
        frame.with_columns(
            time.dt.replace_time_zone("UTC"), event.alias("event"), pl.lit(None, pl.String).alias("run_id")
        )
    )


def _offsets(local: pl.Series) -> pl.Series:
    """How far this machine's clock was ahead of UTC at its own local times; null if that is unknown.

    The offset is computed once for each hour. Nearly every zone changes at full hours. St. John's changed a minute
    past midnight until 2011; in such a zone, times between the full hour and the change are off by the change.
    """
    hours = local.dt.truncate("1h")
    known = hours.filter(hours.dt.year().is_between(MINYEAR, MAXYEAR)).unique()
    ahead = pl.Series([_offset(hour) for hour in known], dtype=pl.Duration("us"))
    return hours.replace_strict(known, ahead, default=None, return_dtype=pl.Duration("us"))


def _offset(hour: datetime) -> timedelta | None:
    """How far this machine's clock was ahead of UTC at that hour; None outside the range of its calendar."""
    try:
        return hour.astimezone().utcoffset()
    except (ValueError, OverflowError, OSError):
        return None


def _json_lines(content: bytes) -> pl.DataFrame:
    try:
        return _read_lines(content)
    except pl.exceptions.PolarsError:
        good = [line for one in content.splitlines() if (line := _cleaned(one)) is not None]
    try:
        return _read_lines(b"\n".join(good))
    except pl.exceptions.PolarsError:
        return pl.concat([pl.DataFrame(schema=_LINE), *filter(_is_frame, map(_one_line, good))])


def _read_lines(content: bytes) -> pl.DataFrame:
    return pl.read_ndjson(content, schema=_LINE, ignore_errors=True)


def _one_line(line: bytes) -> pl.DataFrame | None:
    try:
        return _read_lines(line)
    except pl.exceptions.PolarsError:
        return None


def _is_frame(value: object) -> TypeGuard[pl.DataFrame]:
    return isinstance(value, pl.DataFrame)


def _cleaned(line: bytes) -> bytes | None:
    """The known members of a line, in a form that every parser accepts; None if the line is no object."""
    try:
        document = json.loads(line)
        if not isinstance(document, dict):
            return None
        known = {name: document[name] for name in _LINE if name in document}
        return json.dumps(known, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


def _as_events(frame: pl.DataFrame) -> pl.DataFrame:
    names = {status.value: status.name for status in StepStatus}
    return frame.select(
        *("time", "event", "run_id", pl.col("claim").fill_null(0), "record_id", "task", "modality"),
        pl.col("step_label").alias("step"),
        pl.when(pl.col("event") != "log")
        .then(pl.col("step_status").replace_strict(names, default=None, return_dtype=STATUS))
        .alias("status"),
        *("message", "error_type", "traceback", "output", "seconds"),
        pl.col("attempts").cast(pl.UInt16, strict=False),
        *("host", "pid", "workspace_version", "script_version", "code"),
        *(pl.col(name).alias(f"_{name}") for name in _HIDDEN),
    ).select(*LINE_EVENTS)


def last_states(events: pl.DataFrame) -> pl.DataFrame:
    """The last state of each row that has an event: the columns of `LAST`."""
    keys = list(KEYS)
    states = events.filter(pl.col("event") != "log").sort(*ORDER, maintain_order=True)
    started = (
        states.filter(pl.col("event") == "start")
        .unique(subset=keys, keep="last", maintain_order=True)
        .select(*keys, pl.col("time").alias("started"))
    )
    ended = pl.col("event").is_in(["done", "accepted", "error", "not_available", "cancelled"])
    return (
        states.unique(subset=keys, keep="last", maintain_order=True)
        .join(started, on=keys, how="left", nulls_equal=True)
        .with_columns(
            # An error that names paths happened during publishing: some outputs may be new, some old.
            pl.when((pl.col("event") == "error") & pl.col("_paths").is_not_null())
            .then(pl.lit("half"))
            .otherwise(pl.col("event"))
            .alias("event"),
            pl.when(ended).then(pl.col("time")).alias("ended"),
            pl.col("script_version").alias("_script"),
            pl.col("code").alias("_code"),
            pl.col("workspace_version").alias("_workspace"),
            pl.col("claim").alias("_claim"),
            pl.col("time").alias("_time"),
        )
        .select(*LAST)
    )


def with_states(last: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
    """Last states, updated by those of further runs that are later."""
    both = pl.concat([last, newer]).sort("_claim", "_time", maintain_order=True)
    return both.unique(subset=list(KEYS), keep="last", maintain_order=True)


def new_run_id(*, now: datetime | None = None) -> str:
    """Make a name for a run; names sort by time."""
    return f"{(now or datetime.now(UTC)):%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
