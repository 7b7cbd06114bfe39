"""Column types: finds the common type of two column types, and converts a column to it."""

from __future__ import annotations

import polars as pl


def common_type(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """Give the type that holds the values of both types.

    The type `Null` stands for a column without values.

    Returns:
        The type; None where no such type exists, for example for a list and a number.

    Example:
        >>> common_type(pl.Int32(), pl.Float32()), common_type(pl.Date(), pl.Datetime("us"))
        (Float64, Datetime(time_unit='us', time_zone=None))
        >>> common_type(pl.Struct({"a": pl.Int64}), pl.Struct({"b": pl.String}))
        Struct({'a': Int64, 'b': String})
    """
    if pl.Null in (left, right) or left == right:
        return right if left == pl.Null else left
    if left.is_nested() or right.is_nested():
        return _common_nested(left, right)
    if (left.is_numeric() and right.is_numeric()) or left.base_type() == right.base_type() == pl.Duration:
        return _supertype(left, right)
    if {left.base_type(), right.base_type()} <= {pl.Date, pl.Datetime}:
        return _common_time(left, right)
    return None if pl.Binary in (left, right) else pl.String()


def _common_nested(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """Give the common type of two nested types: structs get the fields of both, lists the items' common type."""
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        return _common_struct(left, right)
    if isinstance(left, (pl.List, pl.Array)) and isinstance(right, (pl.List, pl.Array)):
        inner = common_type(_instance(left.inner), _instance(right.inner))
        return None if inner is None else pl.List(inner)
    return None


def _common_time(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """Give the common type of two times: UTC for two zones, text if only one of them has a zone."""
    zones = {getattr(each, "time_zone", None) for each in (left, right)}
    if len(zones) == 1 or pl.Date in (left, right):
        return _supertype(left, right)
    return pl.String() if None in zones else _supertype(_in_utc(left), _in_utc(right))


def _common_struct(left: pl.Struct, right: pl.Struct) -> pl.DataType | None:
    """Give a struct with the fields of both; a field that both have gets the common type."""
    fields = {field.name: _instance(field.dtype) for field in left.fields}
    for field in right.fields:
        dtype = common_type(fields.get(field.name, pl.Null()), _instance(field.dtype))
        if dtype is None:
            return None
        fields[field.name] = dtype
    return pl.Struct(fields)


def _instance(dtype: object) -> pl.DataType:
    """Give a type as an instance, also where it is given as a class."""
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]


def _in_utc(dtype: pl.DataType) -> pl.DataType:
    return pl.Datetime(dtype.time_unit, "UTC") if isinstance(dtype, pl.Datetime) else dtype


def _supertype(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """Give the supertype that Polars chooses for both."""
    frames = [pl.DataFrame(schema={"column": dtype}) for dtype in (left, right)]
    try:
        return pl.concat(frames, how="vertical_relaxed").schema["column"]
    except pl.exceptions.PolarsError:
        return None


def converted(column: pl.Expr, have: pl.DataType, want: pl.DataType) -> pl.Expr:
    """Convert a column to a type that `common_type` returned; absent fields become null.

    Example:
        >>> have, want = pl.Struct({"a": pl.Int64}), pl.Struct({"a": pl.Float64, "b": pl.String})
        >>> frame = pl.DataFrame({"s": [{"a": 1}, None]})
        >>> frame.select(converted(pl.col("s"), have, want)).to_series().to_list()
        [{'a': 1.0, 'b': None}, None]
    """
    if have == want:
        return column
    if isinstance(have, pl.Struct) and isinstance(want, pl.Struct):
        dtypes = {field.name: _instance(field.dtype) for field in have.fields}
        fields = [
            converted(column.struct.field(field.name), dtypes[field.name], _instance(field.dtype))
            if field.name in dtypes
            else pl.lit(None, _instance(field.dtype)).alias(field.name)
            for field in want.fields
        ]
        return pl.when(column.is_not_null()).then(pl.struct(fields))
    if isinstance(have, (pl.List, pl.Array)) and isinstance(want, pl.List):
        items = column.arr.to_list() if isinstance(have, pl.Array) else column
        return items.list.eval(converted(pl.element(), _instance(have.inner), _instance(want.inner)))
    if want == pl.String and have.is_temporal() and have != pl.Duration:
        return column.dt.to_string("iso")
    return column.cast(want)
