"""`collect`, `select`, `lazy`, `collect_schema`: the same rows, and what is read for them."""

import os
import subprocess
import sys

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
    assert harbor._source.stats._held == {}
    assert "size" not in harbor.records.collect().columns
    assert "stale" not in harbor.steps.collect().columns
    assert harbor.files.lazy().select("path", "record_id").collect().height == 3
    assert harbor._source.stats._held == {}
    assert harbor.records.select("record_id", "size")["size"].null_count() == 0
    assert harbor._source.stats._held != {}


def test_size_of_a_record_is_that_of_its_files(harbor, harbor_folder):
    path = harbor_folder / "dataset/raw/REC-20200601-raw.csv"
    size, modified = harbor.records.select("record_id", "size", "last_modified").row(0)[1:]
    assert size == path.stat().st_size
    assert modified.timestamp() == pytest.approx(path.stat().st_mtime, abs=1e-5)
    assert harbor.records.lazy().select(pl.col("size").max()).collect().item() > 0
    assert len(harbor.records.filter(pl.col("size") > 0)) == 3
    assert len(harbor.steps.filter(pl.col("size") > 0)) == 9


def test_sizes_of_many_records_are_those_of_their_files(write_workspace, tmp_path):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")})
    listing = tmp_path / "listing.csv"
    rows = "".join(f"raw/R{n:05d},{int(n == 777)}\n" for n in range(20_000))
    listing.write_text(f"path,size\n{rows}")
    # a process of its own: Polars has one thread here, and divides large frames among several
    words = ["ls", "records", "-C", folder, "--listing", listing, "--sort", "-size", "--limit", "1", "--csv"]
    command = [sys.executable, "-m", "sinagot_catalog", *words]
    environment = {**os.environ, "POLARS_MAX_THREADS": "2"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [line.partition(",")[0] for line in found.stdout.splitlines()] == ["record_id", "R00777"]


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


def test_len_and_count_are_the_number_of_rows_and_truth_is_asked_for_in_words(harbor):
    assert len(harbor.steps) == 9
    assert len(harbor.steps.filter(step="count")) == 3
    assert (harbor.steps.count(), harbor.files.count(), harbor.units.count()) == (9, 3, 3)
    assert harbor.steps.filter(False).is_empty()
    assert not harbor.steps.is_empty()
    for selection in (harbor.steps, harbor.records, harbor.units, harbor.files, harbor.steps.filter(False)):
        with pytest.raises(TypeError, match=r"is ambiguous: write \.is_empty\(\)"):
            bool(selection)
    assert bool(harbor.records.get("REC-20200699")) is True
    assert bool(harbor.steps.get("count")) is True


def test_select_takes_names_and_expressions_as_polars_does(harbor):
    picked = harbor.steps.filter(step="mean").select(
        "record_id",
        pl.col("step").str.to_uppercase(),
        [pl.col("n_files") + 1],
        ready=pl.col("status") == "DATA_READY",
    )
    assert picked.columns == ["record_id", "step", "n_files", "ready"]
    assert picked.row(0) == ("REC-20200601", "MEAN", 2, True)
    assert harbor.steps.select(pl.len()).item() == 9
    assert harbor.files.select(pl.col("size").sum() > 0, "n_done").height == 3
    assert harbor.steps.select("^n_inputs.*$").columns == ["n_inputs", "n_inputs_found"]
    assert harbor.steps.select(pl.col("stale").is_null().all()).item() is True
    with pytest.raises(SelectionError, match="did you mean 'status'"):
        harbor.steps.select(pl.col("statsu").is_null())
    with pytest.raises(SelectionError, match="status is never 'DOEN'"):
        harbor.steps.select(pl.col("status") == "DOEN")


def test_head_sample_and_sort_choose_and_order_rows(harbor):
    ready = harbor.steps.filter(status="DATA_READY")
    first = ready.head(3)
    assert first.collect().equals(ready.collect().head(3))
    assert len(first.plan()) == 3
    some = ready.sample(4, seed=7)
    assert len(some) == 4
    assert some.collect().equals(some.collect())
    assert some.plan().frame.height == 4
    assert ready.sample(99).collect().equals(ready.collect())
    by_size = harbor.files.sort("size", descending=True)
    assert by_size["size"].is_sorted(descending=True)
    assert harbor.records.sort("size").columns == harbor.records.collect().columns
    assert harbor.steps.sort("step", "record_id")["step"].is_sorted()


def test_a_list_of_ids_is_something_to_run(harbor):
    report = harbor.run(
        ["REC-20200602", "REC-20200601"], step_label="count", mode="main_process", progress=False
    )
    assert report.frame.select("record_id", "outcome").rows() == [
        ("REC-20200601", "done"),
        ("REC-20200602", "done"),
    ]
    assert len(harbor.run(pl.Series(["REC-20200603"]), mode="main_process", progress=False)) == 3
    assert len(harbor.run([], mode="main_process", progress=False)) == 0
    with pytest.raises(SelectionError, match="does not fit id_pattern"):
        harbor.run(["nonsense"])


def test_numbers_that_lost_their_zeros_are_answered_with_the_id(make_workspace, caplog):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}")}, ["raw/007", "raw/012"], id_pattern=r"\d+")
    report = ws.run(pl.DataFrame({"record_id": [7]}), mode="main_process", progress=False)
    assert report.counts() == {"not_available": 1}
    assert "no file, such as '7'; did you mean '007'?" in caplog.text


def test_an_id_without_a_file_is_in_the_report_of_a_run(harbor, caplog):
    rows = pl.DataFrame({"record_id": ["REC-20200601", "REC-20200699"], "step": ["count", "count"]})
    report = harbor.run(rows, mode="main_process", progress=False)
    assert report.frame.select("record_id", "outcome", "message").rows() == [
        ("REC-20200601", "done", None),
        ("REC-20200699", "not_available", "no file of this record was found"),
    ]
    assert "1 of 2 records has no file, such as 'REC-20200699'; did you mean 'REC-2020060" in caplog.text
    nothing = harbor.run(["REC-20200699"], mode="main_process", progress=False)
    assert nothing.counts() == {"not_available": 3}
    assert harbor.run(
        ["REC-20200699"], ignore_missing=True, mode="main_process", progress=False
    ).counts() == {"error": 3}


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
