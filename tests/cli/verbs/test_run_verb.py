"""`sinagot-catalog plan` and `sinagot-catalog run`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).with_name("sinagot-catalog")


def test_plan_says_what_and_why_and_writes_nothing(cli, harbor_folder):
    before = sorted(harbor_folder.rglob("*"))
    done = cli("plan", harbor_folder, "--record", "REC-20200602")
    assert done.returncode == 0
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert lines[0] == ["record_id", "step", "action", "reason"]
    assert [(line[1], line[2]) for line in lines[1:4]] == [
        ("count", "run"),
        ("mean", "run"),
        ("summary", "run"),
    ]
    assert done.stdout.endswith("3 to run\n")
    rows = json.loads(cli("plan", harbor_folder, "--step", "mean", "--limit", "1", "--json").stdout)
    assert [(row["record_id"], row["action"]) for row in rows] == [
        ("REC-20200601", "run"), ("REC-20200602", "skip"), ("REC-20200603", "skip"),
    ]  # fmt: skip
    assert sorted(harbor_folder.rglob("*")) == before


def test_run_runs_what_is_selected_then_the_rest_then_nothing(cli, harbor_folder):
    first = cli("run", "--where", "record_id < 'REC-20200603'", "--step", "count", "-C", harbor_folder)
    assert (first.returncode, first.stdout[:7]) == (0, "2 done ")
    assert "REC-20200601 | " in first.stderr
    rest = cli("run", harbor_folder, "--json", "--workers", "2", "--quiet")
    rows = json.loads(rest.stdout)
    assert len(rows) == 7
    assert list(rows[0]) == [
        "record_id", "task", "modality", "step", "outcome", "seconds", "attempts", "error_type", "message",
    ]  # fmt: skip
    assert rest.stderr.startswith("7 done in ")
    again = cli("run", harbor_folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, "nothing to do: everything is done\n", "")


def test_failures_end_3_with_the_first_reasons_and_how_to_see_more(cli, write_workspace):
    scripts = {"a": ("raw/{id}", "a/{id}", "fail"), "b": ("a/{id}", "b/{id}")}
    folder = write_workspace(scripts, [f"raw/R{n}" for n in range(6)])
    done = cli("run", folder, "--quiet")
    assert done.returncode == 3
    assert done.stdout.startswith("6 failed, 6 blocked in ")
    lines = done.stderr.splitlines()
    assert lines[0] == "  R0 a: ValueError: no boats on R0   (6 rows like this)"
    assert lines[1].startswith("  R0 b: ")
    assert lines[1].endswith("   (6 rows like this)")
    assert lines[2:] == [f"see sinagot-catalog logs -C {folder} --failed"]
    assert "Traceback" not in done.stderr


def test_many_kinds_of_failure_are_cut_with_a_number(cli, write_workspace):
    kinds = [ValueError, KeyError, OSError, TypeError, RuntimeError, IndexError, ArithmeticError]
    body = f"raise [{', '.join(one.__name__ for one in kinds)}][int(self.id[1:])]('no boats')"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n}" for n in range(7)])
    lines = cli("run", folder, "--quiet").stderr.splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("2 more kinds; see sinagot-catalog logs")


def test_rows_of_another_command_or_a_file_are_run(cli, harbor_folder, tmp_path):
    chosen = cli("ls", "steps", "-C", harbor_folder, "--csv", "--where", "step = 'mean'", "--limit", "2")
    done = cli("run", harbor_folder, "--rows", "-", "-q", stdin=chosen.stdout)
    assert done.stdout.startswith("2 done in ")
    assert sorted(path.name for path in (harbor_folder / "dataset" / "mean").iterdir()) == [
        "REC-20200601-mean.csv", "REC-20200602-mean.csv",
    ]  # fmt: skip
    file = tmp_path / "rows.parquet"
    cli("ls", "steps", "-C", harbor_folder, "--parquet", file, "--where", "record_id = 'REC-20200603'")
    assert len(cli("plan", harbor_folder, "--rows", file, "--csv").stdout.splitlines()) == 1 + 3


def test_rows_may_come_from_a_spreadsheet_with_semicolons(cli, harbor_folder, tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("\ufeffstep;record_id\r\nmean;REC-20200602\r\ncount;REC-20200601\r\n", encoding="utf-8")
    planned = cli("plan", harbor_folder, "--rows", file, "--csv").stdout.splitlines()[1:]
    assert [line.split(",")[:4] for line in planned] == [
        ["REC-20200601", "", "", "count"],
        ["REC-20200602", "", "", "mean"],
    ]
    faults = {
        "\ufeff": "empty CSV",
        'record_id\n"R1': "line 2: a quoted value has no end",
        "record_id\nR1,a\n": "line 2 has 2 values, and the header 1 column\n"
        "Put a text that holds a separator into quotes.",
    }
    for text, told in faults.items():
        file.write_text(text, encoding="utf-8")
        refused = cli("plan", harbor_folder, "--rows", file)
        assert refused.returncode == 2
        assert refused.stderr == f"error: --rows: {file} cannot be read: {told}\n"


def test_what_cannot_run_is_said_with_its_reason(cli, write_workspace):
    folder = write_workspace(
        {"a": (["raw/{id}", "more/{id}"][1], "a/{id}"), "b": ("raw/{id}", "b/{id}")}, ["raw/R1"]
    )
    done = cli("run", folder, "--where", "step = 'a'")
    assert done.returncode == 0
    assert done.stdout == "nothing to do: 1 cannot run, such as R1 a: missing more/R1\n"
    assert cli("run", folder, "--where", "record_id = 'R9'").stdout == "nothing to do: no rows fit\n"
    tried = cli("run", folder, "--step", "a", "--strict", "-q")
    assert tried.returncode == 3
    assert tried.stdout.startswith("1 without data in ")


def test_a_record_named_with_a_group_step_is_answered_with_its_group(cli, write_workspace):
    toml = """
[records]
id_pattern = '(?P<sub>s\\d)_(?P<run>\\d)'
[steps]
scripts = ["all"]
[steps.all]
command = "cp {input} {output}"
inputs = "raw/{id}"
outputs = "all/{sub}"
by = ["sub"]
"""
    folder = write_workspace({}, ["raw/s1_1"], toml=toml)
    told = cli("run", folder, "--record", "s1_1", "--step", "all")
    assert told.stdout == "nothing to do: no rows fit\n"
    assert "all runs once per group, not per record. The group of s1_1 is 'sub=s1'." in told.stderr
    assert cli("plan", folder, "--record", "sub=s1", "--step", "all", "--csv").stdout.count("sub=s1") == 1


def test_status_takes_the_words_of_the_table(cli, harbor, harbor_folder):
    harbor.steps.run("count", mode="main_process", progress=False)
    assert len(cli("plan", harbor_folder, "--status", "ready", "--csv").stdout.splitlines()) == 1 + 3
    done = cli("run", harbor_folder, "--status", "done")
    assert done.stdout == "nothing to do: these are done; --force runs them again\n"
    forced = cli("run", harbor_folder, "--status", "DONE", "--force", "-q")
    assert forced.stdout.startswith("3 done in ")


def test_debug_raises_what_a_script_raises_and_ends_3(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", "fail")}, ["raw/R1"])
    done = cli("run", folder, "--debug")
    assert done.returncode == 3
    assert "ValueError: no boats on R1" in done.stderr
    assert "scripts/a.py" in done.stderr


@pytest.fixture
def interrupted(wait_until):
    """Runs a workspace and interrupts it when its script has begun, which ends it 130: what it said."""

    def run(folder, number, *words):
        command = [PROGRAM, "run", folder, *words]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            wait_until((folder / "dataset" / "begun").exists)
            os.kill(process.pid, number)
            said = process.communicate(timeout=300)[1]
            assert process.returncode == 130
        assert "Traceback" not in said
        return said

    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_a_script_that_waits_in_the_main_process(write_workspace, interrupted, number):
    body = (
        "import pathlib, threading; pathlib.Path(self.data_path, 'begun').touch(); threading.Event().wait()"
    )
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1"])
    interrupted(folder, number, "--mode", "main_process")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_its_scripts_gives_the_rows_back_and_ends_130(
    cli, write_workspace, interrupted, number
):
    body = "import pathlib, time; pathlib.Path(self.data_path, 'begun').touch(); time.sleep(600)"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1", "raw/R2"])
    said = interrupted(folder, number, "--workers", "1")
    assert "interrupted; what is done is kept" in said
    assert "2 can run now" in cli("status", folder).stdout


def test_what_a_script_registers_for_the_end_of_the_process_runs_in_the_main_process(
    write_workspace, tmp_path
):
    """A pool that a script leaves open ends with the command, and keeps neither it nor its output open."""
    script = f"""
import atexit, multiprocessing, threading, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN, PATH_OUT = "raw/{{id}}", "out/{{id}}"
    def run(self):
        Script.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
        self.path.output.write_text(str(Script.pool.submit(abs, -1).result()))
        atexit.register(Path({str(tmp_path / "ended")!r}).touch)
"""
    folder = write_workspace({"work": script}, ["raw/R1"])
    command = [PROGRAM, "run", folder, "--mode", "main_process", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout[:6]) == (0, "1 done"), done.stderr
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_after_the_last_line_hastens_the_end_and_keeps_the_exit_code(
    write_workspace, tmp_path, wait_until, number
):
    script = f"""
import atexit, time
from pathlib import Path
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN, PATH_OUT = "raw/{{id}}", "out/{{id}}"
    def run(self):
        self.path.output.touch()
        atexit.register(time.sleep, 600)
        atexit.register(Path({str(tmp_path / "ending")!r}).touch)
"""
    folder = write_workspace({"work": script}, ["raw/R1"])
    command = [PROGRAM, "run", folder, "--mode", "main_process", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_until((tmp_path / "ending").exists)
        running.send_signal(number)
        out, error = running.communicate(timeout=300)
    assert (running.returncode, out[:6], error) == (0, "1 done", "")


def test_a_thread_that_a_script_leaves_does_not_keep_the_command(write_workspace):
    script = """
import threading
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN, PATH_OUT = "raw/{id}", "out/{id}"
    def run(self):
        threading.Thread(target=threading.Event().wait).start()
        raise ValueError("no")
"""
    folder = write_workspace({"work": script}, ["raw/R1"])
    command = [PROGRAM, "run", folder, "--mode", "main_process", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout[:8]) == (3, "1 failed"), done.stderr


def test_force_names_a_control_file_that_no_run_made(cli, write_workspace):
    body = 'self.path.control.write_text("c")\nself.path.output.write_text("o")'
    source = f"""
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN, PATH_OUT, PATH_CONTROL = "raw/{{id}}", "out/{{id}}", "check/{{id}}"
    def run(self):
        {body.replace(chr(10), chr(10) + " " * 8)}
"""
    folder = write_workspace({"c": source}, ["raw/R1", "raw/R2", "check/R1"])
    cli("run", folder, "--record", "R2", "-q")
    forced = cli("run", folder, "--force", "-q")
    assert forced.returncode == 0
    assert "--force replaces 3 outputs" in forced.stderr
    assert "no run made 1 of them, such as check/R1" in forced.stderr
    assert "no run made" not in cli("run", folder, "--force", "-q").stderr


def test_force_names_the_first_outputs_that_a_person_changed(cli, write_workspace):
    folder = write_workspace({"c": ("raw/{id}", "out/{id}")}, [f"raw/R{number}" for number in range(1, 6)])
    cli("run", folder, "-q")
    assert "changed" not in cli("run", folder, "--force", "-q").stderr
    later = time.time() + 60
    for number in (5, 4, 3, 2):
        os.utime(Path(folder, f"dataset/out/R{number}"), (later, later))
    forced = cli("run", folder, "--force", "-q").stderr
    assert "and 4 of them changed after their run, such as out/R2, out/R3, out/R4\n" in forced
    assert "no run made" not in forced


@pytest.mark.parametrize("step", ["/etc/x", "a**b", "../work", ""])
def test_what_cannot_be_the_name_of_a_step_is_told_as_any_other(cli, write_workspace, step):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    done = cli("run", folder, "--step", step)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: there is no step {step!r}")


JOURNAL_READS = """if True:
    import os, sys

    def heard(event, arguments):
        if event == "open" and str(arguments[0]).endswith(".ndjson") and not arguments[2] & os.O_WRONLY:
            os.write(2, b"read")

    sys.addaudithook(heard)
    from sinagot_catalog.cli import main
    main()
"""


def test_a_run_does_not_read_its_own_journal_to_tell_its_result(harbor_folder):
    words = [sys.executable, "-c", JOURNAL_READS, "run", str(harbor_folder), "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    again = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert (again.returncode, "read" in again.stderr) == (0, True)
