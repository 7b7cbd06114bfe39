"""The Prefect flow over the rows of a workspace. The only module that imports Prefect, which takes seconds.

Files and journal are the truth; Prefect schedules, shows and carries. The flow takes JSON parameters only,
opens the workspace itself and feeds batches of rows, as task runs, to the pool of workers that `run` uses.
Caching, persisted results and retries of rows are left out on purpose: whether a row is done is read from its
files.
"""

import json
import logging
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from queue import Empty, SimpleQueue
from typing import Any, cast
from uuid import UUID

from prefect import flow, get_client, runtime, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.flow_engine import run_flow_sync
from prefect.logging import get_run_logger
from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_UI_URL,
    temporary_settings,
)
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from sinagot_catalog._execution import Execution, prepare
from sinagot_catalog._pool import Runner
from sinagot_catalog._server import LocalServer
from sinagot_catalog._spec import Group, Result
from sinagot_catalog.errors import ServerError, SinagotError
from sinagot_catalog.run_report import RunReport

__all__ = ["Submitted", "batches", "run_workspace"]

ROWS_A_BATCH = 100
"""A task run costs some 4.5 ms: spread over a hundred rows that is little."""
MOST_TASK_RUNS = 1_000
"""What a page, and the server's database, show and hold with ease."""
_LOOK_EVERY = 1.5
_TICK = 0.2
_FAILED = ("error", "timeout", "blocked")
_MOST_FAILURES = 500
_ASKED = ("step", "force", "ignore_missing", "downstream", "stale", "workers", "limit")


@dataclass
class Live:
    """A run that is under way in this process, shared by the flow, its task runs and the handle.

    Attributes:
        execution: What is run.
        stop: Set to end it early.
        runner: The pool, once it is open.
        report: How it ended, once it has.
        error: What went wrong with the run itself.
        is_fed: Whether the flow got as far as its rows.
        started: Called in the first lines of the flow.
    """

    execution: Execution
    stop: threading.Event = field(default_factory=threading.Event)
    runner: Runner | None = None
    report: RunReport | None = None
    error: Exception | None = None
    started: Callable[[], None] = lambda: None
    is_fed: bool = False
    done: int = 0
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, results: list[Result]) -> None:
        """Keep what a batch gave; any thread may call it."""
        self.execution.note(results)
        with self._lock:
            self.done += sum(result.outcome != "cancelled" for result in results)
            self.failed += sum(result.outcome in _FAILED for result in results)

    def opened(self, runner: Runner) -> None:
        """Take the pool; a cancel that came before it counts."""
        self.runner, self.is_fed = runner, True
        if self.stop.is_set():
            runner.stop()

    def cancel(self) -> None:
        """Feed no more rows and end the scripts that run."""
        self.stop.set()
        if self.runner is not None:
            self.runner.stop()


_LIVE: dict[str, Live] = {}
"""By run id: how a flow and its task runs find what was planned before the flow began."""


# -- the flow ------------------------------------------------------------------------------------------------


def _name_of_flow_run() -> str:
    """What a run is called: its label or, as long as its rows are not known, what was asked for."""
    parameters = runtime.flow_run.parameters
    if live := _LIVE.get(parameters.get("run_id") or ""):
        return live.execution.label
    parts = [_short(parameters.get("workspace", "")), parameters.get("step"), parameters.get("where")]
    return " · ".join(str(part) for part in parts if part)


@flow(
    name="run-workspace",
    flow_run_name=_name_of_flow_run,
    task_runner=cast("Any", ThreadPoolTaskRunner()),
    persist_result=False,
    validate_parameters=False,
    retries=0,
)
def run_workspace(  # noqa: PLR0917 - parameters of a flow are given by name
    workspace: str,
    where: str | None = None,
    rows: str | None = None,
    step: str | None = None,
    force: bool = False,  # noqa: FBT001, FBT002
    ignore_missing: bool = False,  # noqa: FBT001, FBT002
    downstream: bool = False,  # noqa: FBT001, FBT002
    stale: bool | None = None,  # noqa: FBT001
    workers: int | None = None,
    limit: int | None = None,
    config: list[str] | None = None,
    batch: int | None = None,
    run_id: str | None = None,
) -> State[Any]:
    """Run the rows of a workspace that a filter selects, or those of a file.

    Args:
        workspace: Folder or URL of the workspace.
        where: A filter over the steps, in SQL; it is evaluated when the run begins.
        rows: Path of a Parquet file with the rows; without it and `where`, all rows that can run.
        step: Only the rows of this step.
        force: Also the rows that are done.
        ignore_missing: Also the rows that miss an input.
        downstream: Also the rows that become ready by this run.
        stale: Also the rows that are stale; by default as `[run] rerun_on` says.
        workers: How many processes run scripts.
        limit: How many rows to run at most.
        config: Further configuration files, over the one of the workspace.
        batch: Rows in a task run.
        run_id: A run that was planned in this process.

    Returns:
        Completed, Failed ("3 of 100 rows failed") or Cancelled.
    """
    live = _LIVE.get(run_id or "")
    if live is None:
        options = {"force": force, "ignore_missing": ignore_missing, "downstream": downstream, "stale": stale}
        try:
            execution = prepare(
                workspace,
                where=where,
                rows=rows,
                step=step,
                workers=workers,
                limit=limit,
                config=config,
                **options,
            )
        except SinagotError as error:
            return Failed(message=str(error))  # a sentence for people: a traceback would only hide it
        live = Live(execution)
        _rename(execution.label)
    execution = live.execution
    live.started()
    try:
        with _known(live), execution.open_runner() as runner, _watched(live):
            live.opened(runner)
            for phase in execution.phases:
                size = batch or execution.source.config.prefect.batch
                _feed(live, batches(phase, size=size, workers=execution.workers))
    except Exception as error:
        live.error = error
        raise
    finally:
        live.report = execution.finish()
    return _conclude(live, workspace)


@task(
    name="rows",
    task_run_name="{label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
def run_rows(label: str, run_id: str, rows: str) -> State[Any]:  # noqa: ARG001 - the label is the name
    """Run one batch of rows on the pool of this process.

    Args:
        label: What the batch holds, in words.
        run_id: The run that it belongs to.
        rows: The groups of rows, as JSON: one text, for Prefect looks through anything else for futures.

    Returns:
        Completed, Failed ("2 of 100 rows failed") or Cancelled.
    """
    live = _LIVE[run_id]
    if live.runner is None:
        raise ServerError(f"Run {run_id} is over")
    groups: list[Group] = [[(row, cell, record) for row, cell, record in group] for group in json.loads(rows)]
    results = live.runner.run_batch(groups)
    live.note(results)
    return _state_of(Counter(result.outcome for result in results), cancelled=live.stop.is_set())


def batches(phase: Iterable[Group], *, size: int | None, workers: int) -> list[list[Group]]:
    """Cut the groups of a phase into what a task run takes each.

    Args:
        phase: The groups; none of them is ever cut.
        size: Rows in a batch; without it as many as keep all workers busy to the end, but no more than
            `ROWS_A_BATCH`.
        workers: How many batches run at a time.

    Returns:
        The batches, `MOST_TASK_RUNS` at most.

    Example:
        >>> groups = [[(n, 0, f"R{n}"), (n + 1, 1, f"R{n}")] for n in range(0, 6, 2)]
        >>> [len(batch) for batch in batches(groups, size=4, workers=2)]
        [2, 1]
    """
    groups = list(phase)
    total = sum(map(len, groups))
    fitting = size or min(ROWS_A_BATCH, -(-total // max(4 * workers, 1)))
    least = max(fitting, -(-total // MOST_TASK_RUNS), 1)
    cut: list[list[Group]] = []
    room = 0
    for group in groups:
        if room <= 0:
            cut.append([])
            room = least
        cut[-1].append(group)
        room -= len(group)
    return cut


def _feed(live: Live, todo: list[list[Group]]) -> None:
    """Submit batches, only a few more than can run, until all are done or the run is stopped."""
    waiting = deque(todo)
    ended: SimpleQueue[Any] = SimpleQueue()
    under_way = 0
    while under_way or (waiting and not live.stop.is_set()):
        if waiting and under_way < live.execution.workers + 2 and not live.stop.is_set():
            groups = waiting.popleft()
            future = run_rows.submit(_label(groups), live.execution.run_id, json.dumps(groups))
            future.add_done_callback(ended.put)
            under_way += 1
            continue
        with suppress(Empty):
            ended.get(timeout=1.0)
            under_way -= 1
    if waiting and live.runner is not None:
        # A runner that was stopped begins nothing: it writes down that these rows were cancelled.
        live.note(live.runner.run_batch([group for groups in waiting for group in groups]))


def _label(groups: Sequence[Group]) -> str:
    rows = sum(map(len, groups))
    first, last = groups[0][0][2], groups[-1][-1][2]
    span = first if first == last else f"{first} … {last}"
    return f"{span} · {_rows(rows)}"


def _conclude(live: Live, workspace: str) -> State[Any]:
    """Say in the page how it ended."""
    report = live.report
    if report is None:
        return Failed(message="The run gave no report")
    counts = report.counts()
    if any(counts.get(outcome) for outcome in _FAILED):
        _show_failures(report, workspace)
    return _state_of(counts, cancelled=live.stop.is_set())


def _state_of(counts: Mapping[str, int], *, cancelled: bool) -> State[Any]:
    """A state without data: what a Failed state carries is printed into the log."""
    total = sum(counts.values())
    failed = sum(counts.get(outcome, 0) for outcome in _FAILED)
    if cancelled:
        done = counts.get("done", 0)
        return Cancelled(message=f"{done} of {_rows(total)} done" + (f", {failed} failed" if failed else ""))
    if failed:
        return Failed(message=f"{failed} of {_rows(total)} failed")
    done = counts.get("done", 0)
    others = [f"{n} {name.replace('_', ' ')}" for name, n in sorted(counts.items()) if n and name != "done"]
    return Completed(message=", ".join([f"{_rows(done)} done", *others]))


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


# -- what the page shows beside it ---------------------------------------------------------------------------


def _show_failures(report: RunReport, workspace: str) -> None:
    frame = report.failures()
    table = [
        {key: _cell(value) for key, value in row.items()} for row in frame.head(_MOST_FAILURES).to_dicts()
    ]
    shown = (
        f"The first {_MOST_FAILURES} of {frame.height} failures"
        if frame.height > _MOST_FAILURES
        else "Failures"
    )
    again = f"sinagot-catalog submit {workspace} --status ERROR"
    with suppress(Exception):  # a page without its table is no reason to fail
        create_table_artifact(
            table, key=_key(workspace, "failures"), description=f"{shown}. To run these rows again: `{again}`"
        )


def _cell(value: object) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _key(workspace: str, what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{_short(workspace)}-{what}".lower()).strip("-")


def _short(workspace: str) -> str:
    path = PurePosixPath(workspace.rstrip("/"))
    return (path.parent if path.suffix == ".toml" else path).name or "workspace"


def _rename(name: str) -> None:
    with suppress(Exception), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), name=name)


@contextmanager
def _known(live: Live) -> Iterator[None]:
    _LIVE[live.execution.run_id] = live
    try:
        yield
    finally:
        _LIVE.pop(live.execution.run_id, None)


@contextmanager
def _watched(live: Live) -> Iterator[None]:
    """Beside the feeding, which an API that hangs must not hold up: look for a cancel, show the progress."""
    over = threading.Event()
    # A thread begins with an empty context, and would ask the API of the user's profile.
    watching = copy_context().run
    thread = threading.Thread(target=watching, args=(_watch, live, over), name="sinagot-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)


def _watch(live: Live, over: threading.Event) -> None:
    flow_run_id = UUID(runtime.flow_run.id)
    logger = get_run_logger()
    progress: UUID | None = None
    key = _key(runtime.flow_run.parameters.get("workspace", ""), "progress")
    while True:
        last = over.wait(0 if progress is None else _LOOK_EVERY)
        share, words = _progress(live)
        try:
            if progress is None:
                progress = cast("UUID", create_progress_artifact(share, key=key, description=words))
            else:
                update_progress_artifact(progress, share, description=words)
            if last:
                return
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(flow_run_id).state
        except Exception as error:  # noqa: BLE001 - the run goes on without its page
            if last:
                return
            logger.debug("The API could not be asked: %s", error)
            time.sleep(_LOOK_EVERY)
            continue
        if state is not None and (state.is_cancelling() or state.is_cancelled()) and not live.stop.is_set():
            logger.info("A cancel was asked for: no more rows are begun, scripts under way are ended")
            live.cancel()


def _progress(live: Live) -> tuple[float, str]:
    total = max(live.execution.n_rows, 1)
    words = f"{live.done} of {_rows(live.execution.n_rows)}" + (
        f", {live.failed} failed" if live.failed else ""
    )
    return min(100.0, 100.0 * live.done / total), words


# -- from this process ---------------------------------------------------------------------------------------


class Submitted(threading.Thread):
    """A run of this process as a flow run: created at once, so that its page is there before the work begins.

    The end of the program waits for it.

    Args:
        execution: What is run.
        api: The local server, or None for the API that the user configured.
    """

    def __init__(self, execution: Execution, *, api: LocalServer | None) -> None:
        super().__init__(name=f"submitted-{execution.run_id}", daemon=False)
        self._api = api
        self._live = Live(execution, started=self._hold_the_end)
        with _pointed_at(api), get_client(sync_client=True) as client:
            self._flow_run = client.create_flow_run(
                run_workspace, name=execution.label, parameters=_parameters(execution), tags=_tags(execution)
            )
            page = api.url if api is not None else PREFECT_UI_URL.value()
        self.flow_run_id = str(self._flow_run.id)
        self.url = f"{page}/runs/flow-run/{self.flow_run_id}"
        self.state = "Pending"
        self._error: BaseException | None = None
        self._begun = threading.Event()
        # Not `join`: interrupted in it, Python 3.11 takes a thread that still runs for one that has ended.
        self._ended = threading.Event()

    def start(self) -> None:
        """Start, and return when the flow has begun: from then on the end of the program waits for it."""
        super().start()
        _wait(self._begun)

    def run(self) -> None:
        """Drive the flow run to its end, in this thread."""
        execution = self._live.execution
        _LIVE[execution.run_id] = self._live
        _hush(self.flow_run_id)
        try:
            with _pointed_at(self._api):
                EventsWorker.drain_all(timeout=5)  # what the program has of them may talk to another API
                try:
                    ended = run_flow_sync(
                        run_workspace,
                        flow_run=self._flow_run,
                        parameters=dict(self._flow_run.parameters),
                        return_type="state",
                    )
                finally:
                    EventsWorker.drain_all(timeout=5)
            self.state = (isinstance(ended, State) and ended.name) or "Completed"
        except BaseException as error:  # noqa: BLE001 - raised where the run is waited for
            self.state, self._error = "Crashed", error
        finally:
            _LIVE.pop(execution.run_id, None)
            if self._live.report is None:
                self._live.report = execution.finish()
            self._ended.set()
            self._begun.set()

    def settle(self) -> None:
        """Wait for the end, whatever it is."""
        _wait(self._ended)

    def wait(self, timeout: float | None) -> RunReport:
        """Wait for the end and give the report; what went wrong with the run itself is raised."""
        if timeout is None:
            self.settle()
        elif not self._ended.wait(timeout):
            raise TimeoutError(f"Run {self._live.execution.run_id} is still under way after {timeout:g} s")
        if self._live.error is not None:
            raise self._live.error
        if self._live.report is None or not self._live.is_fed:
            raise ServerError(
                f"Prefect did not run it: {self._error or self.state}", f"Its page is {self.url}."
            )
        return replace(self._live.report, flow_run_id=self.flow_run_id)

    def cancel(self) -> None:
        """Feed no more rows and end the scripts that run."""
        self._live.cancel()

    def _hold_the_end(self) -> None:
        """Let the end of the program wait, before it closes thread pools and Prefect's services.

        Python closes them before it waits for threads, the youngest first: so this is called, from within the
        flow, when all of them are there.
        """
        self.state = "Running"
        EventsWorker.instance()
        APILogWorker.instance()
        register = getattr(threading, "_register_atexit", None)
        if register is not None:
            with suppress(RuntimeError):  # it is ending already
                register(self.settle)
        self._begun.set()


def _wait(event: threading.Event) -> None:
    """Wait without end, but look for a Ctrl-C in between, whichever thread was given the signal."""
    while not event.wait(_TICK):
        pass


def _parameters(execution: Execution) -> dict[str, Any]:
    """What the page shows of a run that was planned here."""
    first, *further = execution.source.config.files
    options = asdict(execution.options)
    asked = {name: value for name, value in options.items() if name in _ASKED and value not in (None, False)}
    rows = execution.keep_selection()
    return asked | {"workspace": first, "config": further or None, "rows": rows, "run_id": execution.run_id}


def _tags(execution: Execution) -> list[str]:
    config = execution.source.config
    return list(dict.fromkeys(["sinagot-catalog", _short(config.root), *config.prefect.tags]))


def _pointed_at(api: LocalServer | None) -> AbstractContextManager[Any]:
    """Let Prefect talk to the local server, in this thread only; the user's profile stays as it is."""
    if api is None:
        return nullcontext()
    where: dict[Any, Any] = {PREFECT_API_URL: api.api_url, PREFECT_API_AUTH_STRING: api.auth}
    # Only automations look for heartbeats, of which our server has none; ending them costs each run a second.
    where[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    return temporary_settings(where, restore_defaults={PREFECT_API_KEY})


class _Quiet(logging.Filter):
    """Keeps the lines of our own runs off the console: the page has them."""

    def __init__(self) -> None:
        super().__init__()
        self.flow_runs: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in ("EventsWorker", "APILogWorker"):
            return record.levelno >= logging.ERROR
        return getattr(record, "flow_run_id", None) not in self.flow_runs


_QUIET = _Quiet()


def _hush(flow_run_id: str) -> None:
    """Say nothing of this flow run on the console: whoever submitted it has a handle."""
    _QUIET.flow_runs.add(flow_run_id)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(_QUIET)  # once, however often
