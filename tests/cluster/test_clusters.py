"""Batches of a submitted run on real clusters of this machine: Dask and Ray, their workers killed at work."""

import os
import pickle
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.cluster.remote_batch import BatchRequest, BatchResult, run_batch
from sinagot_catalog.errors import ServerError, UsageError
from sinagot_catalog.flows.prepare import executor_of, prepare
from sinagot_catalog.flows.server.api_client import ask
from sinagot_catalog.flows.submission import submit
from tests.servers import wait

pytestmark = [
    # Of the clusters' own making, in their threads.
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]

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
retries = 0
[prefect]
task_runner = "KIND"
"""

UPPER = """
import os, time
from pathlib import Path
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "upper/{id}.txt"

    def run(self):
        text = Path(self.path.input).read_text()
        self.logger.info("it says %s", text)
        if text == "interrupt":
            raise KeyboardInterrupt
        if text == "bad":
            raise ValueError(f"{self.id} holds nothing good")
        if text == "wait":
            hidden = Path(self.data_path, f".at-{self.id}")
            hidden.write_text(str(os.getpid()))
            hidden.rename(hidden.with_name(f"at-{self.id}"))
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
    PATH_OUT = {"twice": "twice/{id}.txt", "size": "twice/{id}.json"}

    def run(self):
        text = Path(self.path.input).read_text() * 2
        self.path.output["twice"].write_text(text)
        self.path.output["size"].write_text(str(len(text)))
"""


@pytest.fixture(params=["dask", "ray"])
def cluster(request):
    found = request.getfixturevalue(request.param)
    found.ensure(2)
    return found


@pytest.fixture
def workspace(tmp_path):
    """Write a workspace whose records hold these texts, for a cluster."""

    def make(texts, cluster=None, more="", name="lab"):
        root = tmp_path / name
        (root / "scripts").mkdir(parents=True)
        (root / "dataset" / "raw").mkdir(parents=True)
        kind = "threads" if cluster is None else getattr(cluster, "kind", cluster)
        address = f'address = "{cluster.address}"\n' if hasattr(cluster, "address") else ""
        (root / "workspace.toml").write_text(CONFIG.replace("KIND", kind) + address + more)
        (root / "scripts" / "upper.py").write_text(UPPER)
        (root / "scripts" / "twice.py").write_text(TWICE)
        for number, text in enumerate(texts):
            (root / "dataset" / "raw" / f"R{number:04d}.txt").write_text(text)
        return root

    return make


def events(root):
    """Of each row, the names of its events in their order."""
    found = {}
    for event in Workspace(root).events().sort("time", maintain_order=True).to_dicts():
        found.setdefault((event["record_id"], event["step"]), []).append(event["event"])
    return found


def results(root):
    dataset = root / "dataset"
    return {str(one.relative_to(dataset)): one.read_text() for one in dataset.glob("[ut]*/*")}


def rows(report):
    return report.frame.drop("seconds").sort("record_id", "step").rows()


def run(root, **options):
    return submit(prepare(str(root), **options), on_message=lambda _: None).wait(300)


@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_gives_the_same_files_journal_and_report_as_threads(cluster, workspace):
    texts = ["good", "fine", "bad", "good"] * 6
    here, there = workspace(texts, name="here"), workspace(texts, cluster, name="there")
    expected, found = run(here), run(there)
    assert expected.counts() == {"done": 36, "error": 6, "blocked": 6}
    assert rows(found) == rows(expected)
    assert results(there) == results(here)
    assert events(there) == events(here)
    assert not list((there / "dataset" / "LOG" / ".staging").glob("*"))
    hosts = {event["pid"] for event in Workspace(there).events().to_dicts()}
    assert hosts.isdisjoint({os.getpid()})


JOIN = """
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "upper/{id}.txt"
    PATH_OUT = "join/{half}.txt"
    BY = ("half",)

    def run(self):
        text = " ".join(path.read_text() for path in self.path.input)
        self.path.output.write_text(f"{self.id} of {len(self.records)}: {text}")
"""


@pytest.mark.usefixtures("prefect_server")
def test_groups_run_on_a_cluster_after_their_members(cluster, workspace):
    root = workspace(["one", "two"], cluster)
    toml = (root / "workspace.toml").read_text()
    toml = toml.replace("'R\\d+'", "'R00(?P<half>\\d)\\d'").replace('"twice"', '"join"')
    (root / "workspace.toml").write_text(toml)
    (root / "scripts" / "join.py").write_text(JOIN)
    for name, text in {"R0010": "three", "R0011": "bad"}.items():
        (root / "dataset" / "raw" / f"{name}.txt").write_text(text)
    report = run(root)
    assert report.counts() == {"done": 4, "error": 1, "blocked": 1}, report.frame["message"].to_list()
    assert (root / "dataset" / "join" / "0.txt").read_text() == "half=0 of 2: ONE TWO"
    (root / "dataset" / "raw" / "R0011.txt").write_text("four")
    assert run(root).counts() == {"done": 2}
    assert (root / "dataset" / "join" / "1.txt").read_text() == "half=1 of 2: THREE FOUR"


@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_worker_that_is_killed_costs_no_row(cluster, workspace):
    root = workspace(["good", "good", "bad", "wait", "good", "good"], cluster, "batch = 12\n")
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    at = root / "dataset" / "at-R0003"
    wait(at.exists)
    journal = root / "dataset" / "LOG" / "journal" / handle.run_id
    (name,) = [one.stem for one in journal.glob("*-w01.ndjson")]
    lost = int(name.split("-")[-3])
    at.unlink()
    os.kill(lost, signal.SIGKILL)
    wait(at.exists)  # another one is at the same row
    (root / "dataset" / "go").touch()
    report = handle.wait(300)
    assert report.counts() == {"done": 5, "error": 1}
    assert report.frame["record_id"].is_unique().all()
    told = events(root)
    starts = Counter({record: names.count("start") for (record, _), names in told.items()})
    assert starts == {f"R{n:04d}": 2 if n == 3 else 1 for n in range(6)}
    assert all(names[-1] == ("error" if record == "R0002" else "done") for (record, _), names in told.items())
    assert {path.stem for path in journal.glob("*-w*")} > {name}


@pytest.mark.usefixtures("prefect_server")
def test_a_cancel_ends_the_scripts_on_the_cluster(cluster, workspace):
    root = workspace(["wait"] * 8, cluster)
    handle = submit(prepare(str(root), step="upper"), on_message=lambda _: None)
    wait(lambda: len(list((root / "dataset").glob("at-*"))) == 2)
    begun = time.monotonic()
    handle.cancel()
    report = handle.wait(300)
    assert time.monotonic() - begun < 200
    assert handle.state == "Cancelled"
    assert report.counts() == {"cancelled": 8}
    wait(lambda: not any(is_alive(one) for one in (root / "dataset").glob("at-*")))
    again = prepare(str(root), step="upper")
    assert again.n_rows == 8  # nothing is held any more
    again.finish()


def is_alive(at):
    """Whether the process that a script noted is there."""
    try:
        os.kill(int(at.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def test_what_a_killed_client_sent_to_the_cluster_ends_and_its_flow_run_is_crashed(
    dask, workspace, prefect_server, cli
):
    dask.ensure(2)
    root = workspace(["wait"] * 4, dask)
    code = (
        "from sinagot_catalog.flows.prepare import prepare; from sinagot_catalog.flows.submission import submit\n"
        f"print(submit(prepare({str(root)!r}, step='upper')).flow_run_id, flush=True)"
    )
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with client:
        try:
            flow_run_id = client.stdout.readline().strip()
            wait(lambda: len(list((root / "dataset").glob("at-*"))) == 2)
        finally:
            client.kill()
    wait(lambda: not any(is_alive(one) for one in (root / "dataset").glob("at-*")))
    assert "1 flow run marked as Crashed" in cli("server", "status").stdout
    state = state_of(prefect_server, flow_run_id)
    assert (state["type"], "is gone" in state["message"]) == ("CRASHED", True)
    assert "Crashed" not in cli("server", "status").stdout
    (root / "dataset" / "go").touch()
    assert run(root, step="upper").counts() == {"done": 4}


def state_of(server, flow_run_id):
    return ask(f"{server.api_url}/flow_runs/{flow_run_id}", auth=server.auth)["state"]


def logs_of(server, handle):
    asked = {"logs": {"flow_run_id": {"any_": [handle.flow_run_id]}}, "limit": 200}
    return [one["message"] for one in ask(f"{server.api_url}/logs/filter", auth=server.auth, body=asked)]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_without_an_address_a_cluster_of_this_machine_is_made(workspace, kind, request):
    request.getfixturevalue(kind)  # sets the token that this process keeps for every Ray
    root = workspace(["good"] * 5, kind)
    assert run(root).counts() == {"done": 10}


LOCAL_RAY = """
import os
os.umask(0o002)
from sinagot_catalog.cluster import ClusterAddress
from sinagot_catalog.cluster.ray_cluster import RayCluster
RayCluster(ClusterAddress("ray"), 1).close()
"""


@pytest.mark.parametrize("is_there", [False, True])
def test_the_token_of_a_local_ray_cluster_is_its_owners_alone(tmp_path, is_there):
    token = tmp_path / ".ray" / "auth_token"
    if is_there:
        token.parent.mkdir()
        token.write_text(secrets.token_hex(32))
        token.chmod(0o664)
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**others, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    start = subprocess.run(
        [sys.executable, "-c", LOCAL_RAY],
        env=environment,
        check=False,
        timeout=300,
        capture_output=True,
        text=True,
    )
    # Ray gives its own processes 30 s, which a busy machine may exceed; the token is there before.
    assert start.returncode == 0 or "timed out during startup" in start.stderr, start.stderr
    assert token.stat().st_mode & 0o777 == 0o600
    assert is_there or token.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_cluster_that_is_not_there_is_said_and_the_rows_are_given_back(workspace, kind):
    root = workspace(["good"], kind, 'address = "tcp://127.0.0.1:9"\n')
    with pytest.raises(ServerError, match=r"address = 'tcp://127.0.0.1:9': connection refused"):
        submit(prepare(str(root)), on_message=lambda _: None)
    again = prepare(str(root))
    assert again.n_rows == 2
    again.finish()


def test_a_cluster_without_its_package_names_the_extra(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"sinagot-catalog\[ray\]"):
        submit(prepare(str(workspace(["good"], "ray"))), on_message=lambda _: None)


def test_a_cluster_that_opens_late_is_let_go_when_it_comes(dask, workspace):
    claimed = prepare(str(workspace(["good"], dask)))
    executor = executor_of(claimed)
    executor.close()  # waits for nothing
    executor.wait_started()
    wait(lambda: executor._is_closed)
    assert claimed.finish().counts() == {"cancelled": 2}


def test_a_run_that_is_stopped_while_its_cluster_opens_runs_no_row(dask, workspace):
    dask.ensure(1)
    claimed = prepare(str(workspace(["good"], dask)), step="upper")
    executor = executor_of(claimed)
    executor.stop()
    with executor:
        for phase in claimed.phases_in_turn(claimed.note):
            claimed.note(executor.run_batch(list(phase)))
    assert claimed.finish().counts() == {"cancelled": 1}


def test_scripts_that_interrupt_themselves_fail_their_rows_of_a_batch(workspace):
    execution = prepare(str(workspace(["good", "interrupt", "good"])), step="upper")
    config = execution.source.config
    order = pickle.dumps(
        BatchRequest(execution.spec, execution.setup().claim, config.log, config.scripts, config.files)
    )
    groups = [group for phase in execution.phases for group in phase]
    results = pickle.loads(run_batch(order, pickle.dumps(("batch-0", groups, {})))).results  # noqa: S301
    assert sorted(one.outcome for one in results) == ["done", "done", "error"]
    execution.note(results)
    assert execution.finish().counts() == {"done": 2, "error": 1}


def test_a_batch_without_rows_starts_a_worker_which_ends_with_the_run(workspace, children):
    execution = prepare(str(workspace(["good"])))
    config = execution.source.config
    order = pickle.dumps(
        BatchRequest(execution.spec, execution.setup().claim, config.log, config.scripts, config.files)
    )
    before = children()
    answer = run_batch(order, pickle.dumps(("ready-0", [], {})))
    assert pickle.loads(answer) == BatchResult([], (), 0)  # noqa: S301
    assert len(children() - before) == 1
    execution.finish()
    wait(lambda: children() <= before)


@pytest.fixture
def dask_of_bucket(moto, tmp_path, monkeypatch, start_dask):
    """A cluster whose workers have what opens the bucket, as this process has."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dask").mkdir()
    with start_dask(tmp_path / "dask") as cluster:
        cluster.ensure(2)
        yield cluster


def test_a_workspace_in_a_bucket_runs_on_a_cluster_and_what_its_scripts_say_is_in_the_flows_log(
    moto, dask_of_bucket, workspace, prefect_server
):
    url = moto.upload(workspace(["good", "bad", "fine"], dask_of_bucket), "lab")
    handle = submit(prepare_trusted(url), on_message=lambda _: None)
    assert handle.wait(300).counts() == {"done": 4, "error": 1, "blocked": 1}
    assert moto.read("lab/dataset/twice/R0002.txt") == b"FINEFINE"
    told = Workspace(url, trust=True).events()
    assert told.filter(pl.col("event") == "done").height == 4
    assert not [key for key in moto.keys("lab/dataset/LOG") if ".staging" in key]
    expected = {f"R000{n} | upper | it says {text}" for n, text in enumerate(["good", "bad", "fine"])}
    expected |= {"R0001 | upper | ValueError: R0001 holds nothing good"}

    def is_said():
        return Counter(one for one in logs_of(prefect_server, handle) if " | " in one) == Counter(expected)

    wait(is_said)


def test_a_process_of_a_cluster_shows_hosts_with_the_same_temporary_folder_that_it_lives(
    moto, workspace, monkeypatch, tmp_path
):
    for name, value in (*moto.environment.items(), ("TMPDIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", None)
    execution = prepare_trusted(moto.upload(workspace(["good"]), "lab"))
    config = execution.source.config
    order = pickle.dumps(
        BatchRequest(execution.spec, execution.setup().claim, config.log, config.scripts, config.files)
    )
    run_batch(order, pickle.dumps(("ready-0", [], {})))
    (owner,) = tmp_path.glob(f"sinagot-catalog-*/{execution.run_id}-*/owner")
    os.utime(owner, (0, 0))
    wait(lambda: owner.stat().st_mtime > 0)
    execution.finish()
    wait(lambda: not owner.parent.exists())


def prepare_trusted(url):
    from sinagot_catalog.catalog.queries.query import Query
    from sinagot_catalog.run import RunOptions, claim, plan

    source, query, options = Workspace(url, trust=True)._source, Query("steps"), RunOptions()
    return claim(source, query, plan(source, query, options), options)
