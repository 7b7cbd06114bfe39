"""`logs`: prints the log lines of scripts and the tracebacks of failures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import broken, clean, say, width
from sinagot_catalog.cli.output import is_machine, paint, put, put_rows
from sinagot_catalog.cli.parser.command import Argument, Option, flag, verb
from sinagot_catalog.cli.parser.options import OUTPUT, WORKSPACE, limit, steps
from sinagot_catalog.cli.workspace_args import (
    beside_run,
    check_ids,
    command,
    open_workspace,
    run_command,
    source_of,
)
from sinagot_catalog.errors import NotFoundError, failure_text, row_label
from sinagot_catalog.startup import polars as pl

if TYPE_CHECKING:
    from sinagot_catalog.workspace import Workspace

_LIMIT = 200
_PAUSE = 0.5
_LONGEST = 2_000
"""Number of bytes of a command that names each record, if the user named none."""


@verb(
    "the log lines of scripts and the tracebacks of failures, oldest first",
    """
  sinagot-catalog logs REC-20200603 --step count
  sinagot-catalog logs --failed
  sinagot-catalog logs --failed --group     each kind of failure once, with the command to run its rows again

--json, --csv and --parquet have the columns of the table events; with --group task, modality, step, error_type,
message, n, first, last, examples, command.""",
    Argument("record", "ID", required=False, about="only this record"),
    WORKSPACE,
    steps("only this step"),
    Option("--record", "records", metavar="ID", multiple=True, help="this record, too; may be repeated"),
    flag("--failed", help="only the failure of each row whose last attempt failed"),
    limit("the last N (by default 200 on a terminal; 0 for all)"),
    flag("--group", help="the failures by step, type and kind of message, each kind once"),
    Option("--run", metavar="RUN", help="only events of this run"),
    flag("--follow", help="print new events as they come, until Ctrl-C"),
    OUTPUT,
)
def logs(args: Any) -> int:
    """Print events, oldest first."""
    ws = open_workspace(args)
    from sinagot_catalog.catalog import no_step

    step_names = source_of(ws).layout().steps
    args.records = [*([args.record] if args.record else []), *(args.records or [])]
    check_ids(ws, args.records)
    for step in args.step or ():
        if step not in step_names:
            raise NotFoundError(*no_step(source_of(ws), step, step_names))
    if args.group:
        return _groups(ws, args)
    events = _failed(ws, args) if args.failed else _events(ws, args)
    limit = args.limit if args.limit is not None else _LIMIT if width() and not is_machine(args) else 0
    if limit and events.height > limit:
        say(f"(the last {limit} of {events.height:,}; --limit 0 for all)")
        events = events.tail(limit)
    if is_machine(args):
        put_rows(args, [events])
        return 0
    _show(events)
    if args.follow:
        _follow(ws, args)
    elif events.is_empty():
        say("nothing failed" if args.failed else "no run has written anything about this yet")
    return 0


def _events(ws: Workspace, args: Any) -> pl.DataFrame:
    of_run = [pl.col("run_id") == args.run] if args.run else []
    return ws.events().filter(*_fitting(args), *of_run)


def _fitting(args: Any) -> list[pl.Expr]:
    """The conditions of the records and steps that the user named."""
    named = {"record_id": args.records, "step": args.step}
    return [pl.col(name).is_in(values) for name, values in named.items() if values]


def _failed(ws: Workspace, args: Any) -> pl.DataFrame:
    """Return the failure of each row whose last attempt failed; without an event the status describes it."""
    from sinagot_catalog.catalog import failed
    from sinagot_catalog.schema import EVENTS, KEYS

    keys = [*KEYS, "run_id"]
    rows = ws.steps.filter(*_fitting(args), failed()).select(*keys, time="ended", message="reason")
    errors = _events(ws, args).filter(pl.col("event") == "error")
    errors = errors.unique(keys, keep="last", maintain_order=True)
    found = rows.join(errors, on=keys, how="left", nulls_equal=True, maintain_order="left")
    logged = (pl.coalesce(f"{name}_right", name).alias(name) for name in ("time", "message"))
    return found.with_columns(*logged, event=pl.lit("error")).select(*EVENTS).sort("time", nulls_last=False)


def _groups(ws: Workspace, args: Any) -> int:
    """Print the kinds of failure: number, examples, and the command that runs the rows again."""
    from sinagot_catalog.catalog import failed, failure_kinds
    from sinagot_catalog.reporting import rerun_words

    every = ws.steps.filter(failed()).collect()
    kinds = failure_kinds(every.filter(*_fitting(args)))
    bound = () if args.records else (_LONGEST,)  # the message finds records that the user did not name
    words = [rerun_words(kind, every, *bound)[0] for kind in kinds.iter_rows(named=True)]
    # a program that runs the commands does not see why one needs --trust
    again = [
        command(args, "run", *some, whole=True)
        if is_machine(args)
        else run_command(ws, args, *some, whole=True)
        for some in words
    ]
    failures = kinds.drop("records", "n_done").with_columns(pl.Series("command", again, dtype=pl.String))
    if is_machine(args):
        put_rows(args, [failures])
        return 0
    for kind in failures.head(args.limit or failures.height).iter_rows(named=True):
        step = clean(row_label(kind["task"], kind["modality"], kind["step"]))
        text = broken(clean(f"{step}  {failure_text(kind['error_type'], kind['message'])}"), 8)
        put(f"{paint(format(kind['n'], '6,'), '31')}  {text.replace(step, paint(step, '1'), 1)}")
        times = dict.fromkeys(f"{at:%Y-%m-%d %H:%M}" for at in (kind["first"], kind["last"]) if at)
        when = f" · {' to '.join(times)}Z" if times else ""
        put(broken(clean(f"        such as {kind['examples']}{when}"), 8))
        put(f"        {clean(kind['command'])}{clean(beside_run(ws, args))}")
    if failures.is_empty():
        say("nothing failed")
    return 0


def _show(events: pl.DataFrame) -> None:
    """Print a line per event, then the traceback of a failure and the output of the script."""
    from sinagot_catalog.schema import KEYS

    for row in events.iter_rows(named=True):
        when = row["time"].strftime("%Y-%m-%d %H:%M:%SZ") if row["time"] else "-"
        key = row_label(*(row[key] for key in KEYS))
        failed = row["event"] == "error"
        text = failure_text(row["error_type"] if failed else None, row["message"] or row["event"] or "")
        lines = broken(clean(f"{when}  {key}  {text}"), 4)
        painted = paint(clean(key), "31" if failed else "1")
        put(lines.replace(when, paint(when, "2"), 1).replace(clean(key), painted, 1))
        for part in ("traceback", "output"):
            if row[part]:
                put("\n".join(f"    {line}" for line in clean(row[part]).rstrip().splitlines()))


def _follow(ws: Workspace, args: Any) -> None:
    """Print new events until Ctrl-C."""
    seen = _events(ws, args).height
    try:
        while True:
            time.sleep(_PAUSE)
            events = _events(ws.refresh(), args)
            _show(events.slice(seen))
            seen = events.height
    except KeyboardInterrupt:
        return
