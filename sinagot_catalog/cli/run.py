"""`plan`, `run` and `submit`: print the plan of a run, run rows, or submit them to Prefect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import polars as pl

from sinagot_catalog.catalog import failed
from sinagot_catalog.cli.echo import clean, say
from sinagot_catalog.cli.ls import LIMIT
from sinagot_catalog.cli.output import is_machine, paint, put, put_json, put_rows, put_table, width
from sinagot_catalog.cli.workspace_args import (
    command,
    open_workspace,
    say_unread_values,
    say_what_is_missing,
    selected,
    source_of,
    steps_of,
)
from sinagot_catalog.errors import ServerError, SinagotError, row_label
from sinagot_catalog.run import replaced
from sinagot_catalog.schema import KEYS

if TYPE_CHECKING:
    from sinagot_catalog.journal import RunReport
    from sinagot_catalog.run import Plan
    from sinagot_catalog.steps import StepCollection
    from sinagot_catalog.workspace import Workspace

__all__ = ["SOME_FAILED", "in_one_line", "plan", "run", "say_failures", "submit"]

SOME_FAILED = 3
DECLINED = 130
_SHOWN = 5


def plan(args: Any) -> int:
    """Print the plan of a run."""
    ws = open_workspace(args)
    steps = selected(ws, args)
    made = _plan(steps, args)
    say_unread_values(ws)
    if is_machine(args):
        put_rows(args, made.frame)
        say(_sum(made))
        return 0
    quiet = (pl.col("status") == "DONE").fill_null(value=False) | pl.col("reason").str.starts_with(
        "beyond the limit"
    )
    frame = made.frame.filter((pl.col("action") != "skip") | ~quiet.fill_null(value=False))
    if frame.is_empty():
        _say_idle(ws, args, made, steps)
        return 0
    shown = frame.head(LIMIT) if width() else frame
    keys = [name for name in ("task", "modality") if frame[name].null_count() < frame.height]
    put_table(shown.select("record_id", *keys, "step", "action", "reason"))
    if shown.height < frame.height:
        say(f"({shown.height} of {frame.height:,} rows; --csv for all)")
    if made.n_run:
        put("")
        put_table(_costs(made))
    put(_sum(made))
    return 0


def _costs(made: Plan) -> pl.DataFrame:
    """Return the expected cost per step: rows, time by the median of earlier runs, bytes to read."""
    costs = made.costs.join(made.volume(), on="step", how="left", maintain_order="left")
    return costs.select(
        "step",
        pl.col("rows"),
        pl.Series("each", [_duration(one) for one in costs["seconds_each"]], dtype=pl.String),
        pl.Series("together", [_duration(one) for one in costs["seconds"]], dtype=pl.String),
        pl.Series("to read", [_size(one) for one in costs["bytes"]], dtype=pl.String),
    )


def _duration(seconds: float | None) -> str:
    """Format a duration; empty for a step that never ran."""
    if seconds is None:
        return "?"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else _time(seconds)


def _size(count: int | None) -> str:
    """Format a number of bytes."""
    if not count:
        return "-"
    for most, size, unit in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (1e12, 1e9, "GB")):
        if count < most:
            return f"{count / size:.{0 if size == 1 else 1}f} {unit}"
    return f"{count / 1e12:.1f} TB"


def run(args: Any) -> int:
    """Run the selected rows in this process and its workers."""
    ws = open_workspace(args)
    steps = selected(ws, args)
    if not _may_replace(ws, args, steps):
        return DECLINED
    progress = False if args.quiet else None
    options = _options(args) | {"workers": args.workers or None, "stop_after": args.stop_after or None}
    try:
        report = steps.run(steps_of(args), mode=args.mode, progress=progress, debug=args.debug, **options)
    except SinagotError:
        raise
    except Exception as error:
        if not (args.debug and _is_of_script(error, source_of(ws).scripts)):
            raise
        traceback.print_exc()
        return SOME_FAILED
    return _end(ws, args, steps, report)


def submit(args: Any) -> int:
    """Run the selected rows as a Prefect flow."""
    if args.follow:
        return _follow(args)
    is_beside = args.no_wait and not args.deployment
    if is_beside and not args.force:
        return _submit_beside(args)
    ws = open_workspace(args)
    steps = selected(ws, args)
    if not _may_replace(ws, args, steps):
        return DECLINED
    if is_beside:
        return _submit_beside(args)
    options = _options(args) | {"workers": args.workers or None, "stop_after": args.stop_after or None}
    options["deployment"] = args.deployment
    handle = steps.submit(steps_of(args), **options)
    if args.no_wait:
        return _tell(args, {"run_id": handle.run_id, "flow_run_id": handle.flow_run_id, "url": handle.url})
    if args.handle_fd is not None:
        _hand_over(
            args.handle_fd, {"run_id": handle.run_id, "flow_run_id": handle.flow_run_id, "url": handle.url}
        )
    try:
        report = handle.wait()
    except KeyboardInterrupt:
        with suppress(ServerError):  # a flow run that never began leaves no report
            handle.cancel()
            handle.wait()
        raise
    return _end(ws, args, steps, report)


def _follow(args: Any) -> int:
    """Wait for a flow run that was started elsewhere; Ctrl-C does not cancel it."""
    ws = open_workspace(args)
    handle = ws.handle(args.follow)
    if args.no_wait:
        put(handle.state)
        return 0
    return _end(ws, args, ws.steps, handle.wait())


# --- before a run --------------------------------------------------------------------------------------------


def _options(args: Any) -> dict[str, Any]:
    """Return the options of a selection that planning takes."""
    return {
        "force": args.force,
        "ignore_missing": args.ignore_missing,
        "downstream": args.downstream,
        "stale": args.stale,
        "limit": args.limit or None,
    }


def _may_replace(ws: Workspace, args: Any, steps: StepCollection) -> bool:
    """Print what `--force` replaces; on a terminal ask, and return whether the answer is yes."""
    if not args.force or getattr(args, "handle_fd", None) is not None:
        return True  # the waiting parent process has asked
    count, size = replaced(source_of(ws), _plan(steps, args))
    if not count:
        return True
    outputs = f"{count:,} output{'' if count == 1 else 's'} ({_size(size) if size else '0 B'})"
    if args.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        say(f"--force replaces {outputs}")
        return True
    print(f"--force replaces {outputs}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201 - a question
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was run")
    return False


def _plan(steps: StepCollection, args: Any) -> Plan:
    return steps.plan(steps_of(args), **_options(args))


def _sum(made: Plan) -> str:
    """Return the number of rows of a plan by action, and their expected duration."""
    counts = made.counts()
    words = [f"{counts['run']} to run"]
    words += [f"{counts['blocked']} blocked"] if counts["blocked"] else []
    words += [f"{counts['skip']} skipped"] if counts["skip"] else []
    seconds = float(made.costs["seconds"].sum())
    time = f", about {_time(seconds)} of script time" if seconds >= 1 else ""
    return ", ".join(words) + time


def _time(seconds: float) -> str:
    for most, size, unit in ((90, 1, "s"), (5400, 60, "min"), (float("inf"), 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.1f} {unit}"
    return ""


def _is_of_script(error: BaseException, scripts: str) -> bool:
    """Whether an error came from a file of the scripts."""
    return any(frame.filename.startswith(scripts) for frame in traceback.extract_tb(error.__traceback__))


# --- after a run ---------------------------------------------------------------------------------------------


def _end(ws: Workspace, args: Any, steps: StepCollection, report: RunReport) -> int:
    """Print the result of a run, and return the exit code."""
    say_unread_values(ws)
    if is_machine(args):
        put_rows(args, report.frame)
    if report.frame.is_empty():
        _say_idle(ws, args, _plan(steps, args), steps)
        return 0
    say_failures(args, report)
    line = in_one_line(report)
    if is_machine(args):
        say(line)
    else:
        put(paint(line, "32" if report.ok else "31"))
    if not report.ok:
        return SOME_FAILED
    counts = report.counts()
    if counts.get("cancelled"):
        return 130
    return SOME_FAILED if args.strict and (counts.get("not_available") or counts.get("claimed")) else 0


def say_failures(args: Any, report: RunReport) -> None:
    """Print the first failed rows, and the command that shows more."""
    failed = report.failures().sort(pl.col("outcome") == "blocked", maintain_order=True)
    for row in failed.head(_SHOWN).iter_rows(named=True):
        say(_failure(row))
    if failed.height:
        more = f"{failed.height - _SHOWN} more; " if failed.height > _SHOWN else ""
        say(f"{more}see {command(args, 'logs', '--failed')}")


def in_one_line(report: RunReport) -> str:
    """Return the result of a run and its duration."""
    return f"{report.summary()} in {_time(report.seconds)}"


def _failure(row: dict[str, Any]) -> str:
    """Format a failed row in one line."""
    key = row_label(*(row[key] for key in KEYS))
    kind = f"{row['error_type']}: " if row["error_type"] else ""
    text = (row["message"] or row["outcome"]).strip().partition("\n")[0]
    return f"  {key}: {kind}{text}"


def _say_idle(ws: Workspace, args: Any, made: Plan, steps: StepCollection) -> None:
    """Print that there is nothing to do, and the reason if not all rows are done."""
    line = say if is_machine(args) else put
    waiting = made.frame.filter((pl.col("status") != "DONE").fill_null(value=True))
    if made.frame.is_empty():
        line(f"nothing to do: {'no rows fit' if _is_narrowed(args) else 'no records'}")
    elif waiting.is_empty():
        count = len(steps.filter(failed()))
        if count:
            rows = f"{count:,} row{'' if count == 1 else 's'}"
            line(f"nothing to do: all outputs are there, but the last attempt at {rows} failed")
            say(f"see {command(args, 'logs', '--failed')}; --force runs them again")
        elif _is_narrowed(args):
            line("nothing to do: these are done; --force runs them again")
        else:
            line("nothing to do: everything is done")
    else:
        first = waiting.row(0, named=True)
        example = clean(f"{first['record_id']} {first['step']}: {first['reason']}")
        line(f"nothing to do: {waiting.height} cannot run, such as {example}")
    if made.frame.is_empty() or not waiting.is_empty():
        say_what_is_missing(ws)


def _is_narrowed(args: Any) -> bool:
    return any((args.where, args.status, args.step, args.record, args.rows))


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
            said = pipe.read()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=30)
        raise
    if not said:
        return child.wait(timeout=60)
    return _tell(args, json.loads(said), child.pid)


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
