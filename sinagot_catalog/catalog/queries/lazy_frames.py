"""The lazy frame of a selection: adds columns that it does not show when a verb names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl
from polars.io.plugins import register_io_source

if TYPE_CHECKING:
    from sinagot_catalog.catalog.queries.query import Query
    from sinagot_catalog.catalog.queries.resolver import Resolver

Scan: TypeAlias = Callable[[tuple[str, ...]], pl.LazyFrame]
"""Returns the rows as a plain lazy frame, with further columns."""

_KEEPING = ("filter", "remove", "sort", "head", "tail", "slice", "limit", "reverse", "with_columns")
"""Verbs whose result has the same columns, or more."""

_QUOTED = re.compile(r"'([^']*)'")

_NAMING = (
    *("select", "select_seq", "with_columns_seq", "group_by", "unique", "join", "join_asof"),
    *("drop", "drop_nulls", "rename", "cast", "explode", "top_k", "bottom_k"),
)
"""Other verbs that name columns."""


class RowsFrame(pl.LazyFrame):
    """The rows of a selection as a lazy frame.

    Its schema has the columns that the selection shows. A verb may name further columns: then its result contains
    them.

    Args:
        scan: Returns the rows.
        has: Whether there is a column of a name; called when a verb names a column that is not shown.
    """

    def __init__(self, scan: Scan, has: Callable[[str], bool]) -> None:
        super().__init__()
        plain = scan(())
        self._scan = scan
        self._has = has
        self._shown = frozenset(plain.collect_schema())
        self._ldf = plain._ldf  # noqa: SLF001 - Polars has no public API for subclasses of LazyFrame

    def _named(self, *given: Any) -> tuple[str, ...]:
        """The further columns that the arguments of a verb name."""
        names = dict.fromkeys(_names_in(given))
        return tuple(name for name in names if name not in self._shown and self._has(name))


def rows_frame(
    resolvers: Callable[[], Iterator[Resolver]], query: Query, shown: Mapping[str, Any]
) -> RowsFrame:
    """Return the rows of a query as a lazy frame; columns that it does not use are not read.

    Args:
        resolvers: Yields a resolver for each range of records; rows come out range by range.
        query: The query.
        shown: Names and dtypes of the columns that it has if no verb names others.
    """

    def scan(further: tuple[str, ...]) -> pl.LazyFrame:
        schema = {**shown, **(next(resolvers()).described(query, further) if further else {})}

        def read(
            columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _size: int | None
        ) -> Iterator[pl.DataFrame]:
            names = list(schema) if columns is None else columns
            used = predicate.meta.root_names() if predicate is not None else []
            for resolver in resolvers():
                if n_rows is None:
                    yield resolver.fetch(query, names, where=predicate)
                    continue
                rows = resolver.fetch(query, list(dict.fromkeys([*names, *used])), limit=n_rows)
                yield (rows if predicate is None else rows.filter(predicate)).select(names)
                n_rows -= rows.height
                if n_rows == 0:
                    return

        return register_io_source(read, schema=pl.Schema(schema))

    return RowsFrame(scan, lambda name: next(resolvers()).has(query.table, name))


def _names_in(given: Any) -> list[str]:
    """The names of columns in arguments: texts, expressions, and containers of them."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, pl.Expr):
        # a selector shows its names only in its text
        by_name = _QUOTED.findall(str(given)) if given.meta.has_multiple_outputs() else []
        return [*given.meta.root_names(), *by_name]
    if isinstance(given, (list, tuple, set, frozenset, dict)):
        return [name for part in given for name in _names_in(part)]
    return []


_DOC = "As `polars.LazyFrame.{}`; it also takes columns that are read only when they are named."


def _keeping(verb: str) -> Callable[..., RowsFrame]:
    plain = getattr(pl.LazyFrame, verb)

    def call(self: RowsFrame, *args: Any, **kwargs: Any) -> RowsFrame:
        named = self._named(*args, *kwargs, *kwargs.values())

        def scan(further: tuple[str, ...]) -> pl.LazyFrame:
            columns = tuple(dict.fromkeys([*named, *further]))
            frame: pl.LazyFrame = plain(self._scan(columns), *args, **kwargs)
            return frame

        return RowsFrame(scan, self._has)

    call.__name__, call.__doc__ = verb, _DOC.format(verb)
    return call


def _naming(verb: str) -> Callable[..., Any]:
    plain = getattr(pl.LazyFrame, verb)

    def call(self: RowsFrame, *args: Any, **kwargs: Any) -> Any:
        return plain(self._scan(self._named(*args, *kwargs, *kwargs.values())), *args, **kwargs)

    call.__name__, call.__doc__ = verb, _DOC.format(verb)
    return call


for _verb in _KEEPING:
    setattr(RowsFrame, _verb, _keeping(_verb))
for _verb in _NAMING:
    setattr(RowsFrame, _verb, _naming(_verb))
