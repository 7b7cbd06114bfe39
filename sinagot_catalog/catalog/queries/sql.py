"""SQL: reads a user's SQL filter, and checks which values and names an SQL text compares and reads."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import pairwise, takewhile

import polars as pl

from sinagot_catalog.catalog.queries.filter_faults import EXAMPLE, filter_not_read
from sinagot_catalog.catalog.queries.literals import check_value
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.schema import TABLES
from sinagot_catalog.status import LONG_NAMES

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


_PART = re.compile(r"[^\W\d]\w*|\"(?:[^\"]|\"\")*\"|`[^`]*`")
"""A part of a name that has dots."""
_NO_VALUES = re.compile(
    r"ALL|AND|ANTI|ANY|ASC|BETWEEN|BY|CASE|CROSS|DESC|DISTINCT|ELSE|ESCAPE|EXCEPT|FROM|FULL|GROUP|HAVING"
    r"|ILIKE|IN|INNER|INTERSECT|IS|JOIN|LEFT|LIKE|LIMIT|NATURAL|NOT|OFFSET|ON|OR|ORDER|OUTER|OVER|PARTITION"
    r"|QUALIFY|REGEXP|RIGHT|RLIKE|SELECT|SEMI|SIMILAR|THEN|TO|UNION|USING|WHEN|WHERE|WITH|XOR"
)
"""Words that precede an existing column or table, not a name that the query defines."""

_CHOICES = {
    name: list(dtype.categories)
    for table in TABLES.values()
    for name, dtype in table.items()
    if isinstance(dtype, pl.Enum)
}
"""The possible values of columns with fixed values, by column: the same in every table."""


_TEXT_WORDS = ("LIKE", "ILIKE", "RLIKE", "REGEXP", "SIMILAR", "||", "~", "^@")
_TEXT_FUNCTIONS = re.compile(
    r"CONCAT(_WS)?|CONTAINS|ENDS_WITH|INITCAP|LEFT|LENGTH|LOWER|REGEXP_LIKE|REPLACE|RIGHT|STARTS_WITH|STRPOS"
    r"|SUBSTR(ING)?|TRIM|LTRIM|RTRIM|UPPER|CHAR_LENGTH|CHARACTER_LENGTH|OCTET_LENGTH|REVERSE"
)

_PREFIXES = re.compile(r"[A-Za-z]{1,2}")
"""Letters before a quote change the text's rules, as in `E'…'`: Polars and this module could disagree."""

_FILE_READER = re.compile(r"(?:read|scan|sink|write)_\w+|glob", re.IGNORECASE)
"""Functions that open files as soon as Polars parses the SQL."""

_QUERY_WORDS = frozenset({"SELECT", "FROM", "VALUES", "WITH", "TABLE", "EXPLAIN", "SHOW"})
"""Words that begin a query, directly after a bracket."""


def sql_predicate(where: str, *, short_names: bool = True) -> pl.Expr:
    """Read a filter: an expression over the columns of one table. No file is opened.

    Args:
        where: The filter.
        short_names: Whether `status` may be compared with short names, such as `READY`.

    Raises:
        SelectionError: When it holds a query or a function that reads files, or when Polars cannot read it.

    Example:
        >>> print(sql_predicate("status LIKE 'DON%'"))
        col("status").strict_cast(String).str.starts_with(["DON"])
        >>> sql_predicate("record_id IN (SELECT a FROM read_csv('/etc/hosts'))")
        Traceback (most recent call last):
        sinagot_catalog.errors.SelectionError: the filter holds a query: SELECT
        A filter compares columns of one table, such as "status = 'ERROR' AND record_id > 'REC-2'".
    """
    word = _query_word(where)
    fault = _ambiguous(where) or (word and f"holds a query: {word}") or _reads_files(where)
    if fault:
        raise SelectionError(f"the filter {fault}", f"A filter compares columns of one table, {EXAMPLE}")
    try:
        predicate = pl.sql_expr(as_text(with_long_names(where) if short_names else where))
    except Exception as error:
        raise filter_not_read(where, error) from error
    if not predicate.meta.eq(predicate.meta.undo_aliases()):
        name = predicate.meta.output_name()
        raise SelectionError(
            f"the filter {where!r} gives its result the name {name}, which a filter has no use for",
            f"Leave {name} out, or put an operator before it. Numbers have no unit: write seconds > 60.",
        )
    return predicate


def with_long_names(query: str) -> str:
    """Replace the short names of statuses that `status` is compared with.

    Example:
        >>> with_long_names("status IN ('READY', 'DONE') AND step = 'READY'")
        "status IN ('DATA_READY', 'DONE') AND step = 'READY'"
    """
    tokens = _tokens(query)
    texts = {at: _value(tokens[at][1]) for column, at in _comparisons(tokens) if column == "status"}
    return _rewritten(
        query, {at: f"'{LONG_NAMES[text]}'" for at, text in texts.items() if text in LONG_NAMES}
    )


def _rewritten(query: str, new: Mapping[int, str]) -> str:
    """Return a query with new texts for some of its tokens."""
    text, end = "", 0
    for at, word in enumerate(_words(query)):
        text += query[end : word.start()] + new.get(at, word[0])
        end = word.end()
    return text + query[end:]


def as_text(query: str) -> str:
    """Cast columns with fixed values, such as `status`, to text if SQL requires text.

    Example:
        >>> as_text("status NOT LIKE 'DON%' AND status = 'DONE'")
        "CAST(status AS VARCHAR) NOT LIKE 'DON%' AND status = 'DONE'"
    """
    tokens = _tokens(query)
    return _rewritten(
        query,
        {
            at: f"CAST({text} AS VARCHAR)"
            for at, (kind, text) in enumerate(tokens)
            if kind == "name" and _plain(text) in _CHOICES and _is_used_as_text(tokens, at)
        },
    )


def _is_used_as_text(tokens: Sequence[tuple[str, str]], at: int) -> bool:
    """Whether the name at this position is an operand of an operation that requires text."""
    texts = [word.upper() for _, word in tokens[max(at - 2, 0) : at + 4]]
    before, after = texts[: min(at, 2)], texts[min(at, 2) + 1 :]
    after = after[1:] if after[:1] == ["NOT"] else after
    if after[:1] and (after[0] in _TEXT_WORDS or after[:2] == ["|", "|"]):
        return True
    return before[-2:-1] != [] and before[-1] == "(" and _TEXT_FUNCTIONS.fullmatch(before[-2]) is not None


def names_in(query: str) -> set[str]:
    """Return the names in a query, each without its table.

    Example:
        >>> sorted(names_in("SELECT s.step FROM steps s WHERE stale"))
        ['FROM', 'SELECT', 'WHERE', 's', 'stale', 'step', 'steps']
    """
    names = [text for kind, text in _tokens(query) if kind == "name"]
    return {_plain(part) for name in names for part in _PART.findall(name)}


def _ambiguous(query: str) -> str | None:
    """Return the fault of a text in which Polars could end a string or a comment elsewhere than this module."""
    pieces = [(found.lastgroup, found[0]) for found in _TOKEN.finditer(query)]
    for kind, text in pieces:
        if kind == "skip" and ("/*" in text[2:] or re.search(r"\r(?!\n|$)", text.lstrip())):
            return "holds a comment within a comment"
        if kind == "other" and text in "$#@":
            return f"holds a {text} outside of quotes: texts take single quotes, names double quotes"
    for (kind, text), (then, quoted) in pairwise(pieces):
        if then == "text" and ((kind == "name" and _PREFIXES.fullmatch(text)) or text.endswith("&")):
            return f"holds {text}{quoted[:1]}: put a blank between a name and a quote"
    return None


def _reads_files(text: str) -> str | None:
    """Return the fault of a text that would open a file."""
    for (kind, name), (_, then) in pairwise(_tokens(text)):
        if kind == "name" and then == "(" and _FILE_READER.fullmatch(_plain(name)):
            return f"calls {_plain(name)}: no file is read here"
    return None


def _query_word(text: str) -> str | None:
    """Return the word that begins a query within a filter."""
    before = "("
    for kind, token in _tokens(text):
        word = token.upper()
        if kind == "name" and (word == "SELECT" or (before == "(" and word in _QUERY_WORDS)):
            return word
        before = token
    return None


def check_query(query: str, own: Container[str] = (), structs: Container[str] = ()) -> None:
    """Refuse functions that read files, and values that a column never has: a typo must not mean "nothing".

    Names that the query itself defines are not checked.

    Args:
        query: The text.
        own: Columns of `records`, because a user's table may have a column of the same name.
        structs: Columns with fields, whose fields may have any name and value.

    Raises:
        SelectionError: Names the function, or similar values.

    Example:
        >>> check_query("SELECT * FROM read_csv('/etc/hosts')")
        Traceback (most recent call last):
        sinagot_catalog.errors.SelectionError: the query calls read_csv: no file is read here
        A query reads the tables of the workspace; read a file in Python and join it.
        >>> check_query("SELECT * FROM steps WHERE status IN ('DONE', 'EROR')")
        Traceback (most recent call last):
        sinagot_catalog.errors.SelectionError: status is never 'EROR'; did you mean 'ERROR'?
        It is one of INIT, DATA_READY, PROCESSING, DONE, ERROR, DATA_NOT_AVAILABLE, EXCLUDED.
    """
    if fault := _ambiguous(query) or _reads_files(query):
        raise SelectionError(
            f"the query {fault}",
            "A query reads the tables of the workspace; read a file in Python and join it.",
        )
    tokens = [(kind, _outer(text, structs) if kind == "name" else text) for kind, text in _tokens(query)]
    named = {_plain(name) for before, (kind, name) in pairwise(tokens) if kind == "name" and _ends(*before)}
    for column, at in _comparisons(tokens):
        if column in _CHOICES and column not in own and column not in named:
            value = _value(tokens[at][1])
            known = LONG_NAMES.get(value, value) if column == "status" else value
            check_value(column, known, _CHOICES[column])


def not_read(error: Exception, own: Container[str] = ()) -> SelectionError:
    """Return the error of a query that Polars cannot read.

    Args:
        error: What Polars says.
        own: The columns of `records`.
    """
    reason = str(error).partition("\n")[0]
    absent = re.search('find column "([^"]+)"', reason)
    hint = f"Tables: {', '.join(TABLES)}."
    if absent and absent[1] in own:
        hint = f"{absent[1]} is a column of records: JOIN records USING (record_id). {hint}"
    return SelectionError(f"the query cannot be read: {reason}", hint)


def _ends(kind: str, text: str) -> bool:
    """Whether the next name is a new one: after `AS`, or directly after a value if `AS` is left out."""
    word = text.upper()
    return word in ("AS", ")") or kind == "text" or (kind == "name" and not _NO_VALUES.fullmatch(word))


def _comparisons(tokens: Sequence[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    """Yield columns and the positions of the texts that they are compared with.

    The forms are `a = 'x'`, `'x' = a` and `a [NOT] IN ('x', …)`.
    """
    kinds = [kind for kind, _ in tokens]
    for at, (kind, text) in enumerate(tokens):
        if kinds[at : at + 3] == ["name", "sign", "text"]:
            yield _plain(text), at + 2
        if kinds[at : at + 3] == ["text", "sign", "name"]:
            yield _plain(tokens[at + 2][1]), at
        if kind == "name" and text.upper() not in ("IN", "NOT"):
            rest = [word.upper() for _, word in tokens[at + 1 : at + 4]]
            skipped = 3 if rest == ["NOT", "IN", "("] else 2 if rest[:2] == ["IN", "("] else 0
            listed = range(at + 1 + skipped, len(tokens)) if skipped else ()
            for spot in takewhile(lambda spot: kinds[spot] == "text" or tokens[spot][1] == ",", listed):
                if kinds[spot] == "text":
                    yield _plain(text), spot


def _words(query: str) -> list[re.Match[str]]:
    """The tokens of a query, without blanks and comments."""
    return [found for found in _TOKEN.finditer(query) if found.lastgroup != "skip"]


def _tokens(query: str) -> list[tuple[str, str]]:
    """The kind and the text of each token."""
    return [(word.lastgroup or "", word[0]) for word in _words(query)]


def _outer(name: str, structs: Container[str]) -> str:
    """Return the column of a field; other names as they are."""
    parts = [_plain(part) for part in _PART.findall(name)]
    return next((part for part in parts[:-1] if part in structs), name)


def _plain(name: str) -> str:
    """Return a column's own name: without its table, without quotes."""
    last: str = (_PART.findall(name) or [name])[-1]
    return last[1:-1] if last[:1] in ('"', "`") else last


def _value(text: str) -> str:
    return text[1:-1].replace("''", "'")
