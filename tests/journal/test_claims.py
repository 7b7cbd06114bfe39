"""Claims: which run may touch which row, when runs live, die, come at once."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog.journal.claims import ClaimMonitor, Claims
from sinagot_catalog.journal.process_identity import start_time
from sinagot_catalog.schema import KEYS
from sinagot_catalog.storage import open_store


@pytest.fixture
def claims(tmp_path):
    return Claims(open_store(str(tmp_path / "LOG")))


def rows(*ids, step="clean"):
    return pl.DataFrame({"record_id": list(ids), "task": None, "modality": None, "step": step}, schema=KEYS)


def store(claims, claim, held=None):
    claims.store.write(claim.path, json.dumps(asdict(claim)).encode())
    if held is not None:
        held.write_parquet(Path(claims.store.root, "claims", f"{claim.run_id}.parquet"))


def test_first_claim_holds_its_rows_alone(claims):
    claim, held = claims.take("run-1", rows("R1", "R2"))
    assert claim.number == 1
    assert held.height == 0
    assert claims.alive() == {"run-1"}


def test_second_run_is_told_what_a_live_lower_claim_holds(claims):
    claims.take("run-1", rows("R1", "R2"))
    claim, held = claims.take("run-2", rows("R2", "R3"))
    assert claim.number == 2
    assert held.rows() == [("R1", None, None, "clean"), ("R2", None, None, "clean")]
    assert claims.alive() == {"run-1", "run-2"}


def test_released_claim_holds_nothing_and_its_number_is_never_given_again(claims):
    first, _ = claims.take("run-1", rows("R1"))
    claims.release(first)
    assert claims.alive() == frozenset()
    claim, held = claims.take("run-2", rows("R1"))
    assert claim.number == 2
    assert held.height == 0
    assert [one.number for one in claims.all()] == [2]


def test_dead_runs_claim_holds_nothing_and_is_cleared(claims, dead_claim):
    store(claims, dead_claim(4, "dead"), rows("R1"))
    claim, held = claims.take("run-2", rows("R1"))
    assert claim.number == 5
    assert held.height == 0
    assert [one.run_id for one in claims.all()] == ["run-2"]
    assert not Path(claims.store.root, "claims/dead.parquet").exists()


def test_another_hosts_claim_holds_while_it_beats(claims, dead_claim):
    import os

    other = dead_claim(1, "other", host="elsewhere", boot_id="theirs", lease=60.0)
    store(claims, other, rows("R1"))
    claims.heartbeat(other)
    assert claims.alive() == {"other"}
    heartbeat = Path(claims.store.root, "claims/other.beat")
    os.utime(heartbeat, (heartbeat.stat().st_mtime - 61,) * 2)
    assert claims.alive() == frozenset()


def test_same_id_of_another_process_is_not_the_run(claims, dead_claim):
    import os

    store(claims, dead_claim(1, "reused", pid=os.getpid(), pid_start="12345"))
    assert claims.alive() == frozenset()


def test_a_killed_run_lives_until_the_last_of_its_threads_is_gone(claims, dead_claim, wait_until):
    """One that waits for a slow disk outlives the first one; so long its workers go on, and do not know."""
    code = (
        "import ctypes, sys, threading; threading.Thread(target=sys.stdin.read).start(); print(flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as process:
        process.stdout.readline()
        stat = Path(f"/proc/{process.pid}/stat")
        wait_until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")
        claim = replace(dead_claim(1, "killed"), pid=process.pid, pid_start=start_time(process.pid) or "")
        assert claims.is_alive(claim)
        process.stdin.close()  # the last thread ends
        wait_until(lambda: not claims.is_alive(claim))


@pytest.mark.parametrize(
    "torn", [b"", b"{", b"[]", b"null", b'{"number": 1}', b'{"number": 1, "news": 2}', b"\xff\xfe"]
)
def test_claim_file_that_is_torn_is_passed_over_and_keeps_its_number(claims, torn):
    claims.store.write("claims/00000007.json", torn)
    assert claims.alive() == frozenset()
    assert claims.take("run-1", rows("R1"))[0].number == 8


def test_files_that_are_no_claims_are_passed_over(claims):
    for name in ("notes.txt", "x.json", ".00000003.json.tmp", "readme.parquet"):
        claims.store.write(f"claims/{name}", b"{}")
    assert claims.take("run-1", rows("R1"))[0].number == 1


TAKE = """
import json, sys
import polars as pl
from sinagot_catalog.journal.claims import Claims
from sinagot_catalog.storage import open_store
from sinagot_catalog.schema import KEYS

root, number = sys.argv[1:]
keys = {"record_id": ["R1", f"own-{number}"], "task": None, "modality": None, "step": "clean"}
rows = pl.DataFrame(keys, schema=KEYS)
print("ready", flush=True)
sys.stdin.readline()
claim, held = Claims(open_store(root)).take(f"run-{number}", rows)
print(json.dumps([claim.number, sorted(held["record_id"])]), flush=True)
sys.stdin.readline()
"""


def test_of_runs_that_start_at_once_one_holds_the_row(tmp_path):
    command = [sys.executable, "-c", TAKE, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(
                subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for n in range(4)
        ]
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 4
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        found = sorted(json.loads(run.stdout.readline()) for run in runs)  # none ends before all have claimed
        for run in runs:
            run.communicate("end\n", timeout=300)
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert "R1" not in found[0][1]
    assert all("R1" in held for _, held in found[1:])


def test_two_live_runs_never_run_one_row(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/R2"])
    claim, _ = ws._source.claims.take("other", rows("R1"))
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.frame.select("record_id", "outcome").rows() == [("R1", "claimed"), ("R2", "done")]
    assert report.ok
    assert "another run" in report.frame["message"][0]
    ws._source.claims.release(claim)
    assert ws.steps.run(mode="main_process", progress=False).frame["record_id"].to_list() == ["R1"]


def test_row_of_a_killed_run_is_an_error_and_runs_again(make_workspace, script_source, wait_until):
    body = """
        import time
        self.path.output.write_text("x")
        (self.data_path / "running").touch()
        while not (self.data_path / "go").exists():
            time.sleep(0.01)
    """
    ws = make_workspace({"slow": script_source("raw/{id}", "out/{id}", body)}, ["raw/R1"])
    program = """if True:
        import sys
        from sinagot_catalog import Workspace
        Workspace(sys.argv[1]).steps.run(mode="main_process")
    """
    with subprocess.Popen(
        [sys.executable, "-c", program, ws.config.root], stderr=subprocess.DEVNULL
    ) as process:
        wait_until(Path(ws.data_path, "running").exists)
        assert ws.steps.collect()["status"].to_list() == ["PROCESSING"]
        process.kill()
        process.wait(300)
    row = ws.refresh().steps.collect().row(0, named=True)
    assert row["status"] == "ERROR"
    assert row["reason"].startswith("lost: run ")
    assert not Path(ws.data_path, "out/R1").exists()
    Path(ws.data_path, "go").touch()
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 1}
    assert ws.steps.collect()["status"].to_list() == ["DONE"]
    staging = Path(ws.config.log, ".staging")
    assert not staging.exists() or not [path for path in staging.rglob("*") if path.is_file()]


# -- following a run from elsewhere


def test_who_works_for_a_run_elsewhere_sees_it_stop_and_end(claims):
    claim, _ = claims.take("run-1", rows("R1"))
    follower = ClaimMonitor(claims, claim)
    assert follower.state() == "live"
    claims.request_stop(claim)
    assert follower.state() == "stopping"
    assert claims.alive() == {"run-1"}  # its rows are its own until it gives them back
    assert claims.take("run-2", rows("R1"))[1].height == 1
    claims.release(claim)
    assert follower.state() == "over"
    claims.request_stop(claim)
    assert follower.state() == "over"


def test_a_claim_that_is_gone_is_not_made_anew_by_stopping(claims):
    claim, _ = claims.take("run-1", rows("R1"))
    claims.store.delete([claim.path])
    claims.request_stop(claim)
    assert claims.all() == []
    assert ClaimMonitor(claims, claim).state() == "over"


def test_a_run_whose_process_was_killed_is_over_for_its_followers(claims, dead_claim):
    dead = dead_claim(1, "dead")
    store(claims, dead)
    assert ClaimMonitor(claims, dead).state() == "over"


def test_a_run_of_another_host_is_followed_by_its_beats(claims, dead_claim, wait_until):
    other = dead_claim(1, "other", host="elsewhere", boot_id="theirs", lease=0.2)
    store(claims, other)
    claims.heartbeat(other)
    follower = ClaimMonitor(claims, other)
    for _ in range(3):  # each heartbeat gives it another lease, however late it is seen
        assert follower.state() == "live"
        time.sleep(0.25)
        claims.heartbeat(other)
    assert follower.state() == "live"
    wait_until(lambda: follower.state() == "over")


def test_a_follower_bears_with_a_journal_that_cannot_be_read_for_a_lease(claims, dead_claim, wait_until):
    torn = []
    for lease in (60.0, 0.2):
        other = dead_claim(1, "other", host="elsewhere", boot_id="theirs", lease=lease)
        store(claims, other)
        claims.heartbeat(other)
        follower = ClaimMonitor(claims, other)
        assert follower.state() == "live"
        Path(claims.store.root, other.path).write_text("{ torn")
        torn.append(follower)
    assert torn[0].state() == "live"
    wait_until(lambda: torn[1].state() == "over")
    assert torn[0].state() == "live"


def test_events_of_a_run_are_read_piece_by_piece_each_once(tmp_path):
    from sinagot_catalog.cluster.remote_batch import events_of

    lines = [f'{{"event": "start", "record_id": "R{n}"}}\n' for n in range(4)]
    content = "".join(lines)
    cut = len("".join(lines[:2]))
    folder = tmp_path / "journal" / "run-1"
    folder.mkdir(parents=True)
    (folder / f"w01-{0:012d}-{len(''.join(lines[:3])):012d}.ndjson").write_text("".join(lines[:3]))
    (folder / f"w01-{cut:012d}-{len(content):012d}.ndjson").write_text(content[cut:])  # one line again
    (folder / "w02.ndjson").write_text('{"event": "done", "record_id": "R9"}\n{ torn')
    (folder / "ended").touch()
    found = [event["record_id"] for event in events_of(open_store(str(tmp_path)), "run-1")]
    assert found == ["R0", "R1", "R2", "R3", "R9"]
