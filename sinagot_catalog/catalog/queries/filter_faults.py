"""Faults of filters: says in one sentence why a filter cannot be read or applied, and what to write. Pure."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from sinagot_catalog.errors import SelectionError

EXAMPLE = "such as \"status = 'ERROR' AND record_id > 'REC-2'\"."

_HINTS = {
    "a number": "A number is compared with a number: write the value without quotes.",
    "a text": "A text is compared with a text: put the value in quotes, as it is written.",
    "a time": "In SQL a time is TIMESTAMPTZ '2026-11-30 06:00', and a day DATE '2026-11-30'; in Python a datetime.",
    "true or false": "Write true or false, without quotes.",
}
"""What to write where a column of such values is compared with another kind."""

_LENIENT = "TRY_CAST, or cast(…, strict=False) in Python, gives null for such values."

_UNREAD = (
    (re.compile(r"unsupported function '(.*)'"), "there is no function {}"),
    (re.compile(r"no function matches .*: `(\w+)"), "{} takes other values"),
    (re.compile(r"Unterminated string|close delimiter"), "a quote is not closed"),
    (re.compile(r"(LIKE).* must be a string|invalid pattern for '(~)'"), "{} takes a text in single quotes"),
    (re.compile(r'datatype "(.*)" is not'), "there is no type {}"),
    (re.compile(r"unexpected token '(.*)'"), "{} is not expected in its place"),
    (re.compile(r"\(found '(\w+)' clause"), "{} is a word of SQL"),
)
"""What Polars says of SQL that it cannot read, and what that means."""
_RESERVED = re.compile(r"(?:\(found|unsupported function) '(\w+)'")
"""In what Polars says, a word of SQL that may be meant as a column."""
_EXISTS = re.compile(r"\b(exists)\b(?!\s*[(\"])", re.IGNORECASE)
"""The column of `links` that is a word of SQL."""
_UNFINISHED = re.compile(r"(?:\b(?:AND|OR|NOT|IS|IN|LIKE|ILIKE|BETWEEN)|[-=<>+*/(,])$", re.IGNORECASE)
"""The end of a text that is not complete."""


def filter_not_read(where: str, error: Exception) -> SelectionError:
    """Return the error of an SQL filter that Polars cannot read.

    Example:
        >>> print(filter_not_read("seconds >", ValueError("unable to parse 'seconds >' as Expr")).message)
        the filter 'seconds >' cannot be read: it ends after >
    """
    told = ((pattern.search(str(error)), text) for pattern, text in _UNREAD)
    why = next((text.format(*filter(None, found.groups())) for found, text in told if found), None)
    if why is None and (end := _UNFINISHED.search(where.rstrip())):
        why = f"it ends after {end[0]}"
    elif why is None and where.count("(") != where.count(")"):
        why = "a bracket is not closed"
    word = _RESERVED.search(str(error)) or _EXISTS.search(re.sub("'[^']*'?", "", where))
    quoted = ""
    if word and f"{word[1]}(" not in where:
        quoted = f' A column that is called {word[1]} stands in double quotes: "{word[1]}".'
    return SelectionError(
        f"the filter {where!r} cannot be read: {why or 'it is no comparison in SQL'}",
        f"Write it as in SQL, {EXAMPLE}{quoted}",
    )


def not_applied(predicate: pl.Expr, frame: pl.DataFrame, error: Exception) -> SelectionError:
    """Return the error of a filter that Polars cannot apply to a frame.

    Example:
        >>> fault = not_applied(pl.col("seconds") > "x", pl.DataFrame({"seconds": [1.5]}), ValueError())
        >>> print(fault.message)
        the filter cannot be applied: seconds is a number, 'x' is a text
    """
    empty, reason = frame.clear(), str(error)
    fault = _of_values(reason)
    if fault is None and not isinstance(error, (pl.exceptions.OutOfBoundsError, pl.exceptions.ShapeError)):
        fault = _of_kinds(_faulty(predicate, empty), empty)
    why, hint = fault or (reason.partition("\n")[0], "")
    return SelectionError(f"the filter cannot be applied: {why}", hint)


def _of_values(reason: str) -> tuple[str, str] | None:
    """Return the fault of a value of the filter or the table, and what to write."""
    if found := re.search(r"regex parse error:.*error: ([^\n]*)", reason, re.DOTALL):
        return f"its regular expression is wrong: {found[1]}", r"Put \ before a sign that stands for itself."
    if found := re.search(r"conversion from .* failed in column '(.*)' for .* values: \[(.*?)[,\]]", reason):
        return f"a value of {found[1]} is not converted: {found[2]}", _LENIENT
    if "could not find an appropriate format to parse dates" in reason:
        return "a text in it is not a date or a time", _HINTS["a time"]
    return None


def _of_kinds(part: pl.Expr, empty: pl.DataFrame) -> tuple[str, str] | None:
    """Return the fault of what a part of a filter compares or calculates, and what to write; None if unknown."""
    result = _kind(part, empty)
    if result == "true or false":
        return None
    if result is not None:
        name = part.meta.output_name() if part.meta.is_column() else "…"
        value = "> 60" if result == "a number" else "= 'text'"
        return f"it gives {result}, and not true or false", f"Compare it, such as {name} {value}."
    operands = sorted(part.meta.pop(), key=lambda operand: operand.meta.is_literal())
    if not operands:
        return None
    kinds = [_kind(operand, empty) or "" for operand in operands]
    told = [f"{_name(operand)} is {kind}" for operand, kind in zip(operands, kinds, strict=True)]
    if len(set(kinds)) < 2:  # noqa: PLR2004 - a function
        return f"{' and '.join(told)}, which does not fit there", ""
    return ", ".join(told), _HINTS.get(kinds[0], "")


def _faulty(part: pl.Expr, empty: pl.DataFrame) -> pl.Expr:
    """Return the smallest part of an expression that cannot be applied; the whole if each part can."""
    for operand in reversed(part.meta.pop()):
        if _kind(operand, empty) is None:
            return _faulty(operand, empty)
    return part


def _kind(part: pl.Expr, empty: pl.DataFrame) -> str | None:
    """Return the kind of values that an expression gives; None if it cannot be applied."""
    try:
        dtypes = empty.select(part).dtypes
    except pl.exceptions.PolarsError:
        return None
    return " or ".join(dict.fromkeys(map(_kind_of, dtypes)))


def _kind_of(dtype: Any) -> str:
    while isinstance(dtype, (pl.List, pl.Array)):  # the values of an IN
        dtype = dtype.inner
    if dtype.is_numeric():
        return "a number"
    if dtype == pl.Duration:
        return "a duration"
    if dtype.is_temporal():
        return "a time without a zone" if dtype == pl.Datetime and dtype.time_zone is None else "a time"
    if dtype == pl.Boolean:
        return "true or false"
    return "a struct" if dtype == pl.Struct else "null" if dtype == pl.Null else "a text"


def _name(part: pl.Expr) -> str:
    """Return a column's name, and a value as it is written in SQL."""
    if part.meta.is_column():
        return part.meta.output_name()
    if not part.meta.is_literal():
        return "what it calculates"
    value = pl.select(part).to_series().explode()[0]
    return f"'{value}'" if isinstance(value, str) else str(value)
