"""Runs at once, stores that go away, workers that die: no row twice, nothing partial, the next run completes."""

import subprocess
import sys
import threading
import time

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.worker.buckets.outages import PATIENCE

COPY = """
import pathlib, time
time.sleep({seconds})
end = time.monotonic() + 300
while {goes!r} and self.id > {quick!r} and not pathlib.Path({goes!r}).exists() and time.monotonic() < end:
    time.sleep(0.05)
self.path.output.write_text(self.path.input.read_text() + "done")
"""

RUN = """
import json, sys
from sinagot_catalog import Workspace
ws = Workspace(sys.argv[1], storage_options=json.loads(sys.argv[2]), trust=True)
report = ws.steps.run(workers=2, progress=False)
print(json.dumps(report.counts()))
"""


def upload(bucket, write_workspace, count, seconds, goes="", *, quick=""):
    """Put a workspace into a bucket: its rows take so many seconds; those after `quick` wait for a file."""
    body = COPY.format(seconds=seconds, goes=str(goes), quick=quick)
    folder = write_workspace(
        {"copy": ("raw/{id}.txt", "out/{id}.txt", body)},
        [f"raw/R{n:03}.txt" for n in range(count)],
    )
    return bucket.upload(folder, "one")


def whole(bucket, count):
    """Every output that is there is whole; says how many there are."""
    keys = bucket.keys("one/dataset/out")
    assert {bucket.read(key) for key in keys} <= {b"raw;done"}
    assert len(keys) <= count
    return len(keys)


def test_two_processes_with_different_credentials_share_the_work(weed, seaweed, write_workspace):
    import json

    url = upload(seaweed, write_workspace, 60, 0.1)
    second = weed.bucket(seaweed.url.removeprefix("s3://"), "secondkey")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, url, json.dumps(bucket.options)], stdout=subprocess.PIPE, text=True
        )
        for bucket in (seaweed, second)
    ]
    counts = [json.loads(run.communicate(timeout=300)[0].splitlines()[-1]) for run in runs]
    assert whole(seaweed, 60) == 60
    assert sum(one.get("done", 0) for one in counts) == 60, counts
    ws = Workspace(url, storage_options=seaweed.options)
    starts = ws.events().filter(event="start")
    assert starts.height == starts["record_id"].n_unique() == 60
    assert all(set(one) <= {"done", "claimed", "already_done"} for one in counts), counts


def test_another_machine_sees_what_is_at_work(seaweed, write_workspace, wait_until, tmp_path):
    url = upload(seaweed, write_workspace, 2, 0, tmp_path / "goes")
    ws = Workspace(url, storage_options=seaweed.options, trust=True)
    other = Workspace(url, storage_options=seaweed.options)
    thread = threading.Thread(target=lambda: ws.steps.run(workers=2, progress=False))
    thread.start()
    wait_until(lambda: other.refresh().steps.filter(status="PROCESSING").collect().height == 2)
    (tmp_path / "goes").touch()
    thread.join(300)
    assert other.refresh().steps.filter(status="DONE").collect().height == 2


def run_while(ws, do):
    """Run, and do something to the store a while after the first row is done."""
    begun = threading.Event()
    reports = []

    def go():
        from sinagot_catalog.catalog.queries.query import Query
        from sinagot_catalog.run import RunOptions, execution

        reports.append(
            execution.run(
                ws._source,
                Query("steps"),
                RunOptions(workers=2),
                progress=False,
                watch=lambda _: begun.set(),
            )
        )

    thread = threading.Thread(target=go)
    thread.start()
    assert begun.wait(300)
    do()
    thread.join(800)
    assert not thread.is_alive()
    return reports[0]


def test_store_that_is_away_for_five_seconds_costs_no_row(own_weed, write_workspace, wait_until, tmp_path):
    bucket = own_weed.bucket()
    goes = tmp_path / "goes"
    url = upload(bucket, write_workspace, 20, 0.1, goes, quick="R003")
    ws = Workspace(url, storage_options=bucket.options, trust=True)

    away = []

    def outage():
        begun = time.monotonic()
        own_weed.kill()
        goes.touch()  # the rows that run now have outputs while the store is away
        time.sleep(5)
        own_weed.start()
        wait_until(lambda: is_back(bucket))
        away.append(time.monotonic() - begun)

    report = run_while(ws, outage)
    again = ws.refresh().steps.run(workers=2, progress=False)
    done = (
        report.counts().get("done", 0) + again.counts().get("done", 0) + again.counts().get("already_done", 0)
    )
    assert whole(bucket, 20) == 20
    assert done >= 20 - again.frame.height
    said = report.failures()["message"].to_list()
    # On a busy machine the store may take longer to come back than rows wait for it: then they say so.
    assert report.ok if away[0] < PATIENCE - 10 else all(bucket.url in one for one in said), (away, said)


def is_back(bucket):
    """Whether a store that was started again reads and writes: its listing works before its objects do."""
    try:
        for key in bucket.keys("one/dataset/out"):
            bucket.read(key)
        bucket.put({"back": "again"})
    except Exception:  # noqa: BLE001 - it is not up yet, whatever it says
        return False
    return True


@pytest.mark.filterwarnings("ignore")
def test_store_that_is_gone_fails_rows_with_a_reason_and_the_next_run_completes(
    own_weed, write_workspace, wait_until, tmp_path
):
    bucket = own_weed.bucket()
    goes = tmp_path / "goes"
    url = upload(bucket, write_workspace, 12, 0, goes, quick="R003")
    ws = Workspace(url, storage_options=bucket.options, trust=True)

    def loss():
        own_weed.kill()
        goes.touch()

    report = run_while(ws, loss)
    counts = report.counts()
    assert counts["error"] >= 8  # all rows that waited
    assert sum(counts.values()) == 12
    assert report.failures()["message"].str.contains(bucket.url).all()
    own_weed.start()
    wait_until(lambda: is_back(bucket))
    whole(bucket, 12)
    later = Workspace(ws.config.root, storage_options=bucket.options, trust=True)
    assert later.steps.run(workers=2, progress=False).ok
    assert whole(bucket, 12) == 12


TWO = """
import os
self.path.output["a"].write_text("a")
self.path.output["b"].write_text("b")
if not os.path.exists({mark!r}):
    open({mark!r}, "w").close()
    os._exit(3)
"""


def test_worker_that_dies_fails_its_row_alone(seaweed, write_workspace, tmp_path):
    mark = str(tmp_path / "mark")
    outputs = {"a": "out/{id}-a", "b": "out/{id}-b"}
    folder = write_workspace(
        {"two": ("raw/{id}", outputs, TWO.format(mark=mark))}, [f"raw/R{n}" for n in range(4)]
    )
    ws = Workspace(seaweed.upload(folder, "one"), storage_options=seaweed.options, trust=True)
    report = ws.steps.run(workers=1, progress=False)
    assert report.counts() == {"done": 3, "error": 1}
    assert ws.refresh().steps.filter(status="ERROR").collect()["message"].to_list() == [
        "ended its process with exit code 3"
    ]
    assert ws.steps.run(workers=1, progress=False).counts() == {"done": 1}


def test_directories_are_fetched_and_published_whole(seaweed, write_workspace):
    body = """
names = sorted(str(one.relative_to(self.path.input)) for one in self.path.input.rglob("*") if one.is_file())
self.path.output.mkdir()
(self.path.output / "deep").mkdir()
for number, name in enumerate(names):
    (self.path.output / "deep" / f"{number}.txt").write_text(name)
"""
    folder = write_workspace(
        {
            "list": ("dir/{id}", "out/{id}", body),
            "count": (
                "out/{id}",
                "n/{id}",
                "self.path.output.write_text(str(len(list(self.path.input.rglob('*.txt')))))",
            ),
        },
        ["dir/R1/a", "dir/R1/b/c", "dir/R2/x"],
    )
    ws = Workspace(seaweed.upload(folder, "one"), storage_options=seaweed.options, trust=True)
    assert ws.steps.run(workers=1, progress=False).counts() == {"done": 4}
    assert seaweed.keys("one/dataset/out") == [
        f"one/dataset/out/{path}" for path in ("R1/deep/0.txt", "R1/deep/1.txt", "R2/deep/0.txt")
    ]
    assert seaweed.read("one/dataset/n/R1") == b"2"
    seaweed.fs.rm(f"{seaweed.url}/one/dataset/dir/R1/a")
    assert ws.refresh().records.get("R1").steps.run(force=True, workers=1, progress=False).ok
    assert seaweed.keys("one/dataset/out/R1") == ["one/dataset/out/R1/deep/0.txt"]
    assert ws.refresh().steps.collect()["status"].unique().to_list() == ["DONE"]


FORTY = """
import os, signal, threading
from itertools import count
from pathlib import Path
from sinagot_catalog.storage.remote.store import RemoteStore
from sinagot_catalog.errors import StorageError

self.path.output.mkdir()
for number in range(40):
    (self.path.output / f"{{number:02}}.txt").write_text("whole")
mark, put, numbers = Path({mark!r}), RemoteStore.put, count(1)
one_by_one = threading.Lock()

def fourth_fails(store, source, path):
    with one_by_one:
        if next(numbers) > 3:
            {fault}
        put(store, source, path)

if not mark.exists():
    mark.touch()
    RemoteStore.put = fourth_fails
"""


@pytest.mark.parametrize(
    "fault", ["os.kill(os.getpid(), signal.SIGKILL)", "raise StorageError('the bucket is away')"]
)
def test_folder_half_uploaded_is_an_error_until_it_is_made_again(moto, write_workspace, tmp_path, fault):
    body = FORTY.format(mark=str(tmp_path / "mark"), fault=fault)
    folder = write_workspace({"forty": ("raw/{id}", "out/{id}/", body)}, ["raw/R1"])
    ws = Workspace(moto.upload(folder, "one"), storage_options=moto.options, trust=True)
    report = ws.steps.run(workers=1, progress=False)
    assert report.counts() == {"error": 1}, report.frame
    assert len(moto.keys("one/dataset/out/R1")) == 3
    assert ws.refresh().steps.collect()["status"].to_list() == ["ERROR"]
    assert ws.steps.run(workers=1, progress=False).counts() == {"done": 1}
    assert len(moto.keys("one/dataset/out/R1")) == 40
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"]
