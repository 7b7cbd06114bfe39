"""The notebooks of the examples run, and are kept with what they showed."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "example"
NOTEBOOKS = sorted(EXAMPLE.glob("*/*.ipynb"))


def texts(notebook):
    """What each cell showed as text."""
    return [
        "".join(
            one.get("text") or one.get("data", {}).get("text/plain", "") for one in cell.get("outputs", [])
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own event loop
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.parent.name)
def test_a_notebook_shows_what_is_kept_in_it(path):
    kept = nbformat.read(path, as_version=4)
    ran = nbformat.read(path, as_version=4)
    NotebookClient(ran, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    if os.environ.get("KEEP_NOTEBOOKS"):
        for cell in ran.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(ran, path)
        kept = ran
    assert texts(ran) == texts(kept)


def test_there_is_one_for_each_example():
    assert {path.parent.name for path in NOTEBOOKS} == {"harbor", "sonetaa"}
