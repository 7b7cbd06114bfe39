"""Metadata tables: read them, match their rows to records, and name their columns.

A row belongs to the records that have the same keys. Keys are text, exactly as in the table, compared in Unicode's
form NFC. Rows and records without a match are counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, field, replace
from typing import TYPE_CHECKING, Literal

import polars as pl

from sinagot_catalog.catalog.rules.notices import Missed, Notice
from sinagot_catalog.catalog.stored_tables.metadata_values import key_text, plain_values, typed_values
from sinagot_catalog.catalog.stored_tables.read_files import no_column, read_table
from sinagot_catalog.config import Config, Match, find_matches
from sinagot_catalog.errors import ConfigError, StorageError, did_you_mean, nearest
from sinagot_catalog.patterns import IdPattern, fitting
from sinagot_catalog.schema import RECORDS
from sinagot_catalog.startup import dataclass
from sinagot_catalog.storage import IdRange, Store, split_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sinagot_catalog.catalog.structure.layout import Layout, UnitStep


_FEW = 3
"""Number of examples that a message gives per kind."""


@dataclass(frozen=True)
class Table:
    """A table of records.

    Attributes:
        name: Its name in messages.
        address: Its key in the config.
        owner: The suffix of a column whose name an earlier table already uses.
        matches: The keys that match its rows to records.
        frame: Its rows: the compared columns as text, the others with their types.
        faults: Why parts of it cannot be used.
    """

    name: str
    address: str
    owner: str
    matches: tuple[Match, ...] = ()
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    faults: tuple[Notice, ...] = ()

    def to_text(self) -> str:
        """Return everything but its rows as one text, for `from_text`."""
        return json.dumps(asdict(replace(self, frame=None)))  # type: ignore[arg-type]

    @classmethod
    def from_text(cls, text: str, frame: pl.DataFrame) -> Table:
        """Return the table that `to_text` described, with its rows."""
        fields = json.loads(text)
        matches = tuple(Match(**field) for field in fields["matches"])
        faults = tuple(Notice(**field) for field in fields["faults"])
        return cls(fields["name"], fields["address"], fields["owner"], matches, frame, faults)

    @property
    def unread(self) -> str | None:
        """Why its contents cannot be read; None if they are readable."""
        return next((fault.text for fault in self.faults if not self.matches), None)


# --- one table -----------------------------------------------------------------------------------------------


def _with_rows(table: Table, frame: pl.DataFrame, separator: str | None, matches: tuple[Match, ...]) -> Table:
    """Return a table with its rows: their keys as text, and their values with types.

    Raises:
        ConfigError: If a key column has no texts.
    """
    keys = dict.fromkeys(match.column for match in matches)
    texts = [key_text(frame[column]) for column in keys]
    if (odd := next((text for text in texts if text.dtype != pl.String), None)) is not None:
        raise ConfigError(
            f"workspace.toml: {table.address}: {table.name}: the column {odd.name!r} is not a key: its type is "
            f"{odd.dtype}",
            "Write the ids as text.",
        )
    values = frame.drop(list(keys))
    columns, faults = (
        plain_values(values, table.name)
        if separator is None
        else typed_values(values, table.name, has_decimal_commas=separator == ";")
    )
    rows = pl.DataFrame([*texts, *columns])
    # a line without any value is not a row
    rows = rows.filter(~pl.all_horizontal(pl.all().is_null()))
    return replace(table, matches=matches, frame=rows, faults=faults)


def _plain_names(columns: Sequence[str]) -> dict[str, str]:
    """Return new names for columns without a name, and for those that Polars reads as patterns: `*` and `^…$`."""
    odd = {name for name in columns if name in ("", "*") or (name[0] == "^" and name[-1] == "$")}
    names: dict[str, str] = {}
    for position, name in enumerate(columns, 1):
        if name in odd:
            plain = name[1:-1].strip("^$*") or f"column_{position}"
            while plain in columns or plain in names.values():
                plain += "_"
            names[name] = plain
    return names


def _no_key(columns: Sequence[str], fields: Sequence[str], key: Sequence[str], where: str) -> ConfigError:
    """Return the error for a table without a key column."""
    absent = next((column for column in key if column not in columns), "record_id")
    others = f", or in fields of the id: {', '.join(fields)}" if fields else ""
    hint = f"A table names its records in a column record_id or participant_id{others}."
    renamed = f"Rename the column in the table to {absent}, or call the field of id_pattern like the column."
    hint = renamed if key else hint
    return ConfigError(f"{where} {no_column(absent, columns)}", hint)


# --- tables and records --------------------------------------------------------------------------------------


def joined(records: pl.DataFrame, tables: Iterable[Table]) -> pl.DataFrame:
    """Join the records with the columns of their rows.

    If an earlier table has a column of the same name, the table's name is appended. If the records themselves have
    a column of the same name, `_metadata` is appended.

    Args:
        records: `record_id` and the fields of the id.
        tables: The tables, in the order of the config.
    """
    frame = records
    for table in tables:
        if table.unread:
            continue
        names = _names(table, frame.columns, records.columns)
        rows = table.frame.select(
            *_keys(table, "column"), *(pl.col(old).alias(new) for old, new in names.items())
        )
        known = records.select(_keys(table, "field"))
        keys = known.columns
        first = rows.unique(subset=keys, keep="first", maintain_order=True)
        found = known.join(first, on=keys, how="left", maintain_order="left").drop(keys)
        frame = frame.hstack(found)
    return frame


def with_column_faults(layout: Layout, tables: Sequence[Table]) -> Layout:
    """Return a layout in which a step has an error if its inputs name neither a field nor a metadata column."""
    if any(table.unread for table in tables):
        return layout
    records = pl.DataFrame(schema=dict.fromkeys(("record_id", *layout.ids.groups), pl.String))
    columns = joined(records, tables).columns

    def checked(cell: UnitStep) -> UnitStep:
        named = ((name, place) for place in cell.places("input") for name in layout.columns.get(place, ()))
        unknown = next((pair for pair in named if pair[0] not in columns), None)
        if unknown is None or cell.error is not None:
            return cell
        name, text = unknown[0], layout.places[unknown[1]].template.text
        near = did_you_mean(name, columns, most=1) or f"; known here: {', '.join(['id', *columns[1:]])}"
        return replace(cell, error=f"{cell.script}: unknown placeholder {{{name}}} in {text!r}{near}")

    return replace(layout, cells=tuple(map(checked, layout.cells)))


def _names(table: Table, taken: Sequence[str], own: Sequence[str]) -> dict[str, str]:
    """Return the names of a table's columns in `records`."""
    compared = {match.column for match in table.matches}
    hidden = {match.column for match in table.matches if match.column == match.field or match.column in taken}
    used = {*taken, *RECORDS}
    plain = set(table.frame.columns)
    names: dict[str, str] = {}
    for column in table.frame.columns:
        if column in hidden:
            continue
        tries = [column, f"{column}_{table.owner}"]
        if column.startswith("_") or column in RECORDS or column in own:  # `_…` is reserved
            tries = [f"{column}_metadata", f"{column}_metadata_{table.owner}"]
        while (name := tries.pop(0)) in used or (name != column and name in plain - compared):
            tries = tries or [f"{name}_"]
        used.add(name)
        names[column] = name
    return names


def _keys(table: Table, side: Literal["column", "field"]) -> list[pl.Expr]:
    """Return the compared texts of rows (`column`) or records (`field`); no value and an absent one are equal."""
    return [
        pl.col(getattr(match, side))
        .fill_null("")
        .str.normalize("NFC")
        .str.strip_prefix(match.prefix)
        .alias(f"_key{number}")
        for number, match in enumerate(table.matches)
    ]


# --- rows and records without a match ------------------------------------------------------------------------


def notices_of(records: pl.DataFrame, tables: Iterable[Table], *, is_whole: bool = True) -> list[Notice]:
    """Report what does not match between records and tables: rows, records, and duplicate keys.

    Args:
        records: `record_id` and the fields of the id.
        tables: The tables.
        is_whole: Whether these are all records: otherwise a row without a record is no problem.
    """
    out: list[Notice] = []
    for table in tables:
        out += table.faults
        if table.matches:
            out += _meetings(records, table, is_whole=is_whole)
    return out


def _meetings(records: pl.DataFrame, table: Table, *, is_whole: bool) -> list[Notice]:
    columns = list(dict.fromkeys(match.column for match in table.matches))
    rows = table.frame.select(*_keys(table, "column"), _shown(columns))
    keys = rows.columns[:-1]
    record_keys = records.select(*_keys(table, "field"), pl.col("record_id").alias("shown"))
    strangers = rows.join(record_keys, on=keys, how="anti", maintain_order="left")
    lacking = record_keys.join(rows, on=keys, how="anti", maintain_order="left")["shown"]
    twice = rows.filter(
        pl.struct(keys).is_duplicated() & ~pl.all_horizontal(pl.col(key) == "" for key in keys)
    ).unique(keys, maintain_order=True)["shown"]
    notices: list[Notice] = []

    def note(kind: str, shown: pl.Series, what: str, end: str = "") -> Notice:
        text = f"{table.name}: {what}, such as {', '.join(shown.head(_FEW))}{end}"
        return Notice(kind, len(shown), shown[0], text, area="metadata", table=table.name)

    def alone(some: pl.DataFrame) -> Notice:
        what = f"{_of(some['shown'], rows.height, 'row')} no record"
        near = _near(some.select(keys).row(0), table, records)
        return note("row without record", some["shown"], what, near)

    if is_whole:
        notices.extend(Missed(table.name, strangers, alone).notices())
    if len(lacking):
        what = f"{_of(lacking, record_keys.height, 'record')} no row"
        notices.append(note("record without row", lacking, what))
    if len(twice):
        come = "1 key comes" if len(twice) == 1 else f"{len(twice):,} keys come"
        end = "; the first row counts"
        if table.matches[0].field != "record_id":
            end += f" (rows are found by {', '.join(columns)}{_near_columns(table, records)})"
        notices.append(note("key more than once", twice, f"{come} more than once", end))
    return notices


def _of(some: pl.Series, total: int, noun: str) -> str:
    """Format counts: `1 of 30 rows meets`, `2 of 30 records have`."""
    verb = {"row": ("meets", "meet"), "record": ("has", "have")}[noun][len(some) != 1]
    return f"{len(some):,} of {total:,} {noun}{'' if total == 1 else 's'} {verb}"


def _shown(columns: Sequence[str]) -> pl.Expr:
    """Format the key of a row for a reader: blanks at its ends are visible."""
    plain = [pl.col(column).fill_null("") for column in columns]
    text = pl.concat_str(plain, separator=" ")
    blank = text.str.strip_chars() == ""
    odd = text.str.contains(r"^\s|\s$")
    quoted = pl.when(odd).then(pl.concat_str(pl.lit("'"), text, pl.lit("'"))).otherwise(text)
    nothing = f"a row without {' and '.join(columns)}"
    return pl.when(blank).then(pl.lit(nothing)).otherwise(quoted).alias("shown")


def _near_columns(table: Table, records: pl.DataFrame) -> str:
    """Return the column that may mean a field of the id by which no row is found."""
    known = {match.field for match in table.matches}
    columns = [name for name in table.frame.columns if name not in {match.column for match in table.matches}]
    for absent in (name for name in records.columns if name not in known):
        for column in nearest(absent, columns, most=1):
            return f"; is the column {column!r} the field {absent!r}?"
    return ""


def _near(key: Sequence[str], table: Table, records: pl.DataFrame) -> str:
    """Return the record that a key may mean: it differs in blanks, in leading zeros of a number, or in case."""
    if not any(key):
        return ""
    fields = [match.field for match in table.matches]

    def alike(column: pl.Expr) -> pl.Expr:
        plain = column.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[\s_-]+", "")
        return plain.str.replace_all(r"(^|[^0-9])0+([0-9])", "${1}${2}")

    texts = list(zip(_keys(table, "field"), key, strict=True))
    near = records.filter(alike(known) == alike(pl.lit(text)) for known, text in texts)
    differs = pl.sum_horizontal(known != text.strip() for known, text in texts)  # more than by blanks
    near = near.sort(differs, maintain_order=True).select(fields).head(1)
    return f"; did you mean {' '.join(near.row(0))!r}?" if near.height else ""


# --- reading -------------------------------------------------------------------------------------------------


def read_tables(
    config: Config, stores: Mapping[str, Store], open_: Callable[[str], Store]
) -> tuple[Table, ...]:
    """Read the config's tables of records; an unreadable table carries its error.

    Args:
        config: The config.
        stores: The store of each root.
        open_: Opens the store of another folder.
    """
    return tuple(
        _read(config.ids.groups, table, store, path, key)
        for table, store, path, key in _named_tables(config, stores, open_)
    )


def _read(fields: Sequence[str], table: Table, store: Store, path: str, key: Sequence[str]) -> Table:
    """Return a table with its rows, or with the reason why it cannot be read.

    Raises:
        ConfigError: If no column names the record of a row.
    """
    try:
        frame, separator = read_table(
            store, path, table.address, lambda names: bool(find_matches(names, fields, key))
        )
    except StorageError as error:
        return replace(table, faults=(Notice("table not read", 1, table.name, error.message),))
    frame = frame.rename(_plain_names(frame.columns))
    matches = find_matches(frame.columns, fields, key)
    if not matches:
        raise _no_key(frame.columns, fields, key, f"workspace.toml: {table.address}: {table.name}")
    return _with_rows(table, frame, separator, matches)


def _named_tables(
    config: Config, stores: Mapping[str, Store], open_: Callable[[str], Store]
) -> Iterator[tuple[Table, Store, str, Sequence[str]]]:
    """Yield the tables that the config names, without rows: with store, path and key columns."""
    for n, table in enumerate(config.metadata):
        folder, name = split_url(table.path)
        address = f"records.metadata[{n}]" if len(config.metadata) > 1 else "records.metadata"
        owner = name.partition(".")[0] if n else "records"
        yield Table(name, address, owner), open_(folder or "/"), name, table.key
    for modality, declared in config.modalities.items():
        if path := declared.models.table_path:
            address = f"modalities.{modality}.models.dataframe_path"
            yield Table(path, address, modality), stores["dataset"], path, ()


def expected_records(table: Table, pattern: IdPattern, span: IdRange | None) -> tuple[str, ...]:
    """Return the ids of a table, which count as records without a file.

    Args:
        table: The table.
        pattern: The pattern of ids.
        span: The only ids that count, None for all.

    Raises:
        StorageError: The table cannot be read.
        ConfigError: Its rows are matched by fields, which do not name a record, or an id does not fit.
    """
    if table.unread is not None:
        raise StorageError(table.unread, "With records.expected = true it tells which records there are.")
    match = table.matches[0]
    if match.field != "record_id" or len(table.matches) > 1:
        raise ConfigError(
            f"workspace.toml: records.expected: {table.name} ({table.address}) names no records: "
            f"its rows are found by {', '.join(match.column for match in table.matches)}",
            "Give it a column record_id.",
        )
    ids = table.frame[match.column].drop_nulls().unique(maintain_order=True)
    fits = fitting(ids, pattern)
    if prefix := match.prefix:  # `sub-01` and `01` are the same participant
        other = ids.str.strip_prefix(prefix).zip_with(ids.str.starts_with(prefix), prefix + ids)
        fits_other = fitting(other, pattern)
        ids, fits = ids.zip_with(fits | ~fits_other, other), fits | fits_other
    wrong = next(iter(ids.filter(~fits)), None)
    if wrong is not None and (span is None or wrong in span):
        raise ConfigError(
            f"{table.name} ({table.address}): {wrong!r} {pattern.refusal(wrong)}",
            "With records.expected = true every row of the table is a record.",
        )
    return tuple(record_id for record_id in ids if span is None or record_id in span)
