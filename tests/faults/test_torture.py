"""The journal after years of use and abuse: lines of any kind, thousands of runs, old and new readers; `gc`."""

# ruff: noqa: T201 - figures are printed

import json
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.reader import Journal
from sinagot_catalog.storage import open_store

GOOD = {
    "schema": 1,
    "event": "log",
    "record_id": "R1",
    "step_label": "clean",
    "step_status": 20,
    "message": "good",
}


def line(number=0, **changes):
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return json.dumps({**GOOD, "time": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", **changes}).encode() + b"\n"


@pytest.fixture
def ws(make_workspace):
    return make_workspace(
        {"clean": ("raw/{id}", "out/{id}"), "peak": ("out/{id}", "peak/{id}")}, ["raw/R1", "raw/R2"]
    )


@pytest.fixture
def put(ws):
    """Write a journal file of some run as bytes."""

    def write(content, run="20260101T000000-aaaaaa", name="w01"):
        folder = Path(ws.config.log, "journal", run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.ndjson").write_bytes(content)
        return folder

    return write


GARBAGE = {
    "a torn last line": lambda: line(1) + line(2) + line(3)[:40],
    "only a torn line": lambda: line(1) + line(2) + b"{",
    "garbage between": lambda: line(1) + bytes(range(1, 10)) + b"\xff\xfe\n" + line(2),
    "zeroes after a loss of power": lambda: line(1) + line(2) + b"\0" * 5_000,
    "zeroes between": lambda: line(1) + b"\0" * 5_000 + b"\n" + line(2),
    "a line of 10 MB": lambda: line(1) + line(2, message="m" * 10_000_000),
    "a line of 10 MB that is torn": lambda: line(1) + line(2) + line(3, message="m" * 10_000_000)[:-10],
    "empty lines": lambda: b"\n\n" + line(1) + b"\r\n\n" + line(2),
    "values of other kinds": lambda: line(1) + line(2, output={"a": [1]}, pid="x", seconds="y", host=[1]),
    "deep nesting": lambda: line(1) + b"[" * 50_000 + b"]" * 50_000 + b"\n" + line(2),
    "lone surrogates": lambda: line(1) + line(2, traceback="\udc80 \ud83d"),
    "other documents": lambda: line(1) + b'[1, 2]\n"text"\n7\nnull\n{}\n' + line(2),
    "unknown members": lambda: line(1) + line(2, news={"a": 1}, more=[1, 2]),
    "a huge number": lambda: line(1) + line(2, pid=10**30, attempts=10**9),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_line_of_ours_costs_no_other_line(ws, put, name):
    put(GARBAGE[name]())
    began = time.monotonic()
    events = ws.refresh().events()
    assert events.height >= 1
    assert "good" in events["message"].to_list() or name == "a line of 10 MB"
    if name not in ("values of other kinds", "lone surrogates", "a huge number"):
        assert events.height == 2
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert time.monotonic() - began < 200


@pytest.mark.parametrize("name", ["", "\n", "x" * 100, "\0" * 100])
def test_files_without_an_event_are_no_fault(ws, put, name):
    put(name.encode())
    put(b"", name="main")
    Path(ws.config.log, "journal", "20260101T000000-empty").mkdir()
    Path(ws.config.log, "journal", "compact-x.parquet").write_bytes(b"no compaction")
    Path(ws.config.log, "journal", "notes.txt").write_text("mine")
    assert ws.refresh().events().height == 0


def test_random_bytes_cost_no_whole_line(ws, put):
    rng = random.Random(7)  # noqa: S311
    for _ in range(60):
        lines = [line(number, message=f"m{number}") for number in range(20)]
        content = bytearray(b"".join(lines))
        spoilt = rng.randrange(len(content))
        content[spoilt : spoilt + rng.randrange(1, 80)] = rng.randbytes(rng.randrange(40))
        put(bytes(content))
        kept = {one for one in bytes(content).split(b"\n") if one + b"\n" in lines}
        found = set(Workspace(Path(ws.config.files[0])).events()["message"].to_list())
        assert {json.loads(one)["message"] for one in kept} <= found


def test_compaction_that_cannot_be_read_is_a_sentence(ws):
    Path(ws.config.log, "journal").mkdir(parents=True)
    Path(ws.config.log, "journal", "compact-00000001.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(StorageError, match=r"journal/compact-00000001.parquet cannot be read"):
        ws.refresh().events()


def test_folder_of_a_run_that_only_sleeps_is_not_merged(ws, put):
    journal = Journal(open_store(ws.config.log))
    folder = put(line(1))
    assert not journal.compact(frozenset(), least=1)
    old = time.time() - 90_000
    os.utime(folder / "w01.ndjson", (old, old))
    assert journal.compact(frozenset(), least=1)
    assert not folder.exists()
    assert journal.events().height == 1


def test_compaction_written_late_by_a_run_that_was_held_up_shows_nothing_twice(ws, put):
    """It lists, sleeps, and makes a number that two later compactions have left behind."""
    store = open_store(ws.config.log)
    journal = Journal(store)
    for number in range(3):
        put(line(number), run=f"run-{number}")
        journal.end(f"run-{number}")

    class HeldUp(type(store)):
        def create(self, path, content):
            assert journal.compact(frozenset(), least=1)
            for number in (3, 4):
                put(line(number), run=f"run-{number}")
                journal.end(f"run-{number}")
                assert journal.compact(frozenset(), least=1)
            return super().create(path, content)

    Journal(HeldUp(ws.config.log)).compact(frozenset(), least=1)
    assert Journal(store).events().height == 5


@pytest.mark.slow
def test_status_after_thousands_of_runs_takes_at_most_twice_as_long(make_workspace, share):
    """With compaction as it comes: each run ends, and every hundredth or so merges."""
    runs = share(5_000, 25) // 100 * 100 or 100  # the journal is compacted after every hundredth
    records = [f"R{n}" for n in range(500)]
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, [f"raw/{one}" for one in records])

    def look():
        times = []
        for _ in range(7):
            one = Workspace(Path(ws.config.files[0]))
            began = time.process_time()
            one.steps.collect()
            times.append(time.process_time() - began)
        return sorted(times)[2]

    journal = Journal(open_store(ws.config.log))
    fresh = look()
    for number in range(runs):
        folder = Path(ws.config.log, "journal", f"20260101T000000-{number:06}")
        folder.mkdir(parents=True)
        record = records[number % 500]
        lines = line(number, event="start", message="Processing run", record_id=record, run_id=folder.name)
        lines += line(
            number + 1, event="error", step_status=40, message="no", record_id=record, run_id=folder.name
        )
        (folder / "main.ndjson").write_bytes(lines)
        (folder / "ended").touch()
        if number % 100 == 99:
            assert journal.compact(frozenset())
    assert len(list(Path(ws.config.log, "journal").iterdir())) == 1
    used = look()
    print(
        f"\nstatus: {1e3 * fresh:.1f} ms fresh, {1e3 * used:.1f} ms after {runs} runs ({used / fresh:.2f}x)"
    )
    assert ws.refresh().steps.filter(status="ERROR").collect().height == min(runs, 500)
    assert used < 2 * fresh + 0.02, (fresh, used)


# -- gc ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(ws, put):
    """Runs of long ago: R1 failed twice, R2 was half published; and one of today."""
    ago = datetime.now(UTC) - timedelta(days=200)

    def at(days):
        return f"{ago + timedelta(days=days):%Y-%m-%dT%H:%M:%S.%fZ}"

    put(
        line(time=at(0), event="start") + line(time=at(0), message="said")
        + line(time=at(0), event="error", step_status=40, message="first"),
        run="a",
    )  # fmt: skip
    put(
        line(time=at(1), event="start") + line(time=at(1), event="error", step_status=40, message="second"),
        run="b",
    )
    put(
        line(time=at(2), event="start", record_id="R2")
        + line(time=at(2), event="publishing", record_id="R2", paths=["x", "y"]),
        run="c",
    )
    put(line(time=at(199), message="today"), run="d")
    for run in "abcd":
        ws._source.journal.end(run)
    return ws.refresh()


def test_gc_forgets_what_is_old_and_no_status_changes(old):
    before = old.steps.collect()
    assert before["status"].to_list()[0] == "ERROR"
    swept = old.gc(older_than="90d")
    assert swept.events == 3
    assert old.events()["message"].to_list() == ["good", "second", "good", "good", "today"]
    assert old.steps.collect().equals(before)
    assert old.gc(older_than="90d").events == 0


def test_gc_clears_old_selections_and_what_dead_runs_left(old):
    selections = Path(old.config.log, "selections")
    selections.mkdir()
    run = "20200101T000000-00000"
    for name, age in ((f"{run}a", 100), (f"{run}b", 10)):
        (selections / f"{name}.parquet").write_bytes(b"x")
        os.utime(selections / f"{name}.parquet", (time.time() - 86_400 * age,) * 2)
    (Path(old.config.log) / f".staging/{run}d/w01").mkdir(parents=True)
    claims = Path(old.config.log, "claims")
    claims.mkdir()
    young = f"{run}e.beat"
    for name in (f"{run}d.beat", f"{run}d.parquet", ".00000001.json.0123abcd.tmp", young):
        (claims / name).touch()
        if name != young:
            os.utime(claims / name, (time.time() - 7_200,) * 2)
    swept = old.gc(older_than=timedelta(days=90))
    assert (swept.selections, swept.runs) == (1, 1)
    assert [path.name for path in selections.iterdir()] == [f"{run}b.parquet"]
    assert [path.name for path in claims.iterdir()] == [young]
    assert not list((Path(old.config.log) / ".staging").iterdir())


def test_gc_leaves_a_live_run_alone(old, put):
    rows = pl.DataFrame(
        {"record_id": ["R1"], "task": None, "modality": None, "step": "clean"},
        schema_overrides={"task": pl.String, "modality": pl.String},
    )
    old._source.claims.take("alive", rows)
    put(line(-(10**7)), run="alive")
    (Path(old.config.log) / ".staging/alive/w01").mkdir(parents=True)
    assert old.gc(older_than="1h").runs == 0
    assert (Path(old.config.log) / ".staging/alive/w01").exists()
    assert Path(old.config.log, "journal/alive/w01.ndjson").exists()


def test_gc_on_the_command_line(old, cli):
    folder = Path(old.config.root)
    done = cli("gc", folder, "--keep", "90d")
    assert (done.returncode, done.stdout) == (
        0,
        "deleted: 3 old events, 0 selections, 0 reports, the leftovers of 0 dead runs\n",
    )
    wrong = cli("gc", folder, "--keep", "soon")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(
        "error: --older-than: 'soon' is not a duration such as 90s, 10m, 2h, 7d or 1w"
    )
    assert json.loads(cli("gc", folder, "--keep", "90d", "--json").stdout) == {
        "events": 0,
        "selections": 0,
        "runs": 0,
        "reports": 0,
    }
