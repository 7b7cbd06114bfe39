"""What Prefect's page shows of a run beside its task runs; and the cancel that is asked for there."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from pathlib import PurePosixPath
from typing import cast
from uuid import UUID

from prefect import get_client, runtime
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from sinagot_catalog.flows._live import Live, in_words
from sinagot_catalog.run_report import RunReport

__all__ = ["rename", "short", "show_failures", "watched"]

_LOOK_EVERY = 1.5
_MOST_FAILURES = 500


def show_failures(report: RunReport, workspace: str) -> None:
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
    return re.sub(r"[^a-z0-9]+", "-", f"{short(workspace)}-{what}".lower()).strip("-")


def short(workspace: str) -> str:
    path = PurePosixPath(workspace.rstrip("/"))
    return (path.parent if path.suffix == ".toml" else path).name or "workspace"


def rename(name: str) -> None:
    with suppress(Exception), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), name=name)


@contextmanager
def watched(live: Live) -> Iterator[None]:
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
    words = f"{live.done} of {in_words(live.execution.n_rows)}" + (
        f", {live.failed} failed" if live.failed else ""
    )
    return min(100.0, 100.0 * live.done / total), words
