"""`accept`: the present outputs of rows are taken as they are."""

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError, UsageError

HERE = {"mode": "main_process", "progress": False}
CLEAN = {"clean": ("raw/{id}.csv", "out/{id}.csv")}
PARTS = """
self.path.output.mkdir(parents=True)
(self.path.output / "one.txt").write_text("made")
"""


def row(ws, record_id="R1", step="clean"):
    return (
        ws.refresh().steps.filter(record_id=record_id, step=step).select("status", "outcome", "stale").row(0)
    )


def events(ws):
    return ws.refresh().records.logs().filter(pl.col("event") == "accepted")


def test_copied_results_count_as_done_and_are_compared_from_then_on(make_workspace):
    ws = make_workspace(CLEAN, ["raw/R1.csv", "out/R1.csv", "raw/R2.csv"])
    later = Path(ws.data_path, "out/R1.csv").stat().st_mtime + 10
    os.utime(Path(ws.data_path, "raw/R1.csv"), (later, later))  # cp -r gave it any time
    assert row(ws) == ("DONE", None, True)
    rows = ws.steps.filter(step="clean").accept()
    assert rows.select("record_id", "accepted", "reason").rows() == [
        ("R1", True, None),
        ("R2", False, "1 of 1 outputs missing"),
    ]
    assert row(ws) == ("DONE", "done", False)
    Path(ws.data_path, "raw/R1.csv").write_text("other raw data")
    assert row(ws)[2] is True
    script = Path(ws.scripts_path, "clean.py")
    ws.steps.accept("clean")
    assert row(ws)[2] is False
    script.write_text(f"{script.read_text()}\nx = 1\n")
    assert row(ws)[2] is True


def test_a_row_whose_last_attempt_failed_is_no_failure_when_accepted(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv", "fail")}, ["raw/R1.csv", "out/R1.csv"])
    ws.steps.run(force=True, **HERE)
    assert row(ws)[:2] == ("DONE", "error")
    assert ws.steps.failures().height == 1
    ws.steps.filter(record_id="R1").accept()
    assert row(ws)[:2] == ("DONE", "done")
    assert ws.steps.failures().is_empty()


def test_a_half_published_row_is_done_when_its_outputs_are_accepted(make_workspace, journal_of):
    ws = make_workspace(
        {"clean": ("raw/{id}.csv", {"a": "a/{id}", "b": "b/{id}"})}, ["raw/R1.csv", "a/R1", "b/R1"]
    )
    journal_of(ws, "clean").write("publishing", "R1", paths=["a/R1", "b/R1"])
    assert row(ws)[0] == "ERROR"
    assert ws.steps.accept("clean")["accepted"].to_list() == [True]
    assert row(ws) == ("DONE", "done", False)


def test_an_accepted_event_takes_a_claim_number_and_orders_by_it(make_workspace):
    ws = make_workspace(CLEAN, ["raw/R1.csv"])
    ws.steps.run(**HERE)
    ws.steps.accept("clean")
    ws.steps.run(force=True, **HERE)
    logs = ws.refresh().records.logs().sort("time")
    numbers = [logs.filter(pl.col("event") == kind)["claim"].to_list() for kind in ("done", "accepted")]
    assert numbers[0][0] < numbers[1][0] < numbers[0][1]
    assert events(ws).select("status", "run_id", "code").row(0)[0] == "DONE"
    assert events(ws)["code"].null_count() == 0


def test_nothing_is_accepted_without_a_filter(make_workspace):
    ws = make_workspace(CLEAN, ["raw/R1.csv", "out/R1.csv"])
    for selection in (ws.steps, ws.records, ws.files):
        with pytest.raises(UsageError, match="no filter says of which rows"):
            selection.accept()
    assert events(ws).is_empty()
    assert ws.steps.accept(all_rows=True)["accepted"].to_list() == [True]
    with pytest.raises(SelectionError, match="did you mean 'clean'"):
        ws.steps.accept("claen")


def test_a_row_of_a_live_run_is_left_out(make_workspace):
    ws = make_workspace(CLEAN, ["raw/R1.csv", "out/R1.csv", "raw/R2.csv", "out/R2.csv"])
    keys = pl.DataFrame({"record_id": ["R1"], "task": [None], "modality": [None], "step": ["clean"]})
    claim, _ = ws._source.claims.take("run-1", keys.cast(pl.String))
    rows = ws.steps.accept("clean")
    assert rows["accepted"].to_list() == [False, True]
    assert "alive" in rows["reason"][0]
    ws._source.claims.release(claim)
    assert ws.steps.accept("clean")["accepted"].to_list() == [True, True]


def test_refused_steps_and_steps_without_outputs_are_left_out(make_workspace):
    ws = make_workspace(
        {"bad": ("raw/{id}.csv", "raw/{id}.csv"), "quiet": ("raw/{id}.csv", (), "pass")}, ["raw/R1.csv"]
    )
    rows = ws.steps.accept(all_rows=True)
    assert rows["accepted"].to_list() == [False, False]
    assert rows["reason"].to_list() == [
        "its script cannot be used, or its paths are refused",
        "the step declares no output",
    ]


def test_an_accepted_folder_may_be_replaced_and_a_later_file_in_it_stays(make_workspace):
    ws = make_workspace({"parts": ("raw/{id}.csv", "parts/{id}/", PARTS)}, ["raw/R1.csv", "parts/R1/old.txt"])
    folder = Path(ws.data_path, "parts/R1")
    assert ws.steps.run(force=True, **HERE).counts() == {"error": 1}
    assert (folder / "old.txt").exists()
    ws.steps.accept("parts")
    (folder / "notes.txt").write_text("by hand, after it was accepted")
    assert ws.steps.run(force=True, **HERE).counts() == {"error": 1}
    assert (folder / "notes.txt").exists()
    (folder / "notes.txt").unlink()
    ws.steps.accept("parts")
    assert ws.steps.run(force=True, **HERE).counts() == {"done": 1}
    assert sorted(one.name for one in folder.iterdir()) == ["one.txt"]


def test_folder_inputs_are_recorded_by_their_fingerprint(make_workspace):
    body = "self.path.output.write_text('x')"
    ws = make_workspace({"total": ("raw/{id}/", "total/{id}", body)}, ["raw/R1/a", "raw/R1/b", "total/R1"])
    ws.steps.accept("total")
    assert row(ws, step="total") == ("DONE", "done", False)
    Path(ws.data_path, "raw/R1/b").unlink()
    assert row(ws, step="total") == ("DONE", "done", True)
    assert ws.explain("R1", "total").stale == ("raw/R1 had 2 files (8 bytes) and has 1 file (4 bytes)",)


def test_an_accepted_group_is_compared_with_the_files_of_its_members(make_workspace):
    script = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}"
    PATH_OUT = "avg/{sub}"
    BY = ("sub",)
    def run(self): ...
"""
    ws = make_workspace({"avg": script}, ["raw/s1_1", "raw/s1_2", "avg/s1"], id_pattern=r"(?P<sub>s\d)_(\d)")
    ws.steps.accept("avg")
    assert row(ws, "sub=s1", "avg") == ("DONE", "done", False)
    Path(ws.data_path, "raw/s1_2").write_text("other raw data")
    assert row(ws, "sub=s1", "avg") == ("DONE", "done", True)


def test_accepted_rows_outlive_gc(make_workspace):
    ws = make_workspace(CLEAN, ["raw/R1.csv", "out/R1.csv"])
    ws.steps.accept("clean")
    ws.gc("0h")
    assert row(ws) == ("DONE", "done", False)
    assert not list(Path(ws.config.log).glob("journal/*/main.ndjson"))


def test_a_copied_workspace_is_accepted_from_the_command_line(cli, make_workspace, tmp_path):
    ws = make_workspace(CLEAN, ["raw/R1.csv", "raw/R2.csv"])
    ws.steps.run(**HERE)
    copy = tmp_path / "copy"
    shutil.copytree(ws.config.root, copy, copy_function=shutil.copy)  # times are those of the copy
    (copy / "dataset/out/R2.csv").unlink()
    refused = cli("accept", copy)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--all" in refused.stderr
    done = cli("accept", copy, "--all")
    assert (done.returncode, done.stdout) == (0, "1 row accepted\n")
    assert "1 left out, such as R2 clean: 1 of 1 outputs missing" in done.stderr
    told = json.loads(cli("accept", copy, "--record", "R1", "--json").stdout)
    assert [(one["record_id"], one["accepted"]) for one in told] == [("R1", True)]
    assert Workspace(copy).steps.select("stale")["stale"].to_list() == [False, None]


def test_rows_of_a_bucket_are_accepted(write_workspace, moto):
    folder = write_workspace(CLEAN, ["raw/R1.csv", "out/R1.csv"])
    url = moto.upload(folder / "dataset", "data")
    toml = folder / "workspace.toml"
    toml.write_text(f'{toml.read_text()}\n[path]\ndataset = "{url}"\n')
    ws = Workspace(folder, storage_options=moto.options)
    assert ws.steps.accept("clean")["accepted"].to_list() == [True]
    assert row(ws) == ("DONE", "done", False)
    moto.put({"data/raw/R1.csv": "longer than before"})
    assert row(ws) == ("DONE", "done", True)


def test_an_accepted_command_is_compared_with_the_parameters_and_metadata_that_it_names(write_workspace):
    toml = """
    [params]
    other = 1
    [params.filter]
    low = 2
    [steps]
    scripts = ["clean", "plain"]
    [steps.clean]
    command = "cp {input} {output} {params.filter.low} {record.age}"
    inputs = "raw/{id}.csv"
    outputs = "out/{id}.csv"
    [steps.plain]
    command = "cp {input} {output}"
    inputs = "raw/{id}.csv"
    outputs = "plain/{id}.csv"
    """
    files = [f"{folder}/{record}.csv" for folder in ("raw", "out", "plain") for record in ("R1", "R2")]
    folder = write_workspace(files=files, toml=toml)
    table = folder / "ages.csv"
    table.write_text("record_id,age\nR1,30\nR2,40\n")
    config = folder / "workspace.toml"
    config.write_text(config.read_text().replace("[records]", '[records]\nmetadata = "ages.csv"'))
    Workspace(folder).steps.accept(all_rows=True)
    assert Workspace(folder).steps.filter("stale").is_empty()
    table.write_text("record_id,age\nR1,30\nR2,41\n")
    config.write_text(config.read_text().replace("other = 1", "other = 3"))
    assert Workspace(folder).steps.filter("stale").select("record_id", "step").rows() == [("R2", "clean")]
    config.write_text(config.read_text().replace("low = 2", "low = 5"))
    assert Workspace(folder).explain("R1", "clean").stale == ("filter.low was 2, is 5",)
    assert Workspace(folder).steps.filter("stale", step="plain").is_empty()
