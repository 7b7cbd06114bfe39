"""Snapshots of the catalog, and what changed between them."""

from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import NotFoundError


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
    assert repr(found).endswith("1 records, 1 files, 1 steps>")


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
