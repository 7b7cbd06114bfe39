"""`ws.plot`: charts and the step graph as text."""

import json
import subprocess
import sys

import pytest

alt = pytest.importorskip("altair")


@pytest.fixture
def run_lab(lab):
    lab.steps.run(mode="main_process", progress=False)
    return lab


@pytest.mark.parametrize("kind", ["matrix", "timeline", "durations", "graph"])
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
    assert sum(row["records"] for row in rows) == 5000
    assert sum(row["records"] for row in rows if row["status"] == "DONE") == 1


def test_an_empty_workspace_has_charts_too(make_workspace):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")})
    for kind in ("matrix", "timeline", "durations", "graph"):
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
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("2\ncharts need altair: ")
    assert "pip install 'sinagot-catalog[plot]'" in done.stdout
