"""`exclude`, `include`: leave records and steps out, and take them back."""

from __future__ import annotations

from typing import Any

from sinagot_catalog.cli.echo import clean, say
from sinagot_catalog.cli.output import is_machine, put, put_rows, say_note
from sinagot_catalog.cli.parser.command import Argument, Option, verb
from sinagot_catalog.cli.parser.options import OUTPUT, WORKSPACE, steps, where
from sinagot_catalog.cli.workspace_args import first_of, of_steps, of_where, open_workspace, source_of
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import UsageError, row_label
from sinagot_catalog.startup import polars as pl

_SHOWN = 5


_GROUP = "which rows"
_WHICH = [
    Argument("record", "ID...", nargs=-1, required=False, about="records"),
    where("records with a step that fits, such as \"status = 'ERROR'\"", _GROUP),
    steps("only this step, not the whole record", _GROUP),
    Option("--task", metavar="T", group=_GROUP, help="only this task"),
    Option("--modality", metavar="M", group=_GROUP, help="only this modality"),
]


@verb(
    "leave records or steps out, with a reason: no run takes them, and their results are kept",
    """
  sinagot-catalog exclude REC-20200603 REC-20200604 --reason "fog"
  sinagot-catalog exclude REC-20200605 --step count --reason "wrong camera"
  sinagot-catalog exclude --where "age < 18" --reason "consent"

Each gets a row in the table that [records] exclude names, a CSV file that you can edit too. What is made from an
excluded row is excluded as well. --json, --csv and --parquet have a row per exclusion: record_id, task, modality,
step (null stands for all), excluded, reason (if it was excluded already).""",
    _WHICH,
    Option("--reason", metavar="TEXT", required=True, help="why, in a few words"),
    WORKSPACE,
    OUTPUT,
)
def exclude(args: Any) -> int:
    """Exclude the records, or the given steps of them."""
    from sinagot_catalog import catalog

    _check_named(args)
    ws = open_workspace(args)
    for record_id in args.record:
        ws.records[record_id]  # an unknown id raises an error that names similar ids
    steps = of_where(of_steps(ws.get_subscope(args.task, args.modality).steps, args), args)
    rows = steps.records  # of a step that groups records, the members
    rows = rows.filter(pl.col("record_id").is_in(args.record)) if args.record else rows
    source = source_of(ws)
    changed = catalog.exclude(source, rows._query, args.reason, step=args.step)  # noqa: SLF001 - without its warning
    _show(args, changed, "excluded", catalog.missing_line(source) or "")
    grouping = {cell.step for cell in source.layout().cells if cell.by is not None}
    if changed.is_empty() and grouping.intersection(args.step):
        say_note(
            f"{', '.join(sorted(grouping.intersection(args.step)))} has a row per group, which fits a condition on "
            "records if all its members do: name the records that the group leaves out"
        )
    return 0


@verb(
    "undo an exclusion",
    """
  sinagot-catalog include REC-20200603
  sinagot-catalog include REC-20200605 --step count

An exclusion of a whole record is taken back as a whole. --json, --csv and --parquet have a row per exclusion of
these rows: record_id, task, modality, step (null stands for all), included, reason (if it stays).""",
    _WHICH,
    WORKSPACE,
    OUTPUT,
)
def include(args: Any) -> int:
    """Remove the exclusions of the records, or of the given steps of them."""
    _check_named(args)
    ws = open_workspace(args)
    rows = ws.get_subscope(args.task, args.modality).steps
    if args.record:  # also those without a file
        scope = {name: getattr(args, name) for name in ("task", "modality") if getattr(args, name)}
        rows = ws._of(pl.DataFrame({"record_id": args.record, **scope}))  # noqa: SLF001 - like Workspace.run
    else:
        rows = of_steps(rows, args)
    rows = of_where(rows, args)
    _show(args, rows.records.include(args.step) if args.step else rows.include(), "included")
    return 0


def _check_named(args: Any) -> None:
    if not args.record and not args.where:
        raise UsageError("no record is named", "Name records, or give --where.")


def _show(args: Any, rows: pl.DataFrame, verb: str, note: str = "") -> None:
    """Print which rows were excluded or included, and why others were not; `note` says why none has an effect."""
    if is_machine(args):
        put_rows(args, [rows])
    changed, left = rows.filter(verb), rows.filter(~pl.col(verb))
    if note and is_machine(args):
        say_note(note)
    elif note:
        put(clean(f"0 excluded; written to exclude.csv{_names(rows)}\n{note}"))
    elif not is_machine(args):
        put(clean(f"{changed.height:,} {verb}{_names(changed)}"))
    if left.height and not note:
        say(f"{count_of(left.height, 'row')} unchanged, such as {first_of(left)}")


def _names(rows: pl.DataFrame) -> str:
    """Return the names of the first rows, after a colon."""
    from sinagot_catalog.schema import KEYS

    names = [row_label(*key) for key in rows.select(*KEYS).head(_SHOWN).iter_rows()]
    return f": {', '.join(names)}{' …' if rows.height > _SHOWN else ''}" if names else ""
