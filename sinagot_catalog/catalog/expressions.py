"""Expressions: which parts of a filter are decided for each row alone; the value that rows share. Pure."""

import polars as pl


def is_by_row(predicate: pl.Expr) -> bool:
    """Whether an expression is decided for each row alone: no windows, no positions, no aggregates.

    Example:
        >>> is_by_row(pl.col("step") == "mean"), is_by_row(pl.sql_expr("NOT step IN ('mean', 'sum')"))
        (True, True)
        >>> is_by_row(pl.int_range(pl.len()) < 5)
        False
    """
    if predicate.meta.is_column_selection() or predicate.meta.is_literal():
        return True
    try:
        is_alone = predicate.meta.is_row_separable()
    except pl.exceptions.PolarsError:  # Polars cannot tell of an IN of SQL, nor of operators around it
        is_alone = str(predicate).endswith(("]", ".not()", ".strict_cast(Boolean)", ".sql_is_in([Series])"))
    return is_alone and all(map(is_by_row, predicate.meta.pop()))


def conjuncts(predicate: pl.Expr) -> list[pl.Expr]:
    """Return the expressions that a predicate joins by AND.

    Example:
        >>> [str(one) for one in conjuncts(pl.col("a") & pl.col("b") & (pl.col("c") | pl.col("d")))]
        ['col("a")', 'col("b")', '[(col("c")) | (col("d"))]']
    """
    match predicate.meta.pop():
        case [last, first] if (first & last).meta.eq(predicate):
            return [*conjuncts(first), *conjuncts(last)]
    return [predicate]


def only(values: pl.Expr) -> pl.Expr:
    """Return the value that all rows of a group have; null if they differ.

    Example:
        >>> frame = pl.DataFrame({"a": [1, 1], "b": [1, 2]})
        >>> frame.select(only(pl.col("a")), only(pl.col("b"))).row(0)
        (1, None)
    """
    return pl.when(values.n_unique() == 1).then(values.first())
