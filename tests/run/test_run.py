"""`run`: the rows here and now, in both modes; one row's failure never stops another."""

import itertools
import os
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sinagot_catalog import StepStatus
from sinagot_catalog.errors import RunError, SelectionError, UsageError
from sinagot_catalog.run.claimed_runs import phases

MODES = pytest.mark.parametrize("mode", ["main_process", "processes"])
CHAIN = {
    "clean": ("raw/{id}", "clean/{id}"),
    "peak": ("clean/{id}", "peak/{id}"),
    "sum": ("peak/{id}", "sum/{id}"),
}


def here(mode="main_process"):
    """How a test runs: without a bar, two processes at most."""
    return {"mode": mode, "workers": 2, "progress": False}


def contents(ws):
    root = Path(ws.data_path)
    found = (path for path in root.rglob("*") if path.is_file() and "LOG" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.read_text() for path in sorted(found)}


@MODES
def test_chain_runs_through_and_the_same_workspace_sees_it(make_workspace, mode):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2"])
    report = ws.steps.run(**here(mode))
    assert report.counts() == {"done": 6}
    assert report.ok
    assert report.run_id is not None
    assert report.frame.select("record_id", "step", "outcome").rows() == [
        (record_id, step, "done") for record_id in ("R1", "R2") for step in CHAIN
    ]
    assert contents(ws) == {
        f"{folder}/{record_id}": text
        for record_id in ("R1", "R2")
        for folder, text in (
            ("clean", "raw;clean;"), ("peak", "raw;clean;peak;"), ("raw", "raw;"), ("sum", "raw;clean;peak;sum;"),
        )
    }  # fmt: skip
    assert ws.steps.collect()["status"].to_list() == ["DONE"] * 6
    assert ws.steps.status()["step_status"].to_list() == [30] * 6


@MODES
def test_report_is_whole_however_many_results_were_put_together_before_its_end(
    make_workspace, mode, monkeypatch
):
    monkeypatch.setattr(phases, "_LUMP", 2)
    records = [f"R{n}" for n in range(1, 6)]
    ws = make_workspace(CHAIN, [f"raw/{record_id}" for record_id in records])
    report = ws.steps.run(**here(mode))
    assert report.frame.select("record_id", "step", "outcome").rows() == [
        (record_id, step, "done") for record_id in records for step in CHAIN
    ]
    assert report.frame["seconds"].min() > 0


@MODES
def test_a_message_that_is_no_text_is_spelled_out(make_workspace, mode):
    body = r"import os; raise ValueError('cannot read ' + os.fsdecode(b'\xff.csv'))"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1"])
    report = ws.steps.run(**here(mode))
    assert report.frame["message"].to_list() == [r"cannot read \udcff.csv"]
    assert ws.steps.filter(status="ERROR").select("message").item() == r"cannot read \udcff.csv"


@MODES
def test_second_run_has_nothing_to_do(make_workspace, mode):
    ws = make_workspace(CHAIN, ["raw/R1"])
    ws.steps.run(**here(mode))
    again = ws.steps.run(**here(mode))
    assert len(again) == 0
    assert again.ok
    assert again.run_id is None
    assert again.summary() == "nothing to do"


def test_both_modes_write_the_same_files_statuses_and_reports(make_workspace):
    scripts = {**CHAIN, "check": ("raw/{id}", ()), "bad": ("raw/{id}", "bad/{id}", "fail")}
    seen = []
    for mode in ("main_process", "processes"):
        ws = make_workspace(scripts, ["raw/R1", "raw/R2", "clean/R3"], name=mode)
        Path(ws.config.root, "scripts/check.py").write_text(
            Path(ws.config.root, "scripts/check.py").read_text().replace("for one in", "for one in () and")
        )
        report = ws.steps.run(**here(mode))
        columns = ["record_id", "step", "outcome", "attempts", "error_type", "message"]
        steps = ws.steps.collect().drop("run_id", "started", "ended", "seconds", "host")
        events = ws.events().filter(pl.col("event") != "log").sort("record_id", "step", "time")
        seen.append(
            (contents(ws), report.frame.select(columns), steps, events.select("record_id", "step", "event"))
        )
    assert seen[0][0] == seen[1][0]
    for one, other in zip(seen[0][1:], seen[1][1:], strict=True):
        assert one.rows() == other.rows()


@MODES
def test_after_a_run_statuses_are_seen_without_a_listing(make_workspace, mode):
    ws = make_workspace(CHAIN, ["raw/R1"])
    ws.records.ids()
    ws.steps.run(**here(mode))
    listed = ws._source._listed_at
    # What came beside the run is seen only by a new listing: so none was made.
    Path(ws.data_path, "raw/R2").touch()
    assert ws.steps.filter(status="DONE").records.ids() == ["R1"]
    assert "clean/R1" in ws.files.collect()["path"].to_list()
    assert ws.records.ids() == ["R1"]
    assert ws._source._listed_at == listed


def test_only_the_selected_rows_run(harbor):
    chosen = harbor.steps.filter(pl.col("status") == "DATA_READY", pl.col("record_id") > "REC-20200601")
    report = chosen.run(**here())
    assert report.frame.select("record_id", "step").rows() == [
        ("REC-20200602", "count"), ("REC-20200602", "mean"), ("REC-20200603", "count"), ("REC-20200603", "mean"),
    ]  # fmt: skip
    assert harbor.steps.filter(record_id="REC-20200601", status="DONE").collect().height == 0


def test_records_and_files_and_units_run_their_steps(harbor):
    assert harbor.records.get("REC-20200602").steps.run(**here()).counts() == {"done": 3}
    assert harbor.files.filter(path="raw/REC-20200603-raw.csv").run(**here()).counts() == {"done": 2}
    assert harbor.units.filter(record_id="REC-20200601").run("count", **here()).counts() == {"done": 1}
    assert harbor.records.filter(record_id="REC-20200601").run(**here()).counts() == {"done": 2}


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame,
        pl.LazyFrame,
        pd.DataFrame,
        pa.table,
        lambda rows: pa.table(rows).to_batches()[0],
        lambda _: duckdb.sql("SELECT unnest(['R2', 'R2', 'R3']) AS record_id"),
        lambda rows: rows,
    ],
    ids=["polars", "lazy", "pandas", "arrow", "batch", "duckdb", "dict"],
)
def test_rows_of_any_frame_run_each_once(make_workspace, frame):
    ws = make_workspace({"clean": ("raw/{id}", "clean/{id}")}, ["raw/R1", "raw/R2", "raw/R3"])
    report = ws.run(frame({"record_id": ["R2", "R2", "R3"]}), **here())
    assert report.frame["record_id"].to_list() == ["R2", "R3"]


def test_rows_narrow_by_the_columns_they_have(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2"])
    rows = pl.DataFrame({"record_id": ["R1", "R2"], "step": ["clean", "peak"], "mine": [1, 2]})
    assert ws._of(rows).collect().select("record_id", "step").rows() == [("R1", "clean"), ("R2", "peak")]
    nulls = pl.DataFrame({"record_id": ["R1"], "task": [None], "modality": [None]})
    assert len(ws._of(nulls)) == 3
    assert len(ws._of(ws.steps.filter(step="sum"))) == 2
    assert len(ws._of(ws.steps.filter(step="sum").collect())) == 2


def test_rows_that_have_no_file_yet_are_planned(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    plan = ws._of(pl.DataFrame({"record_id": ["R1", "R9"]})).plan("clean").frame
    assert plan.select("record_id", "action").rows() == [("R1", "run"), ("R9", "run")]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"record_id": ["R1", "r1"]}, "record_id 'r1' does not fit id_pattern .*; did you mean 'R1'"),
        ({"record_id": [None]}, "record_id None does not fit"),
        ({"recordid": ["R1"]}, "no column 'record_id', only recordid; did you mean"),
        (
            {"record_id": ["R1"], "step": ["claen"]},
            "step 'claen', which is not declared; did you mean 'clean'",
        ),
        ({"record_id": ["R1"], "task": ["RS"]}, "task 'RS', which is not declared"),
        (
            {"record_id": ["R1"], "task": [None], "modality": [None], "step": ["claen"]},
            "the rows name step 'claen', which is not declared; did you mean 'clean'",
        ),
        ([7], "an id is a text such as '7', not the number 7"),
        (3, "rows of type int cannot be read as a frame"),
    ],
)
def test_rows_that_cannot_exist_are_an_error_and_nothing_runs(make_workspace, rows, sentence):
    ws = make_workspace(CHAIN, ["raw/R1"])
    with pytest.raises(SelectionError, match=sentence):
        ws.run(rows, **here())
    assert contents(ws) == {"raw/R1": "raw;"}


def test_unknown_label_and_mode_name_the_near_one_and_nothing_runs(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    with pytest.raises(SelectionError, match="did you mean 'clean'"):
        ws.steps.run("claen", **here())
    with pytest.raises(UsageError, match="did you mean 'processes'"):
        ws.steps.run(mode="proceses")
    assert not Path(ws.config.log).exists()


# --- scripts that fail --------------------------------------------------------------------------------------

FAILING = {
    # name: (body, error type, what the message has)
    "raises": ("raise ValueError('no boats')", "ValueError", "no boats"),
    "exits": ("import sys; sys.exit(4)", "SystemExit", "4"),
    "half": ("self.path.output.write_text('half'); raise OSError('disk')", "OSError", "disk"),
    "nothing": ("pass", "OutputMissing", "wrote no output"),
}
KILLING = {
    "killed": ("import os; os._exit(9)", "WorkerDied", ""),
    "hangs": ("import time; time.sleep(600)", "Timeout", ""),
}


@pytest.mark.parametrize(
    ("mode", "name"),
    # The main process has no time-outs, and a script that ends its process ends it.
    [*itertools.product(("processes", "main_process"), FAILING), *(("processes", name) for name in KILLING)],
)
def test_failing_script_is_one_error_row_and_all_else_is_done(make_workspace, script_source, mode, name):
    body, error_type, message = {**FAILING, **KILLING}[name]
    bad = f"""
        if self.id == "R2":
            {body}
        else:
            self.path.output.write_text("fine")
    """
    # Rows that are quick must not come near a short time-out: then the step has one row alone.
    is_late = name == "hangs"
    reads, timeout = ("late/{id}", 0.5) if is_late else ("raw/{id}", 300.0)
    scripts = {
        "bad": script_source(reads, "bad/{id}", bad, TIMEOUT=timeout),
        "next": ("bad/{id}", "next/{id}"),
        "other": ("raw/{id}", "other/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1", "raw/R2", "raw/R3", *(["late/R2"] if is_late else [])])
    report = ws.steps.run(**here(mode))
    failed = report.frame.filter(pl.col("outcome") != "done")
    outcome = "timeout" if is_late else "error"
    assert failed.select("record_id", "step", "outcome").rows() == [
        ("R2", "bad", outcome),
        ("R2", "next", "blocked"),
    ]
    assert failed["error_type"][0] == error_type
    assert message in failed["message"][0]
    assert failed["message"][1] == "waits for bad, which failed"
    assert report.counts() == {"done": 3 if is_late else 7, outcome: 1, "blocked": 1}
    assert not report.ok
    assert not Path(ws.data_path, "bad/R2").exists()
    assert Path(ws.data_path, "other/R2").exists()

    row = ws.steps.filter(record_id="R2", step="bad").collect().row(0, named=True)
    assert (row["status"], row["error_type"]) == ("ERROR", error_type)
    assert row["reason"].startswith(f"{error_type}: ")
    event = ws.events().filter(event="error").row(0, named=True)
    assert (event["record_id"], event["step"]) == ("R2", "bad")
    if name in ("raises", "exits", "half"):
        assert "bad.py" in event["traceback"]
    with pytest.raises(RunError, match=f"2 of {len(report)} rows failed; the first: R2 bad") as caught:
        report.raise_for_failures()
    assert caught.value.exit_code == 3


@MODES
def test_failed_attempt_leaves_what_was_there_before(make_workspace, script_source, mode):
    half = script_source(
        "raw/{id}", "out/{id}", "self.path.output.write_text('half'); raise ValueError('no')"
    )
    ws = make_workspace({"half": half}, {"raw/R1": "raw", "out/R1": "whole"})
    report = ws.steps.run(force=True, **here(mode))
    assert report.counts() == {"error": 1}
    assert Path(ws.data_path, "out/R1").read_text() == "whole"
    row = ws.steps.collect().row(0, named=True)
    assert (row["status"], row["reason"]) == ("DONE", "kept; last attempt failed: ValueError: no")


def test_error_is_run_again_and_its_status_follows(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}", "fail")}, ["raw/R1"])
    assert ws.steps.run(**here()).counts() == {"error": 1}
    plan = ws.steps.plan().frame.row(0, named=True)
    assert (plan["action"], plan["reason"]) == ("run", "again: ValueError: no boats on R1")
    script = Path(ws.config.root, "scripts/clean.py")
    script.write_text(script.read_text().replace("raise", "self.path.output.write_text('ok') or"))
    assert ws.steps.run(**here()).counts() == {"done": 1}
    assert ws.steps.get("clean").rows.collect()["status"].to_list() == ["DONE"]


@MODES
def test_script_that_cannot_be_used_is_an_error_with_file_and_line(make_workspace, mode):
    scripts = {
        "good": ("raw/{id}", "good/{id}"),
        "syntax": "from sinagot_catalog import ScriptTemplate\ndef (:\n",
        "classless": "x = 1\n",
        "typo": "from sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        "    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'typo/{ids}'\n    def run(self): pass\n",
        "importing": "import not_there_at_all\nfrom sinagot_catalog import ScriptTemplate\n"
        "class Script(ScriptTemplate):\n    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'importing/{id}'\n"
        "    def run(self): pass\n",
    }
    ws = make_workspace(scripts, ["raw/R1"], toml=f"[steps]\nscripts = {[*scripts, 'missing']}\n")
    before = dict(ws.steps.collect().select("step", "status").rows())
    assert before == {
        "good": "DATA_READY", "syntax": "ERROR", "classless": "ERROR", "typo": "ERROR", "importing": "DATA_READY",
        "missing": "ERROR",
    }  # fmt: skip
    report = ws.steps.run(**here(mode))
    assert report.counts() == {"done": 1, "error": 5}
    messages = dict(report.frame.select("step", "message").rows())
    assert "syntax.py:2" in messages["syntax"]
    assert "classless.py" in messages["classless"]
    assert "Script" in messages["classless"]
    assert "typo.py:4" in messages["typo"]
    assert "did you mean '{id}'" in messages["typo"] or "did you mean 'id'" in messages["typo"]
    assert "not_there_at_all" in messages["importing"]
    assert "missing.py" in messages["missing"]
    after = dict(ws.steps.collect().select("step", "reason").rows())
    assert "syntax.py:2" in after["syntax"]
    assert after["importing"].startswith("ModuleNotFoundError") or "not_there_at_all" in after["importing"]


def test_broken_script_without_which_no_record_is_found_is_told(make_workspace):
    ws = make_workspace({"only": "def (:"}, ["raw/R1"])
    assert ws.records.ids() == []
    with pytest.raises(RunError, match=r"only\.py:1") as caught:
        ws.steps.run(**here())
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": -1}, {"limit": -1}, {"limit": "3"}, {"workers": 1.5}]
)
def test_numbers_that_make_no_sense_are_an_error_and_nothing_runs(make_workspace, options):
    ws = make_workspace(CHAIN, ["raw/R1"])
    with pytest.raises(SelectionError, match="is not a whole number"):
        ws.steps.run(progress=False, **options)
    assert contents(ws) == {"raw/R1": "raw;"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"step_label": 3}, "there is no step 3"),
        ({"force": "no"}, "force: 'no' is neither True nor False"),
        ({"ignore_missing": 1}, "ignore_missing: 1 is neither True nor False"),
        ({"upstream": None}, "upstream: None is neither True nor False"),
        ({"limit": True}, "limit: True is not a whole number from 0 up"),
    ],
)
def test_options_of_another_type_are_an_error_and_nothing_runs(make_workspace, options, sentence):
    ws = make_workspace(CHAIN, ["raw/R1"])
    for act in (ws.steps.plan, ws.steps.submit, ws.steps.run):
        with pytest.raises(SelectionError, match=sentence):
            act(**options)
    with pytest.raises(SelectionError, match="deployment: 3 is not a name such as 'nightly'"):
        ws.steps.submit(deployment=3)
    assert contents(ws) == {"raw/R1": "raw;"}


def test_row_asked_for_by_name_without_its_input_is_not_available(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    report = ws.steps.run("peak", **here())
    assert report.frame.select("outcome", "message").rows() == [
        ("not_available", "Input data [clean/R1] not available")
    ]
    assert report.ok
    assert ws.steps.filter(step="peak").collect()["status"].to_list() == ["DATA_NOT_AVAILABLE"]
    assert ws.records.get("R1").steps.get("peak").status() is StepStatus.DATA_NOT_AVAILABLE


def test_ignore_missing_runs_the_script_all_the_same(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    assert ws.steps.run("peak", ignore_missing=True, **here()).counts() == {"done": 1}
    assert Path(ws.data_path, "peak/R1").read_text() == "peak;"


def test_record_without_a_file_runs_and_is_seen_afterwards(make_workspace):
    scripts = {"new": ((), "{site}/{id}.txt")}
    ws = make_workspace(scripts, ["A/A-1.txt"], id_pattern=r"(?P<site>[AB])-\d")
    assert ws.records.get("B-2").steps.run(**here()).counts() == {"done": 1}
    assert ws.records.ids() == ["A-1", "B-2"]
    assert Path(ws.data_path, "B/B-2.txt").read_text() == "new;"


def test_debug_raises_what_the_script_raises(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}", "fail")}, ["raw/R1", "raw/R2"])
    with pytest.raises(ValueError, match="no boats on R1"):
        ws.steps.run(debug=True, progress=False)
    assert ws.steps.filter(record_id="R1").collect()["status"].to_list() == ["ERROR"]
    assert ws._source.claims.alive() == frozenset()


@MODES
def test_failed_script_is_tried_again_as_often_as_it_says(make_workspace, script_source, mode):
    body = """
        count = self.data_path / f"count-{self.id}"
        tried = int(count.read_text()) if count.exists() else 0
        count.write_text(str(tried + 1))
        if tried < 2:
            raise OSError("not yet")
        self.path.output.write_text("now")
    """
    ws = make_workspace({"flaky": script_source("raw/{id}", "out/{id}", body, RETRIES=2)}, ["raw/R1"])
    report = ws.steps.run(**here(mode))
    assert report.frame.select("outcome", "attempts").rows() == [("done", 3)]
    assert ws.steps.collect()["attempts"].to_list() == [3]


@MODES
def test_controls_are_kept_also_when_the_script_fails(make_workspace, script_source, mode):
    body = "self.path.control.write_text('bad'); raise ValueError('no')"
    ws = make_workspace(
        {"qc": script_source("raw/{id}", "out/{id}", body, PATH_CONTROL="qc/{id}.txt")}, ["raw/R1"]
    )
    ws.steps.run(**here(mode))
    assert Path(ws.data_path, "qc/R1.txt").read_text() == "bad"
    assert ws.files.filter(role="control").collect()["path"].to_list() == ["qc/R1.txt"]


@MODES
def test_what_else_a_script_writes_is_published_and_seen(make_workspace, script_source, mode):
    body = """
        self.path.output.write_text("main")
        (self.path.output.parent / f"{self.id}.side.txt").write_text("side")
    """
    scripts = {
        "clean": script_source("raw/{id}", "out/{id}.txt", body),
        "side": ("out/{id}.side.txt", "z/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1"])
    ws.steps.run("clean", **here(mode))
    assert Path(ws.data_path, "out/R1.side.txt").read_text() == "side"
    assert ws.steps.filter(step="side").collect()["status"].to_list() == ["DATA_READY"]


@MODES
def test_directory_as_output(make_workspace, script_source, mode):
    body = "self.path.output.mkdir(); (self.path.output / 'a.txt').write_text('a')"
    scripts = {"unpack": script_source("raw/{id}", "dir/{id}/", body), "read": ("dir/{id}/a.txt", "out/{id}")}
    ws = make_workspace(scripts, ["raw/R1"])
    assert ws.steps.run(**here(mode)).counts() == {"done": 2}
    assert ws.steps.collect()["status"].to_list() == ["DONE", "DONE"]
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE", "DONE"]


@MODES
def test_step_without_outputs_runs_once(make_workspace, mode):
    ws = make_workspace({"check": ("raw/{id}", (), "nothing")}, ["raw/R1"])
    assert ws.steps.run(**here(mode)).counts() == {"done": 1}
    assert len(ws.steps.run(**here(mode))) == 0
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"]


@MODES
def test_force_runs_again_and_replaces(make_workspace, mode):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, {"raw/R1": "new;", "out/R1": "old"})
    assert ws.steps.run(force=True, **here(mode)).counts() == {"done": 1}
    assert Path(ws.data_path, "out/R1").read_text() == "new;clean;"


def test_stale_rows_run_when_asked_for(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    ws.steps.run(**here())
    assert len(ws.steps.run(stale=True, **here())) == 0
    Path(ws.data_path, "raw/R1").write_text("newer;")
    ws.refresh()
    assert ws.steps.select("step", "stale").rows() == [("clean", True), ("peak", False), ("sum", False)]
    assert ws.steps.run(stale=True, **here()).counts() == {"done": 3}
    assert Path(ws.data_path, "sum/R1").read_text() == "newer;clean;peak;sum;"
    assert ws.refresh().steps.select("stale")["stale"].to_list() == [False] * 3


def test_changed_version_of_a_script_or_workspace_makes_stale(make_workspace, script_source):
    ws = make_workspace({"clean": script_source("raw/{id}", "out/{id}", VERSION="1")}, ["raw/R1"])
    ws.steps.run(**here())
    assert ws.refresh().steps.select("stale")["stale"].to_list() == [False]
    script = Path(ws.config.root, "scripts/clean.py")
    script.write_text(script.read_text().replace("VERSION = '1'", "VERSION = '22'"))
    assert ws.refresh().steps.select("stale")["stale"].to_list() == [True]


@MODES
def test_helper_beside_a_script_is_imported_and_no_path_is_left(make_workspace, mode):
    import sys

    helper = "def shout(text):\n    return text.upper()\n"
    script = (
        "import helper_of_this\nfrom sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        "    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'out/{id}'\n"
        "    def run(self): self.path.output.write_text(helper_of_this.shout('x'))\n"
    )
    ws = make_workspace({"loud": script}, ["raw/R1"])
    Path(ws.config.root, "scripts/helper_of_this.py").write_text(helper)
    before = list(sys.path)
    assert ws.steps.run(**here(mode)).ok
    assert sys.path == before
    assert Path(ws.data_path, "out/R1").read_text() == "X"


def test_outputs_and_log_of_their_own_leave_the_dataset_as_it_was(make_workspace):
    toml = "[path]\noutputs = 'results'\nlog = 'journal'\n"
    ws = make_workspace(CHAIN, ["raw/R1"], toml=toml)
    assert ws.steps.run(**here()).counts() == {"done": 3}
    assert contents(ws) == {"raw/R1": "raw;"}
    assert Path(ws.config.root, "results/sum/R1").read_text() == "raw;clean;peak;sum;"
    assert Path(ws.config.root, "journal/journal").is_dir()
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"] * 3
    assert ws.files.collect()["path"].to_list() == ["clean/R1", "peak/R1", "raw/R1", "sum/R1"]


def test_nothing_is_left_behind(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    ws.steps.run(**here("processes"))
    log = Path(ws.config.log)
    assert (
        not any(path.is_file() for path in (log / ".staging").rglob("*"))
        if (log / ".staging").exists()
        else True
    )
    assert ws._source.claims.alive() == frozenset()
    assert [path.name for path in (log / "claims").iterdir()] == ["00000001.json"]


def test_report_is_a_frame_and_clusters_failures(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}", "fail")}, ["raw/R1", "raw/R2"])
    report = ws.steps.run(**here())
    assert pl.DataFrame(report).equals(report.frame)
    assert report.failures().height == 2
    row = ws.steps.failures().row(0, named=True)
    assert (row["step"], row["error_type"], row["message"], row["n"]) == (
        "clean",
        "ValueError",
        "no boats on R…",
        2,
    )
    assert row["examples"] == "R1; R2"
    assert report.summary() == "2 failed"


def test_run_of_an_empty_dataset_has_nothing_to_do(make_workspace):
    ws = make_workspace(CHAIN)
    assert ws.steps.run(**here()).summary() == "nothing to do"
    assert not os.path.exists(ws.config.log)  # noqa: PTH110
