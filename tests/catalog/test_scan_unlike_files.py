"""Result files that differ from each other, or cannot be read, as one lazy frame on every store."""

import io
import json
import warnings
import zipfile
from datetime import date, datetime

import fsspec
import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError, StorageError

KEYS = ["record_id", "task", "modality", "step"]


def parquet(**columns):
    content = io.BytesIO()
    pl.DataFrame(columns).write_parquet(content)
    return content.getvalue()


def ipc(**columns):
    content = io.BytesIO()
    pl.DataFrame(columns).write_ipc(content)
    return content.getvalue()


def as_bytes(content):
    return content.encode() if isinstance(content, str) else content


@pytest.fixture
def opened(write_workspace, tmp_path, request):
    """A workspace of one step with these results, in a store of this kind."""

    def make(store, end, contents, output="out/{id}", id_pattern=r"R\d+"):
        files = {f"out/{name}.{end}": as_bytes(content) for name, content in contents.items()}
        name = f"{store} workspace"
        root, options = f"memory://{tmp_path.name}", {}
        toml = f"[path]\ndataset = '{root}'\n"
        if store == "zip":
            with zipfile.ZipFile(tmp_path / "lab.zip", "w") as archive:
                for path, content in files.items():
                    archive.writestr(f"lab/{path}", content)
            options = {"fo": str(tmp_path / "lab.zip")}
            toml = "[path]\ndataset = 'zip://lab'\n"
        elif store == "moto":
            bucket = request.getfixturevalue("moto")
            bucket.put(files)
            options = bucket.options
            toml = f"[path]\ndataset = '{bucket.url}'\n"
        elif store == "memory":
            for path, content in files.items():
                fsspec.filesystem("memory").pipe(f"/{tmp_path.name}/{path}", content)
        else:
            toml = ""
        scripts = {"count": ("raw/{id}.csv", f"{output}.{end}")}
        folder = write_workspace(scripts, toml=toml, name=name, id_pattern=id_pattern)
        if store == "local":
            for path, content in files.items():
                (folder / "dataset" / path).parent.mkdir(exist_ok=True)
                (folder / "dataset" / path).write_bytes(content)
        return Workspace(folder, storage_options=options)

    return make


UNLIKE = {
    "a CSV column is missing, moved or added": (
        "csv",
        {"R1": "a,b\n1,x\n", "R2": "b,a\ny,2\n", "R3": "a\n3\n", "R4": "c,a\n9,4\n"},
        {"a": [1, 2, 3, 4], "b": ["x", "y", None, None], "c": [None, None, None, 9]},
    ),
    "a CSV file is empty or has a header alone": (
        "csv",
        {"R1": "", "R2": "a,b\n", "R3": "a,b\n3,4.5\n", "R4": "\n"},
        {"a": [3], "b": [4.5]},
    ),
    "all CSV files have a header alone": ("csv", {"R1": "a,b\n", "R2": "b,a\n"}, {"a": [], "b": []}),
    "CSV numbers are texts elsewhere, and keep their text": (
        "csv",
        {"R1": "a\n007\n1.50\n", "R2": "a\nmany\n", "R3": "a\ntrue\n"},
        {"a": ["007", "1.50", "many", "true"]},
    ),
    "a CSV value of another kind comes late": (
        "csv",
        {"R1": "a\n" + "1\n" * 3 + "0.5\n", "R2": "a\n2\n"},
        {"a": [1.0, 1.0, 1.0, 0.5, 2.0]},
    ),
    "a TSV column has no value in one file": (
        "tsv",
        {"R1": "a\tb\n\t1\n", "R2": "a\tb\n2\t\n"},
        {"a": [None, 2], "b": [1, None]},
    ),
    "an NDJSON key is seen late": (
        "ndjson",
        {"R1": '{"a": 1}\n' * 300 + '{"a": 1, "b": "x"}\n', "R2": '{"c": true}\n'},
        {"a": [1] * 301 + [None], "b": [None] * 300 + ["x", None], "c": [None] * 301 + [True]},
    ),
    "NDJSON keys are nested and differ": (
        "ndjson",
        {"R1": '{"fit": {"a": 1, "l": [1]}}\n', "R2": '{"fit": {"b": "x", "a": 0.5, "l": [0.5]}}\n', "R3": ""},
        {"fit": [{"a": 1.0, "l": [1.0], "b": None}, {"a": 0.5, "l": [0.5], "b": "x"}]},
    ),
    "NDJSON rows without a key are rows": (
        "jsonl", {"R1": "{}\n{}\n", "R2": '{"a": 1}\n'}, {"a": [None, None, 1]},
    ),
    "JSON objects are nested and differ": (
        "json",
        {"R1": '{"fit": {"a": 1}}', "R2": '[{"fit": {"b": [1]}}, {"n": null}]', "R3": "[]"},
        {"fit": [{"a": 1, "b": None}, {"a": None, "b": [1]}, None], "n": [None, None, None]},
    ),
    "JSON numbers are texts elsewhere": (
        "json", {"R1": '{"n": 1}', "R2": '{"n": "x"}', "R3": '{"n": NaN}'}, {"n": ["1", "x", "NaN"]},
    ),
    "Parquet columns are of other numbers, times and nulls": (
        "parquet",
        {
            "R1": parquet(i=pl.Series([1], dtype=pl.Int32), f=[1], t=[date(2026, 1, 2)], n=[None]),
            "R2": parquet(i=[2], f=[0.5], t=[datetime(2026, 1, 2, 3)], n=["x"], extra=[True]),  # noqa: DTZ001
            "R3": parquet(f=[3]),
        },
        {
            "i": [1, 2, None],
            "f": [1.0, 0.5, 3.0],
            "t": [datetime(2026, 1, 2), datetime(2026, 1, 2, 3), None],  # noqa: DTZ001
            "n": [None, "x", None],
            "extra": [None, True, None],
        },
    ),
    "IPC structs have other fields": (
        "arrow",
        {"R1": ipc(s=[{"a": 1}]), "R2": ipc(s=[{"b": "x"}, None]), "R3": ipc(other=[1])},
        {"s": [{"a": 1, "b": None}, {"a": None, "b": "x"}, None, None], "other": [None, None, None, 1]},
    ),
    "values are numbers in some files": ("txt", {"R1": "007", "R2": "x"}, {"value": ["007", "x"]}),
}  # fmt: skip


@pytest.mark.parametrize("store", ["local", "memory", "zip", "moto"])
@pytest.mark.parametrize("name", UNLIKE)
def test_files_that_differ_are_one_frame(opened, name, store):
    end, contents, expected = UNLIKE[name]
    frame = opened(store, end, contents).steps.scan_outputs("count")
    found = frame.collect()
    assert found.drop(KEYS).to_dict(as_series=False) == expected
    assert found.schema == frame.collect_schema()
    for column in expected:  # a projection never changes a value
        assert frame.select(column).collect().equals(found.select(column))
        assert frame.select("record_id", column).collect().equals(found.select("record_id", column))
    assert frame.select(pl.len()).collect().item() == found.height


FAULTS = {
    "latin-1": ("csv", "name\nok\nZo\xe9\n".encode("latin-1"), "line 3 is not utf-8 text"),
    "latin-1 in the header": ("csv", "nam\xe9\nok\n".encode("latin-1"), "line 1 is not utf-8 text"),
    "too many values": ("csv", "a,b\n1,2\n1,2,3\n", "line 3 has 3 values for 2 columns"),
    "half an NDJSON line": ("ndjson", '{"a": 1}\n{"a":\n', "line 2: Expecting value"),
    "a number that JSON does not know": (
        "ndjson",
        '{"a": 1}\n{"a": NaN}\n',
        "line 2: NaN is not a JSON value",
    ),
    "half a JSON file": ("json", '{"a": ', "is not a JSON file: Expecting value"),
    "a list of numbers and texts": ("json", '[{"a": 1}, {"a": [2]}]', "cannot be read as json"),
    "no Parquet": ("parquet", b"PAR1 or not", "cannot be read as parquet"),
    "half a Parquet file": ("parquet", parquet(a=[1, 2])[:60], "cannot be read as parquet"),
    "no IPC": ("arrow", b"nothing", "cannot be read as ipc"),
    "a value that is no text": ("txt", b"\xff\xfe", "line 1 is not utf-8 text"),
}
GOOD = {
    "csv": "name,a\nok,1\n",
    "ndjson": '{"a": 1}\n',
    "json": '{"a": 1}',
    "parquet": parquet(a=[1]),
    "arrow": ipc(a=[1]),
    "txt": "1",
}


@pytest.mark.parametrize("store", ["local", "memory", "zip", "moto"])
@pytest.mark.parametrize("name", FAULTS)
def test_file_that_cannot_be_read_is_named_or_left_out(opened, name, store):
    end, content, said = FAULTS[name]
    steps = opened(store, end, {"R1": GOOD[end], "R2": content, "R3": GOOD[end]}).steps
    with pytest.raises(StorageError, match=said) as fault:
        steps.scan_outputs("count").collect()
    assert f"out/R2.{end}" in fault.value.message
    assert "\n" not in fault.value.message
    with pytest.warns(UserWarning, match=rf"1 of 3 files is left out, such as: out/R2.{end}.*{said}"):
        found = steps.scan_outputs("count", strict=False).collect()
    assert found["record_id"].to_list() == ["R1", "R3"]
    assert steps.filter(record_id="R3").scan_outputs("count").collect().height == 1


def test_value_that_is_not_of_the_type_asked_for_is_located(opened):
    steps = opened("local", "csv", {"R1": "a,b\n1,2\n", "R2": "a,b\n1,2\n3,x\n"}).steps
    with pytest.raises(
        StorageError, match=r"out/R2.csv \(record R2\) .* line 3, column 'b': could not parse `x`"
    ):
        steps.scan_outputs("count", schema_overrides={"b": pl.Int64}).collect()
    with pytest.warns(UserWarning, match="1 of 2 files is left out"):
        found = steps.scan_outputs("count", schema_overrides={"b": pl.Int64}, strict=False).collect()
    assert found["b"].to_list() == [2]


def test_files_without_a_common_type_are_both_named(opened):
    steps = opened("memory", "json", {"R1": '{"a": [1]}', "R2": '{"a": 1}', "R3": '{"a": [2]}'}).steps
    with pytest.raises(
        StorageError, match=r"out/R2.json cannot be read with out/R1.json: column 'a' is Int64"
    ):
        steps.scan_outputs("count").collect()
    with pytest.warns(UserWarning, match="1 of 3 files is left out"):
        assert steps.scan_outputs("count", strict=False).collect()["a"].to_list() == [[1], [2]]


@pytest.mark.parametrize("store", ["local", "memory", "moto"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_encoding_may_be_said(opened, store, encoding):
    ws = opened(store, "csv", {"R1": "näme\nZoé\n".encode(encoding)})
    assert ws.steps.scan_outputs("count", encoding=encoding).collect()["näme"].to_list() == ["Zoé"]
    with pytest.raises(SelectionError, match="encoding 'latin-99' is not known"):
        ws.steps.scan_outputs("count", encoding="latin-99")


def test_encoding_may_be_said_of_json_and_values(opened):
    ws = opened("local", "json", {"R1": json.dumps({"a": "é"}, ensure_ascii=False).encode("latin-1")})
    assert ws.steps.scan_outputs("count", encoding="latin-1").collect()["a"].to_list() == ["é"]
    ws = opened("memory", "txt", {"R1": "é".encode("latin-1")})
    assert ws.steps.scan_outputs("count", encoding="latin-1").collect()["value"].to_list() == ["é"]


# --- what is opened ------------------------------------------------------------------------------------------


@pytest.fixture
def broken(opened):
    """Results of which only R2's can be read."""
    return opened("local", "csv", {"R1": b"\xff", "R2": "a\n2\n", "R3": b"\xff"})


def test_no_file_is_opened_before_rows_are_asked_for(broken):
    frame = broken.steps.scan_outputs("count").with_columns(double=pl.col("a") * 2)
    with pytest.raises(StorageError, match=r"out/R1\.csv"):
        frame.collect()
    with pytest.raises(StorageError, match=r"out/R1\.csv"):
        frame.collect_schema()


ONE = {
    "keyword": lambda frame: frame.filter(record_id="R2"),
    "expression": lambda frame: frame.filter(pl.col("record_id") == "R2"),
    "list": lambda frame: frame.filter(pl.col("record_id").is_in(["R2"])),
    "two predicates": lambda frame: frame.filter(pl.col("record_id") == "R2", pl.col("a") > 1),
    "and": lambda frame: frame.filter((pl.col("a") > 1) & (pl.col("record_id") == "R2")),
    "twice": lambda frame: frame.filter(pl.col("step") == "count").filter(record_id="R2").filter(a=2),
    "before a projection": lambda frame: frame.filter(record_id="R2", step="count").select("record_id", "a"),
    "Python": lambda frame: frame.filter(
        pl.col("record_id").map_elements(lambda text: int(text[1:]) == min(2, 9), return_dtype=pl.Boolean)
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_filter_of_keys_opens_only_the_files_that_are_left(broken, name):
    found = ONE[name](broken.steps.scan_outputs("count")).collect()
    assert found.select("record_id", "a").rows() == [("R2", 2)]


OVER_ROWS = {
    "a window": pl.col("record_id").is_first_distinct(),
    "an aggregate": pl.col("record_id") == pl.col("record_id").max(),
    "a count": pl.col("record_id").count().over("record_id") > 1,
    "a position": pl.col("record_id").shift(1) == "R1",
    "all rows": pl.len() == 5,
    "rows of a file": pl.col("a") == pl.col("a").max().over("record_id"),
    "a key and all rows": (pl.col("record_id") == "R2") & (pl.len() > 3),
    "either": (pl.col("record_id") == "R2") | (pl.col("a") == 1),
    "not": ~pl.col("record_id").is_in(["R2"]),
    "null": pl.col("task").is_null(),
    "nothing": pl.col("record_id") == "R9",
    "false": pl.lit(False),
}


@pytest.mark.parametrize("store", ["local", "memory"])
@pytest.mark.parametrize("name", OVER_ROWS)
def test_filter_of_the_frame_gives_the_rows_of_a_filter_after_it_is_read(opened, name, store):
    files = {"R1": "a\n1\n3\n", "R2": "a\n2\n1\n", "R3": "a\n1\n"}
    frame = opened(store, "csv", files).steps.scan_outputs("count")
    expected = frame.collect().filter(OVER_ROWS[name])
    assert frame.filter(OVER_ROWS[name]).collect().rows() == expected.rows()
    assert frame.with_columns(x=1).filter(OVER_ROWS[name]).drop("x").collect().equals(expected)
    assert (
        frame.head(3)
        .filter(OVER_ROWS[name])
        .collect()
        .equals(frame.collect().head(3).filter(OVER_ROWS[name]))
    )
    assert frame.filter(OVER_ROWS[name]).head(1).collect().rows() == expected.head(1).rows()


def test_frame_is_read_in_every_way_that_polars_has(opened, tmp_path):
    ws = opened("memory", "csv", {f"R{n}": f"a\n{n}\n" for n in range(40)})
    frame = ws.steps.scan_outputs("count")
    expected = frame.collect()
    assert frame.collect(engine="streaming").sort("a").equals(expected.sort("a"))
    assert pl.collect_all([frame, frame.select(pl.sum("a"))])[1].item() == sum(range(40))
    assert pl.SQLContext(t=frame).execute("select a from t where record_id = 'R7'").collect().item() == 7
    assert frame.join(frame, on="record_id").select(pl.len()).collect().item() == 40
    frame.sink_parquet(tmp_path / "all.parquet")
    assert pl.read_parquet(tmp_path / "all.parquet").sort("a").equals(expected.sort("a"))
    assert frame.head(3).collect().equals(expected.head(3))
    assert frame.tail(2).collect().equals(expected.tail(2))
    assert frame.slice(5, 2).collect().equals(expected.slice(5, 2))
    assert expected["record_id"].to_list() == sorted(f"R{n}" for n in range(40))


def test_schema_that_is_said_gives_these_columns_alone(opened):
    ws = opened("local", "csv", {"R1": "a,b\n1,x\n", "R2": "b\ny\n", "R3": "c,a\n,0.5\n"})
    frame = ws.steps.scan_outputs("count", schema={"a": pl.Float64, "d": pl.String})
    assert frame.collect().select("a", "d").rows() == [(1.0, None), (None, None), (0.5, None)]
    assert frame.collect_schema().names() == [*KEYS, "a", "d"]


def test_schema_that_is_said_spares_the_look_at_the_other_files(broken):
    frame = broken.steps.scan_outputs("count", schema={"a": pl.Int64}).with_columns(b=pl.col("a") + 1)
    assert frame.filter(record_id="R2").collect()["b"].to_list() == [3]


def test_nothing_selected_is_an_empty_frame_with_the_keys(opened):
    steps = opened("memory", "csv", {"R1": "a\n1\n"}).steps
    for frame in (
        steps.filter(record_id="R9").scan_outputs("count"),
        steps.scan_outputs("count").filter(record_id="R9"),
    ):
        assert frame.collect().columns == KEYS
        assert frame.collect().is_empty()


# --- files that rows share -----------------------------------------------------------------------------------

FIELDS = r"(?P<sub>s\d)_(?P<day>d\d)"


@pytest.fixture
def sharing(make_workspace):
    raw = [f"raw/{sub}_{day}.csv" for sub in ("s1", "s2") for day in ("d1", "d2")]
    scripts = {
        "one": ("raw/{id}.csv", "one/{id}.csv"),
        "sub": ((), "sub/{sub}.csv"),
        "all": ((), "all.csv"),
        "fields": ("raw/{id}.csv", "fields/{sub}/{day}.csv"),
    }
    made = {f"one/{path[4:-4]}.csv": "a\n1\n" for path in raw}
    made |= {
        "sub/s1.csv": "a\n1\n2\n",
        "sub/s2.csv": "a\n3\n",
        "all.csv": "a\n9\n",
        "fields/s1/d1.csv": "a\n1\n",
    }
    return make_workspace(scripts, {**dict.fromkeys(raw, "raw"), **made}, id_pattern=FIELDS)


def test_file_that_records_share_comes_once_with_the_fields_that_it_names(sharing):
    found = sharing.steps.scan_outputs("sub").collect()
    assert found.columns == ["record_id", "sub", "task", "modality", "step", "a"]
    assert found.select("record_id", "sub", "a").rows() == [(None, "s1", 1), (None, "s1", 2), (None, "s2", 3)]
    assert sharing.steps.scan_outputs("sub").filter(sub="s2").collect()["a"].to_list() == [3]


def test_file_of_all_records_comes_once_and_has_no_record(sharing):
    assert sharing.steps.scan_outputs("all").select("record_id", "a").collect().rows() == [(None, 9)]
    one = sharing.steps.filter(record_id="s1_d1").scan_outputs("all")
    assert one.select("record_id", "a").collect().rows() == [(None, 9)]


def test_file_that_names_its_record_by_all_fields_has_it(sharing):
    found = sharing.steps.scan_outputs("fields").collect()
    assert found.select("record_id", "a").rows() == [("s1_d1", 1)]
    assert found.columns == [*KEYS, "a"]
    assert sharing.steps.scan_outputs("one").collect().height == 4


def test_file_that_tasks_share_comes_once_without_a_task(lab_folder):
    files = {"pool/R1.csv": "n\n1\n", "pool/R2.csv": "n\n2\n"}
    scripts = {"EEG/clean": ("raw/{id}-{task}.txt", "pool/{id}.csv")}
    ws = Workspace(lab_folder(files=files, scripts=scripts))
    found = ws.steps.scan_outputs("clean").select("record_id", "task", "modality", "n").collect()
    assert found.rows() == [("R1", None, "EEG", 1), ("R2", None, "EEG", 2)]


def test_output_that_is_a_folder_is_refused_in_a_sentence(make_workspace):
    ws = make_workspace({"cut": ("raw/{id}.csv", "cut/{id}/")}, {"cut/R1/a.csv": "a\n1\n"})
    with pytest.raises(
        SelectionError, match=r"step 'cut' makes a folder, cut/\{id\}/, and scan_outputs reads files"
    ):
        ws.steps.scan_outputs("cut")


def test_warnings_are_not_given_for_files_that_can_be_read(opened):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            opened("local", "csv", {"R1": "a\n1\n"})
            .steps.scan_outputs("count", strict=False)
            .collect()
            .height
        )
