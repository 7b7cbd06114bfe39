"""Every way to ask for rows gives the rows that Polars' own filters give, whatever was asked before."""

import itertools
import json
import os

import duckdb
import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sinagot_catalog import Workspace, schema

TOML = """
[records]
id_pattern = '(?P<site>[AB])\\d'
metadata = "people.csv"
[tasks.RS]
modalities = ["EEG", "behavior"]
[tasks.MMN]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean", "peak"]
[modalities.behavior]
scripts = ["score"]
"""
SCRIPTS = {
    "EEG/clean": ("raw/{id}-{task}.edf", "clean/{id}-{task}.fif"),
    "EEG/peak": ({"clean": "clean/{id}-{task}.fif", "norm": "norm.csv"}, "peak/{id}-{task}.txt"),
    "behavior/score": ("raw/{id}.csv", "score/{id}.txt"),
}
IDS = ("A1", "A2", "B1", "B2")
PATHS = [
    "norm.csv",
    *(f"raw/{one}.csv" for one in IDS),
    *(f"score/{one}.txt" for one in IDS),
    *(f"raw/{one}-{task}.edf" for one in IDS for task in ("RS", "MMN")),
    *(f"clean/{one}-{task}.fif" for one in IDS for task in ("RS", "MMN")),
]
KEYS = {
    "steps": ["record_id", "task", "modality", "step"],
    "units": ["record_id", "task", "modality"],
    "records": ["record_id"],
    "files": ["path"],
}
PREDICATES = {
    "steps": [
        pl.col("status") == "DONE",
        pl.col("status") != "INIT",
        pl.col("record_id") > "A1",
        pl.len().over("record_id") == 1,
        pl.len().over("step") > 2,
        pl.int_range(pl.len()) < 3,
        pl.int_range(pl.len()) % 2 == 0,
        pl.col("n_inputs_found") == pl.col("n_inputs_found").max(),
        pl.col("record_id") == pl.col("record_id").last(),
        pl.col("stale"),
        pl.col("stale").is_null(),
        pl.col("missing").is_null(),
        pl.col("reason").str.contains("missing"),
        pl.col("age") > pl.col("age").mean(),
        pl.col("size") > 4,
        pl.col("site") == "B",
        pl.col("step").is_first_distinct(),
        pl.col("status").rank("dense") > 1,
        cs.by_name("step") == "clean",
        pl.any_horizontal(cs.string() == "clean"),
        pl.all_horizontal(cs.starts_with("n_in") > 0),
        pl.lit(value=True),
    ],
    "units": [
        pl.col("has_data"),
        pl.col("n_steps") > 1,
        pl.col("next_step") == "peak",
        pl.int_range(pl.len()) > 1,
        pl.len().over("record_id") > 1,
        pl.col("age").is_null(),
        pl.all_horizontal(cs.integer() >= 0),
    ],
    "records": [
        pl.col("size") > pl.col("size").min(),
        pl.col("n_done") > 0,
        pl.col("age") < 40,
        pl.int_range(pl.len()) < 2,
        pl.col("first_modified").is_first_distinct(),
        pl.len().over("site") == 1,
        cs.by_name("size") > 3,
    ],
    "files": [
        pl.col("size") > 2,
        pl.col("role") == "input",
        pl.col("step") == "clean",
        pl.len().over("record_id") > 1,
        pl.int_range(pl.len()) < 4,
        pl.col("age") > 20,
        pl.any_horizontal(cs.integer() > 3),
    ],
}
BEFORE = [
    lambda ws: ws.steps.collect(),
    lambda ws: ws.steps.select("stale"),
    lambda ws: ws.records.select("size"),
    lambda ws: ws.files.collect(),
    lambda ws: len(ws.steps.filter(pl.col("reason").is_null())),
    lambda ws: ws.steps.plan(),
]


few = settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Workspaces of different files, one after the other; a folder for each set of files, written once."""
    root = tmp_path_factory.mktemp("truth")

    def write(paths):
        folder = root / f"{hash(paths):x}"
        if not folder.exists():
            for path in paths:
                file = folder / "dataset" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("x" * (1 + len(path) % 5))
                when = 1_000 + 7 * len(path) % 11
                os.utime(file, (when, when))
            (folder / "dataset").mkdir(parents=True, exist_ok=True)
            (folder / "people.csv").write_text("record_id,age\nA1,41\nA2,30\nB1,25\n")
            (folder / "workspace.toml").write_text(TOML)
            for name, (reads, makes) in SCRIPTS.items():
                script = folder / "scripts" / f"{name}.py"
                script.parent.mkdir(parents=True, exist_ok=True)
                script.write_text(
                    "from sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
                    f"    PATH_IN = {reads!r}\n    PATH_OUT = {makes!r}\n    def run(self): pass\n"
                )
        return folder

    return write


def whole(folder, table):
    """Every column that a predicate over a table may name, of all of its rows, from a workspace of its own."""
    ws = Workspace(folder)
    selection = getattr(ws, table)
    beside = [name for name in ws.records.select(*RECORD_COLUMNS).columns if name not in schema.TABLES[table]]
    own = ws.records.collect_schema().names() if table == "records" else list(schema.TABLES[table])
    own = list(dict.fromkeys([*own, *(schema.TIMED["records"] if table == "records" else ())]))
    return selection.select(*own), selection.select(*dict.fromkeys([*own, *beside]))


RECORD_COLUMNS = ["record_id", "site", "age", *schema.RECORDS.keys() - {"record_id"}]


def expected(folder, table, predicates, *, at_once=False):
    """What filters of a Polars frame give, one after the other or in one call."""
    own, wide = whole(folder, table)
    if at_once:
        return wide.filter(*predicates)
    for predicate in predicates:
        if predicate.meta.has_multiple_outputs():  # a selector sees the columns that the table shows
            shown = [name for name in own.columns if _is_shown(table, name, predicate)]
            wide = wide.filter(wide.select(shown).select(predicate).to_series())
        else:
            wide = wide.filter(predicate)
    return wide


def _is_shown(table, name, predicate):
    return name not in schema.TIMED.get(table, ()) or f"'{name}'" in str(predicate)


def by_keys(frame, table):
    return frame.select(KEYS[table]).rows()


@pytest.mark.slow
@few
@given(data=st.data())
def test_every_way_to_ask_gives_the_rows_of_polars_filters(folders, data):
    paths = tuple(data.draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=9, unique=True)))
    table = data.draw(st.sampled_from([*PREDICATES, "steps", "steps"]))
    predicates = data.draw(st.lists(st.sampled_from(PREDICATES[table]), max_size=3))
    has_selector = any(predicate.meta.has_multiple_outputs() for predicate in predicates)
    at_once = not has_selector and data.draw(st.booleans())
    folder = folders(paths)
    reference = expected(folder, table, predicates, at_once=at_once)
    rows = by_keys(reference, table)
    ws = Workspace(folder)
    for look in data.draw(st.lists(st.sampled_from(BEFORE), max_size=2)):
        look(ws)
    selection = getattr(ws, table)
    for one_call in [predicates] if at_once else [[one] for one in predicates]:
        selection = selection.filter(*one_call)
    collected = selection.collect()
    assert by_keys(collected, table) == rows
    assert collected.equals(reference.select(collected.columns))
    assert len(selection) == len(rows)
    assert by_keys(selection.select(*KEYS[table]), table) == rows
    assert by_keys(selection.lazy().collect(), table) == rows
    assert by_keys(selection.lazy().select(KEYS[table]).collect(), table) == rows
    assert selection.lazy().select(pl.len()).collect().item() == len(rows)
    assert by_keys(pl.DataFrame(selection), table) == rows
    assert by_keys(pl.from_arrow(pa.table(selection)), table) == rows
    assert duckdb.sql(f"SELECT {', '.join(KEYS[table])} FROM selection").fetchall() == rows  # noqa: S608
    names = selection.collect_schema().names()
    assert (
        collected.columns == names == selection.lazy().collect().columns == pa.table(selection).column_names
    )
    timed = set(schema.TIMED.get(table, ()))
    if not has_selector:
        named = {name for predicate in predicates for name in predicate.meta.root_names()}
        assert timed & set(names) == timed & named
    if table == "steps":
        planned = selection.plan().frame
        assert sorted(by_keys(planned, table), key=str) == sorted(rows, key=str)
    lazy = getattr(ws, table).lazy()
    for one_call in [predicates] if at_once else [[one] for one in predicates]:
        lazy = lazy.filter(*one_call)
    if not has_selector:
        assert by_keys(lazy.collect(), table) == rows
        assert by_keys(lazy.select(KEYS[table]).collect(), table) == rows


@pytest.mark.slow
@pytest.mark.parametrize("table", PREDICATES)
def test_each_pair_of_filters_applies_in_its_order_or_in_one_call(folders, table):
    folder = folders(("raw/A1-RS.edf", "clean/A1-RS.fif", "raw/A2.csv", "score/B1.txt", "norm.csv"))
    selection, wide = getattr(Workspace(folder), table), whole(folder, table)[1]
    plain = [one for one in PREDICATES[table] if not one.meta.has_multiple_outputs()]
    for first, second in itertools.permutations(plain[:10], 2):
        in_order = by_keys(wide.filter(first).filter(second), table)
        narrow = selection.filter(first).filter(second).select(*KEYS[table])
        assert narrow.rows() == in_order
        at_once = by_keys(wide.filter(first, second), table)
        assert by_keys(selection.filter(first, second).collect(), table) == at_once


@pytest.mark.slow
@few
@given(data=st.data())
def test_another_table_has_the_rows_that_are_linked_to_at_least_one_row(folders, data):
    paths = tuple(data.draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=9, unique=True)))
    one, other = data.draw(st.permutations(["records", "units", "steps"]))[:2]
    predicate = data.draw(st.sampled_from(PREDICATES[one]))
    folder = folders(paths)
    kept = expected(folder, one, [predicate])
    on = [key for key in KEYS[one] if key in KEYS[other]]
    linked = whole(folder, other)[0].join(kept, on=on, how="semi", nulls_equal=True)
    ws = Workspace(folder)
    for look in data.draw(st.lists(st.sampled_from(BEFORE), max_size=2)):
        look(ws)
    hop = getattr(getattr(ws, one).filter(predicate), other)
    assert by_keys(hop.collect(), other) == by_keys(linked, other)
    assert len(hop) == linked.height
    plain = [each for each in PREDICATES[other] if not each.meta.has_multiple_outputs()]
    further = data.draw(st.sampled_from(plain))
    beside = dict.fromkeys(name for name in further.meta.root_names() if name not in linked.columns)
    records = whole(folder, "records")[0].select("record_id", *beside)
    wide = linked.join(records, on="record_id", how="left", maintain_order="left")
    assert by_keys(hop.filter(further).collect(), other) == by_keys(wide.filter(further), other)


FIXED = [
    ("raw/A1-RS.edf", "raw/B1-RS.edf", "clean/A1-RS.fif", "norm.csv"),
    ("raw/A1.csv", "score/A1.txt", "score/A2.txt", "raw/B2-MMN.edf", "clean/B2-MMN.fif"),
    ("norm.csv",),
]


@pytest.mark.parametrize("paths", FIXED)
def test_the_command_line_and_the_report_have_the_same_rows(folders, cli, tmp_path, paths):
    folder = folders(paths)
    where = "status LIKE 'D%' AND n_inputs_found > 0"
    frame = whole(folder, "steps")[0]
    kept = frame.filter(pl.col("status").is_in(["DONE", "DATA_READY"]), pl.col("n_inputs_found") > 0)
    listed = json.loads(cli("ls", "steps", "-C", folder, "--where", where, "--json").stdout)
    assert [tuple(row[key] for key in KEYS["steps"]) for row in listed] == by_keys(kept, "steps")
    totals = json.loads(cli("status", folder, "--where", where, "--json").stdout)["totals"]
    assert totals["total"] == kept.height
    assert totals["done"] == kept.filter(status="DONE").height
    planned = json.loads(cli("plan", folder, "--where", where, "--json").stdout)
    assert sorted(row["record_id"] for row in planned) == sorted(kept["record_id"])
    page = Workspace(folder).report(tmp_path / "report.html").read_text()
    words = {"READY": "DATA_READY", "DONE": "DONE", "INIT": "INIT"}
    for word, status in words.items():
        count = frame.filter(pl.col("status") == status).height
        assert (f"<b>{count}</b> {word}" in page) == (count > 0)


SQL = [
    "status = 'DONE'",
    "status LIKE 'D%' AND record_id > 'A1'",
    "stale",
    "stale IS NULL AND n_inputs_found > 0",
    "missing IS NOT NULL OR step IN ('clean')",
    "UPPER(status) = 'DATA_READY'",
    "status NOT LIKE '%READY'",
]


@pytest.mark.slow
@few
@given(data=st.data())
def test_sql_gives_the_rows_of_the_same_predicate(folders, data):
    paths = tuple(data.draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=9, unique=True)))
    where = data.draw(st.sampled_from(SQL))
    folder = folders(paths)
    frame = whole(folder, "steps")[0].with_columns(pl.col("status").cast(pl.String))
    rows = by_keys(frame.sql(f"SELECT * FROM self WHERE {where}"), "steps")  # noqa: S608
    ws = Workspace(folder)
    for look in data.draw(st.lists(st.sampled_from(BEFORE), max_size=2)):
        look(ws)
    assert by_keys(ws.steps.sql_filter(where).collect(), "steps") == rows
    assert len(ws.steps.sql_filter(where)) == len(rows)
    assert by_keys(ws.sql(f"SELECT * FROM steps WHERE {where}").collect(), "steps") == rows  # noqa: S608
    assert ws.sql(f"SELECT count(*) FROM steps WHERE {where}").collect().item() == len(rows)  # noqa: S608
    narrow = ws.sql(f"SELECT step FROM steps WHERE {where}").collect()  # noqa: S608
    assert narrow["step"].to_list() == [row[3] for row in rows]
