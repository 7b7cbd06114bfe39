"""The job runner, which processes one row: find inputs, stage, run the script, publish, write the journal.

The order within a row (readers of the journal rely on it):

    all outputs exist, no force      already_done     no event (a half-published row runs again)
    the step of an input failed      blocked          no event (not with `ignore_missing`)
    input missing                    not_available    event `not_available`
    no input changed, as planned     already_done     no event (see `Provenance.inputs`)
    a foreign file at an output      error            event `error` (not with force)
    else                             event `start`, then attempts: empty staging, `run()`, check the outputs
      an attempt succeeded           `check()`, then check the final paths: files that the row did not make stay
                                     event `publishing` (several files, a folder), renames, event `done`
                                     (if the parent is gone, the process ends without them)
      the last attempt failed        publish the controls, event `error`
      its process was killed         discard the controls: they may be incomplete
      ended by the user              event `cancelled`

`row_inputs` finds the inputs, `row_script` makes the script, `row_outputs` checks and publishes the outputs. The
`ProcessStateGuard` undoes after each attempt what `run()` changed in the process (working directory, umask,
environment). Whatever `run()` raises, `SystemExit` too, is an error of its row only.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.config import size_text
from sinagot_catalog.errors import PatternError, SelectionError, SinagotError, UsageError
from sinagot_catalog.journal import (
    FAILED,
    ForeignFileError,
    JournalWriter,
    Provenance,
    Result,
    Row,
    RunSpec,
    StorageOptions,
    Task,
    bounded,
)
from sinagot_catalog.scripts import (
    DONE_BOUND,
    ERROR_BOUND,
    MainOutput,
    Output,
    ScriptHost,
    ScriptTemplate,
    own_check,
)
from sinagot_catalog.startup import dataclass
from sinagot_catalog.status import StepStatus
from sinagot_catalog.worker.error_text import describe_error, is_plain, own_traceback
from sinagot_catalog.worker.files.local_files import LocalFiles, RowPaths, is_related
from sinagot_catalog.worker.files.moved_inputs import MovedInputError, describe_moved_inputs
from sinagot_catalog.worker.files.staging import StagingFolder, clear_folder, staging_path
from sinagot_catalog.worker.group_members import GroupMembers
from sinagot_catalog.worker.prepared_step import PreparedStep, RecordValues, RowState
from sinagot_catalog.worker.process.process_state import ProcessStateGuard
from sinagot_catalog.worker.process.row_interrupts import MainInterrupts, RowInterrupts
from sinagot_catalog.worker.row_inputs import RowInputs
from sinagot_catalog.worker.row_outputs import RowOutputs
from sinagot_catalog.worker.row_script import RowScripts
from sinagot_catalog.worker.script_logger import ScriptLog

if TYPE_CHECKING:
    from sinagot_catalog.journal import JournalUploader

PREFETCHED_ROWS = 8
"""How many rows are announced for prefetching: the one that begins, and those that follow it."""
_SHORT = 2_000
_OURS = {
    __file__,
    *(sys.modules[part.__module__].__file__ for part in (ScriptHost, RowInputs, RowOutputs, RowScripts)),
}


@dataclass
class JobRunner:
    """Runs rows in this process, one after the other.

    Attributes:
        spec: The run.
        name: The name of this process in the run; its journal file and its staging folder have this name.
        announce: Called with the row, the number of the attempt and the mark of the output when an attempt starts;
            with row -1 when the row has ended.
        output: Records what scripts print.
        console: Also gets what scripts log.
        options: fsspec options by part (`dataset`, `outputs`, `log`), if one of them is in a bucket.
        raising: Raise the script's exception again after the row's event: for a debugger.
        after_run: Called after each script, before publishing; may end the process.
        provenance: What rows made before, by their number; see `journal.output_ownership`. Used ones are removed.
        interrupts: Tells a script's `KeyboardInterrupt` from the user's.
        prefetches: Whether the runner can prefetch the inputs of the next rows, if it is given these rows.
    """

    spec: RunSpec
    name: str
    _: KW_ONLY
    announce: Callable[[int, int, int], None] = lambda *_: None
    output: Output = field(default_factory=MainOutput)
    console: logging.Logger | None = None
    options: StorageOptions = field(default_factory=dict)
    raising: bool = False
    after_run: Callable[[], None] = lambda: None
    provenance: dict[int, str] = field(default_factory=dict)
    interrupts: RowInterrupts = field(default_factory=MainInterrupts)

    def __post_init__(self) -> None:
        spec = self.spec
        self.journal = JournalWriter.of(spec, self.name)
        self.prefetches = spec.remote is not None
        self._files, self._uploader = _open_files(spec, self.name, self.options)
        self._staging = self._files.staging
        self._values = RecordValues(spec)
        self._members = GroupMembers(spec)
        self._inputs = RowInputs(spec, self._files, self._values)
        self._outputs = RowOutputs(spec, self._files, self.provenance, self._secure_journal)
        self._state_guard = ProcessStateGuard(is_shared=self.interrupts.is_shared)
        self._scripts = RowScripts(spec, self._files, self._values, self.interrupts)
        self._log = ScriptLog(logging.DEBUG if spec.debug else spec.log_level.upper(), self.console)
        common = {
            "data_path": Path(self._files.data_path),
            "status": StepStatus.PROCESSING,
            "logger": self._log.logger,
            "debug": spec.debug,
        }
        self._steps = [
            PreparedStep(index, step, self.journal.step_lines(step), common, follow_links=spec.follow_links)
            for index, step in enumerate(spec.cells)
        ]

    def run(self, task: Task, coming: Sequence[Task] = ()) -> Iterator[Result]:
        """Run the rows of a task in order; a row is blocked if an earlier row failed to make its input.

        Args:
            task: The rows.
            coming: The tasks that are likely to be next, if the runner prefetches.
        """
        rows, failed, tried = task
        failures = {path: step for row in failed for path, step in self._makes(row)}
        for number, row in enumerate(rows):
            if self.prefetches:
                later = [row for task in coming for row in task[0][:PREFETCHED_ROWS]]
                self._prefetch([*rows[number : number + PREFETCHED_ROWS], *later])
            result = self._row(row, failures, tried.get(row[0], 0))
            self.provenance.pop(row[0], None)
            if result.outcome in FAILED:
                failures.update(self._makes(row))
            yield result

    def script_of(self, row: Row) -> ScriptTemplate:
        """The script of a row that somebody runs by hand: it writes to the final paths of its outputs."""
        state = self._state(row)
        self._inputs.find(state)
        return self._scripts.make(self._scripts.load(state.step), state, self.spec.outputs)

    def _prefetch(self, coming: Sequence[Row]) -> None:
        """Announce the paths that a row and the next ones read and write."""
        rows: list[RowPaths] = []
        for row in coming[:PREFETCHED_ROWS]:
            with suppress(UsageError):  # the row itself reports it
                rows.append(self._state(row).paths)
        self._files.prefetch(rows)

    def close(self) -> None:
        """Sync and close the journal, and remove this process' staging folder."""
        with suppress(OSError):
            self.journal.sync()
        self.journal.close()
        self._state_guard.close()
        self._files.close()
        clear_folder(self._staging.path)

    def _secure_journal(self) -> None:
        """Make the written lines survive what the outputs survive: a loss of power, or of a worker's disk."""
        if self.spec.durable:
            self.journal.sync()
        if self._uploader is not None:
            self._uploader.send(self.name)

    def _makes(self, row: Row) -> list[tuple[str, str]]:
        """The output paths of a row, each with its step."""
        step = self._steps[row[1]]
        values = self._values.of(row[2], step.spec.by)
        if values is not None:
            with suppress(PatternError):  # the row itself reports it
                return [(path, step.spec.step) for path in step.outputs.fill(values)]
        return []

    # -- one row ------------------------------------------------------------------------------------------

    def _row(self, row: Row, failures: dict[str, str], tried: int) -> Result:
        number, index, record_id = row
        step = self._steps[index]
        try:
            state = self._state(row)
        except UsageError as error:
            return Result(number, "error", error_type=type(error).__name__, message=str(error))
        try:
            state.members = self._members.of(index, step.spec, record_id)
            self._files.prepare(state.paths)
            if state.outputs and not self._outputs.is_repeated(state) and self._outputs.exist(state):
                return Result(number, "already_done")
            self._inputs.find(state)
            result = self._unstarted(state, failures, tried) or self._attempts(state, tried)
        except OSError as error:
            # `_attempts` handles the script's errors; this one is of the journal, or of an unreadable folder.
            error_type, message = describe_error(error)
            with suppress(OSError):
                return self._error(state, error_type, message)
            return Result(number, "error", 0.0, state.attempt, error_type, bounded(message, _SHORT))
        if state.raised is not None:
            raise state.raised
        return result

    def _state(self, row: Row) -> RowState:
        step, record_id = self._steps[row[1]], row[2]
        values = self._values.of(record_id, step.spec.by)
        if values is None:
            raise SelectionError(f"{record_id!r} {self._values.ids.refusal(record_id)}")
        return RowState(row, step, values)

    def _unstarted(self, row: RowState, failures: dict[str, str], tried: int) -> Result | None:
        """The result of a row that does not start; None if it may start."""
        number, lines = row.number, row.step.lines
        if not self.spec.ignore_missing:
            # an existing input may be outdated: the failed step was to replace it
            maker = _maker(row.inputs, failures) if failures else None
            if maker is not None:
                return Result(number, "blocked", message=f"waits for {maker}, which failed")
            if row.missing:
                message = f"Input data [{', '.join(row.missing)}] not available"
                lines.write("not_available", row.record_id, message)
                return Result(number, "not_available", message=bounded(message, _SHORT))
        if self._is_unchanged(row):
            return Result(number, "already_done")
        foreign = self._outputs.find_foreign(row, tried)
        if foreign is None:
            return None
        force = "; --force replaces it" * (foreign in row.in_place or foreign in row.controls)  # no folder
        accept = "; sinagot-catalog accept takes it as the output of this step" * self._outputs.exist(row)
        message = (
            f"{foreign!r} is there already, and no run made it as it is now: nothing was run. Write to another "
            f"path, or move it away{force}{accept}"
        )
        return self._error(row, ForeignFileError.error_type, message)

    def _is_unchanged(self, row: RowState) -> bool:
        """Whether a row runs only if an input has changed since its last attempt, and none has."""
        before = Provenance(self.provenance.get(row.number))
        now = [None if stamp is None else list(stamp) for stamp in row.stamps]
        is_same = before.inputs == now and self._outputs.exist(row)
        return is_same and not self._inputs.appeared_after(before.inputs_at_ns, row)

    # -- attempts -----------------------------------------------------------------------------------------

    def _attempts(self, row: RowState, tried: int) -> Result:
        """Repeat attempts until one succeeds or the last one fails; publish; write the final event."""
        step = row.step
        root = f"{self._staging.path}/{step.name}"
        row.attempt = tried + 1
        row.mark = self.output.mark()
        row.started = time.monotonic()
        is_tidy = False
        self.announce(row.number, row.attempt, row.mark)
        step.lines.write("start", row.record_id)
        self._log.point(step.lines, row.record_id, step.unit)
        try:
            while True:
                try:
                    row.published, is_tidy = self._guarded_attempt(row, root)
                    break
                except BaseException as error:
                    if row.attempt > step.spec.retries or self.interrupts.is_from_user(error):
                        raise
                    message = f"attempt {row.attempt} of {step.spec.retries + 1}: {describe_error(error)[1]}"
                    step.lines.write("log", row.record_id, message, level="WARNING")
                    self._tidy(step, root)
                    row.attempt += 1
            extras = self._outputs.publish(row, root)
            seconds = time.monotonic() - row.started
            step.lines.write(
                "done",
                row.record_id,
                seconds=seconds,
                attempts=row.attempt,
                inputs=row.stamps,
                made=row.records,
                output=self.output.since(row.mark, DONE_BOUND),
                **self._scripts.reads(row),
            )
            return Result(row.number, "done", seconds, row.attempt, extras=extras)
        except BaseException as error:
            is_tidy = False
            if self.interrupts.is_from_user(error):
                if row.half_published is None:
                    with suppress(OSError):
                        step.lines.write("cancelled", row.record_id)
                raise
            if self.raising:
                row.raised = error
            return self._failed_somehow(row, root, error)
        finally:
            self._log.rest()
            self.announce(-1, 0, 0)
            row.script = None  # it refers to the row: both would wait for a garbage collection
            if not is_tidy:
                self._tidy(step, root)

    def _tidy(self, step: PreparedStep, root: str) -> None:
        """Empty the staging folder, except for the folders that every row of the step needs."""
        with suppress(OSError):
            self._staging.clear(root, step.keep)
        step.staged.clear()  # the script may have removed shared folders, too

    def _guarded_attempt(self, row: RowState, root: str) -> tuple[list[str], bool]:
        """Run the script once, and check its outputs; put back the inputs that it moved.

        Raises:
            MovedInputError: When it succeeded and moved an input.
        """
        try:
            self._attempt(row, root)
            checked = self._checked(row, root)
        finally:
            moved, sentences = self._inputs.settle(row)
            row.moved_inputs += moved
            for sentence in sentences:
                self._log.logger.warning(sentence)
        if moved:
            raise MovedInputError("nothing was published")
        return checked

    def _attempt(self, row: RowState, root: str) -> None:
        """Run the script once."""
        step = row.step
        loaded_at = step.loaded_at
        script_class = self._scripts.load(step)
        if step.loaded_at != loaded_at:
            self._state_guard.forget()
        folders = {path.rpartition("/")[0] for path in (*row.outputs, *row.controls)}
        if not step.staged or not folders <= step.staged:
            self._staging.make_folders(root, folders, step.staged)
        self._files.note_inputs(row.input_files)
        self._files.fetch()
        row.script = script = self._scripts.make(script_class, row, root)
        # The time limit of the attempt starts here, after the script's imports.
        self.announce(row.number, row.attempt, row.mark)
        self._call(script.run, step)

    def _call(self, method: Callable[[], object], step: PreparedStep) -> None:
        """Call a method of a script, and undo what it changes in the process."""
        try:
            with self._state_guard, step.importing, self.interrupts:
                method()
        finally:
            self.after_run()

    def _checked(self, row: RowState, root: str) -> tuple[list[str], bool]:
        """The same as `RowOutputs.to_publish`, after the script's own `check`."""
        checked = self._outputs.to_publish(row, root)
        check = None if row.script is None else own_check(row.script)
        if check is None:
            return checked
        self._call(check, row.step)
        return self._outputs.to_publish(row, root)  # `check` may have changed the outputs

    # -- a failed row -------------------------------------------------------------------------------------

    def _failed_somehow(self, row: RowState, root: str, error: BaseException) -> Result:
        """The same as `_failed`, also for an exception that raises another one when it is formatted."""
        try:
            return self._failed(row, root, error)
        except OSError:
            raise  # the journal cannot be written
        except BaseException as another:
            if self.interrupts.is_from_user(another):
                raise
            return self._failed(row, root, SinagotError("raised an exception that cannot be described"))

    def _failed(self, row: RowState, root: str, error: BaseException) -> Result:
        """Publish the controls, write the event, make the result."""
        extras: list[str] = []
        if row.controls and row.published is None:
            extras = self._outputs.publish_controls(row, root)
        error_type, message = describe_error(error)
        if self.spec.memory_limit is not None and isinstance(error, MemoryError):
            message = f"ran past memory_limit of {size_text(self.spec.memory_limit)}"
        return self._error(
            row,
            error_type,
            message + describe_moved_inputs(row.moved_inputs),
            extras,
            traceback=None if is_plain(error) else own_traceback(error, _OURS),
            output=self.output.since(row.mark, ERROR_BOUND),
            inputs=row.stamps,
            **self._scripts.reads(row),
        )

    def _error(
        self, row: RowState, error_type: str, message: str, extras: Sequence[str] = (), **members: Any
    ) -> Result:
        """Write the event of a row that failed for good; returns its result."""
        seconds = time.monotonic() - row.started if row.started else 0.0
        row.step.lines.write(
            "error",
            row.record_id,
            message,
            error_type=error_type,
            seconds=seconds,
            attempts=row.attempt,
            paths=row.half_published,
            **members,
        )
        short = bounded(message, _SHORT)
        return Result(row.number, "error", seconds, row.attempt, error_type, short, tuple(extras))


def _open_files(
    spec: RunSpec, name: str, options: StorageOptions
) -> "tuple[LocalFiles, JournalUploader | None]":
    """The files of a run, and the uploader of its journal if `LOG` is in a bucket."""
    staging = StagingFolder(staging_path(spec.log, spec.run_id, name), spec.log)
    if spec.remote is None:
        return LocalFiles(spec, staging), None
    from sinagot_catalog.worker.buckets.remote_files import RemoteFiles, open_uploader

    fetched = f"{staging_path(spec.remote.spool, spec.run_id, name)}/.inputs"
    return RemoteFiles(spec, options, staging=staging, fetched=fetched), open_uploader(spec, options)


def _maker(paths: list[str], failures: dict[str, str]) -> str | None:
    """The failed step that makes one of these paths, a folder that contains it, or a file inside it."""
    makers = (step for path in paths for made, step in failures.items() if is_related(path, made))
    return next(makers, None)
