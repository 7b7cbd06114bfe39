"""Ranges of record ids: which keys of a listing may belong to the records of a range.

A listing that is too large to hold is looked at in ranges. Where the id follows the literal beginning of each
pattern, a range of ids is a range of keys, and a sorted Parquet file is read only where it may hold one.
"""

from __future__ import annotations

import re
import sys
from functools import cached_property, reduce
from itertools import pairwise
from operator import or_
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from sinagot_catalog.errors import UsageError
from sinagot_catalog.patterns import match_columns
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sinagot_catalog.patterns import IdPattern, Template
    from sinagot_catalog.storage.listing import Listing

_SURROGATES, _BEHIND_SURROGATES = 0xD800, 0xE000


@dataclass(frozen=True)
class IdRange:
    """A range of record ids, in the order of their characters.

    Attributes:
        first: The first id in the range.
        end: The first id after the range; None if the range has no end.
    """

    first: str = ""
    end: str | None = None

    @classmethod
    def of(cls, records: Any) -> IdRange | None:
        """The range that a user requests: the beginning of the ids, or two ids; None for all of them.

        Raises:
            UsageError: When it is neither.

        Example:
            >>> IdRange.of("REC-2020"), IdRange.of(("A", None))
            (IdRange(first='REC-2020', end='REC-2021'), IdRange(first='A', end=None))
        """
        match records:
            case None:
                return None
            case str() if records:
                return cls(records, _behind(records))
            case tuple((str() | None as first, str() | None as end)) if end is None or (first or "") < end:
                return cls(first or "", end)
            case list():
                raise UsageError(
                    f"records: {records!r:.80} is a list of ids, not a range of records",
                    "A range is a pair, records=(first, end), without the end itself. For these ids alone: "
                    'ws.records.filter(pl.col("record_id").is_in([...])), or ws.run(frame).',
                )
        raise UsageError(
            f"records: {records!r:.80} is not a range of records",
            "Give what their ids begin with, or a pair: the first id, and the first one that is left out.",
        )

    def __contains__(self, record_id: str) -> bool:
        return self.first <= record_id and (self.end is None or record_id < self.end)

    def holds(self, column: pl.Expr) -> pl.Expr:
        """Whether the ids of a column are in the range."""
        return _between(column, self.first, self.end)


def _between(column: pl.Expr, first: str, end: str | None) -> pl.Expr:
    """Whether texts lie in a range without its end; None if it has no end."""
    lower = column >= first
    return lower if end is None else lower & (column < end)


def _behind(text: str) -> str | None:
    """The first text after all texts that start with this one.

    Example:
        >>> _behind("ab"), _behind(chr(0x10FFFF))
        ('ac', None)
    """
    for length in range(len(text), 0, -1):
        code = ord(text[length - 1]) + 1
        if code <= sys.maxunicode:
            return text[: length - 1] + chr(_BEHIND_SURROGATES if code == _SURROGATES else code)
    return None


class _Way(NamedTuple):
    """One form of the paths of a pattern, for one choice of its optional fields.

    Attributes:
        head: The text that it begins with.
        behind: The tokens behind the id, if the id follows that text, else None; see `patterns.Template`.
    """

    head: str
    behind: tuple[tuple[str, str], ...] | None

    def keys_of(self, record_id: str, base: str) -> tuple[str, str | None]:
        """The range of the keys of one record, where the id follows the first text; other keys may lie in it."""
        text = next((value for kind, value in (self.behind or ())[:1] if kind == "text"), "")
        begin = base + self.head + record_id + text
        return begin, _behind(begin)

    def is_of_any(self, ids: Iterable[str], column: pl.Expr, base: str) -> pl.Expr:
        """Whether a key is a path of one of the records, or lies in such a folder."""
        rest = "".join(_REGEX[kind] or re.escape(value) for kind, value in self.behind or ())
        some = "|".join(map(re.escape, ids))
        return column.str.contains(f"(?s)^{re.escape(base + self.head)}(?:{some}){rest}(?:/|$)")


def _ways(template: Template) -> Iterator[_Way]:
    """The forms of the paths of a pattern."""
    for tokens in (variant.tokens for variant in template.variants.values()):
        head = tokens[0][1] if tokens[0][0] == "text" else ""
        rest = tokens[1:] if head else tokens
        yield _Way(head, rest[1:] if rest[:1] == (("field", "id"),) else None)


_REGEX = {"text": "", "field": "[^/]+", "optional": "[^/]+", "any": "[^/]*", "deep": ".*"}


@dataclass(frozen=True)
class KeyFilter:
    """Selects the keys of wanted records in a listing.

    Attributes:
        span: The range of ids.
        templates: The patterns of the paths.
        ids: The id pattern.
    """

    span: IdRange
    templates: Sequence[Template]
    ids: IdPattern

    @cached_property
    def _own_ways(self) -> dict[str, list[_Way]]:
        """The forms of the patterns in which the id follows the first text, by that text."""
        ways: dict[str, list[_Way]] = {}
        for way in dict.fromkeys(way for template in self.templates for way in _ways(template)):
            if way.behind is not None:
                ways.setdefault(way.head, []).append(way)
        return ways

    @cached_property
    def _others(self) -> set[str]:
        """The texts that the other forms begin with."""
        return {way.head for template in self.templates for way in _ways(template) if way.behind is None}

    def may_be(self, column: pl.Expr, base: str = "") -> pl.Expr:
        """Whether a key may belong to a wanted record; leaves out most of the others."""
        condition = self._own(column, base)
        for head in self._others:
            condition |= column.str.starts_with(base + head)
        return condition

    def _own(self, column: pl.Expr, base: str) -> pl.Expr:
        """Whether the text behind the beginning of a pattern lies in the range, as an id and perhaps more.

        An id that is the beginning of a bound lies below it; what follows it in a key may lie above.
        """
        condition = pl.lit(value=False)
        for head, ways in self._own_ways.items():
            own = column >= base + head + self.span.first
            if self.span.end is not None:
                own &= column < base + head + self.span.end
            elif head + base:
                own &= column.str.starts_with(base + head)
            for way in ways:
                own = self._with_shorter(own, way, column, base)
            condition |= own
        return condition

    def _with_shorter(self, own: pl.Expr, way: _Way, column: pl.Expr, base: str) -> pl.Expr:
        """Correct the keys of a range by those of ids that are the beginning of a bound, where they lie above it.

        The comparisons come first, which a Parquet reader decides for whole groups of rows.
        """
        for bound, is_end in ((self.span.end or "", True), (self.span.first, False)):
            above = {
                record_id: keys
                for record_id in self._shorter(bound)
                if (keys := way.keys_of(record_id, base))[1] is None or keys[1] > base + way.head + bound
            }
            if is_end:
                above = {record_id: keys for record_id, keys in above.items() if record_id in self.span}
            if not above:
                continue
            is_shorter = way.is_of_any(above, column, base)
            if is_end:
                own |= reduce(or_, [_between(column, *keys) for keys in above.values()]) & is_shorter
            else:
                own &= ~is_shorter
        return own

    def _shorter(self, bound: str) -> list[str]:
        """The ids that are the beginning of a text."""
        heads = (bound[:length] for length in range(1, len(bound)))
        return [head for head in heads if self.ids.values(head) is not None]

    @property
    def is_exact(self) -> bool:
        """Whether it selects no key of another record: in all patterns the id follows a beginning of its own."""
        with_id = filter(self.ids.is_told_by, self.templates)
        if any(way.behind is None for template in with_id for way in _ways(template)):
            return False
        others = [*self._own_ways, *self._others]
        return not any(head.startswith(other) for head in self._own_ways for other in others if other != head)

    @property
    def is_shared(self) -> bool:
        """Whether it also selects keys that every range reads, as their patterns have no id."""
        return bool(self._others)

    def owns(self, column: pl.Expr, *, is_first: bool) -> pl.Expr:
        """Whether a path counts in this range, if the ranges together hold all ids: it counts in exactly one.

        Paths that every range reads, as their patterns have no id, count in the first one.
        """
        own = self._own(column, "")
        if is_first:
            own |= ~reduce(
                or_, [column.str.starts_with(head) for head in self._own_ways], pl.lit(value=False)
            )
        return own

    def narrowed(self, listing: Listing) -> Listing:
        """A listing without the paths that belong only to other records."""
        paths = listing.paths
        found = match_columns(paths["path"], self.templates, self.ids)
        inside = found.filter(self.span.holds(pl.col("record_id")))
        others = found.join(inside, on="row", how="anti").select(pl.col("row").unique())
        rows = (
            paths.with_row_index("row").join(others, on="row", how="anti", maintain_order="left").drop("row")
        )
        return listing.only(rows)


def divided(keys: pl.Series, wanted: KeyFilter, most: int) -> list[IdRange]:
    """Divide a range of ids into ranges with about the same number of keys.

    Args:
        keys: A sample of the keys.
        wanted: The range, and the patterns.
        most: How many keys of the sample a range holds.
    """
    around = [key[:at] for key in keys for at, char in enumerate(key) if char == "/"]
    paths = pl.concat([keys, pl.Series("path", around, dtype=pl.String)])
    found = match_columns(paths, wanted.templates, wanted.ids)
    ids = found.filter(wanted.span.holds(pl.col("record_id")))["record_id"].sort()
    n_ranges = -(-len(ids) // max(1, most)) or 1
    cuts = ids.gather_every(-(-len(ids) // n_ranges) or 1)[1:].unique(maintain_order=True)
    bounds = [wanted.span.first, *cuts.filter(cuts > wanted.span.first), wanted.span.end]
    return [IdRange(first or "", end) for first, end in pairwise(bounds)]
