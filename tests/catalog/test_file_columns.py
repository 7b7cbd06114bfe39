"""Columns from files: what steps with COLUMNS wrote, as columns of records and units."""

import datetime as dt
import io
import json
import os
import re
import stat

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, SelectionError

QC = pl.col("qc").struct
WROTE = {
    "R1": {"snr": 3, "site": "Lyon"},
    "R2": {"snr": 3.5, "site": "Oslo"},
    "R3": {"snr": 11, "site": "Lyon"},
}
OLD = 1_700_000_000


@pytest.fixture
def qc(write_workspace, script_source):
    """Write a workspace whose step `qc` has written files, by their paths; R4 has no file of the step."""

    def write(files=None, path_out="qc/{id}.json", toml="", scripts=None, **attributes):
        if files is None:
            files = {f"qc/{name}.json": json.dumps(values) for name, values in WROTE.items()}
        raw = dict.fromkeys(["raw/R1", "raw/R2", "raw/R3", "raw/R4"], "raw;")
        steps = {"qc": script_source("raw/{id}", path_out, **{"COLUMNS": True, **attributes})}
        steps |= {"clean": ("raw/{id}", "clean/{id}"), **(scripts or {})}
        folder = write_workspace(steps, raw, toml=toml)
        for path, content in files.items():
            put(folder / "dataset" / path, content)
        return folder

    return write


def put(path, content, when=OLD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (when, when))


def parquet(values):
    content = io.BytesIO()
    pl.DataFrame(values).write_parquet(content)
    return content.getvalue()


def values(folder, *names):
    return Workspace(folder).records.select("record_id", *names).rows()


def notices(ws):
    return {row["kind"]: row for row in ws.notices.iter_rows(named=True)}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("SINAGOT_CATALOG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# --- one column ----------------------------------------------------------------------------------------------


def test_the_values_are_a_struct_of_records_named_after_the_step(qc):
    frame = Workspace(qc()).records.select("record_id", "qc")
    assert frame.schema["qc"] == pl.Struct({"snr": pl.Float64, "site": pl.String})
    assert frame.rows() == [
        ("R1", {"snr": 3.0, "site": "Lyon"}),
        ("R2", {"snr": 3.5, "site": "Oslo"}),
        ("R3", {"snr": 11.0, "site": "Lyon"}),
        ("R4", None),
    ]


def test_every_way_to_ask_gives_the_same_rows(qc):
    ws = Workspace(qc())
    fits, want = QC.field("snr") > 3, ["R2", "R3"]
    records = ws.records
    assert records.filter(fits).ids() == want
    assert records.sql_filter("qc.snr > 3").ids() == want
    assert records.filter(pl.col("qc.snr") > 3).ids() == want
    assert records.lazy().filter(fits).collect()["record_id"].to_list() == want
    assert records.lazy().filter(fits).select("record_id").collect()["record_id"].to_list() == want
    assert (
        records.select("record_id", snr=QC.field("snr")).filter(pl.col("snr") > 3)["record_id"].to_list()
        == want
    )
    assert ws.sql("SELECT record_id FROM records WHERE qc.snr > 3").collect()["record_id"].to_list() == want
    assert (
        ws.sql("SELECT r.record_id FROM records r WHERE r.qc.snr > 3").collect()["record_id"].to_list()
        == want
    )
    assert len(records.filter(fits)) == 2
    assert ws.steps.filter(fits, step="clean").records.ids() == want
    assert ws.units.filter(fits).records.ids() == want
    assert sorted(set(ws.files.filter(fits).collect()["record_id"])) == want
    assert ws.steps.filter(fits, step="clean").plan().n_run == 2
    assert pl.DataFrame(records.filter(fits))["record_id"].to_list() == want
    assert records.sort("qc.snr", descending=True, nulls_last=True)["record_id"].to_list() == [
        "R3",
        "R2",
        "R1",
        "R4",
    ]


def test_the_column_appears_only_where_it_is_named(qc, home):
    ws = Workspace(qc())
    plain = ws.records.collect_schema().names()
    assert "qc" not in plain
    for frame in (
        ws.records.collect(),
        ws.records.lazy().collect(),
        ws.records.filter(pl.col("n_done") > 0).collect(),
        ws.records.filter(pl.all_horizontal(pl.col(pl.UInt32) >= 0)).collect(),
        ws.sql("SELECT * FROM records").collect(),
        pl.DataFrame(ws.records),
        ws.records.sort("record_id"),
    ):
        assert frame.columns == plain
    assert ws.records.filter(record_id="R1").steps.collect().height == 2
    assert not home.exists()  # no file of the step was read
    named = [*plain, "qc"]
    narrowed = ws.records.filter(QC.field("snr") > 3)
    assert narrowed.collect().columns == narrowed.lazy().collect().columns == named
    assert [*narrowed.collect_schema()] == [*narrowed.to_arrow().schema.names] == named
    assert narrowed.select("record_id").columns == ["record_id"]
    assert ws.records.collect().columns == plain


def test_fields_are_selected_by_their_names(qc):
    ws = Workspace(qc({"qc/R1.json": '{"snr": 1, "psd": {"alpha": 2, "beta.low": 3}, "a.b": 4}'}))
    names = ["qc.snr", "qc.psd.alpha", "qc.psd.beta.low", "qc.a.b"]
    frame = ws.records.filter(record_id="R1").select(*names)
    assert frame.rows(named=True) == [dict(zip(names, [1, 2, 3, 4], strict=True))]


def test_a_name_of_no_field_is_an_error_that_names_the_near_ones(qc):
    ws = Workspace(qc())
    for ask in (
        lambda: ws.records.filter(QC.field("snrr") > 3).collect(),
        lambda: ws.steps.sql_filter("qc.snrr > 3").plan(),
        lambda: ws.records.select("qc.snrr"),
        lambda: ws.records.select(QC.field("snrr")),
        lambda: ws.units.filter(pl.col("qc.snrr") > 3).collect(),
    ):
        with pytest.raises(SelectionError, match="qc has no field 'snrr'; did you mean 'snr'") as error:
            ask()
        assert "Its fields: snr, site." in str(error.value)
    with pytest.raises(SelectionError, match="no column 'qcc'; did you mean 'qc'"):
        ws.records.filter(pl.col("qcc").struct.field("snr") > 3).collect()


def test_fields_and_steps_with_odd_names_are_quoted_in_sql(write_workspace, script_source):
    columns = script_source("{id}.png", "made/{id}.json", COLUMNS=True)
    toml = "[records]\nid_pattern = '[^/]+'\n"
    folder = write_workspace({"v1.2": columns}, ["a b.png", "x'y.png"], toml=toml)
    put(folder / "dataset/made/a b.json", '{"a b": 1, "status": "DOEN", "psd": {"low": 2}}')
    ws = Workspace(folder)
    for where in (
        '"v1.2"."a b" = 1',
        "\"v1.2\".status = 'DOEN'",
        "\"v1.2\".status LIKE 'DO%'",
        '"v1.2".psd.low > 1',
    ):
        assert ws.records.sql_filter(where).ids() == ["a b"]
        assert ws.sql(f"SELECT r.record_id FROM records r WHERE {where}").collect()[  # noqa: S608 - a constant
            "record_id"
        ].to_list() == ["a b"]
        assert ws.sql(f"SELECT record_id FROM records WHERE records.{where}").collect().height == 1  # noqa: S608 - a constant
    with pytest.raises(SelectionError, match=r"v1\.2\.psd has no field 'lwo'; did you mean 'low'"):
        ws.records.select("v1.2.psd.lwo")
    with pytest.raises(SelectionError, match="status is never 'DOEN'"):
        ws.sql("SELECT record_id FROM steps WHERE status = 'DOEN'")


def test_before_the_first_file_a_filter_fits_no_row_and_says_so(qc):
    ws = Workspace(qc({}))
    assert ws.records.filter(QC.field("snr") > 3).ids() == []
    assert ws.steps.sql_filter("qc.site = 'Lyon' AND qc.psd.alpha > 1").plan().n_run == 0
    assert ws.steps.sql_filter("qc.snr > 3 OR step = 'clean'").plan().n_run == 4
    assert ws.records.select("qc.snr")["qc.snr"].to_list() == [None] * 4
    assert notices(ws)["column without files"]["text"] == "no file of qc is there yet: its values are null"
    steps = ws.steps.filter(step="qc")
    assert steps.count() == 4


# --- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("json", '{"snr": 3.5, "site": "Lyon"}'),
        ("json", '[{"snr": 3.5, "site": "Lyon"}]'),
        ("json", '\ufeff{"snr": 3.5, "site": "Lyon"}'),
        ("csv", "snr,site\n3.5,Lyon\n"),
        ("csv", '\ufeff"snr","site"\r\n3.5,"Lyon"\r\n\r\n'),
        ("tsv", "snr\tsite\n3.5\tLyon"),
        ("parquet", parquet({"snr": [3.5], "site": ["Lyon"]})),
        ("ndjson", '{"snr": 3.5, "site": "Lyon"}\n'),
    ],
)
def test_one_row_of_any_table_format_is_read(qc, suffix, content):
    folder = qc({f"qc/R1.{suffix}": content}, f"qc/{{id}}.{suffix}")
    for _ in range(2):  # from the file, then from the cache
        assert values(folder, "qc")[0] == ("R1", {"snr": 3.5, "site": "Lyon"})


def test_values_keep_their_types_in_the_cache(qc):
    row = {
        "day": [dt.date(2026, 1, 2)],
        "at": [dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)],
        "psd": [[1.5, 2.5]],
        "ok": [True],
    }
    folder = qc({"qc/R1.parquet": parquet(row)}, "qc/{id}.parquet")
    first, second = (Workspace(folder).records.select("qc") for _ in range(2))
    assert first.equals(second)
    assert first.schema == second.schema
    assert first.row(0) == ({name: one[0] for name, one in row.items()},)


@pytest.mark.parametrize(
    ("written", "dtype", "read"),
    [
        (["1", "2.5", '"n/a"'], pl.Float64, [1, 2.5, None]),
        (["1", "null", "3"], pl.Int64, [1, None, 3]),
        (["true", "false", "null"], pl.Boolean, [True, False, None]),
        (["1", '"high"', "2.5"], pl.String, ["1", "high", "2.5"]),
        (['"007"', '"8"', '""'], pl.String, ["007", "8", None]),
        (["NaN", "1", "null"], pl.Int64, [None, 1, None]),
        (["[1, 2]", "[]", "[2.5]"], pl.List(pl.Float64), [[1, 2], None, [2.5]]),
        (["[1, 2]", "3", "null"], pl.String, ["[1,2]", "3", None]),
        (['{"a": 1}', '{"b": 2}', "null"], pl.Struct({"a": pl.Int64, "b": pl.Int64}), None),
        (["12345678901234567890", "1", "null"], pl.String, ["12345678901234567890", "1", None]),
        (["null", "null", "null"], pl.String, [None, None, None]),
    ],
)
def test_the_type_of_a_json_value_fits_all_files(qc, written, dtype, read):
    folder = qc({f"qc/R{n}.json": f'{{"x": {one}}}' for n, one in enumerate(written, 1)})
    frame = Workspace(folder).records.select("qc.x").head(3)
    assert frame.schema["qc.x"] == dtype
    assert read is None or frame["qc.x"].to_list() == read
    assert frame.equals(Workspace(folder).records.select("qc.x").head(3))


@pytest.mark.parametrize(
    ("written", "dtype", "read"),
    [
        (["1", "2", "n/a"], pl.Int64, [1, 2, None]),
        (["1", "2.5", ""], pl.Float64, [1, 2.5, None]),
        (["007", "12", "n/a"], pl.String, ["007", "12", None]),
        (["true", "False", "NA"], pl.Boolean, [True, False, None]),
        (["1", "b", "2"], pl.String, ["1", "b", "2"]),
    ],
)
def test_the_type_of_a_csv_value_fits_all_files(qc, written, dtype, read):
    folder = qc({f"qc/R{n}.csv": f"k,x\nz,{one}\n" for n, one in enumerate(written, 1)}, "qc/{id}.csv")
    frame = Workspace(folder).records.select("qc.x").head(3)
    assert (frame.schema["qc.x"], frame["qc.x"].to_list()) == (dtype, read)


def test_a_text_among_many_numbers_is_said(write_workspace, script_source):
    raw = [f"raw/R{n}" for n in range(12)]
    folder = write_workspace({"qc": script_source("raw/{id}", "qc/{id}.json", COLUMNS=True)}, raw)
    for n in range(12):
        put(folder / f"dataset/qc/R{n}.json", json.dumps({"snr": "high" if n == 7 else n}))
    ws = Workspace(folder)
    assert ws.records.select("qc.snr").schema["qc.snr"] == pl.String
    said = notices(ws)["text among numbers"]
    assert said["text"] == "qc.snr is text and not numbers, for 1 file: qc/R7.json has 'high'"


FAULTS = {
    "broken": ("json", '{"snr": 3', "qc/R2.json is not a JSON file"),
    "empty": ("json", "", "qc/R2.json is not a JSON file"),
    "two rows": ("json", '[{"snr": 3}, {"snr": 4}]', "qc/R2.json has 2 rows, not one"),
    "no row": ("json", "[]", "qc/R2.json has no row"),
    "half a character": ("json", '{"site": "\\ud800"}', "it has half a character"),
    "too deep": ("json", "[" * 100_000, "it nests too deeply"),
    "bytes": ("json", b'{"site": "\xe9"}', "line 1 is not UTF-8"),
    "rows of csv": ("csv", "snr\n1\n2\n3\n", "qc/R2.csv has 3 rows, not one"),
    "header of csv": ("csv", "snr\n", "qc/R2.csv has no row"),
    "empty csv": ("csv", "", "qc/R2.csv has no row"),
    "wide csv": ("csv", "snr\n1,2\n", "line 2 has 2 values for 1 columns"),
    "latin csv": ("csv", b"site\n\xe9\n", "line 2 is not utf-8"),
    "parquet": ("parquet", b"PAR1", "qc/R2.parquet cannot be read as parquet"),
    "rows of parquet": ("parquet", parquet({"snr": [1, 2]}), "qc/R2.parquet has 2 rows, not one"),
    "large": ("csv", "snr\n" + "1\n" * 9_000_000, "qc/R2.csv has 18000004 bytes"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_file_without_one_row_is_null_and_said(qc, kind):
    suffix, content, sentence = FAULTS[kind]
    good = {"json": '{"snr": 1}', "csv": "snr\n1\n", "parquet": parquet({"snr": [1]})}[suffix]
    folder = qc({f"qc/R1.{suffix}": good, f"qc/R2.{suffix}": content}, f"qc/{{id}}.{suffix}")
    for _ in range(2):
        ws = Workspace(folder)
        assert "column file not read" not in notices(ws)
        assert ws.records.select("qc.snr")["qc.snr"].to_list() == [1, None, None, None]
        said = notices(ws)["column file not read"]
        assert (said["count"], said["example"]) == (1, f"qc/R2.{suffix}")
        assert said["text"].startswith("1 of 2 files of qc has no value, such as: ")
        assert sentence in said["text"]


def test_only_files_without_values_leave_no_field(qc):
    ws = Workspace(qc({"qc/R1.json": "{}", "qc/R2.json": "oops"}))
    with pytest.raises(SelectionError, match=r"qc has no field 'snr'"):
        ws.records.filter(QC.field("snr") > 3).collect()


def test_names_of_odd_files_and_fields_are_taken_as_they_are(write_workspace, script_source):
    toml = "[records]\nid_pattern = '[^/]+'\n"
    folder = write_workspace(
        {"qc": script_source("raw/{id}", "qc/{id}.json", COLUMNS=True)},
        ["raw/a b[1]*", "raw/é"],
        toml=toml,
    )
    put(folder / "dataset/qc/a b[1]*.json", '{"my value": 1, "": 2, "é": 3}')
    put(folder / "dataset/qc/é.json", '{"é": 4}')
    assert values(folder, "qc.é", "qc.my value") == [("a b[1]*", 3, 1), ("é", 4, None)]


def test_the_table_among_several_outputs_is_read(qc):
    out = {"values": "qc/{id}.json", "plot": "qc/{id}.png", "note": "qc/{id}.txt"}
    assert values(qc(path_out=out), "qc.snr")[0] == ("R1", 3.0)


def test_a_file_that_records_share_is_the_value_of_each(write_workspace, script_source):
    toml = "[records]\nid_pattern = '(?P<sub>\\d)-(?P<run>\\d)'\n"
    folder = write_workspace(
        {
            "qc": script_source("raw/{sub}", "qc/{sub}.json", COLUMNS=True),
            "b": ("raw/{id}.x", "b/{id}"),
        },
        ["raw/1", "raw/1-1.x", "raw/1-2.x", "raw/2-1.x"],
        toml=toml,
    )
    put(folder / "dataset/qc/1.json", '{"snr": 5}')
    assert values(folder, "qc.snr") == [("1-1", 5), ("1-2", 5), ("2-1", None)]


@pytest.mark.parametrize("known", [["path"], ["path", "size"], ["path", "size", "modified"]])
def test_files_of_a_given_listing_are_read(qc, known):
    folder = qc()
    listing = Workspace(folder).files.select(known)
    ws = Workspace(folder, listing=listing)
    assert ws.records.select("qc.snr")["qc.snr"].to_list() == [3, 3.5, 11, None]


def test_outputs_in_a_root_of_their_own_are_read_there(qc):
    folder = qc({}, toml='[path]\noutputs = "results"\n')
    put(folder / "results/qc/R2.json", '{"snr": 7}')
    put(folder / "dataset/qc/R1.json", '{"snr": 8}')
    assert values(folder, "qc.snr")[:2] == [("R1", None), ("R2", 7)]


# --- read once -----------------------------------------------------------------------------------------------


def rewrite(path, content):
    """Change a file behind the library's back: same size, same time."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_is_read_once_and_again_when_its_size_or_time_changes(qc):
    folder = qc()
    file = folder / "dataset/qc/R2.json"
    assert values(folder, "qc.snr")[1] == ("R2", 3.5)
    rewrite(file, json.dumps({"snr": 9.5, "site": "Oslo"}))
    assert values(folder, "qc.snr")[1] == ("R2", 3.5)
    os.utime(file, (OLD + 1, OLD + 1))
    assert values(folder, "qc.snr")[1] == ("R2", 9.5)
    put(file, '{"snr": 10.25}')
    assert values(folder, "qc.snr")[1] == ("R2", 10.25)
    assert values(folder, "qc.snr")[0] == ("R1", 3.0)


def test_a_file_written_just_now_is_read_again(qc):
    folder = qc()
    file = folder / "dataset/qc/R2.json"
    file.write_text('{"snr": 1}')
    assert values(folder, "qc.snr")[1] == ("R2", 1.0)
    rewrite(file, '{"snr": 2}')
    assert values(folder, "qc.snr")[1] == ("R2", 2.0)


def test_one_workspace_sees_a_new_value_after_a_run_and_after_a_refresh(qc):
    body = "self.path.output.write_text('{\"snr\": %d}' % len(self.path.input.read_text()))"
    folder = qc({}, body=body)
    ws = Workspace(folder)
    assert ws.records.filter(QC.field("snr") > 3).ids() == []
    assert ws.steps.run("qc", mode="main_process", progress=False).ok
    assert ws.records.filter(QC.field("snr") > 3).ids() == ["R1", "R2", "R3", "R4"]
    put(folder / "dataset/qc/R1.json", '{"snr": 1}', OLD + 9)
    assert ws.refresh().records.select("qc.snr")["qc.snr"].to_list() == [1, 4, 4, 4]


def test_a_look_writes_nothing_into_the_workspace(qc, home):
    folder = qc()

    def tree():
        return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}

    before = tree()
    assert values(folder, "qc.snr")[0] == ("R1", 3.0)
    assert tree() == before
    assert [path.suffix for path in (home / "columns").iterdir()] == [".parquet"]
    assert stat.S_IMODE((home / "columns").stat().st_mode) == 0o700


@pytest.mark.parametrize("harm", ["spoilt", "a folder", "not writable", "of others"])
def test_without_a_cache_the_values_are_read_anew(qc, home, harm):
    folder = qc()
    want = values(folder, "qc")
    kept = next((home / "columns").iterdir())
    if harm == "spoilt":
        kept.write_bytes(b"PAR1 of no use")
    elif harm == "a folder":
        kept.unlink()
        kept.mkdir()
    elif harm == "not writable":
        kept.unlink()
        kept.parent.rmdir()
        kept.parent.write_text("in the way")
    else:
        kept.parent.chmod(0o777)
    assert values(folder, "qc") == want


def test_a_fault_of_the_store_is_not_kept(qc):
    folder = qc()
    file = folder / "dataset/qc/R2.json"
    target = folder / "elsewhere.json"
    put(target, '{"snr": 4}')
    file.unlink()
    file.symlink_to(target)
    hidden = target.with_suffix(".away")
    ws = Workspace(folder)
    assert ws.records.count() == 4
    ws._source.stats("dataset", pl.Series(["qc/R2.json"]))  # its size and time are known, then it goes
    target.rename(hidden)
    assert ws.records.select("qc.snr")["qc.snr"].to_list() == [3, None, 11, None]
    assert (
        "elsewhere" in notices(ws)["column file not read"]["text"]
        or "qc/R2.json" in notices(ws)["column file not read"]["text"]
    )
    hidden.rename(target)
    assert values(folder, "qc.snr")[1] == ("R2", 4)


def test_a_snapshot_keeps_its_values_or_says_that_they_are_gone(qc):
    folder = qc()
    assert values(folder, "qc.snr")[1] == ("R2", 3.5)
    name = Workspace(folder).snapshot()
    put(folder / "dataset/qc/R2.json", '{"snr": 99}', OLD + 5)
    put(folder / "dataset/qc/R4.json", '{"snr": 99}', OLD + 5)
    then = Workspace(folder, snapshot=name)
    assert then.records.select("qc.snr")["qc.snr"].to_list() == [3, 3.5, 11, None]
    assert values(folder, "qc.snr")[1] == ("R2", 99)  # now the cache has the new value
    then = Workspace(folder, snapshot=name)
    assert then.records.select("qc.snr")["qc.snr"].to_list() == [3, None, 11, None]
    assert "qc/R2.json changed since the snapshot" in notices(then)["column file not read"]["text"]
    assert values(folder, "qc.snr")[1] == ("R2", 99)


# --- tasks and modalities ------------------------------------------------------------------------------------


@pytest.fixture
def scoped(lab_folder, script_source):
    """The lab, whose step `clean` writes columns, in two tasks."""
    out = script_source("raw/{id}-{task}.txt", "clean/{id}-{task}.json", COLUMNS=True)
    folder = lab_folder(scripts={"EEG/clean": out, "EEG/alpha": ("raw/{id}-{task}.txt", "alpha/{id}.txt")})
    put(folder / "dataset/clean/R1-RS.json", '{"snr": 5}')
    put(folder / "dataset/clean/R1-HDC.json", '{"snr": 2}')
    put(folder / "dataset/clean/R2-RS.json", '{"snr": 9}')
    return folder


def test_with_tasks_the_values_belong_to_units(scoped):
    ws = Workspace(scoped)
    snr = pl.col("clean").struct.field("snr")
    units = ws.units.filter(snr > 3)
    assert units.select("record_id", "task", "modality", "clean.snr").rows() == [
        ("R1", "RS", "EEG", 5),
        ("R2", "RS", "EEG", 9),
    ]
    assert units.collect().columns[-1] == "clean"
    assert [*units.collect_schema()] == units.collect().columns
    assert units.records.ids() == ["R1", "R2"]
    assert ws.units.filter(snr < 3).select("record_id", "task").rows() == [("R1", "HDC")]
    assert ws.units.select("clean").null_count().item() == ws.units.count() - 3
    steps = ws.steps.filter(snr > 3)
    assert set(steps.select("record_id", "task").rows()) == {("R1", "RS"), ("R2", "RS")}
    assert ws.RS.steps.sql_filter("clean.snr > 5").records.ids() == ["R2"]
    assert ws.RS.EEG.units.sql_filter("clean.snr > 3").count() == 2
    assert ws.files.filter(snr < 3).select("path").to_series().to_list() == [
        "clean/R1-HDC.json",
        "raw/R1-HDC.txt",
    ]
    query = "SELECT record_id, task FROM units WHERE clean.snr > 3 ORDER BY record_id"
    assert ws.sql(query).collect().rows() == [("R1", "RS"), ("R2", "RS")]


def test_a_column_of_units_is_no_column_of_records(scoped):
    ws = Workspace(scoped)
    with pytest.raises(SelectionError, match=r"it is a column of units: ws\.units\.filter"):
        ws.records.filter(pl.col("clean").struct.field("snr") > 3).collect()
    assert "clean" not in ws.records.collect_schema()


def test_the_command_line_takes_columns_of_units(scoped, cli):
    done = cli("status", scoped, "--by", "task,clean.snr", "--step", "alpha", "--csv")
    rows = sorted(line.split(",")[:2] for line in done.stdout.splitlines()[1:])
    assert rows == [["RS", ""], ["RS", "5"], ["RS", "9"]]
    done = cli(
        "ls", "units", "-C", scoped, "--where", "clean.snr > 3", "--columns", "record_id,clean", "--csv"
    )
    assert done.stdout.splitlines() == ["record_id,clean.snr", "R1,5", "R2,9"]


# --- declarations --------------------------------------------------------------------------------------------


def test_a_step_function_and_a_command_declare_columns(write_workspace):
    toml = "[steps]\nscripts = ['one', 'two']\n[steps.two]\ncolumns = true\n"
    toml += "command = 'cp {input} {output}'\ninputs = 'raw/{id}.csv'\noutputs = 'two/{id}.csv'\n"
    folder = write_workspace({}, {"raw/R1.csv": "n\n5\n"}, toml=toml)
    (folder / "scripts" / "one.py").write_text(
        "from sinagot_catalog import step\n"
        "@step(inputs='raw/{id}.csv', outputs='one/{id}.json', columns=True)\n"
        "def one(input, output):\n    output.write_text('{\"n\": 4}')\n"
    )
    ws = Workspace(folder)
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert ws.records.select("one.n", "two.n").rows() == [(4, 5)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"path_out": "qc/{id}.txt"}, r"qc.py:\d+: COLUMNS: none of its outputs is a table with one row"),
        ({"path_out": "qc/{id}/"}, "none of its outputs is a table"),
        (
            {"path_out": {"a": "a/{id}.csv", "b": "b/{id}.json"}},
            "2 of its outputs are tables, a/.id..csv and b/",
        ),
        ({"COLUMNS": "yes"}, r"qc.py:\d+: COLUMNS is not True or False"),
        ({"path_out": "qc/all.json", "BY": ()}, "COLUMNS: a step per group has no record"),
    ],
)
def test_a_step_that_cannot_have_columns_says_why_and_others_go_on(qc, options, sentence):
    ws = Workspace(qc({}, **options))
    row = ws.steps.filter(step="qc").collect().row(0, named=True)
    assert row["status"] == "ERROR"
    assert re.search(sentence, row["reason"])
    assert ws.steps.filter(step="clean").plan().n_run == 4


def test_the_name_of_another_column_is_refused_with_what_to_do(write_workspace, script_source):
    def look(step, toml="", table=None):
        columns = script_source("raw/{id}", "made/{id}.json", COLUMNS=True)
        folder = write_workspace({step: columns}, ["raw/R1"], toml=toml, name=step)
        if table:
            (folder / "people.csv").write_text(table)
        return Workspace(folder).records.ids()

    pattern = "[records]\nid_pattern = '(?P<site>R)\\d'\n"
    with pytest.raises(ConfigError, match="'site' is a field of records") as error:
        look("site", pattern)
    assert "Rename the step or the other column, or take COLUMNS away" in str(error.value)
    metadata = "[records]\nid_pattern = 'R\\d'\nmetadata = 'people.csv'\n"
    with pytest.raises(ConfigError, match="'age' is a column of a metadata table"):
        look("age", metadata, "record_id,age\nR1,31\n")
    for name, table in (("size", "records"), ("has_data", "units"), ("status", "steps"), ("path", "files")):
        with pytest.raises(ConfigError, match=f"{name!r} is a column of {table}"):
            look(name)
    with pytest.raises(ConfigError, match="reserved"):
        look("_rec")


def test_a_refused_name_ends_with_2(write_workspace, script_source, cli):
    folder = write_workspace({"size": script_source("raw/{id}", "made/{id}.json", COLUMNS=True)}, ["raw/R1"])
    for verb in ("status", "run", "doctor"):
        done = cli(verb, folder)
        assert done.returncode == 2, verb
        assert "Rename the step, or take COLUMNS away" in done.stdout + done.stderr


# --- the command line ----------------------------------------------------------------------------------------


def test_the_command_line_flattens_the_values(qc, cli):
    folder = qc()
    words = ("ls", "records", "-C", folder)
    done = cli(*words, "--columns", "record_id,qc", "--csv")
    assert done.stdout.splitlines() == [
        "record_id,qc.snr,qc.site",
        "R1,3.0,Lyon",
        "R2,3.5,Oslo",
        "R3,11.0,Lyon",
        "R4,,",
    ]
    done = cli(*words, "--columns", "record_id,qc.site", "--where", "qc.snr > 3")
    assert done.stdout.split() == ["record_id", "qc.site", "R2", "Oslo", "R3", "Lyon"]
    done = cli(*words, "--columns", "record_id,qc", "--json")
    assert json.loads(done.stdout)[0] == {"record_id": "R1", "qc": {"snr": 3.0, "site": "Lyon"}}
    done = cli(
        "ls", "steps", "-C", folder, "--columns", "record_id,step,qc", "--where", "qc.snr > 10", "--csv"
    )
    assert done.stdout.splitlines()[1:] == ["R3,qc,11.0,Lyon", "R3,clean,11.0,Lyon"]


def test_status_counts_by_a_value(qc, cli):
    folder = qc()
    done = cli("status", folder, "--by", "qc.site", "--step", "clean", "--csv")
    assert [line.split(",")[:3] for line in done.stdout.splitlines()] == [
        ["qc.site", "init", "data_ready"],
        ["Lyon", "0", "2"],
        ["Oslo", "0", "1"],
        ["", "0", "1"],
    ]
    done = cli("status", folder, "--by", "qc")
    assert (done.returncode, "Name one of them: qc.snr, qc.site." in done.stderr) == (2, True)
    done = cli("status", folder, "--by", "qc.stie")
    assert (done.returncode, "did you mean 'site'" in done.stderr) == (2, True)


def test_runs_and_plans_take_values_in_their_filter(qc, cli):
    folder = qc()
    done = cli("run", folder, "--step", "clean", "--where", "qc.site = 'Lyon'", "-q")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "dataset/clean").iterdir()) == ["R1", "R3"]
    done = cli(
        "plan", folder, "--step", "clean", "--where", "qc.site LIKE 'O%' AND qc.snr IS NOT NULL", "--csv"
    )
    assert [line.split(",")[0] for line in done.stdout.splitlines()[1:]] == ["R2"]
    done = cli("run", folder, "--where", "qc.sight = 'Lyon'")
    assert done.returncode == 2
    assert "qc has no field 'sight'" in done.stderr


def test_what_has_no_value_is_said_where_people_look(qc, cli):
    folder = qc({"qc/R1.json": '{"snr": 1}', "qc/R2.json": "oops"})
    assert "oops" not in cli("status", folder).stderr
    sentence = "1 of 2 files of qc has no value, such as: qc/R2.json is not a JSON file"
    assert sentence in cli("status", folder, "--by", "qc.snr").stderr
    assert sentence in cli("ls", "records", "-C", folder, "--columns", "qc").stderr
    assert sentence in cli("plan", folder, "--where", "qc.snr > 0").stderr
    assert sentence in cli("run", folder, "--where", "qc.snr > 0", "--step", "clean").stderr
    assert "qc/R2.json is not a JSON file" in cli("doctor", folder).stdout


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_takes_values_in_its_filter(qc, cli):
    folder = qc()
    done = cli("submit", folder, "--step", "clean", "--where", "qc.snr > 3", "-q")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "dataset/clean").iterdir()) == ["R2", "R3"]
    done = cli("deploy", "nightly", "-C", folder, "--pool", "none", "--where", "qc.snrr > 3")
    assert (done.returncode, "did you mean 'snr'" in done.stderr) == (2, True)


# --- buckets -------------------------------------------------------------------------------------------------


def test_values_in_a_bucket_are_read_once(qc, moto):
    url = moto.upload(qc(), "lab")

    def look():
        ws = Workspace(url, storage_options=moto.options, trust=True)
        return ws.records.select("record_id", "qc.snr").rows()

    want = [("R1", 3.0), ("R2", 3.5), ("R3", 11.0), ("R4", None)]
    assert look() == want
    keys = moto.keys("lab")
    assert look() == want
    moto.put({"dataset/qc/R2.json": '{"snr": 7.5, "site": "Oslo"}', "dataset/qc/R4.json": "oops"}, "lab")
    want[1] = ("R2", 7.5)
    assert look() == want
    assert moto.keys("lab") == sorted([*keys, "lab/dataset/qc/R4.json"])
