"""`ws.plot`: charts and the step graph as text."""

import json
import subprocess
import sys

import pytest

from sinagot_catalog.errors import SelectionError, UsageError


@pytest.fixture
def run_lab(lab):
    lab.steps.run(mode="main_process", progress=False)
    return lab


@pytest.mark.parametrize("kind", ["matrix", "completeness", "timeline", "durations", "graph"])
def test_each_chart_is_one_that_altair_can_save(run_lab, kind, tmp_path):
    chart = getattr(run_lab.plot, kind)()
    chart.save(tmp_path / "chart.json")
    assert json.loads((tmp_path / "chart.json").read_text())["datasets"]


def test_the_matrix_has_a_rectangle_per_row_and_its_reason(run_lab):
    rows = next(iter(run_lab.plot.matrix().to_dict()["datasets"].values()))
    assert len(rows) == len(run_lab.steps)
    assert rows[0] == {
        "record_id": "R1",
        "name": "RS EEG clean",
        "status": "DONE",
        "reason": "all outputs are there",
    }


def test_many_records_are_binned(make_workspace):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, [f"raw/R{n:04d}" for n in range(5000)] + ["a/R0003"])
    rows = next(iter(ws.plot.matrix().to_dict()["datasets"].values()))
    assert len(rows) <= 4500
    assert sum(row["n"] for row in rows) == 5000
    assert sum(row["n"] for row in rows if row["status"] == "DONE") == 1
    by_bin = {}
    for row in rows:
        by_bin[row["bin"]] = by_bin.get(row["bin"], 0) + row["share"]
    assert all(round(share, 9) == 1 for share in by_bin.values())


def test_an_empty_workspace_has_charts_too(make_workspace):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")})
    for kind in ("matrix", "completeness", "timeline", "durations", "graph"):
        assert getattr(ws.plot, kind)().to_dict()


def test_the_graph_as_text_needs_no_altair_and_charts_say_what_they_need(harbor_folder):
    program = f"""if True:
        import sys
        sys.modules["altair"] = None
        from sinagot_catalog import Workspace
        ws = Workspace({str(harbor_folder)!r})
        print(ws.plot.mermaid().count("-->"))
        try:
            ws.plot.matrix()
        except Exception as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.startswith("2\ncharts need altair: ")
    assert "pip install 'sinagot-catalog[plot]'" in done.stdout


def data_of(chart):
    return list(chart.to_dict()["datasets"].values())


@pytest.mark.parametrize("kind", ["matrix", "completeness", "timeline", "durations", "graph"])
def test_charts_have_a_bounded_width(run_lab, kind):
    assert 0 < getattr(run_lab.plot, kind)().to_dict()["width"] <= 600


def test_only_statuses_that_occur_are_in_the_legend(run_lab):
    for chart in (run_lab.plot.matrix(), run_lab.plot.completeness().layer[0]):
        assert chart.to_dict()["encoding"]["color"]["scale"]["domain"] == ["INIT", "DONE"]


def test_each_chart_takes_a_selection(run_lab):
    rows = run_lab.steps.filter(step="alpha")
    assert {row["name"] for row in data_of(run_lab.plot.matrix(rows))[0]} == {"RS EEG alpha"}
    assert {
        row["record_id"] for row in data_of(run_lab.plot.matrix(run_lab.records.filter(record_id="R1")))[0]
    } == {"R1"}
    assert {row["name"] for row in data_of(run_lab.plot.durations(rows))[0]} == {"RS EEG alpha"}
    assert {row["name"] for row in data_of(run_lab.plot.completeness(rows))[0]} == {"RS EEG alpha"}
    every = data_of(run_lab.plot.timeline())[0][0]["done"]
    assert 0 < data_of(run_lab.plot.timeline(rows))[0][0]["done"] < every
    done = {row["name"]: row["done"] for row in max(data_of(run_lab.plot.graph(rows)), key=len)}
    assert done["RS EEG alpha"] == rows.filter(status="DONE").count() / rows.count()
    assert done["RS EEG clean"] is None


def test_a_selection_without_rows_has_charts_too(run_lab):
    none = run_lab.steps.filter(record_id="R99")
    for kind in ("matrix", "completeness", "timeline", "durations", "graph"):
        assert getattr(run_lab.plot, kind)(none).to_dict()


def test_shares_by_a_column_have_the_number_of_errors(make_workspace):
    toml = """
    [records]
    id_pattern = '(?P<site>[AB])\\d'
    [steps]
    scripts = ["a"]
    """
    body = "assert self.id != 'B2'\nself.path.output.write_text('')"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/A1", "raw/B1", "raw/B2"], toml=toml)
    ws.steps.run(mode="main_process", progress=False)
    chart = ws.plot.completeness(by="site")
    rows = max(data_of(chart), key=len)
    assert [(row["name"], row["status"], row["n"], row["share"]) for row in rows] == [
        ("A", "DONE", 1, 1.0),
        ("B", "DONE", 1, 0.5),
        ("B", "ERROR", 1, 0.5),
    ]
    assert [row["label"] for row in min(data_of(chart), key=len)] == ["1 failed"]
    assert chart.layer[0].to_dict()["encoding"]["color"]["legend"]["offset"] == 80  # beside the labels
    (run,) = data_of(ws.plot.timeline())[0]
    assert round(run["share"], 3) == 0.333


@pytest.mark.parametrize("rows", ["R1", "frame"])
def test_what_is_no_selection_is_refused_with_what_to_give(run_lab, rows):
    given = run_lab.steps.collect() if rows == "frame" else rows
    for draw in (run_lab.plot.matrix, run_lab.plot.timeline):
        with pytest.raises(UsageError, match=r"a chart takes a selection, such as .*, not a (str|DataFrame)"):
            draw(given)
    with pytest.raises(SelectionError, match="steps has no column 'tsk'; did you mean 'task'"):
        run_lab.plot.completeness(by="tsk")
