"""Literals in expressions: compares columns with values, and refuses texts that a column can never contain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import Any

import polars as pl

from sinagot_catalog.errors import SelectionError, did_you_mean
from sinagot_catalog.schema import TABLES
from sinagot_catalog.status import LONG_NAMES, OTHER_WORDS, SHORT_NAMES, StepStatus


def equality(table: str, column: str, value: Any) -> pl.Expr:
    """Return the predicate of a keyword of `filter`: `status="READY"`; None means null.

    Raises:
        SelectionError: When the column can never have the value, or the value is a list.
    """
    if value is None:
        return pl.col(column).is_null()
    if isinstance(value, StepStatus):
        value = value.name
    if isinstance(value, (list, tuple, set)):
        raise SelectionError(
            f"{column} is compared with a {type(value).__name__}",
            f"Write pl.col({column!r}).is_in([...]).",
        )
    dtype = TABLES[table].get(column)
    if isinstance(dtype, pl.Enum):
        value = LONG_NAMES.get(value, value) if column == "status" else value
        check_value(column, str(value), list(dtype.categories))
    predicate: pl.Expr = pl.col(column) == value
    return predicate


def check_literals(expression: pl.Expr, schema: dict[str, Any], names: dict[str, list[str]]) -> None:
    """Refuse texts that a column can never contain: a typo in a deployed filter must not mean "nothing to do".

    Raises:
        SelectionError: Names similar values.
    """
    operands = expression.meta.pop()
    for column in (operand for operand in operands if operand.meta.is_column()):
        name = column.meta.output_name()
        dtype = schema.get(name)
        signs = _ORDER | _EQUAL if isinstance(dtype, pl.Enum) else _EQUAL
        choices = names.get(name)
        if isinstance(dtype, pl.Enum):
            choices = list(dtype.categories)
        elif dtype == pl.Boolean:
            choices = ["true", "false"]
        if choices is not None and _compares(expression, column, operands, signs):
            for value in _texts(operands):
                check_value(name, value, choices)
    for operand in operands:
        check_literals(operand, schema, names)


_WANTED = frozenset({"==", "==v"})
_EQUAL = frozenset({"==", "!=", "==v", "!=v"})
_ORDER = frozenset({"<", "<=", ">", ">="})


def _compares(
    expression: pl.Expr, column: pl.Expr, operands: Sequence[pl.Expr], signs: frozenset[str]
) -> bool:
    """Whether the outermost operation of an expression compares a column with the other operand.

    Polars shows an operation only in the text of the expression; no other operation has this text.
    """
    text = str(expression)
    if text.startswith((f"{column}.is_in(", f"{column}.sql_is_in(")):
        return True
    return len(operands) == 2 and any(  # noqa: PLR2004 - left and right
        text == f"[({permutation}) {sign} ({other})]"
        for sign in signs
        for permutation, other in permutations(operands)
    )


def _texts(operands: Sequence[pl.Expr]) -> Iterator[str]:
    """The texts that some operands are, or list."""
    for literal in (operand for operand in operands if operand.meta.is_literal()):
        values = pl.select(literal).to_series()
        if isinstance(values.dtype, (pl.List, pl.Array)):
            values = values.explode(keep_nulls=False, empty_as_null=False)
        if values.dtype == pl.String:
            yield from values.drop_nulls().to_list()


def wanted_texts(expression: pl.Expr) -> Iterator[tuple[str, str]]:
    """Yield the columns that an expression wants to be equal to texts, with each text.

    Example:
        >>> list(wanted_texts((pl.col("sub") == "1") & (pl.col("n") > 2) & (pl.col("site") != "A")))
        [('sub', '1')]
    """
    operands = expression.meta.pop()
    for column in (operand for operand in operands if operand.meta.is_column()):
        if _compares(expression, column, operands, _WANTED):
            yield from ((column.meta.output_name(), text) for text in _texts(operands))
    for operand in operands:
        yield from wanted_texts(operand)


def check_value(column: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that a column can never contain."""
    if value not in choices:
        short = {SHORT_NAMES[name]: name for name in choices if name in SHORT_NAMES}
        word = short.get(value) or OTHER_WORDS.get(value.upper(), value) if "DONE" in choices else value
        near = did_you_mean(word, [*choices, *short])
        raise SelectionError(
            f"{column} is never {value!r}{near}",
            "It is one of " + ", ".join(choices) + "." if choices else f"Nothing here has a {column}.",
        )


def as_expression(given: object) -> pl.Expr:
    """Convert a predicate to an expression: a text names a column, True and False keep all rows and none."""
    if isinstance(given, pl.Expr):
        return given
    if isinstance(given, bool):
        return pl.lit(given)
    if isinstance(given, str):
        return pl.col(given)
    raise SelectionError(f"a filter takes Polars expressions, not {type(given).__name__} ({given!r:.60})")


def flattened(given: Iterable[str | pl.Expr | Iterable[str | pl.Expr]]) -> list[str | pl.Expr]:
    """Return the names and expressions that are given one by one, or in lists."""
    return [item for part in given for item in ([part] if isinstance(part, (str, pl.Expr)) else part)]
