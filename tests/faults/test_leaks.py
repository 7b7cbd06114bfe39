"""A long run keeps its memory flat and leaves nothing open."""

# ruff: noqa: E501, T201 - figures are printed

import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are read from /proc"),
]

PROGRAM = """
import json, os, sys, tempfile
from pathlib import Path
from sinagot_catalog import Workspace
from sinagot_catalog.run import RunOptions, execution
from sinagot_catalog.catalog.queries.query import Query

def memory(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def children():
    return [int(one) for task in Path("/proc/self/task").iterdir() for one in (task / "children").read_text().split()]

def descriptors():
    return len(os.listdir("/proc/self/fd"))

ws = Workspace(sys.argv[1])
before = descriptors(), sorted(os.listdir(tempfile.gettempdir()))
ws.records.ids()
opened = descriptors()
total, done, said = ws.steps.collect().height, 0, {}

def watch(results):
    global done
    done += len(results)
    for share in (10, 50, 99):
        if done >= total * share / 100 and share not in said:
            workers = [memory(pid) for pid in children()]
            if workers:
                said[share] = {"run": memory("self"), "workers": max(workers), "descriptors": descriptors()}

report = execution.run(
    ws._source, Query("steps"), RunOptions(workers=2), progress=False, watch=watch
)
after = sorted(os.listdir(tempfile.gettempdir()))
print(json.dumps({
    "said": said, "seconds": report.seconds, "ok": report.ok, "done": report.counts().get("done"),
    "end": memory("self"), "children": children(), "opened": [opened, descriptors()],
    "files": [one for one in after if one not in before[1] and "sinagot" in one],
}))
"""


def test_memory_of_many_rows_is_flat_and_nothing_is_left(write_workspace, pytestconfig):
    count = 100_000 if pytestconfig.getoption("slow") else 10_000
    folder = write_workspace({"work": ("raw/{id}", "out/{id}", "self.path.output.write_bytes(b'x')")})
    (folder / "dataset/raw").mkdir()
    for number in range(count):
        os.close(os.open(folder / f"dataset/raw/R{number:06}", os.O_CREAT | os.O_WRONLY))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(
        f"\n{count} rows in {told['seconds']:.1f} s; MiB at 10, 50, 99 %: {told['said']}, at the end {told['end']:.0f}"
    )
    assert told["ok"]
    assert told["done"] == count
    first, last = told["said"]["10"], told["said"]["99"]
    assert last["run"] - first["run"] < 100
    assert last["workers"] - first["workers"] < 20
    assert last["descriptors"] <= first["descriptors"] + 4
    assert told["end"] < 1024
    assert told["children"] == []
    assert told["opened"][1] <= told["opened"][0]
    assert told["files"] == []
    assert not list((folder / "dataset/LOG/.staging").iterdir())
