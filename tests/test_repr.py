"""What objects look like: sinagot's texts, and small pages for notebooks."""

import re
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog.errors import NotFoundError, UsageError

SCOPED = """
[records]
id_pattern = 'R\\d+'
[tasks.RS]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean"]
"""


@pytest.fixture
def scoped(make_workspace):
    return make_workspace({"EEG/clean": ("raw/{id}-{task}", "out/{id}")}, ["raw/R1-RS"], toml=SCOPED)


def test_unit_mode(harbor):
    record = harbor.records.get("REC-20200601")
    assert repr(harbor) == "<Workspace instance>"
    assert repr(harbor.records) == "<RecordCollection instance>"
    assert repr(record) == "<Record instance | id: REC-20200601>"
    assert repr(harbor.steps) == "<StepCollectionUnit instance>"
    assert repr(record.steps) == "<StepCollectionUnit instance>"
    assert repr(harbor.steps.get("count")) == "<Step instance | task: None, modality: None, label: count>"
    assert repr(record.steps.get("count")) == "<Step instance | task: None, modality: None, label: count>"
    assert repr(harbor.files) == "<Files instance>"
    assert repr(harbor.units) == "<Units instance>"


def test_scoped_mode(scoped):
    record = scoped.records.get("R1")
    assert repr(scoped.records) == "<RecordCollection instance | task: None, modality: None>"
    assert repr(scoped.RS) == "<RecordCollection instance | task: RS, modality: None>"
    assert repr(scoped.EEG) == "<RecordCollection instance | task: None, modality: EEG>"
    assert (
        repr(scoped.RS.EEG) == repr(scoped.EEG.RS) == "<RecordCollection instance | task: RS, modality: EEG>"
    )
    assert repr(record) == "<Record instance | id: R1, task: None, modality: None>"
    assert repr(record.EEG) == "<Record instance | id: R1, task: None, modality: EEG>"
    assert repr(scoped.RS.get("R1")) == "<Record instance | id: R1, task: RS, modality: None>"
    assert repr(scoped.steps) == "<StepCollection instance>"
    assert (
        repr(scoped.RS.EEG.steps.get("clean"))
        == "<ScopedStep instance | task: RS, modality: EEG, label: clean>"
    )


def test_reports_and_plans(harbor):
    plan = harbor.steps.plan()
    assert repr(plan).startswith("<Plan | run: 9, skip: 0, blocked: 0>\n")
    report = harbor.steps.run(mode="main_process", progress=False)
    assert repr(report) == "<RunReport | 9 done>"
    assert repr(harbor.steps.run(mode="main_process", progress=False)) == "<RunReport | nothing to do>"


@pytest.mark.parametrize(
    "get", [lambda ws: ws, lambda ws: ws.steps, lambda ws: ws.records, lambda ws: ws.files]
)
def test_pages_for_notebooks_show_counts_and_rows(harbor, get):
    page = get(harbor)._repr_html_()
    assert "<table" in page


def test_pages_escape_what_they_show(make_workspace):
    ws = make_workspace(
        {"clean": ("raw/{id}", "out/{id}")}, ["raw/<img src=x>"], id_pattern=".+", name="a<b>&c"
    )
    for one in (ws, ws.records, ws.steps, ws.files, ws.steps.plan()):
        page = one._repr_html_()
        assert "<img" not in page
        assert "<b>&c" not in page


def test_pages_are_cut_with_a_note_and_show_failures_first(make_workspace):
    body = "if self.id == 'R30': raise ValueError('no boats')\nself.path.output.write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, [f"raw/R{n}" for n in range(10, 40)])
    assert "30 to run, the first 10 rows shown" in ws.steps.plan()._repr_html_()
    assert "<b>30 steps</b>, the first 10 shown" in ws.steps._repr_html_()
    page = ws.steps.run(mode="main_process", progress=False)._repr_html_()
    assert "29 done, 1 failed in " in page
    assert "R30" in page
    assert "R31" not in page
    assert "nothing to do" in ws.records.get("R10").steps.submit()._repr_html_()
    assert "decided by" in ws.explain("R30", "a")._repr_html_()
    assert "decided=" not in ws.explain("R30", "a")._repr_html_()


def test_repr_lists_nothing(harbor):
    repr(harbor), repr(harbor.records), repr(harbor.steps), repr(harbor.records.get("REC-20200601"))
    assert harbor._source._catalog is None


def test_a_narrowed_selection_shows_its_filters_and_its_number_of_rows(harbor, scoped):
    late = harbor.steps.filter(status="READY").filter(
        (pl.col("record_id") > "REC-20200601") & ~pl.col("stale")
    )
    assert repr(late) == (
        '<StepCollectionUnit instance | status == "DATA_READY"'
        ' | (record_id > "REC-20200601") & (stale.not()) | 0 steps>'
    )
    assert repr(harbor.steps.sql_filter("step = 'mean'").records) == (
        '<RecordCollection instance | steps: step == "mean" | 3 records>'
    )
    assert repr(scoped.RS.filter(n_done=0)) == (
        "<RecordCollection instance | task: RS, modality: None | n_done == 0 | 1 record>"
    )
    assert repr(harbor.steps.head(2)) == "<StepCollectionUnit instance | row < 2 | 2 steps>"
    assert "2 named rows" in repr(harbor._of(["REC-20200601", "REC-20200602"]))


def test_a_repr_is_short_and_never_fails(harbor):
    long = harbor.steps.filter(pl.col("step").is_in([f"step{n}" for n in range(100)]))
    assert len(repr(long)) < 120
    wrong = harbor.steps.filter(pl.col("no_such_column") > 1)
    assert repr(wrong) == "<StepCollectionUnit instance | no_such_column > 1>"
    assert "\n" not in repr(harbor.records.filter(record_id="a\nb\x1b[31m"))
    assert "\x1b" not in repr(harbor.records.filter(record_id="a\nb\x1b[31m"))


def test_a_notebook_shows_at_most_12_columns_and_those_that_matter(harbor):
    page = harbor.steps._repr_html_()
    assert re.findall("<th>([^<]*)</th>", page) == ["record_id", "step", "status", "reason"]
    harbor.steps.run(mode="main_process", progress=False)
    page = harbor.steps._repr_html_()
    assert re.findall("<th>([^<]*)</th>", page) == [
        "record_id",
        "step",
        "status",
        "reason",
        "seconds",
        "message",
    ]
    assert "n_error" not in harbor.records._repr_html_()


def test_a_wide_metadata_table_is_cut_with_a_note(make_workspace):
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}")},
        ["raw/R1"],
        toml="[records]\nid_pattern = 'R\\d'\nmetadata = 'table.csv'\n",
    )
    names = [f"c{n}" for n in range(30)]
    folder = Path(ws.config.root)
    (folder / "table.csv").write_text(f"record_id,{','.join(names)}\nR1,{','.join(names)}\n")
    page = ws.records._repr_html_()
    assert page.count("<th>") == 12
    assert "12 of 35 columns shown" in page


def test_a_matrix_has_a_row_per_record_and_a_column_per_step(harbor, scoped):
    assert harbor.records.matrix().columns == ["record_id", "count", "mean", "summary"]
    assert harbor.records.matrix().row(0) == ("REC-20200601", "DATA_READY", "DATA_READY", "INIT")
    assert harbor.steps.filter(step="mean").matrix().columns == ["record_id", "mean"]
    assert harbor.files.matrix().height == 3
    assert harbor.records.filter(record_id="x").matrix().shape == (0, 1)
    assert scoped.records.matrix().columns == ["record_id", "RS EEG clean"]


def test_an_index_is_no_id_and_the_message_says_what_to_write(harbor):
    for key in (0, slice(None, 5), None):
        with pytest.raises(NotFoundError, match="an id is a text") as error:
            harbor.records[key]
        assert ".head(5)" in str(error.value)


def test_one_id_can_be_run_as_a_list_of_ids(harbor):
    assert harbor.run("REC-20200601", progress=False, mode="main_process").counts() == {"done": 3}
    with pytest.raises(UsageError, match="did you mean 'REC-2020"):
        harbor.run("REC-2020060", progress=False)
