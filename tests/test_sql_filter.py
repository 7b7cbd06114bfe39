"""`sql_filter` and `sql`: the same rows, asked for in SQL."""

from pathlib import Path

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


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM steps WHERE status = 'DNOE'",
        "SELECT * FROM steps s WHERE s.status <> 'DNOE'",
        "SELECT * FROM steps WHERE \"status\" IN ('ERROR', 'DNOE')",
        "SELECT * FROM steps WHERE status NOT IN ('DNOE')",
        "SELECT count(*) FROM steps WHERE 'DNOE' = status -- a remark",
        "SELECT SUM(CASE WHEN status = 'DNOE' THEN 1 ELSE 0 END) FROM steps",
        "SELECT record_id FROM records WHERE record_id IN (SELECT record_id FROM steps WHERE status='DNOE')",
        "SELECT * FROM events WHERE status = 'DNOE'",
        "SELECT DISTINCT status FROM steps WHERE status = 'DNOE'",
        "SELECT * FROM steps WHERE NOT status = 'DNOE' ORDER BY status",
        "SELECT step, status FROM steps WHERE step = 'count' AND status = 'DNOE' GROUP BY step, status",
    ],
)
def test_a_query_with_a_status_that_is_none_is_an_error_that_names_the_near_one(harbor, query):
    with pytest.raises(SelectionError, match="status is never 'DNOE'; did you mean 'DONE'"):
        harbor.sql(query)


def test_a_query_with_another_enum_column_is_checked_too(harbor):
    with pytest.raises(SelectionError, match="role is never 'inptu'; did you mean 'input'"):
        harbor.sql("SELECT * FROM links WHERE role = 'inptu'")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM steps WHERE status = 'DONE' OR step = 'status = ''x'''",
        "SELECT * FROM (SELECT step AS status FROM steps) WHERE status = 'count'",
        "SELECT 'DNOE' AS status FROM steps /* status = 'x' */ WHERE status IS NOT NULL",
        "SELECT * FROM steps WHERE record_id IN ('status', 'x') AND status >= 'DONE'",
        "WITH t AS (SELECT message status FROM events) SELECT * FROM t WHERE status = 'boom'",
        "SELECT * FROM (SELECT lower(step) status FROM steps) t WHERE status = 'count'",
        "SELECT * FROM (SELECT CASE WHEN step = 'x' THEN 'a' ELSE 'b' END kind FROM steps) t WHERE kind <> 'x'",
    ],
)
def test_a_query_that_only_looks_like_a_wrong_status_is_answered(harbor, query):
    assert harbor.sql(query).collect().width


def test_a_column_of_the_users_own_table_takes_any_text(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml="[records]\nid_pattern='R1'\nmetadata='m.csv'\n"
    )
    (Path(ws.config.root) / "m.csv").write_text("record_id,kind\nR1,boat\n")
    assert ws.sql("SELECT record_id FROM records WHERE kind = 'boat'").collect().rows() == [("R1",)]
