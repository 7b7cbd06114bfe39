"""What objects look like: sinagot's texts, and small pages for notebooks."""

import pytest

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
