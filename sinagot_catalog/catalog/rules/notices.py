"""Notices: report what a listing left out or could not use, each kind with a count and an example."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.catalog.files.path_sets import folded
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


def listing_notices(catalog: Catalog) -> list[Notice]:
    """Return the notices on files and patterns, without a new listing."""
    return [
        *_folders(catalog),
        *_links(catalog),
        *_patterns(catalog),
        *_refused(catalog),
        *_like_groups(catalog),
        *_unmatched(catalog),
        *_twins(catalog),
        *_outputs(catalog),
    ]


# --- folders and links ---------------------------------------------------------------------------------------


def _folders(catalog: Catalog) -> Iterator[Notice]:
    """Report folders that could not be listed, and empty folders that a pattern names."""
    unreadable = _listed(listing.unreadable for listing in catalog.listings.values())
    if unreadable:
        first = unreadable[0] or "."
        folders = (
            f"the folder {first} cannot be read; its rows are unknown"
            if len(unreadable) == 1
            else f"{len(unreadable):,} folders cannot be read, such as {first}; their rows are unknown"
        )
        details = (
            f"the folder {folder or '.'} cannot be read: its rows are unknown" for folder in unreadable
        )
        yield _notice("folder unreadable", unreadable, folders, "chmod it.", details)
    empty = catalog.unused.empty_folders
    if len(empty):
        what = "folder is" if len(empty) == 1 else "folders are"
        yield Notice(
            "folder empty",
            len(empty),
            empty[0],
            f"{len(empty):,} {what} empty, such as {empty[0]}: an empty folder counts as absent",
            "Put files into it, or remove it.",
        )


def _links(catalog: Catalog) -> Iterator[Notice]:
    """Report links that are not followed or are broken, and names that a text column cannot hold."""
    listings = catalog.listings.values()
    links = _listed(listing.links for listing in listings)
    if links:
        what = "link to a folder is" if len(links) == 1 else "links to folders are"
        text = f"{len(links):,} {what} left out, such as {links[0]}"
        hint = "Set [path] follow_links = true to follow them."
        yield Notice("link not followed", len(links), links[0], text, hint)
    dangling = _listed(listing.dangling for listing in listings)
    if dangling:
        lead = "1 link leads" if len(dangling) == 1 else f"{len(dangling):,} links lead"
        yield Notice(
            "link to nothing",
            len(dangling),
            dangling[0],
            f"{lead} to nothing, such as {dangling[0]}; what it names is absent",
            "Fetch what they name (datalad get, git annex get), or remove them.",
        )
    twofold = _listed(listing.twofold for listing in listings)
    if twofold:
        keys = "1 key is" if len(twofold) == 1 else f"{len(twofold):,} keys are"
        text = f"{keys} also the name of a folder, such as {twofold[0]}: the file counts, the folder does not"
        yield Notice("file and folder", len(twofold), twofold[0], text, "Rename the file or the folder.")
    if undecodable := sum(listing.undecodable for listing in listings):
        yield Notice(
            "name not UTF-8",
            undecodable,
            None,
            f"{count_of(undecodable, 'name')} not UTF-8, left out",
            "Rename them.",
        )


# --- patterns and ids ----------------------------------------------------------------------------------------


def _patterns(catalog: Catalog) -> Iterator[Notice]:
    """Report patterns that can find no record, lie in `LOG`, or find no file."""
    layout = catalog.layout
    for kind, faults in (("pattern without id", layout.id_faults), ("pattern in LOG", layout.in_log)):
        for fault in faults:
            yield Notice(kind, 1, None, fault, area="patterns")
    for place in layout.raw if len(catalog.ids) else ():
        if is_missed(catalog, place):
            text = layout.places[place].template.text
            readers = [cell.step for cell in layout.cells if place in cell.places("input")]
            reads = f", which {readers[0]} reads" if readers else ""
            yield Notice(
                "pattern without file",
                1,
                text,
                f"no file fits {text}{reads}",
                "Steps that read it never run.",
                (f"{text}: no file matches, and no step makes it",),
                "patterns",
            )


def _refused(catalog: Catalog) -> Iterator[Notice]:
    """Report files whose ids cannot be records."""
    count, refused = catalog.unused.refused(_MOST)
    if refused:
        path, record_id, why = refused[0]
        files = "file is" if count == 1 else "files are"
        yield Notice(
            "id refused",
            count,
            path,
            f"{count:,} {files} left out, such as {path}: {record_id!r} {why}",
            "Rename it.",
            tuple(f"{path} is left out: {record_id!r} {why}" for path, record_id, why in refused),
            "patterns",
        )


def _like_groups(catalog: Catalog) -> Iterator[Notice]:
    """Report ids that are left out, as they are also names of groups."""
    ids = catalog.like_groups
    if len(ids):
        records = "record is" if len(ids) == 1 else "records are"
        text = "a group of records has this name"
        yield Notice(
            "id of a group",
            len(ids),
            ids[0],
            f"{len(ids):,} {records} left out, such as {ids[0]!r}: {text}",
            "Rename its files.",
            tuple(f"{record_id!r} is left out: {text}" for record_id in ids.head(_MOST)),
            "patterns",
        )


def _unmatched(catalog: Catalog) -> Iterator[Notice]:
    """Report files in the folders of raw inputs that fit no pattern."""
    count, examples = catalog.unused.unmatched(_MOST)
    if examples:
        path, pattern = examples[0]
        files = "file does" if count == 1 else "files do"
        ids = catalog.layout.ids.text
        yield Notice(
            "file without pattern",
            count,
            path,
            f"{count:,} {files} not match, such as {path}: the pattern is {pattern}, with id_pattern {ids}",
            f"Rename it, or mend the pattern or id_pattern {ids}",
            tuple(f"{path} does not match {pattern}, which it resembles most" for path, pattern in examples),
            "patterns",
        )


# --- records -------------------------------------------------------------------------------------------------


def _twins(catalog: Catalog) -> Iterator[Notice]:
    """Report ids, and files next to those of records, that differ only in case or Unicode form."""
    pairs = [pair for twins in (_twin_ids(catalog.ids), catalog.unused.twins) for pair in twins.iter_rows()]
    if pairs:
        first = _pair(*pairs[0])
        what = "name differs from another" if len(pairs) == 1 else "names differ from others"
        yield Notice(
            "twin",
            len(pairs),
            first,
            f"{len(pairs):,} {what} in case or Unicode form only, such as {first}",
            "Where they are the same, keep one of them.",
            tuple(f"{_pair(*pair)} differ in case or Unicode form only" for pair in pairs[:_MOST]),
            "records",
        )


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


def _outputs(catalog: Catalog) -> Iterator[Notice]:
    """Report outputs whose record has no input left."""
    outputs = catalog.unused.outputs_without_input
    if outputs.height:
        path = str(outputs["path"][0])
        files = count_of(outputs.height, "output")
        records = count_of(outputs["_rec"].n_unique(), "record")
        yield Notice(
            "output without input",
            outputs.height,
            path,
            f"{files} of {records} without any raw input, such as {path}",
            "Remove them, or bring the raw inputs back.",
            tuple(f"{path}: its record has no raw input" for path in outputs["path"].head(_MOST)),
            "records",
        )


# --- sentences -----------------------------------------------------------------------------------------------


def _listed(several: Iterable[Sequence[str]]) -> list[str]:
    return [notice for some in several for notice in some]


def _notice(kind: str, names: Sequence[str], text: str, hint: str, details: Iterable[str]) -> Notice:
    return Notice(kind, len(names), names[0] or ".", text, hint, tuple(details)[:_MOST])
