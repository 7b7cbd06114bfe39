"""Runs of one selection at once: no row is run twice, none is left out, and a dead run's rows come free."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal import claims as claims_module
from sinagot_catalog.journal.claims import Claims
from sinagot_catalog.schema import KEYS

pytestmark = pytest.mark.slow

SHIM = str(Path(__file__).parent / "shim")
SLOW = """
import os, time
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}"
    PATH_OUT = "out/{id}"
    def run(self):
        seconds = float((self.data_path.parent / "pace").read_text()) if self.id > "R02" else 0
        fd = os.open(self.data_path.parent / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, f"{self.id}\\n".encode())
        os.close(fd)
        time.sleep(seconds)
        self.path.output.write_text(self.id)
"""


@pytest.fixture
def ground(write_workspace):
    """A workspace of 60 rows of so many seconds; the first three take none."""

    def make(pace, toml=""):
        folder = write_workspace({"work": SLOW}, [f"raw/R{n:02}" for n in range(60)], toml=toml)
        (folder / "pace").write_text(str(pace))
        (folder / "ran").touch()
        return folder

    return make


@pytest.fixture
def start(ground):  # noqa: ARG001 - its files
    """Start a run of the whole workspace, under the name of some machine; what still runs is killed at the end."""
    started = []

    def begin(folder, *words, host=""):
        words = ["run", str(folder), "--workers", "1", "-q", "--csv", *words]
        process = subprocess.Popen(
            [sys.executable, "-m", "sinagot_catalog", *words],
            env={**os.environ, "PYTHONPATH": SHIM, "FAULT_HOST": host},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=300)


def rows_of(folder, status):
    return Workspace(folder).steps.filter(status=status).collect().height


def ran(folder):
    return Counter((folder / "ran").read_text().split())


@pytest.mark.parametrize("count", [2, 8])
def test_runs_of_the_same_rows_at_once_share_them(ground, start, count):
    folder = ground(0.02)
    runs = [start(folder, host=f"machine-{number % 2}") for number in range(count)]
    outcomes = Counter()
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
        outcomes.update(row["outcome"] for row in csv.DictReader(out.splitlines()))
    assert ran(folder) == {f"R{n:02}": 1 for n in range(60)}
    assert outcomes["done"] == 60
    assert set(outcomes) <= {"done", "claimed", "already_done"}
    assert rows_of(folder, "DONE") == 60


LONG = 600
"""Seconds of a row that does not end by itself: the run is in its midst, however late something is done to it."""


def wait_for_long_row(folder, wait_until):
    """Wait until three rows are done, and the fourth is running."""
    wait_until(lambda: "R03" in ran(folder))


def test_rows_of_a_killed_run_are_free_at_once_on_its_host(ground, start, wait_until):
    folder = ground(LONG)
    first = start(folder)
    wait_for_long_row(folder, wait_until)
    first.kill()
    first.wait(300)
    assert rows_of(folder, "PROCESSING") == 0
    (folder / "pace").write_text("0")
    report = Workspace(folder).steps.run(workers=2, progress=False)
    assert report.ok
    assert "claimed" not in report.counts() or report.counts()["claimed"] == 0
    assert rows_of(folder, "DONE") == 60


def test_rows_of_a_run_that_died_on_another_host_are_free_after_its_lease(ground, start, wait_until):
    folder = ground(LONG, toml="[run]\nlease = 2.0\n")
    first = start(folder, host="elsewhere")
    wait_for_long_row(folder, wait_until)
    first.kill()
    first.wait(300)
    [beat] = (folder / "dataset/LOG/claims").glob("*.beat")
    (folder / "pace").write_text("0")
    last = beat.stat().st_mtime
    report = Workspace(folder).steps.run(workers=2, progress=False)
    if time.time() - last < 1.9:  # else this machine was too slow to look in time
        assert report.counts()["claimed"] > 0
        assert report.counts().get("done", 0) == 0
    wait_until(lambda: rows_of(folder, "PROCESSING") == 0)
    assert Workspace(folder).steps.run(workers=2, progress=False).ok
    assert rows_of(folder, "DONE") == 60


def test_run_that_slept_through_its_lease_gives_up_and_says_so(ground, start, wait_until):
    folder = ground(LONG, toml="[run]\nlease = 2.0\n")
    laptop = start(folder, host="laptop")
    wait_for_long_row(folder, wait_until)
    workers = [
        int(pid)
        for pid in Path(f"/proc/{laptop.pid}/task").glob("*/children")
        for pid in pid.read_text().split()
    ]
    for pid in (laptop.pid, *workers):
        os.kill(pid, signal.SIGSTOP)  # the lid is closed
    [beat] = (folder / "dataset/LOG/claims").glob("*.beat")
    wait_until(lambda: time.time() - beat.stat().st_mtime > 2.2)
    (folder / "pace").write_text("0")
    report = Workspace(folder).steps.run(workers=2, progress=False)
    assert report.ok
    assert report.counts().get("claimed", 0) == 0
    for pid in (laptop.pid, *workers):
        os.kill(pid, signal.SIGCONT)
    _, said = laptop.communicate(timeout=300)
    assert laptop.returncode == 1
    assert "was taken for dead, for its lease of 2 s ran out" in said
    assert "the same command goes on with the rest" in said
    assert ran(folder) == {f"R{n:02}": 2 if n == 3 else 1 for n in range(60)}  # the row that slept, once more
    done = Workspace(folder).steps.filter(status="DONE").collect()
    assert done.height == 60
    assert {path.read_text() for path in (folder / "dataset/out").iterdir()} == {
        f"R{n:02}" for n in range(60)
    }


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_that_is_an_hour_off_neither_kills_nor_revives_a_run(make_workspace, monkeypatch, hours):
    """Another host's run beats by the store's clock; this host believes the store, not its own clock."""
    ws = make_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/R2"])
    claims = ws._source.claims
    row = pl.DataFrame({"record_id": ["R1"], "task": None, "modality": None, "step": "work"}, schema=KEYS)

    class Off(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz or UTC) + timedelta(hours=hours)

    other, _ = Claims(claims.store).take("other", row)
    monkeypatch.setattr(claims_module.Claim, "is_ours", property(lambda one: one.run_id != "other"))
    monkeypatch.setattr(claims_module, "datetime", Off)
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.frame.select("record_id", "outcome").rows() == [("R1", "claimed"), ("R2", "done")]
    heartbeat = Path(claims.store.root, "claims/other.beat")
    os.utime(heartbeat, (time.time() - 61,) * 2)
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.frame.select("record_id", "outcome").rows() == [("R1", "done")]
    assert not claims.heartbeat(other)


def test_row_that_a_run_leaves_to_another_is_not_held_by_it(make_workspace):
    """Or a third run would leave it out when the first one has ended, and nobody would run it."""
    ws = make_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/R2"])
    rows = pl.DataFrame({"record_id": ["R1"], "task": None, "modality": None, "step": "work"}, schema=KEYS)
    both = pl.concat([rows, rows.with_columns(record_id=pl.lit("R2"))])
    first, _ = ws._source.claims.take("first", rows)
    ws._source.claims.take("second", both)
    ws._source.claims.release(first)
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.frame.select("record_id", "outcome").rows() == [("R1", "done"), ("R2", "claimed")]


def test_claim_of_a_newer_version_keeps_older_ones_from_running(make_workspace, dead_claim):
    import json
    from dataclasses import asdict

    ws = make_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    claim = {**asdict(dead_claim(1)), "schema": 2, "news": "x"}
    ws._source.log_store.write("claims/00000001.json", json.dumps(claim).encode())
    with pytest.raises(StorageError, match="a newer version of sinagot-catalog works on this workspace"):
        ws.steps.run(mode="main_process", progress=False)
    assert ws.steps.collect()["status"].to_list() == ["DATA_READY"]


def test_staging_of_a_run_that_begins_while_another_sweeps_is_left_alone(make_workspace):
    from sinagot_catalog.run import cleanup

    ws = make_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    source = ws._source
    mine, _ = source.claims.take("mine", ws.steps.collect().select(*KEYS).clear())
    alive = source.claims.alive

    def comes_between(asker=None):
        source.claims.take("new", ws.steps.collect().select(*KEYS).clear())
        (Path(source.log_store.root) / ".staging/new/w01").mkdir(parents=True)
        return alive(asker) - {"new"}  # as it was before the other came

    (Path(source.log_store.root) / ".staging/20200101T000000-00dead/w01").mkdir(parents=True)
    source.claims.alive = comes_between
    assert cleanup.sweep(source, mine) == 1
    assert [path.name for path in (Path(source.log_store.root) / ".staging").iterdir()] == ["new"]
