"""SQL of users: predicates and queries, what they compare columns with, and which columns they name."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog._literals import check_value
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

__all__ = ["as_text", "check_query", "comparisons", "names_in", "sql_predicate"]

_TOKEN = re.compile(
    r"""
      (?P<skip> \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<text> '(?:[^']|'')*' )
    | (?P<name> (?:[^\W\d]\w*|"(?:[^"]|"")*"|`[^`]*`) (?:\s*\.\s*(?:[^\W\d]\w*|"(?:[^"]|"")*"|`[^`]*`))* )
    | (?P<sign> <=> | <> | != | <= | >= | = | < | > )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


_NO_VALUES = re.compile(
    r"ALL|AND|ANTI|ANY|ASC|BETWEEN|BY|CASE|CROSS|DESC|DISTINCT|ELSE|ESCAPE|EXCEPT|FROM|FULL|GROUP|HAVING"
    r"|ILIKE|IN|INNER|INTERSECT|IS|JOIN|LEFT|LIKE|LIMIT|NATURAL|NOT|OFFSET|ON|OR|ORDER|OUTER|OVER|PARTITION"
    r"|QUALIFY|REGEXP|RIGHT|RLIKE|SELECT|SEMI|SIMILAR|THEN|TO|UNION|USING|WHEN|WHERE|WITH|XOR"
)
"""Words behind which a name is a column or a table that is there already, not one that the query gives."""

_CHOICES = {
    name: list(dtype.categories)
    for table in TABLES.values()
    for name, dtype in table.items()
    if isinstance(dtype, pl.Enum)
}
"""What the columns that only take certain values can be, by their names: the same in every table."""


_TEXT_WORDS = ("LIKE", "ILIKE", "RLIKE", "REGEXP", "SIMILAR", "||", "~", "^@")
_TEXT_FUNCTIONS = re.compile(
    r"CONCAT(_WS)?|CONTAINS|ENDS_WITH|INITCAP|LEFT|LENGTH|LOWER|REGEXP_LIKE|REPLACE|RIGHT|STARTS_WITH|STRPOS"
    r"|SUBSTR(ING)?|TRIM|LTRIM|RTRIM|UPPER|CHAR_LENGTH|CHARACTER_LENGTH|OCTET_LENGTH|REVERSE"
)


def sql_predicate(where: str) -> pl.Expr:
    """Read a predicate from SQL text.

    Raises:
        SelectionError: When Polars cannot read it.

    Example:
        >>> print(sql_predicate("status LIKE 'DON%'"))
        col("status").strict_cast(String).str.starts_with(["DON"])
    """
    try:
        return pl.sql_expr(as_text(where))
    except Exception as error:
        raise SelectionError(
            f"the filter {where!r} cannot be read: {str(error).splitlines()[0]}",
            "Write it as in SQL, such as \"status = 'ERROR' AND record_id > 'REC-2'\".",
        ) from error


def as_text(query: str) -> str:
    """A query in which columns of certain values, such as `status`, are texts where SQL takes only texts.

    Example:
        >>> as_text("status NOT LIKE 'DON%' AND status = 'DONE'")
        "CAST(status AS VARCHAR) NOT LIKE 'DON%' AND status = 'DONE'"
    """
    found = [one for one in _TOKEN.finditer(query) if one.lastgroup]
    words = [one for one in found if one.lastgroup != "skip"]
    text = list(query)
    for at, one in enumerate(words):
        if one.lastgroup == "name" and _plain(one[0]) in _CHOICES and _is_used_as_text(words, at):
            text[one.start()] = f"CAST({one[0]} AS VARCHAR)"
            text[one.start() + 1 : one.end()] = [""] * (one.end() - one.start() - 1)
    return "".join(text)


def _is_used_as_text(words: Sequence[re.Match[str]], at: int) -> bool:
    """Whether the name at this place is an operand of what takes only texts."""
    texts = [one[0].upper() for one in words[max(at - 2, 0) : at + 4]]
    before, after = texts[: min(at, 2)], texts[min(at, 2) + 1 :]
    after = after[1:] if after[:1] == ["NOT"] else after
    if after[:1] and (after[0] in _TEXT_WORDS or after[:2] == ["|", "|"]):
        return True
    return before[-2:-1] != [] and before[-1] == "(" and _TEXT_FUNCTIONS.fullmatch(before[-2]) is not None


def names_in(query: str) -> set[str]:
    """The names that a query has, each without its table.

    Example:
        >>> sorted(names_in("SELECT s.step FROM steps s WHERE stale"))
        ['FROM', 'SELECT', 'WHERE', 's', 'stale', 'step', 'steps']
    """
    return {_plain(text) for kind, text in _tokens(query) if kind == "name"}


def check_query(query: str, own: Container[str] = ()) -> None:
    """Refuse texts that a column can never be: a typo must not mean that there is nothing.

    A name that the query gives to something itself is left alone.

    Args:
        query: The text.
        own: Columns of `records`, where a user's table may have one of the same name.

    Raises:
        SelectionError: Naming what is near.

    Example:
        >>> check_query("SELECT * FROM steps WHERE status IN ('DONE', 'EROR')")
        Traceback (most recent call last):
        sinagot_catalog.errors.SelectionError: status is never 'EROR'; did you mean 'ERROR'?
        It is one of INIT, DATA_READY, PROCESSING, DONE, ERROR, DATA_NOT_AVAILABLE.
    """
    tokens = list(_tokens(query))
    named = {_plain(name) for before, (kind, name) in pairwise(tokens) if kind == "name" and _ends(*before)}
    for column, value in comparisons(tokens):
        if column in _CHOICES and column not in own and column not in named:
            check_value(column, value, _CHOICES[column])


def _ends(kind: str, text: str) -> bool:
    """Whether a name behind this token is a new one: behind `AS`, or right behind a value, where AS is left out."""
    word = text.upper()
    return word in ("AS", ")") or kind == "text" or (kind == "name" and not _NO_VALUES.fullmatch(word))


def comparisons(tokens: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Columns and the texts that they are compared with: `a = 'x'`, `'x' = a`, `a [NOT] IN ('x', …)`."""
    kinds = [kind for kind, _ in tokens]
    for at, (kind, text) in enumerate(tokens):
        if kinds[at : at + 3] == ["name", "sign", "text"]:
            yield _plain(text), _value(tokens[at + 2][1])
        if kinds[at : at + 3] == ["text", "sign", "name"]:
            yield _plain(tokens[at + 2][1]), _value(text)
        if kind == "name" and text.upper() not in ("IN", "NOT"):
            rest = [word.upper() for _, word in tokens[at + 1 : at + 4]]
            skipped = 3 if rest == ["NOT", "IN", "("] else 2 if rest[:2] == ["IN", "("] else 0
            if skipped:
                for value in _listed(tokens[at + 1 + skipped :]):
                    yield _plain(text), value


def _listed(tokens: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The texts of a list up to where it ends, or to what is no list."""
    for kind, text in tokens:
        if kind == "text":
            yield _value(text)
        elif text != ",":
            return


def _tokens(query: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(query):
        if found.lastgroup and found.lastgroup != "skip":
            yield found.lastgroup, found[0]


def _plain(name: str) -> str:
    """A column's own name: without its table, without quotes."""
    last = re.split(r"\s*\.\s*", name)[-1]
    return last[1:-1] if last[:1] in ('"', "`") else last


def _value(text: str) -> str:
    return text[1:-1].replace("''", "'")
