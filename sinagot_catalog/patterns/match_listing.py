"""Listing matcher: finds which files of a listing, stored as folders and file names, match which patterns.

A dataset has few kinds of folder, and the folder determines much of a path. If a pattern's folder holds the id, the
id is matched once per folder and not for each file. If it does not, only the files of that one folder are matched.
The rest of each name is then looked up, in one pass for all the patterns that share a folder. Patterns for which
this does not suffice (fields of an id, an id twice in a name) are matched against whole paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from sinagot_catalog.patterns.fields import path_of
from sinagot_catalog.patterns.id_regex import fitting
from sinagot_catalog.patterns.match_paths import cut_id, ends_of, match_columns
from sinagot_catalog.patterns.template import Template
from sinagot_catalog.startup import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sinagot_catalog.patterns.fields import Tokens
    from sinagot_catalog.patterns.id_pattern import IdPattern

FOLDERS: dict[str, pl.DataType] = {"folder": pl.String(), "n": pl.UInt32()}
"""Folders, `""` or ending in `/`, and how many names each has; a folder may occur several times."""

_FITS: dict[str, pl.DataType] = {"row": pl.UInt32(), "template": pl.UInt16(), "key": pl.UInt32()}


@dataclass(frozen=True)
class Fits:
    """Which files match which patterns.

    Attributes:
        rows: A row per match: `row` (position among the names), `template` (position among the templates), `key`.
        ids: The record id of each key; an id may have several keys.
    """

    rows: pl.DataFrame
    ids: pl.Series


def whole_paths(folders: pl.DataFrame, names: pl.Series) -> pl.Series:
    """The path of each name.

    Example:
        >>> folders = pl.DataFrame({"folder": ["", "raw/"], "n": [1, 2]}, schema=FOLDERS)
        >>> whole_paths(folders, pl.Series(["a", "b", "c"])).to_list()
        ['a', 'raw/b', 'raw/c']
    """
    every = folders["folder"].gather(repeated(folders["n"]))
    return pl.select(pl.concat_str(every, names)).to_series().alias("path")


def match_names(
    folders: pl.DataFrame, names: pl.Series, templates: Sequence[Template], ids: IdPattern
) -> Fits:
    """Find every file that matches a pattern; patterns of directories match no file.

    Args:
        folders: The columns of `FOLDERS`.
        names: The names of the files, folder by folder.
        templates: Bound templates; those that do not determine the id match nothing here.
        ids: The id pattern.

    Example:
        >>> from sinagot_catalog.patterns.id_pattern import IdPattern
        >>> from sinagot_catalog.patterns.template import parse_template
        >>> raw = parse_template("{id}/{id}-raw.csv", fields={"id"})
        >>> folders = pl.DataFrame({"folder": ["R1/", "R2/"], "n": [1, 2]}, schema=FOLDERS)
        >>> found = match_names(folders, pl.Series(["R1-raw.csv", "R1-raw.csv", "x"]), [raw], IdPattern("R[0-9]"))
        >>> found.rows.rows(), found.ids.to_list()
        ([(0, 0, 0)], ['R1', 'R2'])
    """
    if names.is_empty():
        return _together([])
    groups: dict[Tokens, dict[Tokens, int]] = {}
    others: list[int] = []
    for number, template in enumerate(templates):
        if template.is_directory or not ids.is_told_by(template):
            continue
        *folders_of, name = template.parts
        folder = path_of(folders_of)
        is_plain = template.fields == {"id"} and not template.is_wild and _n_fields(name) < 2  # noqa: PLR2004
        if is_plain and name not in groups.get(folder, ()):
            groups.setdefault(folder, {})[name] = number
        else:
            others.append(number)
    folders = folders.with_columns(pl.col("folder").str.strip_suffix("/").alias("path"))
    parts = [
        part
        for folder, by_name in groups.items()
        for part in _in_folders(folders, names, folder, by_name, ids)
    ]
    if others:
        found = match_columns(whole_paths(folders, names), [templates[number] for number in others], ids)
        numbers = pl.Series(others, dtype=pl.UInt16).gather(found["template"])
        parts.append(_each(found["row"], numbers, found["record_id"]))
    return _together(parts)


def with_directories(files: Fits, directories: pl.DataFrame, *, n_files: int) -> Fits:
    """The matches of files and of directories; directories are numbered after the files."""
    rows = directories["row"] + pl.Series([n_files], dtype=pl.UInt32)
    return _together([files, _each(rows, directories["template"], directories["record_id"])])


def _in_folders(
    folders: pl.DataFrame, names: pl.Series, folder: Tokens, by_name: Mapping[Tokens, int], ids: IdPattern
) -> Iterator[Fits]:
    """The matches of patterns that share a folder; `folders` has the `path` of each folder, too."""
    if _n_fields(folder):
        found = match_columns(folders["path"], [Template(folder)], ids)
        if found.is_empty():
            return
        rows, keys = rows_in(folders, found["row"])
        inside = pl.DataFrame({"row": rows, "key": keys, "name": names[rows]})
        yield _told(inside, found["record_id"], by_name)
        return
    at = (folders["path"] == "".join(text for _, text in folder)).arg_true()
    if at.is_empty():
        return
    rows, _ = rows_in(folders, at)
    here = pl.DataFrame({"row": rows, "name": names[rows]}).lazy()
    for name, number in by_name.items():
        cut = cut_id(here, name, "name").collect()
        cut = cut.filter(fitting(cut["record_id"], ids))
        numbers = pl.Series([number], dtype=pl.UInt16).new_from_index(0, cut.height)
        yield _each(cut["row"], numbers, cut["record_id"])


def _told(inside: pl.DataFrame, texts: pl.Series, by_name: Mapping[Tokens, int]) -> Fits:
    """The matches in folders that determine the id: the rest of each name selects the pattern.

    Args:
        inside: Columns `row`, `key` (the key of the folder's id) and `name`.
        texts: The id of each key.
        by_name: The numbers of the patterns by the tokens of their names.
    """
    parts = [pl.DataFrame(schema=_FITS)]
    by_head: dict[str | None, dict[str, int]] = {}
    for name, number in by_name.items():
        head, tail = ends_of(name) if _n_fields(name) else (None, "".join(text for _, text in name))
        by_head.setdefault(head, {})[tail] = number
    for head, tails in by_head.items():
        here, rest = inside, pl.col("name")
        if head is not None:
            start = pl.lit(pl.select(pl.concat_str(pl.lit(head), texts)).to_series()).gather(pl.col("key"))
            here = inside.with_columns(start.alias("start")).filter(rest.str.starts_with(pl.col("start")))
            rest = rest.str.strip_prefix(pl.col("start"))
        code = here.select(rest.cast(pl.Enum(list(tails)), strict=False).to_physical()).to_series()
        template = pl.Series("template", list(tails.values()), dtype=pl.UInt16).gather(code)
        parts.append(here.select("row", template, "key").drop_nulls())
    return Fits(pl.concat(parts), texts)


def _each(rows: pl.Series, numbers: pl.Series, texts: pl.Series) -> Fits:
    """Matches with a separate key for each."""
    keys = pl.int_range(len(rows), dtype=pl.UInt32, eager=True)
    columns = {"row": rows, "template": numbers, "key": keys}
    return Fits(pl.DataFrame(columns, schema=_FITS), texts)


def _together(parts: Sequence[Fits]) -> Fits:
    """Several sets of matches as one, with consecutive keys."""
    rows, texts, first = [pl.DataFrame(schema=_FITS)], [pl.Series([], dtype=pl.String)], 0
    for part in parts:
        if len(part.ids):
            rows.append(part.rows.with_columns(pl.col("key") + first) if first else part.rows)
            texts.append(part.ids)
            first += len(part.ids)
    return Fits(pl.concat(rows), pl.concat(texts).alias("record_id"))


def _n_fields(tokens: Tokens) -> int:
    return sum(kind == "field" for kind, _ in tokens)


def rows_in(folders: pl.DataFrame, at: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The positions of the names in some of the folders, and the position of each name's folder among these."""
    if len(at) == 0:
        return pl.Series("row", [], pl.UInt32), pl.Series("key", [], pl.UInt32)
    counts, ends = pl.col("n").gather(at), pl.col("n").cum_sum().gather(at)
    lists = {
        "row": pl.int_ranges(ends - counts, ends, dtype=pl.UInt32),
        "key": pl.int_range(len(at), dtype=pl.UInt32).repeat_by(counts),
    }
    flat = {name: values.explode(keep_nulls=False, empty_as_null=False) for name, values in lists.items()}
    told = folders.select(**flat)
    return told["row"], told["key"]


def repeated(counts: pl.Series) -> pl.Series:
    """The number of each group, repeated for each of its members."""
    if len(counts) == 0:
        return pl.Series([], dtype=pl.UInt32)
    numbers = pl.int_range(len(counts), dtype=pl.UInt32)
    told = pl.select(numbers.repeat_by(counts).explode(keep_nulls=False, empty_as_null=False))
    return told.to_series().alias("key")
