"""The context of a run in the parent of its workers: spec, provenance, worker names, the journal of the parent."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

from sinagot_catalog.errors import PatternError, SinagotError
from sinagot_catalog.journal import (
    Event,
    JournalWriter,
    Members,
    Outcome,
    Result,
    Row,
    Task,
)
from sinagot_catalog.patterns import IdPattern
from sinagot_catalog.run.executor import RunSetup
from sinagot_catalog.storage import open_store
from sinagot_catalog.worker import clear_staging, staging_path


def cancelled(rows: Iterable[Row]) -> list[Result]:
    """Results of rows that will not run any more."""
    return [Result(row[0], "cancelled") for row in rows]


class RunContext:
    """What the worker slots of a run share in the parent: the spec, worker names, the parent's journal.

    Args:
        setup: The run.
        prefix: Prefix of the names of this parent's processes, if the run has several parents.
    """

    def __init__(self, setup: RunSetup, prefix: str = "") -> None:
        self.spec = spec = setup.spec
        self.prefix = prefix
        self.provenance = dict(setup.provenance)
        self.options = setup.options
        self.has_timeouts = any(cell.timeout is not None for cell in spec.cells)
        self.ids = IdPattern(spec.id_pattern)
        self._journal = JournalWriter.of(spec, f"{prefix}main")
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def provenance_of(self, tasks: Iterable[Task]) -> dict[int, str]:
        """The provenance of the rows of some tasks; only rows that have one."""
        provenance = self.provenance
        if not provenance:
            return {}
        return {row[0]: provenance[row[0]] for rows, _, _ in tasks for row in rows if row[0] in provenance}

    def name(self) -> str:
        """A new worker name: each worker writes its own journal file, so no name is used twice in a run."""
        return f"{self.prefix}w{next(self._numbers):02}"

    def write(self, event: Event, row: Row, message: str | None = None, **members: Unpack[Members]) -> None:
        """Write an event of a row into the parent's journal; ignores a disk error."""
        with self._lock, contextlib.suppress(OSError):
            lines = self._journal.step_lines(self.spec.cells[row[1]])
            lines.write(event, row[2], message, **members)

    def fail(self, row: Row, outcome: Outcome, message: str, **members: Unpack[Members]) -> Result:
        """Write the error of a row whose process is gone; return its result."""
        self.write("error", row, message, **members)
        seconds, attempts = members.get("seconds", 0.0), members.get("attempts", 1)
        return Result(row[0], outcome, seconds, attempts, members.get("error_type"), message)

    def outputs(self, row: Row) -> set[str]:
        """The relative paths of the declared outputs of a row."""
        cell = self.spec.cells[row[1]]
        values = self.ids.values_of(row[2], cell.by)
        with contextlib.suppress(PatternError):  # the id gives no valid path
            return set() if values is None else {port.template.format(values) for port in cell.outputs}
        return set()

    def is_published(self, row: Row) -> bool:
        """Whether a row that began has all its outputs in place.

        False for a row that is run again (`force`, `redo`): its outputs in place may be old.
        """
        outputs = self.outputs(row)
        if self.spec.force or row[0] in self.spec.redo or not outputs:
            return False
        with contextlib.suppress(SinagotError):
            store = open_store(self.spec.outputs, self.options.get("outputs"))
            return all(store.exists(output) for output in outputs)
        return False

    def recovered(
        self, open_rows: Mapping[int, Row], events: Iterable[Mapping[str, Any]]
    ) -> tuple[list[Result], dict[int, list[str]]]:
        """Read from events of this run what happened to rows whose results never arrived.

        Returns:
            The results of rows that ended, and the paths of rows that were publishing.
        """
        numbers: dict[tuple[Any, ...], int] = {}
        for row in open_rows.values():
            cell = self.spec.cells[row[1]]
            numbers[cell.task, cell.modality, cell.step, row[2]] = row[0]
        ended: dict[int, Result] = {}
        publishing: dict[int, list[str]] = {}
        for event in events:
            key = (event.get("task"), event.get("modality"), event.get("step_label"), event.get("record_id"))
            number = numbers.get(key)
            if number is None:
                continue
            if event["event"] == "start":
                publishing.pop(number, None)
                ended.pop(number, None)
            elif event["event"] == "publishing":
                publishing[number] = event["paths"]
                self._note_publishing(number, event)
            elif event["event"] in ("done", "error", "not_available"):
                declared = self.outputs(open_rows[number])
                extras = [path for path in publishing.get(number, ()) if path not in declared]
                ended[number] = _from_event(number, event, extras)
        return list(ended.values()), publishing

    def _note_publishing(self, number: int, event: Mapping[str, Any]) -> None:
        """Add what a dead process may have published to the row's provenance, so that a retry may replace it."""
        members = json.loads(self.provenance.get(number, "{}"))
        members["publishing"] = event.get("made")  # the event includes what was recorded before
        members["paths"] = [*(members.get("paths") or ()), *event["paths"]]
        self.provenance[number] = json.dumps(members)

    def close(self) -> None:
        """Close the parent's journal and clear the staging of its processes."""
        self._journal.close()
        staging = staging_path(self.spec.log, self.spec.run_id)
        if not self.prefix:
            clear_staging(staging, self.spec.outputs, self.spec.dataset)
            return
        for folder in Path(staging).glob(f"{self.prefix}*"):  # other parents of this run may still be working
            clear_staging(str(folder), self.spec.outputs, self.spec.dataset)


def _from_event(number: int, event: Mapping[str, Any], extras: list[str]) -> Result:
    return Result(
        number,
        event["event"],
        event.get("seconds", 0.0),
        event.get("attempts", 0),
        event.get("error_type"),
        None if event["event"] == "done" else event.get("message"),
        tuple(extras),
    )
