"""`sql_filter` and `sql`: the same rows, asked for in SQL."""

import polars as pl
import pytest

from sinagot_catalog.errors import SelectionError


def test_sql_filter_keeps_the_rows_of_the_same_expression(harbor):
    text = harbor.steps.sql_filter("status = 'DATA_READY' AND record_id > 'REC-20200601'")
    expression = harbor.steps.filter(pl.col("status") == "DATA_READY", pl.col("record_id") > "REC-20200601")
    assert text.collect().equals(expression.collect())
    assert len(text) == 4


@pytest.mark.parametrize("where", ["status = ", "status == == 'x'", "SELECT", "", "1; DROP TABLE steps"])
def test_sql_that_cannot_be_read_is_one_sentence(harbor, where):
    with pytest.raises(SelectionError):
        len(harbor.steps.sql_filter(where))


def test_sql_filter_names_the_near_column(harbor):
    with pytest.raises(SelectionError, match="did you mean 'status'"):
        len(harbor.steps.sql_filter("statsu = 'DONE'"))


def test_sql_knows_null(harbor):
    assert len(harbor.steps.sql_filter("task IS NULL")) == 9
    assert len(harbor.steps.sql_filter("missing IS NOT NULL")) == 3


def test_sql_asks_over_every_table(harbor):
    for table in ("records", "units", "files", "steps", "links", "events"):
        count = harbor.sql(f"SELECT count(*) AS n FROM {table}").collect().item()  # noqa: S608 - our own names
        assert count == {"records": 3, "units": 3, "files": 3, "steps": 9, "links": 21, "events": 0}[table]


def test_sql_joins_tables(harbor):
    query = """
        SELECT s.step, f.path FROM steps s JOIN links l ON s.record_id = l.record_id AND s.step = l.step
        JOIN files f ON f.path = l.path WHERE s.status = 'DATA_READY' AND s.record_id = 'REC-20200602'
        ORDER BY s.step
    """
    assert harbor.sql(query).collect().rows() == [
        ("count", "raw/REC-20200602-raw.csv"),
        ("mean", "raw/REC-20200602-raw.csv"),
    ]


def test_sql_that_names_no_table_of_ours_is_one_sentence(harbor):
    with pytest.raises(SelectionError, match="cannot be read"):
        harbor.sql("SELECT * FROM nowhere").collect()
