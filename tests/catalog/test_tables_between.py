"""One selection seen as another table: the rows that are linked to at least one of its rows."""

import polars as pl
import pytest

from sinagot_catalog.errors import SelectionError

SCOPED = """
[records]
id_pattern = 'R\\d+'
metadata = "people.csv"
[tasks.RS]
modalities = ["EEG", "behavior"]
[tasks.MMN]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean"]
task_scripts.MMN = ["peak"]
[modalities.behavior]
scripts = ["score"]
"""


@pytest.fixture
def ws(write_workspace):
    from sinagot_catalog import Workspace

    scripts = {
        "EEG/clean": (("raw", "{id}", "{task}.edf"), ("clean", "{id}-{task}.fif")),
        "EEG/peak": ({"clean": ("clean", "{id}-{task}.fif"), "norm": "norm.csv"}, "peak/{id}.txt"),
        "behavior/score": ("raw/{id}/answers.csv", "score/{id}.txt"),
    }
    files = [
        "raw/R1/RS.edf",
        "raw/R1/MMN.edf",
        "clean/R1-MMN.fif",
        "norm.csv",
        "raw/R2/answers.csv",
        "raw/R3/RS.edf",
    ]
    folder = write_workspace(scripts, files, toml=SCOPED)
    (folder / "people.csv").write_text("record_id,age,site\nR1,41,Lille\nR2,30,Lyon\nR3,55,Lille\n")
    return Workspace(folder)


def test_records_of_steps_are_those_with_a_row_that_fits(ws):
    assert ws.steps.filter(status="DONE").records.ids() == ["R1"]
    assert ws.steps.filter(step="score", status="INIT").records.ids() == ["R1", "R3"]


def test_steps_of_those_records_are_all_of_their_steps(ws):
    back = ws.steps.filter(status="DONE").records.steps.collect()
    assert back.equals(ws.steps.filter(record_id="R1").collect())
    assert back.height == 4


def test_all_rows_of_those_records_are_asked_by_their_ids(ws):
    ids = ws.steps.filter(status="DONE").records.ids()
    assert len(ws.records.filter(pl.col("record_id").is_in(ids)).steps) == 4


def test_each_table_on_the_way_narrows_the_next_one(ws):
    chosen = ws.records.filter(pl.col("age") > 40).steps.filter(status="DATA_READY").units
    assert chosen.collect().select("record_id", "task", "modality").rows() == [
        ("R1", "RS", "EEG"),
        ("R1", "MMN", "EEG"),
        ("R3", "RS", "EEG"),
    ]
    assert chosen.steps.collect().select("record_id", "task", "step", "status").rows() == [
        ("R1", "RS", "clean", "DATA_READY"),
        ("R1", "MMN", "clean", "DONE"),
        ("R1", "MMN", "peak", "DATA_READY"),
        ("R3", "RS", "clean", "DATA_READY"),
    ]


def test_predicates_over_a_record_hold_in_one_row_at_a_time(ws):
    # No single row is both, though R1 has a row of each.
    both = ws.steps.filter(step="clean").filter(step="peak")
    assert len(both) == 0
    assert both.records.ids() == []


def test_steps_may_be_filtered_by_columns_of_records(ws):
    assert ws.steps.filter(site="Lyon").records.ids() == ["R2"]
    assert ws.steps.filter(pl.col("age") > 40, status="DATA_READY").records.ids() == ["R1", "R3"]
    assert ws.units.filter(pl.col("site") == "Lille").records.ids() == ["R1", "R3"]
    assert ws.files.filter(pl.col("age") == 30).collect()["path"].to_list() == ["raw/R2/answers.csv"]
    assert ws.steps.sql_filter("age > 50 AND status = 'DATA_READY'").records.ids() == ["R3"]


def test_columns_of_records_narrow_and_run_in_a_scope(ws):
    chosen = ws.records.filter(pl.col("age") > 40).RS.EEG.steps
    assert chosen.collect().select("record_id", "task", "modality", "step").rows() == [
        ("R1", "RS", "EEG", "clean"),
        ("R3", "RS", "EEG", "clean"),
    ]


def test_task_and_modality_that_do_not_exist_say_what_was_meant(ws):
    with pytest.raises(SelectionError, match="task is never 'MNM'; did you mean 'MMN'"):
        len(ws.steps.filter(task="MNM"))
    with pytest.raises(SelectionError, match="modality is never 'EGE'; did you mean 'EEG'"):
        len(ws.units.sql_filter("modality = 'EGE'"))


def test_files_of_steps_are_those_they_read_or_write(ws):
    steps = ws.steps.filter(step="peak", record_id="R1")
    assert steps.files.collect()["path"].to_list() == ["clean/R1-MMN.fif", "norm.csv"]


def test_files_of_records_and_units_are_theirs(ws):
    assert ws.records.filter(record_id="R3").files.collect()["path"].to_list() == ["raw/R3/RS.edf"]
    unit = ws.units.filter(record_id="R1", task="RS", modality="EEG")
    assert unit.files.collect()["path"].to_list() == ["raw/R1/RS.edf"]
    assert ws.RS.EEG.files.collect()["path"].to_list() == ["raw/R1/RS.edf", "raw/R3/RS.edf"]
    assert ws.records.get("R2").files.collect()["path"].to_list() == ["raw/R2/answers.csv"]


def test_steps_of_files_are_those_that_read_or_write_them(ws):
    steps = ws.files.filter(path="clean/R1-MMN.fif").steps.collect()
    assert steps.select("record_id", "task", "step").rows() == [("R1", "MMN", "clean"), ("R1", "MMN", "peak")]
    shared = ws.files.filter(path="norm.csv").steps.collect()
    assert shared.select("record_id", "step").rows() == [("R1", "peak"), ("R2", "peak"), ("R3", "peak")]


def test_steps_and_units_of_files_that_several_records_share(make_workspace):
    """Files that carry no id: of a site, of a group, and those that a wildcard of a site finds."""
    ws = make_workspace(
        {
            "site": ("sites/{site}.tsv", "sites/{site}.txt"),
            "clean": ({"raw": "raw/{site}/{n}.csv", "notes": "raw/{site}/*.txt"}, "clean/{id}.csv"),
        },
        [
            "sites/a.tsv",
            *(f"raw/{name}" for name in ("a/1.csv", "a/2.csv", "b/1.csv", "a/notes.txt", "b/notes.txt")),
        ],
        toml=r"""
            [records]
            id_pattern = '(?P<site>[a-z])_(?P<n>\d)'
            [steps]
            scripts = ["site", "clean", "group"]
            [steps.group]
            command = "cat {input}"
            inputs = "clean/{id}.csv"
            outputs = "group/{site}.csv"
            by = ["site"]
        """,
    )
    for name in ("clean/a_1.csv", "clean/a_2.csv", "group/a.csv"):
        path = ws.data_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    a = ["a_1", "a_2"]
    readers = {
        "sites/a.tsv": ([(name, "site") for name in a], a),
        "raw/a/notes.txt": ([(name, "clean") for name in a], a),
        "clean/a_1.csv": ([("a_1", "clean"), ("site=a", "group")], ["a_1"]),
        "group/a.csv": ([("site=a", "group")], []),
    }
    for path, (steps, units) in readers.items():
        of_file = ws.files.filter(path=path)
        assert of_file.steps.select("record_id", "step").rows() == steps, path
        assert of_file.units.select("record_id").to_series().to_list() == units, path
        assert (
            path in ws.steps.filter(pl.col("step").is_in([step for _, step in steps])).files.collect()["path"]
        )


def test_records_and_units_of_files(ws):
    assert ws.files.filter(pl.col("path").str.ends_with("answers.csv")).records.ids() == ["R2"]
    units = ws.files.filter(path="raw/R1/RS.edf").units.collect()
    assert units.select("record_id", "task", "modality").rows() == [("R1", "RS", "EEG")]


def test_files_say_whose_they_are(ws):
    frame = ws.files.collect().select("path", "record_id", "task", "modality", "step", "role")
    assert frame.rows() == [
        ("clean/R1-MMN.fif", "R1", "MMN", "EEG", "clean", "output"),
        ("norm.csv", None, "MMN", "EEG", "peak", "input"),
        ("raw/R1/MMN.edf", "R1", "MMN", "EEG", "clean", "input"),
        ("raw/R1/RS.edf", "R1", "RS", "EEG", "clean", "input"),
        ("raw/R2/answers.csv", "R2", "RS", "behavior", "score", "input"),
        ("raw/R3/RS.edf", "R3", "RS", "EEG", "clean", "input"),
    ]


def test_units_are_there_also_where_they_have_no_file(ws):
    frame = ws.units.collect()
    assert frame.height == 9
    assert frame.filter(pl.col("has_data")).select("record_id", "task", "modality").rows() == [
        ("R1", "RS", "EEG"),
        ("R1", "MMN", "EEG"),
        ("R2", "RS", "behavior"),
        ("R3", "RS", "EEG"),
    ]
    assert frame["next_step"].to_list() == [
        "clean",
        "score",
        "peak",
        "clean",
        "score",
        "clean",
        "clean",
        "score",
        "clean",
    ]


def test_records_count_their_steps_by_status(ws):
    row = ws.records.collect().row(0, named=True)
    assert (row["n_units"], row["n_steps"], row["n_done"], row["n_data_ready"], row["n_init"]) == (
        3,
        4,
        1,
        2,
        1,
    )
    assert (row["n_files"], row["age"], row["site"]) == (3, 41, "Lille")


def test_a_scope_names_the_records_of_which_a_file_is_there(ws):
    assert ws.records.ids() == ["R1", "R2", "R3"]
    assert ws.EEG.ids() == ["R1", "R3"]
    assert ws.RS.ids() == ["R1", "R2", "R3"]
    assert ws.MMN.EEG.ids() == ["R1"]
    assert ws.behavior.ids() == ["R2"]
    assert ws.RS.behavior.count() == 1
    assert ws.EEG.has("R2") is False
    assert ws.EEG.first().id == "R1"


def test_a_scope_keeps_the_absent_units_of_its_records(ws):
    assert len(ws.MMN.steps) == 6
    assert len(ws.MMN.units) == 3
    assert ws.MMN.EEG.get("R2").steps.get("clean").status().name == "INIT"


def test_links_name_every_path_of_every_step(ws):
    links = ws.links().filter(record_id="R1", step="peak")
    assert links.select("role", "label", "path", "exists").rows() == [
        ("input", "clean", "clean/R1-MMN.fif", True),
        ("input", "norm", "norm.csv", True),
        ("output", None, "peak/R1.txt", False),
    ]
