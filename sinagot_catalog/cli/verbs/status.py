"""`status`: prints how many rows have each status, and what can run next."""

from __future__ import annotations

import time
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from sinagot_catalog.cli.echo import broken, clean, say, width
from sinagot_catalog.cli.next_line import next_line
from sinagot_catalog.cli.output import (
    can_show,
    clear_screen,
    is_machine,
    paint,
    put,
    put_json,
    put_rows,
    put_table,
)
from sinagot_catalog.cli.parser.command import flag, verb
from sinagot_catalog.cli.parser.options import (
    OUTPUT,
    PLACE,
    SNAPSHOT,
    columns,
    record,
    steps,
    time_span,
    where,
)
from sinagot_catalog.cli.workspace_args import (
    command,
    is_narrowed,
    of_steps,
    open_workspace,
    say_absent_value,
    say_what_is_missing,
    selected,
    source_of,
)
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import SelectionError, did_you_mean, failure_text, row_label
from sinagot_catalog.startup import polars as pl
from sinagot_catalog.status import SHORT_NAMES, StepStatus

if TYPE_CHECKING:
    from sinagot_catalog.steps import StepCollection
    from sinagot_catalog.workspace import Workspace

_COUNTED = {name: name.lower() for name in StepStatus.__members__}
_COUNTS = (*_COUNTED.values(), "unknown", "failed", "stale", "total")
_BAR = 20
_BAR_FROM = 100
_PARTS = {"done": ("█", "32"), "processing": ("▓", "33"), "error": ("▒", "31"), "data_ready": ("░", "36")}
_KINDS = 3


@verb(
    "counts per step and status, and what can run next",
    """
  sinagot-catalog status
  sinagot-catalog status example/harbor --where "record_id > 'REC-20200610'"
  sinagot-catalog status --by task,modality --json
  sinagot-catalog status --follow 5s

keys of --json: workspace, records, files, seconds (of the look), snapshot (null, or its name), counts (a row per
group: the columns of --by, init, data_ready, processing, done, error, data_not_available, excluded, unknown,
failed (the last attempt, also where older outputs make a row done), stale, total), totals (the same without group),
next (command, rows, steps; null where nothing can run), notices (kind, count, example, text)""",
    PLACE,
    SNAPSHOT,
    columns("--by", "columns of steps or records to count by, instead of the step"),
    where("only steps that fit, such as \"record_id > 'REC-2'\""),
    steps("only this step"),
    record(),
    flag("--stale", help="also count stale rows; reads sizes and times"),
    time_span(
        "--follow",
        "refresh at this interval, by default 2s, until Ctrl-C",
        old=["--watch"],
        is_flag=False,
        flag_value="2s",
    ),
    OUTPUT,
)
def status(args: Any) -> int:
    """Print counts per step and status, and what can run next; repeatedly with `--follow`."""
    ws = open_workspace(args)
    if args.follow is None:
        return _once(ws, args)
    try:
        while True:
            if width() and not is_machine(args):
                clear_screen()
            _once(ws, args)
            time.sleep(args.follow)
            ws.refresh()
    except KeyboardInterrupt:
        return 0


def _once(ws: Workspace, args: Any) -> int:
    steps = of_steps(selected(ws, args), args)
    look = StatusCounts(ws, steps, args)
    if args.json:
        put_json(_summary(look, args))
    elif is_machine(args):
        put_rows(args, [look.counts])
    else:
        _show(look, args)
    say_what_is_missing(ws, look.notices)
    if not is_machine(args):
        if look.failed is not None:
            _show_failures(look.failed, args)
        if not look.totals["total"]:
            say_absent_value(steps)
        put(next_line(look, args))
    return 0


# --- counting ------------------------------------------------------------------------------------------------


class StatusCounts:
    """The counts of one listing, summed over its ranges of records.

    Attributes:
        by: The columns that the rows are grouped by.
        n_steps: The number of steps: a step of two modalities counts twice.
        counts: A row per group: the columns of `by`, a column per status, `unknown`, `failed` (the last attempt),
            `stale`, `total`.
        totals: The same counts of all rows.
        ready: The number of rows of each step that can run now.
        n_broken: The number of rows whose script or pattern cannot be used.
        failed: The rows whose last attempt failed, without those of steps that no row can use; None if none did.
        notices: What the listing left out or could not use.
        seconds: How long the listing took.
    """

    def __init__(self, ws: Workspace, steps: StepCollection, args: Any) -> None:
        from sinagot_catalog.catalog import JoinedNotices

        self.ws = ws
        self.by = _by(ws, args)
        self.n_records = self.n_files = self.n_broken = 0
        self.seconds = 0.0
        counts: list[pl.DataFrame] = []
        failures: list[pl.DataFrame] = []
        notices = JoinedNotices(len(source_of(ws).ranges))
        keys = dict.fromkeys([*self.by, "modality", "step"])
        for part in steps.ranges():
            rows = _rows(part, self.by, stale=args.stale)
            counts.append(rows.select(*keys, *_flags()).group_by(*keys, maintain_order=True).agg(_sums()))
            failures += self._add(part, rows, is_whole=not is_narrowed(args))
            notices.add(source_of(part).notices())
        self.failed = pl.concat(failures) if failures else None
        self.notices = notices.all()
        every = pl.concat(counts)
        by_step = every.group_by("modality", "step", maintain_order=True).agg(_sums())
        ready = by_step.filter(pl.col("data_ready") > 0).group_by("step", maintain_order=True).agg(_sums())
        self.n_steps = by_step.height
        self.ready: dict[str, int] = dict(ready.select("step", "data_ready").iter_rows())
        self.counts = _in_order(ws, every.group_by(self.by, maintain_order=True).agg(_sums()), self.by)
        self.totals: dict[str, Any] = by_step.select(_sums()).row(0, named=True)

    def _add(self, steps: StepCollection, rows: pl.DataFrame, *, is_whole: bool) -> list[pl.DataFrame]:
        """Add the numbers of one range, and return its rows whose last attempt failed, if there are some."""
        from sinagot_catalog.catalog import failed
        from sinagot_catalog.schema import KEYS

        source = source_of(steps)
        catalog = source.catalog()
        faulty = catalog.steps.filter(pl.col("_rule") == "fault").select(*KEYS, "_cell")
        self.n_records += len(steps.records) if is_whole else rows["record_id"].n_unique()
        self.n_files += catalog.n_files
        if faulty.height:
            self.n_broken += rows.join(faulty, on=list(KEYS), how="semi", nulls_equal=True).height
        self.seconds += source.seconds
        if not rows.select(failed().any()).item():
            return []
        # a script that cannot be used has a note of its own
        noted = faulty.filter(pl.col("_cell").is_in(list(catalog.faults)))
        left = steps.filter(failed()).collect().join(noted, on=list(KEYS), how="anti", nulls_equal=True)
        return [left] if left.height else []


def _in_order(ws: Workspace, counts: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Return the counts in the order of the config; rows of groups come in the order of their ids."""
    if not set(by) <= {"task", "modality", "step"}:
        return counts
    order = [tuple(getattr(cell, name) for name in by) for cell in source_of(ws).layout().cells]
    groups = counts.select(by).rows()
    return counts[sorted(range(len(groups)), key=lambda row: order.index(groups[row]))]


def _by(ws: Workspace, args: Any) -> list[str]:
    """Return the columns to group by."""
    from sinagot_catalog.schema import TIMED

    if not args.by:
        return ["step"] if ws.is_unit_mode else ["modality", "step"]
    names = list(dict.fromkeys(args.by))
    valid_columns = [*ws.steps.collect_schema(), *ws.records.collect_schema(), *sorted(TIMED["records"])]
    columns = source_of(ws).ranges.any.catalog().file_columns
    for name in names:
        if column := columns.find("steps", name) or columns.find("records", name):
            if name == column:
                some = [f"{name}.{field}" for field in columns.fields(name, source_of(ws).stats)[:_KINDS]]
                raise SelectionError(
                    f"--by: {name} has several values",
                    f"Name one of them: {', '.join(some) or f'{name}.value'}.",
                )
        elif name not in valid_columns:
            raise SelectionError(
                f"--by: there is no column {name!r}{did_you_mean(name, valid_columns)}",
                f"Columns of steps and records: {', '.join(dict.fromkeys(valid_columns))}.",
            )
        if name in _COUNTS:
            raise SelectionError(
                f"--by: {name} is also the name of a count", "Give the column of the records another name."
            )
    return names


def _sums() -> list[pl.Expr]:
    """The sums of counts; null for `stale` where it was not counted."""
    names = [name for name in _COUNTS if name != "stale"]
    stale = pl.when(pl.col("stale").count() > 0).then(pl.col("stale").sum())
    return [*(pl.col(name).sum() for name in names[:-1]), stale.alias("stale"), pl.col("total").sum()]


def _rows(steps: StepCollection, by: list[str], *, stale: bool) -> pl.DataFrame:
    """Return the rows to count, with the columns to group by."""
    needed = ("record_id", "task", "modality", "step", "status", "outcome")
    rows = steps.select(*dict.fromkeys([*needed, *by, *(["stale"] if stale else [])]))
    return rows if stale else rows.with_columns(pl.lit(None, dtype=pl.Boolean).alias("stale"))


def _flags() -> list[pl.Expr]:
    """For each row what it counts as."""
    from sinagot_catalog.catalog import failed

    return [
        *((pl.col("status") == name).alias(key) for name, key in _COUNTED.items()),
        pl.col("status").is_null().alias("unknown"),
        failed().alias("failed"),
        pl.col("stale"),
        pl.lit(value=True).alias("total"),
    ]


# --- output --------------------------------------------------------------------------------------------------


def _summary(look: StatusCounts, args: Any) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    snapshot = source_of(look.ws).kept
    follow = {"command": command(args, "run"), "rows": look.totals["data_ready"], "steps": look.ready}
    return {
        "workspace": look.ws.config.root,
        "records": look.n_records,
        "files": look.n_files,
        "seconds": round(look.seconds, 3),
        "snapshot": None if snapshot is None else snapshot.name,
        "counts": look.counts.to_dicts(),
        "totals": look.totals,
        "next": follow if look.ready else None,
        "notices": [notice.to_dict() for notice in look.notices],
    }


def _show(look: StatusCounts, args: Any) -> None:
    """Print the counts as a table; complete groups are only named."""
    groups = count_of(look.counts.height, "group")
    if "step" in look.by:
        is_plain = set(look.by) <= {"modality", "step"}
        groups = count_of(look.n_steps, "step") + ("" if is_plain else f" · {groups}")
    snapshot = source_of(look.ws).kept
    how = f"in {look.seconds:.2f} s" if snapshot is None else f"{snapshot.age} ago"
    files = f"{count_of(look.n_files, 'file')} {how}"
    put(f"{paint(look.ws.config.name, '1')} · {count_of(look.n_records, 'record')} · {groups} · {files}")
    is_through = pl.col("done") + pl.col("excluded") == pl.col("total")
    is_fine = pl.col("stale").fill_null(0) + pl.col("failed") == 0
    complete = is_through & is_fine & (not args.by)  # groups that are asked for are always shown
    left = look.counts.filter(~complete)
    if left.is_empty():
        return
    table = left.with_columns(pl.col(look.by).cast(pl.String).fill_null("-"))
    total = {**dict.fromkeys(look.by, ""), look.by[0]: "total", **look.totals}
    table = pl.concat([table, pl.DataFrame([total], schema=table.schema)])
    hidden = ([] if look.totals["unknown"] else ["unknown"]) + ([] if args.stale else ["stale"])
    hidden += [] if look.totals["failed"] > look.totals["error"] else ["failed"]
    hidden += [] if look.totals["excluded"] else ["excluded"]
    words = {key: SHORT_NAMES.get(name, name) for name, key in _COUNTED.items()}
    words |= {"unknown": "UNKNOWN", "failed": "LAST FAILED"}
    words = {key: key if word in look.by else word for key, word in words.items()}  # of a table of records
    shown = table.drop(hidden).rename(words, strict=False)
    spare = [words[key] for key in _COUNTED.values() if not look.totals[key]]
    counts = shown.columns[len(look.by) :]
    put_table(shown, counts=counts, bold_last=True, beside=_bars(table), spare=spare)
    whole = look.counts.filter(complete).select(look.by)
    if whole.height:
        first = whole.head(5).iter_rows()
        some = [" ".join("-" if part in (None, "") else str(part) for part in row) for row in first]
        put(clean(f"complete: {', '.join(some)}{' …' if whole.height > len(some) else ''}"))


def _bars(table: pl.DataFrame) -> list[list[tuple[str, str]]] | None:
    """Return for each row a bar in coloured pieces: the share of each status, and the percentage of done rows."""
    if (width() or 0) < _BAR_FROM or not can_show("█"):
        return None
    bars = []
    for row in table.iter_rows(named=True):
        total = row["total"] or 1
        # a small share is still visible
        ends = [0, *(upto * _BAR // total for upto in accumulate(row[key] for key in _PARTS))]
        parts = zip(_PARTS, pairwise(ends), strict=True)
        sizes = {key: max(end - begin, min(row[key], 1)) for key, (begin, end) in parts}
        over = sum(sizes.values()) - _BAR
        if over > 0:
            sizes[max(sizes, key=sizes.__getitem__)] -= over
        pieces = [(mark * sizes[key], code) for key, (mark, code) in _PARTS.items() if sizes[key]]
        blank = _BAR - sum(sizes.values())
        bars.append([*pieces, ("·" * blank, "2"), (f" {100 * row['done'] // total:3d}%", "0")])
    return bars


def _show_failures(failed: pl.DataFrame, args: Any) -> None:
    """Print the kinds of failure, most frequent first."""
    from sinagot_catalog.catalog import failure_kinds

    failures = failure_kinds(failed, by=("modality", "step"))  # tasks share a cause
    for kind in failures.head(_KINDS).iter_rows(named=True):
        step = row_label(kind["task"], kind["modality"], kind["step"])
        text = failure_text(kind["error_type"], kind["message"])
        example = kind["examples"].partition("; ")[0]
        put(broken(clean(f"failed: {kind['n']:,} {step}: {text} ({example})"), 8))
    beyond = failures.height - _KINDS
    more = f"; {count_of(beyond, 'further kind')}" if beyond > 0 else ""
    say(f"why: {command(args, 'logs', '--failed')}{more}")
