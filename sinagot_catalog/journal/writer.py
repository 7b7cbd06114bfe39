"""The journal's writer: appends the events of one process, one JSON object a line, with one `write` a line.

Each process of a run has its own file. A line is whole or absent: one system call appends it to a file that no
other process writes. What all rows of a step share is encoded once, so a line costs a few microseconds.
`journal.reader` describes the events.
"""

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from json import JSONEncoder, dumps, loads
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypedDict, Unpack

from sinagot_catalog.journal.output_ownership import Made, patterns_digest
from sinagot_catalog.journal.run_spec import RunSpec, UnitStepSpec
from sinagot_catalog.status import StepStatus
from sinagot_catalog.storage import open_regular, sync_one

SCHEMA = 1
Event: TypeAlias = Literal[
    "start", "log", "publishing", "done", "accepted", "error", "not_available", "cancelled"
]
Stamp: TypeAlias = tuple[int, int] | tuple[int, int, int]
"""For an input file its size and time; for a folder its bytes, its number of files and its fingerprint."""

_EVENTS: dict[Event, tuple[StepStatus, str]] = {
    "start": (StepStatus.PROCESSING, "Processing run"),
    "log": (StepStatus.PROCESSING, ""),
    "publishing": (StepStatus.PROCESSING, "Publishing outputs"),
    "done": (StepStatus.DONE, "Run finished"),
    "accepted": (StepStatus.DONE, "Present outputs accepted"),
    "error": (StepStatus.ERROR, ""),
    "not_available": (StepStatus.DATA_NOT_AVAILABLE, ""),
    "cancelled": (StepStatus.INIT, "Run cancelled"),
}
"""The status of each event, and its message where all rows have the same."""
_MESSAGE_BOUND = 8 * 1024
_TEXT_BOUND = 64 * 1024
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_encode = JSONEncoder(ensure_ascii=False).encode
_sync = getattr(os, "fdatasync", os.fsync)


def journal_path(log: str, run_id: str, name: str) -> str:
    """The journal file of a process in a run.

    Example:
        >>> journal_path("/data/LOG", "20250101-ab", "w01")
        '/data/LOG/journal/20250101-ab/w01.ndjson'
    """
    return f"{log}/journal/{run_id}/{name}.ndjson"


def bounded(text: str, bound: int) -> str:
    """Cut the middle out of a long text; its head and its tail remain.

    Example:
        >>> bounded("short", 100)
        'short'
        >>> bounded("a" * 500 + "b" * 500, 100)[-10:]
        'bbbbbbbbbb'
    """
    if len(text) <= bound:
        return text
    half = bound // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters cut …\n{text[-half:]}"


class JournalWriter:
    """Appends events to the journal file of this process.

    The first line creates the file and its folder.

    Args:
        path: The file; no other process may write it.
        run_id: The run of the events.
        claim: The number of the run's claim: of two events of a row, the event with the higher number is the later.
        workspace_version: `[info] version` of the workspace.
    """

    def __init__(
        self, path: str, *, run_id: str, claim: int = 0, workspace_version: str | None = None
    ) -> None:
        self.path = path
        self._fd = -1
        self._torn = False
        self._dirty = False
        self._named = False
        self._lost: OSError | None = None
        self._syncing = threading.Lock()
        self._second = -1
        self._second_text = ""
        self._common = (
            f', "run_id": {dumps(run_id)}, "claim": {claim:d}, "host": {dumps(os.uname().nodename)}'
            f', "pid": {os.getpid()}, "workspace_version": {dumps(workspace_version)}'
        )

    @classmethod
    def of(cls, spec: RunSpec, name: str) -> Self:
        """The writer of a process of a run."""
        path = journal_path(spec.log, spec.run_id, name)
        return cls(path, run_id=spec.run_id, claim=spec.claim, workspace_version=spec.workspace_version)

    def step_lines(self, step: UnitStepSpec) -> "UnitStepLines":
        """The lines of one unit step, with everything that its rows share already encoded."""
        return UnitStepLines(self, step, self._common)

    def now(self) -> str:
        """The current time in the journal's format."""
        seconds, rest = divmod(time.time_ns() // 1000, 1_000_000)
        if seconds != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._second = seconds
        return "%s.%06dZ" % (self._second_text, rest)  # noqa: UP031 - half the time of an f-string

    def write(self, line: bytes) -> None:
        """Append one line, with its newline, in one system call.

        Raises:
            OSError: When the file cannot be written; the journal stays readable.
        """
        if self._fd < 0:
            self._open()
        # If the last line was cut because the disk was full, end it, so that only that line is lost.
        data = b"\n" + line if self._torn else line
        written = os.write(self._fd, data)
        self._dirty = True
        if self._torn or written < len(data):
            self._check(written, len(data))

    def _check(self, written: int, length: int) -> None:
        self._torn = written < length
        if self._torn:
            raise OSError(f"{self.path}: only {written} of {length} bytes were written: is the disk full?")

    def _open(self) -> None:
        folder = Path(self.path).parent
        # Create LOG if needed, but nothing above it: an unmounted dataset must not be created again, empty.
        for path in (folder.parent.parent, folder.parent, folder):
            path.mkdir(exist_ok=True)
        for path in (folder.parent, folder):
            if path.is_symlink():
                raise OSError(f"{path} is a link: links inside LOG are not followed")
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)

    def sync(self) -> None:
        """Flush the written lines to the disk; another thread may go on writing.

        If two threads call this at once, both return only when the lines are on the disk, as each may rely on it.

        Raises:
            OSError: When this or an earlier call failed.
        """
        with self._syncing:
            if self._lost is not None:
                raise OSError(
                    f"{self.path}: an earlier line could not be brought to the disk"
                ) from self._lost
            if not self._dirty:
                return
            self._dirty = False  # before the call: a line that is written meanwhile needs another one
            try:
                _sync(self._fd)
                if not self._named:
                    _sync_folders(self.path)
                    self._named = True
            except OSError as error:
                self._lost = (
                    error  # the system reports a lost page only once, and the next call would succeed
                )
                raise

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _sync_folders(path: str) -> None:
    """Flush the directory entries of a journal file to the disk: the file, its run, `journal`, `LOG`."""
    for folder in list(Path(path).parents)[:4]:
        sync_one(str(folder))


class Reads(TypedDict, total=False):
    """What a row read.

    Attributes:
        params: The parameters, as JSON.
        record: The metadata columns, each with its value as text.
    """

    params: str | None
    record: Sequence[tuple[str, str | None]] | None


class Members(Reads, total=False):
    """The members of an event, beside its row and its message.

    Attributes:
        level: The level of a log line.
        seconds: The total time of the attempts.
        attempts: How many attempts there were.
        error_type: The type of the error.
        traceback: Where the script raised the error.
        output: What the row printed.
        paths: The paths that are published; of an error, those that it was publishing.
        inputs: The state of the inputs; None if the row did not begin.
        made: The folders that the row made, and the files that no output declares.
    """

    level: str
    seconds: float
    attempts: int
    error_type: str
    traceback: str | None
    output: str | None
    paths: Sequence[str] | None
    inputs: Sequence[Stamp | None] | None
    made: Sequence[Made]


_ALWAYS: dict[Event, Members] = {
    "log": {"level": "INFO"},
    "publishing": {"made": ()},
    "done": {"made": ()},
    "accepted": {"made": ()},
    "error": {"traceback": None, "output": None, "paths": None},
}
"""What the lines of an event have in any case."""


class UnitStepLines:
    """Writes the events of one step: only what its rows do not share is encoded anew for each line.

    Args:
        journal: The writer of the lines.
        step: The unit step.
        common: The JSON members that every line of the process has.
    """

    def __init__(self, journal: JournalWriter, step: UnitStepSpec, common: str) -> None:
        self._journal = journal
        unit = f'"scope": "record", {_encode({"task": step.task, "modality": step.modality})[1:-1]}'
        code = {} if step.code is None else {"code": step.code}
        outputs = {"patterns": patterns_digest(port.template.text for port in step.outputs)}
        tail = f'{common}, "script_version": {dumps(step.version)}'
        own: dict[Event, dict[str, str]] = {"done": outputs | code, "accepted": outputs | code, "error": code}
        self._parts: dict[Event, tuple[str, str, str]] = {
            event: (
                f'{{"schema": {SCHEMA}, "event": "{event}", "log_from": "script", "record_id": ',
                f', {unit}, "step_label": {dumps(step.step)}, "step_status": {status.value}, "message": ',
                tail + _members(own.get(event, {})),
            )
            for event, (status, _) in _EVENTS.items()
        }

    def write(
        self, event: Event, record_id: str, message: str | None = None, **members: Unpack[Members]
    ) -> None:
        """Write an event of a row; long texts are cut.

        Args:
            event: What happened; `journal.reader` describes when each event is written.
            record_id: The record of the row.
            message: The message; None for events that have the same one in all rows.
            members: Its other members; None is left out.
        """
        head, middle, tail = self._parts[event]
        message = bounded(message or _EVENTS[event][1], _MESSAGE_BOUND)
        known = {name: value for name, value in members.items() if value is not None}
        values: dict[str, Any] = {**_ALWAYS.get(event, {}), **known}
        if "seconds" in values:
            values["seconds"] = round(values["seconds"], 6)
        for name in ("output", "traceback"):
            if values.get(name):
                values[name] = bounded(values[name], _TEXT_BOUND)
        if values.get("made"):
            values["made"] = [made.as_member() for made in values["made"]]
        time = self._journal.now()
        own = f'{_encode(record_id)}{middle}{_encode(message)}, "time": "{time}"'
        self._journal.write(_encoded(f"{head}{own}{tail}{_members(values)}}}\n"))


def _members(values: dict[str, Any]) -> str:
    """Further members of a line."""
    return f", {_encode(values)[1:-1]}" if values else ""


def _encoded(line: str) -> bytes:
    """A line as bytes that every reader accepts: half a surrogate pair (an undecodable name) is escaped."""
    try:
        return line.encode()
    except UnicodeEncodeError:
        return _HALF_PAIR.sub(lambda half: f"\\\\u{ord(half[0]):x}", line).encode()


def read_lines(path: str, offset: int = 0) -> Iterator[dict[str, Any]]:
    """The events of one journal file from a byte on; incomplete lines are skipped."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(offset)
            yield from parse_lines(file)
    except FileNotFoundError:
        return


def parse_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of some lines; incomplete lines are skipped."""
    for line in lines:
        with suppress(ValueError):
            event = loads(line)
            if isinstance(event, dict):
                yield event
