"""The Dask cluster of a submitted run: an address, a scheduler file, a class, an object of the caller."""

import json
import sys
import threading
import time

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, ServerError, UsageError
from tests.servers import wait

pytestmark = [
    # Of Dask's own making, in its threads.
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]

STEP = {
    "a": ("raw/{id}", "a/{id}", "self.path.output.write_text(__import__('os').environ.get('WHERE', 'here'))")
}
RAW = [f"raw/R{n}" for n in range(6)]
CLASS = """
[prefect]
task_runner = "dask"
batch = 1
cluster_class = "distributed.LocalCluster"
[prefect.cluster_kwargs]
n_workers = 0
threads_per_worker = 1
dashboard_address = "127.0.0.1:0"
[prefect.adapt_kwargs]
minimum = 0
maximum = 2
"""
ADDRESS = '[prefect]\ntask_runner = "dask"\n'


def submit(folder, **options):
    """Submit all rows: the report, and what was printed."""
    said = []
    report = Workspace(folder).steps.submit(on_message=said.append, **options).wait(300)
    return report, "\n".join(said)


def artifacts(server, flow_run_id):
    found = server.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}})
    return {one["type"]: one for one in found}


@pytest.fixture
def local_cluster():
    """A cluster of one worker process, which has a variable of its own."""
    import distributed

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", env={"WHERE": "there"}
    ) as cluster:
        yield cluster


def wheres(folder):
    return {path.read_text() for path in (folder / "dataset" / "a").iterdir()}


def test_a_class_of_clusters_is_started_adapts_and_is_closed(write_workspace, prefect_server):
    import distributed

    folder = write_workspace(STEP, RAW, toml=CLASS)
    report, said = submit(folder)
    assert report.counts() == {"done": 6}
    assert "The dashboard of the Dask cluster: http://127.0.0.1:" in said
    progress = artifacts(prefect_server, report.flow_run_id)["progress"]
    assert "[dashboard of the cluster](http://127.0.0.1:" in progress["description"]
    assert not [one for one in distributed.Client._instances if one.status == "running"]


@pytest.mark.usefixtures("prefect_server")
def test_a_client_or_a_cluster_of_the_caller_is_used_and_stays_open(write_workspace, local_cluster):
    import distributed

    folder = write_workspace(STEP, RAW)
    assert submit(folder, cluster=local_cluster)[0].counts() == {"done": 6}
    assert wheres(folder) == {"there"}
    assert local_cluster.status.name == "running"
    with distributed.Client(local_cluster, set_as_default=False) as client:
        assert submit(folder, cluster=client, force=True)[0].counts() == {"done": 6}
        assert client.submit(abs, -3).result(timeout=300) == 3
    assert submit(folder, cluster=local_cluster.scheduler_address, force=True)[0].counts() == {"done": 6}


@pytest.mark.usefixtures("prefect_server")
def test_results_whose_transfer_takes_a_while_are_waited_for(write_workspace, local_cluster):
    import distributed

    folder = write_workspace(STEP, RAW[:2])
    with distributed.Client(local_cluster, set_as_default=False) as client:
        transfers = client._gather_semaphore  # of the transfers that go on at a time

        async def hold():
            while not transfers.locked():
                await transfers.acquire()

        def let_go():
            wait(lambda: len(list((folder / "dataset").glob("a/*"))) == 2)
            time.sleep(2)
            client.loop.add_callback(transfers.release)

        client.sync(hold)
        thread = threading.Thread(target=let_go)
        thread.start()
        assert submit(folder, cluster=client)[0].counts() == {"done": 2}
        thread.join(300)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("way", ["address", "variable of the file", "variable of the address"])
def test_a_scheduler_file_or_a_variable_of_dask_names_the_cluster(
    write_workspace, local_cluster, monkeypatch, way
):
    toml = ADDRESS + ('address = "scheduler.json"\n' if way == "address" else "")
    folder = write_workspace(STEP, RAW[:2], toml=toml)
    file = folder / "scheduler.json"
    file.write_text(json.dumps({"address": local_cluster.scheduler_address}))
    if way == "variable of the file":
        monkeypatch.setenv("DASK_SCHEDULER_FILE", str(file))
    if way == "variable of the address":
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", local_cluster.scheduler_address)
    assert submit(folder)[0].counts() == {"done": 2}
    assert wheres(folder) == {"there"}


@pytest.mark.usefixtures("prefect_server")
def test_the_command_line_names_a_cluster(cli, write_workspace, local_cluster):
    folder = write_workspace(STEP, RAW[:2])
    done = cli("submit", folder, "--cluster", local_cluster.scheduler_address)
    assert (done.returncode, wheres(folder)) == (0, {"there"}), done.stderr
    assert "The dashboard of the Dask cluster: http://127.0.0.1:" in done.stderr
    (folder / "s.json").write_text(json.dumps({"address": local_cluster.scheduler_address}))
    assert cli("submit", folder, "--force", "--cluster", folder / "s.json").returncode == 0
    refused = cli("submit", folder, "--cluster", "127.0.0.1:9", "--force", "--step", "a")
    assert refused.returncode == 1
    assert "\nerror: Nobody answers at cluster = '127.0.0.1:9': connection refused\n" in refused.stderr
    assert "Traceback" not in refused.stderr
    refused = cli("submit", folder, "--cluster", "127.0.0.1:9", "--deployment", "nightly")
    assert refused.returncode == 2


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('cluster_class = "no_such_lab.Cluster"', "cannot be imported: No module named 'no_such_lab'"),
        (
            'cluster_class = "distributed.LocalClusters"',
            "no class 'LocalClusters'; did you mean 'LocalCluster'",
        ),
        ('cluster_class = "distributed.client"', "the module distributed has no class 'client'"),
        ('cluster_class = "fractions.Fraction"', "is not a class of Dask clusters"),
        (
            'cluster_class = "distributed.SpecCluster"\ncluster_kwargs = { n_worker = 1 }',
            "cannot start with cluster_kwargs: TypeError: .*n_worker",
        ),
        (
            (
                'cluster_class = "distributed.LocalCluster"\nadapt_kwargs = { maximun = 3 }\n'
                'cluster_kwargs = { dashboard_address = ":0" }'
            ),
            "'maximun' is not an argument of adapt; did you mean 'maximum'",
        ),
    ],
)
@pytest.mark.usefixtures("prefect_server")
def test_a_class_that_cannot_be_used_is_one_sentence_and_the_rows_are_free(write_workspace, toml, said):
    folder = write_workspace(STEP, RAW[:2], toml=ADDRESS + toml)
    with pytest.raises(UsageError, match=said):
        submit(folder)
    assert Workspace(folder).steps.plan().n_run == 2


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('task_runner = "ray"\ncluster_class = "a.B"', "prefect.cluster_class: has no effect without"),
        ('task_runner = "dask"\naddress = "h:1"\ncluster_class = "a.B"', "prefect.address another one"),
        (
            'task_runner = "dask"\nadapt_kwargs = { maximum = 3 }',
            "prefect.adapt_kwargs: has no effect without",
        ),
        ('task_runner = "dask"\ncluster_class = "SLURMCluster"', "is not a class with its module"),
    ],
)
def test_values_of_clusters_that_contradict_each_other_are_faults_of_the_config(write_workspace, toml, said):
    with pytest.raises(ConfigError, match=said):
        Workspace(write_workspace(STEP, toml=f"[prefect]\n{toml}\n"))


def test_a_scheduler_file_that_cannot_be_used_is_one_sentence(write_workspace, monkeypatch):
    folder = write_workspace(STEP, RAW[:1], toml=ADDRESS)
    for text, said in (
        (None, "DASK_SCHEDULER_FILE = '.*' cannot be read: no such file"),
        ("[]", "cannot be read: it is not a scheduler file"),
        ('{"address": "tcp://127.0.0.1:9"}', r"\(tcp://127.0.0.1:9\): connection refused"),
    ):
        if text is not None:
            (folder / "s.json").write_text(text)
        monkeypatch.setenv("DASK_SCHEDULER_FILE", str(folder / "s.json"))
        with pytest.raises(ServerError, match=said):
            submit(folder)
    assert Workspace(folder).steps.plan().n_run == 1


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("dask", 3, "int is not an address, or a client or cluster of Dask"),
        ("ray", sys, "module is not an address"),
        ("threads", sys, "module is not an address"),
    ],
)
def test_an_object_that_is_no_cluster_is_refused(write_workspace, kind, given, said):
    folder = write_workspace(STEP, RAW[:1], toml=f'[prefect]\ntask_runner = "{kind}"\n')
    with pytest.raises(UsageError, match=said):
        submit(folder, cluster=given)
    with pytest.raises(UsageError, match="the workers of a deployment use the cluster of their"):
        submit(folder, cluster="tcp://h:1", deployment="nightly")
    assert Workspace(folder).steps.plan().n_run == 1
