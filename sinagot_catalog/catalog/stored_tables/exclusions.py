"""Exclusions: which rows of `steps` people left out, and which rows are made from those.

A row of the table of exclusions names a record, and may narrow it to a task, a modality or a step. A row of `steps`
is excluded if such a row names it, or if a file that it reads is made by excluded rows alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import field, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Literal

import polars as pl

from sinagot_catalog.catalog.rules.notices import Missed, Notice
from sinagot_catalog.catalog.stored_tables.exclusion_file import ExclusionFile, parse
from sinagot_catalog.errors import StorageError, did_you_mean, row_label
from sinagot_catalog.schema import EXCLUSIONS, KEYS
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import file_stamp, is_url, split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sinagot_catalog.catalog.steps_table import StepsTable
    from sinagot_catalog.catalog.structure.layout import Link, UnitStep
    from sinagot_catalog.catalog.tables import Catalog
    from sinagot_catalog.storage import Listing, Store

_FEW = 5
"""Number of examples of a notice."""
_MOST = 2_000
"""Number of ids that are searched for one that resembles an unknown id."""
_NO_REASON = "no reason given"
_SCOPE = ("task", "modality", "step")


@dataclass(frozen=True)
class Exclusions:
    """A table of exclusions.

    Attributes:
        name: Its name in messages.
        rows: Its rows, with the columns of `EXCLUSIONS`.
        unread: Why it cannot be read; None if it can, and if there is none.
        hint: What to do so that it can be read.
        unknown: Columns that may be misspelt, each in a sentence.
    """

    name: str = "exclude.csv"
    rows: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=EXCLUSIONS))
    unread: str | None = None
    hint: str = ""
    unknown: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return everything but its rows as one text, for `from_text`."""
        return json.dumps({"name": self.name, "unread": self.unread, "hint": self.hint})

    @classmethod
    def from_text(cls, text: str, rows: pl.DataFrame) -> Exclusions:
        """Return the table that `to_text` described, with its rows."""
        return cls(rows=rows.cast(dict(EXCLUSIONS)), **json.loads(text))  # type: ignore[arg-type]


class ExclusionReader:
    """Reads a table of exclusions: one that is absent excludes nothing, one that cannot be read carries its error.

    Args:
        path: Its path or URL; None if the config names none.
        open_: Opens the store of a folder.
    """

    def __init__(self, path: str | None, open_: Callable[[str], Store]) -> None:
        self._path = path
        self._open = open_
        self._stamp: tuple[int, int] | None = None

    def read(self) -> Exclusions:
        """Read the table."""
        self._stamp = self._present_stamp()
        if self._path is None:
            return Exclusions()
        folder, name = split_url(self._path)
        try:
            file = read_file(self._open(folder or "/"), name)[0]
        except StorageError as error:
            return Exclusions(name, unread=error.message, hint=error.hint)
        return Exclusions(name, file.frame(), unknown=file.unknown)

    def left_out_of(self, listing: Listing, root: str) -> Listing:
        """Return a listing without the table itself: it may lie among the data, and is not a record."""
        own = (self._path or "").removeprefix(f"{root}/")
        if own in ("", self._path) or not (listing.names == own.rpartition("/")[2]).any():
            return listing
        return replace(listing.only(listing.paths.filter(pl.col("path") != own)), empty=listing.empty)

    @property
    def is_changed(self) -> bool:
        """Whether a local file changed since it was read."""
        return self._stamp != self._present_stamp()

    def _present_stamp(self) -> tuple[int, int] | None:
        """Time and size of the file; None if it is absent or in a bucket."""
        return None if self._path is None or is_url(self._path) else file_stamp(self._path)


def read_file(store: Store, name: str) -> tuple[ExclusionFile, bytes]:
    """Read the file of exclusions, and its content; an absent file has no rows.

    Raises:
        StorageError: When it cannot be read.
    """
    if not store.exists(name):
        full = f"{store.root}/{name}"
        if store.is_local and os.path.islink(full):  # noqa: PTH114 - paths are text
            raise StorageError(f"{name} cannot be read: it is a link to a file that does not exist")
        return ExclusionFile(name), b""
    content = store.read(name)
    return parse(content, name), content


# --- rows of steps -------------------------------------------------------------------------------------------


class ExcludedRows:
    """The excluded rows of `steps`, unit step by unit step.

    Args:
        table: The table `steps`.
    """

    def __init__(self, table: StepsTable) -> None:
        self._table = table
        self._named = self._coded(table.exclusions.rows)
        self._texts: dict[int, pl.DataFrame | None] = {}
        for cell in table.layout.cells if self._named.height else ():
            self._fill(cell, frozenset())

    @property
    def texts(self) -> dict[int, pl.DataFrame]:
        """By unit step, if it has excluded rows: a row per record with `reason`, `cause` and `source`.

        All are null for a row that is not excluded. `cause` is the reason that a person gave. `reason` is the
        same, or says what excluded rows the row is made from. `source` is the row of the table of exclusions.
        """
        return {cell: text for cell, text in self._texts.items() if text is not None}

    def _coded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the table that name a record, with the record's code and their texts."""
        keyed = _keyed(rows, self._table.row_ids)
        by = pl.concat_str("who", "when", separator=", ", ignore_nulls=True)
        reason = pl.col("reason").fill_null(_NO_REASON)
        source = pl.format("{} line {}: {}", pl.lit(self._table.exclusions.name), "line", reason)
        return keyed.select(
            "_rec",
            *_SCOPE,
            reason.alias("cause"),
            pl.when(by != "").then(pl.format("{} ({})", source, by)).otherwise(source).alias("source"),
        )

    def _fill(self, cell: UnitStep, seen: frozenset[int]) -> None:
        """Find the texts of one unit step, after those of the steps that make its inputs."""
        if cell.index in self._texts or cell.index in seen:
            return
        seen |= {cell.index}
        for maker in {
            maker for port in cell.input_ports for link in port for maker in self._makers(cell, link)
        }:
            self._fill(self._table.layout.cells[maker], seen)
        text = self._own(cell)
        for what, cause in (*self._inherited(cell), *self._of_members(cell, text)):
            reason = pl.concat_str(pl.lit(what), pl.lit(" ("), pl.lit(cause), pl.lit(")"))
            text = text.with_columns(
                reason=pl.coalesce("reason", reason), cause=pl.coalesce("cause", pl.lit(cause))
            )
        self._texts[cell.index] = text if _has_text(text) else None

    def _own(self, cell: UnitStep) -> pl.DataFrame:
        """Return the texts of the rows that the table names."""
        fits = [pl.col(name).is_null() | (pl.col(name) == pl.lit(getattr(cell, name))) for name in _SCOPE]
        rows = self._named.filter(fits).unique("_rec", keep="first", maintain_order=True)
        lower = None if cell.by is None else self._table.layout.member_by(cell)
        if lower is not None:  # its members are groups: they are named by all of their records
            records = self._table.groups.members(lower).rename({"_rec": "_group"})
            groups = records.join(rows, left_on="_member", right_on="_rec", how="left", maintain_order="left")
            whole = groups.group_by("_group", maintain_order=True).agg(
                pl.exclude("_member").first(), pl.col("cause").is_not_null().all().alias("_all")
            )
            whole = whole.filter("_all").rename({"_group": "_rec"}).select(rows.columns)
            rows = pl.concat([rows, whole]).unique("_rec", keep="first", maintain_order=True)
        return self._of_every_row(rows).select("cause", "source", pl.col("cause").alias("reason"))

    def _of_every_row(self, some: pl.DataFrame) -> pl.DataFrame:
        """Return a row per record from rows of some records: null for the others."""
        every = pl.DataFrame({"_rec": pl.int_range(self._table.n_rows, dtype=pl.UInt32, eager=True)})
        return every.join(some, on="_rec", how="left", maintain_order="left")

    def _inherited(self, cell: UnitStep) -> Iterator[tuple[str, pl.Series]]:
        """Yield what rows are made from that read what excluded rows make, and the cause for each row."""
        for port in cell.input_ports:
            if not self._table.layout.is_own(cell, port):
                continue  # see `_of_members`
            for mask, maker in self._excluding(cell, port):
                cause = self.texts[maker]["cause"].fill_null(_NO_REASON)
                name = self._table.step_name(self._table.layout.cells[maker], cell)
                yield f"made from {name}", cause.zip_with(mask, pl.Series([None], dtype=pl.String))

    def _of_members(self, cell: UnitStep, own: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
        """Yield the cause for the groups all of whose members are excluded; others leave out such members."""
        if cell.by is None:
            return
        texts = {**self.texts, cell.index: own} if _has_text(own) else self.texts
        groups = self._table.group_steps
        members = groups.members(cell)
        masks = {index: text["cause"].is_not_null() for index, text in texts.items()}
        found = groups.excluded(cell, members["_member"], masks)
        if not found:
            return
        causes = [texts[index]["cause"].gather(members["_member"]).alias(str(index)) for index, _ in found]
        whole = (
            members.with_columns(
                reduce(or_, [mask for _, mask in found]).alias("is_left"), cause=pl.coalesce(causes)
            )
            .group_by("_rec", maintain_order=True)
            .agg(pl.col("is_left").all(), pl.col("cause").drop_nulls().first().fill_null(_NO_REASON))
            .filter("is_left")
        )
        yield "all its members are left out", self._of_every_row(whole)["cause"]

    def _excluding(self, cell: UnitStep, port: Sequence[Link]) -> Iterator[tuple[pl.Series, int]]:
        """Yield for which records a port reads, or would read, what excluded rows make; and the maker."""
        ways = [self._made_by(cell, link) for link in port]
        if not any(maker is not None for _, _, maker in ways):
            return
        there = self._table.port_presence(port)
        chosen = self._table.chosen_way(port)
        others = reduce(or_, [kept for _, kept, _ in ways])
        for way, (excluded, _, maker) in enumerate(ways):
            if maker is not None:
                reads = there & (chosen == way)
                waits = ~there & ~others if not port[0].is_optional else self._table.nobody
                yield excluded & (reads | waits), maker

    def _made_by(self, cell: UnitStep, link: Link) -> tuple[pl.Series, pl.Series, int | None]:
        """Return for which records all makers of a path are excluded, for which not, and an excluded maker."""
        is_made, is_reached, first = self._table.nobody, self._table.nobody, None
        for maker in self._makers(cell, link):
            texts = self._texts.get(maker)
            runs = self._table.group_steps.valid(self._table.layout.cells[maker])
            runs = runs if texts is None else runs & texts["cause"].is_null()
            is_made = is_made | self._table.made_by(link.place, maker)
            is_reached = is_reached | self._table.made_by(link.place, maker, runs)
            first = maker if first is None and texts is not None else first
        return is_made & ~is_reached, is_reached, first

    def _makers(self, cell: UnitStep, link: Link) -> list[int]:
        return [maker for maker in self._table.makers.get(link.place, ()) if maker != cell.index]


def _has_text(text: pl.DataFrame) -> bool:
    return text["cause"].null_count() < text.height


def _keyed(rows: pl.DataFrame, ids: pl.Series, *, how: Literal["inner", "anti"] = "inner") -> pl.DataFrame:
    """Return the rows of the table that name a record, with its code `_rec`; or those that name none.

    A row names a record by the text of its id, with or without blanks around it.
    """
    codes = pl.DataFrame({"_key": ids.str.normalize("NFC")}).with_row_index("_rec")
    text = pl.col("record_id").str.normalize("NFC")
    key = pl.when(text.is_in(codes["_key"].implode())).then(text).otherwise(text.str.strip_chars())
    return rows.with_columns(key.alias("_key")).join(codes, on="_key", how=how, maintain_order="left")


def covered(catalog: StepsTable, rows: pl.DataFrame) -> pl.DataFrame:
    """Return which rows of `steps` each row of the table of exclusions names: columns `line`, `_rec`, `_cell`."""
    cells = catalog.cell_table.select(*_SCOPE).with_row_index("_cell").cast({"_cell": pl.UInt16})
    fits = [pl.col(name).is_null() | pl.col(name).eq_missing(pl.col(f"{name}_of")) for name in _SCOPE]
    keyed = _keyed(rows, catalog.row_ids)
    pairs = keyed.join(cells.rename({name: f"{name}_of" for name in _SCOPE}), how="cross")
    return pairs.filter(fits).select("line", "_rec", "_cell")


# --- notices -------------------------------------------------------------------------------------------------


def exclusion_notices(catalog: Catalog, *, is_whole: bool = True) -> Iterator[Notice]:
    """Report rows of the table that name nothing, and a table that cannot be read.

    Args:
        catalog: The catalog.
        is_whole: Whether its records are all records: otherwise a row without a record is no problem.
    """
    table = catalog.exclusions
    if table.unread is not None:
        text = f"{table.unread}; nothing runs until it can be read"
        yield Notice("exclusions not read", 1, table.name, text, table.hint, area="exclusions")
    for sentence in table.unknown:
        yield Notice("column unknown", 1, table.name, f"{table.name}: {sentence}", area="exclusions")
    if table.rows.is_empty():
        return
    strangers = _keyed(table.rows, catalog.row_ids, how="anti")

    def alone(some: pl.DataFrame) -> Notice:
        known = catalog.row_ids.to_list() if catalog.n_rows <= _MOST else []
        near = [did_you_mean(text, known, most=1) for text in some["record_id"].head(_FEW)]
        return _notice(table, "exclusion without record", some, "no record", near)

    if is_whole:
        yield from Missed(table.name, strangers, alone).notices()
    known = table.rows.join(strangers, on="line", how="anti", maintain_order="left")
    lines = covered(catalog, known)["line"].unique()
    idle = known.filter(~pl.col("line").is_in(lines.implode()))
    if idle.height:
        near = [_near_key(catalog, row) for row in idle.head(_FEW).iter_rows(named=True)]
        yield _notice(table, "exclusion without step", idle, "no step", near)


def _notice(table: Exclusions, kind: str, rows: pl.DataFrame, what: str, near: Sequence[str]) -> Notice:
    names = [row_label(*(row[name] for name in KEYS)) for row in rows.head(_FEW).iter_rows(named=True)]
    details = tuple(
        f"{table.name} line {line}: {name} names {what}{hint}"
        for line, name, hint in zip(rows["line"], names, near, strict=False)
    )
    meets = "1 row names" if rows.height == 1 else f"{rows.height:,} rows name"
    text = f"{table.name}: {meets} {what}, such as {names[0]} (line {rows['line'][0]}){near[0]}"
    return Notice(kind, rows.height, names[0], text, "Mend or remove it.", details, "exclusions")


def _near_key(catalog: Catalog, row: dict[str, str | None]) -> str:
    """Name the first of a row's task, modality and step that is not declared, and a near one."""
    for name in _SCOPE:
        known = list(dict.fromkeys(text for text in catalog.cell_table[name].to_list() if text is not None))
        if row[name] is not None and row[name] not in known:
            return f": there is no {name} {row[name]!r}{did_you_mean(str(row[name]), known, most=1)}"
    return ": no unit has all of them"
