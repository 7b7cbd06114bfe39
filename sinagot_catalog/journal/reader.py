"""The journal's reader: reads the events of all runs, and the last state of each row.

The files in the `LOG` folder:

    journal/<run_id>/<process>.ndjson   events, one JSON object a line; one writer per file, lines only appended;
                                        in a bucket, in pieces (see `journal.upload`)
    journal/<run_id>/ended              empty: no process of the run writes any more
    journal/compact-<n>.parquet         events of ended runs, merged; names the folders that it replaces
    claims/<n>.json                     one run's claim; made create-only, n orders the runs
    claims/<run_id>.parquet             the rows of that claim
    claims/<run_id>.beat                the heartbeat: touched while the run is alive
    .staging/<run_id>/<process>/        what its scripts write, until it is moved to its final path
    <record_id>.log, .log.1 ... .log.5  lines of sinagot itself, read only

The protocol of claims is in `journal.claims`, that of compaction in `journal.compaction`.

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

    Each item of `made` is an object: `path`, and for a folder `fingerprint` (see `storage.local.fingerprints`),
    `count`, `bytes` and `names` (null for more than 1,000). In `publishing` an undeclared file has a `fingerprint`,
    too: its row may be killed before it publishes the file. A `done` of an older version lacks `made`; if `made` is
    there, even empty, it is complete. `inputs` of `done` and `accepted` holds for each input the size and time of a
    file, or the bytes, number of files and fingerprint (as a signed number) of a folder; null if nothing is known
    of it. `code` is the hash of the step's code (see `scripts.code_hash`). `journal.output_ownership` defines what
    a row may replace; compaction and `gc` keep the last `done` and the last `publishing` line of each row for it.
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
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import polars as pl

from sinagot_catalog.errors import AbsentError
from sinagot_catalog.journal.compaction import ENDED, compact_names, merge_ended, read_compact
from sinagot_catalog.journal.event_lines import LINE, LINE_EVENTS, ORDER, from_lines
from sinagot_catalog.journal.seed_log import from_seed, is_seed_log
from sinagot_catalog.journal.upload import process_of, unread_part
from sinagot_catalog.schema import KEYS, TIME
from sinagot_catalog.storage import Store

_TRIES = 5
"""How often a look is tried while other runs merge the files that it reads."""
_LINES = re.compile(r"journal/[^/]+/[^/]+\.ndjson")
"""The files with the events of runs."""

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
    "_inputs": LINE["inputs"],
    "_script": pl.String(),
    "_code": pl.String(),
    "_workspace": pl.String(),
    "_params": pl.String(),
    "_record": LINE["record"],
    "_claim": pl.Int64(),
    "_time": TIME,
}
"""The last state of a row: its last event that is a status, and when the attempt began."""


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
        for _ in range(_TRIES):
            with suppress(AbsentError):  # a run merged files while they were read; the merged file exists now
                return self._events()
        return self._events()

    def _events(self) -> pl.DataFrame:
        if self.store.is_local:
            # List folders first: a folder that is merged after this line is in the merged file that is read below.
            # If it is merged later still, reading its files fails, and `events` tries again.
            folders = self.store.folders("journal")
            merged, frames = self.compacted()
            seed = [name for name in self.store.names("") if is_seed_log(name)]
            paths = [*self.files_of(name for name in folders if name not in merged), *seed]
            sizes = dict(zip(paths, self.store.stat(paths).size, strict=True))
        else:
            sizes = self.store.tree("")
            merged, frames = self.compacted(path.removeprefix("journal/") for path in sizes)
            seed = [path for path in sizes if is_seed_log(path)]
        lines = [path for path in sizes if _LINES.fullmatch(path) and path.split("/")[1] not in merged]
        frames = [
            *frames,
            *self.read_files(lines, from_lines, sizes),
            *self.read_files(seed, from_seed, sizes),
        ]
        self._read = {path: self._read[path] for path in (*lines, *seed)}
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def of_runs(self, runs: Iterable[str]) -> pl.DataFrame | None:
        """The events of some runs, in order of time; None if the events of one run cannot be read separately."""
        files = [list(filter(_LINES.fullmatch, self.files_of([run]))) for run in runs]
        if not all(files):
            return None  # merged already
        try:
            frames = self.read_files([path for paths in files for path in paths], from_lines)
        except AbsentError:
            return None  # merged since
        return pl.concat([pl.DataFrame(schema=LINE_EVENTS), *frames]).sort("time", maintain_order=True)

    def compacted(self, names: Iterable[str] | None = None) -> tuple[set[str], list[pl.DataFrame]]:
        """The folders of merged runs, and their events.

        Args:
            names: The names of the files in `journal`, if they are known.
        """
        found = compact_names(self.store.names("journal") if names is None else names)
        if not found:
            return set(), []
        if self._merged is None or self._merged[0] != found[-1]:
            self._merged = found[-1], *read_compact(self.store, found[-1])
        return self._merged[1], [self._merged[2]]

    def read_files(
        self,
        paths: Sequence[str],
        parse: Callable[[bytes], pl.DataFrame],
        sizes: Mapping[str, int | None] | None = None,
    ) -> list[pl.DataFrame]:
        """Read files of lines, only those that have grown since the last call; of pieces each byte once."""
        whole = [path for path in paths if process_of(path) == path]  # a piece never changes
        if sizes is None:
            sizes = dict(zip(whole, self.store.stat(whole).size, strict=True))
        known = dict.fromkeys(paths, 0) | {path: sizes[path] for path in whole}
        new = [
            path for path, size in known.items() if size is None or self._read.get(path, (None,))[0] != size
        ]
        ends: dict[str, int] = {}
        for path in self._read:
            unread_part(path, b"", ends)
        contents = zip(new, self.store.read_all(new), strict=True)
        for _, of_process in groupby(contents, lambda file: process_of(file[0])):
            parts = {path: unread_part(path, content, ends) for path, content in of_process}
            frame = parse(b"".join(parts.values()))  # to parse each small piece takes 20 times as long
            self._read |= {path: (known[path], frame) for path in parts}
        frames = (self._read[path][1] for path in paths)
        return list({id(frame): frame for frame in frames}.values())

    def end(self, run_id: str) -> None:
        """Record that no process of a run writes any more."""
        if self.store.names(f"journal/{run_id}"):
            self.store.write(f"journal/{run_id}/{ENDED}", b"")

    compact = merge_ended

    def files_of(self, runs: Iterable[str]) -> list[str]:
        """The journal files of some runs."""
        return [f"journal/{run}/{name}" for run in runs for name in self.store.names(f"journal/{run}")]


def last_states(events: pl.DataFrame) -> pl.DataFrame:
    """The last state of each row that has an event: the columns of `LAST`."""
    if events.is_empty():
        return pl.DataFrame(schema=LAST)
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
            ended=pl.when(ended).then(pl.col("time")),
            _script="script_version",
            _code="code",
            _workspace="workspace_version",
            _params="params",
            _claim="claim",
            _time="time",
        )
        .select(*LAST)
    )


def with_states(last: pl.DataFrame, newer: pl.DataFrame) -> pl.DataFrame:
    """Last states, updated by those of further runs that are later."""
    both = pl.concat([last, newer]).sort("_claim", "_time", maintain_order=True)
    return both.unique(subset=list(KEYS), keep="last", maintain_order=True)


def new_run_id() -> str:
    """Make a name for a run; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
