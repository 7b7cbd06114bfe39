"""The last attempt at a row: what counts as a failure, what waits for it, and which attempt is the last one."""

import json
import os
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from sinagot_catalog import Workspace

CHAIN = {
    "count": ("raw/{id}.csv", "count/{id}.csv", "check"),
    "mean": ("raw/{id}.csv", "mean/{id}.csv", "check"),
    "summary": ({"count": "count/{id}.csv", "mean": "mean/{id}.csv"}, "sum/{id}.txt", "join"),
}
CHECK = """
text = self.path.input.read_text()
if "bad" in text:
    raise ValueError("a bad line")
self.path.output.write_text(text)
"""
JOIN = 'self.path.output.write_text("".join(one.read_text() for one in self.path.input.values()))'
BODIES = {"check": CHECK, "join": JOIN}


def scripts(steps):
    return {name: (reads, makes, BODIES.get(body, body)) for name, (reads, makes, body) in steps.items()}


def here(**options):
    return {"mode": "main_process", "progress": False, **options}


@pytest.fixture
def done(make_workspace):
    """Three records of which everything is done."""
    ws = make_workspace(scripts(CHAIN), {f"raw/R{n}.csv": f"{n};" for n in range(3)})
    assert ws.steps.run(**here()).counts() == {"done": 9}
    return ws


def spoil(ws, name="raw/R1.csv"):
    path = ws.data_path / name
    path.write_text("bad")
    os.utime(path, (path.stat().st_mtime + 5,) * 2)
    ws.refresh()


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_a_row_whose_input_was_to_be_renewed_and_was_not_is_blocked(done, mode):
    spoil(done)
    report = done.steps.run(stale=True, mode=mode, progress=False, workers=1)
    assert report.frame.select("step", "outcome").rows() == [
        ("count", "error"),
        ("mean", "error"),
        ("summary", "blocked"),
    ]
    assert report.frame["message"][2] == "waits for count, which failed"
    assert not report.ok


SHARED = {
    "norm": ("all.csv", "norm.csv", "check"),
    "peak": ({"norm": "norm.csv", "raw": "raw/{id}.csv"}, "peak/{id}.txt", "join"),
    "plot": ("peak/{id}.txt", "plot/{id}.txt", "check"),
    "other": ("raw/{id}.csv", "other/{id}.txt", "check"),
}


def test_a_row_of_a_flow_whose_shared_input_was_not_renewed_is_blocked(make_workspace, prefect_server):  # noqa: ARG001
    ws = make_workspace(scripts(SHARED), {"all.csv": "1", "raw/R1.csv": "r", "raw/R2.csv": "r"})
    assert ws.steps.run(**here()).ok
    spoil(ws, "all.csv")
    report = ws.steps.submit(force=True).wait()
    assert report.counts() == {"done": 2, "error": 1, "blocked": 4}


def test_a_row_whose_shared_input_was_not_renewed_is_blocked_too(make_workspace):
    ws = make_workspace(scripts(SHARED), {"all.csv": "1", "raw/R1.csv": "r", "raw/R2.csv": "r"})
    assert ws.steps.run(**here()).ok
    spoil(ws, "all.csv")
    outcomes = ws.steps.run(force=True, **here()).frame.group_by("step", "outcome").len().sort("step")
    assert outcomes.rows() == [
        ("norm", "error", 1),
        ("other", "done", 2),
        ("peak", "blocked", 2),
        ("plot", "blocked", 2),
    ]
    ignoring = ws.steps.run(force=True, ignore_missing=True, **here())
    assert ignoring.counts() == {"done": 6, "error": 1}


def test_missing_inputs_are_ignored_also_where_their_step_failed(make_workspace):
    steps = {
        "first": ("raw/{id}", "first/{id}", "raise ValueError"),
        "second": ("first/{id}", "second/{id}", "touch"),
    }
    steps["second"] = (
        "first/{id}",
        "second/{id}",
        "self.path.output.write_text(str(self.path.input.exists()))",
    )
    ws = make_workspace(steps, ["raw/R1"])
    report = ws.steps.run(ignore_missing=True, **here())
    assert report.frame.select("step", "outcome").rows() == [("first", "error"), ("second", "done")]
    assert (ws.data_path / "second/R1").read_text() == "False"


def test_a_last_attempt_that_failed_counts_where_older_outputs_make_the_row_done(done, cli, tmp_path):
    spoil(done)
    done.steps.run(stale=True, **here())
    failed = done.steps.filter(pl.col("outcome") == "error")
    assert failed.select("record_id", "step", "status").rows() == [
        ("R1", "count", "DONE"),
        ("R1", "mean", "DONE"),
    ]
    assert failed.select("reason")["reason"][0] == "kept; last attempt failed: ValueError: a bad line"
    kinds = done.steps.failures()
    assert kinds.select("step", "error_type", "message", "n", "examples").rows() == [
        ("count", "ValueError", "a bad line", 1, "R1"),
        ("mean", "ValueError", "a bad line", 1, "R1"),
    ]
    page = done.report(tmp_path / "report.html").read_text()
    assert "Nothing failed" not in page
    assert "a bad line" in page
    folder = done.config.root
    status = cli("status", folder)
    assert "everything is done" not in status.stdout
    assert "all outputs are there, but the last attempt at 2 rows failed" in status.stdout
    assert "failed: 1 count: ValueError: a bad line (R1)" in status.stdout
    assert "LAST FAILED" in status.stdout
    told = json.loads(cli("status", folder, "--json").stdout)
    assert (told["totals"]["done"], told["totals"]["error"], told["totals"]["failed"]) == (9, 0, 2)
    logs = cli("logs", "-C", folder, "--failed")
    assert logs.stdout.count("ValueError: a bad line") >= 2
    grouped = cli("logs", "-C", folder, "--failed", "--group")
    assert "--force --where \"outcome IN ('error', 'timeout', 'lost') AND step = 'count'" in grouped.stdout
    plan = cli("plan", folder)
    assert "everything is done" not in plan.stdout
    assert "the last attempt at 2 rows failed" in plan.stdout


def test_a_later_attempt_that_is_done_clears_the_failure(done):
    spoil(done)
    done.steps.run(stale=True, **here())
    (done.data_path / "raw/R1.csv").write_text("good")
    assert done.refresh().steps.run(stale=True, **here()).counts() == {"done": 3}
    assert done.steps.failures().is_empty()
    assert done.steps.select("outcome")["outcome"].unique().to_list() == ["done"]


def test_outcome_names_what_became_of_the_last_attempt(make_workspace, journal_of):
    names = ["done", "error", "timeout", "lost", "half", "cancelled", "absent", "never"]
    scripts = {name: ("raw/{id}", f"{name}/{{id}}") for name in names}
    ws = make_workspace(scripts, ["raw/R1", *(f"{name}/R1" for name in names)])
    for name in names[:-1]:
        lines = journal_of(ws, name, f"run-{name}")
        if name != "absent":
            lines.write("start", "R1")
        if name == "done":
            lines.write("done", "R1", seconds=1, attempts=1, inputs=[])
        if name in ("error", "timeout"):
            kind = "Timeout" if name == "timeout" else "ValueError"
            lines.write("error", "R1", "told", error_type=kind, seconds=1, attempts=1)
        if name == "half":
            lines.write("error", "R1", "told", error_type="OSError", seconds=1, attempts=1, paths=["half/R1"])
        if name == "cancelled":
            lines.write("cancelled", "R1")
        if name == "absent":
            lines.write("not_available", "R1", "no input")
    found = dict(ws.refresh().steps.select("step", "outcome").rows())
    expected = {name: name for name in ("done", "error", "timeout", "lost", "cancelled")}
    assert found == {**expected, "half": "error", "absent": "not_available", "never": None}
    kinds = ws.steps.failures()
    assert sorted(kinds["step"]) == ["error", "half", "lost", "timeout"]


# --- which attempt is the last one ---------------------------------------------------------------------------


def put_line(ws, run_id, event, when, **members):
    """A line of another run, as its process wrote it."""
    status = {"start": 20, "error": 40, "done": 30}[event]
    line = {
        "schema": 1, "event": event, "record_id": "R1", "task": None, "modality": None, "step_label": "count",
        "step_status": status, "message": event, "time": f"{when:%Y-%m-%dT%H:%M:%S.%f}Z", "run_id": run_id,
        "host": "elsewhere", "pid": 1, "error_type": "OSError" if event == "error" else None, **members,
    }  # fmt: skip
    path = ws.config.log + f"/journal/{run_id}/w01.ndjson"
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(json.dumps(line) + "\n")


def status_of(ws):
    return ws.refresh().steps.filter(record_id="R1", step="count").select("status", "outcome").row(0)


TOMORROW = datetime.now(UTC) + timedelta(days=1)


def test_a_clock_that_was_ahead_does_not_hide_a_later_run(make_workspace):
    ws = make_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    put_line(ws, "ahead", "start", TOMORROW, claim=1)
    put_line(ws, "ahead", "error", TOMORROW, claim=1)
    assert status_of(ws) == ("ERROR", "error")
    assert ws.steps.run("count", **here()).counts() == {"done": 1}
    assert ws.steps.filter(step="count").select("status", "outcome").row(0) == (
        "DONE",
        "done",
    )  # not listed anew
    assert status_of(ws) == ("DONE", "done")
    (ws.data_path / "count/R1.csv").unlink()
    assert status_of(ws) == ("DATA_READY", "done")


def test_numbers_of_claims_rise_above_those_of_the_journal(make_workspace):
    ws = make_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    put_line(ws, "old", "error", TOMORROW, claim=41)
    ws.refresh().steps.run("count", **here())
    events = ws.refresh().events().filter(pl.col("run_id") != "old")
    assert events["claim"].unique().to_list() == [42]
    ws.steps.run("count", force=True, **here())
    assert sorted(ws.refresh().events()["claim"].unique()) == [41, 42, 43]


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_each_line_of_a_run_carries_the_number_of_its_claim(make_workspace, mode):
    ws = make_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    for _ in range(2):
        ws.steps.run(force=True, mode=mode, progress=False, workers=1)
    numbers = ws.refresh().events().group_by("run_id", maintain_order=True).agg(pl.col("claim").unique())
    assert numbers["claim"].to_list() == [[1], [2]]


def test_lines_without_a_number_are_ordered_by_time(make_workspace):
    ws = make_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    now = datetime.now(UTC)
    put_line(ws, "a", "error", now)
    put_line(ws, "b", "done", now - timedelta(hours=1))
    assert status_of(ws) == ("ERROR", "error")
    assert ws.events()["claim"].to_list() == [0, 0]
    put_line(ws, "c", "done", now - timedelta(days=9), claim=1)
    assert status_of(ws) == ("DATA_READY", "done")


def test_compaction_and_gc_keep_the_last_attempt_by_its_number(make_workspace):
    ws = make_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    put_line(ws, "ahead", "error", TOMORROW, claim=1)
    ws.refresh().steps.run("count", **here())
    (ws.data_path / "count/R1.csv").unlink()
    for run in os.listdir(ws.config.log + "/journal"):  # noqa: PTH208
        ws._source.journal.end(run)
    assert ws._source.journal.compact(frozenset(), least=1)
    assert status_of(ws) == ("DATA_READY", "done")
    ws.gc(older_than="0d")
    assert status_of(ws) == ("DATA_READY", "done")


def test_a_journal_merged_by_an_earlier_version_is_read(make_workspace):
    ws = make_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    put_line(ws, "old", "error", datetime.now(UTC))
    ws._source.journal.end("old")
    ws._source.journal.compact(frozenset(), least=1)
    (path,) = (f"{ws.config.log}/journal/{name}" for name in os.listdir(ws.config.log + "/journal"))  # noqa: PTH208
    noted = pl.read_parquet_metadata(path)
    earlier = pl.read_parquet(path).drop("claim")
    earlier.write_parquet(path, metadata={"merged": noted["merged"], "schema": noted["schema"]})
    assert status_of(Workspace(ws.config.root)) == ("ERROR", "error")
    assert Workspace(ws.config.root).steps.run("count", **here()).counts() == {"done": 1}


def test_numbers_rise_also_where_the_claims_of_a_bucket_were_deleted(moto, write_workspace):
    folder = write_workspace(scripts(CHAIN), {"raw/R1.csv": "1"})
    ws = Workspace(moto.upload(folder, "claims"), storage_options=moto.options, trust=True)
    ws.steps.run("count", **here())
    for key in moto.keys("claims/dataset/LOG/claims"):
        moto.fs.rm_file(f"{moto.url}/{key}")
    ws.refresh().steps.run("count", force=True, **here())
    assert sorted(ws.refresh().events()["claim"].unique()) == [1, 2]
