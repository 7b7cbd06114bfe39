"""A `LOG` that version 0.1 wrote is read, and its rows have the statuses that version 0.1 gave them."""

import json
import os
import shutil
from pathlib import Path

import pytest

KEPT = Path(__file__).parents[1] / "data" / "log_of_0_1"
"""Runs with failures, a lost process, an absent input and a run that was killed; and the statuses of then."""

FILES = [
    *(f"raw/R{number:02d}.csv" for number in range(12) if number != 5),
    *(f"a/R{number:02d}.csv" for number in range(12) if number not in (3, 4)),
    *(f"b/R{n:02d}.{end}" for n in range(12) for end in ("csv", "txt") if n not in (3, 4, 7)),
    *(f"f/R{number:02d}/n.txt" for number in range(9) if number != 5),
]
SCRIPTS = {
    "a": ("raw/{id}.csv", "a/{id}.csv"),
    "b": ("a/{id}.csv", {"x": "b/{id}.csv", "y": "b/{id}.txt"}),
    "f": ("raw/{id}.csv", "f/{id}/"),
}


@pytest.fixture
def kept(make_workspace):
    """A workspace with the kept LOG."""
    ws = make_workspace(SCRIPTS, FILES, id_pattern=r"R\d\d", toml="[info]\nversion = '1'\n")
    for part in ("journal", "claims"):
        shutil.copytree(KEPT / part, Path(ws.data_path, "LOG", part))
    for beat in Path(ws.data_path, "LOG", "claims").glob("*.beat"):
        os.utime(beat, (0, 0))  # its run was killed long ago
    return ws


def test_a_log_of_version_0_1_gives_the_statuses_of_then(kept):
    columns = ("record_id", "step", "status", "error_type", "message", "attempts")
    rows = kept.steps.select(*columns).sort("record_id", "step").rows()
    expected = json.loads((KEPT / "expected.json").read_text())
    assert [list(row) for row in rows] == expected
    assert {row[2] for row in rows} == {"DONE", "ERROR", "INIT", "DATA_READY", "DATA_NOT_AVAILABLE"}


def test_lines_without_a_claim_count_as_0_and_a_new_run_comes_after_them(kept):
    assert kept.records.logs()["time"].len() > 0
    assert kept.sql("SELECT max(claim) AS n FROM events").collect()["n"].to_list() == [0]
    assert kept.records.get("R03").steps.run("a", progress=False, workers=1).counts() == {"done": 1}
    assert kept.sql("SELECT max(claim) AS n FROM events").collect()["n"].item() > 3
    assert kept.explain("R03", "a").status == "DONE"
