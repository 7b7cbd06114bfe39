"""Values of metadata tables: choose the type of text columns, and read texts for "no value" as null. Pure."""

from __future__ import annotations

from typing import TypeAlias

import polars as pl

from sinagot_catalog.catalog.rules.notices import Notice
from sinagot_catalog.config import count_of

_MISSING = ("", "n/a", "N/A", "NA", "NaN", "nan")
_WHOLE = r"^[+-]?(0|[1-9][0-9]{0,18})$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
_ZEROS = r"[+-]?0[0-9]+"
_CODE = rf"^({_ZEROS}|[+-]?[0-9]{{19,}})$"
"""Digits that are a code: a number has no leading zero and fits into 64 bits."""
_BOOLEAN = r"^(?i:true|false)$"
_MOSTLY = 10
"""A column is reported as mixed if it has this many times more numbers than other texts."""


Values: TypeAlias = tuple[list[pl.Series], tuple[Notice, ...]]
"""The columns of a table, and notices on values that could not be used."""


def with_nulls(column: pl.Series) -> pl.Series:
    """Return texts, with null for those that mean "no value"."""
    return column.zip_with(~column.str.strip_chars().is_in(_MISSING), pl.Series([None], dtype=pl.String))


def key_text(column: pl.Series) -> pl.Series:
    """Return a column of keys as text, exactly as written; unchanged if it cannot be text."""
    if column.dtype.is_float() and (column.drop_nulls().drop_nans() % 1 == 0).all():
        column = column.fill_nan(None).cast(pl.Int64)  # whole numbers next to an absent one
    try:
        text = column.cast(pl.String)
    except pl.exceptions.PolarsError:
        return column
    return with_nulls(text)


def has_leading_zeros(column: pl.Expr) -> pl.Expr:
    """Whether any of these texts is a whole number with leading zeros: a code, such as an id."""
    # few texts begin so, and the search in all of them takes longer
    few = column.filter(column.str.strip_chars_start("+-").str.starts_with("0"))
    return few.str.contains(f"^{_ZEROS}$").any()


# --- texts ---------------------------------------------------------------------------------------------------


def typed_values(frame: pl.DataFrame, name: str, *, has_decimal_commas: bool) -> Values:
    """Convert texts to the type that fits the whole column: numbers, Booleans, else text."""
    texts = [with_nulls(column) for column in frame]
    read = [typed(column, has_decimal_commas=has_decimal_commas) for column in texts]
    mixed = [
        _mixed(column, name, has_decimal_commas=has_decimal_commas)
        for column, new in zip(texts, read, strict=True)
        if new.dtype == pl.String
    ]
    return read, tuple(notice for notice in mixed if notice is not None)


def typed(column: pl.Series, *, has_decimal_commas: bool = False) -> pl.Series:
    """Convert texts, without those for "no value", to the type that fits all of them."""
    plain = column.str.strip_chars()
    there = plain.drop_nulls()
    if there.is_empty():
        return column
    if there.str.contains(_WHOLE).all():
        whole = plain.cast(pl.Int64, strict=False)
        if whole.null_count() == plain.null_count():
            return whole
    if has_decimal_commas and there.str.contains(_COMMA).any():
        plain = plain.str.replace(",", ".", literal=True)
        there = plain.drop_nulls()
    if there.str.contains(_NUMBER).all() and not there.str.contains(_CODE).any():
        return plain.cast(pl.Float64)
    if there.str.contains(_BOOLEAN).all():
        return plain.str.to_lowercase() == "true"
    return column


def _mixed(column: pl.Series, name: str, *, has_decimal_commas: bool) -> Notice | None:
    """Report a column that is text because of few of its values."""
    plain = column.str.strip_chars()
    number = plain.str.contains(f"{_NUMBER}|{_COMMA}" if has_decimal_commas else _NUMBER)
    code = plain.str.contains(_CODE).fill_null(value=False)
    texts = (~number).fill_null(value=False)
    count = int(texts.sum())
    if not count or code.any() or int(number.sum()) < _MOSTLY * count:
        return None
    row = texts.arg_true()[0]
    value = column[row]
    text = (
        f"{name}: the column {column.name!r} is text and not numbers, for {count_of(count, 'row')}: "
        f"row {row + 2:,} has {value!r}"
    )
    return Notice("text among numbers", count, value, text)


# --- types of a file -----------------------------------------------------------------------------------------


def plain_values(frame: pl.DataFrame, name: str) -> Values:
    """Convert values of a typed file to types that every output format supports; drop the others."""
    columns, faults = [], []
    for column in frame:
        target = _kept(column.dtype)
        try:
            columns.append(_without_nan(column if target == column.dtype else column.cast(target)))
        except pl.exceptions.PolarsError:
            text = f"{name}: the column {column.name!r} is left out: its type {column.dtype} cannot be shown"
            faults.append(Notice("column left out", 1, column.name, text))
    return columns, tuple(faults)


def _kept(dtype: pl.DataType) -> pl.DataType:
    """Return the type in which values of a type are stored."""
    if isinstance(dtype, (pl.List, pl.Array)):
        inner = _kept(dtype.inner)  # type: ignore[arg-type]
        return pl.List(inner)
    if isinstance(dtype, pl.Struct) and dtype.fields:
        return pl.Struct({field.name: _kept(field.dtype) for field in dtype.fields})  # type: ignore[arg-type]
    if isinstance(dtype, (pl.Categorical, pl.Enum, pl.Binary, pl.Int128, pl.UInt128, pl.Null, pl.Struct)):
        return pl.String()
    return pl.Float32() if isinstance(dtype, pl.Float16) else dtype


def _without_nan(column: pl.Series) -> pl.Series:
    """Return the values, with null for texts and numbers that mean "no value"."""
    if column.dtype.is_float():
        return column.fill_nan(None)
    return with_nulls(column) if column.dtype == pl.String else column


def text_of(name: str, dtype: pl.DataType) -> pl.Expr:
    """Convert a column to text: a list or a struct becomes JSON, bytes become base64."""
    column = pl.col(name)
    if isinstance(dtype, (pl.List, pl.Array, pl.Struct)):
        value = pl.struct(column.alias("_")).struct.json_encode()
        return pl.when(column.is_not_null()).then(value.str.slice(5, value.str.len_chars() - 6)).alias(name)
    if isinstance(dtype, pl.Duration):
        return column.dt.to_string("iso")
    return column.bin.encode("base64") if dtype == pl.Binary else column.cast(pl.String)
