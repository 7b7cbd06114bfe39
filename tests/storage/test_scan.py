"""What counts as there: directories, links, odd names, shared paths, several roots."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import NotFoundError
from sinagot_catalog.storage.listing import STATS, from_keys
from sinagot_catalog.storage.protocol import Reach


def touch(ws, *names):
    for name in names:
        path = Path(ws.data_path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def statuses(ws):
    return dict(ws.refresh().steps.collect().select("record_id", "status").rows())


def test_directory_as_input_is_there_when_it_holds_a_file(make_workspace):
    ws = make_workspace({"read": ("dir/{id}", "out/{id}")}, ["dir/R1/deep/down/a.txt", "out/R2"])
    assert statuses(ws) == {"R1": "DATA_READY", "R2": "DONE"}


def test_empty_directory_is_absent(make_workspace):
    ws = make_workspace({"read": ("dir/{id}", "out/{id}/")}, ["dir/R1/a", "dir/R2/a"])
    Path(ws.data_path, "out/R1/nothing/in/it").mkdir(parents=True)
    touch(ws, "out/R2/in/it")
    Path(ws.data_path, "dir/R3").mkdir()
    assert statuses(ws) == {"R1": "DATA_READY", "R2": "DONE"}


def test_final_slash_demands_a_directory(make_workspace):
    ws = make_workspace({"read": ("raw/{id}", "out/{id}/")}, ["raw/R1", "out/R1", "raw/R2", "out/R2/a"])
    assert statuses(ws) == {"R1": "DATA_READY", "R2": "DONE"}


def test_directories_are_files_of_their_kind(make_workspace):
    ws = make_workspace({"read": ("dir/{id}", "out/{id}")}, ["dir/R1/a", "dir/R2"])
    rows = ws.files.collect().select("path", "kind", "record_id", "role").rows()
    assert rows == [("dir/R1", "directory", "R1", "input"), ("dir/R2", "file", "R2", "input")]
    assert ws.files.collect()["size"].to_list() == [4, 4]  # of a folder, that of its files


def test_directory_and_files_in_it_belong_to_the_same_record(make_workspace):
    scripts = {"all": ("dir/{id}", "out/{id}"), "one": ("dir/{id}/a.csv", "one/{id}")}
    ws = make_workspace(scripts, ["dir/R1/a.csv", "dir/R2/b.csv"])
    frame = ws.steps.collect().select("record_id", "step", "status").rows()
    assert frame == [
        ("R1", "all", "DATA_READY"), ("R1", "one", "DATA_READY"),
        ("R2", "all", "DATA_READY"), ("R2", "one", "INIT"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["a+b (1)", "x[1]", "c.d", "{braces}", "per%cent", "dollar$", "été", "sp ace", "a\\b"]
)
def test_literal_text_is_literal_wherever_it_stands(make_workspace, name):
    ws = make_workspace({"clean": (("raw", "{id}.csv"), "out/{id}")}, ["raw/R1.csv"], name=name)
    assert ws.records.ids() == ["R1"]
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"]


@pytest.mark.parametrize("name", ["a+b (1)", "x[1]", "c.d", "per%cent", "dollar$", "été", "sp ace", "^x"])
def test_literal_text_in_a_pattern_is_literal(make_workspace, name):
    ws = make_workspace(
        {"clean": ((name, "{id}" + name), f"out/{name}/{{id}}")}, [f"{name}/R1{name}", f"{name}/R2x"]
    )
    assert ws.records.ids() == ["R1"]
    assert ws.steps.run(mode="main_process", progress=False).ok
    assert ws.refresh().steps.collect()["status"].to_list() == ["DONE"]


def test_matching_is_anchored_and_dots_are_dots(make_workspace):
    files = [
        "raw/R1.csv",
        "raw/R2xcsv",
        "raw/xR3.csv",
        "raw/R4.csv.bak",
        "raw/deep/R5.csv",
        "other/raw/R6.csv",
    ]
    assert make_workspace({"clean": ("raw/{id}.csv", "out/{id}")}, files).records.ids() == ["R1"]


def test_id_twice_in_a_pattern_must_be_the_same(make_workspace):
    ws = make_workspace({"clean": ("{id}/{id}.csv", "out/{id}")}, ["R1/R1.csv", "R1/R2.csv", "R2/R1.csv"])
    assert ws.records.ids() == ["R1"]


def test_patterns_are_tuples_lists_texts_and_dicts_of_such(make_workspace, script_source):
    forms = [
        ("raw", "{id}.csv"),
        ["raw", "{id}.csv"],
        "raw/{id}.csv",
        {"a": ("raw", "{id}.csv")},
        {"a": "raw/{id}.csv"},
    ]
    for number, form in enumerate(forms):
        ws = make_workspace({"clean": script_source(form, "out/{id}")}, ["raw/R1.csv"], name=f"form-{number}")
        assert statuses(ws) == {"R1": "DATA_READY"}


def test_path_without_an_id_is_shared_by_all_records(make_workspace):
    ws = make_workspace({"use": ({"raw": "raw/{id}", "norm": "norm.csv"}, "out/{id}")}, ["raw/R1", "raw/R2"])
    assert statuses(ws) == {"R1": "INIT", "R2": "INIT"}
    touch(ws, "norm.csv")
    assert statuses(ws) == {"R1": "DATA_READY", "R2": "DATA_READY"}


def test_path_with_a_group_alone_is_shared_by_the_records_of_the_group(make_workspace):
    ws = make_workspace(
        {"use": ({"raw": "raw/{id}", "norm": "norm/{site}.csv"}, "out/{id}")},
        ["raw/A1", "raw/A2", "raw/B1", "norm/A.csv"],
        id_pattern=r"(?P<site>[AB])\d",
    )
    assert statuses(ws) == {"A1": "DATA_READY", "A2": "DATA_READY", "B1": "INIT"}


def test_literal_folder_of_a_pattern_may_be_a_link(make_workspace, tmp_path):
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "R1").touch()
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")})
    Path(ws.data_path, "raw").symlink_to(tmp_path / "nas")
    assert statuses(ws) == {"R1": "DATA_READY"}
    assert ws.steps.run(mode="main_process", progress=False).ok


def test_dataset_itself_may_be_a_link(make_workspace, tmp_path):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    from sinagot_catalog import Workspace

    (tmp_path / "linked").symlink_to(ws.data_path)
    assert Workspace(ws.config.root, data_path=tmp_path / "linked").records.ids() == ["R1"]


def test_matched_folders_are_links_only_where_the_config_says_so(make_workspace, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.csv").touch()
    for follow, ids in (("false", ["R1", "R3"]), ("true", ["R1", "R2", "R3"])):
        toml = f"[path]\nfollow_links = {follow}\n"
        ws = make_workspace({"clean": ("{id}/a.csv", "out/{id}")}, ["R1/a.csv"], toml=toml, name=follow)
        Path(ws.data_path, "R2").symlink_to(tmp_path / "elsewhere")
        Path(ws.data_path, "R3").mkdir()
        Path(ws.data_path, "R3/a.csv").symlink_to(tmp_path / "elsewhere" / "a.csv")
        assert ws.records.ids() == ids


def test_link_that_goes_round_ends(make_workspace):
    ws = make_workspace(
        {"clean": ("{id}/{id}/a.csv", "out/{id}")}, ["R1/R1/a.csv"], toml="[path]\nfollow_links = true\n"
    )
    Path(ws.data_path, "R1/R2").symlink_to(Path(ws.data_path))
    Path(ws.data_path, "R2").symlink_to(Path(ws.data_path))
    assert "R1" in ws.records.ids()


def test_dangling_links_and_pipes_are_no_files(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    Path(ws.data_path, "raw/R2").symlink_to("nowhere")
    os.mkfifo(Path(ws.data_path, "raw/R3"))
    assert ws.records.ids() == ["R1"]


def test_log_folder_is_never_data(make_workspace):
    ws = make_workspace({"clean": ("{id}/a", "out/{id}")}, ["LOG/a", "R1/a"], id_pattern=r"\w+")
    assert ws.records.ids() == ["R1"]


def test_names_that_are_not_utf8_are_left_out(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"], id_pattern=".+")
    with Path(os.fsdecode(os.fsencode(ws.data_path) + b"/raw/R\xff2")).open("w"):
        pass
    assert ws.records.ids() == ["R1"]


def test_absent_dataset_is_one_sentence_that_names_the_near_folder(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, toml="[path]\ndataset = 'datasett'\n")
    with pytest.raises(NotFoundError, match="datasett does not exist; did you mean 'dataset'"):
        ws.records.ids()


def test_absent_folders_of_patterns_are_absent_files(make_workspace):
    assert make_workspace({"clean": ("a/b/c/{id}", "x/y/{id}")}).records.ids() == []


def test_only_folders_that_patterns_lead_into_are_listed(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/deep/R2", "other/R3", "R4"])
    assert ws.files.collect()["path"].to_list() == ["raw/R1"]


def test_file_where_a_folder_is_looked_for_is_no_fault(make_workspace):
    ws = make_workspace({"clean": ("{id}/raw/a", "out/{id}")}, ["R1/raw", "R2/raw/a", "out"])
    assert ws.records.ids() == ["R2"]


def test_keys_with_newlines_in_folders_keep_their_folders():
    paths = ["raw/a\nb/x.csv", "raw/c/\n.csv", "raw/d/x\ny.csv"]
    keys = pl.concat([pl.DataFrame(schema=STATS), pl.DataFrame({"path": paths})], how="diagonal")
    for reach in (Reach((("raw", None, None),)), Reach((), everything=True)):
        assert from_keys(keys, reach).paths["path"].to_list() == paths


def test_many_unreadable_folders_hide_what_lies_below_them_and_nothing_else(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}/x", "out/{id}/deep/y")},
        [f"raw/R{n}/x" for n in range(1, 7)],
        toml="[records]\nid_pattern='R[0-9]+'\n",
    )
    catalog = ws._source.catalog()
    hidden = ("raw/R1", "raw/R2/x", "out/R3", "out/R4/deep", "out/R5/de", "out/R", "raw/absent/folder")
    listing = dataclasses.replace(catalog.listings["dataset"], unreadable=hidden)
    held = dataclasses.replace(catalog, listings={"dataset": listing})
    ids = held.ids.to_list()
    for place, one in zip(held.layout.places, held.unknown, strict=True):
        head, tail = place.template.text.split("{id}")
        expected = [any(f"{head}{each}{tail}".startswith(f"{top}/") for top in hidden) for each in ids]
        assert one.to_list() == expected
        assert any(expected)


def test_a_folder_that_cannot_be_opened_for_whatever_reason_is_unreadable_and_not_empty(tmp_path):
    """Here for want of file descriptors; of a mount that is lost the system says as little."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "R1.txt").touch()
    code = f"""
import resource
from sinagot_catalog.storage.local.store import LocalStore
from sinagot_catalog.storage.protocol import Reach
store = LocalStore({str(tmp_path)!r})
print([*store.find(Reach((("raw", None),))).unreadable])  # with all that Polars opens at first
resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print([*store.find(Reach((("raw", None),))).unreadable])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout == "[]\n['raw']\n"


@pytest.mark.parametrize("column", ["path", "key"])
def test_keys_of_digits_in_a_csv_listing_are_texts(make_workspace, tmp_path, column):
    ws = make_workspace({"read": ("{id}", "out/{id}.csv")}, id_pattern=r"\d+")
    listing = tmp_path / "listing.csv"
    listing.write_text(f"{column},size\n007,1\n012,2\n")
    listed = Workspace(ws.config.root, listing=listing)
    assert listed.files.select("record_id", "size").rows() == [("007", 1), ("012", 2)]
