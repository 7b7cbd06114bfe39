"""Runs as Prefect flows, on a real server."""

import asyncio
import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ServerError, StorageError, UsageError
from sinagot_catalog.flows.prepare import prepare
from sinagot_catalog.flows.submission import submit
from sinagot_catalog.run.claimed_runs import phases
from sinagot_catalog.run.workers.pool import Pool
from tests.servers import wait

CONFIG = """
[path]
dataset = "dataset"
scripts = "scripts"
[records]
id_pattern = 'R\\d+'
[steps]
scripts = ["upper", "twice"]
[run]
workers = 2
"""

UPPER = """
import time
from pathlib import Path
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "upper/{id}.txt"

    def run(self):
        text = Path(self.path.input).read_text()
        if text == "interrupt":
            raise KeyboardInterrupt
        if text == "interrupt main":
            __import__("_thread").interrupt_main()
            __import__("time").sleep(0.2)
            return
        if text == "bad":
            raise ValueError(f"{self.id} holds nothing good")
        deadline = time.monotonic() + 300
        while text == "wait" and not Path(self.data_path, "go").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        Path(self.path.output).write_text(text.upper())
"""

TWICE = """
from pathlib import Path
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "upper/{id}.txt"
    PATH_OUT = "twice/{id}.txt"

    def run(self):
        Path(self.path.output).write_text(Path(self.path.input).read_text() * 2)
"""

IMPORTS = (
    "from sinagot_catalog.flows.prepare import prepare; from sinagot_catalog.flows.submission import submit"
)


@pytest.fixture
def workspace(tmp_path):
    """A workspace of two steps: a function that makes records of what their raw files say."""
    root = tmp_path / "lab"
    (root / "scripts").mkdir(parents=True)
    (root / "dataset" / "raw").mkdir(parents=True)
    (root / "workspace.toml").write_text(CONFIG)
    (root / "scripts" / "upper.py").write_text(UPPER)
    (root / "scripts" / "twice.py").write_text(TWICE)

    def make(*texts):
        for number, text in enumerate(texts):
            (root / "dataset" / "raw" / f"R{number:04d}.txt").write_text(text)
        return root

    return make


@pytest.fixture
def api(prefect_server):
    """The real API: a client, and the settings that point at it."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    where = {PREFECT_API_URL: prefect_server.api_url, PREFECT_API_AUTH_STRING: prefect_server.auth}
    with temporary_settings(where), get_client(sync_client=True) as client:
        yield Api(client)


class Api:
    """What the server has recorded."""

    def __init__(self, client):
        self.client = client

    def flow_run(self, handle):
        return self.client.read_flow_run(UUID(str(getattr(handle, "flow_run_id", handle))))

    def task_runs(self, flow_run_id, rows):
        """The task runs, as soon as they hold that many rows and ended; the recorder writes once a second."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        ours = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(str(flow_run_id))]))

        def all_ended():
            found = self.client.read_task_runs(flow_run_filter=ours, limit=200)
            held = sum(int(run.name.rpartition("· ")[2].split()[0]) for run in found if "·" in run.name)
            return held == rows and all(run.state and run.state.is_final() for run in found) and found

        return wait(all_ended)

    def artifacts(self, flow_run_id):
        found = self.client.request("POST", "/artifacts/filter", json=_of(flow_run_id)).json()
        return {artifact["type"]: artifact for artifact in found}

    def logs(self, flow_run_id, is_enough=lambda _: True):
        asked = {"logs": {"flow_run_id": {"any_": [str(flow_run_id)]}}, "limit": 200}

        def lines():
            found = self.client.request("POST", "/logs/filter", json=asked).json()
            lines = [line["message"] for line in found]
            return (lines,) if is_enough(lines) else ()

        (found,) = wait(lines)
        return found


def GlobalLimit(**values):  # noqa: N802 - made when a test needs Prefect
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate

    return GlobalConcurrencyLimitCreate(**values)


def _of(flow_run_id):
    return {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}


def outcomes(report):
    return dict(report.frame.group_by("outcome").len().iter_rows())


# -- a run


def test_every_row_is_done_and_every_task_run_is_recorded(workspace, api):
    root = workspace(*["good"] * 30)
    handle = submit(prepare(str(root)), on_message=lambda _: None)
    report = handle.wait(300)
    assert report.ok
    assert outcomes(report) == {"done": 60}
    assert report.flow_run_id == handle.flow_run_id
    assert (root / "dataset" / "twice" / "R0029.txt").read_text() == "GOODGOOD"
    run = api.flow_run(handle)
    assert (run.state.name, run.state.message) == ("Completed", "60 rows done")
    assert run.name == "lab · 60 rows · upper, twice"
    assert {"sinagot-catalog", "lab"} <= set(run.tags)
    tasks = api.task_runs(handle.flow_run_id, 60)
    assert all(task.state.is_completed() for task in tasks)
    assert "lab · upper, twice · R0000 … R0003 · 8 rows" in {task.name for task in tasks}
    assert api.artifacts(handle.flow_run_id)["progress"]["data"] == 100


def test_the_page_of_the_run_is_known_before_the_work_ends(workspace, prefect_server, api):
    root = workspace("wait")
    said = []
    handle = submit(prepare(str(root)), on_message=said.append)
    assert handle.state == "Running"
    assert handle.url == f"{prefect_server.url}/runs/flow-run/{handle.flow_run_id}"
    assert [prefect_server.url in line for line in said] == [True, True]
    assert "sinagot-catalog server stop" in said[0]
    assert handle.url in said[1]
    assert api.flow_run(handle).state.is_running()
    with pytest.raises(TimeoutError, match="still under way"):
        handle.wait(0.01)
    (root / "dataset" / "go").touch()
    handle.wait(300)
    assert handle.state == "Completed"
    assert (
        repr(handle) == f"<RunHandle instance | run_id: {handle.run_id}, state: Completed, url: {handle.url}>"
    )


def test_failed_rows_fail_the_flow_and_stand_in_a_table(workspace, api):
    root = workspace("good", "bad", "good", "bad")
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    report = handle.wait(300)
    assert outcomes(report) == {"done": 2, "error": 2}
    assert handle.state == "Failed"
    run = api.flow_run(handle)
    assert (run.state.name, run.state.message) == ("Failed", "2 of 4 rows failed")
    states = {task.state.name for task in api.task_runs(handle.flow_run_id, 4)}
    assert "Failed" in states <= {"Completed", "Failed"}  # on a busy machine two rows may share a batch
    table = api.artifacts(handle.flow_run_id)["table"]
    assert table["key"] == "lab-failures"
    assert "R0001 holds nothing good" in table["data"]
    assert "R0000" not in table["data"]
    columns = ["record_id", "step", "message", "error_type", "outcome", "seconds", "attempts"]
    assert [*json.loads(table["data"])[0]] == columns
    lines = api.logs(
        handle.flow_run_id, lambda said: any("Finished in state Failed('2 of 4" in one for one in said)
    )
    assert any("Task run failed with state" in line for line in lines)
    assert not any("Traceback" in line or "NoneType" in line for line in lines)


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_scripts_that_interrupt_themselves_fail_their_rows_of_a_flow(workspace, mode):
    root = workspace("good", "interrupt", "good", "interrupt main", "good")
    report = submit(prepare(str(root), step="upper", mode=mode), on_message=lambda _: None).wait(300)
    assert outcomes(report) == {"done": 3, "error": 2}
    assert set(report.failures()["error_type"]) == {"KeyboardInterrupt"}


@pytest.mark.parametrize("again", [{}, {"force": True}, {"stale": True}], ids=["", "force", "stale"])
def test_the_command_of_the_failures_runs_just_those_rows_again(workspace, api, cli, again):
    root = workspace("good", "bad", "good")
    others = {"where": "record_id <> 'R0001'"}
    submit(prepare(str(root), where="record_id = 'R0001'"), on_message=lambda _: None).wait(300)
    if again:
        assert submit(prepare(str(root), **others), on_message=lambda _: None).wait(300).ok
    (root / "dataset" / "raw" / "R0002.txt").write_text("bad")
    handle = submit(prepare(str(root), **others, **again), on_message=lambda _: None)
    report = handle.wait(300)
    assert not report.ok
    table = api.artifacts(handle.flow_run_id)["table"]
    command = table["description"].split("`")[1]
    assert f"--where \"run_id = '{report.run_id}' AND error_type IS NOT NULL\"" in command
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("sinagot-catalog", "submit")
    planned = json.loads(cli("plan", *words, "--json").stdout)
    failed = {(row["record_id"], row["step"]) for row in json.loads(table["data"])}
    assert {(row["record_id"], row["step"]) for row in planned if row["action"] == "run"} == failed
    assert ("R0002", "upper") in failed
    assert "R0001" not in {record for record, _ in failed}


def test_nothing_to_do_asks_no_server(workspace, tmp_path):
    root = workspace("good")
    done = run_python(
        f"{IMPORTS}; import sys\n"
        f"handle = submit(prepare({str(root)!r}, where=\"record_id = 'R0009'\"))\n"
        "print(handle.wait().counts(), handle.state, handle.url, 'prefect' in sys.modules)",
        SINAGOT_CATALOG_HOME=str(tmp_path / "home"),
    )
    assert done.stdout.split("\n")[0] == "{} Completed None False"
    assert not (tmp_path / "home").exists()


@pytest.mark.usefixtures("prefect_server")
def test_two_runs_at_once_do_not_disturb_each_other(workspace, api):
    root = workspace(*["good"] * 8)
    first = submit(prepare(str(root), step="upper", where="record_id < 'R0004'"), on_message=lambda _: None)
    second = submit(prepare(str(root), step="upper", where="record_id >= 'R0004'"), on_message=lambda _: None)
    assert outcomes(first.wait(300)) == outcomes(second.wait(300)) == {"done": 4}
    for handle in (first, second):
        assert api.task_runs(handle.flow_run_id, 4)


@pytest.mark.usefixtures("prefect_server")
def test_the_programs_own_prefect_settings_stay_as_they_are(workspace):
    from prefect.settings import PREFECT_API_URL

    before = PREFECT_API_URL.value()
    submit(prepare(str(workspace("good"))), on_message=lambda _: None).wait(300)
    assert PREFECT_API_URL.value() == before


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_was_taken_for_dead_is_failed_and_says_so(workspace):
    root = workspace(*["wait"] * 6)
    (root / "workspace.toml").write_text(CONFIG + "lease = 1\n")
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    [claim] = (root / "dataset/LOG/claims").glob("*.json")
    claim.unlink()  # what another run does to a claim whose lease ran out
    with pytest.raises(StorageError, match="was taken for dead"):
        handle.wait(300)
    assert handle.state == "Failed"


def test_a_flow_run_is_lost_only_when_its_own_attempt_died(workspace):
    from prefect.client.schemas.objects import FlowRun

    from sinagot_catalog.flows.lost_runs import is_lost
    from sinagot_catalog.flows.stored_run import store_report

    root = workspace("good", "good")
    first, second = uuid4(), uuid4()
    code = (
        f"import os, signal; {IMPORTS}; from sinagot_catalog.flows.stored_run import store_report\n"
        f"claimed = prepare({str(root)!r}, where=\"record_id = 'R0000'\")\n"
        f"store_report(claimed, {str(first)!r}, 1, ended=False); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    claimed = prepare(str(root), where="record_id = 'R0001'")
    source = claimed.source

    def lost(identity, attempt):
        return is_lost(source, FlowRun(id=identity, flow_id=uuid4(), run_count=attempt))

    store_report(claimed, str(second), 1, ended=False)
    assert lost(first, 1)
    assert not lost(first, 2)  # tried again, and that attempt has told nothing yet
    assert not lost(second, 1)  # alive
    assert not lost(uuid4(), 1)  # nothing is known of it
    claimed.finish()
    assert not lost(second, 1)  # it gave its rows back, and its report is on its way
    store_report(claimed, str(second), 1, ended=True)
    assert not lost(second, 1)


# -- cancelling


def test_a_cancelled_run_whose_process_still_ends_its_rows_is_waited_for(workspace, api, monkeypatch):
    from prefect.states import Cancelled

    from sinagot_catalog.flows import remote_run, run_workspace
    from sinagot_catalog.flows.stored_run import store_report

    monkeypatch.setattr(remote_run, "_LATE", 0.5)
    root = workspace("good")
    claimed = prepare(str(root))
    run = api.client.create_flow_run(run_workspace, parameters={"workspace": str(root)}, state=Cancelled())
    store_report(claimed, str(run.id), 1, ended=False)
    ending = threading.Timer(2, store_report, [claimed, str(run.id), 1], {"ended": True})
    handle = Workspace(root).get_flow_run(str(run.id), on_message=lambda _: None)
    with pytest.raises(TimeoutError, match="still under way"):
        handle.wait(0.1)  # the process has not ended its rows
    ending.start()
    assert asyncio.run(awaited(handle)).counts() == {"cancelled": 2}
    assert handle.wait(0).counts() == {"cancelled": 2}
    ending.join()


async def awaited(handle):
    return await handle


def test_a_cancel_from_the_page_ends_the_run(workspace, api):
    from prefect.states import Cancelling

    root = workspace(*["wait"] * 40)
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    begun = time.monotonic()
    api.client.set_flow_run_state(UUID(handle.flow_run_id), Cancelling())
    report = handle.wait(300)
    assert time.monotonic() - begun < 200
    assert handle.state == "Cancelled"
    assert outcomes(report) == {"cancelled": 40}
    run = api.flow_run(handle)
    assert (run.state.name, run.state.message) == ("Cancelled", "0 of 40 rows done")
    assert not list((root / "dataset").glob("upper/*"))
    assert prepare(str(root), step="upper").finish().counts() == {"cancelled": 40}  # nothing is held any more


@pytest.mark.usefixtures("prefect_server")
def test_a_cancel_by_the_handle_ends_the_run(workspace, api):
    root = workspace("good", *["wait"] * 9)
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    handle.cancel()
    report = handle.wait(300)
    assert set(outcomes(report)) <= {"done", "cancelled"}
    assert report.frame.height == 10
    assert api.flow_run(handle).state.name == "Cancelled"
    handle.cancel()  # it is over: nothing happens


def test_an_interrupt_while_waiting_cancels_the_run(workspace, api):
    root = workspace(*["wait"] * 10)
    code = (
        f"{IMPORTS}; import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"submit(prepare({str(root)!r}, step='upper'), wait=True, on_message=lambda line: print(line, flush=True))"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with program:
        try:
            program.stdout.readline()
            flow_run_id = program.stdout.readline().strip()[-36:]
            wait(lambda: api.flow_run(flow_run_id).state.name == "Running")
            program.send_signal(signal.SIGINT)
            _, said = program.communicate(timeout=300)
        finally:
            program.kill()
    assert program.returncode == -signal.SIGINT, said
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert api.flow_run(flow_run_id).state.name == "Cancelled"


# -- programs


def run_python(code, **environment):
    env = {**os.environ, **environment}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done


def test_a_program_that_ends_waits_for_its_run(workspace, api):
    root = workspace(*["good"] * 50)
    done = run_python(f"{IMPORTS}\nprint(submit(prepare({str(root)!r})).flow_run_id)")
    flow_run_id = done.stdout.strip()
    assert api.flow_run(flow_run_id).state.message == "100 rows done"
    assert len(api.task_runs(flow_run_id, 100)) > 1
    assert done.stderr.count("\n") == 2  # the server and the page; nothing of Prefect's own


def test_a_program_that_ends_waits_for_a_run_that_waits_for_slots(workspace, api):
    api.client.create_global_concurrency_limit(GlobalLimit(name="at-the-end", limit=1))
    root = workspace(*["good"] * 4)
    with (root / "workspace.toml").open("a") as toml:
        toml.write('[prefect]\nconcurrency = "at-the-end"\nbatch = 2\n')
    done = run_python(f"{IMPORTS}\nprint(submit(prepare({str(root)!r})).flow_run_id)")
    assert api.flow_run(done.stdout.strip()).state.message == "8 rows done"


def test_failures_are_not_poured_out_on_the_console(workspace, prefect_server):
    root = workspace(*["bad"] * 20)
    done = run_python(f"{IMPORTS}\nsubmit(prepare({str(root)!r}, step='upper'), wait=True)")
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert prefect_server.url in done.stderr


# -- the API that is used


def test_a_configured_api_is_used_and_no_server_started(workspace, prefect_server, api, tmp_path):
    home = tmp_path / "home"
    done = run_python(
        f"{IMPORTS}\nprint(submit(prepare({str(workspace('good'))!r}), on_message=lambda _: None).flow_run_id)",
        SINAGOT_CATALOG_HOME=str(home),
        PREFECT_API_URL=prefect_server.api_url,
        PREFECT_API_AUTH_STRING=prefect_server.auth,
    )
    assert api.flow_run(done.stdout.strip()).state.message == "2 rows done"
    assert not home.exists()


def test_an_api_that_does_not_answer_is_said_and_the_rows_are_given_back(workspace, monkeypatch):
    root = workspace("good")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    begun = time.monotonic()
    with pytest.raises(ServerError, match="connection refused"):
        submit(prepare(str(root)), on_message=lambda _: None)
    assert time.monotonic() - begun < 100
    again = prepare(str(root))
    assert again.n_rows == 2
    again.finish()


def test_workers_that_were_started_for_a_flow_which_never_began_are_ended(workspace, monkeypatch):
    def workers():
        listed = subprocess.run(["ps", "-A", "-o", "ppid=,args="], capture_output=True, text=True, check=True)
        ours = [line for line in listed.stdout.splitlines() if line.split()[0] == str(os.getpid())]
        return [line for line in ours if "sinagot_catalog.worker" in line]

    start_workers, seen = Pool.start_workers, []

    def noted(pool, *words):
        start_workers(pool, *words)
        seen.extend(workers())
        return pool

    monkeypatch.setattr(Pool, "start_workers", noted)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ServerError):
        submit(prepare(str(workspace("good"))), on_message=lambda _: None)
    assert seen
    assert not workers()


# -- what the page shows


def test_the_page_has_a_summary_by_step_with_the_way_to_the_report(workspace, api):
    root = workspace("good", "bad", "good")
    handle = submit(prepare(str(root)), on_message=lambda _: None)
    handle.wait(300)
    page = api.artifacts(handle.flow_run_id)["markdown"]
    assert page["key"] == "lab-summary"
    assert "| step | rows | done | error | blocked | seconds | a row (median) |" in page["data"]
    assert "| upper | 3 | 2 | 1 | 0 |" in page["data"]
    assert "| twice | 3 | 2 | 0 | 1 |" in page["data"]
    assert f"sinagot-catalog report {root}" in page["data"]
    assert f"logs -C {root}" in page["data"]
    assert handle.run_id in page["data"]
    with (root / "workspace.toml").open("a") as toml:
        toml.write('[prefect]\nreport_url = "https://lab.example/harbor.html"\n')
    again = submit(prepare(str(root)), on_message=lambda _: None)
    again.wait(300)
    page = api.artifacts(again.flow_run_id)["markdown"]
    assert "[All rows on one page](https://lab.example/harbor.html)" in page["data"]


def test_what_scripts_say_is_in_the_flows_log(workspace, api):
    root = workspace("good", "bad")
    upper = UPPER.replace(
        "    def run(self):\n", "    def run(self):\n        self.logger.warning('here I am')\n"
    )
    (root / "scripts" / "upper.py").write_text(upper)
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    handle.wait(300)
    lines = api.logs(handle.flow_run_id, lambda lines: len([one for one in lines if "R000" in one]) >= 3)
    assert "R0000 | upper | here I am" in lines
    assert "R0001 | upper | ValueError: R0001 holds nothing good" in lines


def test_many_lines_are_bounded_and_counted(tmp_path):
    from sinagot_catalog.flows.log_relay import LogRelay
    from sinagot_catalog.journal.run_spec import UnitStepSpec
    from sinagot_catalog.journal.tail import LogBuffer, LogTail
    from sinagot_catalog.journal.writer import JournalWriter

    said = []
    journal, heard = LogTail(str(tmp_path / "journal" / "r1")), LogBuffer()
    lines = LogRelay(journal, heard, lambda level, text: said.append((level, text)), "see there")
    lines.relay()  # nothing is there yet
    writer = JournalWriter(str(tmp_path / "journal" / "r1" / "w01.ndjson"), run_id="r1")
    cell = writer.step_lines(UnitStepSpec(None, None, "upper", "", (), ()))
    cell.write("log", "R1", "first")
    cell.write("log", "R1", "too much detail", level="DEBUG")
    lines.relay()
    assert said == [(20, "R1 | upper | first")]
    for number in range(5_000):
        cell.write("start", "R2")
        cell.write("log", "R2", f"line {number}", level="WARNING")
    lines.end()
    assert 20 <= len(said) <= 45
    assert said[1] == (30, "R2 | upper | line 0")
    unsaid = 5_001 - (len(said) - 1)
    assert said[-1] == (20, f"{unsaid:,} more lines: see there")


def test_lines_that_a_cluster_hands_over_wait_for_their_turn_and_are_counted(tmp_path, monkeypatch):
    from sinagot_catalog.flows import log_relay
    from sinagot_catalog.journal.tail import LogBuffer, LogTail

    clock, said, heard = [0.0], [], LogBuffer()
    monkeypatch.setattr(log_relay.time, "monotonic", lambda: clock[0])
    lines = log_relay.LogRelay(LogTail(str(tmp_path)), heard, lambda _, text: said.append(text), "see there")
    heard.take([(20, f"line {number}") for number in range(900)], 7)
    heard.take([(20, f"late {number}") for number in range(300)], 0)
    for seconds, expected in ((0, 20), (1, 40), (60, 80)):
        clock[0] += seconds
        lines.relay()
        assert said == [f"line {number}" for number in range(expected)]
    lines.end()
    assert said[80:900] == [f"line {number}" for number in range(80, 900)]
    assert said[900:] == [*(f"late {number}" for number in range(100)), "207 more lines: see there"]


# -- retries and limits

FLAKY = """
from pathlib import Path
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "upper/{id}.txt"

    def run(self):
        with open(f"{self.data_path}/tried-{self.id}", "a") as tried:
            tried.write("x")
        if self.path.input.read_text() == "bad" and not (Path(self.data_path) / "fixed").exists():
            if len(Path(self.data_path, f"tried-{self.id}").read_text()) > 1:
                Path(self.data_path, "fixed").touch()
            raise ValueError("not yet")
        self.path.output.write_text("there")
"""


def tried(root):
    return {one.name[6:]: len(one.read_text()) for one in (root / "dataset").glob("tried-*")}


def test_a_batch_that_is_tried_again_runs_only_its_rows_that_failed(workspace, api, monkeypatch):
    monkeypatch.setattr(phases, "_LUMP", 2)  # what is said of a row at first and at last lies apart
    root = workspace("good", "bad", "good", "good")
    (root / "scripts" / "upper.py").write_text(FLAKY)
    with (root / "workspace.toml").open("a") as toml:
        toml.write("[prefect]\nretries = 3\nretry_delay = 0.1\nbatch = 4\n")
    handle = submit(prepare(str(root), step="upper", force=True), on_message=lambda _: None)
    report = handle.wait(300)
    assert outcomes(report) == {"done": 4}
    assert report.frame["record_id"].is_unique().all()
    assert tried(root) == {"R0000": 1, "R0001": 3, "R0002": 1, "R0003": 1}
    (task,) = api.task_runs(handle.flow_run_id, 4)
    assert (task.state.name, task.run_count) == ("Completed", 3)
    assert api.flow_run(handle).state.message == "4 rows done"


@pytest.mark.parametrize("force", [False, True])
def test_a_flow_that_is_tried_again_runs_only_the_rows_that_are_left(workspace, api, force):
    from sinagot_catalog.flows import run_workspace

    root = workspace("good", "bad", "good")
    (root / "scripts" / "upper.py").write_text(FLAKY)
    state = run_workspace.with_options(retries=3)(str(root), step="upper", force=force, return_state=True)
    assert (state.name, state.message) == ("Completed", "1 row done")
    assert tried(root) == {"R0000": 1, "R0001": 3, "R0002": 1}
    assert api.flow_run(state.state_details.flow_run_id).run_count == 3


@pytest.mark.usefixtures("prefect_server")
def test_a_cancel_does_not_wait_for_the_next_try(workspace):
    root = workspace("bad")
    with (root / "workspace.toml").open("a") as toml:
        toml.write("[prefect]\nretries = 3\nretry_delay = 600\n")
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    wait(lambda: list((root / "dataset" / "LOG" / "journal" / handle.run_id).glob("*")))
    handle.cancel()
    assert set(outcomes(handle.wait(300))) <= {"error", "cancelled"}
    assert handle.state == "Cancelled"


def test_a_limit_that_does_not_exist_is_said_with_the_command_that_makes_it(workspace, api):
    root = workspace("good")
    with (root / "workspace.toml").open("a") as toml:
        toml.write('[prefect]\nconcurrency = "disks"\n')
    with pytest.raises(UsageError, match="no such global concurrency limit") as refused:
        submit(prepare(str(root)), on_message=lambda _: None)
    command = refused.value.hint.removeprefix("Make it: ")
    assert prepare(str(root)).finish().counts() == {"cancelled": 2}
    from sinagot_catalog.flows import run_workspace

    state = run_workspace(str(root), return_state=True)
    assert state.name == "Failed"
    assert "disks" in state.message
    run = api.client.read_flow_run(state.state_details.flow_run_id)
    with pytest.raises(
        ServerError, match="no such global concurrency limit"
    ):  # and no report of cancelled rows
        Workspace(root).get_flow_run(str(run.id), on_message=lambda _: None).wait(300)
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], env={**own, "PATH": path}, check=True, timeout=300)
    assert api.client.read_global_concurrency_limit_by_name("disks").limit == 4
    report = submit(prepare(str(root)), on_message=lambda _: None).wait(300)
    assert outcomes(report) == {"done": 2}


def test_a_limit_holds_batches_back_and_the_wait_is_shown_and_is_no_error(
    workspace, api, caplog, monkeypatch
):
    from sinagot_catalog.flows import concurrency

    busy, real = threading.Event(), concurrency.concurrency

    waits = []

    def observed(name, **options):
        """Prefect's own context, and a note of each wait that took too long."""
        context = real(name, **options)
        try:
            context.__enter__()
        except TimeoutError:
            waits.append(name)
            if len(waits) == 2:
                busy.set()
            raise
        held = contextlib.ExitStack()
        held.push(context)
        return held

    monkeypatch.setattr(concurrency, "concurrency", observed)
    internal = logging.getLogger("prefect._internal.concurrency")  # does not propagate
    internal.addHandler(caplog.handler)
    api.client.create_global_concurrency_limit(GlobalLimit(name="one-disk", limit=1))
    root = workspace(*["wait"] * 2)
    with (root / "workspace.toml").open("a") as toml:
        toml.write('[prefect]\nconcurrency = "one-disk"\nbatch = 1\n')
    upper = UPPER.replace(
        "        deadline", "        Path(self.data_path, f'at-{self.id}').touch()\n        deadline"
    )
    (root / "scripts" / "upper.py").write_text(upper)
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    wait(lambda: list((root / "dataset").glob("at-*")))
    assert api.client.read_global_concurrency_limit_by_name("one-disk").active_slots == 1
    assert len(list((root / "dataset").glob("at-*"))) == 1
    wait(lambda: "waiting for a slot" in api.artifacts(handle.flow_run_id)["progress"]["description"])
    assert busy.wait(300)  # Prefect logs the end of the first wait before that of the second
    assert not [line for line in caplog.messages if "failed to process item" in line]
    internal.removeHandler(caplog.handler)
    handle.cancel()  # ends the wait for the slot as well
    handle.wait(300)
    assert handle.state == "Cancelled"


# -- the flow by itself, as a deployment runs it


def test_the_flow_opens_the_workspace_and_evaluates_its_filter(workspace, api):
    from sinagot_catalog.flows import run_workspace

    root = workspace("good", "good", "good")
    state = run_workspace(str(root), where="record_id > 'R0000' AND status = 'DATA_READY'", return_state=True)
    assert (state.name, state.message) == ("Completed", "2 rows done")
    assert sorted(path.name for path in (root / "dataset").glob("upper/*")) == ["R0001.txt", "R0002.txt"]
    run = api.flow_run(state.state_details.flow_run_id)
    assert run.name == "lab · 2 rows · upper"


@pytest.mark.usefixtures("api")
def test_the_flow_takes_rows_from_a_file(workspace, tmp_path):
    from sinagot_catalog.flows import run_workspace

    root = workspace("good", "good")
    pl.DataFrame({"record_id": ["R0001"], "step": ["upper"]}).write_parquet(tmp_path / "rows.parquet")
    state = run_workspace(str(root), rows=str(tmp_path / "rows.parquet"), return_state=True)
    assert state.message == "1 row done"


@pytest.mark.parametrize("where", ["status = 'DOEN'", "nothing = 1", "status ="])
def test_a_filter_that_cannot_be_meant_fails_the_flow_with_a_sentence(workspace, api, where):
    from sinagot_catalog.flows import run_workspace

    state = run_workspace(str(workspace("good")), where=where, return_state=True)
    assert state.name == "Failed"
    assert "Traceback" not in state.message
    assert not any("Traceback" in line for line in api.logs(state.state_details.flow_run_id))


def test_parameters_of_the_flow_are_json(workspace, api):
    handle = submit(prepare(str(workspace("good"))), on_message=lambda _: None)
    handle.wait(300)
    shown = api.flow_run(handle).parameters
    assert shown["run_id"] == handle.run_id
    assert shown["workspace"].endswith("lab/workspace.toml")


# -- batches


def cut_all(groups, width, **options):
    from sinagot_catalog.flows.batches import BatchSizer

    cutter = BatchSizer(sum(map(len, groups)), **options)
    waiting = iter(groups)
    return list(iter(lambda: cutter.cut(waiting, width), []))


def one_a_group(rows):
    return [[(n, 0, f"R{n}")] for n in range(rows)]


@given(
    lengths=st.lists(st.integers(1, 5), max_size=300),
    size=st.none() | st.integers(1, 50),
    width=st.integers(1, 64),
    seconds=st.none() | st.floats(1e-4, 100),
)
def test_batches_hold_every_group_once_in_order(lengths, size, width, seconds):
    groups = [[(n, 0, f"R{number}") for n in range(length)] for number, length in enumerate(lengths)]
    cut = cut_all(groups, width, size=size, seconds=None if seconds is None else {0: seconds})
    assert [group for batch in cut for group in batch] == groups
    assert all(cut)
    if size:
        assert all(sum(map(len, batch)) < size + 5 for batch in cut)


@pytest.mark.parametrize("options", [{}, {"size": 1}, {"seconds": {0: 600.0}}, {"seconds": {0: 0.0001}}])
def test_there_are_never_more_than_a_thousand_task_runs(options):
    from sinagot_catalog.flows.batches import MOST_TASK_RUNS

    assert len(cut_all(one_a_group(50_000), 4, **options)) <= MOST_TASK_RUNS


def test_rows_that_nobody_knows_are_tried_in_few_first():
    sizes = [len(batch) for batch in cut_all(one_a_group(1_000), 4)]
    assert max(sizes) == 10
    assert [len(batch) for batch in cut_all(one_a_group(8), 4)] == [1] * 8


def test_slow_rows_go_in_small_batches_and_quick_ones_in_large():
    assert {len(batch) for batch in cut_all(one_a_group(100), 2, seconds={0: 60.0})} == {1}
    middle = [len(batch) for batch in cut_all(one_a_group(10_000), 2, seconds={0: 0.05})]
    assert middle[0] == 300  # 15 s of work
    assert middle == sorted(middle, reverse=True)  # and less and less towards the end
    assert middle[-2] <= 5
    quick = [len(batch) for batch in cut_all(one_a_group(100_000), 2, seconds={0: 0.0002})]
    assert max(quick) == 1_000


def test_batches_follow_what_the_first_ones_took():
    from sinagot_catalog.flows.batches import BatchSizer
    from sinagot_catalog.journal.run_spec import Result

    cutter, waiting = BatchSizer(1_000), iter(one_a_group(1_000))
    first = cutter.cut(waiting, 2)
    cutter.learn(first, [Result(group[0][0], "done", 5.0, 1) for group in first])
    assert len(cutter.cut(waiting, 2)) == 3
