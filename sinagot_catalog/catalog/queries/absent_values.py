"""Absent values: finds a text that a filter wants and no record has, with the nearest text that one has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.queries.literals import wanted_texts
from sinagot_catalog.catalog.queries.query import Query
from sinagot_catalog.catalog.queries.resolver import Resolver
from sinagot_catalog.errors import did_you_mean

if TYPE_CHECKING:
    from sinagot_catalog.catalog.session import Session

_MOST_COMPARED = 5000


def absent_value(source: Session, query: Query) -> str:
    """Tell which text the filters of a query want that no record has, if a similar one exists.

    Only fields, metadata and ids of records count: failures of a type that did not occur are no mistake.

    Returns:
        A sentence, or an empty text; also if it costs a listing.
    """
    if not source.is_cheap:
        return ""
    resolver, records = Resolver(source.catalog(), source.stats), Query("records")
    schema = resolver.described(records)
    for column, text in (pair for predicate in query.all_predicates() for pair in wanted_texts(predicate)):
        if schema.get(column) != pl.String:
            continue
        values = resolver.fetch(records, [column])[column].unique().drop_nulls().sort().to_list()
        if text not in values and (near := _near(text, values)):
            return f"no record has {column} {text!r}{near} Texts are compared as they are written."
    return ""


def _near(text: str, values: Sequence[str]) -> str:
    """Suggest the value that is the same number or word, or else similar ones."""
    same = [value for value in values if _as_number(value) == _as_number(text)]
    return f"; did you mean {same[0]!r}?" if same else did_you_mean(text, values[:_MOST_COMPARED])


def _as_number(text: str) -> str:
    """A text without blanks, capitals and leading zeros."""
    return text.strip().casefold().lstrip("0")
