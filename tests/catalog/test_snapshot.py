"""Snapshots of the catalog, and what changed between them."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.catalog.snapshots import snapshot_files
from sinagot_catalog.errors import NotFoundError, StorageError, UsageError


@pytest.fixture
def ws(make_workspace):
    return make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/R2", "raw/R3"])


def test_nothing_changed_is_no_row(ws):
    assert len(ws.diff(ws.snapshot())) == 0


def test_new_gone_and_changed_records_and_files(ws):
    name = ws.snapshot()
    raw = Path(ws.data_path, "raw")
    (raw / "R4").write_text("new")
    (raw / "R1").unlink()
    (raw / "R2").write_text("other and longer")
    found = ws.diff(name)
    assert found.records.rows() == [("gone", "R1"), ("changed", "R2"), ("new", "R4")]
    assert found.files.rows() == [
        ("gone", "raw/R1", "R1", "4", None),
        ("changed", "raw/R2", "R2", "4", "16"),
        ("new", "raw/R4", "R4", None, "3"),
    ]
    assert found.steps.is_empty()


def test_moved_statuses_and_outputs_of_a_run(ws):
    ws.snapshot()
    ws.records.get("R2").steps.run(mode="main_process", progress=False)
    later = ws.snapshot()
    found = ws.diff(ws.snapshots()[0], later)
    assert found.steps.rows() == [("changed", "R2", None, None, "clean", "DATA_READY", "DONE")]
    assert found.files["path"].to_list() == ["out/R2"]
    assert repr(found).endswith("1 record, 1 file, 1 step>")


def test_a_group_is_no_record_that_changed(make_workspace):
    toml = """
    [steps]
    scripts = ["all"]
    [steps.all]
    command = "cp {input} {output}"
    inputs = "raw/{id}"
    outputs = "all.txt"
    by = []
    """
    ws = make_workspace({}, ["raw/R1"], toml=toml)
    name = ws.snapshot()
    ws.steps.run(mode="main_process", progress=False)
    found = ws.diff(name)
    assert found.steps["record_id"].to_list() == ["dataset=all"]
    assert found.records.is_empty()


def test_snapshot_is_read_by_another_process_and_is_no_data(ws):
    name = ws.snapshot()
    again = Workspace(ws.config.root)
    assert again.snapshots() == [name]
    assert len(again.diff()) == 0
    assert again.files.collect()["path"].to_list() == ["raw/R1", "raw/R2", "raw/R3"]


def test_unknown_snapshot_names_the_near_ones(ws):
    with pytest.raises(NotFoundError, match="no snapshot is kept"):
        ws.diff()
    name = ws.snapshot()
    with pytest.raises(NotFoundError, match=f"did you mean '{name}'"):
        ws.diff(name[:-1])


def test_command_line_keeps_and_compares(ws, cli):
    kept = cli("snapshot", ws.config.root)
    assert kept.returncode == 0
    Path(ws.data_path, "raw/R4").write_text("new")
    told = cli("diff", "-C", ws.config.root, kept.stdout.strip())
    assert told.returncode == 0
    assert "records: 1" in told.stdout
    assert "raw/R4" in told.stdout
    assert '"change":"new"' in cli("diff", "-C", ws.config.root, "--json").stdout


# --- a look without a listing --------------------------------------------------------------------------------


TABLES = ("records", "units", "files", "steps")


def opened(ws, snapshot):
    return Workspace(ws.config.root, snapshot=snapshot)


def test_a_snapshot_shows_every_table_as_it_was(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}", "out/{id}/", "raise ValueError('odd')"), "late": ("out/{id}/", "late/{id}")},
        ["raw/R1", "raw/R2", "out/R3/x", "LOG/x"],
    )
    ws.records.get("R2").steps.run("clean", mode="main_process", progress=False)
    name = ws.snapshot()
    asked = {table: ws.refresh()._select(table) for table in TABLES}
    before = {table: one.select(*one.collect_schema()) for table, one in asked.items()}
    events = ws.events()
    raw = Path(ws.data_path, "raw")
    (raw / "R4").write_text("new")
    (raw / "R1").unlink()
    (raw / "R2").write_text("longer than it was")
    ws.records.get("R3").steps.run("late", mode="main_process", progress=False)
    then = opened(ws, name)
    for table, frame in before.items():
        one = then._select(table)
        assert one.select(*one.collect_schema()).equals(frame), table
    assert then.events().equals(events)
    assert then.refresh().records.ids() == ["R2", "R3", "R4"]


def test_a_snapshot_is_looked_at_without_a_listing_and_refresh_lists(ws):
    ws.snapshot()
    Path(ws.data_path, "raw").rename(Path(ws.config.root, "away"))
    then = opened(ws, "latest")
    assert then.records.ids() == ["R1", "R2", "R3"]
    assert then.files.select("path", "size")["size"].to_list() == [4, 4, 4]
    assert then.refresh().records.ids() == []


def test_plan_and_run_list_anew(ws):
    ws.snapshot()
    Path(ws.data_path, "raw/R4").write_text("new")
    then = opened(ws, "latest")
    assert then.records.count() == 3
    assert then.steps.plan().frame["record_id"].to_list() == ["R1", "R2", "R3", "R4"]
    later = opened(ws, "latest")
    assert later.steps.run(mode="main_process", progress=False).counts() == {"done": 4}
    assert later.steps.filter(status="DONE").records.count() == 4
    assert repr(later) == "<Workspace instance>"


def test_a_snapshot_is_named_by_its_folder_too_and_says_its_age(ws, tmp_path):
    name = ws.snapshot()
    kept = tmp_path / "kept" / name
    kept.parent.mkdir()
    Path(ws.config.log, "snapshots", name).rename(kept)
    then = opened(ws, str(kept))
    assert then.records.count() == 3
    assert repr(then).startswith(f"<Workspace instance | snapshot {name}, ")
    assert f"(snapshot {name}, " in then._repr_html_()
    assert pickle.loads(pickle.dumps(then)).records.count() == 3  # noqa: S301 - our own bytes


def test_a_snapshot_that_is_not_there_or_damaged_is_one_sentence(ws):
    with pytest.raises(NotFoundError, match="no snapshot is kept"):
        opened(ws, "latest")
    name = ws.snapshot()
    with pytest.raises(NotFoundError, match="'lates'; did you mean 'latest'"):
        opened(ws, "lates")
    with pytest.raises(UsageError, match="is not a snapshot"):
        opened(ws, "some/folder")
    with pytest.raises(UsageError, match="listing and snapshot"):
        Workspace(ws.config.root, snapshot=name, listing="x.csv")
    Path(ws.config.log, "snapshots", name, "files.parquet").write_text("x")
    with pytest.raises(StorageError, match=r"files\.parquet cannot be read"):
        opened(ws, name).records.ids()


def test_what_was_unknown_stays_unknown_in_a_snapshot(ws):
    listing = ws._source.catalog().listings["dataset"]
    hidden = replace(listing, unreadable=("out/R1",))
    held = replace(ws._source.catalog(), listings={"dataset": hidden})
    name = snapshot_files.keep(ws._source.log_store, held, ws._source.stats, ws.config.dataset)
    then = opened(ws, name).steps.collect()
    assert then["status"].to_list() == held.steps["status"].to_list()
    assert then["reason"].to_list() == held.whole_steps["reason"].to_list()


@pytest.mark.parametrize("verb", [["status"], ["ls"], ["explain", "R1", "clean"], ["report", "-o", "r.html"]])
def test_commands_look_at_a_snapshot(cli, ws, verb):
    name = ws.snapshot()
    Path(ws.data_path, "raw/R4").write_text("new")
    done = cli(*verb, "-C", ws.config.root, "--snapshot")
    assert done.returncode == 0
    assert f"as it was: snapshot {name}, " in done.stderr
    assert "R4" not in done.stdout
    named = cli(*verb, "-C", ws.config.root, "--snapshot", name)
    assert named.returncode == 0


def test_status_of_a_snapshot_says_its_age(cli, ws):
    name = ws.snapshot()
    Path(ws.data_path, "raw/R4").write_text("new")
    done = cli("status", "-C", ws.config.root, "--snapshot")
    assert "3 records" in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[0].endswith(" s ago")
    told = json.loads(cli("status", "-C", ws.config.root, "--snapshot", "--json").stdout)
    assert (told["snapshot"], told["records"]) == (name, 3)
    assert cli("status", "-C", ws.config.root, "--snapshot", "late").returncode == 2


def rewritten(ws, name, table, change, **noted):
    """Write a table of a snapshot anew, as another version has it."""
    path = Path(ws.config.log, "snapshots", name, f"{table}.parquet")
    metadata = {**pl.read_parquet_metadata(path), **noted}
    metadata.pop("ARROW:schema", None)
    change(pl.read_parquet(path)).write_parquet(path, metadata=metadata)


def test_a_snapshot_of_an_earlier_version_is_compared_and_opened(ws):
    name = ws.snapshot()
    before = ws.files.collect()
    rewritten(ws, name, "files", lambda frame: frame.drop("kind", "mtime_ns"))
    assert len(ws.diff(name)) == 0
    assert opened(ws, name).files.collect().equals(before)
    Path(ws.data_path, "raw/R4").write_text("new")
    assert ws.diff(name).files["path"].to_list() == ["raw/R4"]


def test_a_snapshot_that_cannot_be_compared_is_one_sentence(ws):
    name = ws.snapshot()
    rewritten(ws, name, "files", lambda frame: frame.drop("etag"))
    for look in (lambda: ws.diff(name), opened(ws, name).records.ids):
        with pytest.raises(
            StorageError, match=f"snapshot {name} cannot be compared: .*etag.*\nMake a new one"
        ):
            look()
    rewritten(ws, name, "steps", lambda frame: frame.with_columns(status=pl.lit("odd")))
    with pytest.raises(StorageError, match="cannot be compared"):
        ws.diff(name)


def test_a_snapshot_of_a_newer_version_asks_for_an_upgrade(ws):
    name = ws.snapshot()
    rewritten(ws, name, "files", lambda frame: frame, schema="2")
    with pytest.raises(StorageError, match=f"{name} was made by a newer version.*\nUpgrade with pip"):
        ws.diff(name)
    rewritten(ws, name, "files", lambda frame: frame, schema="x")
    with pytest.raises(StorageError, match="damaged"):
        ws.diff(name)


def test_a_folder_named_by_no_moment_is_no_snapshot(ws):
    name = ws.snapshot()
    odd = Path(ws.config.log, "snapshots", "99999999T999999-1")
    odd.mkdir()
    (odd / "files.parquet").write_text("x")
    assert ws.snapshots() == [name]
    assert len(ws.diff()) == 0
    with pytest.raises(UsageError, match="is not a snapshot"):
        ws.diff(str(odd))
