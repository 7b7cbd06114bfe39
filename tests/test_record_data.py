"""What is known of records beside their files: tables, a file each, results read back by key."""

import json
import math

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, NotFoundError, SelectionError, StorageError

PEOPLE = "record_id,age,sex\nR1,31,F\nR2,55,M\nR4,40,F\nR9,70,M\n"


@pytest.fixture
def people(lab_folder):
    """The lab with the table of a modality that is joined to the records."""
    toml = 'models.dataframe_path = "clinical/people.csv"\n'
    return Workspace(lab_folder(toml, {"clinical/people.csv": PEOPLE}))


# --- a file of each record ------------------------------------------------------------------------------------


def test_data_of_a_record_is_its_file(lab):
    assert lab.records.get("R1").clinical.data == {"age": 31, "hand": "left"}
    assert lab.clinical.get("R4").data == {"age": 40}
    assert lab.clinical.get("R2").data is None


def test_data_of_a_collection_are_a_row_per_file(lab):
    assert lab.clinical.data.to_dict(as_series=False) == {
        "record_id": ["R1", "R4"],
        "age": [31, 40],
        "hand": ["left", None],
    }
    assert lab.records.filter(record_id="R4").clinical.data["record_id"].to_list() == ["R4"]
    assert lab.clinical.data.to_pandas().shape == (2, 3)


def test_data_of_no_record_are_an_empty_frame(lab):
    none = lab.records.filter(record_id="R2").clinical.data
    assert (none.height, none.columns) == (0, ["record_id"])


def test_setting_data_writes_the_file_and_is_seen_at_once(lab):
    assert lab.clinical.ids() == ["R1", "R4"]
    lab.clinical.get("R2").data = {"age": 55, "hand": "right"}
    assert lab.clinical.get("R2").data == {"age": 55, "hand": "right"}
    assert lab.clinical.ids() == ["R1", "R2", "R4"]
    assert lab.clinical.data["age"].to_list() == [31, 55, 40]
    assert Workspace(lab.config.root).clinical.get("R2").data == {"age": 55, "hand": "right"}


def test_setting_data_of_a_new_id_makes_a_record(lab):
    assert lab.records.count() == 4
    lab.clinical.get("R7").data = {"age": 70}
    assert lab.records.ids() == ["R1", "R2", "R3", "R4", "R7"]


def test_data_in_a_bucket_are_read_and_written(lab_folder):
    folder = lab_folder()
    toml = (folder / "workspace.toml").read_text()
    (folder / "workspace.toml").write_text(f"[path]\ndataset = 'memory://data-lab'\n{toml}")
    ws = Workspace(folder)
    fsspec.filesystem("memory").pipe("/data-lab/clinical/R1.json", b'{"age": 31}')
    assert ws.clinical.data.rows() == [("R1", 31)]
    ws.clinical.get("R2").data = {"age": 55}
    assert Workspace(folder).clinical.data.rows() == [("R1", 31), ("R2", 55)]


def test_setting_data_replaces_the_file_whole_and_leaves_nothing_beside_it(lab, tmp_path):
    lab.clinical.get("R1").data = {"age": 32}
    assert lab.clinical.get("R1").data == {"age": 32}
    folder = tmp_path / "workspace" / "dataset" / "clinical"
    assert sorted(path.name for path in folder.iterdir()) == ["R1.json", "R4.json"]


def test_data_may_be_a_pandas_series_and_hold_numpy_values(lab, tmp_path):
    lab.clinical.get("R1").data = pd.Series({"age": 32, "score": 1.5})
    assert lab.clinical.get("R1").data == {"age": 32, "score": 1.5}
    lab.clinical.get("R1").data = {"n": np.int64(3), "mean": np.float32(0.5), "sd": math.nan, "list": [1, 2]}
    assert lab.clinical.get("R1").data == {"n": 3, "mean": 0.5, "sd": None, "list": [1, 2]}
    json.loads((tmp_path / "workspace/dataset/clinical/R1.json").read_text(), parse_constant=pytest.fail)


def test_data_that_json_cannot_hold_are_refused_and_the_file_is_kept(lab):
    with pytest.raises(SelectionError, match="cannot be written as JSON"):
        lab.clinical.get("R1").data = {"age": object()}
    assert lab.clinical.get("R1").data == {"age": 31, "hand": "left"}


def test_data_file_that_is_no_json_is_named(lab, tmp_path):
    (tmp_path / "workspace/dataset/clinical/R4.json").write_text("{age: 40")
    for ask in (lambda: lab.clinical.get("R4").data, lambda: lab.clinical.data):
        with pytest.raises(StorageError, match=r"clinical/R4.json is not a JSON file"):
            ask()


def test_data_of_a_modality_without_them_are_an_error_that_says_what_to_set(lab):
    with pytest.raises(SelectionError, match="modality 'EEG' keeps no data") as caught:
        _ = lab.EEG.data
    assert "[modalities.EEG] models.plugin" in caught.value.hint
    with pytest.raises(SelectionError, match="kept by modality"):
        _ = lab.records.get("R1").data


def test_data_of_each_task_are_asked_by_task(write_workspace):
    ws = Workspace(
        write_workspace(
            files={"notes/R1-A.json": '{"n": 1}', "notes/R1-B.json": '{"n": 2}'},
            toml="""
                [tasks.A]
                modalities = ["notes"]
                [tasks.B]
                modalities = ["notes"]
                [modalities.notes]
                models.plugin = "pandas"
                models.data_path = "notes/{id}-{task}.json"
            """,
        )
    )
    assert ws.B.notes.get("R1").data == {"n": 2}
    assert ws.A.notes.data.rows() == [("R1", 1)]
    with pytest.raises(SelectionError, match="other data for each of A, B"):
        _ = ws.notes.get("R1").data


# --- tables ---------------------------------------------------------------------------------------------------


def test_table_of_a_modality_gives_records_columns(people):
    assert people.records.select("record_id", "age", "sex").rows() == [
        ("R1", 31, "F"),
        ("R2", 55, "M"),
        ("R3", None, None),
        ("R4", 40, "F"),
    ]
    assert people.records.collect_schema()["age"] == pl.Int64


def test_columns_of_a_table_narrow_every_scope_and_table(people):
    grown = people.records.filter(pl.col("age") > 35)
    assert grown.ids() == ["R2", "R4"]
    assert grown.RS.EEG.steps.filter(status="DATA_READY").select("record_id", "step").rows() == [
        ("R2", "clean")
    ]
    assert people.steps.filter(pl.col("age") > 35, status="DATA_READY").records.ids() == ["R2"]
    assert people.steps.sql_filter("sex = 'F' AND status = 'DATA_READY'").records.ids() == ["R1"]


def test_rows_of_a_table_are_no_records_unless_they_are_expected(people):
    assert "R9" not in people.records.ids()
    assert not people.records.has("R9")


def test_expected_records_are_rows_before_their_first_file(lab_folder):
    folder = lab_folder(files={"people.csv": PEOPLE})
    toml = (folder / "workspace.toml").read_text()
    toml = toml.replace("[records]", '[records]\nmetadata = "dataset/people.csv"\nexpected = true')
    (folder / "workspace.toml").write_text(toml)
    ws = Workspace(folder)
    assert ws.records.ids() == ["R1", "R2", "R3", "R4", "R9"]
    assert ws.records.filter(n_files=0).ids() == ["R9"]
    assert ws.records.filter(record_id="R9").select("age", "n_units", "n_init").rows() == [(70, 4, 4)]
    assert ws.records.get("R9").steps.filter(step="clean").select("reason").to_series().to_list() == [
        "missing raw/R9-RS.txt",
        "missing raw/R9-HDC.txt",
    ]
    assert ws.RS.ids() == ["R1", "R2"]
    assert ws.records.filter(pl.col("age") > 60).RS.steps.collect()["record_id"].to_list() == ["R9", "R9"]


def with_records(write_workspace, text, lines, **options):
    toml = (
        f"[records]\nid_pattern = '{options.pop('ids', 'R[0-9]+')}'\n{lines}\n[steps]\nscripts = ['clean']\n"
    )
    files = {"raw/R1": "raw;", "people.csv": text}
    return Workspace(write_workspace({"clean": ("raw/{id}", "clean/{id}")}, files, toml=toml, **options))


def test_expected_without_a_table_is_a_fault_of_the_config(write_workspace):
    with pytest.raises(ConfigError, match=r"workspace.toml: records.expected: true needs records.metadata"):
        with_records(write_workspace, "", "expected = true")


TABLES = {
    "no table there": ("record_id\nR1\n", "dataset/persons.csv", "persons.csv does not exist"),
    "no column record_id": (
        "record,age\nR1,3\n",
        "dataset/people.csv",
        "has no column 'record_id', only record, age",
    ),
    "no known kind": ("x", "dataset/people.xls", "not a table of a known kind"),
    "an empty file": ("", "dataset/people.csv", "people.csv .* cannot be read"),
}


@pytest.mark.parametrize("name", TABLES)
def test_table_that_cannot_be_used_is_one_sentence(write_workspace, name):
    text, path, said = TABLES[name]
    ws = with_records(write_workspace, text, f'metadata = "{path}"')
    with pytest.raises((ConfigError, StorageError), match=said):
        ws.records.collect()


def test_expected_id_that_does_not_fit_is_told(write_workspace):
    ws = with_records(
        write_workspace, "record_id\nR1\nperson 2\n", 'metadata = "dataset/people.csv"\nexpected = true'
    )
    with pytest.raises(ConfigError, match=r"people.csv .*'person 2' does not fit id_pattern"):
        ws.records.collect()


def test_ids_that_are_numbers_in_a_table_are_texts(write_workspace):
    toml = "[records]\nid_pattern = '[0-9]+'\nmetadata = 'dataset/people.csv'\n[steps]\nscripts = ['clean']\n"
    files = {"raw/12": "raw;", "people.csv": "record_id,age\n12,31\n"}
    ws = Workspace(write_workspace({"clean": ("raw/{id}", "clean/{id}")}, files, toml=toml))
    assert ws.records.select("record_id", "age").rows() == [("12", 31)]


def test_id_that_comes_twice_in_a_table_makes_one_record(write_workspace):
    ws = with_records(write_workspace, "record_id,age\nR1,31\nR1,99\n", 'metadata = "dataset/people.csv"')
    assert ws.records.select("record_id", "age").rows() == [("R1", 31)]


def test_column_of_a_table_that_is_ours_gets_another_name(write_workspace):
    ws = with_records(
        write_workspace,
        "record_id,n_files,site,size\nR1,7,paris,small\n",
        'metadata = "dataset/people.csv"',
        ids="(?P<site>R)[0-9]+",
    )
    row = ws.records.collect().row(0, named=True)
    assert (row["n_files"], row["n_files_metadata"]) == (1, 7)
    assert (row["site"], row["site_metadata"]) == ("R", "paris")
    assert row["size_metadata"] == "small"


def test_tables_of_all_kinds_are_read(write_workspace):
    people = pl.DataFrame({"record_id": ["R1"], "age": [31]})
    writers = {
        "people.parquet": people.write_parquet,
        "people.arrow": people.write_ipc,
        "people.tsv": lambda path: people.write_csv(path, separator="\t"),
        "people.json": people.write_json,
        "people.ndjson": people.write_ndjson,
    }
    for name, write in writers.items():
        ws = with_records(write_workspace, "", f'metadata = "dataset/{name}"', name=name.replace(".", "-"))
        write(f"{ws.data_path}/{name}")
        assert ws.records.select("age").item() == 31, name


def test_tables_of_several_modalities_are_joined(lab_folder):
    toml = (
        'models.dataframe_path = "clinical/people.csv"\n'
        '[modalities.genes]\nmodels.dataframe_path = ["genes", "all.csv"]\n'
    )
    files = {"clinical/people.csv": PEOPLE, "genes/all.csv": "record_id,age,variant\nR1,30,x\nR3,20,y\n"}
    ws = Workspace(lab_folder(toml, files))
    assert ws.records.select("record_id", "age", "age_genes", "variant").rows() == [
        ("R1", 31, 30, "x"),
        ("R2", 55, None, None),
        ("R3", None, 20, "y"),
        ("R4", 40, None, None),
    ]


# --- results by key -------------------------------------------------------------------------------------------

PROCESSED = """
[processed.mean]
task = "RS"
modality = "EEG"
step_label = "alpha"
data_type = "float"
[processed.label]
task = "RS"
modality = "EEG"
step_label = "alpha"
[processed.table]
modality = "behavior"
step_label = "scores"
data_getter = "dataframe_from_csv"
columns = ["hand", "score"]
[processed.all]
step_label = "scores"
data_getter = "dataframe_from_csv"
[processed.typo]
step_label = "scores"
data_getter = "dataframe_from_csv"
columns = ["hands"]
[processed.series]
modality = "behavior"
step_label = "series"
path_label = "values"
data_getter = "series_from_csv"
"""


@pytest.fixture
def results(lab_folder):
    series = ("trials/{id}.csv", {"values": "series/{id}.csv", "other": "series/{id}.txt"})
    files = {
        "alpha/R1.txt": "007\n",
        "alpha/R2.txt": "1.50\n",
        "scores/R1.csv": "hand,score,n\nleft,1,3\nright,0.5,4\n",
        "scores/R3.csv": "hand,score,n\nleft,0.25,3\n",
        "series/R1.csv": "speed,3\nscore,0.5\n",
        "series/R3.csv": "speed,4\nrest,1\n",
    }
    folder = lab_folder(PROCESSED, files, scripts={"behavior/series": series})
    toml = (folder / "workspace.toml").read_text().replace('["scores"]', '["scores", "series"]')
    (folder / "workspace.toml").write_text(toml)
    return Workspace(folder)


def test_single_values_come_with_their_type(results):
    mean = results.records.get_processed_data("mean")
    assert mean.schema == {"record_id": pl.String, "mean": pl.Float64}
    assert mean.rows() == [("R1", 7.0), ("R2", 1.5)]
    assert results.records.get_processed_data("label").rows() == [("R1", "007"), ("R2", "1.50")]


def test_tables_come_with_the_columns_that_are_named(results):
    assert results.records.get_processed_data("table").rows() == [
        ("R1", "left", 1.0),
        ("R1", "right", 0.5),
        ("R3", "left", 0.25),
    ]
    assert results.records.get_processed_data("all").columns == ["record_id", "hand", "score", "n"]


def test_series_come_as_a_row_per_record(results):
    assert results.records.get_processed_data("series").rows(named=True) == [
        {"record_id": "R1", "speed": 3.0, "score": 0.5, "rest": None},
        {"record_id": "R3", "speed": 4.0, "score": None, "rest": 1.0},
    ]


def test_results_of_a_record_and_of_a_scope_are_theirs(results):
    assert results.records.get("R1").get_processed_data("mean").rows() == [("R1", 7.0)]
    assert results.RS.EEG.get("R2").get_processed_data("mean").rows() == [("R2", 1.5)]
    assert results.records.filter(record_id="R3").get_processed_data("table")["record_id"].to_list() == ["R3"]
    assert results.records.get_processed_data("mean").to_pandas().shape == (2, 2)


def test_results_that_are_not_there_are_an_empty_frame_with_its_columns(results):
    nobody = results.records.get("R4")
    assert nobody.get_processed_data("mean").schema == {"record_id": pl.String, "mean": pl.Float64}
    assert nobody.get_processed_data("table").columns == ["record_id", "hand", "score"]
    assert nobody.get_processed_data("series").columns == ["record_id"]
    assert nobody.get_processed_data("mean").height == 0


def test_unknown_key_names_the_near_one(results):
    with pytest.raises(NotFoundError, match=r"no \[processed.maen\]; did you mean 'mean'"):
        results.records.get_processed_data("maen")


def test_column_that_no_result_has_names_the_near_one(results):
    with pytest.raises(SelectionError, match=r"processed.typo.columns: .* 'hands'; did you mean 'hand'"):
        results.records.get_processed_data("typo")


def test_value_of_another_type_is_named_with_its_file(results, tmp_path):
    (tmp_path / "workspace/dataset/alpha/R2.txt").write_text("n/a")
    with pytest.raises(StorageError, match=r"alpha/R2.txt: 'n/a' is no float, as processed.mean says"):
        results.records.get_processed_data("mean")
