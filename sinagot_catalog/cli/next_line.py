"""Next line: what can be run now, or why nothing can, in one line below the counts of `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.output import paint
from sinagot_catalog.cli.workspace_args import (
    beside_run,
    command,
    is_narrowed,
    run_command,
    selected,
    source_of,
)
from sinagot_catalog.config import count_of

if TYPE_CHECKING:
    from sinagot_catalog.cli.verbs.status import StatusCounts

_STEPS = 4


def next_line(look: StatusCounts, args: Any) -> str:
    """Return one line on what can be run now."""
    return _next(look, args) + _stale(look, args)


def _next(look: StatusCounts, args: Any) -> str:
    from sinagot_catalog.run import order_fault

    totals = look.totals
    if not totals["total"]:
        return _nothing(look, args)
    if totals["done"] + totals["excluded"] == totals["total"]:
        if totals["failed"]:
            rows = count_of(totals["failed"], "row")
            return f"all outputs are there, but the last attempt at {rows} failed"
        return "everything is done" + (f"; {excluded_text(n)}" if (n := totals["excluded"]) else "")
    if look.ready:
        if (fault := order_fault(source_of(look.ws).ranges.any.catalog())) is not None:
            return f"nothing can run: {fault}"
        first = [f"{count:,} {step}" for step, count in list(look.ready.items())[:_STEPS]]
        some = f"{', '.join(first)}{' …' if len(look.ready) > _STEPS else ''}"
        ready = beside_run(look.ws, args, f"{totals['data_ready']:,} can run now: {some}")
        return f"next: {paint(run_command(look.ws, args), '1')}{ready}"
    return _stuck(look, args)


def _nothing(look: StatusCounts, args: Any) -> str:
    """Return that line for a workspace or a filter without rows."""
    source = source_of(look.ws)
    if is_narrowed(args):
        return "nothing to do: no step of a record fits"
    if source.ranges.any.catalog().faults:
        return _mend(args)
    has_steps = bool(source.layout().cells)
    none = "no records" if has_steps else "no steps: list scripts in workspace.toml, or see init --help"
    return f"nothing to do: {none}"


def excluded_text(count: int) -> str:
    """Return how many rows are excluded."""
    return f"{count_of(count, 'row')} {'is' if count == 1 else 'are'} excluded"


def _stale(look: StatusCounts, args: Any) -> str:
    """Return the number of stale rows and the command for them; if only scripts changed, it names that cause."""
    if not (n := look.totals["stale"]):
        return ""
    rows = selected(look.ws, args).filter(status="DONE")
    is_code = all(part.plan(args.step or None, stale=True).n_run == 0 for part in rows.ranges())
    return f"; {n:,} stale: {run_command(look.ws, args, '--stale=code' if is_code else '--stale')}"


def _stuck(look: StatusCounts, args: Any) -> str:
    """Return that line for rows none of which is ready."""
    totals = look.totals
    if totals["processing"]:
        verb = "is" if totals["processing"] == 1 else "are"
        return f"{totals['processing']:,} {verb} running; see {command(args, 'logs', '--follow')}"
    if totals["error"] > look.n_broken:
        again = run_command(look.ws, args, "--status", "ERROR")
        n_failed = totals["error"] - look.n_broken
        return (
            f"next: {paint(again, '1')}{beside_run(look.ws, args, f'{n_failed:,} failed, to be tried again')}"
        )
    if look.n_broken:
        return _mend(args)
    return f"nothing can run now; why: {command(args, 'plan')}"


def _mend(args: Any) -> str:
    doctor = paint(command(args, "doctor", whole=True), "1")
    return f"next: mend what the notes say of the scripts; {doctor} says more"
