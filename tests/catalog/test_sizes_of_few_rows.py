"""Sizes and times are read of the rows that are left after a filter, and of no other: counted by the kernel."""

import re
import shutil
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow  # strace

N = 40
SCRIPTS = {"read": ("raw/{id}.csv", "out/{id}.csv"), "sum": ("out/{id}.csv", "sum/{id}.csv")}
ASKS = {
    "no size": "ws.steps.collect(); ws.records.collect(); ws.files.count(); ws.steps.plan()",
    "size of files": "ws.files.filter(record_id='R7').select('path', 'size')",
    "size of files in SQL": "ws.files.sql_filter(\"record_id = 'R7'\").select('size', 'modified')",
    "lazy files": "ws.files.lazy().filter(pl.col('record_id') == 'R7').select('size').collect()",
    "size of records": "ws.records.filter(record_id='R7').select('record_id', 'size', 'last_modified')",
    "lazy records": "ws.records.lazy().filter(pl.col('record_id') == 'R7').select('size').collect()",
    "stale": "ws.steps.filter(record_id='R7').select('step', 'stale')",
    "filter by stale": "ws.steps.filter(pl.col('record_id') == 'R7', pl.col('stale')).collect()",
    "SQL with stale first": "ws.steps.sql_filter(\"stale AND record_id = 'R7'\").collect()",
    "lazy stale first": "ws.steps.lazy().filter('stale', pl.col('record_id') == 'R7').collect()",
    "lazy stale": "ws.steps.lazy().filter(pl.col('record_id') == 'R7').select('stale').collect()",
    "scan of few": "ws.steps.filter(record_id='R7').scan_outputs('read').collect()",
    "lazy scan": "ws.steps.scan_outputs('read').filter(pl.col('record_id') == 'R7').collect()",
    "plan": "ws.steps.filter(record_id='R7').plan(stale=True)",
    "all": "ws.files.select('size')",
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """For each question the files that the process looked at: their folders and records."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    folder = tmp_path_factory.mktemp("few")
    for label, (source, target) in SCRIPTS.items():
        script = folder / "scripts" / f"{label}.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            "from sinagot_catalog import ScriptTemplate\n\n\nclass Script(ScriptTemplate):\n"
            f"    PATH_IN = {source!r}\n    PATH_OUT = {target!r}\n\n"
            "    def run(self):\n        self.path.output.write_text(self.path.input.read_text())\n"
        )
    (folder / "workspace.toml").write_text(
        "[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = ['read', 'sum']\n"
    )
    (folder / "dataset" / "raw").mkdir(parents=True)
    for number in range(N):
        (folder / "dataset" / "raw" / f"R{number}.csv").write_text("kind,n\nsail,3\n")
    run = "from sinagot_catalog import Workspace\nWorkspace('.').steps.run(mode='main_process', progress=False)\n"
    subprocess.run([sys.executable, "-c", run], cwd=folder, check=True, timeout=300)
    asks = "\n".join(
        f"ws = Workspace('.'); ws.steps.count(); mark('{name}'); {ask}; mark('-')"
        for name, ask in ASKS.items()
    )
    source = f"""
        import os
        import polars as pl
        from sinagot_catalog import Workspace

        def mark(name):
            os.path.exists(f"/no such folder/{{name}}")

        {textwrap.indent(asks, " " * 8).strip()}
    """
    log = folder / "calls"
    calls = "trace=%%stat,open,openat"
    command = [strace, "-f", "-qq", "-y", "-s", "300", "-e", calls, "-o", str(log), sys.executable, "-c"]
    done = subprocess.run(
        [*command, textwrap.dedent(source)],
        cwd=folder,
        check=False,
        timeout=500,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found, now = {}, "-"
    for line in log.read_text().splitlines():
        if marked := re.search(r'"/no such folder/(.*?)"', line):
            now = marked[1]
            found.setdefault(now, set())
        else:
            found.setdefault(now, set()).update(re.findall(r'\b(\w+)/(R\d+)\.csv"', line))
    return found


@pytest.mark.parametrize("name", ASKS)
def test_only_files_of_the_rows_that_are_left_are_looked_at(name, read):
    every = {f"R{number}" for number in range(N)}
    records = {record for _, record in read[name]}
    assert records == {"all": every, "no size": set()}.get(name, {"R7"})


@pytest.mark.parametrize("name", ["stale", "plan"])
def test_outputs_of_rows_with_recorded_inputs_are_not_looked_at(name, read):
    assert {folder for folder, _ in read[name]} == {"raw", "out"}
