"""`sql_filter` and `sql`: the same rows, asked for in SQL."""

from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError
from sinagot_catalog.flows.deployments.deployment_spec import describe
from sinagot_catalog.flows.prepare import prepare


def test_sql_filter_keeps_the_rows_of_the_same_expression(harbor):
    text = harbor.steps.sql_filter("status = 'DATA_READY' AND record_id > 'REC-20200601'")
    expression = harbor.steps.filter(pl.col("status") == "DATA_READY", pl.col("record_id") > "REC-20200601")
    assert text.collect().equals(expression.collect())
    assert len(text) == 4


@pytest.mark.parametrize("where", ["status = ", "status == == 'x'", "SELECT", "", "1; DROP TABLE steps"])
def test_sql_that_cannot_be_read_is_one_sentence(harbor, where):
    with pytest.raises(SelectionError):
        len(harbor.steps.sql_filter(where))


def test_a_column_that_is_a_word_of_sql_is_shown_in_quotes(harbor):
    with pytest.raises(SelectionError) as raised:
        len(harbor.records.sql_filter("group = 'patient'"))
    assert raised.value.hint.endswith('A column that is called group stands in double quotes: "group".')
    with pytest.raises(SelectionError) as raised:
        len(harbor.steps.sql_filter("exists = false"))
    assert raised.value.hint.endswith('stands in double quotes: "exists".')


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


def test_sql_that_names_a_column_of_records_is_told_how_to_join_them(harbor):
    with pytest.raises(SelectionError) as error:
        harbor.sql("SELECT record_id FROM steps WHERE n_files > 2")
    assert "n_files is a column of records: JOIN records USING (record_id)." in str(error.value)
    joined = harbor.sql(
        "SELECT record_id, n_files FROM steps JOIN records USING (record_id) WHERE n_files > 0"
    )
    assert joined.collect().height == harbor.steps.count()


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


# --- no file is read ---------------------------------------------------------------------------------------------

QUERIES_IN_FILTERS = [
    "record_id IN (SELECT secret FROM read_csv('{file}'))",
    "record_id = (SELECT max(secret) FROM read_csv('{file}'))",
    "EXISTS (SELECT 1 FROM read_csv('{file}'))",
    "CAST((select secret FROM read_csv('{file}')) AS INT) = 1",
    "record_id IN (FROM read_csv('{file}'))",
    "record_id IN ((WITH x AS (FROM read_csv('{file}')) SELECT * FROM x))",
    "record_id = ANY(SELECT secret FROM read_csv('{file}'))",
    "record_id IN (SELECT record_id FROM steps)",
    "record_id IN (VALUES ('x'))",
    "record_id IN (TABLE steps)",
    "CASE WHEN record_id IN /* */ ( -- '\nSELECT secret FROM read_csv('{file}')) THEN true END",
    "record_id = $$'$$ OR record_id IN (SELECT secret FROM read_csv('{file}')) OR step = ''",
    "step = E'\\'' OR record_id IN (SELECT secret FROM read_csv('{file}')) OR step = ''",
    "@-- (SELECT secret FROM read_csv('{file}'))",
    "read_csv('{file}') IS NOT NULL",
    "\"read_parquet\"('{file}') IS NOT NULL",
    "true FROM read_csv('{file}')",
]


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret.csv"
    file.write_text("secret\nhush1\nhush2\n")
    return file


@pytest.mark.parametrize("where", QUERIES_IN_FILTERS)
def test_a_filter_holds_no_query_and_opens_no_file(harbor, secret_file, where):
    asked = where.format(file=secret_file)
    missing = where.format(file="/nowhere/x.csv")
    for text in (asked, missing):
        with pytest.raises(SelectionError) as caught:
            harbor.steps.sql_filter(text)
        assert "hush" not in str(caught.value)
        assert "No such file" not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        "reason LIKE '%SELECT 1 FROM read_csv(''x'')%'",
        "reason IS DISTINCT FROM 'select'",
        "SUBSTRING(record_id FROM 1 FOR 3) = 'REC'",
        "EXTRACT(YEAR FROM ended) = 2026 OR true",
        "(step = 'count') -- (SELECT 1)\r\n OR step = 'mean'",
    ],
)
def test_a_filter_that_only_looks_like_a_query_is_answered(harbor, where):
    harbor.steps.sql_filter(where).collect()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{file}')",
        "FROM read_csv('{file}') SELECT *",
        "SELECT * FROM (READ_CSV/* */('{file}'))",
        "EXPLAIN SELECT * FROM \"read_csv\" ('{file}')",
        "SELECT s.* FROM steps s JOIN read_parquet('{file}') f ON true",
        "WITH x AS (SELECT * FROM read_json('{file}')) SELECT * FROM x",
        "SELECT * FROM steps WHERE record_id IN (SELECT secret FROM read_ipc('{file}'))",
        "CREATE TABLE x AS SELECT * FROM read_csv('{file}')",
        "SELECT $$'$$ FROM read_csv('{file}') -- '",
    ],
)
def test_a_query_reads_the_tables_and_no_file(harbor, secret_file, query):
    with pytest.raises(SelectionError, match=r"(?i)the query (calls read_|holds a)") as caught:
        harbor.sql(query.format(file=secret_file))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("verb", ["status", "plan", "run", "ls"])
def test_commands_take_no_filter_that_holds_a_query(cli, harbor_folder, secret_file, verb):
    where = QUERIES_IN_FILTERS[3].format(file=secret_file)
    for words in [["ls", "events"], ["ls", "files"], ["ls", "links"]] if verb == "ls" else [[verb]]:
        done = cli(*words, "-C", harbor_folder, "--where", where)
        assert done.returncode == 2
        assert "the filter holds a query: SELECT" in done.stderr
        assert "hush" not in done.stdout + done.stderr


def test_a_deployed_filter_holds_no_query(harbor_folder, secret_file):
    where = QUERIES_IN_FILTERS[0].format(file=secret_file)
    with pytest.raises(SelectionError, match="the filter holds a query"):
        describe(Workspace(harbor_folder)._source, "nightly", where=where)
    with pytest.raises(SelectionError, match="the filter holds a query") as caught:
        prepare(str(harbor_folder), where=where, deployed={"workspace": str(harbor_folder)})
    assert "hush" not in str(caught.value)
