"""`watch`: runs rows as they become ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import say
from sinagot_catalog.cli.output import paint, put, put_whole
from sinagot_catalog.cli.parser.command import STALE, Option, flag, verb
from sinagot_catalog.cli.parser.options import PLACE, WORKERS, record, steps, time_span, where
from sinagot_catalog.cli.run_result import result_line, say_failures
from sinagot_catalog.cli.verbs.run import SOME_FAILED
from sinagot_catalog.cli.workspace_args import (
    open_workspace,
    say_what_is_missing,
    selected,
)
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.startup import polars as pl

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunReport


@verb(
    "run what becomes ready as new files come in, each row once, until Ctrl-C",
    """
  sinagot-catalog watch --run                         run it here, without Prefect
  sinagot-catalog watch --where "age > 12"            submit it as Prefect flows
  sinagot-catalog watch s3://lab/sonetaa --interval 5m   a bucket is listed every 5 minutes
  sinagot-catalog watch --run --once                  what is ready now, then end: for cron

A row that failed is not tried again until one of its inputs changes, or until you run it:
`sinagot-catalog run --status ERROR`. New files are noticed at once if the system reports them, otherwise at each
--interval (buckets, network disks). --json prints an object per row that ran, with run_id.

exit codes: 0 if it is interrupted while it waits, 130 if it is during a run; with --once those of run""",
    PLACE,
    where("steps that fit; it may name columns of records"),
    steps("this step, and nothing downstream of it"),
    record(),
    time_span(
        "--interval",
        "list the files at least this often: 30s, 5m, 1h; by default 60s",
        old=["--every"],
        default="60s",
    ),
    time_span(
        "--stable-for",
        "how long a new file must keep its size and time before it is read; by default 2s",
        old=["--settle"],
        default="2s",
    ),
    flag("--submit", help="as Prefect flows; the default"),
    flag("--run", help="here, without Prefect"),
    Option("--deployment", metavar="NAME", help="on the workers of this deployment"),
    flag("--once", help="end when nothing is left that is ready"),
    STALE,
    WORKERS,
    flag("--json", help="a line of JSON for each row that ran"),
)
def watch(args: Any) -> int:
    """Run rows as they become ready; print a line for each round that ran rows."""
    ways = [f"--{name}" for name in ("submit", "run", "deployment") if getattr(args, name)]
    if len(ways) > 1:
        raise SelectionError(f"{ways[1]}: not allowed with argument {ways[0]}")
    ws = open_workspace(args)
    reports = selected(ws, args).watch(
        args.step,
        interval=args.interval,
        stable_for=args.stable_for,
        submit=not args.run,
        deployment=args.deployment,
        once=args.once,
        workers=args.workers or None,
        stale=args.stale,
        on_message=say,
    )
    if not args.once:
        say(f"watching {ws.config.name}, and looking every {args.interval:g} s; Ctrl-C ends it")
    say_what_is_missing(ws)
    ok = is_idle = True
    for report in reports:
        ok, is_idle = ok and report.ok, False
        try:
            _tell(args, report)
        except KeyboardInterrupt:  # the round has resolved its rows: end as between two rounds
            break
    if args.once and is_idle:
        say("nothing is ready")
    return 0 if ok or not args.once else SOME_FAILED


def _tell(args: Any, report: RunReport) -> None:
    """Print one line on a round, with its failures; or a line of JSON for each of its rows."""
    say_failures(args, report)
    line = f"{time.strftime('%H:%M:%S')}  {result_line(report)}"
    if args.json:
        rows = report.frame.with_columns(pl.lit(report.run_id).alias("run_id"))
        put_whole(rows.write_ndjson(), end="")
        say(line)
    else:
        put(paint(line, "32" if report.ok else "31"))
