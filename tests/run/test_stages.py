"""The stages of a run: plan, claim, an executor that is handed in, and the report."""

import subprocess
import sys

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.catalog import Query
from sinagot_catalog.errors import StorageError
from sinagot_catalog.run import RunOptions, claim, local_executor, plan

SCRIPT = "self.path.output.write_text(self.path.input.read_text().upper())"


@pytest.fixture
def two_steps(make_workspace, script_source):
    sources = {
        "upper": script_source("raw/{id}.txt", "upper/{id}.txt", SCRIPT),
        "again": script_source("upper/{id}.txt", "again/{id}.txt", SCRIPT),
    }
    return make_workspace(sources, [f"raw/R{n}.txt" for n in range(3)])


def claimed_rows(ws, **options):
    source, query, wanted = ws._source, Query("steps"), RunOptions(**options)
    return claim(source, query, plan(source, query, wanted), wanted)


def test_rows_are_held_inside_the_claim_and_given_back_after_it(two_steps):
    other = Workspace(two_steps.config.root)
    with claimed_rows(two_steps, step="upper") as claimed:
        assert claimed.n_rows == 3
        assert other.steps.run("upper", progress=False).counts() == {"claimed": 3}
    assert claimed.finish().counts() == {"cancelled": 3}
    assert other.steps.run("upper", progress=False).counts() == {"done": 3}


def test_an_error_inside_the_claim_gives_the_rows_back(two_steps):
    with pytest.raises(LookupError), claimed_rows(two_steps, step="upper"):
        raise LookupError
    assert two_steps.steps.run("upper", progress=False).counts() == {"done": 3}


def test_a_claim_that_nobody_runs_ends_with_a_report_each_time_the_same(two_steps):
    claimed = claimed_rows(two_steps, downstream=True)
    report = claimed.finish()
    assert report.counts() == {"cancelled": 6}
    assert claimed.finish() is report


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_each_executor_runs_the_phases_of_a_claimed_run(two_steps, mode):
    with claimed_rows(two_steps, downstream=True, mode=mode, workers=2) as claimed:
        executor = local_executor(claimed.source, claimed.options)
        claimed.use(executor)
        with executor.start(claimed.setup()):
            for phase in claimed.phases_in_turn(claimed.note):
                executor.run(phase, claimed.note)
    assert claimed.finish().counts() == {"done": 6}
    assert two_steps.steps.collect()["status"].to_list() == ["DONE"] * 6


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_an_executor_that_was_stopped_before_its_rows_begins_none(two_steps, mode):
    with claimed_rows(two_steps, step="upper", mode=mode, workers=2) as claimed:
        executor = local_executor(claimed.source, claimed.options)
        claimed.use(executor)
        executor.stop()
        with executor.start(claimed.setup()):
            for phase in claimed.phases_in_turn(claimed.note):
                executor.run(phase, claimed.note)
    assert claimed.finish().counts() == {"cancelled": 3}
    assert not list((two_steps.data_path / "upper").glob("*"))


def test_workers_that_were_started_for_a_claim_that_failed_are_ended(two_steps, monkeypatch):
    pids = []
    popen = subprocess.Popen

    class Noted(popen):
        def __init__(self, *words, **options):
            super().__init__(*words, **options)
            pids.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    (two_steps.data_path / "elsewhere").mkdir()
    (two_steps.data_path / "LOG").symlink_to(two_steps.data_path / "elsewhere")
    (two_steps.data_path / "elsewhere" / "journal").symlink_to(two_steps.data_path / "raw")
    with pytest.raises(StorageError):
        two_steps.steps.run("upper", mode="processes", workers=2, progress=False)
    assert len(pids) == 2
    assert [one.poll() is not None for one in pids] == [True, True]


def test_a_run_on_this_machine_loads_neither_clusters_nor_prefect(two_steps):
    code = (
        "import sys; from sinagot_catalog import Workspace\n"
        "report = Workspace(sys.argv[1]).steps.run('upper', mode='main_process', progress=False)\n"
        "print(report.counts(), [name for name in sys.modules if name.startswith("
        "('sinagot_catalog.cluster', 'sinagot_catalog.flows', 'prefect', 'distributed', 'ray'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, two_steps.config.root],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout == "{'done': 3} []\n"
