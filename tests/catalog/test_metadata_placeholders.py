"""Inputs that name a metadata column: which file a row reads, and what holds for values that name none."""

import os
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.cli import call
from sinagot_catalog.errors import ConfigError

HERE = {"mode": "main_process", "progress": False}
TOML = r"""
[records]
id_pattern = 'R\d+'
metadata = "table.csv"
[steps]
scripts = ["work"]
"""
TABLE = "record_id,montage,gain\nR1,std,2\nR2,high,1.5\nR3,,1\nR4,../x,1\nR5,none,1\n"
INPUTS = {"raw": "raw/{id}.txt", "montage": "montages/{montage}.txt"}
TYPO = {"raw": "raw/{id}.txt", "montage": "m/{montag}.txt"}
BODY = "self.path.output.write_text(self.path.input['montage'].read_text())"
FILES = [f"raw/R{n}.txt" for n in range(1, 7)] + ["x.txt"]


@pytest.fixture
def folder(write_workspace):
    files = {**dict.fromkeys(FILES, "raw"), "montages/std.txt": "S", "montages/high.txt": "H"}
    folder = write_workspace({"work": (INPUTS, "work/{id}.txt", BODY)}, files, toml=TOML)
    (folder / "table.csv").write_text(TABLE)
    return folder


def rows(ws):
    return {row["record_id"]: row for row in ws.steps.collect().iter_rows(named=True)}


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_each_row_reads_the_file_of_its_metadata(folder, mode):
    ws = Workspace(folder)
    found = rows(ws)
    assert [found[f"R{n}"]["status"] for n in (1, 2)] == ["DATA_READY"] * 2
    missing = {key: row["missing"] for key, row in found.items() if row["status"] == "INIT"}
    assert missing == {
        "R3": "montage unknown",
        "R4": "montage unknown",
        "R5": "montages/none.txt",
        "R6": "montage unknown",
    }
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 2}
    made = {path.name: path.read_text() for path in Path(ws.data_path, "work").iterdir()}
    assert made == {"R1.txt": "S", "R2.txt": "H"}
    assert ws.steps.filter(stale=True).collect().is_empty()
    Path(ws.data_path, "montages/std.txt").write_text("another one")
    assert ws.refresh().steps.filter(stale=True).select("record_id")["record_id"].to_list() == ["R1"]
    assert [one.path for one in ws.explain_path("work/R2.txt").inputs] == ["raw/R2.txt", "montages/high.txt"]


def test_another_file_of_the_same_size_and_time_is_another_input(folder):
    for name in ("std", "high"):
        os.utime(folder / "dataset" / "montages" / f"{name}.txt", (1, 1))
    assert Workspace(folder).steps.run(**HERE).counts() == {"done": 2}
    table = folder / "table.csv"
    table.write_text(TABLE.replace("R1,std", "R1,high"))
    stale = Workspace(folder).steps.plan(stale=True).rows.filter(action="run")
    assert stale.select("record_id", "reason").rows() == [("R1", "stale: montage was std, is high")]


def test_a_group_whose_members_name_files_by_the_table_is_stale_when_they_change(write_workspace):
    script = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    BY = ()
    PATH_IN = {"raw": "raw/{id}.txt", "montage": "montages/{montage}.txt"}
    PATH_OUT = "all.txt"
    PARTIAL = True
    def run(self):
        self.path.output.write_text(str(self.records))
"""
    files = {"raw/R1.txt": "raw", "raw/R2.txt": "raw", "montages/std.txt": "S", "montages/high.txt": "H"}
    folder = write_workspace({"work": script}, files, toml=TOML)
    (folder / "table.csv").write_text(TABLE)
    assert Workspace(folder).steps.run(**HERE).counts() == {"done": 1}
    assert Workspace(folder).steps.select("stale")["stale"].to_list() == [False]
    (folder / "table.csv").write_text(TABLE.replace("R1,std", "R1,high"))
    assert Workspace(folder).steps.select("stale")["stale"].to_list() == [True]


def test_a_file_that_no_row_of_the_table_names_is_no_misnamed_file(folder):
    Path(folder, "dataset/montages/unused.txt").write_text("U")
    Path(folder, "dataset/raw/R1.text").write_text("misnamed")
    told = Workspace(folder).notices["text"].str.join("; ").item()
    assert "1 file does not match, such as raw/R1.text" in told


COMMAND = r"""
[steps.work]
command = "cp {input.montage} {output}"
outputs = "work/{id}.txt"
[steps.work.inputs]
raw = "raw/{id}.txt"
montage = {any_of = ["montages/{montage}.txt", "montages/std.txt"]}
"""


def test_a_command_reads_the_file_that_the_table_names(write_workspace):
    folder = write_workspace(
        {}, {**dict.fromkeys(FILES, "raw"), "montages/high.txt": "H"}, toml=TOML + COMMAND
    )
    (folder / "table.csv").write_text(TABLE)
    ws = Workspace(folder)
    assert ws.steps.run(**HERE).counts() == {"done": 1}
    assert Path(ws.data_path, "work/R2.txt").read_text() == "H"
    toml = folder / "workspace.toml"
    toml.write_text(toml.read_text().replace("{montage}", "{montag}"))
    assert "did you mean 'montage'?" in " ".join(Workspace(folder).steps.collect()["reason"])
    toml.write_text(toml.read_text().replace('metadata = "table.csv"', ""))
    with pytest.raises(ConfigError, match=r"steps\.work\.inputs: unknown placeholder \{montag\}"):
        Workspace(folder)


def test_another_value_in_the_table_is_another_input(folder):
    assert Workspace(folder).steps.run(**HERE).counts() == {"done": 2}
    (folder / "table.csv").write_text(TABLE.replace("R1,std", "R1,high").replace("R3,,", "R3,std,"))
    ws = Workspace(folder)
    assert rows(ws)["R3"]["status"] == "DATA_READY"
    plan = ws.steps.plan(stale=True).frame.filter(pl.col("action") == "run")
    assert plan["record_id"].to_list() == ["R1", "R3"]


def test_the_tables_and_a_script_by_hand_name_the_same_files(folder):
    ws = Workspace(folder)
    links = ws.sql("SELECT path, \"exists\" FROM links WHERE record_id = 'R2' ORDER BY path").collect()
    assert ("montages/high.txt", True) in links.rows()
    script = ws.records.get("R1").steps.get("work").script
    assert script.path.input["montage"] == Path(ws.data_path, "montages/std.txt")
    used = ws.steps.filter(record_id="R1").files.select("path")["path"].to_list()
    assert "montages/std.txt" in used
    assert "montages/high.txt" not in used


def test_a_row_that_is_named_although_its_value_is_unknown_fails_with_one_sentence(folder):
    report = Workspace(folder).records.get("R3").steps.run("work", **HERE)
    assert "{montage}" in report.frame["message"][0]
    assert report.frame["outcome"].to_list() == ["error"]


@pytest.mark.parametrize(
    ("path_in", "path_out", "sentence"),
    [
        (TYPO, "work/{id}.txt", "unknown placeholder {montag} in 'm/{montag}.txt'; did you mean 'montage'?"),
        (INPUTS, "work/{montage}.txt", "unknown placeholder {montage}"),
        (INPUTS, "work/all.txt", "share"),
    ],
)
def test_what_cannot_be_is_an_error_of_the_step(write_workspace, path_in, path_out, sentence):
    folder = write_workspace({"work": (path_in, path_out)}, [*FILES, "raw/R1/a"], toml=TOML)
    (folder / "table.csv").write_text(TABLE)
    ws = Workspace(folder)
    assert sentence in " ".join(ws.steps.collect()["reason"])


def test_a_typo_in_the_only_input_is_told_although_there_is_no_record(write_workspace, capsys):
    folder = write_workspace({"work": ("raw/{idd}.txt", "work/{id}.txt")}, FILES, toml=TOML)
    (folder / "table.csv").write_text(TABLE)
    call(["status", str(folder)])
    out = capsys.readouterr()
    assert "unknown placeholder {idd} in 'raw/{idd}.txt'; known here: id, montage, gain" in out.out + out.err
    ws = Workspace(folder)
    assert ws.steps.collect().is_empty()
    (folder / "table.csv").write_text(TABLE.replace("gain", "idd"))
    assert not [cell for cell in ws.refresh()._source.catalog().layout.cells if cell.error]


def test_without_a_table_a_column_is_an_unknown_placeholder(write_workspace):
    folder = write_workspace({"work": (INPUTS, "work/{id}.txt", BODY)}, FILES)
    ws = Workspace(folder)
    assert "unknown placeholder {montage}" in " ".join(cell.error or "" for cell in ws._source.layout().cells)


@pytest.mark.parametrize("name", ["task", "modality", "record_id"])
def test_a_reserved_name_is_no_column_of_a_table(write_workspace, name):
    inputs = {"raw": "raw/{id}.txt", "montage": f"m/{{{name}}}.txt"}
    folder = write_workspace({"work": (inputs, "work/{id}.txt", BODY)}, FILES, toml=TOML)
    (folder / "table.csv").write_text(TABLE)
    errors = [cell.error or "" for cell in Workspace(folder)._source.layout().cells]
    assert f"unknown placeholder {{{name}}}" in " ".join(errors)
