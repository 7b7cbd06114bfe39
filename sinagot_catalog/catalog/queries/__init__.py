"""Queries: the filters of a selection, and the rows that they give.

In: predicates as Polars expressions or SQL, and a catalog. Out: rows of one of its tables, as (lazy) frames.

Begin with `query` (the predicates of a selection) and `resolver` (which applies them to the tables of a catalog).
"""
