"""Which status a row has, and why: every rule, then all of them against a plain reference."""

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinagot_catalog import StepStatus, Workspace
from sinagot_catalog.journal.claims import Claim

RAW, OUT = "raw/R1.csv", "out/R1.csv"
RUN = "run run-1 on HOST"
HALF = f"half published: {RUN} ended between two outputs"
KEPT_LOST = f"kept; last attempt lost: {RUN} ended unexpectedly"

CASES = {
    # name: (files, last event, its run is alive, status, reason)
    "no file but the record's": ((), None, False, "INIT", "missing raw/R1.csv"),
    "inputs are there": ((RAW,), None, False, "DATA_READY", "all inputs are there"),
    "outputs are there": ((RAW, OUT), None, False, "DONE", "all outputs are there"),
    "outputs alone": ((OUT,), None, False, "DONE", "all outputs are there"),
    "running": ((RAW,), "start", True, "PROCESSING", f"running: {RUN}"),
    "running, outputs of before": ((RAW, OUT), "start", True, "PROCESSING", f"running: {RUN}"),
    "publishing now": ((RAW, OUT), "publishing", True, "PROCESSING", f"running: {RUN}"),
    "half published": ((RAW,), "publishing", False, "ERROR", HALF),
    "half published, all there": ((RAW, OUT), "publishing", False, "ERROR", HALF),
    "lost": ((RAW,), "start", False, "ERROR", f"lost: {RUN} ended unexpectedly"),
    "lost without input": ((), "start", False, "ERROR", f"lost: {RUN} ended unexpectedly"),
    "lost, outputs of before": ((RAW, OUT), "start", False, "DONE", KEPT_LOST),
    "failed": ((RAW,), "error", False, "ERROR", "ValueError: no boats"),
    "failed, run still going": ((RAW,), "error", True, "ERROR", "ValueError: no boats"),
    "failed, outputs of before": (
        (RAW, OUT), "error", False, "DONE", "kept; last attempt failed: ValueError: no boats",
    ),
    "done, then deleted": ((RAW,), "done", False, "DATA_READY", "all inputs are there"),
    "done, all deleted": ((), "done", False, "INIT", "missing raw/R1.csv"),
    "done": ((RAW, OUT), "done", True, "DONE", "all outputs are there"),
    "input was absent": ((), "not_available", False, "DATA_NOT_AVAILABLE", "missing raw/R1.csv"),
    "input came since": ((RAW,), "not_available", False, "DATA_READY", "all inputs are there"),
    "outputs came since": ((OUT,), "not_available", False, "DONE", "all outputs are there"),
    "cancelled": ((RAW,), "cancelled", False, "DATA_READY", "all inputs are there"),
    "cancelled without input": ((), "cancelled", False, "INIT", "missing raw/R1.csv"),
    "only spoken": ((RAW,), "log", False, "DATA_READY", "all inputs are there"),
}  # fmt: skip


def write(lines, event, record_id="R1"):
    if event == "error":
        lines.write(
            "error", record_id, "no boats\nsecond line", error_type="ValueError", seconds=1.0, attempts=1
        )
    elif event == "done":
        lines.write("done", record_id, seconds=1.0, attempts=1, inputs=[(4, 5)])
    elif event == "publishing":
        lines.write("publishing", record_id, paths=["out/a", "out/b"])
    elif event in ("log", "not_available"):
        lines.write(event, record_id, "said")
    elif event is not None:
        lines.write(event, record_id)


def claim_for(ws, run_id="run-1"):
    """A live claim: it is this process'."""
    rows = pl.DataFrame({"record_id": ["R1"], "task": [None], "modality": [None], "step": ["clean"]})
    return ws._source.claims.take(run_id, rows.cast(pl.String))[0]


@pytest.mark.parametrize("name", CASES)
def test_first_rule_that_holds_gives_status_and_reason(name, make_workspace, journal_of):
    files, event, alive, status, reason = CASES[name]
    ws = make_workspace(
        {"clean": ("raw/{id}.csv", "out/{id}.csv"), "seen": ("known/{id}", ())}, ["known/R1", *files]
    )
    write(journal_of(ws, "clean"), event)
    if alive:
        claim_for(ws)
    row = ws.steps.filter(step="clean").collect().row(0, named=True)
    assert (row["status"], row["reason"]) == (status, reason.replace("HOST", os.uname().nodename))


def test_only_the_last_event_counts(make_workspace, journal_of):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    lines = journal_of(ws, "clean")
    for event in ("start", "error", "start", "log", "not_available"):
        write(lines, event)
    row = ws.steps.collect().row(0, named=True)
    assert row["status"] == "DATA_READY"
    assert row["message"] == "said"
    assert row["started"] is not None


def test_claim_of_a_dead_process_does_not_keep_a_row_processing(make_workspace, journal_of, dead_claim):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    write(journal_of(ws, "clean"), "start")
    store_claim(ws, dead_claim())
    assert ws.steps.collect()["status"].to_list() == ["ERROR"]


def test_claim_of_an_earlier_boot_is_dead(make_workspace, journal_of, dead_claim):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    write(journal_of(ws, "clean"), "start")
    claim = claim_for(ws)
    assert ws.refresh().steps.collect()["status"].to_list() == ["PROCESSING"]
    store_claim(
        ws, dead_claim(claim.number, pid=claim.pid, pid_start=claim.pid_start, boot_id="another", lease=0.001)
    )
    assert ws.refresh().steps.collect()["status"].to_list() == ["ERROR"]


def test_claim_of_another_host_lives_as_long_as_its_lease(make_workspace, journal_of, dead_claim):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    write(journal_of(ws, "clean"), "start")
    claim = dead_claim(host="elsewhere")
    store_claim(ws, claim)
    ws._source.claims.heartbeat(claim)
    assert ws.refresh().steps.collect()["status"].to_list() == ["PROCESSING"]
    heartbeat = Path(ws.config.log, "claims", "run-1.beat")
    old = heartbeat.stat().st_mtime - 61
    os.utime(heartbeat, (old, old))
    assert ws.refresh().steps.collect()["status"].to_list() == ["ERROR"]


def store_claim(ws, claim: Claim):
    import json
    from dataclasses import asdict

    path = Path(ws.config.log, claim.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(claim)))


def test_step_without_outputs_is_done_when_its_last_event_is(make_workspace, journal_of):
    ws = make_workspace({"check": ("raw/{id}", ())}, ["raw/R1", "raw/R2", "raw/R3"])
    lines = journal_of(ws, "check")
    write(lines, "done", "R1")
    write(lines, "error", "R2")
    assert ws.steps.collect()["status"].to_list() == ["DONE", "ERROR", "DATA_READY"]


def test_step_without_inputs_is_ready(make_workspace):
    ws = make_workspace({"first": ((), "new/{id}"), "seen": ("known/{id}", ())}, ["known/R1"])
    assert ws.steps.filter(step="first").collect()["status"].to_list() == ["DATA_READY"]


def test_every_output_of_several_must_be_there(make_workspace):
    outputs = {"one": "one/{id}", "two": "two/{id}"}
    ws = make_workspace({"split": ("raw/{id}", outputs)}, ["raw/R1", "one/R1", "raw/R2", "one/R2", "two/R2"])
    frame = ws.steps.collect()
    assert frame["status"].to_list() == ["DATA_READY", "DONE"]
    assert frame["n_outputs_found"].to_list() == [1, 2]
    assert frame["n_outputs"].to_list() == [2, 2]


def test_every_input_of_several_must_be_there_and_the_missing_are_named(make_workspace):
    inputs = {"one": "one/{id}", "two": "two/{id}", "three": "three/{id}"}
    ws = make_workspace({"join": (inputs, "out/{id}")}, ["one/R1", "one/R2", "two/R2", "three/R2"])
    frame = ws.steps.collect()
    assert frame["status"].to_list() == ["INIT", "DATA_READY"]
    assert frame["missing"].to_list() == ["two/R1; three/R1", None]
    assert frame["reason"].to_list()[0] == "missing two/R1; three/R1"
    assert frame["n_inputs_found"].to_list() == [1, 3]


def test_row_waits_for_the_step_that_makes_its_missing_input(make_workspace):
    scripts = {
        "a": ("raw/{id}", "a/{id}"),
        "b": ("raw/{id}", "b/{id}"),
        "c": ({"x": "a/{id}", "y": "b/{id}"}, "c/{id}"),
    }
    ws = make_workspace(scripts, ["raw/R1", "raw/R2", "a/R2"])
    reasons = ws.steps.filter(step="c").collect()["reason"].to_list()
    assert reasons == ["waits for a, b", "waits for b"]


def test_controls_do_not_count(make_workspace, script_source):
    source = script_source("raw/{id}", "out/{id}", PATH_CONTROL="qc/{id}")
    ws = make_workspace({"clean": source}, ["raw/R1", "qc/R1", "raw/R2", "out/R2"])
    assert ws.steps.collect()["status"].to_list() == ["DATA_READY", "DONE"]


def test_processing_line_of_sinagot_itself_stays_processing_and_claims_nothing(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "LOG/../raw/R2"])
    log = Path(ws.data_path, "LOG")
    log.mkdir(exist_ok=True)
    (log / "R1.log").write_text(
        '{"log_from": "script", "record_id": "R1", "scope": "record", "task": null, "modality": null, '
        '"step_label": "clean", "step_status": 20, "message": "Processing run", '
        '"time": "2020-12-01T10:11:12.123456"}\n'
    )
    assert ws.steps.collect()["status"].to_list() == ["PROCESSING", "DATA_READY"]
    assert ws._source.claims.all() == []


def test_broken_script_is_an_error_of_its_rows_alone(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}"), "broken": "def (:\n"}, ["raw/R1"])
    frame = ws.steps.collect()
    assert frame["status"].to_list() == ["DATA_READY", "ERROR"]
    assert "broken.py:1" in frame["reason"][1]


def test_rows_below_an_unreadable_folder_are_unknown_and_skipped(write_workspace):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "workspace")
        write_workspace({"clean": ("{id}/raw", "{id}/out")}, ["R1/raw", "R2/raw", "R2/out", "R3/raw"]).rename(
            root
        )
        Path(folder).chmod(0o755)
        Path(root, "dataset", "R1").chmod(0o0)
        # Who may read everything becomes somebody else once all is imported.
        program = """if True:
            import os, sys
            from sinagot_catalog import Workspace
            ws = Workspace(sys.argv[1])
            ws.steps.plan()
            ws.records.collect()
            if os.getuid() == 0:
                os.setuid(65534)
            ws.refresh()
            rows = ws.steps.collect()
            said = rows["reason"].str.replace("all .* are there", "x")
            print(rows.select("record_id", "status", said).rows())
            print(ws.steps.plan(force=True).frame["action"].to_list())
            print(ws.records.select("n_unknown").to_series().to_list())
        """
        done = subprocess.run(
            [sys.executable, "-c", program, root], capture_output=True, text=True, timeout=300, check=True
        )
        Path(root, "dataset", "R1").chmod(0o755)
    assert done.stdout.splitlines() == [
        "[('R1', None, 'unknown: cannot read R1'), ('R2', 'DONE', 'x'), ('R3', 'DATA_READY', 'x')]",
        "['skip', 'run', 'run']",
        "[1, 0, 0]",
    ]


# --- all rules at once, against a reference in plain Python ------------------------------------------------

EVENTS = st.sampled_from([None, "start", "log", "publishing", "done", "error", "not_available", "cancelled"])
PATHS = ("raw/{id}", "side/{id}.txt", "x/{id}", "y/{id}", "z/{id}", "shared/table")
STEPS = {
    "a": (("raw/{id}",), ("x/{id}",)),
    "b": (("x/{id}", "side/{id}.txt"), ("y/{id}", "z/{id}")),
    "c": (("y/{id}", "shared/table"), ()),
    "d": ((), ("side/{id}.txt",)),
}
RECORDS = ("R1", "R2")


def reference(folder, record_id, step, event, alive):
    """The rules, one after the other, as the design has them."""
    inputs, outputs = (
        [os.path.exists(f"{folder}/{path.format(id=record_id)}") for path in paths]  # noqa: PTH110 - plain
        for paths in STEPS[step]
    )
    last = None if event == "log" else event
    if last in ("start", "publishing") and alive:
        return StepStatus.PROCESSING
    if last == "publishing":
        return StepStatus.ERROR
    if (outputs and all(outputs)) or (not outputs and last == "done"):
        return StepStatus.DONE
    if last in ("start", "error"):
        return StepStatus.ERROR
    if all(inputs):
        return StepStatus.DATA_READY
    return StepStatus.DATA_NOT_AVAILABLE if last == "not_available" else StepStatus.INIT


@st.composite
def worlds(draw):
    files = [path.format(id=record_id) for path in PATHS for record_id in RECORDS]
    present = draw(st.sets(st.sampled_from(files)))
    rows = [(record_id, step) for record_id in RECORDS for step in STEPS]
    events = {row: (draw(EVENTS), draw(st.sampled_from(["live", "dead"]))) for row in rows}
    return present, events


def source(inputs, outputs):
    named = [{str(n): path for n, path in enumerate(paths)} for paths in (inputs, outputs)]
    return (
        "from sinagot_catalog import ScriptTemplate\n"
        f"class Script(ScriptTemplate):\n    PATH_IN = {named[0]!r}\n    PATH_OUT = {named[1]!r}\n"
    )


@pytest.mark.slow
@given(worlds())
@settings(max_examples=60, deadline=None)
def test_status_agrees_with_a_plain_reference_on_any_files_and_events(world):
    from sinagot_catalog.journal.run_spec import UnitStepSpec
    from sinagot_catalog.journal.writer import JournalWriter, journal_path

    present, events = world
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "scripts").mkdir()
        (root / "workspace.toml").write_text(
            f"[records]\nid_pattern = 'R\\d'\n[steps]\nscripts = {list(STEPS)}\n"
        )
        for step, paths in STEPS.items():
            (root / "scripts" / f"{step}.py").write_text(source(*paths))
        for path in (*present, *(f"known/{one}" for one in RECORDS)):
            (root / "dataset" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "dataset" / path).touch()
        ws = Workspace(root)
        for run_id in ("live", "dead"):
            with closing(
                JournalWriter(journal_path(ws.config.log, run_id, "main"), run_id=run_id)
            ) as journal:
                for (record_id, step), (event, run) in events.items():
                    if run == run_id and event is not None:
                        write(
                            journal.step_lines(UnitStepSpec(None, None, step, "", (), ())), event, record_id
                        )
        claim_for(ws, "live")
        seen = {
            (row["record_id"], row["step"]): row["status"] for row in ws.steps.collect().iter_rows(named=True)
        }
        for (record_id, step), status in seen.items():
            event, run = events[record_id, step]
            expected = reference(root / "dataset", record_id, step, event, run == "live")
            assert status == expected.name, (record_id, step, event, run)
        here = {one for one in RECORDS for path in PATHS if "{id}" in path and path.format(id=one) in present}
        assert {record_id for record_id, _ in seen} == here
