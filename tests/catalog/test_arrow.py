"""Selections handed to what reads Arrow: Polars, pyarrow, pandas, DuckDB give the same rows."""

import altair as alt
import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sinagot_catalog.errors import SelectionError


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


def test_libraries_of_frames_take_a_selection_or_its_frame(harbor):
    ready = harbor.steps.filter(status="READY")
    assert pd.DataFrame.from_arrow(ready).shape == (6, 22)
    assert nw.from_arrow(ready, backend="polars").shape == (6, 22)
    assert nw.from_native(ready.lazy()).filter(nw.col("step") == "mean").collect().shape == (3, 22)
    assert duckdb.from_arrow(ready).count("*").fetchall() == [(6,)]
    chart = alt.Chart(ready.select("step")).mark_bar().encode(x="step:N", y="count()").to_dict()
    assert len(next(iter(chart["datasets"].values()))) == 6


@pytest.mark.parametrize("table", ["records", "units", "files", "steps"])
def test_narwhals_and_altair_take_a_selection_itself(harbor, table):
    rows = getattr(harbor, table)
    frame = nw.from_native(rows)
    assert frame.to_native().equals(rows.collect())
    assert (
        frame.filter(nw.col("record_id") == "REC-20200601").shape[0]
        == rows.filter(record_id="REC-20200601").count()
    )
    chart = alt.Chart(rows).mark_bar().encode(x="record_id", y="count()").to_dict()
    assert chart["encoding"]["x"] == {"field": "record_id", "type": "nominal"}
    assert len(next(iter(chart["datasets"].values()))) == len(rows)


def test_statuses_in_a_chart_come_in_their_order(harbor):
    chart = alt.Chart(harbor.steps).mark_bar().encode(x="count()", color="status").to_dict()
    assert chart["encoding"]["color"]["sort"][:2] == ["INIT", "DATA_READY"]


@pytest.mark.filterwarnings("ignore::Warning")  # of pandas, from Ibis
def test_ibis_takes_a_selection(harbor):
    import ibis

    table = ibis.memtable(harbor.steps.filter(status="READY"))
    assert table.step.nunique().execute() == 2


def test_an_order_by_an_unknown_column_names_the_near_ones(harbor):
    for rows, name, near in ((harbor.steps, "secnds", "seconds"), (harbor.records, "n_dnoe", "n_done")):
        with pytest.raises(SelectionError, match=f"has no column '{name}'; did you mean '{near}'"):
            rows.sort(name)
        assert rows.sort([near, "record_id"]).equals(rows.sort(near, "record_id"))


def test_great_tables_takes_the_frame_of_a_selection(harbor):
    import great_tables

    page = great_tables.GT(harbor.steps.select("record_id", "step", "status")).as_raw_html()
    assert page.count("DATA_READY") == 6


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda ws: pd.DataFrame(ws.steps), r"\.collect\(\)\.to_pandas\(\) for pandas"),
        (lambda ws: pd.DataFrame(ws.records), r"\.collect\(\)\.to_pandas\(\) for pandas"),
        (lambda ws: list(ws.steps), r"write \.collect\(\)\.iter_rows\(named=True\)"),
        (lambda ws: ws.steps[:3], r"write \.head\(3\)"),
        (lambda ws: ws.steps["mean"], r"\.get\('mean'\) for a step, \.select\('mean'\) for a column"),
        (lambda ws: ws.files[0], r"write \.collect\(\)\[…\]"),
    ],
)
def test_what_a_selection_cannot_be_is_told_with_what_to_write(harbor, use, text):
    with pytest.raises(TypeError, match=text):
        use(harbor)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shape", "collect().shape"),
        ("columns", "collect().columns"),
        ("group_by", ".lazy().group_by(…) or .collect().group_by(…)"),
        ("to_pandas", ".collect().to_pandas(…)"),
        ("sink_csv", ".lazy().sink_csv(…)"),
    ],
)
def test_names_of_frames_are_told_where_they_are(harbor, name, text):
    with pytest.raises(AttributeError) as wrong:
        getattr(harbor.steps, name)
    assert str(wrong.value).endswith(text)
