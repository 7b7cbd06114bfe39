"""The lines that a process appends to its journal."""

import errno
import os
import resource
import signal
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sinagot_catalog.journal import writer as _events
from sinagot_catalog.journal.run_spec import Port, UnitStepSpec
from sinagot_catalog.journal.writer import JournalWriter, read_lines
from sinagot_catalog.patterns.template import parse_template

SEED_KEYS = [
    "log_from",
    "record_id",
    "scope",
    "task",
    "modality",
    "step_label",
    "step_status",
    "message",
    "time",
]


def cell(version="3"):
    port = Port(None, parse_template("x/{id}", fields={"id"}))
    return UnitStepSpec("RS", None, "count", "/scripts/count.py", (port,), (port,), version=version)


@pytest.fixture
def journal(tmp_path):
    path = str(tmp_path / "LOG" / "journal" / "r1" / "main.ndjson")
    with closing(JournalWriter(path, run_id="r1", workspace_version="7")) as writer:
        yield writer


def lines(journal):
    return list(read_lines(journal.path))


def test_a_line_has_the_keys_of_the_seed_in_its_order_beside_ours(journal):
    journal.step_lines(cell()).write("start", "REC-1")
    (line,) = lines(journal)
    assert list(line) == [
        "schema",
        "event",
        *SEED_KEYS,
        "run_id",
        "claim",
        "host",
        "pid",
        "workspace_version",
        "script_version",
    ]
    assert line["schema"] == 1
    assert line["event"] == "start"
    assert line["step_status"] == 20
    assert line["message"] == "Processing run"
    assert (line["task"], line["modality"], line["step_label"]) == ("RS", None, "count")
    assert (line["run_id"], line["pid"], line["workspace_version"]) == ("r1", os.getpid(), "7")
    assert line["script_version"] == "3"


def test_every_event_carries_its_status_and_its_own_keys(journal):
    say = journal.step_lines(cell(version=None))
    say.write("start", "A")
    say.write("log", "A", "hello", level="WARNING")
    say.write("publishing", "A", paths=["x/A", "y/A"])
    say.write("done", "A", seconds=1.5, attempts=2, inputs=[(10, 99), None])
    say.write("error", "A", "bad", error_type="ValueError", seconds=0.5, attempts=1, traceback="Traceback …")
    say.write("not_available", "A", "Input data [x/A] not available")
    say.write("cancelled", "A")
    found = lines(journal)
    assert [(line["event"], line["step_status"]) for line in found] == [
        ("start", 20),
        ("log", 20),
        ("publishing", 20),
        ("done", 30),
        ("error", 40),
        ("not_available", 41),
        ("cancelled", 0),
    ]
    assert found[1]["level"] == "WARNING"
    assert found[2]["paths"] == ["x/A", "y/A"]
    assert (found[3]["seconds"], found[3]["attempts"], found[3]["inputs"]) == (1.5, 2, [[10, 99], None])
    assert (found[4]["error_type"], found[4]["traceback"], found[4]["output"]) == (
        "ValueError",
        "Traceback …",
        None,
    )


def test_times_are_utc_with_microseconds(journal):
    journal.step_lines(cell()).write("start", "A")
    text = lines(journal)[0]["time"]
    assert text.endswith("Z")
    assert abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(minutes=1)


def test_any_text_makes_a_line_that_strict_readers_take(journal):
    texts = ['"quoted" \\ and\nnewline', "\x00\x1f", "é 漢 😀", "half a pair \udc80", "\u2028"]
    say = journal.step_lines(cell())
    for text in texts:
        say.write("log", "A", text)
    content = Path(journal.path).read_text(encoding="utf-8")
    assert content.count("\n") == len(texts)
    assert [line["message"] for line in lines(journal)] == [*texts[:3], "half a pair \\udc80", texts[4]]


def test_endless_texts_are_cut_in_their_middle(journal):
    say = journal.step_lines(cell())
    long = "head" + "x" * 100_000_000 + "tail"
    say.write("error", "A", long, error_type="E", seconds=0, attempts=1, traceback=long, output=long)
    assert Path(journal.path).stat().st_size < 300_000
    (line,) = lines(journal)
    for key in ("message", "traceback", "output"):
        assert line[key].startswith("head")
        assert line[key].endswith("tail")
        assert "characters cut" in line[key]


def test_lines_of_many_threads_stay_whole(journal):
    say = journal.step_lines(cell())

    def write():
        for _ in range(200):
            say.write("log", "A", "x" * 500)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(journal)) == 1600


def test_a_full_disk_is_an_error_and_leaves_the_journal_readable(journal):
    say = journal.step_lines(cell())
    say.write("start", "A")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The limit leaves room for half a line.
        resource.setrlimit(resource.RLIMIT_FSIZE, (Path(journal.path).stat().st_size + 100, before[1]))
        with pytest.raises(OSError, match=r"bytes were written|File too large"):
            say.write("start", "B")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    say.write("start", "C")
    assert [line["record_id"] for line in lines(journal)] == ["A", "C"]


def test_nothing_is_made_before_the_first_line(tmp_path):
    with closing(JournalWriter(str(tmp_path / "a" / "b.ndjson"), run_id="r")) as writer:
        writer.step_lines(cell())
        writer.sync()
    assert list(tmp_path.iterdir()) == []


def test_reading_from_a_byte_passes_over_what_lies_before(journal):
    say = journal.step_lines(cell())
    say.write("start", "A")
    offset = Path(journal.path).stat().st_size
    say.write("start", "B")
    journal.sync()
    assert [line["record_id"] for line in read_lines(journal.path, offset)] == ["B"]


def test_a_line_that_was_lost_in_another_thread_is_never_called_safe(journal, monkeypatch):
    """The system tells of a lost page once: who asks next must hear of it all the same."""
    real, told = _events._sync, []

    def lose(fd):
        if not told:
            told.append(fd)
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(_events, "_sync", lose)
    journal.step_lines(cell()).write("start", "A")
    heard = []

    def ask():
        try:
            journal.sync()
        except OSError as error:
            heard.append(error.errno)

    other = threading.Thread(target=ask)
    other.start()
    other.join(300)
    assert heard == [errno.EIO]
    for _ in range(2):
        with pytest.raises(OSError, match="could not be brought to the disk"):
            journal.sync()


def test_names_that_were_not_brought_to_the_disk_are_not_forgotten(journal, monkeypatch):
    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    journal.step_lines(cell()).write("start", "A")
    with monkeypatch.context() as patched:
        patched.setattr(_events, "_sync_folders", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            journal.sync()
    with pytest.raises(OSError, match="could not be brought to the disk"):
        journal.sync()


def test_no_output_gets_its_name_while_another_thread_still_syncs_the_line(journal, tmp_path, monkeypatch):
    staged, final = tmp_path / "staged", tmp_path / "final"
    staged.write_text("whole")
    real, sizes = _events._sync, []
    is_asked, may_go = threading.Event(), threading.Event()

    def slow(fd):
        is_asked.set()
        may_go.wait(300)
        real(fd)
        sizes.append(os.fstat(fd).st_size)

    def publish():
        journal.sync()
        staged.rename(final)

    monkeypatch.setattr(_events, "_sync", slow)
    journal.step_lines(cell()).write("publishing", "A", paths=["a", "b"])
    size = Path(journal.path).stat().st_size
    first, second = threading.Thread(target=journal.sync), threading.Thread(target=publish)
    try:
        first.start()
        assert is_asked.wait(300)
        second.start()
        waits, end = 0, time.monotonic() + 300
        while waits < 50 and second.is_alive() and time.monotonic() < end:
            frame = sys._current_frames().get(second.ident)
            waits = waits + 1 if frame is not None and frame.f_code is JournalWriter.sync.__code__ else 0
            time.sleep(0.002)
        assert waits == 50
        assert not final.exists()
    finally:
        may_go.set()
        for thread in (first, second):
            if thread.ident is not None:
                thread.join(300)
    assert final.exists()
    assert sizes[0] >= size
