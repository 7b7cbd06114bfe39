"""A later look lists again only the folders that have changed, and finds what a first one would find."""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinagot_catalog.storage.listing import scan
from sinagot_catalog.storage.local import folder_stamps
from sinagot_catalog.storage.local.store import LocalStore
from sinagot_catalog.storage.protocol import Reach

TICK = 0.012
"""Longer than a tick of the kernel's clock: two changes with a pause of this between them have different times."""
REACHES = (
    Reach((("a", None), ("b", None, "c"))),
    Reach((("a", "b", None), ("a", None, None))),
    Reach(((None, None), (None, "a", None), ("a",))),
    Reach(((None, None, None, None),)),
    Reach(((None, "b", "c"), (None, "b", None, "a"))),
    Reach(((None, None, None),), follow_links=True),
    Reach((), everything=True),
    Reach((), everything=True, follow_links=True),
)
pytestmark = pytest.mark.skipif(
    not folder_stamps.is_kept_here(tempfile.gettempdir()),
    reason="the temporary folder lies on a file system whose times are not relied on: nothing is remembered there",
)


def told(store, reach):
    """All that a listing says, in its order."""
    one = scan(store, reach)
    columns = [one.folders.rows(), one.names.to_list(), one.directories.to_list()]
    return [*columns, one.unreadable, one.links, one.dangling, one.special, one.undecodable]


def check(store, reach):
    time.sleep(TICK)
    found = told(store, reach)
    assert found == told(LocalStore(store.root), reach)
    return found


def known(store):
    """The folders that a next look does not list again when nothing changes."""
    seen = store._last[1]
    return [] if seen is None else seen.folders.filter(seen.folders["ino"] > 0)["folder"].to_list()


def fill(root, *paths):
    for path in paths:
        Path(root, path).parent.mkdir(parents=True, exist_ok=True)
        Path(root, path).touch()


def looked_at(root, reach, *paths):
    """A store that knows its folders."""
    fill(root, *paths)
    store = LocalStore(str(root), settled=0)
    for _ in range(3):
        check(store, reach)
    return store


# --- any change at all ---------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c", "LOG", "d\udcff", ".x.tmp"])
PLACES = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CHANGES = st.one_of(
    st.tuples(st.just("file"), PLACES),
    st.tuples(st.just("folder"), PLACES),
    st.tuples(st.just("remove"), PLACES),
    st.tuples(st.just("move"), PLACES, PLACES),
    st.tuples(st.just("swap"), PLACES, PLACES),
    st.tuples(st.just("link"), PLACES, PLACES),
    st.tuples(st.just("mode"), PLACES, st.sampled_from([0o700, 0o755])),
    st.tuples(st.just("age"), PLACES),
)


def change(root, what, path, other=None):
    """Do one thing to a tree, if it can be done there."""
    at = root / path
    with contextlib.suppress(OSError, shutil.Error):
        if what in ("file", "folder", "link"):
            at.parent.mkdir(parents=True, exist_ok=True)
        if what == "file":
            at.touch()
        elif what == "folder":
            at.mkdir()
        elif what == "remove":
            shutil.rmtree(at) if at.is_dir() and not at.is_symlink() else at.unlink()
        elif what == "move":
            at.rename(root / other)
        elif what == "swap":
            (root / "aside").mkdir()
            at.rename(root / "aside" / "x")
            (root / other).rename(at)
            (root / "aside" / "x").rename(root / other)
        elif what == "link":
            at.symlink_to(root / other)
        elif what == "mode":
            at.chmod(other)
        else:
            os.utime(at, (0, 0))
    with contextlib.suppress(OSError):
        (root / "aside").rmdir()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    reach=st.sampled_from(REACHES),
    first=st.lists(PLACES, max_size=25),
    rounds=st.lists(st.lists(CHANGES, max_size=3), min_size=3, max_size=8),
)
def test_after_any_changes_it_finds_what_a_first_look_finds(reach, first, rounds):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        for path in first:
            change(root, "file", path)
        store = LocalStore(str(root), settled=0)
        check(store, reach)
        check(store, reach)
        for changes in rounds:
            for one in changes:
                change(root, *one)
            check(store, reach)


# --- what is listed again, and what is not -------------------------------------------------------------------

COUNTING = """if True:
    import os, sys, time
    from pathlib import Path
    from sinagot_catalog.storage.local.store import LocalStore
    from sinagot_catalog.storage.protocol import Reach
    listed = []
    sys.addaudithook(lambda event, _: listed.append(event) if event == "os.scandir" else None)
    root, settled = Path(sys.argv[1]), float(sys.argv[2])
    for number in range(20):
        (root / f"R{number}" / "deep").mkdir(parents=True)
        (root / f"R{number}" / "a").touch()
        (root / f"R{number}" / "deep" / "b").touch()
    time.sleep(float(sys.argv[3]))
    store, reach = LocalStore(str(root), settled=settled), Reach((), everything=True)
    def look():
        listed.clear()
        names = sorted(store.find(reach).names)
        print(len(listed), len(names))
    for _ in range(4):
        look()
    (root / "R3" / "c").touch()
    look()
    (root / "R4" / "deep").rename(root / "R4" / "other")
    (root / "R5" / "a").unlink()
    time.sleep(0.02)
    look()
"""


def counted(tmp_path, settled, pause):
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, tmp_path, str(settled), str(pause)],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return [tuple(map(int, line.split())) for line in done.stdout.splitlines()]


def test_folders_that_did_not_change_are_not_listed_again(tmp_path):
    # the first takes no notes; a new file is one folder, a removed one too, and what was renamed is two
    assert counted(tmp_path, 0, 0.05) == [(41, 40), (41, 40), (0, 40), (0, 40), (1, 41), (3, 40)]


def test_folders_that_changed_shortly_before_are_listed_again(tmp_path):
    looks = counted(tmp_path, 60, 0)
    assert looks == [(41, 40), (41, 40), (41, 40), (41, 40), (41, 41), (41, 40)]


def test_what_changes_within_a_tick_of_a_look_is_seen(tmp_path):
    fill(tmp_path, *(f"R{number}/a" for number in range(5)))
    store, reach = LocalStore(str(tmp_path)), Reach(((None, None),))
    for number in range(300):
        fill(tmp_path, f"R{number % 5}/x{number}")
        assert len(store.find(reach).names) == 6 + number


def test_a_folder_is_known_once_it_has_settled(tmp_path, monkeypatch):
    fill(tmp_path, "R1/a", "R2/a")
    store, reach = LocalStore(str(tmp_path), settled=600), Reach(((None, None),))
    store.find(reach)
    store.find(reach)
    assert known(store) == []
    now = time.clock_gettime_ns
    with monkeypatch.context() as later:  # ten minutes pass
        later.setattr(time, "clock_gettime_ns", lambda clock: now(clock) + 601_000_000_000)
        store.find(reach)
        assert known(store) == ["", "R1/", "R2/"]
    fill(tmp_path, "R2/b")
    store.find(reach)
    assert known(store) == ["", "R1/"]


@pytest.mark.parametrize("follow", [False, True])
def test_folders_with_links_are_always_looked_at(tmp_path, follow):
    fill(tmp_path / "far", "x", "deep/y")
    (tmp_path / "root/R2").mkdir(parents=True)
    (tmp_path / "root/R2/file").symlink_to(tmp_path / "far/x")
    (tmp_path / "root/R2/folder").symlink_to(tmp_path / "far/deep")
    store = looked_at(tmp_path / "root", Reach((), everything=True, follow_links=follow), "R1/a")
    assert "R2/" not in known(store)
    (tmp_path / "far/x").unlink()
    assert len(check(store, Reach((), everything=True, follow_links=follow))[1]) == (2 if follow else 1)
    shutil.rmtree(tmp_path / "far")
    assert len(check(store, Reach((), everything=True, follow_links=follow))[1]) == 1


def test_a_link_that_a_pattern_names_may_lead_elsewhere_later(tmp_path):
    for name in ("one", "two"):
        fill(tmp_path / name, f"R1/{name}", "R2/same")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/raw").symlink_to(tmp_path / "one")
    reach = Reach((("raw", None, None),))
    store = looked_at(tmp_path / "root", reach)
    (tmp_path / "root/raw").unlink()
    assert check(store, reach)[1] == []
    (tmp_path / "root/raw").symlink_to(tmp_path / "two")
    assert sorted(check(store, reach)[1]) == ["same", "two"]


def test_a_link_that_a_pattern_names_may_find_its_end_later(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/raw").symlink_to(tmp_path / "later")
    (tmp_path / "root/norm").symlink_to(tmp_path / "later/a")
    reach = Reach((("raw", None), ("norm",), ("deep", "down", None)))
    store = looked_at(tmp_path / "root", reach, "deep/down/x", "deep/down/y")
    fill(tmp_path, "later/a")
    assert sorted(check(store, reach)[1]) == ["a", "norm", "x", "y"]


def test_the_root_may_be_a_link_that_leads_elsewhere_later(tmp_path):
    fill(tmp_path, "one/R1/a", "two/R1/b")
    (tmp_path / "root").symlink_to("one")
    store = looked_at(tmp_path / "root", Reach(((None, None),)))
    (tmp_path / "root").unlink()
    (tmp_path / "root").symlink_to("two")
    assert check(store, Reach(((None, None),)))[1] == ["b"]


def test_a_directory_that_a_pattern_names_fills_and_empties_far_below(tmp_path):
    reach = Reach((("out", None), ("raw", None, "x")))
    store = looked_at(tmp_path, reach, "out/R1/deep/down/a", "out/R2", "raw/R1/x")
    assert check(store, reach)[2] == ["out/R1"]
    (tmp_path / "out/R1/deep/down/a").unlink()
    assert check(store, reach)[2] == []
    fill(tmp_path, "out/R1/deep/down/b")
    assert check(store, reach)[2] == ["out/R1"]


def test_a_parent_that_was_moved_takes_its_folders_along(tmp_path):
    reach = Reach(((None, None, None),))
    store = looked_at(tmp_path, reach, "a/x/1", "b/x/2", "c/x/3")
    (tmp_path / "a").rename(tmp_path / "aside")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "aside").rename(tmp_path / "b")
    assert check(store, reach)[:2] == [[("a/x/", 1), ("b/x/", 1), ("c/x/", 1)], ["2", "1", "3"]]


def test_another_reach_starts_anew(tmp_path):
    store = looked_at(tmp_path, REACHES[0], "a/x", "b/1/c", "b/1/d")
    check(store, REACHES[-2])
    fill(tmp_path, "a/y")
    check(store, REACHES[0])
    check(store, REACHES[-2])


def test_a_root_that_went_away_and_came_back(tmp_path):
    reach = Reach(((None, None),))
    store = looked_at(tmp_path / "root", reach, "a/x", "b/x")
    (tmp_path / "root").rename(tmp_path / "away")
    assert check(store, reach)[1] == []
    (tmp_path / "away").rename(tmp_path / "root")
    assert check(store, reach)[1] == ["x", "x"]


def test_nothing_is_relied_on_where_file_systems_make_up_their_times():
    store = LocalStore("/proc/sys/fs", settled=0)
    for _ in range(3):
        assert store.find(Reach((), everything=True)).names.len()
    assert known(store) == []


def test_what_another_user_could_read_is_not_known():
    if os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    program = """if True:
        import os, sys, time
        from sinagot_catalog.storage.local.store import LocalStore
        from sinagot_catalog.storage.protocol import Reach
        store, reach = LocalStore(sys.argv[1], settled=0), Reach(((None, None),))
        for _ in range(3):
            time.sleep(0.02)
            store.find(reach)
        os.setegid(65534)
        os.seteuid(65534)
        for _ in range(3):
            print([*store.find(reach).unreadable])
    """
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, "R1/a", "R2/a")
        Path(folder).chmod(0o755)
        Path(folder, "R1").chmod(0o700)
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=300, check=True
        )
    assert done.stdout.splitlines() == ["['R1']"] * 3


@pytest.fixture
def mount():
    """Mount a file system of its own on a folder, as often as one likes."""
    mounted = []

    def over(folder, *words):
        done = subprocess.run(
            ["mount", *(words or ["-t", "tmpfs", "none"]), folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("no file system may be mounted here")
        mounted.append(folder)

    yield over
    for folder in reversed(mounted):
        subprocess.run(["umount", "-l", folder], check=False)


def test_what_is_mounted_over_a_folder_hides_what_was_in_it(tmp_path, mount):
    reach = Reach(((None, None, None),))
    store = looked_at(tmp_path, reach, "R1/x/a", "R2/x/a", "R3/x/a")
    mount(tmp_path / "R2")
    assert check(store, reach)[0] == [("R1/x/", 1), ("R3/x/", 1)]
    fill(tmp_path, "R2/x/b")
    for _ in range(3):
        assert check(store, reach)[1] == ["a", "b", "a"]
    subprocess.run(["umount", tmp_path / "R2"], check=True)
    mount(tmp_path / "R2")
    assert check(store, reach)[1] == ["a", "a"]
    subprocess.run(["umount", tmp_path / "R2"], check=True)
    assert check(store, reach)[1] == ["a", "a", "a"]


def test_an_overlay_is_not_relied_on(tmp_path, mount):
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    fill(tmp_path, "lower/R1/a", "upper/R2/a")
    told_where = ",".join(f"{name}dir={tmp_path / name}" for name in ("lower", "upper", "work"))
    mount(tmp_path / "root", "-t", "overlay", "-o", told_where, "none")
    store = looked_at(tmp_path / "root", Reach(((None, None),)))
    assert known(store) == []


# --- where it lives ------------------------------------------------------------------------------------------


def test_what_was_seen_does_not_travel(tmp_path):
    store = looked_at(tmp_path, REACHES[0], "a/x")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
    assert known(copy) == []
    assert check(copy, REACHES[0])[1] == ["x"]


def test_threads_look_at_once_while_the_tree_changes(tmp_path):
    reach = Reach(((None, None),))
    store = looked_at(tmp_path, reach, *(f"R{number:03}/a" for number in range(200)))

    def look(_):
        return [store.find(reach).names.len() for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        looks = pool.map(look, range(4))
        for number in range(100):
            fill(tmp_path, f"R{number:03}/b{number}")
        assert all(one == sorted(one) for one in looks)
    assert len(check(store, reach)[1]) == 300


def test_a_refreshed_workspace_sees_what_came_and_went(make_workspace):
    ws = make_workspace(
        {"clean": ("{id}/raw.csv", "{id}/out.csv")}, [f"R{number}/raw.csv" for number in range(1, 9)]
    )
    ws._source.stores["dataset"] = LocalStore(str(ws.data_path), settled=0)
    for number in range(1, 9):
        time.sleep(TICK)
        assert ws.refresh().records.count() == 9 - number
        assert ws.steps.run(mode="main_process", progress=False).ok
        assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"] * (9 - number)
        shutil.rmtree(Path(ws.data_path, f"R{number}"))
