"""Publishing to a bucket never replaces or removes an object that the row did not make."""

import pytest

from sinagot_catalog import Workspace

FOLDER = """
self.path.output.mkdir()
(self.path.output / "x").write_text(self.id)
"""


@pytest.fixture
def open_in(moto, write_workspace):
    """Write a workspace into a bucket and open it."""

    def open_workspace(scripts, files):
        url = moto.upload(write_workspace(scripts, files), "lab")
        return Workspace(url, storage_options=moto.options, trust=True)

    return open_workspace


def run(ws, **options):
    report = ws.refresh().steps.run(mode="main_process", progress=False, **options)
    return {
        row["record_id"]: (row["outcome"], row["error_type"]) for row in report.frame.iter_rows(named=True)
    }


def data_of(moto):
    return sorted(key.removeprefix("lab/dataset/") for key in moto.keys("lab/dataset") if "/LOG/" not in key)


def test_folder_in_a_bucket_keeps_what_a_person_put_into_it(moto, open_in):
    ws = open_in({"a": ("raw/{id}", "deriv/{id}/", FOLDER)}, ["raw/R1"])
    assert run(ws)["R1"] == ("done", None)
    assert run(ws, force=True)["R1"] == ("done", None)
    moto.put({"lab/dataset/deriv/R1/notes.txt": "mine"})
    assert run(ws, force=True)["R1"] == ("error", "ForeignFile")
    assert data_of(moto) == ["deriv/R1/notes.txt", "deriv/R1/x", "raw/R1"]
    assert moto.read("lab/dataset/deriv/R1/notes.txt") == b"mine"


def test_folder_in_a_bucket_gives_up_what_the_row_made(moto, open_in, script_source):
    ws = open_in({"a": ("raw/{id}", "deriv/{id}/", FOLDER)}, ["raw/R1"])
    assert run(ws)["R1"] == ("done", None)
    made = ws.events().filter(event="done").height
    assert made == 1
    source = script_source("raw/{id}", "deriv/{id}/", FOLDER.replace('"x"', '"y"'))
    moto.put({"lab/scripts/a.py": source})
    assert (
        run(Workspace(ws.config.root, storage_options=moto.options, trust=True), force=True)["R1"][0]
        == "done"
    )
    assert data_of(moto) == ["deriv/R1/y", "raw/R1"]


def test_undeclared_object_never_replaces_one_of_the_dataset(moto, open_in):
    body = """
    self.path.output.write_text("made")
    (self.path.output.parent / "participants.tsv").write_text("gone")
    """
    raw = ["raw/R1", "raw/participants.tsv"]
    ws = open_in({"a": ("raw/{id}", "raw/{id}_clean.txt", body)}, raw)
    assert run(ws)["R1"] == ("error", "ForeignFile")
    assert data_of(moto) == raw
    assert moto.read("lab/dataset/raw/participants.tsv") == b"raw;"


def test_file_output_never_takes_the_place_of_a_prefix(moto, open_in):
    ws = open_in({"a": ("raw/{id}", "deriv/{id}")}, ["raw/R1", "deriv/R1/notes.txt"])
    assert run(ws, force=True)["R1"] == ("error", "ForeignFile")
    assert data_of(moto) == ["deriv/R1/notes.txt", "raw/R1"]


def test_row_replaces_its_own_undeclared_object(open_in):
    body = "self.path.output.touch()\nself.path.output.with_suffix('.png').touch()"
    ws = open_in({"a": ("raw/{id}", "out/{id}.txt", body)}, ["raw/R1"])
    for _ in range(2):
        assert run(ws, force=True)["R1"] == ("done", None)


def test_plain_run_in_a_bucket_replaces_no_object_that_it_did_not_make(moto, open_in):
    body = "for one in self.path.output.values():\n    one.write_text('made')"
    ws = open_in(
        {"a": ("raw/{id}.CR2", {"tif": "raw/{id}.tif", "xmp": "raw/{id}.xmp"}, body)},
        ["raw/R1.CR2", "raw/R2.CR2"],
    )
    moto.put({"lab/dataset/raw/R1.xmp": "mine"})
    assert run(ws) == {"R1": ("error", "ForeignFile"), "R2": ("done", None)}
    assert moto.read("lab/dataset/raw/R1.xmp") == b"mine"
    moto.fs.rm_file(f"{moto.url}/lab/dataset/raw/R2.tif")
    assert run(ws)["R2"] == ("done", None)
    assert run(ws, force=True)["R1"] == ("done", None)
