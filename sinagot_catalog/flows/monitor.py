"""The monitor of a flow run: a thread that looks for a cancel, shows the progress and relays log lines."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect import get_client, runtime
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from sinagot_catalog.flows.active_run import ActiveRun
from sinagot_catalog.flows.artifacts import command_line, key_of
from sinagot_catalog.flows.log_relay import LogRelay
from sinagot_catalog.journal import LogTail
from sinagot_catalog.run import in_words

__all__ = ["monitored"]

_CHECK_EVERY = 1.5


@contextmanager
def monitored(active: ActiveRun) -> Iterator[None]:
    """Poll for a cancel and show the progress, in a thread: an API that hangs must not block the batches."""
    over = threading.Event()
    # A new thread has an empty context, and would use the API of the user's profile.
    in_context = copy_context().run
    thread = threading.Thread(
        target=in_context, args=(_monitor, active, over), name="sinagot-monitor", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)


def _monitor(active: ActiveRun, over: threading.Event) -> None:
    flow_run_id = UUID(runtime.flow_run.id)
    logger = get_run_logger()
    progress: UUID | None = None
    workspace = runtime.flow_run.parameters.get("workspace", "")
    key = key_of(workspace, "progress")
    spec = active.claimed.spec
    rest = f"`{command_line('logs', '-C', workspace, '--run', spec.run_id)}`"
    journal = LogTail(f"{spec.log}/journal/{spec.run_id}")
    relay = LogRelay(journal, active.claimed.log_buffer, logger.log, rest)
    while True:
        last = over.wait(0 if progress is None else _CHECK_EVERY)
        (relay.end if last else relay.relay)()
        share, words = _progress(active)
        try:
            if progress is None:
                progress = cast("UUID", create_progress_artifact(share, key=key, description=words))
            else:
                update_progress_artifact(progress, share, description=words)
            if last:
                return
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(flow_run_id).state
        except Exception as error:  # noqa: BLE001 - the run goes on without the API
            if last:
                return
            logger.debug("The API could not be asked: %s", error)
            time.sleep(_CHECK_EVERY)
            continue
        if state is not None and (state.is_cancelling() or state.is_cancelled()) and not active.stop.is_set():
            logger.info("A cancel was asked for: no more rows are begun, scripts under way are ended")
            active.cancel()


def _progress(active: ActiveRun) -> tuple[float, str]:
    total = max(active.claimed.n_rows, 1)
    words = f"{active.done} of {in_words(active.claimed.n_rows)}" + (
        f", {active.failed} failed" if active.failed else ""
    )
    return min(100.0, 100.0 * active.done / total), words
