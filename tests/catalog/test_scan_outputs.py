"""Result files of many records as one lazy frame."""

import io
import json
from pathlib import Path

import fsspec
import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError, StorageError

KEYS = ["record_id", "task", "modality", "step"]
FRAMES = {
    "R1": pl.DataFrame({"kind": ["sail", "tug"], "boats": [3, 1]}),
    "R2": pl.DataFrame({"kind": ["sail"], "boats": [7]}),
}
WRITERS = {
    "csv": lambda frame, path: frame.write_csv(path),
    "tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "parquet": lambda frame, path: frame.write_parquet(path),
    "pq": lambda frame, path: frame.write_parquet(path),
    "arrow": lambda frame, path: frame.write_ipc(path),
    "feather": lambda frame, path: frame.write_ipc(path),
    "json": lambda frame, path: frame.write_json(path),
    "ndjson": lambda frame, path: frame.write_ndjson(path),
    "jsonl": lambda frame, path: frame.write_ndjson(path),
}


@pytest.fixture
def results(make_workspace):
    """A workspace of one step, and its results from texts or frames by record id."""

    def make(end, contents, **options):
        ws = make_workspace({"count": ("raw/{id}.csv", f"count/{{id}}.{end}")}, **options)
        for name, content in contents.items():
            path = Path(ws.data_path, "count", f"{name}.{end}")
            path.parent.mkdir(exist_ok=True)
            if isinstance(content, pl.DataFrame):
                WRITERS[end](content, path)
            else:
                path.write_text(content)
        return ws

    return make


@pytest.mark.parametrize("end", WRITERS)
def test_every_format_is_read_by_the_end_of_its_name(results, end):
    ws = results(end, FRAMES)
    scanned = ws.steps.scan_outputs("count")
    assert isinstance(scanned, pl.LazyFrame)
    assert scanned.collect_schema().names() == [*KEYS, "kind", "boats"]
    assert scanned.select("record_id", "step", "kind", "boats").collect().rows() == [
        ("R1", "count", "sail", 3),
        ("R1", "count", "tug", 1),
        ("R2", "count", "sail", 7),
    ]


def test_format_that_is_said_wins_over_the_name(results):
    ws = results("dat", {"R1": "a;b\n1;2\n", "R2": "a;b\n3;4\n"})
    scanned = ws.steps.scan_outputs("count", format="csv", separator=";")
    assert scanned.select("record_id", "a", "b").collect().rows() == [("R1", 1, 2), ("R2", 3, 4)]


def test_readers_options_are_passed_on(results):
    ws = results("csv", {"R1": "a,b\nx,2\n"})
    scanned = ws.steps.scan_outputs("count", schema_overrides={"b": pl.Float32}, null_values="x")
    assert scanned.select("a", "b").collect().rows() == [(None, 2.0)]
    assert scanned.collect_schema()["b"] == pl.Float32


def test_column_may_be_of_whole_numbers_in_some_files_and_fractions_in_others(results):
    ws = results("csv", {f"R{n}": "a\n1\n" if n < 300 else "a\n0.5\n" for n in range(301)})
    frame = ws.steps.scan_outputs("count").collect()
    assert (frame.height, frame["a"].dtype, frame["a"].sum()) == (301, pl.Float64, 300.5)


def test_json_objects_are_rows_and_may_differ(results):
    ws = results("json", {"R1": '{"n": 1, "who": "x"}', "R2": '{"n": 0.5}', "R3": "12"})
    assert ws.steps.scan_outputs("count").select("record_id", "n", "who", "value").collect().rows() == [
        ("R1", 1.0, "x", None),
        ("R2", 0.5, None, None),
        ("R3", None, None, 12),
    ]


def test_json_lists_of_objects_are_several_rows_and_empty_ones_none(results):
    ws = results("json", {"R1": '[{"n": 1}, {"n": 2}]', "R2": "[]", "R3": '{"n": 3}'})
    assert ws.steps.scan_outputs("count").select("record_id", "n").collect().rows() == [
        ("R1", 1),
        ("R1", 2),
        ("R3", 3),
    ]


def test_empty_json_objects_are_rows_of_keys_alone(results):
    ws = results("json", {"R1": "{}", "R2": "{}"})
    assert ws.steps.scan_outputs("count").collect().columns == KEYS
    assert ws.steps.scan_outputs("count").collect().height == 2


def test_json_value_may_be_of_another_kind_in_the_last_file(results):
    ws = results("json", {f"R{n}": f'{{"n": {n if n < 300 else 0.5}}}' for n in range(301)})
    assert ws.steps.scan_outputs("count").collect()["n"].dtype == pl.Float64


def test_nested_json_is_kept(results):
    ws = results("json", {"R1": json.dumps({"bands": [1, 2], "fit": {"a": 1}})})
    assert ws.steps.scan_outputs("count").select("bands", "fit").collect().rows() == [([1, 2], {"a": 1})]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1\n", "2"], [1, 2]),
        (["1", "0.5"], [1.0, 0.5]),
        (["1", "many"], ["1", "many"]),
        (["", "2"], ["", "2"]),
        (["007", "8"], ["007", "8"]),
        (["0", "0.7"], [0.0, 0.7]),
    ],
)
def test_single_values_are_numbers_where_all_read_as_one(results, texts, values):
    ws = results("txt", {f"R{n}": text for n, text in enumerate(texts)})
    assert ws.steps.scan_outputs("count").collect()["value"].to_list() == values


def test_single_values_stay_texts_where_that_is_said(results):
    ws = results("txt", {"R1": "7\n"})
    assert ws.steps.scan_outputs("count", format="text").collect()["value"].to_list() == ["7"]
    assert ws.steps.scan_outputs("count", format="value").collect()["value"].to_list() == [7]


@pytest.mark.parametrize(
    ("end", "text"), [("csv", "record_id,step\nmine,2\n"), ("json", '{"record_id": "mine", "step": 2}')]
)
def test_column_named_like_a_key_is_told_apart(results, end, text):
    ws = results(end, {"R1": text})
    frame = ws.steps.scan_outputs("count").collect()
    assert frame.select("record_id", "step", "record_id_right", "step_right").rows() == [
        ("R1", "count", "mine", 2)
    ]


def test_columns_that_an_option_renames_have_the_types_that_the_frame_names(results):
    ws = results("csv", {"R1": 'a,b,c\n"1",007,2\n', "R2": 'a,b,c\n"2",010,3\n'})
    frame = ws.steps.scan_outputs("count", with_column_names=lambda names: [*names[1:], names[0]])
    rows = frame.select("a", "b", "c").collect()
    assert rows.schema == frame.select("a", "b", "c").collect_schema()
    assert rows.rows() == [(2, 1, "007"), (3, 2, "010")]


@pytest.mark.parametrize(
    "options", [{}, {"encoding": "latin-1"}, {"infer_schema_length": 1}], ids=["plain", "encoding", "short"]
)
def test_csv_numbers_with_leading_zeros_keep_their_text(results, options):
    rows = "a,b,c,d,e\n7,1.5,10,06:00,0.5\n" + 20_000 * "8,2.5,0,06:00,0\n" + '9,03,"010",07:00,1e05\n'
    ws = results("csv", {"R1": rows})
    frame = ws.steps.scan_outputs("count", **options).select("a", "b", "c").collect()
    assert frame.schema == {"a": pl.Int64, "b": pl.String, "c": pl.String}
    assert [frame.row(0), frame.row(-1)] == [(7, "1.5", "10"), (9, "03", "010")]
    plain = ws.steps.scan_outputs("count", schema_overrides={"c": pl.Int64}, **options).collect()
    assert plain.schema["c"] == pl.Int64
    assert plain.schema["e"] == pl.Float64


def test_csv_numbers_with_a_sign_before_leading_zeros_and_numbered_rows_are_read(results):
    ws = results("csv", {"R1": "a,b\n+07,1\n"})
    frame = ws.steps.scan_outputs("count", row_index_name="row").select("row", "a", "b").collect()
    assert frame.rows() == [(0, "+07", 1)]


def test_csv_columns_with_the_name_of_a_field_are_text_as_in_records(results):
    ws = results(
        "csv",
        {"S007": "sub,record_id,n\n007,1,1\n", "S112": "sub,record_id,n\n112,2,2\n"},
        id_pattern=r"S(?P<sub>\d+)",
    )
    frame = ws.steps.scan_outputs("count")
    one = [("112", "2", 2)]
    assert frame.select("sub", "record_id_right", "n").collect().rows() == [("007", "1", 1), *one]
    assert frame.filter(record_id="S112").select("sub", "record_id_right", "n").collect().rows() == one
    assert frame.filter(pl.col("sub") == "112").select("sub", "record_id_right", "n").collect().rows() == one
    assert frame.filter(pl.col("n") == 2).select("sub").collect().rows() == [("112",)]
    assert frame.select("sub").tail(1).collect().rows() == [("112",)]
    joined = frame.drop("record_id").join(ws.records.lazy().select("sub", "record_id"), on="sub").collect()
    assert sorted(joined["record_id"]) == ["S007", "S112"]


def test_only_selected_rows_are_read(results):
    ws = results("json", {"R1": "{}", "R2": "not json"})
    assert ws.steps.filter(record_id="R1").scan_outputs().collect().height == 1
    assert ws.records.get("R1").steps.scan_outputs("count").collect()["record_id"].to_list() == ["R1"]


def test_rows_without_their_file_are_left_out(harbor):
    harbor.steps.filter(record_id="REC-20200602").run("count", mode="main_process", progress=False)
    assert set(harbor.steps.scan_outputs("count").collect()["record_id"].to_list()) == {"REC-20200602"}


def test_no_file_at_all_is_an_empty_frame_with_the_keys(harbor):
    assert harbor.steps.scan_outputs("count").collect_schema().names() == KEYS
    assert harbor.steps.scan_outputs("count").collect().height == 0


def test_results_join_with_the_records(lab_folder):
    toml = 'models.dataframe_path = "people.csv"\n'
    files = {
        "people.csv": "record_id,age\nR1,31\nR3,40\n",
        "scores/R1.csv": "n\n1\n",
        "scores/R3.csv": "n\n2\n",
    }
    ws = Workspace(lab_folder(toml, files))
    ages = ws.records.lazy().select("record_id", "age")
    joined = ws.steps.scan_outputs("scores").join(ages, on="record_id", maintain_order="left").collect()
    assert joined.rows() == [
        ("R1", "HDC", "behavior", "scores", 1, 31),
        ("R3", "HDC", "behavior", "scores", 2, 40),
    ]


def test_results_of_all_tasks_of_a_step_are_told_apart(lab_folder):
    ws = Workspace(lab_folder(files={"clean/R1-RS.txt": "1", "clean/R1-HDC.txt": "2"}))
    assert ws.steps.scan_outputs("clean").select("record_id", "task", "value").collect().rows() == [
        ("R1", "RS", 1),
        ("R1", "HDC", 2),
    ]
    assert ws.HDC.steps.scan_outputs("clean").collect()["value"].to_list() == [2]


@pytest.fixture
def several(make_workspace):
    scripts = {
        "count": ("raw/{id}", {"table": "out/{id}.csv", "total": "out/{id}.txt", "plot": "out/{id}.png"}),
        "look": ("raw/{id}", ()),
    }
    files = {"out/R1.csv": "n\n3\n", "out/R1.txt": "3", "out/R1.png": "png"}
    return make_workspace(scripts, files)


def test_label_says_which_output_is_read(several):
    assert several.steps.scan_outputs("count", "table").collect()["n"].to_list() == [3]
    assert several.steps.scan_outputs("count", label="total").collect()["value"].to_list() == [3]


WRONG = {
    "a step of no name": (
        lambda steps: steps.scan_outputs("cuont", "table"),
        "no step 'cuont'; did you mean 'count'",
    ),
    "several steps": (lambda steps: steps.scan_outputs(), "the rows have 2 steps: count, look"),
    "several outputs": (lambda steps: steps.scan_outputs("count"), "'count' has 3 outputs"),
    "no such label": (
        lambda steps: steps.scan_outputs("count", "tabel"),
        "no output 'tabel'; did you mean 'table'",
    ),
    "no known format": (lambda steps: steps.scan_outputs("count", "plot"), "'.png' is of no known format"),
    "no such format": (lambda steps: steps.scan_outputs("count", "plot", "jsno"), "'jsno' is not one of"),
    "options of no use": (
        lambda steps: steps.scan_outputs("count", "total", separator=";"),
        "take no reader options",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_clear_is_an_error_that_says_what_to_name(several, name):
    ask, said = WRONG[name]
    with pytest.raises(SelectionError, match=said):
        ask(several.steps)


def test_label_of_an_output_without_one_is_an_error(results):
    with pytest.raises(SelectionError, match="'count' has no output 'table'"):
        results("csv", FRAMES).steps.scan_outputs("count", "table")


def test_step_without_outputs_has_an_empty_frame(several):
    assert several.steps.scan_outputs("look").collect().height == 0


def test_file_that_is_no_json_is_named(results):
    with pytest.raises(StorageError, match=r"count/R1.json is not a JSON file"):
        results("json", {"R1": "{"}).steps.scan_outputs("count").collect()


def test_outputs_under_a_root_of_their_own_are_found(make_workspace, tmp_path):
    ws = make_workspace(
        {"count": ("raw/{id}", "count/{id}.csv")}, ["raw/R1"], toml="[path]\noutputs = 'results'\n"
    )
    (tmp_path / "workspace/results/count").mkdir(parents=True)
    (tmp_path / "workspace/results/count/R1.csv").write_text("n\n3\n")
    assert ws.steps.scan_outputs("count").collect()["n"].to_list() == [3]


@pytest.mark.parametrize("end", ["csv", "parquet", "json", "ndjson"])
def test_results_in_a_bucket_are_read(write_workspace, end):
    folder = write_workspace(
        {"count": ("raw/{id}.csv", f"count/{{id}}.{end}")}, toml=f"[path]\ndataset = 'memory://{end}-lab'\n"
    )
    for name, frame in FRAMES.items():
        content = io.BytesIO()
        WRITERS[end](frame, content)
        fsspec.filesystem("memory").pipe(f"/{end}-lab/count/{name}.{end}", content.getvalue())
    scanned = Workspace(folder).steps.scan_outputs("count")
    assert scanned.select("record_id", "kind", "boats").collect().rows() == [
        ("R1", "sail", 3),
        ("R1", "tug", 1),
        ("R2", "sail", 7),
    ]


@pytest.mark.parametrize("end", WRITERS)
def test_dataset_with_odd_signs_in_its_path_is_read(results, end):
    ws = results(end, FRAMES, name="a+b (1) x[1] {y}*")
    assert ws.steps.scan_outputs("count").collect().height == 3


@pytest.mark.parametrize(
    ("end", "text"), [("csv", "n\n{}\n"), ("ndjson", '{{"n": {}}}'), ("json", '{{"n": {}}}')]
)
def test_ids_with_odd_signs_are_read(results, end, text):
    ws = results(end, {"R 1+é[x]*": text.format(3), "R'2\"": text.format(4)}, id_pattern="R[^/]*")
    assert ws.steps.scan_outputs("count").select("record_id", "n").collect().rows() == [
        ("R 1+é[x]*", 3),
        ("R'2\"", 4),
    ]
