"""What a look leaves out or cannot use is counted, with an example, wherever people look."""

import json
import os
import socket
import unicodedata
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.diagnostics import doctor

TWO = {"a": ("raw/{id}.csv", "a/{id}.txt"), "b": ("a/{id}.txt", "b/{id}.txt")}


def notices(ws):
    """Count and example of each kind."""
    return {kind: (count, example) for kind, count, example, _ in ws.notices.rows()}


def warnings(folder):
    return [
        f"{one.area}: {one.text}"
        for one in doctor.examine(lambda: Workspace(str(folder))._source)
        if one.state == "warning"
    ]


def test_a_workspace_in_order_has_no_notice(cli, harbor, harbor_folder):
    assert harbor.notices.is_empty()
    assert harbor.notices.schema == {
        "kind": pl.String, "count": pl.UInt32, "example": pl.String, "text": pl.String,
    }  # fmt: skip
    assert cli("status", harbor_folder).stderr == ""
    assert json.loads(cli("status", harbor_folder, "--json").stdout)["notices"] == []
    assert "Nothing was left out." in harbor.report(harbor_folder / "r.html").read_text()


@pytest.mark.parametrize("name", ["{id}", "{net}.{sta}.{loc?}.D.{day}"])
def test_a_misnamed_file_is_counted_where_names_have_dots_and_no_suffix(write_workspace, name):
    """Day files of seismometers: one has the year of another folder, and one no location."""
    ids = r"(?P<net>[A-Z]+)\.(?P<sta>[A-Z]+)\.(?P<loc>\d\d)\.D\.(?P<day>\d{4})"
    files = [f"FR/STR/FR.STR.{rest}" for rest in ("00.D.2026", "00.D.x", ".D.2026")]
    folder = write_workspace(
        {"a": (f"{{net}}/{{sta}}/{name}", "psd/{id}.txt")}, [*files, "FR/STR/README"], id_pattern=ids
    )
    assert notices(Workspace(folder)) == {"file without pattern": (2, "FR/STR/FR.STR..D.2026")}


def test_every_place_says_the_same_of_a_misnamed_file(cli, write_workspace):
    folder = write_workspace(TWO, ["raw/R1.csv", *(f"raw/BOAT-{n}.csv" for n in range(7))])
    ws = Workspace(folder)
    assert notices(ws) == {"file without pattern": (7, "raw/BOAT-0.csv")}
    text = ws.notices["text"][0]
    assert text.startswith("7 files do not match, such as raw/BOAT-0.csv: the pattern is raw/{id}.csv")
    assert f"note: {text}\n" in cli("status", folder).stderr
    told = json.loads(cli("status", folder, "--json").stdout)["notices"]
    assert told == ws.notices.to_dicts()
    page = ws.report(folder / "report.html").read_text()
    assert "raw/BOAT-4.csv does not match raw/{id}.csv, which it resembles most" in page
    warned = warnings(folder)
    assert sum("which it resembles most" in one for one in warned) == 5
    assert "patterns: and 2 more: file without pattern" in warned


# --- outputs -------------------------------------------------------------------------------------------------


def test_outputs_whose_raw_file_is_gone_are_counted(cli, write_workspace):
    folder = write_workspace(TWO, ["raw/R1.csv", "a/R1.txt", "a/R2.txt", "b/R2.txt", "b/R3.txt"])
    ws = Workspace(folder)
    assert notices(ws) == {"output without input": (3, "a/R2.txt")}
    text = "3 outputs of 2 records without any raw input, such as a/R2.txt"
    assert ws.notices["text"][0] == text
    assert f"note: {text}\n" in cli("status", folder).stderr
    assert "records: b/R3.txt: its record has no raw input" in warnings(folder)


def test_one_raw_input_of_several_is_enough(make_workspace):
    steps = {"a": ({"x": "x/{id}", "y": "y/{id}"}, "a/{id}")}
    assert make_workspace(steps, ["x/R1", "a/R1", "y/R2", "a/R2"]).notices.is_empty()


def test_the_result_of_a_group_beside_its_raw_files_fits_its_pattern(make_workspace):
    toml = """
    [steps]
    scripts = ["mean"]
    [steps.mean]
    command = "cat {input}"
    inputs = "{probe}/rep{rep}.txt"
    outputs = {mean = "{probe}/mean.txt", plots = "{probe}/plots/"}
    by = ["probe"]
    """
    files = ["p1/rep1.txt", "p1/mean.txt", "p1/plots/a.png", "p1/old.txt"]
    ws = make_workspace(files=files, id_pattern=r"(?P<probe>p\d)_(?P<rep>\d)", toml=toml)
    assert notices(ws) == {"file without pattern": (1, "p1/old.txt")}


def test_folders_and_control_files_are_outputs_too(make_workspace, script_source):
    steps = {"a": script_source("raw/{id}.csv", "a/{id}/", PATH_CONTROL="qc/{id}.png")}
    ws = make_workspace(steps, ["raw/R1.csv", "a/R2/one", "a/R2/two", "qc/R3.png"])
    assert notices(ws) == {"output without input": (2, "a/R2")}


def test_an_input_that_records_share_keeps_their_outputs(make_workspace):
    steps = {"a": ("raw/{sub}.csv", "a/{id}.txt"), "c": ("one/{id}.csv", "c/{id}.txt")}
    ws = make_workspace(
        steps, ["raw/s1.csv", "a/s1_1.txt", "a/s2_1.txt", "one/s3_1.csv"], id_pattern=r"(?P<sub>s\d)_\d"
    )
    assert notices(ws)["output without input"] == (1, "a/s2_1.txt")


def test_an_output_below_another_root_is_counted(make_workspace, tmp_path):
    (tmp_path / "made" / "a").mkdir(parents=True)
    (tmp_path / "made" / "a" / "R7.txt").write_text("x")
    toml = f"[path]\noutputs = '{tmp_path / 'made'}'\n"
    assert notices(make_workspace(TWO, ["raw/R1.csv"], toml=toml)) == {
        "output without input": (1, "a/R7.txt")
    }


def test_a_record_whose_raw_files_are_behind_a_closed_folder_is_not_gone(make_workspace, monkeypatch):
    ws = make_workspace(TWO, ["raw/R1.csv", "a/R2.txt"])
    scandir = os.scandir

    def refuse(path="."):
        if not isinstance(path, int) and str(path).rstrip("/").endswith("/raw"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert notices(ws) == {"folder unreadable": (1, "raw")}


def test_a_finished_run_leaves_no_notice(harbor):
    harbor.steps.run(mode="main_process", progress=False)
    assert harbor.notices.is_empty()
    (harbor.data_path / "raw" / "REC-20200601-raw.csv").unlink()
    assert notices(harbor.refresh()) == {"output without input": (3, "count/REC-20200601-count.csv")}


# --- folders and links ---------------------------------------------------------------------------------------


def test_an_empty_folder_is_no_input_and_is_said(write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1/one.txt"])
    (folder / "dataset" / "raw" / "R2" / "deep").mkdir(parents=True)
    (folder / "dataset" / "raw" / "R3").mkdir()
    (folder / "dataset" / "raw" / "other").mkdir()
    ws = Workspace(folder)
    assert ws.records.ids() == ["R1"]
    assert notices(ws) == {"folder empty": (2, "raw/R2")}
    assert any("an empty folder counts as absent" in one for one in warnings(folder))
    (folder / "dataset" / "raw" / "R3" / "one.txt").write_text("x")
    assert notices(ws.refresh()) == {"folder empty": (1, "raw/R2")}


def test_an_empty_folder_that_no_pattern_names_is_not_said(make_workspace):
    ws = make_workspace(TWO, ["raw/R1.csv"])
    (ws.data_path / "raw" / "R2").mkdir()
    assert ws.notices.is_empty()


def test_a_marker_in_a_listing_of_keys_is_an_empty_folder(write_workspace):
    folder = write_workspace({"a": ("raw/{id}/", "a/{id}.txt")})
    keys = ["raw/", "raw/R1/", "raw/R1/one.txt", "raw/R2/", "a/"]
    ws = Workspace(folder, listing=pl.DataFrame({"path": keys}))
    assert ws.records.ids() == ["R1"]
    assert notices(ws) == {"folder empty": (1, "raw/R2")}


def test_links_that_are_left_out_are_counted(write_workspace, tmp_path):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    (tmp_path / "elsewhere").mkdir()
    (folder / "dataset" / "raw" / "R2").symlink_to(tmp_path / "elsewhere")
    assert notices(Workspace(folder))["link not followed"] == (1, "raw/R2")


def test_links_to_nothing_are_counted_with_one_of_them(cli, write_workspace):
    folder = write_workspace(TWO, ["raw/R1.csv"])
    for name in ("R2", "R3"):
        (folder / "dataset" / "raw" / f"{name}.csv").symlink_to("nowhere")
    assert notices(Workspace(folder)) == {"link to nothing": (2, "raw/R2.csv")}
    assert "note: 2 links lead to nothing, such as raw/R2.csv" in cli("status", folder).stderr


def test_hidden_files_are_not_misnamed_ones(cli, write_workspace):
    files = ["raw/R1.csv", "raw/.DS_Store", "raw/._R1.csv", "raw/.R1.csv.swp", "deep/R1/.meta/a.json"]
    steps = {"a": ("raw/{id}.csv", "a/{id}"), "b": ("deep/{id}/.meta/a.json", "b/{id}")}
    folder = write_workspace(steps, [*files, "deep/.cache/.meta/a.json"])
    (folder / "dataset" / "raw" / ".#R1.csv").symlink_to("editor@host.1")
    assert notices(Workspace(folder)) == {}
    assert "warn  " not in cli("doctor", folder).stdout
    (folder / "dataset" / "deep" / "R2x" / ".meta").mkdir(parents=True)
    (folder / "dataset" / "deep" / "R2x" / ".meta" / "a.json").touch()  # the pattern has such a name
    assert notices(Workspace(folder)) == {"file without pattern": (1, "deep/R2x/.meta/a.json")}


def test_a_hidden_link_to_nothing_with_the_name_of_a_record_is_counted(write_workspace):
    folder = write_workspace(TWO, ["raw/R1.csv"], id_pattern=".+")
    (folder / "dataset" / "raw" / ".R2.csv").symlink_to("nowhere")
    (folder / "dataset" / "raw" / ".#R1").symlink_to("editor@host.1")
    assert notices(Workspace(folder)) == {"link to nothing": (1, "raw/.R2.csv")}


def test_pipes_sockets_and_devices_are_named_and_never_opened(cli, write_workspace, monkeypatch):
    folder = write_workspace({**TWO, "c": ("one.csv", "c/{id}.txt")}, ["raw/R1.csv"])
    data = folder / "dataset"
    os.mkfifo(data / "raw" / "R2.csv")
    os.mkfifo(data / "one.csv")
    (data / "raw" / "R3.csv").symlink_to("/dev/null")
    monkeypatch.chdir(data / "raw")  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("R4.csv")
    ws = Workspace(folder)
    for _ in range(3):  # also where an unchanged folder is not listed again
        assert notices(ws.refresh())["not a file"] == (4, "one.csv")
    text = "4 names are pipes, sockets or devices, such as one.csv; they count as absent"
    assert text in cli("status", folder).stderr
    assert text in cli("doctor", folder).stdout
    assert ws.records.ids() == ["R1"]
    assert ws.run(["R1", "R2"], progress=False).counts() == {"done": 2, "not_available": 3}


def test_rows_of_a_table_are_among_the_notices(write_workspace):
    folder = write_workspace(
        TWO,
        {"raw/R1.csv": "x", "a/R9.txt": "x", "people.csv": "record_id,age\nR1,1\nR7,2\n"},
        toml="[records]\nid_pattern = 'R\\d+'\nmetadata = 'dataset/people.csv'\n[steps]\nscripts = ['a', 'b']\n",
    )
    ws = Workspace(folder)
    assert ws.notices.height == 3
    assert ws.notices["kind"][0] == "output without input"
    assert any("R7" in one for one in ws.notices["text"])
    warned = warnings(folder)
    assert sum(one.startswith("metadata: ") for one in warned) == 2
    assert len(warned) == len(set(warned))


# --- twins ---------------------------------------------------------------------------------------------------


@pytest.fixture
def names_apart(tmp_path_factory):
    """Skip on disks, such as those of macOS, that treat names as one if only case or Unicode form differ."""
    folder = tmp_path_factory.mktemp("names")
    for name in ("r", "R", "Zo\xe9", "Zoe\u0301"):
        (folder / name).touch()
    if len([*folder.iterdir()]) < 4:
        pytest.skip("this disk treats names as one if only their case or Unicode form differ")


@pytest.mark.usefixtures("names_apart")
def test_ids_that_differ_in_case_only_are_twins(cli, write_workspace):
    files = ["raw/R1a.csv", "raw/R1A.csv", "raw/R2b.csv"]
    folder = write_workspace(TWO, files, id_pattern=r"R\d\w")
    assert notices(Workspace(folder)) == {"twin": (1, "R1A and R1a")}
    told = "note: 1 name differs from another in case or Unicode form only, such as R1A and R1a\n"
    assert told in cli("status", folder).stderr
    assert "records: R1A and R1a differ in case or Unicode form only" in warnings(folder)


@pytest.mark.usefixtures("names_apart")
def test_ids_in_two_forms_of_unicode_are_twins_and_can_be_told_apart(make_workspace):
    names = [unicodedata.normalize(form, "Zoé") for form in ("NFC", "NFD")]
    ws = make_workspace(TWO, [f"raw/{name}.csv" for name in names], id_pattern=r"\w+\u0301?")
    count, example = notices(ws)["twin"]
    assert (count, set(example.split(" and "))) == (1, {"'Zo\\xe9'", "'Zoe\\u0301'"})


@pytest.mark.usefixtures("names_apart")
def test_groups_that_differ_in_case_only_are_twins(make_workspace):
    toml = """
    [steps]
    scripts = ["site"]
    [steps.site]
    command = "cat {input}"
    inputs = "raw/{site}/{day}.csv"
    outputs = "site/{site}.txt"
    by = ["site"]
    """
    ids = r"(?P<site>\w+)-(?P<day>\d)"
    ws = make_workspace(files=["raw/MOOR/1.csv", "raw/moor/2.csv"], id_pattern=ids, toml=toml)
    assert notices(ws) == {"twin": (1, "site=MOOR and site=moor")}


@pytest.mark.usefixtures("names_apart")
def test_a_file_beside_that_of_a_record_is_its_twin(make_workspace):
    ws = make_workspace(TWO, ["raw/R1.csv", "raw/R1.CSV", "raw/R2.csv", "raw/r3.csv"])
    assert notices(ws) == {
        "file without pattern": (2, "raw/R1.CSV"),
        "twin": (1, "raw/R1.csv and raw/R1.CSV"),
    }


# --- what it costs -------------------------------------------------------------------------------------------


def test_nothing_is_listed_for_notices(make_workspace, monkeypatch):
    ws = make_workspace(TWO, ["raw/R1.csv", "raw/X.csv", "a/R9.txt"])
    ws.records.count()
    monkeypatch.setattr("sinagot_catalog.catalog.session.list_root", None)
    monkeypatch.setattr(os, "scandir", None)
    assert set(notices(ws)) == {"file without pattern", "output without input"}


def test_a_snapshot_has_the_notices_of_its_files(make_workspace):
    ws = make_workspace(TWO, ["raw/R1.csv", "a/R9.txt"])
    name = ws.snapshot()
    (ws.data_path / "a" / "R9.txt").unlink()
    assert notices(Workspace(ws.config.root, snapshot=name)) == {"output without input": (1, "a/R9.txt")}
    assert ws.refresh().notices.is_empty()


@pytest.mark.parametrize("name", ["R1\nnothing can run", "R1\tx"])
def test_a_name_with_a_line_break_stays_on_the_line_of_its_notice(cli, write_workspace, name):
    folder = write_workspace(TWO, ["raw/R2.csv", f"raw/{name}.csv"])
    shown = name.replace("\n", "·").replace("\t", "·")
    for verb in ("status", "doctor"):
        told = cli(verb, folder)
        assert shown in told.stdout + told.stderr
        assert name not in told.stdout + told.stderr


def test_an_optional_input_without_files_is_no_fault_and_alternatives_count_together(write_workspace, cli):
    toml = """
    [records]
    id_pattern = 'R\\d'
    [steps]
    scripts = ["a"]
    [steps.a]
    command = "cp {input.raw} {output}"
    outputs = "out/{id}"
    [steps.a.inputs]
    raw = "raw/{id}"
    side = {any_of = ["side/{id}", "other/{id}"]}
    note = {path = "notes/{id}", optional = true}
    """
    folder = write_workspace({}, ["raw/R1", "other/R1"], toml=toml)
    assert "pattern without file" not in Workspace(folder).notices["kind"].to_list()
    assert "never run" not in cli("doctor", folder).stdout
    (folder / "dataset" / "other" / "R1").unlink()
    notices = Workspace(folder).notices.filter(kind="pattern without file")
    assert notices["example"].to_list() == ["side/{id}", "other/{id}"]


def test_notice_of_a_pattern_in_the_log_folder_has_no_example(make_workspace):
    ws = make_workspace(
        {"a": ("LOG/{id}.csv", "a/{id}.txt"), "b": ("raw/{id}.csv", "b/{id}")}, ["raw/R1.csv"]
    )
    assert notices(ws)["pattern in LOG"] == (1, None)


@pytest.mark.parametrize("name", ["{id}_a.json", "{id}_*.json"])
def test_an_optional_file_of_no_record_is_among_the_notices(make_workspace, name):
    script = f"""
from sinagot_catalog import optional, step
@step(inputs={{"raw": "raw/{{id}}.txt", "extra": optional("extra/{name}")}}, outputs="out/{{id}}.txt")
def a(input, output): ...
"""
    files = ["raw/R1.txt", "extra/R1_a.json", "extra/R2_a.json"]
    ws = make_workspace({"a": script}, files, id_pattern=r"R\d")
    assert notices(ws) == {"file without record": (1, "extra/R2_a.json")}
    assert "belongs to no record" in str(ws.explain_path("extra/R2_a.json"))
    Path(ws.data_path, "extra/R1.x").touch()
    told = {"file without record": (1, "extra/R2_a.json"), "file without pattern": (1, "extra/R1.x")}
    assert notices(ws.refresh()) == told
    Path(ws.data_path, "raw/R2.txt").touch()
    assert notices(ws.refresh()) == {"file without pattern": (1, "extra/R1.x")}
