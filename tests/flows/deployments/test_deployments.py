"""Filters as deployments: a real server, real workers of a process pool, on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import NotFoundError, ServerError, UsageError
from tests.servers import wait

UPPER = """
import pathlib, time
text = self.path.input.read_text()
deadline = time.monotonic() + 300
while text == "wait" and not pathlib.Path(self.data_path, "go").exists() and time.monotonic() < deadline:
    pathlib.Path(self.data_path, "begun").touch()
    time.sleep(0.02)
self.path.output.write_text(text.upper())
"""
CHAIN = {"upper": ("raw/{id}", "upper/{id}", UPPER), "twice": ("upper/{id}", "twice/{id}")}
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def environment(prefect_server) -> dict[str, str]:
    """What points Prefect's own programs at the server, as `server env` prints it; and quick looks for work."""
    return {
        **os.environ,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_API_AUTH_STRING": prefect_server.auth,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }


@pytest.fixture(scope="module")
def prefect(environment) -> Callable[..., str]:
    """Run Prefect's own program; gives what it says."""

    def run(*words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [PROGRAMS / "prefect", *words],
            cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@contextmanager
def running_worker(environment: dict[str, str], pool: str, log: Path) -> Iterator[subprocess.Popen]:
    """A worker of a pool; it is ended with the runs that it has."""
    command = [PROGRAMS / "prefect", "worker", "start", "--pool", pool]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=environment, cwd=log.parent, stdout=out, stderr=out) as process,
    ):
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module")
def worker(environment, prefect, tmp_path_factory) -> Iterator[str]:
    """A pool with a worker, for the tests of this file."""
    prefect("work-pool", "create", "shared", "--type", "process")
    with running_worker(environment, "shared", tmp_path_factory.mktemp("worker") / "worker.log"):
        yield "shared"


@pytest.fixture
def api(prefect_server) -> Iterator:
    from prefect import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    where = {PREFECT_API_URL: prefect_server.api_url, PREFECT_API_AUTH_STRING: prefect_server.auth}
    with temporary_settings(where), get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def trigger(api) -> Callable[..., str]:
    """Ask for a run of a deployment; gives its id."""

    def run(name: str, **parameters: str) -> str:
        found = api.read_deployment_by_name(name)
        return str(api.create_flow_run_from_deployment(found.id, parameters=parameters).id)

    return run


def quiet(_line: str) -> None:
    """Takes what is said, and says nothing."""


def logs_of(client, flow_run_id: str) -> str:
    """The log, as soon as its last line is there: the lines come in a while after the state."""
    asked = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "limit": 200}

    def lines():
        found = [line["message"] for line in client.request("POST", "/logs/filter", json=asked).json()]
        return any("Finished in state" in line for line in found) and found

    return "\n".join(wait(lines))


# --- a filter by the clock -------------------------------------------------------------------------------------


def test_a_deployed_filter_runs_a_whole_chain_and_the_next_run_sees_new_files(  # noqa: PLR0917 - fixtures
    cli, worker, prefect, trigger, api, prefect_server, write_workspace
):
    folder = write_workspace(CHAIN, ["raw/R1", "raw/R2"])
    done = cli(
        "deploy", "nightly", "-C", folder, "--where", "status = 'DATA_READY'", "--cron", "0 2 29 2 *",
        "--timezone", "Europe/Paris", "--pool", worker, "--tag", "harbour",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = api.read_deployment_by_name("run-workspace/nightly")
    assert done.stdout == (
        f"deployed run-workspace/nightly: {prefect_server.url}/deployments/deployment/{made.id}\n"
    )
    assert "4 rows would run now" in done.stderr  # two that are ready, and two after them
    env = 'eval "$(sinagot-catalog server env)" && '
    assert f"{env}prefect deployment run run-workspace/nightly\n" in done.stderr
    assert 'eval "$(sinagot-catalog server env)" && prefect worker start --pool shared' in done.stderr
    assert made.parameters == {
        "workspace": f"{folder}/workspace.toml", "where": "status = 'DATA_READY'", "downstream": True,
    }  # fmt: skip
    assert made.global_concurrency_limit.limit == 1
    [schedule] = made.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 29 2 *", "Europe/Paris")
    assert set(made.tags) == {"sinagot-catalog", "harbour"}

    ws = Workspace(folder)
    asked = prefect("deployment", "run", "run-workspace/nightly")  # as anybody does
    first = ws.get_flow_run(asked.partition("UUID: ")[2].split()[0], on_message=quiet)
    assert first.wait(300).counts() == {"done": 4}
    assert first.state == "Completed"
    assert first.run_id is not None
    assert (folder / "dataset/twice/R2").read_text() == "RAW;twice;"

    (folder / "dataset/raw/R3").write_text("new;")
    second = cli("submit", folder, "--json", "--follow", trigger("run-workspace/nightly"))
    assert second.returncode == 0, second.stderr
    rows = [(row["record_id"], row["step"], row["outcome"]) for row in json.loads(second.stdout)]
    assert rows == [("R3", "upper", "done"), ("R3", "twice", "done")]
    assert (folder / "dataset/twice/R3").read_text() == "NEW;twice;"


def test_a_deployment_of_the_same_name_is_replaced(cli, worker, api, write_workspace):
    folder = write_workspace(CHAIN, ["raw/R1"])
    words = ("deploy", "again", "-C", folder, "--pool", worker)
    assert cli(*words, "--cron", "0 2 29 2 *", "--workers", 2).returncode == 0
    first = api.read_deployment_by_name("run-workspace/again")
    done = cli(*words, "--where", "status = 'ERROR'", "--step", "upper", "--no-downstream", "--json")
    assert done.returncode == 0, done.stderr
    second = api.read_deployment_by_name("run-workspace/again")
    assert second.id == first.id == UUID(json.loads(done.stdout)["id"])
    assert second.parameters == {
        "workspace": f"{folder}/workspace.toml", "where": "status = 'ERROR'", "step": "upper", "downstream": False,
    }  # fmt: skip
    assert len(first.schedules) == 1
    assert second.schedules == []
    assert "is replaced" not in done.stderr


def test_a_deployment_of_another_workspace_is_replaced_only_when_asked(
    make_workspace, cli, api, write_workspace
):
    first = make_workspace(CHAIN, ["raw/R1"])
    assert (
        first.deploy("shared", pool="idle", cron="0 2 * * *", create_pool=True, on_message=quiet).replaced
        is None
    )
    words = ("deploy", "shared", "-C", write_workspace(CHAIN, ["raw/R1"], name="other"), "--pool", "idle")
    done = cli(*words)
    assert done.returncode == 2
    assert f"'run-workspace/shared' belongs to the deployment of {first.config.files[0]}" in done.stderr
    assert "--replace" in done.stderr
    kept = api.read_deployment_by_name("run-workspace/shared")
    assert kept.parameters["workspace"] == first.config.files[0]
    assert len(kept.schedules) == 1
    done = cli(*words, "--replace")
    assert done.returncode == 0, done.stderr
    assert f"note: the deployment of {first.config.files[0]} had that name, and is replaced\n" in done.stderr
    first.deploy("shared", pool="idle", replace=True, on_message=quiet)
    done = cli("serve", "--name", "shared", words[3], new_process=True)
    assert done.returncode == 2
    assert "--replace" in done.stderr


def test_version_pause_and_job_variables_are_deployed(make_workspace, cli, api, write_workspace):
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy

    folder = write_workspace(CHAIN, ["raw/R1"], toml="[info]\nversion = '3'\n")
    words = ("deploy", "full", "-C", folder, "--pool", "idle", "--create-pool", "--cron", "0 2 * * *")
    jobs = (
        "--job-variable",
        f"working_dir={folder}",
        "--job-variable",
        "stream_output=false",
        "--env",
        "A=1",
    )
    done = cli(*words, "--paused", *jobs)
    assert done.returncode == 0, done.stderr
    made = api.read_deployment_by_name("run-workspace/full")
    assert (made.version, made.paused) == ("3", True)
    assert made.job_variables == {"working_dir": str(folder), "stream_output": False, "env": {"A": "1"}}
    assert made.concurrency_options.collision_strategy == ConcurrencyLimitStrategy.CANCEL_NEW
    assert cli(*words, "--overlap", "wait").returncode == 0
    made = api.read_deployment_by_name("run-workspace/full")
    assert made.concurrency_options.collision_strategy == ConcurrencyLimitStrategy.ENQUEUE
    asked = make_workspace(CHAIN, ["raw/R1"], name="asked")
    asked.deploy("asked", pool="idle", on_message=quiet)
    made = api.read_deployment_by_name("run-workspace/asked")
    assert made.concurrency_options.collision_strategy == ConcurrencyLimitStrategy.ENQUEUE
    done = cli(*words, "--job-variable", "working_dri=here")
    assert done.returncode == 2
    assert "did you mean 'working_dir'?" in done.stderr
    done = cli(*words, "--job-variable", "env={}")
    assert (done.returncode, "--env" in done.stderr) == (2, True)
    with pytest.raises(UsageError, match="did you mean 'cancel'"):
        asked.deploy("asked", pool="idle", overlap="cancle", on_message=quiet)


TRIED = """
import pathlib
with pathlib.Path(self.data_path, f"tried-{self.id}").open("a") as tried:
    tried.write("x")
if self.id == "R2" and not pathlib.Path(self.data_path, "mended").exists():
    raise ValueError("not yet")
self.path.output.write_text("there")
"""


def test_a_retry_from_the_page_runs_what_the_run_has_not_done_and_no_more(worker, api, write_workspace):
    chain = {"upper": ("raw/{id}", "upper/{id}", TRIED), "twice": CHAIN["twice"]}
    folder = write_workspace(chain, ["raw/R1", "raw/R2", "raw/R3"])
    ws = Workspace(folder)
    made = ws.deploy("mended", pool=worker, where="status = 'DATA_READY'", on_message=quiet)
    asked = api.create_flow_run_from_deployment(UUID(made.id)).id
    handle = ws.get_flow_run(str(asked), on_message=quiet)
    assert handle.wait(300).counts() == {"done": 4, "error": 1, "blocked": 1}
    assert handle.state == "Failed"
    assert ws.refresh().steps.filter(status="DATA_READY").collect().is_empty()  # the filter fits nothing now

    (folder / "dataset/mended").touch()
    (folder / "dataset/raw/R4").write_text("for the next run")
    retry = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    answer = api.request(
        "POST",
        "/flow_runs/{id}/set_state",
        path_params={"id": asked},
        json={"state": retry, "force": False},
    )
    assert answer.json()["status"] == "ACCEPT"
    report = handle.wait(300)
    assert handle.state == "Completed"
    assert report.counts() == {"done": 6}
    assert sorted(report.frame.select("record_id", "step").rows()) == [
        (record, step) for record in ("R1", "R2", "R3") for step in ("twice", "upper")
    ]
    tries = {one.name: len(one.read_text()) for one in (folder / "dataset").glob("tried-*")}
    assert tries == {"tried-R1": 1, "tried-R2": 2, "tried-R3": 1}
    assert api.read_flow_run(asked).run_count == 2


WRONG = {
    "where": (["--where", "status = 'DATA_REDY'"], "did you mean 'DATA_READY'?"),
    "column": (["--where", "statuss = 'DONE'"], "did you mean 'status'?"),
    "step": (["--step", "uper"], "did you mean 'upper'?"),
    "cron": (["--cron", "0 25 * * *"], "cron: '0 25 * * *' cannot be read"),
    "timezone": (
        ["--cron", "0 2 * * *", "--timezone", "Europe/Pariss"],
        "timezone: 'Europe/Pariss' is not a time zone",
    ),
    "both": (["--cron", "0 2 * * *", "--every", "60"], "cron and every are both given"),
    "env": (["--env", "HOME"], "is not a variable with a value"),
    "pool": ([], "there is no work pool 'nowhere'"),
    "none": (["--concurrency", "0"], "concurrency: 0 is not a whole number from 1 up"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_meant_is_a_sentence_and_nothing_is_deployed(cli, api, write_workspace, case):
    from prefect.exceptions import ObjectNotFound

    words, sentence = WRONG[case]
    done = cli("deploy", "wrong", "-C", write_workspace(CHAIN, ["raw/R1"]), "--pool", "nowhere", *words)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(ObjectNotFound):
        api.read_deployment_by_name("run-workspace/wrong")


def test_a_pool_is_made_where_that_is_asked_for(make_workspace, api):
    ws = make_workspace(CHAIN, ["raw/R1"])
    with pytest.raises(NotFoundError, match="there is no work pool 'fresh'"):
        ws.deploy("first", pool="fresh", on_message=quiet)
    made = ws.deploy("first", pool="fresh", create_pool=True, env={"LAB": "1"}, on_message=quiet)
    assert made.name == "run-workspace/first"
    assert api.read_work_pool("fresh").type == "process"
    assert api.read_deployment(UUID(made.id)).job_variables == {"env": {"LAB": "1"}}


def test_a_pool_of_containers_is_told_the_image_and_the_queue(cli, api, write_workspace):
    from prefect.client.schemas.actions import WorkPoolCreate

    kinds = {"image": {"type": "string"}, "env": {"type": "object"}}
    template = {
        "job_configuration": {name: f"{{{{ {name} }}}}" for name in kinds},
        "variables": {"type": "object", "properties": kinds},
    }
    api.create_work_pool(WorkPoolCreate(name="boxes", type="docker", base_job_template=template))
    folder = write_workspace(CHAIN, ["raw/R1"])
    words = ("--image", "lab/harbour:1", "--work-queue", "night", "--env", "LAB=1")
    done = cli("deploy", "boxed", "-C", folder, "--pool", "boxes", *words)
    assert done.returncode == 0, done.stderr
    made = api.read_deployment_by_name("run-workspace/boxed")
    assert made.job_variables == {"image": "lab/harbour:1", "env": {"LAB": "1"}}
    assert (made.work_pool_name, made.work_queue_name) == ("boxes", "night")

    ws = Workspace(folder)
    ws.deploy(
        "boxed", pool="boxes", on_message=quiet
    )  # what is not said again is as if it had never been said
    again = api.read_deployment(made.id)
    assert (again.job_variables, again.work_queue_name) == ({}, "default")
    with pytest.raises(UsageError, match="the work pool 'idle' starts processes, which have no image"):
        ws.deploy("imageless", pool="idle", create_pool=True, image="lab/harbour:1", on_message=quiet)


@pytest.fixture(scope="module")
def local_pool(prefect) -> None:
    """The pool that the `prefect.yaml` of `init` names; it has no worker."""
    prefect("work-pool", "create", "local", "--type", "process", "--overwrite")


@pytest.mark.usefixtures("local_pool")
def test_the_prefect_yaml_that_init_writes_is_deployed_by_prefect(cli, prefect, api, tmp_path):
    done = cli("init", "lab", "--prefect")
    assert 'cd lab && eval "$(sinagot-catalog server env)" && prefect deploy --all\n' in done.stderr
    prefect("--no-prompt", "deploy", "--all", cwd=tmp_path / "lab")
    made = api.read_deployment_by_name("run-workspace/nightly")
    assert made.parameters["workspace"] == str(tmp_path / "lab")
    assert made.entrypoint == "sinagot_catalog.flows.run_workspace"
    assert made.pull_steps == []
    assert made.global_concurrency_limit.limit == 1
    assert [one.schedule.cron for one in made.schedules] == ["0 2 * * *"]


@pytest.mark.usefixtures("local_pool")
def test_the_triggers_of_the_prefect_yaml_start_a_run_when_their_event_comes(
    cli, prefect, api, tmp_path, wait_until
):
    assert cli("init", "bay", "--prefect").returncode == 0
    written = tmp_path / "bay" / "prefect.yaml"
    lines = [
        re.sub("^    # (triggers:|  - expect|    match)", r"    \1", line)
        for line in written.read_text().splitlines()
    ]
    written.write_text("\n".join(lines).replace("name: nightly", "name: arrivals"))
    prefect("--no-prompt", "deploy", "--all", cwd=tmp_path / "bay")
    other = {"event": "files-came", "resource": {"prefect.resource.id": "another"}, "id": str(uuid4())}
    api.request("POST", "/events", json=[{**other, "occurred": datetime.now(UTC).isoformat()}])
    prefect("event", "emit", "files-came", "--resource-id", "bay")
    made = api.read_deployment_by_name("run-workspace/arrivals")
    asked = {"deployments": {"id": {"any_": [str(made.id)]}}, "sort": "ID_DESC"}

    def by_trigger():
        found = api.request("POST", "/flow_runs/filter", json=asked).json()
        return [one for one in found if not one["auto_scheduled"]]

    wait_until(by_trigger)
    assert len(by_trigger()) == 1


def test_a_run_beyond_the_limit_of_a_schedule_is_cancelled(worker, trigger, api, write_workspace, wait_until):
    waits = """
import pathlib, time
pathlib.Path(self.data_path, "begun").touch()
while not pathlib.Path(self.data_path, "go").exists():
    time.sleep(0.05)
self.path.output.touch()
"""
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", waits)}, ["raw/R1"])
    Workspace(folder).deploy("piling", pool=worker, cron="0 2 29 2 *", on_message=quiet)

    def is_now(identity, name):
        return api.read_flow_run(UUID(identity)).state.name == name

    first = trigger("run-workspace/piling")
    wait_until((folder / "dataset" / "begun").exists)
    second = trigger("run-workspace/piling")
    wait_until(lambda: is_now(second, "Cancelled"))
    (folder / "dataset" / "go").touch()
    wait_until(lambda: is_now(first, "Completed"))


# --- rows to a deployment --------------------------------------------------------------------------------------


def test_parts_are_flow_runs_of_a_deployment_and_the_rest_comes_last(cli, worker, api, write_workspace):
    scripts = {"upper": ("raw/{id}", "upper/{id}"), "site": ("upper/{id}", "site/{site}")}
    toml = '\n[records]\nid_pattern = "(?P<site>[a-z]+)-\\\\d+"\n'
    folder = write_workspace(
        scripts, [f"raw/{site}-{n}" for site in ("lyon", "nice") for n in range(2, 6)], toml=toml
    )
    made = Workspace(folder).deploy("parted", pool=worker, concurrency=2, on_message=quiet)
    done = cli("submit", folder, "--deployment", "parted", "--parts", "2", "--json")
    assert done.returncode == 0, done.stderr
    hints = done.stderr.count("prefect worker start")
    assert hints <= 1  # none if the worker has polled since the deployment was made
    rows = json.loads(done.stdout)
    assert [row["outcome"] for row in rows].count("done") == 10
    assert {row["step"] for row in rows[:8]} == {"upper"}
    assert Workspace(folder).steps.plan().n_run == 0
    runs = [run for run in api.read_flow_runs(flow_run_filter=None) if str(run.deployment_id) == str(made.id)]
    parts = {run.parameters["part"]: run for run in runs}
    assert set(parts) == {"1/2", "2/2", "last"}
    assert parts["last"].start_time >= max(parts[one].end_time for one in ("1/2", "2/2"))
    again = cli("submit", folder, "--deployment", "parted", "--parts", "2")
    assert again.stdout.startswith("nothing to do")


def test_parts_that_a_schedule_would_cancel_are_refused(make_workspace, cli, api):
    ws = make_workspace(CHAIN, ["raw/R1", "raw/R2", "raw/R3"])
    more = {"pool": "unattended", "create_pool": True, "on_message": quiet}
    made = ws.deploy("one-by-one", cron="0 2 1 1 *", **more)
    done = cli("submit", ws.config.root, "--deployment", "one-by-one", "--parts", "3", "--no-wait")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "error: 3 parts: the deployment 'one-by-one' runs 1 flow run at a time and cancels the others",
        "Deploy it with --concurrency 3, or with --overlap wait.",
    ]
    runs = [run for run in api.read_flow_runs() if str(run.deployment_id) == made.id]
    assert not any(run.parameters.get("part") for run in runs)
    for name, options in (("several", {"concurrency": 3}), ("in-turn", {"overlap": "wait"})):
        ws.deploy(name, cron="0 2 1 1 *", **options, **more)
        done = cli("submit", ws.config.root, "--deployment", name, "--parts", "3", "--no-wait", "--json")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("prefect worker start --pool unattended") == 1
        for one in json.loads(done.stdout)["flow_runs"]:
            ws.get_flow_run(one["flow_run_id"]).cancel()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--parts", "2"],
            "error: --parts: the parts run on the workers of a deployment, and --deployment is missing",
        ),
        (["--parts", "2", "--part", "1/2"], "error: --part: not allowed with argument --parts"),
        (["--parts", "none"], "error: --parts: 'none' is not a whole number from 1 up"),
    ],
)
def test_parts_without_a_deployment_are_refused(cli, write_workspace, words, said):
    done = cli("submit", write_workspace(CHAIN, ["raw/R1"]), *words)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


def test_a_selection_goes_to_a_deployment_from_another_folder(  # noqa: PLR0917 - fixtures
    cli, worker, trigger, api, write_workspace, tmp_path
):
    folder = write_workspace(CHAIN, ["raw/R1", "raw/R2", "raw/R3"])
    ws = Workspace(folder)
    ws.deploy("picked", pool=worker, where="record_id = 'R1'", on_message=quiet)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(NotFoundError, match="did you mean 'run-workspace/picked'"):
        ws.steps.submit(deployment="run-workspace/pickd", on_message=quiet)
    assert not (folder / "dataset/LOG/selections").exists()
    words = ("submit", folder, "--where", "record_id > 'R1'", "--step", "upper", "--deployment", "picked")
    done = cli(*words, "--json", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    rows = [(row["record_id"], row["step"], row["outcome"]) for row in json.loads(done.stdout)]
    assert rows == [("R2", "upper", "done"), ("R3", "upper", "done")]
    again = cli(*words, cwd=elsewhere)
    assert again.stdout.startswith("nothing to do")
    assert "runs/flow-run" not in again.stderr
    assert ws.refresh().steps.filter(record_id="R1", step="upper").select("status").item() == "DATA_READY"

    # another workspace, config, or rows from elsewhere, are none of this worker's
    other = write_workspace(CHAIN, ["raw/R9"], name="other")
    pl.DataFrame({"record_id": ["R1"]}).write_parquet(tmp_path / "rows.parquet")
    for parameter, wrong in (("workspace", other), ("rows", tmp_path / "rows.parquet")):
        asked = trigger("run-workspace/picked", **{parameter: str(wrong)})
        opened = ws
        if parameter == "workspace":
            opened = Workspace(other)
            with pytest.raises(NotFoundError, match=f"the flow run {asked} is of {other}, not of this one"):
                ws.get_flow_run(asked, on_message=quiet)
        handle = opened.get_flow_run(asked, on_message=quiet)
        with pytest.raises(ServerError, match=f"it is Failed: this worker does not r.* {wrong}"):
            handle.wait(300)
        assert "Traceback" not in logs_of(api, handle.flow_run_id)
    assert not (other / "dataset/upper").exists()


def test_a_narrowed_workspace_sends_its_own_records_alone(worker, write_workspace):
    folder = write_workspace(CHAIN, ["raw/R1", "raw/R2"])
    Workspace(folder).deploy("narrow", pool=worker, on_message=quiet)
    part = Workspace(folder, records="R2")
    with pytest.raises(UsageError, match="opened with records=…, which a deployment does not know"):
        part.deploy("narrower", pool=worker, on_message=quiet)
    report = part.steps.submit(deployment="narrow", on_message=quiet).wait(300)
    assert set(report.frame["record_id"]) == {"R2"}


def test_a_run_of_many_rows_has_small_parameters(make_workspace, api):
    ws = make_workspace(CHAIN, [f"raw/R{n}" for n in range(2_000)])
    ws.deploy("many", pool="idle", create_pool=True, on_message=quiet)
    handle = ws.steps.filter(step="upper").submit(deployment="many", on_message=quiet)
    parameters = api.read_flow_run(UUID(handle.flow_run_id)).parameters
    assert len(json.dumps(parameters)) < 2_000
    assert re.fullmatch(r"selections/[\w-]+\.parquet", parameters["rows"])
    assert pl.read_parquet(f"{ws.config.log}/{parameters['rows']}").height == 2_000


def test_a_run_that_is_not_waited_for_is_followed_without_its_filter(make_workspace, cli):
    ws = make_workspace(CHAIN, ["raw/R1"])
    ws.deploy("unserved", pool="idle", create_pool=True, on_message=quiet)
    words = ("submit", ws.config.root, "--where", "record_id = 'R1'", "--deployment", "unserved", "--no-wait")
    done = cli(*words)
    identity = done.stdout.strip().rpartition("/")[2]
    hint = f"to wait for it:  sinagot-catalog submit {ws.config.root} --follow {identity}"
    assert hint in done.stderr.splitlines()
    ws.get_flow_run(identity, on_message=quiet).cancel()


def test_a_cancel_before_there_is_a_worker_is_an_end_without_a_report(make_workspace):
    ws = make_workspace(CHAIN, ["raw/R1"])
    ws.deploy("nobody-runs-it", pool="idle", create_pool=True, on_message=quiet)
    told: list[str] = []
    handle = ws.steps.submit(deployment="nobody-runs-it", on_message=told.append)
    assert handle.state == "Scheduled"
    assert told[-1] == (
        'it waits for a worker; where none is up:  eval "$(sinagot-catalog server env)" && '
        "prefect worker start --pool idle"
    )
    handle.cancel()
    assert handle.state == "Cancelled"
    with pytest.raises(ServerError, match="the flow run did not come to its end, it is Cancelled") as raised:
        handle.wait(300)
    assert handle.url in str(raised.value)
    assert raised.value.exit_code == 130
    handle.cancel()  # changes nothing
    assert handle.state == "Cancelled"


def test_a_workspace_in_a_bucket_is_run_by_a_worker_that_has_its_credentials(  # noqa: PLR0917 - fixtures
    cli, environment, api, moto, write_workspace, tmp_path
):
    told = "import os; self.path.output.write_text('lab ' + os.environ['LAB'])"
    url = moto.upload(write_workspace({"tell": ("raw/{id}", "told/{id}", told)}, ["raw/R1"]), "ws")
    done = cli(
        "deploy", "far", "-C", url, "--pool", "far", "--create-pool", "--env", "LAB=1", **moto.environment
    )
    assert done.returncode == 0, done.stderr
    made = api.read_deployment_by_name("run-workspace/far")
    assert made.parameters["workspace"] == f"{url}/workspace.toml"
    assert made.job_variables == {"env": {"LAB": "1"}}
    assert not re.search("testkey|testsecret", made.model_dump_json())

    ws = Workspace(url, storage_options=moto.options)
    with pytest.raises(UsageError, match=r"the scripts of .* are not run"):
        ws.steps.run(progress=False)  # here nobody said that they are trusted
    handle = ws.steps.submit(deployment="far", on_message=quiet)
    assert not re.search("testkey|testsecret", api.read_flow_run(UUID(handle.flow_run_id)).model_dump_json())
    with running_worker({**environment, **moto.environment}, "far", tmp_path / "far.log"):
        assert handle.wait(300).counts() == {"done": 1}
    assert moto.read("ws/dataset/told/R1") == b"lab 1"


def test_what_becomes_ready_is_sent_to_a_deployment_as_it_does(worker, write_workspace):
    folder = write_workspace(CHAIN, ["raw/R1"])
    ws = Workspace(folder)
    ws.deploy("watched", pool=worker, where="record_id = 'R1'", on_message=quiet)
    for record in ("R1", "R2"):
        (folder / "dataset/raw" / record).write_text("raw;")
        rounds = ws.steps.watch(deployment="run-workspace/watched", once=True, stable_for=0, on_message=quiet)
        assert [set(report.frame["record_id"]) for report in rounds] == [{record}]
    assert ws.refresh().steps.select("status")["status"].unique().to_list() == ["DONE"]


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_watch_that_is_ended_cancels_the_run_that_no_worker_has_begun(make_workspace, api, has_begun):
    from prefect.client.schemas.filters import DeploymentFilter
    from prefect.states import Running

    ws = make_workspace(CHAIN, ["raw/R1"])
    made = ws.deploy("ended", pool="idle", create_pool=True, replace=True, on_message=quiet)
    ours = DeploymentFilter.model_validate({"id": {"any_": [made.id]}})
    words = ["-m", "sinagot_catalog", "watch", ws.config.root, "--deployment", "ended", "--stable-for", "0s"]
    with subprocess.Popen([sys.executable, *words]) as watching:
        [run] = wait(lambda: api.read_flow_runs(deployment_filter=ours))
        if has_begun:
            api.set_flow_run_state(run.id, Running(), force=True)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(300) == 130
    assert api.read_flow_run(run.id).state.name == ("Running" if has_begun else "Cancelled")
    ws.get_flow_run(str(run.id), on_message=quiet).cancel()
    api.delete_deployment(UUID(made.id))


def test_a_run_elsewhere_is_cancelled_by_its_handle(worker, write_workspace, wait_until):
    folder = write_workspace(CHAIN, dict.fromkeys([f"raw/R{n}" for n in range(6)], "wait"))
    ws = Workspace(folder)
    ws.deploy("cancelled", pool=worker, workers=1, on_message=quiet)
    handle = ws.steps.submit("upper", deployment="cancelled", on_message=quiet)
    with pytest.raises(TimeoutError, match="still under way"):
        handle.wait(0)
    wait_until((folder / "dataset/begun").exists)
    assert handle.state == "Running"
    assert ws.refresh().steps.filter(status="PROCESSING").collect().height == 1
    handle.cancel()
    report = handle.wait(300)
    assert handle.state == "Cancelled"
    assert report.counts() == {"cancelled": 6}
    assert not (folder / "dataset/upper").exists() or not list((folder / "dataset/upper").iterdir())
    assert ws.steps.filter(status="DATA_READY").select("step")["step"].to_list() == ["upper"] * 6


def test_a_lost_worker_loses_no_row_and_a_second_one_does_the_rest(
    environment, api, write_workspace, wait_until, tmp_path
):
    files = {"raw/R1": "good", "raw/R2": "wait", "raw/R3": "good"}
    folder = write_workspace(CHAIN, files)
    ws = Workspace(folder)
    ws.deploy("lossy", pool="lossy", create_pool=True, workers=1, on_message=quiet)
    handle = ws.steps.submit(deployment="lossy", on_message=quiet)
    with running_worker(environment, "lossy", tmp_path / "first.log") as first:
        wait_until((folder / "dataset/begun").exists)
        [claim] = [json.loads(one.read_text()) for one in (folder / "dataset/LOG/claims").glob("*.json")]
        first.kill()
        os.kill(claim["pid"], signal.SIGKILL)
        first.wait(300)
    assert handle.state == "Running"  # nobody told the API
    wait_until(
        lambda: ws.refresh().steps.filter(record_id="R2", step="upper").select("status").item() == "ERROR"
    )
    assert "lost" in ws.steps.filter(record_id="R2", step="upper").select("reason").item()
    keys = ("record_id", "step")
    done = set(ws.steps.filter(status="DONE").select(*keys).rows())  # of the others, as far as it came
    times = {one: one.stat().st_mtime_ns for one in (folder / "dataset").glob("[ut]*/*")}

    (folder / "dataset/go").touch()
    again = ws.steps.submit(
        deployment="lossy", on_message=quiet
    )  # says that the first is lost, which frees its slot
    crashed = api.read_flow_run(UUID(handle.flow_run_id)).state
    assert (crashed.name, crashed.message) == (
        "Crashed",
        "The process that ran it is gone; what is done is kept",
    )
    with running_worker(environment, "lossy", tmp_path / "second.log"):
        report = again.wait(300)
    assert report.counts() == {"done": 6 - len(done)}
    assert set(report.frame.select(*keys).rows()) | done == set(ws.steps.select(*keys).rows())
    assert (folder / "dataset/twice/R2").read_text() == "WAITtwice;"
    assert {one: one.stat().st_mtime_ns for one in times} == times  # what was done is not done again
    with pytest.raises(ServerError, match="it is Crashed: The process that ran it is gone"):
        handle.wait(300)


# --- without a pool --------------------------------------------------------------------------------------------


@contextmanager
def serving(
    environment: dict[str, str], folder: Path, name: str, *words: str
) -> Iterator[tuple[subprocess.Popen, dict]]:
    """`serve`, as a group of processes of its own, and what it says of its deployment."""
    own = {name: value for name, value in environment.items() if not name.startswith("PREFECT_API_")}
    with subprocess.Popen(
        [PROGRAMS / "sinagot-catalog", "serve", folder, "--name", name, "--json", *words],
        env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_serve_runs_what_is_asked_and_ends_on_sigterm(  # noqa: PLR0917 - fixtures
    environment, trigger, api, write_workspace, prefect_server, wait_until
):
    folder = write_workspace(CHAIN, ["raw/R1"])
    words = ("--where", "status = 'DATA_READY'", "--every", "86400")
    with serving(environment, folder, "served", *words) as (process, told):
        assert told["url"] == f"{prefect_server.url}/deployments/deployment/{told['id']}"
        handle = Workspace(folder).get_flow_run(trigger("run-workspace/served"), on_message=quiet)
        assert handle.wait(300).counts() == {"done": 2}
        assert not api.read_deployment(UUID(told["id"])).paused
        (folder / "dataset/raw/R2").write_text("wait")
        second = Workspace(folder).get_flow_run(trigger("run-workspace/served"), on_message=quiet)
        wait_until((folder / "dataset/begun").exists)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert said.rstrip().endswith("ended; its schedule is paused until it is served again")
    assert api.read_deployment(UUID(told["id"])).paused
    assert second.wait(300).counts() == {"cancelled": 2}
    assert second.state == "Cancelled"
    assert (
        Workspace(folder).steps.filter(record_id="R2", step="upper").select("status").item() == "DATA_READY"
    )


def test_ctrl_c_ends_serve_and_the_run_that_is_under_way(environment, api, write_workspace, wait_until):
    folder = write_workspace(CHAIN, {"raw/R1": "wait"})
    with serving(environment, folder, "interrupted") as (process, told):
        asked = api.create_flow_run_from_deployment(UUID(told["id"])).id
        wait_until((folder / "dataset/begun").exists)
        os.killpg(process.pid, signal.SIGINT)  # a terminal tells all programs of it
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "Traceback" not in said
    handle = Workspace(folder).get_flow_run(str(asked), on_message=quiet)
    assert handle.wait(300).counts() == {"cancelled": 2}
    assert handle.state == "Cancelled"
    assert Workspace(folder).steps.filter(step="upper").select("status").item() == "DATA_READY"


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_serve_that_is_ended_as_soon_as_it_has_begun_pauses_its_schedule(
    environment, api, write_workspace, word
):
    folder = write_workspace(CHAIN, ["raw/R1"])
    with serving(environment, folder, f"brief-{int(word)}", "--every", "86400") as (process, told):
        process.send_signal(word)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.rstrip().endswith("ended; its schedule is paused until it is served again")
    assert api.read_deployment(UUID(told["id"])).paused


# --- words -----------------------------------------------------------------------------------------------------


def test_server_env_points_prefects_own_programs_at_the_local_server(cli, prefect_server):
    done = cli("server", "env")
    assert done.stdout == (
        f"export PREFECT_API_URL={prefect_server.api_url}\nexport PREFECT_API_AUTH_STRING={prefect_server.auth}\n"
    )
    shell = 'eval "$(sinagot-catalog server env)" && prefect work-pool ls'
    ran = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = cli(
        "server", "env", PREFECT_API_URL=prefect_server.api_url, PREFECT_API_AUTH_STRING=prefect_server.auth
    )
    assert told.stdout == ""
    assert "nothing to set" in told.stderr


@pytest.mark.parametrize("verb", ["deploy", "serve"])
def test_the_help_of_a_deployment_needs_no_prefect(cli, verb):
    done = cli(verb, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "run-workspace/NAME" in done.stdout
    assert "examples:" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not imported & {"prefect", "polars", "fsspec"}


def test_a_flow_run_that_nobody_knows_is_a_sentence(make_workspace, prefect_server):  # noqa: ARG001
    ws = make_workspace(CHAIN, ["raw/R1"])
    for wrong in ("not-an-id", "0198c5f2-0000-7000-8000-000000000000"):
        with pytest.raises(NotFoundError, match=f"there is no flow run '{wrong}'"):
            ws.get_flow_run(wrong, on_message=quiet)


NIGHT = """
from prefect import flow

from sinagot_catalog import Workspace
from sinagot_catalog.flows import run_workspace


@flow
def night(workspace: str, submit: bool = False):
    if submit:
        Workspace(workspace).steps.submit(step_label="upper").wait()
    else:
        for asked in (
            {"record_id": ["R1", "R2"]},
            {"where": "record_id IN ('R3', 'R4') AND status = 'DATA_READY'"},
            {"rows": f"{workspace}/rows.parquet"},
        ):
            assert run_workspace(workspace, step="upper", **asked).counts() == {"done": 2}
"""


def test_a_deployed_flow_of_the_user_has_subflows_which_end_with_it(  # noqa: PLR0917 - fixtures
    worker, api, prefect, write_workspace, tmp_path, wait_until
):
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.states import Cancelling

    (tmp_path / "night.py").write_text(NIGHT)
    prefect("--no-prompt", "deploy", "night.py:night", "--name", "own", "--pool", worker, cwd=tmp_path)
    deployment = api.read_deployment_by_name("night/own").id

    def start(folder, **more):
        values = {"workspace": str(folder), **more}
        return api.create_flow_run_from_deployment(deployment, parameters=values).id

    def has_ended(identity):
        return api.read_flow_run(identity).state.is_final()

    def subflow_of(identity):
        around = {"parent_flow_run_id": {"any_": [str(identity)]}}
        return api.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(around))[0]

    picked = write_workspace(CHAIN, [f"raw/R{n}" for n in range(1, 8)], name="good")
    rows = Workspace(picked).steps.filter(pl.col("record_id").is_in(["R5", "R6"]))
    rows.collect().write_parquet(picked / "rows.parquet")
    good = start(picked)
    slow = write_workspace(CHAIN, {f"raw/R{n}": "wait" for n in range(1, 60)}, name="slow")
    cancelled = start(slow, submit=True)
    wait_until(lambda: has_ended(good))
    assert api.read_flow_run(good).state.name == "Completed", logs_of(api, str(good))
    assert len(list((picked / "dataset").glob("upper/*"))) == 6
    wait_until((slow / "dataset" / "begun").exists)
    child = subflow_of(cancelled)
    api.set_flow_run_state(cancelled, Cancelling())
    wait_until(lambda: has_ended(child.id))
    assert api.read_flow_run(child.id).state.name in {"Cancelled", "Crashed"}
    (slow / "dataset" / "go").touch()
    assert list((slow / "dataset").glob("upper/*")) == []
