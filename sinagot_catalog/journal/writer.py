"""The journal's writer: appends the events of one process, one JSON object a line, with one `write` a line.

Each process of a run has its own file. A line is whole or absent: one system call appends it to a file that no
other process writes. What all rows of a step share is encoded once, so a line costs a few microseconds.
`journal.reader` describes the events.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from json import dumps, loads
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from sinagot_catalog.journal.ownership import Made, patterns_digest
from sinagot_catalog.journal.run_spec import UnitStepSpec
from sinagot_catalog.status import StepStatus
from sinagot_catalog.storage import open_regular

SCHEMA = 1
Event: TypeAlias = Literal[
    "start", "log", "publishing", "done", "accepted", "error", "not_available", "cancelled"
]
Stamp: TypeAlias = tuple[int, int] | tuple[int, int, int]
"""For an input file its size and time; for a folder its bytes, its number of files and its fingerprint."""

_STATUS: dict[Event, StepStatus] = {
    "start": StepStatus.PROCESSING,
    "log": StepStatus.PROCESSING,
    "publishing": StepStatus.PROCESSING,
    "done": StepStatus.DONE,
    "accepted": StepStatus.DONE,
    "error": StepStatus.ERROR,
    "not_available": StepStatus.DATA_NOT_AVAILABLE,
    "cancelled": StepStatus.INIT,
}
_MESSAGE_BOUND = 8 * 1024
_TEXT_BOUND = 64 * 1024
_OUTPUT = '"output": '
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


def utc_text(microseconds: int) -> str:
    """A time since the epoch in the journal's format.

    Example:
        >>> utc_text(1_600_000_000_000_001)
        '2020-09-13T12:26:40.000001Z'
    """
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}Z"


def _quoted(text: str) -> str:
    """A JSON string that every reader accepts: half a surrogate pair (an undecodable name) is escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return encode_basestring(text)


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

    def write(self, line: str) -> None:
        """Append one line, with its newline, in one system call.

        Raises:
            OSError: When the file cannot be written; the journal stays readable.
        """
        data = line.encode()
        if self._fd < 0:
            self._open()
        if self._torn:
            # The last line was cut because the disk was full: end it, so that only that line is lost.
            data = b"\n" + data
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sync_folders(path: str) -> None:
    """Flush the directory entries of a journal file to the disk: the file, its run, `journal`, `LOG`."""
    for folder in list(Path(path).parents)[:4]:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class UnitStepLines:
    """Writes the events of one step: fills in `record_id`, message and time; all other members are encoded already.

    Args:
        journal: The writer of the lines.
        step: The unit step.
        common: The JSON members that every line of the process has.
    """

    def __init__(self, journal: JournalWriter, step: UnitStepSpec, common: str) -> None:
        self._journal = journal
        self._heads: dict[Event, str] = {}
        self._mids: dict[Event, str] = {}
        for event, status in _STATUS.items():
            self._heads[event] = (
                f'{{"schema": {SCHEMA}, "event": "{event}", "log_from": "script", "record_id": '
            )
            self._mids[event] = (
                f', "scope": "record", "task": {dumps(step.task)}, "modality": {dumps(step.modality)}'
                f', "step_label": {dumps(step.step)}, "step_status": {status.value}, "message": '
            )
        self._tail = f'{common}, "script_version": {dumps(step.version)}'
        self._begun = f'{self._mids["start"]}"Processing run", "time": "'
        self._ended = f'{self._mids["done"]}"Run finished", "time": "'
        self._code = "" if step.code is None else f', "code": {dumps(step.code)}'
        patterns = patterns_digest(port.template.text for port in step.outputs)
        self._patterns = f', "patterns": "{patterns}"'

    def _write(self, event: Event, record_id: str, message: str, more: str = "") -> None:
        journal = self._journal
        journal.write(
            f"{self._heads[event]}{_quoted(record_id)}{self._mids[event]}{_quoted(message)}"
            f', "time": "{journal.now()}"{self._tail}{more}}}\n'
        )

    def start(self, record_id: str) -> None:
        """Write that the row begins."""
        journal = self._journal
        journal.write(
            f'{self._heads["start"]}{_quoted(record_id)}{self._begun}{journal.now()}"{self._tail}}}\n'
        )

    def log(self, record_id: str, message: str, level: str = "INFO") -> None:
        """Write a log line of the script; it is not a status."""
        self._write("log", record_id, bounded(message, _MESSAGE_BOUND), f', "level": {_quoted(level)}')

    def publishing(self, record_id: str, paths: Iterable[str], outputs: Iterable[Made] = ()) -> None:
        """Write that several paths, or a folder, will be published: until `done`, old and new ones may be mixed."""
        listed = ", ".join(map(_quoted, paths))
        more = f', "paths": [{listed}], "made": [{_made_text(outputs)}]'
        self._write("publishing", record_id, "Publishing outputs", more)

    def done(
        self,
        record_id: str,
        *,
        seconds: float,
        attempts: int,
        inputs: Sequence[Stamp | None],
        outputs: Sequence[Made] = (),
        output: str | None = None,
        params: str | None = None,
        record: Sequence[tuple[str, str | None]] = (),
    ) -> None:
        """Write that every output is in place.

        Args:
            record_id: The record of the row.
            seconds: The total time of its attempts.
            attempts: How many attempts there were.
            inputs: The state of its inputs.
            outputs: The folders that it made, and the files that no output declares.
            output: What the row printed.
            params: The parameters that it read, as JSON.
            record: The metadata columns that it read, each with its value as text.
        """
        made_from = _stamps_text(inputs)
        listed = _made_text(outputs) if outputs else ""
        journal = self._journal
        journal.write(
            f'{self._heads["done"]}{_quoted(record_id)}{self._ended}{journal.now()}"{self._tail}'
            f', "seconds": {seconds:.6f}, "attempts": {attempts}, "inputs": [{made_from}]'
            f', "made": [{listed}]{self._patterns}{self._code}'
            f"{_reads_text(params, record) if params or record else ''}"
            f"{'' if output is None else f', {_OUTPUT}{_text_or_null(output)}'}}}\n"
        )

    def accepted(
        self,
        record_id: str,
        *,
        inputs: Sequence[Stamp | None],
        outputs: Sequence[Made] = (),
        params: str | None = None,
        record: Sequence[tuple[str, str | None]] = (),
    ) -> None:
        """Write that the user accepts the present state of the outputs.

        Args:
            record_id: The record of the row.
            inputs: The present state of its inputs.
            outputs: The folders among its outputs.
            params: The present values of the parameters that it read, as JSON.
            record: The present values of the metadata columns that it read.
        """
        more = f', "inputs": [{_stamps_text(inputs)}], "made": [{_made_text(outputs)}]{self._patterns}'
        more += self._code + _reads_text(params, record)
        self._write("accepted", record_id, "Present outputs accepted", more)

    def error(
        self,
        record_id: str,
        message: str,
        *,
        error_type: str,
        seconds: float,
        attempts: int,
        traceback: str | None = None,
        output: str | None = None,
        paths: Iterable[str] | None = None,
        inputs: Sequence[Stamp | None] | None = None,
        params: str | None = None,
        record: Sequence[tuple[str, str | None]] = (),
    ) -> None:
        """Write that the row failed for good.

        Args:
            record_id: The record of the row.
            message: What went wrong.
            error_type: The type of the error.
            seconds: The total time of its attempts.
            attempts: How many attempts there were.
            traceback: Where the script raised the error.
            output: What the row printed.
            paths: The paths that it was publishing.
            inputs: The state of its inputs; None if it did not begin.
            params: The parameters that it read, as JSON.
            record: The metadata columns that it read, each with its value as text.
        """
        more = (
            f', "seconds": {seconds:.6f}, "attempts": {attempts}, "error_type": {_quoted(error_type)}'
            f', "traceback": {_text_or_null(traceback)}, "output": {_text_or_null(output)}'
        )
        if inputs is not None:
            more += f', "inputs": [{_stamps_text(inputs)}]{self._code}{_reads_text(params, record)}'
        if paths is not None:
            more += f', "paths": [{", ".join(map(_quoted, paths))}]'
        self._write("error", record_id, bounded(message, _MESSAGE_BOUND), more)

    def not_available(self, record_id: str, message: str) -> None:
        """Write that an input is missing and nothing was run."""
        self._write("not_available", record_id, bounded(message, _MESSAGE_BOUND))

    def cancelled(self, record_id: str, message: str = "Run cancelled") -> None:
        """Write that the row was started and then stopped from outside."""
        self._write("cancelled", record_id, message)


def _stamps_text(stamps: Iterable[Stamp | None]) -> str:
    """The state of the inputs, as members of a JSON list."""
    return ", ".join(["null" if stamp is None else f"[{', '.join(map(str, stamp))}]" for stamp in stamps])


def _reads_text(params: str | None, record: Sequence[tuple[str, str | None]]) -> str:
    """The parameters and metadata that a row read, as further members of its line."""
    text = "" if params is None else f', "params": {_quoted(params)}'
    if record:
        pairs = ", ".join(f"[{_quoted(name)}, {_plain_or_null(value)}]" for name, value in record)
        text += f', "record": [{pairs}]'
    return text


def _plain_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def _made_text(outputs: Iterable[Made]) -> str:
    """What a row made, as members of a JSON list."""
    return ", ".join(
        f'{{"path": {_quoted(output.path)}}}'
        if output.fingerprint is None
        else f'{{"path": {_quoted(output.path)}, "fingerprint": "{output.fingerprint}", "count": {output.n_files}'
        f', "bytes": {output.size}, "names": {_names_text(output.names)}}}'
        for output in outputs
    )


def _names_text(names: Sequence[str] | None) -> str:
    return "null" if names is None else f"[{', '.join(map(_quoted, names))}]"


def _text_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(bounded(text, _TEXT_BOUND))


def read_lines(path: str, offset: int = 0) -> Iterator[dict[str, Any]]:
    """The events of one journal file from a byte on; incomplete lines are skipped."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(offset)
            for line in file:
                try:
                    event = loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event
    except FileNotFoundError:
        return
