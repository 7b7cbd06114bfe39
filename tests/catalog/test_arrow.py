"""Selections handed to what reads Arrow: Polars, pyarrow, pandas, DuckDB give the same rows."""

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest


@pytest.mark.parametrize("table", ["records", "units", "files", "steps"])
def test_polars_reads_a_selection(harbor, table):
    one = getattr(harbor, table)
    assert pl.DataFrame(one).equals(one.collect())


@pytest.mark.parametrize("table", ["records", "units", "files", "steps"])
def test_pyarrow_reads_a_selection(harbor, table):
    one = getattr(harbor, table)
    read = pa.table(one)
    assert read.column_names == one.collect().columns
    assert read.num_rows == one.collect().height
    assert pl.from_arrow(one.to_arrow()).equals(one.collect())


def test_duckdb_asks_over_a_selection(harbor):
    steps = harbor.steps
    found = duckdb.sql(
        "SELECT step, count(*) AS n FROM steps WHERE status = 'DATA_READY' GROUP BY step ORDER BY step"
    )
    assert found.fetchall() == [("count", 3), ("mean", 3)]
    assert len(steps) == 9


def test_pandas_reads_a_selection(harbor):
    frame = pa.table(harbor.steps).to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["record_id"].tolist() == harbor.steps.collect()["record_id"].to_list()
    assert frame["status"].tolist() == harbor.steps.collect()["status"].to_list()


def test_keys_are_plain_strings_that_join_a_frame_of_the_users(harbor):
    mine = pl.DataFrame({"record_id": ["REC-20200602"], "age": [4]})
    joined = harbor.steps.collect().join(mine, on="record_id")
    assert joined["age"].to_list() == [4, 4, 4]


def test_tables_of_two_workspaces_concatenate(harbor, make_workspace):
    other = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    assert pl.concat([harbor.steps.collect(), other.steps.collect()]).height == 10
