"""What every store promises, whatever lies behind it."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from sinagot_catalog.errors import StorageError
from sinagot_catalog.patterns.template import parse_template
from sinagot_catalog.storage import open_store
from sinagot_catalog.storage.listing import reach_of, scan

KINDS = ("local", "memory", "moto", "seaweed", "azurite", "gcs")


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    """An empty root of each kind."""
    if request.param == "local":
        (tmp_path / "root").mkdir()
        return open_store(str(tmp_path / "root"))
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}/root")
    bucket = request.getfixturevalue(request.param)
    return open_store(f"{bucket.url}/some/root", bucket.options)


def reach(*patterns, **options):
    return reach_of([parse_template(one, fields={"id"}) for one in patterns], **options)


def test_reads_what_was_written(store):
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    assert list(store.read_all(["a/b.txt", "a/b.txt"])) == [b"two", b"two"]


def test_absent_path_is_a_storage_error_that_names_it(store):
    with pytest.raises(StorageError, match=r"no/such\.txt cannot be read"):
        store.read("no/such.txt")


def test_exists_for_files_and_for_folders_that_hold_one(store):
    store.write("a/b/c.txt", b"")
    found = [store.exists(path) for path in ("a/b/c.txt", "a/b", "a", "a/b/c", "x")]
    assert found == [True, True, True, False, False]
    assert store.kinds(["a/b/c.txt", "a/b", "x"]) == ["file", "directory", None]


def test_names_and_folders_are_those_right_below(store):
    for path in ("j/run-1/w01.x", "j/run-1/w02.x", "j/run-2/deep/w01.x", "j/top.x", "other"):
        store.write(path, b"1")
    assert store.names("j") == ["top.x"]
    assert store.folders("j") == ["run-1", "run-2"]
    assert store.names("j/run-1") == ["w01.x", "w02.x"]
    assert store.names("") == ["other"]
    assert store.folders("") == ["j"]
    assert store.names("absent") == store.folders("absent") == []


def test_tree_is_every_file_below_with_its_size(store):
    store.write("j/b/2.x", b"22")
    store.write("j/a/1.x", b"1")
    store.write("k/3.x", b"333")
    assert store.tree("j") == {"j/a/1.x": 1, "j/b/2.x": 2}
    assert list(store.tree("")) == ["j/a/1.x", "j/b/2.x", "k/3.x"]
    assert store.tree("absent") == {}


def test_delete_removes_and_is_content_with_absent_ones(store):
    store.write("a.txt", b"1")
    store.delete(["a.txt", "b.txt"])
    assert not store.exists("a.txt")


def test_stat_tells_size_and_time(store):
    before = time.time()
    store.write("a.txt", b"12345")
    found = store.stat(["a.txt", "absent"])
    assert found.size == [5, None]
    assert found.modified[1] is None
    assert before - 2 < found.modified[0] / 1e9 < time.time() + 2


def test_of_many_who_create_one_is_first(store):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: store.create("claims/1.json", f"run {n}".encode()), range(8)))
    assert made.count(True) == 1
    assert store.read("claims/1.json") == f"run {made.index(True)}".encode()
    assert store.create("claims/1.json", b"late") is False
    assert store.can_create("claims")
    assert store.names("claims") == ["1.json"]


def test_who_creates_again_what_it_created_is_told_so_in_a_bucket(store):
    assert store.create("claims/1.json", b"run 1")
    assert store.create("claims/1.json", b"run 1") is not store.is_local


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        (["raw/{id}.csv"], ["raw/R1.csv", "raw/deep", "raw/other", "raw/x y+(1).csv"]),
        (["dir/{id}"], ["dir/R1", "dir/R2", "dir/R3"]),
        (["dir/{id}", "dir/{id}/a.csv"], ["dir/R1", "dir/R1/a.csv", "dir/R2", "dir/R3"]),
        (["{id}/one/{id}.txt"], ["R1/one/R1.txt", "R2/one/R1.txt", "shared.txt"]),
        (
            ["shared.txt", "raw/{id}.csv"],
            ["raw/R1.csv", "raw/deep", "raw/other", "raw/x y+(1).csv", "shared.txt"],
        ),
        (["absent/{id}"], []),
    ],
)
def test_listing_is_the_same_frame_from_each(store, patterns, paths):
    there = [
        "raw/R1.csv",
        "raw/other",
        "raw/x y+(1).csv",
        "raw/deep/R9.csv",
        "dir/R1/a.csv",
        "dir/R1/b/c.csv",
    ]
    there += [
        "dir/R2/x",
        "dir/R3",
        "R1/one/R1.txt",
        "R2/one/R1.txt",
        "shared.txt",
        "LOG/raw/R1.csv",
        "été/R1",
    ]
    for path in there:
        store.write(path, path.encode())
    listing = scan(store, reach(*patterns))
    assert listing.paths["path"].sort().to_list() == paths
    if listing.stats is not None:
        sizes = {one["path"]: one["size"] for one in listing.stats.to_dicts()}
        kinds = dict(listing.paths.select("path", "kind").rows())
        assert sizes == {path: len(path.encode()) if kinds[path] == "file" else None for path in paths}


def test_listing_of_everything_leaves_out_the_log(store):
    for path in ("a/b/c", "LOG/x", "d"):
        store.write(path, b"1")
    assert scan(store, reach("raw/{id}", everything=True)).paths["path"].sort().to_list() == ["a/b/c", "d"]


def test_empty_root_has_an_empty_listing_of_the_same_shape(store):
    listing = scan(store, reach("raw/{id}"))
    assert listing.paths.is_empty()
    assert listing.paths.schema.names() == ["path", "kind"]
    assert isinstance(listing.paths, pl.DataFrame)


def test_writes_of_many_threads_are_all_there(store):
    threads = [
        threading.Thread(target=store.write, args=(f"many/{n:03}.txt", os.urandom(64))) for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(store.names("many")) == 40


def test_what_may_be_written_is_said_beforehand(store):
    store.check_writable()
    assert store.tree("") == {}
