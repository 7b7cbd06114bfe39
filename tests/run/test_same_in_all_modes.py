"""One workspace with all kinds of inputs and decisions: each mode gives the same rows, here and in a bucket."""

import json
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

pytestmark = pytest.mark.slow

TOML = r"""
[records]
id_pattern = '(?P<sub>s\d)_(?P<run>\d)'
metadata = "people.csv"
exclude = "exclude.csv"
[params]
cut = 3
[steps]
scripts = ["qc", "clean", "mean", "all"]
"""

QC = """
import json
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "qc/{id}.json"
    COLUMNS = True
    def run(self):
        self.path.output.write_text(json.dumps({"length": len(self.path.input.read_text())}))
"""

CLEAN = """
from sinagot_catalog import ScriptTemplate, any_of, many, optional
class Script(ScriptTemplate):
    PATH_IN = {
        "raw": "raw/{id}.txt",
        "montage": "montages/{montage}.txt",
        "chunks": many("chunks/{id}_*.bin"),
        "sidecar": any_of("sidecars/{id}.json", "sidecars/{sub}.json"),
        "note": optional("notes/{id}.txt"),
    }
    PATH_OUT = "clean/{id}.txt"
    def run(self):
        text = self.path.input["raw"].read_text()
        if "bad" in text:
            raise ValueError("bad recording")
        paths = self.path.input
        parts = [text, paths["montage"].read_text(), *(chunk.name for chunk in paths["chunks"])]
        parts += [paths["sidecar"].name, paths["note"].read_text() if paths["note"] else "-"]
        parts += [str(self.params.cut), str(self.record.age)]
        self.path.output.write_text(" ".join(parts))
"""

MEAN = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "clean/{id}.txt"
    PATH_OUT = "mean/{sub}.txt"
    BY = ("sub",)
    PARTIAL = True
    def run(self):
        assert len(self.path.input) == len(self.records)
        self.path.output.write_text(f"{self.id}: {' '.join(self.records)}")
"""

ALL = """
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "mean/{sub}.txt"
    PATH_OUT = "all.txt"
    BY = ()
    def run(self):
        self.path.output.write_text("; ".join(path.read_text() for path in self.path.input))
"""

IDS = ["s1_1", "s1_2", "s1_3", "s2_1", "s2_2", "s2_3"]
FILES = {
    **{f"raw/{one}.txt": f"r{one}" for one in IDS},
    "raw/s1_2.txt": "bad",
    **{f"chunks/{one}_{n}.bin": "" for one in IDS for n in (1, 2)},
    "chunks/s2_3_2.bin": "",
    "chunks/s2_3_10.bin": "",
    "sidecars/s1.json": "",
    "sidecars/s2.json": "",
    "sidecars/s2_1.json": "",
    "notes/s1_1.txt": "noted",
    "montages/ten.txt": "10",
    "montages/twenty.txt": "20",
}
PEOPLE = "record_id,age,montage\n" + "".join(f"{one},4{n},ten\n" for n, one in enumerate(IDS)).replace(
    "s2_2,44,ten", "s2_2,44,n/a"
).replace("s2_3,45,ten", "s2_3,45,twenty")


@pytest.fixture
def folder(make_workspace):
    ws = make_workspace({"qc": QC, "clean": CLEAN, "mean": MEAN, "all": ALL}, FILES, toml=TOML)
    root = Path(ws.scripts_path).parent
    (root / "people.csv").write_text(PEOPLE)
    (root / "exclude.csv").write_text("record_id,reason\ns1_3,moved\n")
    return root


@pytest.fixture(params=["here", "bucket"])
def place(request, folder):
    """Open the workspace, read a file of its dataset, and replace a text of its toml."""
    if request.param == "here":

        def edit(old, new):
            toml = folder / "workspace.toml"
            toml.write_text(toml.read_text().replace(old, new))

        return lambda: Workspace(folder), lambda path: (folder / "dataset" / path).read_text(), edit
    moto = request.getfixturevalue("moto")
    url = moto.upload(folder, "lab")

    def edit_there(old, new):
        moto.put({"workspace.toml": moto.read("lab/workspace.toml").decode().replace(old, new)}, "lab")

    return (
        lambda: Workspace(url, storage_options=moto.options, trust=True),
        lambda path: moto.read(f"lab/dataset/{path}").decode(),
        edit_there,
    )


@pytest.fixture(params=["main_process", "processes", "flow"])
def run(request):
    """Run rows: `run(rows, **options)`."""
    if request.param != "flow":
        return lambda rows, **options: rows.run(mode=request.param, workers=2, progress=False, **options)
    request.getfixturevalue("prefect_server")
    return lambda rows, **options: rows.submit(on_message=lambda _: None, **options).wait(300)


def test_all_that_people_decide_counts_in_each_mode_and_place(place, run):
    opened, read, edit = place
    ws = opened()
    report = run(ws.steps)
    assert report.counts() == {"done": 11, "error": 1}, report.frame
    assert "2 excluded" in report.summary()
    assert read("clean/s1_1.txt") == "rs1_1 10 s1_1_1.bin s1_1_2.bin s1.json noted 3 40"
    assert read("clean/s2_1.txt") == "rs2_1 10 s2_1_1.bin s2_1_2.bin s2_1.json - 3 43"
    assert read("clean/s2_3.txt") == "rs2_3 20 s2_3_1.bin s2_3_10.bin s2_3_2.bin s2.json - 3 45"
    assert read("all.txt") == "sub=s1: s1_1; sub=s2: s2_1 s2_3"
    assert json.loads(read("qc/s2_2.json")) == {"length": 5}

    ws.refresh()
    statuses = ws.steps.select("record_id", "step", "status").rows()
    assert {row for row in statuses if row[2] != "DONE"} == {
        ("s1_2", "clean", "ERROR"),
        ("s1_3", "qc", "EXCLUDED"),
        ("s1_3", "clean", "EXCLUDED"),
        ("s2_2", "clean", "INIT"),
    }
    missing = ws.steps.filter(record_id="s2_2", step="clean").select("missing").item()
    assert missing == "montage unknown"
    assert ws.records.sql_filter("qc.length < 5").ids() == ["s1_2"]

    edit("cut = 3", "cut = 4")
    ws = opened()
    stale = {row[:2] for row in ws.steps.select("record_id", "step", "stale").rows() if row[2]}
    assert stale == {("s1_1", "clean"), ("s2_1", "clean"), ("s2_3", "clean")}
    assert "cut was 3, is 4" in str(ws.explain("s2_1", "clean"))
    assert run(ws.steps, stale=True).counts() == {"done": 6, "error": 1}
    assert read("clean/s2_3.txt").endswith(" 4 45")
    ws.refresh()
    assert not any(ws.steps.select("stale")["stale"])
