"""The monitor of running rows: a thread that looks for a cancel, shows the progress and relays log lines."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, cast
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger

from sinagot_catalog.cluster import ClusterExecutor
from sinagot_catalog.config import count_of
from sinagot_catalog.flows.active_run import ActiveRun
from sinagot_catalog.flows.ancestors import Ancestors
from sinagot_catalog.flows.artifacts import command_line, key_of
from sinagot_catalog.flows.log_relay import LogRelay
from sinagot_catalog.journal import LogTail
from sinagot_catalog.run import ClaimedRun, Executor
from sinagot_catalog.secrets import masked

_CHECK_EVERY = 1.5
_LONGEST_PAUSE = 30.0
_GROWTH = 1.5
"""How much the pause between two updates of the progress grows."""


def own_logger() -> Any:
    """The logger of the flow run of this context, also if the flow was called in a task."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return get_run_logger()
    return flow_run_logger(context.flow_run, context.flow)


@contextmanager
def monitored(active: ActiveRun) -> Iterator[None]:
    """Look for a cancel and show the progress of a flow run: an API that hangs must not block the batches."""
    logger = own_logger()

    def write(level: int, text: str) -> None:
        (active.logger_of(text) or logger).log(level, text)

    look = _look(active.claimed, write, active.cancel, logger, _ProgressArtifact(active).show)
    with _in_thread(look, logger):
        yield


@contextmanager
def observed(claimed: ClaimedRun, executor: Executor) -> Iterator[None]:
    """Relay log lines of rows to the flow or task that runs them, and stop the rows if that ends early."""
    logger = get_run_logger()
    look = _look(claimed, logger.log, executor.stop, logger, lambda _: None)
    with suppress(Exception):  # rows can run while the API does not answer
        look(False)
    with _in_thread(look, logger):
        yield


def _look(
    claimed: ClaimedRun,
    write: Callable[[int, str], None],
    stop: Callable[[], None],
    logger: Any,
    show: Callable[[bool], None],
) -> Callable[[bool], None]:
    """A function that relays new log lines, and stops the rows if a run around them has ended.

    Args:
        claimed: The run.
        write: Receives log lines of rows.
        stop: Stops the rows.
        logger: Receives why they stop.
        show: Called at each look, to show the progress.

    Returns:
        The function; its argument is whether it is the last look.
    """
    place = masked(claimed.source.config.files[0]).removesuffix("/workspace.toml")
    rest = f"`{command_line('logs', '-C', place, '--run', claimed.run_id)}`"
    tail = LogTail(f"{claimed.spec.log}/journal/{claimed.run_id}")
    relay = LogRelay(tail, claimed.log_buffer, write, rest)
    ancestors = Ancestors()
    is_stopped = False

    def look(is_last: bool) -> None:  # noqa: FBT001 - its only argument
        nonlocal is_stopped
        (relay.end if is_last else relay.relay)()
        show(is_last)
        if not (is_last or is_stopped) and (reason := ancestors.end()) is not None:
            logger.info("The flow run %s: no further row begins, and running scripts are ended", reason)
            stop()
            is_stopped = True

    return look


@contextmanager
def _in_thread(look: Callable[[bool], None], logger: Any) -> Iterator[None]:
    """Call `look` every second or two in a thread with the context of the caller, and a last time at the end."""
    over = threading.Event()

    def repeat() -> None:
        is_last = False
        while not is_last:
            is_last = over.is_set()
            try:
                look(is_last)
            except Exception as error:  # noqa: BLE001 - the rows go on without the API
                logger.debug("The API could not be asked: %s", error)
            over.wait(_CHECK_EVERY)

    # A new thread has an empty context, and would use the API of the user's profile.
    thread = threading.Thread(target=copy_context().run, args=(repeat,), name="sinagot-monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)


class _ProgressArtifact:
    """The progress artifact of a flow run; it is written when something changed, and less often in long runs.

    Args:
        active: The run.
    """

    def __init__(self, active: ActiveRun) -> None:
        self._active = active
        self._key = key_of(str(runtime.flow_run.parameters.get("workspace", "")), "progress")
        self._id: UUID | None = None
        self._shown = ""
        self._pause = _CHECK_EVERY
        self._due = 0.0

    def show(self, is_last: bool) -> None:  # noqa: FBT001 - its only argument
        """Write the progress, if it changed and the pause since the last update is over."""
        share, words = _progress(self._active)
        if words == self._shown or (time.monotonic() < self._due and not is_last):
            return
        if self._id is None:
            self._id = cast("UUID", create_progress_artifact(share, key=self._key, description=words))
        else:
            update_progress_artifact(self._id, share, description=words)
        self._shown = words
        self._due = time.monotonic() + self._pause
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)


def _progress(active: ActiveRun) -> tuple[float, str]:
    total = active.claimed.n_rows
    words = f"{active.done} of {count_of(total, 'row')}"
    words += f", {active.failed} failed" if active.failed else ""
    words += ", waiting for a slot" if active.waiting["slot"] else ""
    if isinstance(active.executor, ClusterExecutor) and (page := active.executor.dashboard):
        words += f" · [dashboard of the cluster]({page})"
    return min(100.0, 100.0 * active.done / max(total, 1)), words
