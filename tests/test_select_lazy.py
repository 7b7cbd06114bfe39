"""`collect`, `select`, `lazy`, `collect_schema`: the same rows, and what is read for them."""

import os

import polars as pl
import pytest

from sinagot_catalog import schema
from sinagot_catalog.errors import SelectionError


@pytest.mark.parametrize("table", ["records", "units", "files", "steps"])
def test_every_table_has_its_declared_columns_also_when_it_is_empty(table, harbor, make_workspace):
    named_only = schema.TIMED.get(table, ())
    declared = {name: dtype for name, dtype in schema.TABLES[table].items() if name not in named_only}
    assert dict(getattr(harbor, table).collect().schema) == declared
    assert dict(getattr(harbor, table).collect_schema()) == declared
    assert dict(getattr(harbor, table).lazy().collect().schema) == declared
    empty = make_workspace({"clean": ("raw/{id}", "out/{id}")}, name="empty")
    frame = getattr(empty, table).collect()
    assert dict(frame.schema) == declared
    assert frame.height == 0
    assert dict(getattr(empty, table).lazy().collect().schema) == declared


def test_workspace_without_steps_has_empty_tables(make_workspace):
    ws = make_workspace({}, toml="[steps]\nscripts = []\n")
    for table in ("records", "units", "files", "steps"):
        assert getattr(ws, table).collect().height == 0


def test_tables_links_and_events_have_their_declared_columns(harbor, make_workspace):
    empty = make_workspace({"clean": ("raw/{id}", "out/{id}")}, name="empty")
    for ws in (harbor, empty):
        assert dict(ws.links().schema) == dict(schema.LINKS)
        assert dict(ws.events().schema) == dict(schema.EVENTS)


def test_rows_are_ordered_by_record_then_by_the_config(harbor):
    frame = harbor.steps.collect()
    assert frame["record_id"].is_sorted()
    assert frame["step"].to_list() == ["count", "mean", "summary"] * 3
    assert frame["step_index"].to_list() == [1, 2, 3] * 3


def test_lazy_gives_the_rows_of_collect(harbor):
    for table in ("records", "units", "files", "steps"):
        one = getattr(harbor, table)
        assert one.lazy().collect().equals(one.collect())


def test_lazy_takes_further_verbs(harbor):
    frame = (
        harbor.steps.lazy()
        .filter(pl.col("step") != "mean")
        .group_by("step", maintain_order=True)
        .agg(pl.len())
        .collect()
    )
    assert frame.rows() == [("count", 3), ("summary", 3)]
    assert harbor.steps.lazy().select(pl.len()).collect().item() == 9
    assert harbor.steps.lazy().head(2).collect().height == 2


def test_lazy_follows_what_lies_there_when_it_is_collected(harbor, harbor_folder):
    lazy = harbor.records.lazy().select("record_id")
    assert lazy.collect().height == 3
    (harbor_folder / "dataset/raw/REC-20200604-raw.csv").write_text("kind,length\n")
    harbor.refresh()
    assert lazy.collect().height == 4


def test_sizes_are_read_only_where_a_column_needs_them(harbor):
    assert harbor._source._stats == {}
    assert "size" not in harbor.records.collect().columns
    assert "stale" not in harbor.steps.collect().columns
    assert harbor.files.lazy().select("path", "record_id").collect().height == 3
    assert harbor._source._stats == {}
    assert harbor.records.select("record_id", "size")["size"].null_count() == 0
    assert harbor._source._stats != {}


def test_size_of_a_record_is_that_of_its_files(harbor, harbor_folder):
    path = harbor_folder / "dataset/raw/REC-20200601-raw.csv"
    size, modified = harbor.records.select("record_id", "size", "last_modified").row(0)[1:]
    assert size == path.stat().st_size
    assert modified.timestamp() == pytest.approx(path.stat().st_mtime, abs=1e-5)
    assert harbor.records.lazy().select(pl.col("size").max()).collect().item() > 0
    assert len(harbor.records.filter(pl.col("size") > 0)) == 3
    assert len(harbor.steps.filter(pl.col("size") > 0)) == 9


def test_files_have_size_and_time(harbor, harbor_folder):
    frame = harbor.files.collect()
    for row in frame.iter_rows(named=True):
        found = os.stat(harbor_folder / "dataset" / row["path"])  # noqa: PTH116
        assert row["size"] == found.st_size
        assert row["modified"].timestamp() == pytest.approx(found.st_mtime, abs=1e-5)
    assert frame["role"].to_list() == ["input"] * 3
    assert frame["step"].to_list() == [None] * 3


def test_stale_is_told_where_it_is_named(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "raw/R2", "raw/R3", "out/R1", "out/R2"]
    )
    for name, when in (("raw/R1", 100), ("out/R1", 50), ("raw/R2", 50), ("out/R2", 100)):
        os.utime(f"{ws.data_path}/{name}", (when, when))
    assert ws.steps.select("record_id", "stale").rows() == [("R1", True), ("R2", False), ("R3", None)]
    assert ws.steps.filter(pl.col("stale")).records.ids() == ["R1"]
    assert ws.steps.sql_filter("stale").records.ids() == ["R1"]


def test_select_of_an_unknown_column_names_the_near_one(harbor):
    with pytest.raises(SelectionError, match="did you mean 'status'"):
        harbor.steps.select("statsu")


def test_len_is_the_number_of_rows_and_a_selection_is_always_true(harbor):
    assert len(harbor.steps) == 9
    assert len(harbor.steps.filter(step="count")) == 3
    assert bool(harbor.steps.filter(False)) is True


def test_looks_reuse_one_listing_until_refresh(harbor, harbor_folder):
    assert harbor.records.count() == 3
    (harbor_folder / "dataset/raw/REC-20200604-raw.csv").touch()
    assert harbor.records.count() == 3
    assert harbor.refresh() is harbor
    assert harbor.records.count() == 4


def test_changed_script_is_seen_without_a_restart(harbor, harbor_folder):
    assert harbor.records.count() == 3
    path = harbor_folder / "scripts/count.py"
    path.write_text(path.read_text().replace('("raw", "{id}-raw.csv")', '("raw", "{id}-other.csv")'))
    (harbor_folder / "dataset/raw/REC-20200609-other.csv").touch()
    assert harbor.records.ids() == ["REC-20200601", "REC-20200602", "REC-20200603", "REC-20200609"]
