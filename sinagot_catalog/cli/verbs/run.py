"""`plan`, `run` and `submit`: print the plan of a run, run rows, or submit them to Prefect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import click

from sinagot_catalog.cli.echo import clean, say, width
from sinagot_catalog.cli.next_line import excluded_text
from sinagot_catalog.cli.output import is_machine, paint, put, put_either, put_json, put_rows, put_table
from sinagot_catalog.cli.parser.command import OneOf, Option, flag, numbered, verb
from sinagot_catalog.cli.parser.options import OUTPUT, RUN, SELECTION
from sinagot_catalog.cli.plans import Plans, plan_options, run_options
from sinagot_catalog.cli.run_result import result_line, say_failures
from sinagot_catalog.cli.submit_parts import check_parts, submit_parts, wait_for_parts
from sinagot_catalog.cli.verbs.ls import LIMIT
from sinagot_catalog.cli.workspace_args import (
    command,
    is_narrowed,
    open_workspace,
    say_absent_value,
    say_unread_values,
    say_what_is_missing,
    selected,
    source_of,
)
from sinagot_catalog.config import count_of, size_text
from sinagot_catalog.errors import NotFoundError, ServerError, SinagotError
from sinagot_catalog.startup import polars as pl

if TYPE_CHECKING:
    from sinagot_catalog.flows import RunHandle
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.steps import StepCollection
    from sinagot_catalog.workspace import Workspace

SOME_FAILED = 3
_LONG = 60
_NAMED = 3
"""The most outputs that the question of `--force` names of a kind."""
DECLINED = 130


@verb(
    "what `run` would do and why; runs and writes nothing",
    """
  sinagot-catalog plan
  sinagot-catalog plan --status ERROR --json

--json, --csv and --parquet have every selected row in order: record_id, task, modality, step, action (run, skip,
blocked), reason, status. The table leaves out what is done.""",
    SELECTION,
    OUTPUT,
)
def plan(args: Any) -> int:
    """Print the plan of a run."""
    ws = open_workspace(args)
    steps = selected(ws, args)
    plans = Plans(steps, args)
    if is_machine(args):
        put_rows(args, (plan.frame for plan in plans))
        say_unread_values(ws)
        say(plans.summary())
        return 0
    rows = plans.shown(LIMIT if width() or source_of(ws).ranges else None)
    say_unread_values(ws)
    if rows.is_empty():
        _say_idle(ws, args, plans, steps)
        return 0
    keys = [name for name in ("task", "modality") if rows[name].null_count() < rows.height]
    put_table(_short_reasons(rows).select("record_id", *keys, "step", "action", "reason"))
    if rows.height < plans.n_open:
        say(f"({rows.height} of {plans.n_open:,} rows; --csv for all)")
    if plans.counts["run"]:
        put("")
        put_table(plans.costs(), counts=["rows"])
    put(plans.summary())
    for line in plans.notes():
        say(line)
    return 0


def _short_reasons(rows: pl.DataFrame) -> pl.DataFrame:
    """Show each long reason of a step once; in the rows below it, replace it by "as above"."""
    again = pl.int_range(pl.len()).over("step", "reason") > 0
    is_long = pl.col("reason").str.len_chars() > _LONG
    return rows.with_columns(
        pl.when(again & is_long).then(pl.lit("as above")).otherwise("reason").alias("reason")
    )


@verb(
    "run what is not done, now and on this machine",
    """
  sinagot-catalog run example/harbor
  sinagot-catalog run --where "record_id > 'REC-20200610'" --step count --force
  sinagot-catalog run --step summary --record REC-20200603 --upstream
  sinagot-catalog ls steps --where "age > 40" --csv | sinagot-catalog run --rows -

--json, --csv and --parquet have a row per job: record_id, task, modality, step, outcome (done, error, timeout,
blocked, not_available, claimed, already_done, cancelled), seconds, attempts, error_type, message.""",
    SELECTION,
    Option(
        "--mode", type=OneOf(["processes", "main_process", "prefect"]), help="by default that of [run] mode"
    ),
    RUN,
    flag("--debug", help="run in this process, log everything, and raise what a script raises"),
)
def run(args: Any) -> int:
    """Run the selected rows in this process and its workers."""
    if args.dry_run:
        return plan.run(args)
    ws = open_workspace(args)
    steps = selected(ws, args)
    if not _may_replace(args, steps):
        return DECLINED
    progress = False if args.quiet else None
    try:
        report = steps.run(mode=args.mode, progress=progress, debug=args.debug, **run_options(args))
    except SinagotError:
        raise
    except Exception as error:
        if not (args.debug and _is_of_script(error, source_of(ws).scripts)):
            raise
        traceback.print_exc()
        return SOME_FAILED
    return _end(ws, args, steps, report)


@verb(
    "run what is not done as a Prefect flow",
    """
  sinagot-catalog submit example/harbor
  sinagot-catalog submit --where "status = 'DATA_READY'" --no-wait
  sinagot-catalog submit --status ERROR --deployment run-workspace/nightly      on the workers of a deployment
  sinagot-catalog submit --follow 0198c5f2-...      wait for a flow run that was started elsewhere

Without a configured Prefect API a local server is started, which stays up (`sinagot-catalog server`).
--json, --csv and --parquet as of run; with --no-wait an object with run_id, flow_run_id, url, pid (null where it
runs elsewhere), with --parts a list of them in flow_runs.""",
    SELECTION,
    Option(
        "--deployment", metavar="NAME", help="have the workers of this deployment run them, not this machine"
    ),
    Option("--cluster", metavar="ADDRESS", help="a Dask or Ray cluster, or a scheduler file of Dask"),
    Option("--parts", metavar="N", type=numbered, help="N flow runs that share the records, and a last one"),
    Option("--follow", metavar="ID", help="wait for this flow run of the workspace; nothing is submitted"),
    flag("--no-wait", help="return when the flow has started; it continues by itself"),
    click.Option(["--handle-fd"], type=int, hidden=True),
    RUN,
)
def submit(args: Any) -> int:
    """Run the selected rows as a Prefect flow."""
    if args.dry_run or args.follow:
        return plan.run(args) if args.dry_run else _follow(args)
    check_parts(args)
    is_beside = args.no_wait and not args.deployment
    if is_beside and not args.force:
        return _submit_beside(args)
    ws = open_workspace(args)
    steps = selected(ws, args)
    if not _may_replace(args, steps):
        return DECLINED
    if is_beside:
        return _submit_beside(args)
    options = run_options(args) | {"deployment": args.deployment, "cluster": args.cluster}
    if args.parts:
        return _submit_parts(ws, args, steps, options)
    return _submit_whole(ws, args, steps, options)


def _submit_whole(ws: Workspace, args: Any, steps: StepCollection, options: dict[str, Any]) -> int:
    """Submit one flow run and, without `--no-wait`, wait for it."""
    handle = steps.submit(**options)
    if args.no_wait:
        return _tell(args, _shown(handle))
    if args.handle_fd is not None:
        _hand_over(args.handle_fd, _shown(handle))
    try:
        report = handle.wait()
    except KeyboardInterrupt:
        with suppress(ServerError):  # a flow run that never began leaves no report
            handle.cancel()
            handle.wait()
        raise
    return _end(ws, args, steps, report)


def _submit_parts(ws: Workspace, args: Any, steps: StepCollection, options: dict[str, Any]) -> int:
    """Submit a flow run for each part; wait for them, then submit what belongs to no part."""
    from sinagot_catalog.run import without_repeats

    options |= {"on_message": without_repeats(say)}
    handles = submit_parts(steps, args.parts, options)
    if not args.no_wait:
        return _end(ws, args, steps, wait_for_parts(handles, steps, options))
    urls = "\n".join(str(handle.url) for handle in handles)
    flow_runs = {"flow_runs": [_shown(handle) for handle in handles]}
    put_either(args, flow_runs, urls or "nothing to do in the parts")
    if len(steps.plan(**plan_options(args) | {"part": "last"})):
        again = command(args, "submit", "--deployment", args.deployment, "--part", "last")
        say(f"some rows read other records and belong to no part; when the parts have ended:  {again}")
    return 0


def _follow(args: Any) -> int:
    """Wait for a flow run that was started elsewhere; Ctrl-C does not cancel it."""
    ws = open_workspace(args)
    handle = ws.get_flow_run(args.follow)
    if args.no_wait:
        put(handle.state)
        return 0
    return _end(ws, args, ws.steps, handle.wait())


# --- before a run --------------------------------------------------------------------------------------------


def _may_replace(args: Any, steps: StepCollection) -> bool:
    """Print what `--force` replaces; on a terminal ask, and return whether the answer is yes."""
    if not args.force or getattr(args, "handle_fd", None) is not None:
        return True  # the waiting parent process has asked
    from sinagot_catalog.run import replaced

    changes = [replaced(source, made) for source, made in Plans(steps, args).of_sessions()]
    count = sum(part.n_outputs for part in changes)
    if not count:
        return True
    outputs = f"{count_of(count, 'output')} ({size_text(sum(part.size for part in changes))})"
    foreign = [path for part in changes for path in part.foreign]
    edited = [path for part in changes for path in part.edited]
    least = "at least " if any(part.is_sampled for part in changes) else ""
    for paths, text in (
        (foreign, "no run made {:,} of them"),
        (edited, f"{least}{{:,}} of them changed after their run"),
    ):
        if paths:
            outputs += f", and {text.format(len(paths))}, such as {clean(', '.join(paths[:_NAMED]))}"
    if args.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        say(f"--force replaces {outputs}")
        return True
    print(f"--force replaces {outputs}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - a question
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was run")
    return False


def _is_of_script(error: BaseException, scripts: str) -> bool:
    """Whether an error came from a file of the scripts."""
    return any(frame.filename.startswith(scripts) for frame in traceback.extract_tb(error.__traceback__))


# --- after a run ---------------------------------------------------------------------------------------------


def _end(ws: Workspace, args: Any, steps: StepCollection, report: RunReport) -> int:
    """Print the result of a run, and return the exit code."""
    say_unread_values(ws)
    if is_machine(args):
        put_rows(args, [report.frame])
    if report.frame.is_empty():
        _say_idle(ws, args, Plans(steps, args).summed(), steps)
        return 0
    say_failures(args, report)
    line = result_line(report)
    if is_machine(args):
        say(line)
    else:
        put(paint(line, "32" if report.ok else "31"))
    counts = report.counts()
    if counts.get("not_available") and not args.upstream and _has_upstream(steps, args):
        say("other steps make missing inputs of these rows; --upstream runs them, too")
    if not report.ok:
        return SOME_FAILED
    if counts.get("cancelled"):
        return 130
    return SOME_FAILED if args.strict and (counts.get("not_available") or counts.get("claimed")) else 0


def _has_upstream(steps: StepCollection, args: Any) -> bool:
    """Whether further rows could make missing inputs of the selected rows."""
    wider = Plans(steps, args, upstream=True).summed()
    return wider.counts["run"] > Plans(steps, args).summed().counts["run"]


def _say_group(ws: Workspace, args: Any) -> None:
    """Print the group of a record for which a group step was asked."""
    for record_id, step in product(args.record or (), args.step or ()):
        try:
            ws.explain(record_id, step)
        except NotFoundError as error:
            say(error.one_line)
            return
        except SinagotError:  # several tasks have this step
            continue


def _say_idle(ws: Workspace, args: Any, plans: Plans, steps: StepCollection) -> None:
    """Print that there is nothing to do, and the reason if not all rows are done."""
    from sinagot_catalog.catalog import failed

    line = say if is_machine(args) else put
    if not plans.n_rows:
        line(f"nothing to do: {'no rows fit' if is_narrowed(args) else 'no records'}")
        say_absent_value(steps)
        _say_group(ws, args)
    elif plans.waiting:
        line(f"nothing to do: {plans.n_waiting:,} cannot run, such as {_with_reason(plans.waiting)}")
    elif count := len(steps.filter(failed())):
        line(f"nothing to do: all outputs are there, but the last attempt at {count_of(count, 'row')} failed")
        say(f"see {command(args, 'logs', '--failed')}; --force runs them again")
    elif plans.excluded:
        line(f"nothing to do: {excluded_text(plans.n_excluded)}, such as {_with_reason(plans.excluded)}")
    elif is_narrowed(args):
        line("nothing to do: these are done; --force runs them again")
    else:
        line("nothing to do: everything is done")
    if not plans.n_rows or plans.waiting:
        say_what_is_missing(ws)


def _with_reason(row: dict[str, Any]) -> str:
    return clean(f"{row['record_id']} {row['step']}: {row['reason']}")


# --- submit without waiting ------------------------------------------------------------------------------------


def _submit_beside(args: Any) -> int:
    """Submit from a separate process, which drives the flow to its end; return when the flow has started."""
    words = [word for word in sys.argv[1:] if word != "--no-wait"]
    ours, theirs = os.pipe()
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
        child = subprocess.Popen(  # noqa: S603 - the library's own program with its own arguments
            [sys.executable, "-P", "-m", "sinagot_catalog", *words, "--handle-fd", str(theirs)],
            pass_fds=[theirs], stdin=subprocess.DEVNULL, stdout=nowhere, start_new_session=True,
        )  # fmt: skip
    os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as pipe:
            answer = pipe.read()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=30)
        raise
    if not answer:
        return child.wait(timeout=60)
    return _tell(args, json.loads(answer), child.pid)


def _shown(handle: RunHandle) -> dict[str, str | None]:
    """Return where a submitted run is, for programs."""
    return {"run_id": handle.run_id, "flow_run_id": handle.flow_run_id, "url": handle.url}


def _tell(args: Any, handle: dict[str, Any], pid: int | None = None) -> int:
    """Print where the user can see a run that continues in the background."""
    if args.json:
        put_json({**handle, "pid": pid})
    elif handle["url"] is None:
        put("nothing to do")
    else:
        put(handle["url"])
        if pid is not None:
            say(f"{handle['run_id']} goes on in process {pid}; `kill {pid}` ends it")
        else:
            follow = command(args, "submit", "--follow", handle["flow_run_id"], whole=True)
            say(f"to wait for it:  {follow}")
    return 0


def _hand_over(descriptor: int, handle: dict[str, Any]) -> None:
    """Send the handle of the flow run to the waiting parent process, and detach from its terminal."""
    try:
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(json.dumps(handle).encode())
    except OSError as error:
        raise ServerError(f"the process that submitted is gone: {error}") from error
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())
