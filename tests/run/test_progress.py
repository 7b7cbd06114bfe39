"""What a run shows in a notebook while it goes on, and what is kept of it."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of Jupyter's own event loop
    pytest.mark.slow,
]


@pytest.fixture
def executed(write_workspace):
    """The outputs of a cell, and every message about its display while it ran."""

    def run(line, scripts):
        folder = write_workspace(scripts, [f"raw/R{n}.csv" for n in range(1, 7)])
        cell = f"from sinagot_catalog import Workspace\nws = Workspace({str(folder)!r})\n{line}"
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
        shown = []

        class Watching(NotebookClient):
            def process_message(self, msg, cell, cell_index):
                if msg["msg_type"] in ("display_data", "update_display_data"):
                    shown.append(msg["content"]["data"])
                return super().process_message(msg, cell, cell_index)

        Watching(notebook, timeout=300).execute()
        return notebook.cells[0].outputs, shown

    return run


SLOW = """
import time
from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = ("raw", "{id}.csv")
    PATH_OUT = ("out", "{id}.csv")

    def run(self):
        time.sleep(0.25)
        if self.id == "R3":
            raise ValueError("no boats")
        self.path.output.write_text("1")
"""


def test_a_run_in_a_notebook_moves_a_bar_and_leaves_one_line(executed):
    outputs, shown = executed("report = ws.steps.run(mode='main_process')", {"slow": SLOW})
    assert "<progress" in shown[0]["text/html"]
    assert any(re.search('value="[1-5]" max="6"', one["text/html"]) for one in shown)
    assert any("rows/s" in one["text/plain"] for one in shown[1:-1])
    assert [one.output_type for one in outputs] == ["display_data"]
    assert outputs[0].data["text/plain"] == "6 of 6 rows, 1 failed"
    assert "<progress" not in outputs[0].data["text/html"]


def test_a_run_in_worker_processes_shows_the_same(executed):
    outputs, _ = executed("report = ws.steps.run(workers=2)", {"slow": SLOW})
    assert [one.data["text/plain"] for one in outputs] == ["6 of 6 rows, 1 failed"]


def test_a_silent_run_in_a_notebook_leaves_nothing(executed):
    outputs, shown = executed("report = ws.steps.run(workers=2, progress=False)", {"slow": SLOW})
    assert (outputs, shown) == ([], [])
