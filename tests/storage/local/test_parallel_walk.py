"""A long look is shared with other processes and finds what one alone would find."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinagot_catalog import Workspace
from sinagot_catalog.storage.local import local_walk
from sinagot_catalog.storage.local.folder_cache import columns
from sinagot_catalog.storage.local.local_walk import Walk, walk_below
from sinagot_catalog.storage.local.parallel_walk import HelperPool
from sinagot_catalog.storage.local.store import LocalStore, look_at
from sinagot_catalog.storage.protocol import Reach

REACHES = (
    Reach((("a", None), ("b", None, "c"))),
    Reach(((None, None), (None, "a", None), ("a",))),
    Reach(((None, None, None, None),)),
    Reach((), everything=True),
)
HOW = {"takes_notes": True, "settled": 0.0}


@pytest.fixture(autouse=True)
def shares_at_once(monkeypatch):
    monkeypatch.setattr(local_walk, "_LOOK_UP", 1)
    monkeypatch.setattr(local_walk, "_FEWEST", 2)
    monkeypatch.setattr(local_walk, "_LEAST", 1)


@contextlib.contextmanager
def waiting(function, number, wait_until):
    """Hands of which at least one waits for work."""
    with HelperPool(function, patience=0, number=number) as hands:
        wait_until(lambda: hands.are_free(1))
        yield hands


def told(walk):
    """All that a walk says, in its order."""
    seen, undecodable = columns(walk.parts)
    found = walk.found
    rows = seen.folders.select("folder", "n", "ino").rows()
    return (
        rows,
        seen.names.to_list(),
        sorted(found.directories),
        sorted(found.unreadable),
        (sorted(found.links), sorted(found.dangling)),
        undecodable,
    )


def alone(root, reach):
    walk = Walk(str(root), reach, **HOW)
    walk.go()
    return told(walk)


def shared(root, reach, number, wait_until):
    walk = Walk(str(root), reach, **HOW)
    with waiting(partial(walk_below, str(root), reach, **HOW), number, wait_until) as hands:
        walk.go(hands)
    return told(walk), len(walk.parts)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Two folders of 300 folders, with files of which some have no decodable name, a link and an empty folder.

    Tests only read it.
    """
    tmp_path = tmp_path_factory.mktemp("wide")
    for top in ("one", "two"):
        for number in range(300):
            folder = tmp_path / top / f"R{number:03}" / "deep"
            folder.mkdir(parents=True)
            (folder / "a").touch()
            Path(os.fsdecode(os.fsencode(folder.parent) + b"/d\xff")).touch()
    (tmp_path / "two" / "R100" / "deep" / "link").symlink_to(folder)
    (tmp_path / "two" / "R200" / "empty").mkdir()
    (tmp_path / "one" / "R007" / "deep" / "a").write_text("text")
    return tmp_path


NAMES = st.sampled_from(["a", "b", "c", "d\udcff", "LOG", "é"])
PLACES = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(reach=st.sampled_from(REACHES), files=st.lists(PLACES, max_size=40))
def test_whatever_the_tree_a_shared_walk_gives_the_same_in_the_same_order(reach, files, wait_until):
    with tempfile.TemporaryDirectory() as root:
        for one in files:
            with contextlib.suppress(OSError):
                Path(root, one).parent.mkdir(parents=True, exist_ok=True)
                Path(root, one).touch()
        assert shared(root, reach, 1, wait_until)[0] == alone(root, reach)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("reach", [Reach(((None, None, None, None), (None, None, "deep"))), REACHES[-1]])
def test_a_wide_tree_is_walked_in_several_parts(wide, number, reach, wait_until):
    found, parts = shared(wide, reach, number, wait_until)
    assert parts >= 3  # of its own, from another, of its own
    assert found == alone(wide, reach)
    assert len(found[1]) >= 600
    assert found[4:] == ((["two/R100/deep/link"], []), 600)


def test_no_process_outlives_the_look(wide, wait_until, children):
    before = children()
    with waiting(partial(walk_below, str(wide), REACHES[-1], **HOW), 1, wait_until):
        assert children() > before
    assert children() <= before


def test_what_a_killed_process_was_given_is_looked_at_by_oneself(wide, wait_until, children):
    paths = ["one/R000/deep/a", "two"]
    before = children()
    with waiting(partial(look_at, str(wide)), 1, wait_until) as hands:
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        given_work = hands.give(paths)
        assert given_work.result() is None
        assert not hands.are_free(1)
    walk = Walk(str(wide), REACHES[-1], **HOW)
    with waiting(partial(walk_below, str(wide), REACHES[-1], **HOW), 1, wait_until) as hands:
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        walk.go(hands)
    assert told(walk) == alone(wide, REACHES[-1])


@pytest.mark.parametrize("number", [1, 3])
def test_an_error_there_is_met_here(number, wait_until):
    with waiting(int, number, wait_until) as hands:
        assert hands.give("7").result() == 7
        wait_until(lambda: hands.are_free(1))
        assert hands.give("seven").result() is None
        wait_until(lambda: hands.are_free(1))  # and it goes on


ENDLESS = "#!/bin/sh\nexec yes nothing of ours\n"
ANOTHER = """#!/bin/sh
PYTHONUTF8=0 LC_ALL=C PYTHONCOERCECLOCALE=0 exec python3 -X utf8=0 -S -c "$6" "$7"
"""


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/cat", "/bin/true", ENDLESS, ANOTHER])
def test_who_is_none_of_ours_or_reads_names_otherwise_is_never_free(
    monkeypatch, program, wait_until, tmp_path
):
    if program.startswith("#!"):
        (tmp_path / "program").write_text(program)
        (tmp_path / "program").chmod(0o755)
        program = str(tmp_path / "program")
    monkeypatch.setattr("sys.executable", program)
    with HelperPool(int, patience=0, number=2) as hands:
        assert not hands.are_free(1)
        wait_until(lambda: not any(one.is_alive() for one in hands._threads))
        assert not hands.are_free(1)


LOOKS = """
import sys
from functools import partial
from sinagot_catalog.storage.local.store import LocalStore
from sinagot_catalog.storage.protocol import Reach
from sinagot_catalog.storage.local.folder_cache import columns
store = LocalStore(sys.argv[1], patience=float(sys.argv[2]))
found = store.find(Reach(((None, None),)))
print(len(found.names), found.folders["n"].sum(), found.undecodable, len(found.unreadable))
"""


@pytest.fixture(scope="module")
def folders_beyond_ascii(tmp_path_factory):
    """4000 folders with a file each, for tests that only read them."""
    folder = tmp_path_factory.mktemp("beyond_ascii")
    for number in range(4000):
        (folder / f"R{number}é").mkdir()
        (folder / f"R{number}é" / "a").touch()
    return folder


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONUTF8": "1", "LC_ALL": "C"}, {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}],
)
def test_names_are_read_alike_whatever_the_encoding_of_the_file_system(folders_beyond_ascii, environment):
    told = [
        subprocess.run(
            [sys.executable, "-c", LOOKS, folders_beyond_ascii, patience],
            env={**os.environ, **environment}, capture_output=True, text=True, check=True,
        ).stdout
        for patience in ("1e9", "0")
    ]  # fmt: skip
    assert told[0] == told[1]


@pytest.mark.parametrize("error", ["MemoryError", "AttributeError", "SystemExit"])
def test_an_answer_that_cannot_be_read_is_looked_for_by_oneself(wait_until, error):
    unreadable = f"type('U', (), {{'__reduce__': lambda self: (exec, ('raise {error}',))}})()"
    with waiting(eval, 1, wait_until) as hands:
        assert hands.give(unreadable).result() is None


def test_where_no_thread_can_be_started_it_looks_alone(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with HelperPool(int, patience=0, number=2) as hands:
        assert not hands.are_free(1)
        assert hands.number == 0


def test_a_short_look_starts_nothing(write_workspace, children):
    folder = write_workspace(files=["raw/R1"])
    with HelperPool(int, patience=300) as hands:  # none of which this test comes near
        assert not hands.are_free(1)
        assert hands.number == 0
    before = children()
    assert Workspace(folder).steps.collect().height == 0
    assert children() <= before


def test_sizes_and_times_are_those_that_one_alone_reads(wide):
    paths = [f"{top}/R{number:03}/deep/a" for top in ("one", "two") for number in range(310)]
    expected = [(wide / path).stat() if (wide / path).exists() else None for path in paths] * 20
    paths *= 20
    stat = LocalStore(str(wide), patience=0).stat(paths)
    assert stat.size == [one and one.st_size for one in expected]
    assert stat.modified == [one and one.st_mtime_ns for one in expected]
    assert stat.etag == [None] * len(paths)
