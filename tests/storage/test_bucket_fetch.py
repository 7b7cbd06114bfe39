"""What a worker fetches from a bucket: of which version, under which names, and what it believes of it."""

from contextlib import closing
from pathlib import Path

import pytest

from sinagot_catalog.journal.run_spec import Remote, RunSpec
from sinagot_catalog.journal.upload import JournalUploader
from sinagot_catalog.journal.writer import JournalWriter, journal_path
from sinagot_catalog.storage.remote.store import RemoteStore
from sinagot_catalog.worker.buckets import remote_files
from sinagot_catalog.worker.buckets.remote_files import RemoteFiles
from sinagot_catalog.worker.files.local_files import PathQuery, RowPaths
from sinagot_catalog.worker.files.staging import StagingFolder


@pytest.fixture
def place(moto, tmp_path):
    spool = str(tmp_path / "spool")
    remote = Remote(f"{moto.url}/LOG", spool, 1_000_000)
    spec = RunSpec("r1", moto.url, moto.url, spool, "/scripts", ".+", (), remote=remote)
    options = {"dataset": moto.options, "outputs": moto.options}
    one = RemoteFiles(
        spec, options, staging=StagingFolder(f"{spool}/staging", spool), fetched=f"{spool}/inputs"
    )
    yield one
    one.close()


def paths_of(*inputs):
    """The paths of a row that makes an output of each input."""
    return RowPaths(tuple(inputs), tuple(f"out/{path}" for path in inputs), (PathQuery(),) * len(inputs))


def ahead(place, *rows):
    """Look at rows ahead, to the end of it."""
    place.prefetch([paths_of(one) for one in rows])
    place._prefetcher.wait()


def read(place, *paths):
    """Fetch the inputs of a row as it would; their contents, None where one is absent."""
    place.prepare(paths_of(*paths))
    found = [place.find_input(path, PathQuery()) for path in paths]
    place.fetch()
    return [None if stat is None else Path(full).read_bytes() for full, stat in found]


def test_input_that_came_while_the_row_before_ran_is_found(place, moto, monkeypatch):
    monkeypatch.setattr(remote_files, "_FRESH", -1.0)  # the row before runs for long
    ahead(place, "raw/A")
    moto.put({"raw/A": "late"})
    assert read(place, "raw/A") == [b"late"]


def test_row_that_begins_keeps_what_was_prefetched_for_it(place, moto):
    moto.put({"raw/A": "text", "raw/B": "text"})
    ahead(place, "raw/A", "raw/B")
    pending = dict(place._prefetcher._pending)
    ahead(place, "raw/A", "raw/B")  # as a run does when the row of A begins
    assert place._prefetcher._pending == pending
    place.prepare(paths_of("raw/A"))
    assert [paths.inputs for paths in place._prefetcher._pending] == [("raw/B",)]


def test_input_that_was_not_fetched_ahead_is_looked_at_again(place, moto, monkeypatch):
    monkeypatch.setattr(remote_files, "_FRESH", -1.0)
    monkeypatch.setattr(place._fetched, "_limit", 10)
    moto.put({"raw/A": "old, and too much to fetch it ahead"})
    ahead(place, "raw/A")
    moto.put({"raw/A": "new"})
    assert read(place, "raw/A") == [b"new"]
    assert place._fetched.wanted["raw/A"][1].size == 3


def test_what_a_row_writes_beside_its_outputs_is_seen_by_the_next(place, moto):
    ahead(place, "extra/A")
    staged = Path(place.staging.path, "c0", "extra")
    staged.mkdir(parents=True)
    (staged / "A").write_text("beside")
    place.publisher.publish(str(staged.parent), ["extra/A"])
    assert moto.read("extra/A") == b"beside"
    assert read(place, "extra/A") == [b"beside"]


def test_inputs_may_have_names_that_end_as_those_of_parts(place, moto):
    names = [f"raw/A{end}" for end in ("", ".part", ".ahead", ".parts", ".tmp")]
    moto.put({name: name * 5_000 for name in names})
    for _ in range(3):
        assert read(place, *names) == [(name * 5_000).encode() for name in names]
        for name in names:
            place._fetched._held.pop(name)


def test_input_with_the_longest_name_that_a_disk_takes_is_fetched(place, moto):
    name = f"raw/{'x' * 255}"
    moto.put({name: "long"})
    assert read(place, name) == [b"long"]


def test_input_that_a_script_reads_is_not_replaced_ahead(place, moto):
    moto.put({"raw/A": "old"})
    assert read(place, "raw/A") == [b"old"]
    moto.put({"raw/A": "newer"})
    root, info = moto.url, place._stores[moto.url].info("raw/A")
    place._fetched._get("raw/A", root, info, is_prefetch=True)
    assert Path(place._fetched.folder, "raw/A").read_bytes() == b"old"
    assert not list(Path(f"{place._fetched.folder}.parts").iterdir())
    assert read(place, "raw/A") == [b"newer"]


def test_rows_run_where_no_thread_is_to_be_had_to_look_ahead(place, moto):
    moto.put({"raw/A": "text"})
    place._prefetcher._threads.shutdown()  # it refuses as it does where the system gives no thread
    place.prefetch([paths_of("raw/A")])
    assert read(place, "raw/A") == [b"text"]


def test_what_comes_after_the_end_is_dropped(place, moto):
    moto.put({"raw/A": "old"})
    info = place._stores[moto.url].info("raw/A")
    place.close()
    place._fetched._get("raw/A", moto.url, info, is_prefetch=True)
    assert not Path(place._fetched.folder, "raw/A").exists()


def test_line_that_is_longer_than_a_piece_reaches_the_bucket(moto, tmp_path):
    path = journal_path(str(tmp_path), "r1", "w01")
    Path(tmp_path).mkdir(exist_ok=True)
    with closing(JournalWriter(path, run_id="r1")) as journal:
        lines = [b"a" * 9 * 2**20 + b"\n", b"b\n"]
        for line in lines:
            journal.write(line)
    JournalUploader(RemoteStore(f"{moto.url}/LOG", moto.options), str(tmp_path), "r1").send("w01")
    assert b"".join(moto.read(key) for key in moto.keys("LOG/journal/r1")) == b"".join(lines)
