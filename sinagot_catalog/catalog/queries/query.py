"""Queries: the predicates of a selection, and the table that it shows; `resolver` applies them. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.expressions import is_by_row
from sinagot_catalog.catalog.queries.filter_faults import not_applied
from sinagot_catalog.catalog.queries.literals import check_literals
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.schema import TABLES, TIMED
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sinagot_catalog.catalog.tables import Catalog

_LONGEST = 60
"""Number of characters of a filter's text."""


@dataclass(frozen=True)
class Query:
    """The predicates of a selection, and the table that it shows.

    Attributes:
        table: The shown table.
        task: The scope's task, or None for all.
        modality: The scope's modality, or None for all.
        record: The only record, or None for all.
        predicates: The predicates of the shown table, in the order in which they were given.
        rows: Keys that rows must have: some of `record_id, task, modality, step`.
        before: The query whose rows are shown as another table, or in a narrower scope.
    """

    table: str
    task: str | None = None
    modality: str | None = None
    record: str | None = None
    predicates: tuple[pl.Expr, ...] = ()
    rows: pl.DataFrame | None = None
    before: Query | None = None

    def where(self, *predicates: pl.Expr) -> Query:
        """Narrow the shown table; as in Polars, all the predicates of one call see the same rows.

        Raises:
            SelectionError: When a column with fixed values is compared with a value that it can never have.
        """
        for predicate in predicates:
            check_literals(predicate, TABLES[self.table], {})
        return replace(self, predicates=self.predicates + _one_after_the_other(predicates))

    def seen_as(self, table: str) -> Query:
        """Return the same rows as another table."""
        if table == self.table:
            return self
        return self._after(replace(self, table=table))

    def within(self, task: str | None, modality: str | None) -> Query:
        """Return the same rows in another scope."""
        return self._after(replace(self, task=task, modality=modality))

    def _after(self, query: Query) -> Query:
        """Return a query for the rows of this one: linked to them if the query is narrowed."""
        if not self.is_narrowed:
            return query
        return replace(query, predicates=(), rows=None, before=self)

    def widened(self, catalog: Catalog) -> Catalog:
        """Return a catalog that also contains the records that the query names by id and that have no file yet."""
        named = self.ids()
        return catalog.with_records(pl.concat(named)) if named else catalog

    @property
    def chain(self) -> list[Query]:
        """The queries before it, the first of them first, and the query itself."""
        return [*([] if self.before is None else self.before.chain), self]

    def ids(self) -> list[pl.Series]:
        """The ids that the query and the queries before it name."""
        named = []
        for query in self.chain:
            if query.record is not None:
                named.append(pl.Series([query.record], dtype=pl.String))
            if query.rows is not None and "record_id" in query.rows.columns:
                named.append(query.rows["record_id"])
        return named

    def all_predicates(self) -> list[pl.Expr]:
        """The predicates of the query and of the queries before it."""
        return [predicate for query in self.chain for predicate in query.predicates]

    def shown(self, schema: Iterable[str]) -> list[str]:
        """The columns that it shows if the user names none.

        Columns of `steps` and `records` that need sizes or times are shown if a predicate names them.
        """
        named = {name for predicate in self.predicates for name in named_in(self.table, predicate, schema)}
        hidden = TIMED.get(self.table, frozenset()) - named
        return [name for name in schema if name not in hidden]

    def filters(self) -> list[str]:
        """The filters as short texts, in the order in which they apply; those of other tables name the table."""
        before = [] if self.before is None else self.before.filters()
        if self.before is not None and self.before.table != self.table:
            before = [text if _OF_TABLE.match(text) else f"{self.before.table}: {text}" for text in before]
        rows = [] if self.rows is None else [f"{self.rows.height:,} named rows"]
        return [*before, *rows, *map(filter_text, self.predicates)]

    @property
    def names_more_than_units(self) -> bool:
        """Whether it shows `units`, and a predicate names a column from files or of `records`."""
        named = {name for predicate in self.predicates for name in predicate.meta.root_names()}
        return self.table == "units" and not named <= TABLES["units"].keys()

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the scope narrows it."""
        return bool(self.predicates) or self.rows is not None or self.before is not None

    def named_steps(self, steps: Sequence[str]) -> set[str]:
        """Which of the steps the predicates name; a predicate that only excludes steps names none."""
        names = pl.DataFrame({"step": [*steps, ""]})
        named = set[str]()
        for query in self.chain:
            for predicate in query.predicates:
                if query.table != "steps" or predicate.meta.root_names() != ["step"]:
                    continue
                try:
                    matches = names.filter(predicate)["step"].to_list()
                except pl.exceptions.PolarsError:
                    continue  # the selection itself reports the error
                named |= set(matches) if "" not in matches else set()
        return named

    @property
    def names_rows(self) -> bool:
        """Whether the user named its records, one by one."""
        return any(query.record is not None or query.rows is not None for query in self.chain)

    @property
    def is_whole(self) -> bool:
        """Whether nothing narrows it."""
        return (self.task, self.modality, self.record) == (None, None, None) and not self.is_narrowed


def _one_after_the_other(predicates: tuple[pl.Expr, ...]) -> tuple[pl.Expr, ...]:
    """Return predicates that keep the same rows when each sees what the one before left."""
    by_row = [is_by_row(predicate) for predicate in predicates] if len(predicates) > 1 else [True]
    if all(by_row[1:]):
        return predicates
    over_all = [predicate for predicate, alone in zip(predicates, by_row, strict=True) if not alone]
    first = over_all[0] if len(over_all) == 1 else pl.all_horizontal(over_all)
    return (first, *(predicate for predicate, alone in zip(predicates, by_row, strict=True) if alone))


_OF_TABLE = re.compile(rf"(?:{'|'.join(TABLES)}): ")
_REWRITTEN = (
    (re.compile(r"dyn (?:int|float): "), ""),
    (re.compile(r'\bcol\("(\w+)"\)'), r"\1"),
    (re.compile(r"\.struct\.field_by_name\((\w+)\)(?:\(\))?"), r".\1"),
    (re.compile(r"\b0\.int_range\(\[len\(\)\]\)"), "row"),
    (re.compile(r"\.shuffle\([^()]*\)"), " in random order"),
    (re.compile(r'\(([\w.]+|"[^"()]*"|row in random order)\)(?=\]| [=!<>])'), r"\1"),
    (re.compile(r"\(\[|\["), "("),
    (re.compile(r"\]\)|\]"), ")"),
    (re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+"), " "),
)
"""What makes the text of a Polars expression readable: patterns with their replacements."""


def filter_text(predicate: pl.Expr) -> str:
    """Return an expression as a short text on one line.

    Example:
        >>> filter_text((pl.col("status") == "DONE") & (pl.col("seconds") > 3))
        '(status == "DONE") & (seconds > 3)'
    """
    text = str(predicate)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    inner = text[1:-1]
    if text.startswith("(") and text.endswith(")") and _is_balanced(inner):
        text = inner
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _is_balanced(text: str) -> bool:
    """Whether no bracket closes before it opens."""
    depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth < 0:
            return False
    return True


def named_in(table: str, predicate: pl.Expr, schema: Iterable[str]) -> list[str]:
    """Return the columns that a predicate names; for a selector all columns that the table shows."""
    names = dict.fromkeys(predicate.meta.root_names())
    if predicate.meta.has_multiple_outputs():
        text, hidden = str(predicate), TIMED.get(table, frozenset())
        names |= dict.fromkeys(name for name in schema if name not in hidden or f"'{name}'" in text)
    return list(names)


def fitting(frame: pl.DataFrame, predicate: pl.Expr, names: Sequence[str]) -> pl.DataFrame:
    """Return the rows of a frame that fit a predicate.

    Args:
        frame: The frame; it may have more columns than a predicate with selectors may see.
        predicate: The predicate.
        names: The columns that it names.

    Raises:
        SelectionError: When Polars cannot apply it.
    """
    try:
        if not predicate.meta.has_multiple_outputs():
            return frame.filter(predicate)
        fits = frame.select(names).select(predicate)
        if fits.width != 1:
            raise SelectionError(
                f"the filter {filter_text(predicate)} cannot be applied: it gives {fits.width} columns, not one",
                "Put pl.all_horizontal(…) or pl.any_horizontal(…) around it.",
            )
        fit = fits.to_series()
        return frame.filter(fit if len(fit) == frame.height else pl.lit(fit.first()))
    except pl.exceptions.StructFieldNotFoundError:
        raise  # the caller knows the fields
    except pl.exceptions.PolarsError as error:
        raise not_applied(predicate, frame, error) from error
