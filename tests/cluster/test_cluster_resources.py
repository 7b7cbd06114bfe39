"""Resources of steps on real clusters: what batches ask for, what their rows see, what no worker has."""

import contextlib
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from sinagot_catalog.errors import UsageError
from sinagot_catalog.flows.prepare import executor_of, prepare
from tests.servers import Dask

pytestmark = [
    # Of the clusters' own making, in their threads.
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default::FutureWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]

FIT = """
import json, os, time
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "NAME/{id}.txt"
    RESOURCES = ASKED

    def run(self):
        begun = time.time()
        time.sleep(0.3)
        seen = [os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
        self.path.output.write_text(json.dumps([begun, time.time(), *seen]))
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def make(cluster, records=4, **steps):
        root = tmp_path / "lab"
        (root / "scripts").mkdir(parents=True)
        (root / "dataset" / "raw").mkdir(parents=True)
        address = f'address = "{cluster.address}"\n' if cluster.address else ""
        (root / "workspace.toml").write_text(
            f"[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = {json.dumps(list(steps))}\n"
            f'[prefect]\ntask_runner = "{cluster.kind}"\n{address}'
        )
        for name, asked in steps.items():
            text = FIT.replace("NAME", name).replace("ASKED", repr(asked))
            (root / "scripts" / f"{name}.py").write_text(text)
        for number in range(records):
            (root / "dataset" / "raw" / f"R{number}.txt").write_text("x")
        return root

    return make


def run(root):
    """Run all rows, each group as a batch of its own; returns the counts, and what the rows of each step wrote."""
    with prepare(str(root)) as claimed:
        with executor_of(claimed) as executor, ThreadPoolExecutor(8) as threads:
            for phase in claimed.phases_in_turn(claimed.note):
                for results in threads.map(executor.run_batch, [[group] for group in phase]):
                    claimed.note(results)
        counts = claimed.finish().counts()
    wrote = {}
    for path in (root / "dataset").glob("[!r]*/R*.txt"):
        wrote.setdefault(path.parent.name, []).append(json.loads(path.read_text()))
    return counts, wrote


def overlaps(spans):
    """Whether two spans share a moment."""
    ordered = sorted(spans)
    return any(after[0] < before[1] for before, after in itertools.pairwise(ordered))


@pytest.fixture(scope="module")
def declared_dask(tmp_path_factory):
    """Two Dask workers of one thread each; only one of them has a GPU."""
    cluster = Dask(tmp_path_factory.mktemp("declared"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "6")
        cluster.ensure(1, "--resources", "cpus=2 memory=4e9 gpus=1")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        cluster.ensure(2, "--resources", "cpus=2 memory=4e9")
    cluster.wait_for_workers(2)
    yield cluster
    cluster.close()


def test_batches_ask_dask_for_what_their_rows_need(declared_dask, lab):
    counts, wrote = run(lab(declared_dask, card={"gpus": 1, "cpus": 2, "memory": "1GB"}))
    assert counts == {"done": 4}
    assert {tuple(seen) for _, _, *seen in wrote["card"]} == {("6", "2")}
    assert not overlaps([row[:2] for row in wrote["card"]])


def test_rows_have_the_threads_of_their_cpus_also_below_the_nanny_of_a_dask_worker(tmp_path, lab):
    with contextlib.closing(Dask(tmp_path)) as cluster:
        cluster.ensure(1, "--nanny", "--resources", "cpus=3 memory=4e9")
        cluster.wait_for_workers(1)
        counts, wrote = run(lab(cluster, 2, fit={"cpus": 3}))
    assert counts == {"done": 2}
    assert {threads for *_, threads in wrote["fit"]} == {"3"}


def test_what_no_dask_worker_has_is_said_and_nothing_hangs(declared_dask, lab):
    with pytest.raises(UsageError) as error:
        run(lab(declared_dask, fit={"memory": "8GB"}))
    assert error.value.message == (
        "step fit needs 8.0 GB of memory, and the largest worker of the Dask cluster has 4.0 GB"
    )


def test_a_dask_cluster_that_declares_no_resources_is_said_and_nothing_hangs(dask, lab):
    dask.ensure(2)
    dask.wait_for_workers(2)
    with pytest.raises(UsageError) as error:
        run(lab(dask, fit={"cpus": 1}))
    assert error.value.message == "step fit needs 1 cpu, and the largest worker of the Dask cluster has 0"
    assert "dask worker --resources" in error.value.hint


def test_steps_that_share_a_batch_but_no_worker_are_said(tmp_path, lab):
    cluster = Dask(tmp_path)
    cluster.ensure(1, "--resources", "gpus=1")
    cluster.ensure(2, "--resources", "cpus=8")
    try:
        cluster.wait_for_workers(2)
        with pytest.raises(UsageError, match="steps card, wide need cpus, gpus together"):
            run(lab(cluster, card={"gpus": 1}, wide={"cpus": 8}))
    finally:
        cluster.close()


class Own:
    """A cluster that is started for the run."""

    address = None

    def __init__(self, kind):
        self.kind = kind


def test_a_dask_of_its_own_has_the_resources_of_the_machine(lab, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,4")
    root = lab(Own("dask"), card={"gpus": 1, "memory": "1MB"}, plain=None)
    counts, wrote = run(root)
    assert counts == {"done": 8}
    assert {row[2] for row in wrote["card"]} <= {"2", "4"}
    assert {row[2] for row in wrote["plain"]} == {""}
    for gpu in ("2", "4"):
        assert not overlaps([row[:2] for row in wrote["card"] if row[2] == gpu])


def test_batches_ask_ray_for_what_their_rows_need(ray, lab):
    cpus = min(2, len(os.sched_getaffinity(0)))
    counts, wrote = run(lab(ray, card={"gpus": 1, "memory": "1MB"}, wide={"cpus": cpus, "gpus": 2}))
    assert counts == {"done": 8}
    assert {row[2] for row in wrote["card"]} <= {"0", "1"}
    assert {tuple(seen) for _, _, *seen in wrote["wide"]} == {("0,1", str(cpus))}


def test_what_no_ray_node_has_is_said_and_nothing_hangs(ray, lab):
    with pytest.raises(UsageError) as error:
        run(lab(ray, fit={"cpus": 64}))
    assert error.value.message == "step fit needs 64 cpus, and the largest worker of the Ray cluster has 2"
