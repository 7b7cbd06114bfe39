"""Artifacts of a flow run: tables of failures, summary, progress, name and tags on Prefect's page.

A thread beside the flow (`watched`) updates the progress, relays log lines, and looks for a cancel on the page.
"""

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import cast
from uuid import UUID

import polars as pl
import polars.selectors as cs
from prefect import get_client, runtime
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from sinagot_catalog.flows.active_run import ActiveRun
from sinagot_catalog.flows.crashed_runs import TAG
from sinagot_catalog.flows.log_relay import Lines
from sinagot_catalog.journal import LogTail, RunReport
from sinagot_catalog.run import ClaimedRun, in_words, shell_join
from sinagot_catalog.schema import OUTCOMES
from sinagot_catalog.secrets import masked

__all__ = ["rename", "short", "show_failures", "show_summary", "since_retry", "tags_of", "watched"]

_LOOK_EVERY = 1.5
_MOST_FAILURES = 500
_SHOWN = ("record_id", "task", "modality", "step", "message", "error_type", "outcome", "seconds", "attempts")
"""The columns of failures, the most important first: the page cuts off columns far to the right."""


def _without_traceback(record: logging.LogRecord) -> bool:
    """Remove `NoneType: None`, an empty traceback, from Prefect's message that a batch returned Failed."""
    if record.exc_info and record.exc_info[1] is None:
        record.exc_info = None
    return True


logging.getLogger("prefect.task_runs").addFilter(_without_traceback)


def show_failures(report: RunReport, workspace: str, *, force: bool, stale: bool) -> None:
    """Make a table artifact of the failed rows: why they failed, and how to run them again."""
    frame = report.failures()
    columns = [name for name in _SHOWN if frame[name].null_count() < frame.height]
    shortened = frame.select(columns).with_columns(cs.by_name("seconds", require_all=False).round_sig_figs(3))
    table = [
        {key: _cell(value) for key, value in row.items()} for row in shortened.head(_MOST_FAILURES).to_dicts()
    ]
    shown = (
        f"The first {_MOST_FAILURES} of {frame.height} failures"
        if frame.height > _MOST_FAILURES
        else "Failures"
    )
    again = _again(report, workspace, force=force, stale=stale)
    with suppress(Exception):  # a missing table must not fail the run
        create_table_artifact(
            table, key=_key(workspace, "failures"), description=f"{shown}. To run these rows again: `{again}`"
        )


def _again(report: RunReport, workspace: str, *, force: bool, stale: bool) -> str:
    """The command that runs again only the failed rows of a run and the rows that waited for them."""
    blocked = report.counts().get("blocked")
    words = ["--where", f"run_id = '{report.run_id}' AND error_type IS NOT NULL"]
    words += ["--downstream"] if blocked else []
    words += ["--force"] if force else []
    words += ["--stale"] if stale or (force and blocked) else []  # a blocked row may have its old outputs
    words += ["--deployment", runtime.deployment.name] if runtime.deployment.name else []
    return _command("submit", workspace, *words)


def show_summary(report: RunReport, workspace: str, report_url: str | None) -> None:
    """Make a markdown artifact with the outcomes per step and a link to the report."""
    frame = report.frame.group_by("step", maintain_order=True).agg(
        pl.len().alias("rows"),
        *(pl.col("outcome").eq(name).sum().alias(name) for name in OUTCOMES),
        pl.col("seconds").sum().alias("seconds"),
        pl.col("seconds").median().alias("each"),
    )
    outcomes = [name for name in OUTCOMES if frame[name].sum()]
    heads = ["step", "rows", *(name.replace("_", " ") for name in outcomes), "seconds", "a row (median)"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in frame.to_dicts():
        counts = [f"{row['rows']:,}", *(f"{row[name]:,}" for name in outcomes)]
        times = [f"{row['seconds'] or 0:,.1f}", f"{row['each'] or 0:.3g}"]
        lines.append(f"| {' | '.join([str(row['step']).replace('|', chr(92) + '|'), *counts, *times])} |")
    told = [
        f"**{report.summary()}** in {report.seconds:.1f} s; run `{report.run_id}`.",
        "",
        *lines,
        "",
        *([f"[All rows on one page]({report_url})  "] if report_url else []),
        f"All rows on one page{' as they are now' if report_url else ''}: `{_command('report', workspace)}`  ",
        f"What scripts said: `{_command('logs', '-C', workspace, '--run', str(report.run_id))}`",
    ]
    with suppress(Exception):
        create_markdown_artifact("\n".join(told), key=_key(workspace, "summary"), description="Rows by step")


def _command(verb: str, *words: str) -> str:
    return shell_join(["sinagot-catalog", verb, *words]).replace("`", "")


def _cell(value: object) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _key(workspace: str, what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{short(workspace)}-{what}".lower()).strip("-")


def short(workspace: str) -> str:
    """The short name of a workspace for pages."""
    path = PurePosixPath(masked(workspace).rstrip("/"))
    return (path.parent if path.suffix == ".toml" else path).name or "workspace"


def tags_of(claimed: ClaimedRun) -> list[str]:
    """The tags of a flow run: the tag of this library, the workspace, and the tags of the config."""
    config = claimed.source.config
    return list(dict.fromkeys([TAG, short(config.root), *config.prefect.tags]))


def rename(name: str, tags: Iterable[str]) -> None:
    """Set the name of this flow run and add tags to its own; both are known only after planning."""
    with suppress(Exception), get_client(sync_client=True) as client:
        run_id = UUID(runtime.flow_run.id)
        client.update_flow_run(run_id, name=name, tags=list(dict.fromkeys([*runtime.flow_run.tags, *tags])))


def since_retry() -> datetime | None:
    """The first start of a flow run that is a retry: rows done since then are not run again."""
    if runtime.flow_run.run_count < 2:  # noqa: PLR2004 - the first attempt
        return None
    with get_client(sync_client=True) as client:
        begun = client.read_flow_run(UUID(runtime.flow_run.id)).start_time
    # Prefect returns a subclass of datetime, which Polars may not accept.
    return None if begun is None else datetime.fromtimestamp(begun.timestamp(), UTC)


@contextmanager
def watched(active: ActiveRun) -> Iterator[None]:
    """Poll for a cancel and show the progress, in a thread: an API that hangs must not block the batches."""
    over = threading.Event()
    # A new thread has an empty context, and would use the API of the user's profile.
    watching = copy_context().run
    thread = threading.Thread(target=watching, args=(_watch, active, over), name="sinagot-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=10)


def _watch(active: ActiveRun, over: threading.Event) -> None:
    flow_run_id = UUID(runtime.flow_run.id)
    logger = get_run_logger()
    progress: UUID | None = None
    workspace = runtime.flow_run.parameters.get("workspace", "")
    key = _key(workspace, "progress")
    spec = active.claimed.spec
    rest = f"`{_command('logs', '-C', workspace, '--run', spec.run_id)}`"
    said = LogTail(f"{spec.log}/journal/{spec.run_id}")
    lines = Lines(said, active.claimed.log_buffer, logger.log, rest)
    while True:
        last = over.wait(0 if progress is None else _LOOK_EVERY)
        (lines.end if last else lines.look)()
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
            time.sleep(_LOOK_EVERY)
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
