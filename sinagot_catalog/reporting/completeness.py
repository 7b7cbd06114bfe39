"""Completeness: the headline of a report, and the share of done rows by task, modality, field and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from sinagot_catalog.catalog import sql_text
from sinagot_catalog.config import count_of
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.reporting.report_rows import CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sinagot_catalog.catalog import Catalog
    from sinagot_catalog.reporting.report_rows import ReportRows

_GROUPS = 30
"""Number of groups of one column that a report shows."""
_CATEGORIES, _CATEGORY_COLUMNS = 12, 4
"""Number of values of a metadata column that sorts records into groups, and number of such columns in a report."""


class Group(NamedTuple):
    """The rows with one value of a column.

    Attributes:
        value: The value.
        counts: The number of rows by status code.
        condition: The filter in SQL that selects them.
    """

    value: str
    counts: tuple[int, ...]
    condition: str

    @property
    def total(self) -> int:
        """The number of rows."""
        return sum(self.counts)

    @property
    def failed(self) -> int:
        """The number of failed rows."""
        return self.counts[CODES["ERROR"]]

    @property
    def percent(self) -> str:
        """The share of done rows."""
        return percent(self.counts[CODES["DONE"]], self.total)


class Grouping(NamedTuple):
    """The groups of one column.

    Attributes:
        column: The name of the column.
        groups: The groups; of many groups those with the most failures and the smallest share of done rows.
        n_groups: The number of all groups.
    """

    column: str
    groups: list[Group]
    n_groups: int


def headline(rows: ReportRows) -> str:
    """Return one line on the state of the rows: `14 of 18 rows done (78 %), 2 failed, 1 can run now`."""
    total = sum(rows.totals)
    if not total:
        return "There is no row." if rows.has_records else "There is no record yet."
    count = dict(zip(CODES, rows.totals, strict=True))
    parts = [f"{count['DONE']:,} of {count_of(total, 'row')} done ({percent(count['DONE'], total)})"]
    waiting = count["INIT"] + count["DATA_NOT_AVAILABLE"]
    for n, words in (
        (count["ERROR"], "failed"),
        (count["DATA_READY"], "can run now"),
        (count["PROCESSING"], "running"),
        (waiting, "waits for an input" if waiting == 1 else "wait for an input"),
        (count["EXCLUDED"], "excluded"),
        (count["UNKNOWN"], "unknown"),
    ):
        parts += [f"{n:,} {words}"] if n else []
    n_retained = rows.failed.filter(pl.col("status") == "DONE").height
    failed = f"; the last attempt failed for {n_retained:,} of the done rows" if n_retained else ""
    return ", ".join(parts) + failed


def equals(column: str, value: str | None) -> str:
    """Return the condition in SQL that a column has a value.

    Example:
        >>> equals("site", "A"), equals("task", None)
        ("site = 'A'", 'task IS NULL')
    """
    name = column if column.isidentifier() else '"' + column.replace('"', '""') + '"'
    return f"{name} IS NULL" if value is None else f"{name} = {sql_text(value)}"


def percent(part: int, whole: int) -> str:
    """Return a share in whole percent; only everything is 100 %, and only nothing is 0 %.

    Example:
        >>> percent(14, 18), percent(999, 1000), percent(1, 1000), percent(0, 3)
        ('78 %', '99 %', '1 %', '0 %')
    """
    if part in (0, whole):
        return "100 %" if part else "0 %"
    return f"{min(99, max(1, round(100 * part / whole)))} %"


def groupings(catalog: Catalog, rows: ReportRows, by: Sequence[str] = ()) -> list[Grouping]:
    """Return the rows by each column of `group_columns`."""
    steps, names = group_columns(catalog, rows, by)
    absent = dict.fromkeys(catalog.layout.ids.groups, "(several)")
    if catalog.layout.bys:  # the records of a group may have no value, or several
        absent |= dict.fromkeys(_categories(catalog), "(none or several)")
    return [_grouping(steps, name, absent.get(name, "(none)")) for name in names]


def group_columns(
    catalog: Catalog, rows: ReportRows, by: Sequence[str] = ()
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows with the columns to group by: those of `by`, task, modality, fields of the id, metadata.

    Of the metadata these are the first columns of texts with few values, such as a site.

    Columns that are not in `by` are left out if they have only one value, or a value of its own for each record.

    Raises:
        SelectionError: When a column of `by` has several values in each row.
    """
    fields = [name for name in catalog.layout.ids.groups if name not in by]
    fields += [name for name in _categories(catalog) if name not in by]
    values = catalog.described.select("record_id", *fields)
    if catalog.layout.bys:
        values = catalog.group_steps.with_group_values(values)
    steps = rows.steps.with_columns(values[name].gather(rows.steps["_record"]) for name in fields)
    out = []
    for name in dict.fromkeys([*by, "task", "modality", *fields]):
        if name in by and steps.schema[name].is_nested():
            raise SelectionError(f"the rows cannot be grouped by {name}: it has several values in each row")
        if name not in by:
            n_values = steps[name].n_unique()
            is_own = name in fields and n_values == len(rows.ids)
            if n_values < 2 or is_own:  # noqa: PLR2004 - nothing to compare
                continue
        out.append(name)
    return steps, out


def _categories(catalog: Catalog) -> list[str]:
    """Return the metadata columns that sort the records into a few groups."""
    if not catalog.tables:
        return []
    texts = catalog.described.drop(catalog.record_values.columns).select(pl.col(pl.String))
    names = [column.name for column in texts if column.n_unique() <= _CATEGORIES]
    return names[:_CATEGORY_COLUMNS]


def _grouping(steps: pl.DataFrame, name: str, absent: str) -> Grouping:
    """Return the groups of one column; `absent` stands for null."""
    counts = (
        steps.group_by(pl.col(name).alias("_value"), maintain_order=True)
        .agg((pl.col("_code") == code).sum().alias(f"_{code}") for code in CODES.values())
        .sort("_value", nulls_last=True)
    )
    n_groups = counts.height
    if n_groups > _GROUPS:
        share = pl.col(f"_{CODES['DONE']}") / pl.sum_horizontal(pl.exclude("_value"))
        counts = counts.sort(-pl.col(f"_{CODES['ERROR']}").cast(pl.Int64), share, maintain_order=True)
        counts = counts.head(_GROUPS)
    groups = [
        Group(absent if value is None else value or "(none)", tuple(row), equals(name, value))
        for value, *row in counts.with_columns(pl.col("_value").cast(pl.String)).iter_rows()
    ]
    return Grouping(name, groups, n_groups)
