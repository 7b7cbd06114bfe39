"""Each way in which a row comes to its status, made for real: the rule, the evidence, the way out."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

RAW, OUT = "raw/R1.csv", "out/R1.csv"
SCRIPT = """
import os, signal, time
from pathlib import Path
from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = ("raw", "{id}.csv")
    PATH_OUT = ("out", "{id}.csv")
    TIMEOUT = 20

    def run(self):
BODY
"""
WRITE = "self.path.output.write_text('1')"
FAIL = "print('looked at 3'); raise ValueError('no boats')"


def body(text):
    return SCRIPT.replace("BODY", "".join(f"        {line}\n" for line in text.splitlines()))


def put(ws, *files):
    for file in files:
        path = Path(ws.data_path, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raw;")


def run(ws, **options):
    ws.steps.filter(step="clean").run(progress=False, workers=1, **options)


def rewrite(ws, text):
    Path(ws.scripts_path, "clean.py").write_text(text)


# --- the ways: what lies there first, what happens, and what is said of it ---------------------------------------


def nothing(ws):
    pass


def ran(ws):
    run(ws)


def ran_and_outputs_went(ws):
    run(ws)
    Path(ws.data_path, OUT).unlink()


def ran_and_all_went(ws):
    ran_and_outputs_went(ws)
    Path(ws.data_path, RAW).unlink()


def failed(ws):
    rewrite(ws, body(FAIL))
    run(ws)


def failed_over_what_was_done(ws):
    run(ws)
    rewrite(ws, body(FAIL))
    run(ws, force=True)


def wrote_nothing(ws):
    rewrite(ws, body("pass"))
    run(ws)


def left_the_process(ws):
    rewrite(ws, body("os._exit(7)"))
    run(ws)


def was_killed(ws):
    rewrite(ws, body("os.kill(os.getpid(), signal.SIGKILL)"))
    run(ws)


def ran_out_of_time(ws):
    rewrite(ws, body("time.sleep(60)").replace("TIMEOUT = 20", "TIMEOUT = 0.3"))
    run(ws)


def failed_then_its_input_went(ws):
    failed(ws)
    Path(ws.data_path, RAW).unlink()


def asked_without_input(ws):
    ws.steps.run("clean", progress=False, mode="main_process")


def asked_then_the_input_came(ws):
    asked_without_input(ws)
    put(ws, RAW)


def is_no_python(ws):
    rewrite(ws, "def (:\n")


def is_gone(ws):
    Path(ws.scripts_path, "clean.py").unlink()


def has_a_wrong_placeholder(ws):
    rewrite(ws, body(WRITE).replace('"out", "{id}.csv"', '"out", "{idd}.csv"'))


def done_by_word(ws):
    rewrite(ws, body("pass").replace('PATH_OUT = ("out", "{id}.csv")', "PATH_OUT = ()"))
    run(ws)


def cannot_publish_its_second_output(ws):
    two = 'PATH_OUT = {"a": "out/{id}.csv", "b": "b/{id}.csv"}'
    text = body("self.path.output['a'].write_text('1')\nself.path.output['b'].write_text('1')\nBLOCK")
    text = text.replace('PATH_OUT = ("out", "{id}.csv")', two)
    folder = Path(ws.data_path, "b")
    blocked = f"Path({str(folder)!r}).write_text('a file where a folder is wanted')"
    rewrite(ws, text.replace("BLOCK", blocked))
    run(ws)


WAYS = [
    # files, what happens, status, rule, reason, last event, the first thing that would change it
    ((), nothing, "INIT", 8, "missing raw/R1.csv", None, "raw/R1.csv appearing"),
    ((), ran, "INIT", 8, "missing raw/R1.csv", None, "raw/R1.csv appearing"),
    ((RAW,), ran_and_all_went, "INIT", 8, "missing raw/R1.csv", "done", "raw/R1.csv appearing"),
    ((RAW,), nothing, "DATA_READY", 6, "all inputs are there", None, "a run makes it"),
    ((RAW,), ran_and_outputs_went, "DATA_READY", 6, "all inputs are there", "done", "a run makes it"),
    ((), asked_then_the_input_came, "DATA_READY", 6, "all inputs", "not_available", "a run makes it"),
    ((RAW, OUT), nothing, "DONE", 4, "all outputs are there", None, "removing out/R1.csv"),
    ((OUT,), nothing, "DONE", 4, "all outputs are there", None, "removing out/R1.csv"),
    ((RAW,), ran, "DONE", 4, "all outputs are there", "done", "removing out/R1.csv"),
    (
        (RAW,),
        failed_over_what_was_done,
        "DONE",
        4,
        "kept; last attempt failed: ValueError",
        "error",
        "removing",
    ),
    ((RAW,), done_by_word, "DONE", 4, "all outputs are there", "done", "a forced run"),
    ((RAW,), failed, "ERROR", 5, "ValueError: no boats", "error", "a run tries it again"),
    ((RAW,), wrote_nothing, "ERROR", 5, "out/R1.csv", "error", "a run tries it again"),
    ((RAW,), left_the_process, "ERROR", 5, "7", "error", "a run tries it again"),
    ((RAW,), was_killed, "ERROR", 5, "SIGKILL|signal 9|killed", "error", "a run tries it again"),
    ((RAW,), ran_out_of_time, "ERROR", 5, "0.3 s", "error", "a run tries it again"),
    ((RAW,), failed_then_its_input_went, "ERROR", 5, "ValueError: no boats", "error", "raw/R1.csv appearing"),
    ((), asked_without_input, "DATA_NOT_AVAILABLE", 7, "missing raw/R1.csv", "not_available", "raw/R1.csv"),
    ((RAW,), is_no_python, "ERROR", 0, r"clean\.py:1", None, "mend the script"),
    ((RAW,), is_gone, "ERROR", 0, r"clean\.py is missing", None, "mend the script"),
    ((RAW,), has_a_wrong_placeholder, "ERROR", 0, "did you mean 'id'", None, "mend the script"),
    ((RAW,), cannot_publish_its_second_output, "ERROR", 3, "half published", "half", "a run tries it again"),
]


@pytest.fixture
def ws(make_workspace):
    return make_workspace({"clean": body(WRITE), "seen": ("known/{id}", "seen/{id}")}, ["known/R1"])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[1].__name__}-{len(way[0])}")
def test_a_way_to_a_status_is_told_whole(way, ws):
    files, happen, status, rule, reason, event, change = way
    put(ws, *files)
    happen(ws)
    row = ws.refresh().steps.filter(step="clean").collect().row(0, named=True)
    told = ws.explain("R1", "clean")
    assert (told.status, told.decided.number) == (status, rule) == (row["status"], rule)
    assert re.search(reason, told.reason), told.reason
    assert told.reason == row["reason"]
    assert told.decided.evidence or rule == 6
    assert (told.attempt.event if told.attempt else None) == event
    assert told.changes[0].text.startswith(change), told.changes
    assert {file.path for file in told.files if file.exists} == {
        file.path for file in told.files if Path(ws.data_path, file.path).exists()
    }
    if told.attempt is not None and event in ("error", "half"):
        assert told.attempt.error_type
        assert told.attempt.ended is not None
    if happen is failed:
        assert told.attempt.output.strip() == "looked at 3"
        assert told.attempt.traceback.endswith("ValueError: no boats\n")
    assert json.loads(json.dumps(told.to_dict()))["status"] == status


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[1].__name__}-{len(way[0])}")
def test_what_is_said_to_change_it_changes_it(way, ws):
    files, happen, *_ = way
    put(ws, *files)
    happen(ws)
    before = ws.refresh().explain("R1", "clean")
    first = before.changes[0]
    if first.text.startswith("mend"):
        rewrite(ws, body(WRITE))
        assert ws.refresh().explain("R1", "clean").decided.number != before.decided.number
    elif first.text.startswith("removing"):
        Path(ws.data_path, first.text.removeprefix("removing ")).unlink()
        assert ws.refresh().explain("R1", "clean").status != "DONE"
    elif " appearing" in first.text:
        put(ws, first.text.partition(" ")[0])
        rewrite(ws, body(WRITE))
        run(ws.refresh())
        assert ws.refresh().explain("R1", "clean").status == "DONE"
    else:
        rewrite(ws, body(WRITE))
        run(ws.refresh(), **first.run)
        assert ws.refresh().explain("R1", "clean").status == "DONE"
        assert ws.explain("R1", "clean").attempt.run_id != (before.attempt.run_id if before.attempt else None)


def test_a_step_that_reads_a_folder_is_explained_when_it_is_done(make_workspace):
    text = body(WRITE).replace('("raw", "{id}.csv")', '"raw/{id}/"')
    ws = make_workspace({"clean": text}, ["raw/R1/a.csv"])
    run(ws)
    told = ws.explain("R1", "clean")
    assert (told.status, told.stale) == ("DONE", ())
    assert "input raw/R1: a folder, 1 file, 4 bytes, 20" in repr(told)


def test_a_run_that_is_at_it_and_one_that_was_killed_are_told_apart(ws, tmp_path):
    marker = tmp_path / "at it"
    put(ws, RAW)
    rewrite(
        ws, body(f"Path({str(marker)!r}).touch()\ntime.sleep(600)").replace("TIMEOUT = 20", "TIMEOUT = 900")
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "sinagot_catalog", "run", str(ws.config.root), "--step", "clean", "-q"],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 300
        while not marker.exists():
            assert time.monotonic() < until
            assert running.poll() is None
            time.sleep(0.02)
        told = ws.refresh().explain("R1", "clean")
        assert (told.status, told.decided.number) == ("PROCESSING", 1)
        assert "which is alive" in told.decided.evidence
        assert told.changes[0].text == f"the end of run {told.attempt.run_id}, or the death of its process"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(timeout=300)
    told = ws.refresh().explain("R1", "clean")
    assert (told.status, told.decided.number) == ("ERROR", 5)
    assert told.reason.startswith("lost: run ")
    assert told.changes[0].run == {}
    put(ws, OUT)
    told = ws.refresh().explain("R1", "clean")
    assert (told.status, told.decided.number) == ("DONE", 4)
    assert told.reason.startswith("kept; last attempt lost: run ")


def test_an_id_that_no_file_has_is_answered_with_the_near_ones(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/sub-01"], id_pattern=r"sub-\d+")
    first = ws.explain("sub-1", "clean").changes[0].text
    assert first == "another id: no file names 'sub-1'; did you mean 'sub-01'?"
