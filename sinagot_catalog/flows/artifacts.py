"""Artifacts of a flow run: tables of failures, summary, name and tags on its page; `monitor` has the progress."""

import logging
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import PurePosixPath
from uuid import UUID

import polars as pl
import polars.selectors as cs
from prefect import get_client, runtime
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from sinagot_catalog.flows.crashed_runs import TAG
from sinagot_catalog.flows.deployments.deployment_params import own_deployment
from sinagot_catalog.journal import RunReport
from sinagot_catalog.run import ClaimedRun, shell_join
from sinagot_catalog.schema import OUTCOMES
from sinagot_catalog.secrets import masked

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
    table = shortened.head(_MOST_FAILURES).to_dicts()
    is_cut = frame.height > _MOST_FAILURES
    shown = f"The first {_MOST_FAILURES} of {frame.height} failures" if is_cut else "Failures"
    again = _again(report, workspace, force=force, stale=stale)
    with suppress(Exception):  # a missing table must not fail the run
        create_table_artifact(
            table,
            key=key_of(workspace, "failures"),
            description=f"{shown}. To run these rows again: `{again}`",
        )


def _again(report: RunReport, workspace: str, *, force: bool, stale: bool) -> str:
    """The command that runs again only the failed rows of a run and the rows that waited for them."""
    blocked = report.counts().get("blocked")
    words = ["--where", f"run_id = '{report.run_id}' AND error_type IS NOT NULL"]
    words += ["--downstream"] if blocked else []
    words += ["--force"] if force else []
    words += ["--stale"] if stale or (force and blocked) else []  # a blocked row may have its old outputs
    words += ["--deployment", runtime.deployment.name] if own_deployment() is not None else []
    return command_line("submit", workspace, *words)


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
    text = [
        f"**{report.summary()}** in {report.seconds:.1f} s; run `{report.run_id}`.",
        "",
        *lines,
        "",
        *([f"[All rows on one page]({report_url})  "] if report_url else []),
        f"All rows on one page{' as they are now' if report_url else ''}: `{command_line('report', workspace)}`  ",
        f"What scripts said: `{command_line('logs', '-C', workspace, '--run', str(report.run_id))}`",
    ]
    with suppress(Exception):
        create_markdown_artifact(
            "\n".join(text), key=key_of(workspace, "summary"), description="Rows by step"
        )


def command_line(verb: str, *words: str) -> str:
    """A command as Markdown code can show it."""
    return shell_join(["sinagot-catalog", verb, *words]).replace("`", "")


def key_of(workspace: str, what: str) -> str:
    """The key of an artifact of a workspace."""
    return re.sub(r"[^a-z0-9]+", "-", f"{short(workspace)}-{what}".lower()).strip("-")


def short(workspace: str) -> str:
    """The short name of a workspace for pages."""
    path = PurePosixPath(masked(workspace).rstrip("/"))
    return (path.parent if path.suffix == ".toml" else path).name or "workspace"


def tags_of(claimed: ClaimedRun) -> list[str]:
    """The tags of a flow run: the tag of this library, the workspace, and the tags of the config."""
    config = claimed.source.config
    return list(dict.fromkeys([TAG, short(config.root), *config.prefect.tags]))


def rename(name: str, tags: Iterable[str] = ()) -> None:
    """Name this flow run, unless the user named it, and add tags; both are known only after planning."""
    named = _users_name() or name
    tags = list(dict.fromkeys([*runtime.flow_run.tags, *tags]))
    if (named, set(tags)) == (runtime.flow_run.name, set(runtime.flow_run.tags)):
        return
    with suppress(Exception), get_client(sync_client=True) as client:
        client.update_flow_run(UUID(runtime.flow_run.id), name=named, tags=tags)


def _users_name() -> str | None:
    """The name that the user gave this flow run, or None if Prefect made up its name of two random words."""
    context = FlowRunContext.get()
    name = runtime.flow_run.name
    if context is not None and context.flow is not None and context.flow.flow_run_name is not None:
        return str(name)
    return None if set(str(name).split("-")) <= _random_words() else str(name)


@cache
def _random_words() -> frozenset[str]:
    """The words of which Prefect makes up names."""
    lists = (table.get("words", ()) for table in import_module("coolname.data").config.values())
    return frozenset(word for words in lists for word in words if isinstance(word, str))


def since_retry() -> datetime | None:
    """The first start of a flow run that is a retry: rows done since then are not run again."""
    if runtime.flow_run.run_count < 2:  # noqa: PLR2004 - the first attempt
        return None
    with get_client(sync_client=True) as client:
        begun = client.read_flow_run(UUID(runtime.flow_run.id)).start_time
    # Prefect returns a subclass of datetime, which Polars may not accept.
    return None if begun is None else datetime.fromtimestamp(begun.timestamp(), UTC)
