"""Notices: report what a listing left out or could not use, each kind with a count and an example."""

from __future__ import annotations

from dataclasses import field, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.files.path_sets import folded, visible
from sinagot_catalog.config import count_of
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sinagot_catalog.catalog.tables import Catalog

NOTICES: dict[str, pl.DataType] = {
    "kind": pl.String(),
    "count": pl.UInt32(),
    "example": pl.String(),
    "text": pl.String(),
}
"""One row per notice of `Workspace.notices`."""

_MOST = 5
"""Number of examples per kind that have their own sentence."""


def no_records(catalog: Catalog, dataset: str) -> str | None:
    """Return that a dataset has no file of a record, with the patterns; None without them, or with other files.

    None also where a script cannot be used: it may have the patterns.
    """
    layout = catalog.layout
    places = sorted({layout.places[place].template.text for place in layout.raw or range(len(layout.places))})
    if len(catalog.ids) or not places or catalog.faults or catalog.unused.unmatched()[0]:
        return None
    return f"{dataset} holds no file of a record; looked for {', '.join(places[:3])}"


def is_missed(catalog: Catalog, place: int) -> bool:
    """Whether no file fits a raw pattern that rows need: as an input without alternatives that are there."""

    def is_there(index: int) -> bool:
        return catalog.presence[index].any() or catalog.unknown[index] is not None

    ports = [port for cell in catalog.layout.cells for port in cell.input_ports]
    reading = [port for port in ports if any(link.place == place for link in port)]
    return not any(is_there(link.place) for port in reading for link in port) and (
        not is_there(place) and (not reading or not all(port[0].is_optional for port in reading))
    )


def _in_one_line(text: str) -> str:
    return text.replace("\n", "·").replace("\t", "·")


@dataclass(frozen=True)
class Missed:
    """Rows of a table for which a range of records has no record; another range may have it.

    Attributes:
        table: The name of the table.
        rows: The rows.
        notice: Makes the notice of some of them.
    """

    table: str
    rows: pl.DataFrame
    notice: Callable[[pl.DataFrame], Notice]

    def notices(self) -> Iterator[Notice]:
        """Yield the notice of these rows, if there are any; it keeps the rows, to be joined with other ranges."""
        if self.rows.height:
            yield replace(self.notice(self.rows), missed=self)

    def also(self, other: Missed) -> Missed:
        """The rows that another range misses, too."""
        rows = self.rows.join(other.rows, on=self.rows.columns, how="semi", nulls_equal=True)
        return replace(self, rows=rows)


@dataclass(frozen=True)
class Notice:
    """One kind of item that a listing left out or could not use.

    Attributes:
        kind: A few words that never change: `row without record`.
        count: How many there are.
        example: One example.
        text: A sentence with the count and the example.
        hint: What to do, or an empty string.
        details: A sentence for each of the first few items.
        area: The subject.
        missed: The rows of a table that the notice is about, where they may concern another range of records.
        table: The table of records that the notice is about.
    """

    kind: str
    count: int
    example: str | None
    text: str
    hint: str = ""
    details: tuple[str, ...] = ()
    area: str = "dataset"
    missed: Missed | None = field(default=None, repr=False, compare=False)
    table: str = field(default="", repr=False, compare=False)

    @property
    def key(self) -> tuple[str, str, str]:
        """Notices of several ranges with the same key are one notice."""
        return self.kind, self.area, self.table

    def __post_init__(self) -> None:
        """Keep each sentence on one line: a name of a file may hold a line break."""
        object.__setattr__(self, "text", _in_one_line(self.text))
        object.__setattr__(self, "details", tuple(map(_in_one_line, self.details)))

    def to_dict(self) -> dict[str, str | int | None]:
        """The columns of `NOTICES`."""
        return {name: getattr(self, name) for name in NOTICES}


def notices_frame(notices: Iterable[Notice]) -> pl.DataFrame:
    """Notices as a table.

    Example:
        >>> notices_frame([Notice("key twice", 2, "R1", "2 keys come twice, such as R1")]).rows()
        [('key twice', 2, 'R1', '2 keys come twice, such as R1')]
    """
    return pl.DataFrame([notice.to_dict() for notice in notices], schema=NOTICES)


class JoinedNotices:
    """The notices of several ranges of records: one of each kind and table, with the count of all.

    A row of a table meets no record if it meets none in any of the ranges.

    Args:
        n_ranges: How many ranges there are. Not all of them need to be added.

    Example:
        >>> joined = JoinedNotices(2)
        >>> joined.add([Notice("key twice", 1, "A", "A comes twice")])
        >>> joined.add([Notice("key twice", 1, "B", "B comes twice")])
        >>> joined.all()
        [Notice(kind='key twice', count=2, example='A', text='A comes twice; 2 in all', ...)]
    """

    def __init__(self, n_ranges: int) -> None:
        self._left = n_ranges
        self._found: dict[tuple[str, str, str], list[Notice]] = {}
        self._missed: dict[tuple[str, str], Missed] | None = None

    def add(self, notices: Iterable[Notice]) -> None:
        """Add the notices of one more range."""
        self._left -= 1
        missed: dict[tuple[str, str], Missed] = {}
        for notice in notices:
            same = self._found.setdefault(notice.key, [])
            if notice.missed is None:
                same.append(notice)
            else:
                missed[notice.kind, notice.missed.table] = notice.missed
        if self._missed is not None:
            before = self._missed
            missed = {key: before[key].also(item) for key, item in missed.items() if key in before}
        self._missed = missed

    def all(self) -> list[Notice]:
        """Return the notices."""
        missed = self._missed if self._missed and not self._left else {}
        out = [notice for kind in missed.values() for notice in kind.notices()]
        for same in filter(None, self._found.values()):
            count = sum(notice.count for notice in same)
            is_one = len({notice.text for notice in same}) == 1
            text = f"{same[0].text}; {count:,} in all"
            out.append(same[0] if is_one else replace(same[0], count=count, text=text))
        order = list(self._found)
        return sorted(out, key=lambda notice: order.index(notice.key))


# --- the listing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """The texts of one kind of notice, with places for the parts of an item, and for the count.

    Attributes:
        one: The sentence on one item.
        many: The sentence on several, which names the first.
        hint: What to do.
        detail: The sentence on each of the first few items.
        area: The subject.
    """

    one: str
    many: str
    hint: str = ""
    detail: str = ""
    area: str = "dataset"


_LEFT_OUT = "left out, such as {0}"
_TEXTS = {
    "folder unreadable": _Texts(
        "the folder {0} cannot be read; its rows are unknown",
        "{count} folders cannot be read, such as {0}; their rows are unknown",
        "Change its rights.",
        "the folder {0} cannot be read: its rows are unknown",
    ),
    "folder empty": _Texts(
        "1 folder is empty, such as {0}: an empty folder counts as absent",
        "{count} folders are empty, such as {0}: an empty folder counts as absent",
        "Put files into it, or remove it.",
    ),
    "link not followed": _Texts(
        f"1 link to a folder is {_LEFT_OUT}",
        f"{{count}} links to folders are {_LEFT_OUT}",
        "Set [path] follow_links = true to follow them.",
    ),
    "link to nothing": _Texts(
        "1 link leads to nothing, such as {0}; what it names is absent",
        "{count} links lead to nothing, such as {0}; what it names is absent",
        "Fetch what they name (datalad get, git annex get), or remove them.",
    ),
    "not a file": _Texts(
        "1 name is a pipe, socket or device, such as {0}; it counts as absent",
        "{count} names are pipes, sockets or devices, such as {0}; they count as absent",
        "Put files in their place, or remove them.",
    ),
    "file and folder": _Texts(
        "1 key is also the name of a folder, such as {0}: the file counts, the folder does not",
        "{count} keys are also the name of a folder, such as {0}: the file counts, the folder does not",
        "Rename the file or the folder.",
    ),
    "name not UTF-8": _Texts(
        "1 name not UTF-8, left out", "{count} names not UTF-8, left out", "Rename them."
    ),
    "pattern without id": _Texts("{1}", "{1}", area="patterns"),
    "pattern in LOG": _Texts("{1}", "{1}", area="patterns"),
    "pattern without file": _Texts(
        "no file fits {0}{1}",
        "no file fits {0}{1}",
        "Steps that read it never run.",
        "{0}: no file matches, and no step makes it",
        "patterns",
    ),
    "id refused": _Texts(
        f"1 file is {_LEFT_OUT}: {{1!r}} {{2}}",
        f"{{count}} files are {_LEFT_OUT}: {{1!r}} {{2}}",
        "Rename it.",
        "{0} is left out: {1!r} {2}",
        "patterns",
    ),
    "id of a group": _Texts(
        "1 record is left out, such as {0!r}: a group of records has this name",
        "{count} records are left out, such as {0!r}: a group of records has this name",
        "Rename its files.",
        "{0!r} is left out: a group of records has this name",
        "patterns",
    ),
    "file without pattern": _Texts(
        "1 file does not match, such as {0}: the pattern is {1}, with id_pattern {2}",
        "{count} files do not match, such as {0}: the pattern is {1}, with id_pattern {2}",
        "Rename it, or mend the pattern or id_pattern {2}",
        "{0} does not match {1}, which it resembles most",
        "patterns",
    ),
    "file without record": _Texts(
        "1 file belongs to no record, such as {0}: its pattern finds no records, and no other file has its id",
        "{count} files belong to no record, such as {0}: their patterns find no records, and no other files have "
        "their ids",
        "Bring the other files of the record back, or remove it.",
        "{0} belongs to no record: its pattern finds no records, and no other file has its id",
        "patterns",
    ),
    "twin": _Texts(
        "1 name differs from another in case or Unicode form only, such as {0}",
        "{count} names differ from others in case or Unicode form only, such as {0}",
        "Where they are the same, keep one of them.",
        "{0} differ in case or Unicode form only",
        "records",
    ),
    "output without input": _Texts(
        "1 output of {1} without any raw input, such as {0}",
        "{count} outputs of {1} without any raw input, such as {0}",
        "Remove them, or bring the raw inputs back.",
        "{0}: its record has no raw input",
        "records",
    ),
}
"""The texts of each kind of notice on a listing; the first part of an item is the example."""


def _found(kind: str, items: Sequence[tuple[str | None, ...]], count: int | None = None) -> Iterator[Notice]:
    """Yield the notice of items of one kind, if there are any; `count` is given if these are the first of more."""
    if items:
        texts, first = _TEXTS[kind], items[0]
        count = len(items) if count is None else count
        text = (texts.one if count == 1 else texts.many).format(*first, count=f"{count:,}")
        details = (texts.detail.format(*item) for item in items[:_MOST] if texts.detail)
        yield Notice(kind, count, first[0], text, texts.hint.format(*first), tuple(details), texts.area)


def listing_notices(catalog: Catalog) -> list[Notice]:
    """Return the notices on files and patterns, without a new listing."""
    layout, unused, listings = catalog.layout, catalog.unused, catalog.listings.values()
    templates = [place.template for place in layout.places]

    def shown(paths: Iterable[str]) -> pl.Series:
        """Leave out hidden files, but for those of a record."""
        series = pl.Series("path", paths, dtype=pl.String)
        fits = [catalog.fit(series, template) for template in templates]
        return series.filter(reduce(or_, fits, series.is_in(visible(series, templates).implode())))

    undecodable = sum(listing.undecodable for listing in listings)
    n_refused, refused = unused.refused(_MOST)
    n_missed, missed = unused.unmatched(_MOST)
    twins = [pair for pairs in (_twin_ids(catalog.row_ids), unused.twins) for pair in pairs.iter_rows()]
    outputs = unused.outputs_without_input
    records = count_of(outputs["_rec"].n_unique(), "record")
    return [
        *_found("folder unreadable", [(path or ".",) for listing in listings for path in listing.unreadable]),
        *_found("folder empty", [(path,) for path in unused.empty_folders]),
        *_found("link not followed", [(path,) for listing in listings for path in shown(listing.links)]),
        *_found("link to nothing", [(path,) for listing in listings for path in shown(listing.dangling)]),
        *_found("not a file", [(path,) for listing in listings for path in shown(listing.special)]),
        *_found("file and folder", [(path,) for listing in listings for path in listing.twofold]),
        *_found("name not UTF-8", [(None,)] if undecodable else [], undecodable),
        *(notice for fault in layout.id_faults for notice in _found("pattern without id", [(None, fault)])),
        *(notice for fault in layout.in_log for notice in _found("pattern in LOG", [(None, fault)])),
        *_patterns_without_file(catalog),
        *_found("id refused", refused, n_refused),
        *_found("id of a group", [(record_id,) for record_id in catalog.like_groups]),
        *_found("file without pattern", [(*pair, layout.ids.text) for pair in missed], n_missed),
        *_found("file without record", [(path,) for path in unused.without_record]),
        *_found("twin", [(_pair(*pair),) for pair in twins]),
        *_found("output without input", [(path, records) for path in outputs["path"]]),
    ]


def _patterns_without_file(catalog: Catalog) -> Iterator[Notice]:
    layout = catalog.layout
    for place in layout.raw if len(catalog.ids) else ():
        if is_missed(catalog, place):
            readers = [cell.step for cell in layout.cells if place in cell.places("input")]
            reads = f", which {readers[0]} reads" if readers else ""
            yield from _found("pattern without file", [(layout.places[place].template.text, reads)])


def _twin_ids(ids: pl.Series) -> pl.DataFrame:
    """Pairs of ids that are equal without case and form: columns `first, second`, each id once as second."""
    forms = folded(ids)
    ordered = forms.sort()  # cheap: ids are sorted, and mostly of one case
    if not (ordered == ordered.shift(1)).any():
        return pl.DataFrame(schema={"first": pl.String, "second": pl.String})
    frame = pl.DataFrame({"second": ids, "form": forms})
    return (
        frame.filter(pl.col("form").is_duplicated())
        .with_columns(pl.col("second").first().over("form").alias("first"))
        .filter(pl.col("first") != pl.col("second"))
        .select("first", "second")
    )


def _pair(first: str, second: str) -> str:
    """Format two names; as escapes if they look the same."""
    look_alike = first.casefold() != second.casefold()
    return f"{first!a} and {second!a}" if look_alike else f"{first} and {second}"
