"""The journal: readable whatever was torn, old logs too, and compacted without losing an event."""

import json
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sinagot_catalog import Workspace, schema
from sinagot_catalog.errors import StorageError
from sinagot_catalog.journal.reader import Journal, last_states
from sinagot_catalog.storage import open_store
from sinagot_catalog.storage.local.store import LocalStore


@pytest.fixture
def ws(make_workspace):
    return make_workspace(
        {"clean": ("raw/{id}", "out/{id}"), "peak": ("out/{id}", "peak/{id}")}, ["raw/R1", "raw/R2"]
    )


def journal_file(ws, run_id="run-1", name="main"):
    return Path(ws.config.log, "journal", run_id, f"{name}.ndjson")


def test_journal_of_nothing_is_empty(ws):
    assert ws.events().height == 0
    assert dict(ws.events().schema) == dict(schema.EVENTS)
    assert last_states(Journal(open_store(ws.config.log)).events()).height == 0


def test_events_say_what_happened_in_order_of_time(ws, journal_of):
    one, two = journal_of(ws, "clean", "run-1", version="3"), journal_of(ws, "peak", "run-2", name="w01")
    one.write("start", "R1")
    two.write("start", "R2")
    one.write("log", "R1", "half way")
    one.write(
        "error",
        "R1",
        "no",
        error_type="ValueError",
        seconds=1.5,
        attempts=2,
        traceback="Traceback …",
        output="said",
    )
    two.write("done", "R2", seconds=0.5, attempts=1, inputs=[(3, 4)])
    frame = ws.events()
    assert frame["time"].is_sorted()
    assert frame.select("run_id", "record_id", "step", "event", "status").rows() == [
        ("run-1", "R1", "clean", "start", "PROCESSING"),
        ("run-2", "R2", "peak", "start", "PROCESSING"),
        ("run-1", "R1", "clean", "log", None),
        ("run-1", "R1", "clean", "error", "ERROR"),
        ("run-2", "R2", "peak", "done", "DONE"),
    ]
    error = frame.filter(event="error").row(0, named=True)
    assert (error["error_type"], error["seconds"], error["attempts"]) == ("ValueError", 1.5, 2)
    assert (error["traceback"], error["output"], error["script_version"]) == ("Traceback …", "said", "3")
    row = ws.steps.filter(record_id="R1", step="clean").collect().row(0, named=True)
    assert (row["run_id"], row["attempts"], row["seconds"]) == ("run-1", 2, 1.5)
    assert row["started"] < row["ended"]


@pytest.mark.parametrize(
    "torn",
    [
        b'{"schema": 1, "event": "done", "rec',
        b"\x00" * 40,
        b"garbage\n",
        b"[1, 2]\n",
        b"\n\n",
        b"\xff\xfe{\n",
        b"7\n",
        b"{}\n",
    ],
)
@pytest.mark.parametrize("where", ["end", "middle", "start"])
def test_torn_or_foreign_lines_cost_no_other_line(ws, journal_of, torn, where):
    lines = journal_of(ws, "clean")
    path = journal_file(ws)
    path.parent.mkdir(parents=True)
    if where == "start":
        path.write_bytes(torn.rstrip(b"\n") + b"\n")
    lines.write("start", "R1")
    if where == "middle":
        with path.open("ab") as file:
            file.write(torn.rstrip(b"\n") + b"\n")
    lines.write("error", "R1", "no", error_type="ValueError", seconds=1.0, attempts=1)
    if where == "end":
        with path.open("ab") as file:
            file.write(torn)
    assert ws.events()["event"].to_list() == ["start", "error"]
    assert ws.steps.filter(record_id="R1", step="clean").collect()["status"].to_list() == ["ERROR"]


def test_file_without_a_whole_line_is_passed_over(ws):
    for name, content in (("empty", b""), ("torn", b'{"sch'), ("zeros", b"\0" * 4096)):
        path = journal_file(ws, name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert ws.events().height == 0


def test_values_of_a_wrong_kind_cost_their_line_at_most(ws, journal_of):
    journal_of(ws, "clean").write("start", "R1")
    with journal_file(ws).open("a") as file:
        for changes in (
            {"seconds": "long"},
            {"record_id": 3},
            {"time": "yesterday"},
            {"message": {"a": 1}},
            {"pid": "x"},
        ):
            line = {
                "schema": 1,
                "event": "done",
                "record_id": "R1",
                "step_label": "clean",
                "time": "2020-01-01T00:00:00.000000Z",
            }
            file.write(json.dumps({**line, **changes}) + "\n")
    journal_of(ws, "clean", name="w01").write("start", "R2")
    events = ws.events()
    assert events.filter(event="start")["record_id"].to_list() == ["R1", "R2"]


def test_events_are_the_same_whether_a_line_of_the_file_lists_what_its_row_made(ws):
    """Files in which no line does are read in another way."""
    lines = [
        {"record_id": "R1", "event": "start"},
        {"record_id": "R1", "event": "done", "made": [], "inputs": [[3, 4]]},
        {"record_id": 'R2 "made": [{', "event": "done", "message": '"made": []'},
        {"record_id": "R3", "event": "error", "message": "\\", "made": []},
    ]
    listing = {"record_id": "R9", "event": "done", "made": [{"path": "a", "names": ["b"]}]}
    common = {"schema": 1, "time": "2026-01-01T00:00:00.5Z", "step_label": "clean", "claim": 1}
    for name, some in (("plain", lines), ("listing", [*lines, listing])):
        path = ws.data_path / f"LOG/journal/{name}/main.ndjson"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps({**common, "run_id": name, **line}) + "\n" for line in some))
    events = ws._source.events()
    plain, other = (events.filter(run_id=name).drop("run_id") for name in ("plain", "listing"))
    assert plain.equals(other.filter(pl.col("record_id") != "R9"))
    assert plain["_made"].to_list() == [None, [], None, []]
    assert other["_made"].list.len().to_list() == [None, 0, None, 0, 1]


def test_line_of_a_newer_version_is_refused_with_what_to_do(ws, journal_of):
    journal_of(ws, "clean").write("start", "R1")
    with journal_file(ws).open("a") as file:
        file.write(
            '{"schema": 2, "event": "done", "record_id": "R1", "time": "2030-01-01T00:00:00.000000Z"}\n'
        )
    with pytest.raises(StorageError, match="newer version") as caught:
        ws.events()
    assert "Upgrade" in caught.value.hint


def test_only_files_that_have_grown_are_read_again(ws, journal_of):
    lines = journal_of(ws, "clean")
    lines.write("start", "R1")
    journal = Journal(open_store(ws.config.log))
    assert journal.events().height == 1
    held = dict(journal._read)
    assert journal.events().height == 1
    assert all(journal._read[path] is one for path, one in held.items())
    lines.write("log", "R1", "more")
    assert journal.events().height == 2


# --- pieces in a bucket ---------------------------------------------------------------------------------------


def put(store, process, lines, start, end):
    """Upload some lines of a process as a piece."""
    at, content = sum(map(len, lines[:start])), b"".join(lines[start:end])
    store.write(f"journal/run-1/{process}-{at:012}-{at + len(content):012}.ndjson", content)


@pytest.fixture
def lines(ws, journal_of):
    writer = journal_of(ws, "clean")
    for number in range(200):
        writer.write("log", "R1", f"line {number}")
    return journal_file(ws).read_bytes().splitlines(keepends=True)


def test_each_line_of_overlapping_pieces_is_read_once_whenever_they_come(lines):
    store = open_store("memory://journal-pieces")
    journal = Journal(store)
    for piece in [(0, 3), (0, 5), (3, 9), (5, 6), (9, 10)]:
        put(store, "a-w01", lines, *piece)
        put(store, "b-w01", lines, *piece)
        assert_frame_equal(journal.events(), Journal(store).events())
    assert journal.events()["message"].value_counts()["count"].to_list() == [2] * 10
    journal.end("run-1")
    assert journal.compact(frozenset(), least=1)
    assert [name for name in store.tree("") if "ndjson" in name] == []
    assert journal.events().height == Journal(store).events().height == 20


def test_a_piece_that_is_deleted_costs_no_line_of_another(lines):
    store = open_store("memory://journal-deleted")
    journal = Journal(store)
    for start in range(4):
        put(store, "w01", lines, start, start + 1)
    journal.events()
    store.delete([next(iter(store.tree("")))])
    assert {"line 1", "line 2", "line 3"} <= set(journal.events()["message"])


def test_many_pieces_of_one_process_are_parsed_at_once(lines):
    def seconds(folder, processes):
        store = open_store(f"memory://journal-{folder}")
        for number in range(len(lines)):
            put(store, f"w{number % processes:03}", lines, number, number + 1)
        began = time.process_time()
        assert Journal(store).events().height == len(lines)
        return time.process_time() - began

    assert seconds("one", 1) < seconds("each", len(lines)) / 2


# --- logs of sinagot itself ---------------------------------------------------------------------------------


def seed_line(record_id, step, status, message, time):
    keys = {
        "log_from": "script", "record_id": record_id, "scope": "record", "task": None, "modality": None,
        "step_label": step, "step_status": status, "message": message, "time": time,
    }  # fmt: skip
    return json.dumps(keys) + "\n"


def test_logs_of_sinagot_are_read_rotated_ones_too(ws):
    log = Path(ws.config.log)
    log.mkdir()
    (log / "R1.log.1").write_text(
        seed_line("R1", "clean", 0, "Init run", "2020-12-01T10:00:00.000001")
        + seed_line("R1", "clean", 20, "Processing run", "2020-12-01T10:00:00.000002")
    )
    (log / "R1.log").write_text(
        seed_line("R1", "clean", 40, "no boats", "2020-12-01T10:00:01")
        + seed_line("R1", "peak", 41, "Input data  [PosixPath('x')] not available", "2020-12-01T10:00:02.5")
        + '{"torn": '
    )
    (log / ".__R1.lock").touch()
    assert ws.events().select("step", "event", "run_id").rows() == [
        ("clean", "init", None), ("clean", "start", None), ("clean", "error", None),
        ("peak", "not_available", None),
    ]  # fmt: skip
    frame = ws.steps.filter(record_id="R1").collect()
    assert frame["status"].to_list() == ["ERROR", "DATA_NOT_AVAILABLE"]
    assert frame["message"].to_list()[0] == "no boats"
    logs = ws.records.get("R1").logs()
    assert logs["step_status"].to_list() == [41, 40, 20, 0]
    assert logs["step_label"].to_list() == ["peak", "clean", "clean", "clean"]


def test_logs_of_sinagot_lose_to_later_events_of_ours(ws, journal_of):
    log = Path(ws.config.log)
    log.mkdir()
    (log / "R1.log").write_text(seed_line("R1", "clean", 20, "Processing run", "2020-12-01T10:00:00.000002"))
    assert ws.steps.filter(record_id="R1", step="clean").collect()["status"].to_list() == ["PROCESSING"]
    journal_of(ws, "clean").write("error", "R1", "no", error_type="E", seconds=0.0, attempts=1)
    assert ws.refresh().steps.filter(record_id="R1", step="clean").collect()["status"].to_list() == ["ERROR"]


# --- compaction ---------------------------------------------------------------------------------------------


@pytest.fixture
def many(ws, journal_of):
    for number in range(12):
        lines = journal_of(ws, "clean", f"run-{number:02d}")
        lines.write("start", "R1")
        lines.write("done", "R1", seconds=number, attempts=1, inputs=[(number, number)])
        Journal(open_store(ws.config.log)).end(f"run-{number:02d}")
    return Journal(open_store(ws.config.log))


def test_compaction_keeps_every_event_once_and_deletes_the_files(ws, many):
    before = Journal(many.store).events()
    assert many.compact(frozenset({"run-11"}), least=10) is True
    left = sorted(path.name for path in Path(ws.config.log, "journal").rglob("*") if path.is_file())
    assert left == ["compact-00000001.parquet", "ended", "main.ndjson"]
    assert [path.name for path in Path(ws.config.log, "journal").iterdir() if path.is_dir()] == ["run-11"]
    assert Journal(many.store).events().equals(before)
    assert many.events().equals(before)
    assert ws.refresh().events().equals(before.select(*schema.EVENTS))
    assert ws.refresh().steps.filter(record_id="R1", step="clean").collect()["seconds"].to_list() == [11.0]


def test_compaction_merges_what_was_compacted_before(ws, many, journal_of):
    before = Journal(many.store).events()
    many.compact(frozenset({"run-11"}), least=10)
    journal_of(ws, "peak", "run-12").write("start", "R2")
    many.end("run-12")
    assert many.compact(frozenset(), least=1) is True
    names = [path.name for path in Path(ws.config.log, "journal").rglob("*") if path.is_file()]
    assert names == ["compact-00000002.parquet"]
    assert Journal(many.store).events().height == before.height + 1


def test_few_files_are_left_alone(many):
    assert many.compact(frozenset(), least=100) is False
    assert many.compact(frozenset(f"run-{number:02d}" for number in range(12)), least=10) is False


def test_compaction_that_dies_before_it_deletes_shows_each_event_once(many):
    class Dying(LocalStore):
        def delete(self, paths):  # noqa: ARG002 - it dies before it looks
            raise KeyboardInterrupt

    before = Journal(many.store).events()
    with pytest.raises(KeyboardInterrupt):
        Journal(Dying(many.store.root)).compact(frozenset(), least=10)
    assert Journal(many.store).events().equals(before)
    assert Journal(many.store).compact(frozenset(), least=1) is False
    assert Journal(many.store).events().equals(before)


def test_next_compaction_clears_what_a_dead_one_left(ws, many, journal_of):
    class Dying(LocalStore):
        def delete(self, paths):  # noqa: ARG002 - it dies before it looks
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Journal(Dying(many.store.root)).compact(frozenset(), least=10)
    journal_of(ws, "peak", "run-12").write("start", "R2")
    many.end("run-12")
    assert Journal(many.store).compact(frozenset(), least=1) is True
    names = [path.name for path in Path(ws.config.log, "journal").rglob("*") if path.is_file()]
    assert names == ["compact-00000002.parquet"]
    assert Journal(many.store).events().height == 25


def test_compaction_that_dies_halfway_through_deleting_shows_each_event_once(many):
    class Halting(LocalStore):
        def delete(self, paths):
            super().delete(list(paths)[:5])
            raise KeyboardInterrupt

    before = Journal(many.store).events()
    with pytest.raises(KeyboardInterrupt):
        Journal(Halting(many.store.root)).compact(frozenset(), least=10)
    assert Journal(many.store).events().equals(before)


def test_runs_compact_by_themselves_after_many_runs(make_workspace, journal_of):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    for number in range(100):
        journal_of(ws, "clean", f"run-{number:03d}").write("start", "R1")
        ws._source.journal.end(f"run-{number:03d}")
    ws.steps.run(mode="main_process", progress=False)
    assert ws.events().height == 102
    assert len(list(Path(ws.config.log, "journal").glob("*.parquet"))) == 1
    assert ws.steps.collect()["status"].to_list() == ["DONE"]
    assert pl.DataFrame(ws.steps)["status"].to_list() == ["DONE"]


def test_reader_that_a_compaction_overtakes_sees_each_event_once(many):
    """The compaction comes after the reader's listing: its files are gone when it reads them."""

    class Overtaken(LocalStore):
        calls = 0

        def stat(self, paths):
            found = super().stat(paths)
            if not self.calls:
                self.calls = 1
                assert Journal(LocalStore(self.root)).compact(frozenset(), least=10)
            return found

    assert Journal(Overtaken(many.store.root)).events().height == 24


def test_reader_whose_listing_a_compaction_comes_into_sees_each_event_once(many):
    class Overtaken(LocalStore):
        def folders(self, folder):
            found = super().folders(folder)
            Journal(LocalStore(self.root)).compact(frozenset(), least=10)
            return found

    assert Journal(Overtaken(many.store.root)).events().height == 24


@pytest.fixture
def in_paris(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_paris")
def test_a_local_time_of_sinagot_is_read_with_the_offset_that_held_then(ws):
    log = Path(ws.config.log)
    log.mkdir(parents=True)
    times = ("2020-07-01T10:00:00.5", "2020-12-01T10:00:00.5", "2020-10-25T12:00:00", "2020-03-29T01:59:59")
    lines = "".join(seed_line("R1", "clean", 0, f"at {one}", one) for one in times)
    (log / "R1.log").write_text(lines + seed_line("R1", "clean", 0, "no time", "yesterday"))
    told = dict(ws.events().select("message", pl.col("time").dt.strftime("%dT%H:%M:%S")).rows())
    assert told["at 2020-07-01T10:00:00.5"] == "01T08:00:00"
    assert told["at 2020-12-01T10:00:00.5"] == "01T09:00:00"
    assert told["at 2020-10-25T12:00:00"] == "25T11:00:00"
    assert told["at 2020-03-29T01:59:59"] == "29T00:59:59"


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/New_York", "UTC"])
@pytest.mark.usefixtures("in_paris")
def test_a_local_time_at_the_end_of_the_calendar_costs_no_look(ws, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    log = Path(ws.config.log)
    log.mkdir(parents=True)
    times = ("0000-01-01T00:00:00", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "2020-12-01T12:00:00")
    (log / "R1.log").write_text("".join(seed_line("R1", "clean", 40, f"at {one}", one) for one in times))
    told = dict(ws.events().select("message", pl.col("time").dt.day()).rows())
    assert told.keys() == {f"at {one}" for one in times}
    assert told["at 2020-12-01T12:00:00"] == 1
    assert ws.steps.filter(record_id="R1", step="clean").collect()["status"].to_list() == ["ERROR"]


# --- after a run of this process ------------------------------------------------------------------------------


def test_look_after_runs_of_this_process_equals_a_look_from_nothing(ws):
    ws.steps.collect()
    ws.records.filter(record_id=ws.records.ids()[0]).steps.run(progress=False)
    ws.steps.run(progress=False)
    seen = ws.steps.collect()
    assert seen["status"].to_list().count("DONE") > 1
    assert_frame_equal(seen, Workspace(ws.config.root).steps.collect())


def test_look_after_a_run_whose_lines_were_merged_equals_a_look_from_nothing(ws):
    ws.steps.collect()
    ws.steps.run(progress=False)
    assert Journal(open_store(ws.config.log)).compact(frozenset(), least=1)
    seen = ws.steps.collect()
    assert seen["run_id"].null_count() < seen.height
    assert_frame_equal(seen, Workspace(ws.config.root).steps.collect())


def test_events_of_some_runs_are_those_of_no_other(ws):
    first, second = (ws.steps.run(force=True, progress=False).run_id for _ in range(2))
    journal = Journal(open_store(ws.config.log))
    assert journal.of_runs([second])["run_id"].unique().to_list() == [second]
    assert journal.of_runs([first, second])["time"].is_sorted()
    assert journal.of_runs(["never"]) is None
