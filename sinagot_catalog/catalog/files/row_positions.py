"""Row positions: where rows with hidden keys stand among all rows of `steps`. Pure."""

import polars as pl


def spots(rows: pl.DataFrame, count: int) -> pl.Series:
    """Return the positions of rows among all rows by unit step; `count` is the number of records.

    Example:
        >>> rows = pl.DataFrame({"_rec": [7], "_cell": [50]}, schema={"_rec": pl.UInt32, "_cell": pl.UInt16})
        >>> spots(rows, 10**8).item()
        5000000007
    """
    return rows.select(pl.col("_cell").cast(pl.Int64) * count + pl.col("_rec")).to_series()


def positions(spots: pl.Series, height: int) -> pl.Series:
    """Return the position of each of `height` rows in a list of rows, null if it is not in the list."""
    nowhere = pl.Series([None], dtype=pl.UInt32).new_from_index(0, height)
    return nowhere.scatter(spots, pl.int_range(len(spots), dtype=pl.UInt32, eager=True))
