"""Notices: report what a listing left out or could not use, each kind with a count and an example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.config import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sinagot_catalog.catalog.tables import Catalog

__all__ = ["NOTICES", "Notice", "listing_notices", "notices_frame", "of_all"]

NOTICES: dict[str, pl.DataType] = {
    "kind": pl.String(),
    "count": pl.UInt32(),
    "example": pl.String(),
    "text": pl.String(),
}
"""One row per notice of `Workspace.notices`."""

_MOST = 5
"""Number of examples per kind that have their own sentence."""


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
    """

    kind: str
    count: int
    example: str | None
    text: str
    hint: str = ""
    details: tuple[str, ...] = ()
    area: str = "dataset"

    def to_dict(self) -> dict[str, str | int | None]:
        """The columns of `NOTICES`."""
        return {name: getattr(self, name) for name in NOTICES}


def notices_frame(notices: Iterable[Notice]) -> pl.DataFrame:
    """Notices as a table.

    Example:
        >>> notices_frame([Notice("key twice", 2, "R1", "2 keys come twice, such as R1")]).rows()
        [('key twice', 2, 'R1', '2 keys come twice, such as R1')]
    """
    return pl.DataFrame([one.to_dict() for one in notices], schema=NOTICES)


def of_all(parts: Iterable[Iterable[Notice]]) -> list[Notice]:
    """The notices of several ranges of records: one of each kind, with the count of all.

    Example:
        >>> of_all([[Notice("key twice", 1, "A", "A comes twice")], [Notice("key twice", 1, "B", "B comes twice")]])
        [Notice(kind='key twice', count=2, example='A', text='A comes twice; 2 in all', ...)]
    """
    found: dict[tuple[str, str], list[Notice]] = {}
    for one in (one for part in parts for one in part):
        found.setdefault((one.kind, one.area), []).append(one)
    out = []
    for same in found.values():
        count = sum(one.count for one in same)
        is_one = len({one.text for one in same}) == 1
        out.append(
            same[0] if is_one else replace(same[0], count=count, text=f"{same[0].text}; {count:,} in all")
        )
    return out


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
    unreadable = _listed(one.unreadable for one in catalog.listings.values())
    if unreadable:
        first = unreadable[0] or "."
        folders = (
            f"the folder {first} cannot be read; its rows are unknown"
            if len(unreadable) == 1
            else f"{len(unreadable):,} folders cannot be read, such as {first}; their rows are unknown"
        )
        details = (f"the folder {one or '.'} cannot be read: its rows are unknown" for one in unreadable)
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
    if links := sum(one.links for one in listings):
        yield Notice(
            "link not followed",
            links,
            None,
            f"{count_of(links, 'link')} left out: they lead to folders",
            "Set [path] follow_links = true to follow them.",
        )
    dangling = _listed(one.dangling for one in listings)
    if dangling:
        lead = "1 link leads" if len(dangling) == 1 else f"{len(dangling):,} links lead"
        yield Notice(
            "link to nothing",
            len(dangling),
            dangling[0],
            f"{lead} to nothing, such as {dangling[0]}; what it names is absent",
            "Fetch what they name (datalad get, git annex get), or remove them.",
        )
    if undecodable := sum(one.undecodable for one in listings):
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
        if not catalog.presence[place].any() and catalog.unknown[place] is None:
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
            tuple(f"{one!r} is left out: {text}" for one in ids.head(_MOST)),
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
    frame = pl.DataFrame({"second": ids, "form": folded(ids)})
    return (
        frame.filter(pl.col("form").is_duplicated())
        .with_columns(pl.col("second").first().over("form").alias("first"))
        .filter(pl.col("first") != pl.col("second"))
        .select("first", "second")
    )


def folded(names: pl.Series) -> pl.Series:
    """Return names without case, in one form of Unicode.

    Example:
        >>> folded(pl.Series(["R\u00c9", "re\u0301"])).n_unique()
        1
    """
    is_ascii = names.str.len_bytes().sum() == names.str.len_chars().sum()
    return names.str.to_lowercase() if is_ascii else names.str.normalize("NFC").str.to_lowercase()


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
    return [one for some in several for one in some]


def _notice(kind: str, names: Sequence[str], text: str, hint: str, details: Iterable[str]) -> Notice:
    return Notice(kind, len(names), names[0] or ".", text, hint, tuple(details)[:_MOST])
