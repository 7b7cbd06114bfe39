"""Rows in flows and tasks that the user wrote, on a real server."""

import asyncio
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import RunError, SelectionError, UsageError
from tests.servers import wait

UPPER = """
import os, pathlib, time
text = self.path.input.read_text()
self.logger.info(f"{self.id} begins")
if text == "bad":
    raise ValueError("nothing good")
deadline = time.monotonic() + 300
begun = pathlib.Path(self.data_path, f"begun-{self.id}")
begun.with_name(f".{begun.name}").write_text(str(os.getpid()))
begun.with_name(f".{begun.name}").rename(begun)
while text == "wait" and not pathlib.Path(self.data_path, "go").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
self.path.output.write_text(text.upper())
"""
STEPS = {"upper": ("raw/{id}", "upper/{id}", UPPER)}
ONE_WORKER = "[run]\nworkers = 1\n"
pytestmark = [
    # Prefect leaves a socket of its client open when the event loop of an async flow closes.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def api(prefect_server) -> Iterator:
    """A client of the API that flows of the test use."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    where = {PREFECT_API_URL: prefect_server.api_url, PREFECT_API_AUTH_STRING: prefect_server.auth}
    with temporary_settings(where), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def folder(write_workspace):
    """A workspace of three records, R1 to R3."""
    return write_workspace(STEPS, ["raw/R1", "raw/R2", "raw/R3"], toml=ONE_WORKER)


@pytest.fixture
def waiting(write_workspace):
    """A workspace of nine records whose rows wait for a file `go`, one after the other."""
    return write_workspace(STEPS, {f"raw/R{n}": "wait" for n in range(1, 10)}, toml=ONE_WORKER)


def parent_of(client, flow_run_id):
    """The id of the flow run around a subflow."""
    tracking = client.read_flow_run(UUID(str(flow_run_id))).parent_task_run_id
    return None if tracking is None else str(client.read_task_run(tracking).flow_run_id)


def lines_of(client, wanted, **where):
    """The log lines of a run, once they contain a text."""
    asked = {"logs": {name: {"any_": [str(value)]} for name, value in where.items()}, "limit": 200}

    def lines():
        found = [line["message"] for line in client.request("POST", "/logs/filter", json=asked).json()]
        return any(wanted in line for line in found) and found

    return wait(lines)


def begun(folder):
    return sorted(path.name for path in (folder / "dataset").glob("begun-*"))


def is_at_work(folder):
    """Whether a process lives in which a row began."""
    for path in (folder / "dataset").glob("begun-*"):
        try:
            os.kill(int(path.read_text()), 0)
        except ProcessLookupError:
            continue
        return True
    return False


def quiet(_line):
    pass


# -- run_workspace as a subflow


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"record_id": ["R1", "R3"]}, ["R1", "R3"]),
        ({"record_id": "R2"}, ["R2"]),
        ({"where": "record_id > 'R1'"}, ["R2", "R3"]),
        ({"where": "record_id > 'R1'", "record_id": ["R1", "R2"]}, ["R2"]),
        ({}, ["R1", "R2", "R3"]),
    ],
)
def test_a_subflow_returns_the_report_of_the_rows_it_was_given(folder, api, asked, ids):
    from prefect import flow, runtime

    from sinagot_catalog.flows import run_workspace

    @flow
    def night():
        return run_workspace(str(folder), **asked), runtime.flow_run.id

    report, outer = night()
    assert report.frame["record_id"].to_list() == ids
    assert report.counts() == {"done": len(ids)}
    assert parent_of(api, report.flow_run_id) == outer
    assert api.read_flow_run(UUID(report.flow_run_id)).state.message.startswith(f"{len(ids)} row")


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("kind", [str, Path])
def test_a_subflow_takes_the_parquet_of_a_selection(folder, tmp_path, kind):
    from prefect import flow

    from sinagot_catalog.flows import run_workspace

    path = tmp_path / "rows.parquet"
    Workspace(folder).steps.filter(pl.col("record_id") != "R2").collect().write_parquet(path)
    more = tmp_path / "more.toml"
    more.write_text(ONE_WORKER)

    @flow
    def night():
        return run_workspace(kind(folder), rows=kind(path), config=kind(more))

    assert night().frame["record_id"].to_list() == ["R1", "R3"]


@pytest.mark.usefixtures("api")
def test_failed_rows_raise_an_error_that_has_the_report_and_return_state_gives_failed(write_workspace):
    from prefect import flow

    from sinagot_catalog.flows import run_workspace

    folder = write_workspace(STEPS, {"raw/R1": "good", "raw/R2": "bad"})

    @flow
    def night():
        try:
            run_workspace(str(folder))
        except RunError as error:
            state = run_workspace(str(folder), return_state=True)
            return error, state.name, state.message

    error, name, message = night()
    assert error.report.counts() == {"done": 1, "error": 1}
    assert error.report.failures()["record_id"].to_list() == ["R2"]
    assert (name, message) == ("Failed", "1 of 1 row failed")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert again.report.frame.equals(error.report.frame)
    assert str(again) == str(error)


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"where": "status = 'DOEN'"}, "DOEN"),
        ({"record_id": ["X9"]}, "'X9'"),
        ({"where": pl.col("record_id") == "R1"}, "where: a filter is a text in SQL, and no Expr"),
        ({"rows": pl.DataFrame()}, "rows: DataFrame is neither a path nor a URL"),
        ({"config": 3}, "config: int is neither a path nor a URL"),
        ({"record_id": 3}, "an id is a text such as '3', not the number 3"),
        ({"step": 3}, "there is no step 3"),
        ({"batch": "many"}, "batch: 'many' is not a whole number from 1 up"),
        ({"force": "no"}, "force: 'no' is neither True nor False"),
    ],
)
def test_a_subflow_that_cannot_start_raises_the_reason(folder, asked, words):
    from prefect import flow

    from sinagot_catalog.flows import run_workspace

    @flow
    def night():
        with pytest.raises(SelectionError, match=words):
            run_workspace(str(folder), **asked)

    night()
    assert not begun(folder)


@pytest.mark.usefixtures("api")
def test_an_async_flow_runs_it_too(folder):
    from prefect import flow

    from sinagot_catalog.flows import run_workspace

    @flow
    async def night():
        return run_workspace(str(folder), record_id="R1")

    assert asyncio.run(night()).counts() == {"done": 1}


def test_the_name_and_the_tags_that_the_user_gave_stay(folder, api):
    from prefect import flow, tags

    from sinagot_catalog.flows import run_workspace

    @flow
    def night():
        with tags("lab-night"):
            named = run_workspace.with_options(flow_run_name="first pass")(str(folder), record_id="R1")
        return named, run_workspace(str(folder), record_id="R2")

    named, other = night()
    run = api.read_flow_run(UUID(named.flow_run_id))
    assert run.name == "first pass"
    assert {"lab-night", "sinagot-catalog"} <= set(run.tags)
    assert api.read_flow_run(UUID(other.flow_run_id)).name == "workspace · 1 row · upper"


@pytest.mark.usefixtures("api")
def test_a_task_runner_of_other_processes_is_refused_in_a_sentence(folder):
    from prefect.task_runners import ProcessPoolTaskRunner

    from sinagot_catalog.flows import run_workspace

    with pytest.raises(UsageError, match="ProcessPoolTaskRunner cannot run the batches"):
        run_workspace.with_options(task_runner=ProcessPoolTaskRunner())(str(folder))
    assert not begun(folder)


@pytest.mark.usefixtures("api")
def test_retries_that_the_user_gave_run_the_rows_that_failed(write_workspace):
    from sinagot_catalog.flows import run_workspace

    source = "import pathlib\nmark = pathlib.Path(self.data_path, 'mended')\n"
    source += "if not mark.exists():\n    mark.touch()\n    raise ValueError('not yet')\n"
    source += "self.path.output.write_text('there')\n"
    folder = write_workspace({"upper": ("raw/{id}", "upper/{id}", source)}, ["raw/R1"])
    report = run_workspace.with_options(retries=1, retry_delay_seconds=0)(str(folder))
    assert report.counts() == {"done": 1}


# -- run


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_run_in_a_flow_and_in_a_task_sends_the_lines_of_rows_to_the_log_of_that_run(folder, api, mode):
    from prefect import flow, runtime, task

    @task
    def one(rows):
        return rows.run(mode=mode, progress=False), runtime.task_run.id

    @flow
    def night():
        ws = Workspace(folder)
        first = ws.steps.filter(record_id="R1").run(mode=mode, progress=False)
        second, task_run = one(ws.steps.filter(record_id="R2"))
        return first, second, runtime.flow_run.id, task_run

    first, second, flow_run, task_run = night()
    assert first.counts() == second.counts() == {"done": 1}
    assert "R1 | upper | R1 begins" in lines_of(api, "R1 begins", flow_run_id=flow_run)
    assert "R2 | upper | R2 begins" in lines_of(api, "R2 begins", task_run_id=task_run)


@pytest.mark.usefixtures("api")
def test_run_in_an_async_flow_and_an_async_task(folder):
    from prefect import flow, task

    @task
    async def one(rows):
        return rows.run(progress=False)

    @flow
    async def night():
        ws = Workspace(folder)
        return [
            ws.steps.filter(record_id="R1").run(progress=False),
            await one(ws.steps.filter(record_id="R2")),
        ]

    assert [report.counts() for report in asyncio.run(night())] == [{"done": 1}, {"done": 1}]


def test_run_ends_when_its_flow_is_cancelled(waiting, api, wait_until):
    from prefect import flow, runtime
    from prefect.states import Cancelling

    seen = {}

    @flow
    def night():
        seen["id"] = runtime.flow_run.id
        return Workspace(waiting).steps.run(progress=False)

    with _in_thread(night) as result:
        wait_until(lambda: begun(waiting))
        api.set_flow_run_state(UUID(seen["id"]), Cancelling(), force=True)
        report = result(300)
    assert report.counts() == {"cancelled": 9}
    assert len(begun(waiting)) == 1
    assert not is_at_work(waiting)


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_run_begins_no_row_after_the_time_of_its_flow_is_over_and_ends_its_scripts(waiting, kind, wait_until):
    from prefect import flow

    def rows():
        return Workspace(waiting).steps.run(progress=False)

    if kind == "sync":
        night = flow(timeout_seconds=6)(rows)
        state = night(return_state=True)
    else:

        async def in_a_coroutine():
            rows()
            await asyncio.sleep(0)

        state = asyncio.run(flow(in_a_coroutine, timeout_seconds=6)(return_state=True))
    before = begun(waiting)
    wait_until(lambda: not is_at_work(waiting))
    (waiting / "dataset" / "go").touch()
    assert state.name == "TimedOut"
    assert len(before) <= 1
    assert begun(waiting) == before


# -- submit


def test_submit_in_a_flow_is_a_subflow_of_it(folder, api):
    from prefect import flow, runtime

    @flow
    def night():
        handle = Workspace(folder).steps.submit(on_message=quiet)
        return handle.wait(300), handle, runtime.flow_run.id

    report, handle, outer = night()
    assert report.counts() == {"done": 3}
    assert report.flow_run_id == handle.flow_run_id
    assert parent_of(api, handle.flow_run_id) == outer
    run = api.read_flow_run(UUID(handle.flow_run_id))
    assert (run.name, run.state.name) == ("workspace · 3 rows · upper", "Completed")
    assert handle.url.endswith(handle.flow_run_id)


def test_lines_of_scripts_are_in_the_log_of_their_task_run(folder, api):
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    from sinagot_catalog.flows import run_workspace

    report = run_workspace(str(folder), batch=1)
    ours = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(report.flow_run_id)]))

    def all_found():
        found = {run.name: run.id for run in api.read_task_runs(flow_run_filter=ours)}
        return len(found) == 3 and found

    found = wait(all_found)
    for record in ("R1", "R2", "R3"):
        task_run = found[f"workspace · upper · {record} · 1 row"]
        lines = [line for line in lines_of(api, "begins", task_run_id=task_run) if "begins" in line]
        assert lines == [f"{record} | upper | {record} begins"]


@pytest.mark.usefixtures("api")
def test_progress_is_written_when_it_changes_and_less_and_less_often(write_workspace, monkeypatch):
    from sinagot_catalog.flows import monitor, run_workspace

    updates, update = [], monitor.update_progress_artifact

    def noted(artifact, share, *, description):
        updates.append((time.monotonic(), description))
        return update(artifact, share, description=description)

    monkeypatch.setattr(monitor, "update_progress_artifact", noted)
    source = (
        "import time\ntime.sleep(float(self.path.input.read_text()))\nself.path.output.write_text('there')\n"
    )
    one = write_workspace({"one": ("raw/{id}", "one/{id}", source)}, {"raw/R1": "6"}, name="one")
    assert run_workspace(str(one)).counts() == {"done": 1}
    assert [words for _, words in updates] == ["1 of 1 row"]

    updates.clear()
    raw = {f"raw/R{n}": "0.4" for n in range(25)}
    many = write_workspace({"one": ("raw/{id}", "one/{id}", source)}, raw, toml=ONE_WORKER, name="many")
    assert run_workspace(str(many), batch=1).counts() == {"done": 25}
    assert updates[-1][1] == "25 of 25 rows"
    assert len({words for _, words in updates}) == len(updates)
    moments = [moment for moment, _ in updates[:-1]]
    pauses = [after - before for before, after in pairwise(moments)]
    assert pauses
    assert all(pause >= 2.25 * 1.5**number for number, pause in enumerate(pauses))


def test_a_handle_is_awaited_in_an_async_flow_and_outside_of_flows(folder, api):
    from prefect import flow, runtime

    @flow
    async def night():
        steps = Workspace(folder).steps
        return await steps.filter(record_id="R1").submit(on_message=quiet), runtime.flow_run.id

    report, outer = asyncio.run(night())
    assert report.counts() == {"done": 1}
    assert parent_of(api, report.flow_run_id) == outer

    async def outside():
        return await Workspace(folder).steps.filter(record_id="R2").submit(on_message=quiet)

    report = asyncio.run(outside())
    assert report.counts() == {"done": 1}
    assert parent_of(api, report.flow_run_id) is None


def test_submit_in_a_task_is_a_subflow_of_the_flow_around_it(folder, api):
    from prefect import flow, runtime, task

    @task
    def send(rows):
        return rows.submit(on_message=quiet).wait(300)

    @flow
    def night():
        return send.submit(Workspace(folder).steps).result(), runtime.flow_run.id

    report, outer = night()
    assert report.counts() == {"done": 3}
    assert parent_of(api, report.flow_run_id) == outer


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_submitted_run_ends_when_the_flow_around_it_is_cancelled(waiting, api, wait_until, kind):
    from prefect import flow, runtime
    from prefect.states import Cancelling

    seen = {}

    def submit():
        seen["id"] = runtime.flow_run.id
        return Workspace(waiting).steps.submit(on_message=quiet)

    if kind == "sync":
        night = flow(name="night")(lambda: submit().wait(300))
    else:

        @flow
        async def in_a_coroutine():
            return await submit()

        def night():
            return asyncio.run(in_a_coroutine())

    with _in_thread(night) as result:
        wait_until(lambda: begun(waiting))
        begin = time.monotonic()
        api.set_flow_run_state(UUID(seen["id"]), Cancelling(), force=True)
        report = result(300)
    assert report.counts() == {"cancelled": 9}
    assert len(begun(waiting)) == 1
    assert not is_at_work(waiting)
    assert api.read_flow_run(UUID(report.flow_run_id)).state.name == "Cancelled"
    assert time.monotonic() - begin < 200


def test_a_submitted_run_ends_when_the_time_of_the_flow_around_it_is_over(waiting, api):
    from prefect import flow

    for seconds in (4, 16, 64, 256):  # as much as this machine needs to submit
        handles = []

        @flow(timeout_seconds=seconds)
        def night(handles=handles):
            handles.append(Workspace(waiting).steps.submit(on_message=quiet))
            handles[0].wait(300)

        state = night(return_state=True)
        if handles:
            break
    report = handles[0].wait(300)
    assert state.name == "TimedOut"
    assert set(report.counts()) == {"cancelled"}
    assert len(begun(waiting)) <= 1
    assert not is_at_work(waiting)
    assert api.read_flow_run(UUID(report.flow_run_id)).state.name == "Cancelled"


def test_a_submitted_run_goes_on_when_the_flow_around_it_has_ended_well(waiting, api):
    from prefect import flow

    @flow
    def night():
        return Workspace(waiting).steps.filter(record_id="R1").submit(on_message=quiet)

    handle = night()
    (waiting / "dataset" / "go").touch()
    assert handle.wait(300).counts() == {"done": 1}
    assert api.read_flow_run(UUID(handle.flow_run_id)).state.name == "Completed"


ALONE = """
import sys
from prefect import flow
from sinagot_catalog import Workspace
from sinagot_catalog.errors import ServerError

@flow
def night():
    ws = Workspace(sys.argv[1])
    try:
        ws.deploy("nightly", pool="local", create_pool=True, on_message=lambda line: None)
    except ServerError as error:
        print("refused:", error)
    return ws.steps.submit(on_message=lambda line: None).wait(300)

print(night())
"""


@pytest.mark.usefixtures("own_home")
def test_without_a_configured_api_the_one_of_the_flow_is_used_and_no_deployment_is_made(
    folder, tmp_path, grow_prefect
):
    grow_prefect(tmp_path)
    program = tmp_path / "night.py"
    program.write_text(ALONE)
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "SINAGOT_CATALOG_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, program, folder],
        env={**os.environ, **home, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<RunReport | 3 done>" in done.stdout
    assert "refused: the deployment 'run-workspace/nightly' would be gone with this process" in done.stdout
    assert not Path(home["SINAGOT_CATALOG_HOME"]).exists()


def _in_thread(function):
    """Run a flow in a thread with the settings of the caller; the context gives a function that waits for it."""
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import contextmanager
    from contextvars import copy_context

    @contextmanager
    def running():
        context = copy_context()
        from prefect.context import AsyncClientContext, SyncClientContext

        for kind in (SyncClientContext, AsyncClientContext):
            context.run(kind.__var__.set, None)
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(context.run, function)
            yield future.result

    return running()
