"""Links: those to files are files, those to folders are followed where a pattern names them."""

import os
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.storage.listing import reach_of, scan
from sinagot_catalog.storage.local.store import LocalStore


def statuses(ws):
    return dict(ws.refresh().steps.collect().select("record_id", "status").rows())


def run(ws, **options):
    return ws.steps.run(mode="main_process", progress=False, **options)


def annexed(root: Path, path: str, content: str | None = "raw;") -> None:
    """A file as git-annex keeps it: a link to an object; without content the object is not here."""
    key = f"MD5E-s4--{path.replace('/', '_')}"
    target = root / ".git/annex/objects/Xx/Yy" / key / key
    if content is not None:
        target.parent.mkdir(parents=True)
        target.write_text(content)
        target.chmod(0o444)
    at = root / path
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(os.path.relpath(target, at.parent))


@pytest.fixture
def datalad(make_workspace) -> Workspace:
    """A data set of linked files, one of which was never fetched."""
    ws = make_workspace(
        {"clean": ("{id}/eeg/{id}.csv", "deriv/{id}.txt")}, toml="[path]\noutputs = 'results'\n"
    )
    for record in ("R1", "R2"):
        annexed(Path(ws.data_path), f"{record}/eeg/{record}.csv")
    annexed(Path(ws.data_path), "R3/eeg/R3.csv", None)
    return ws


def test_annexed_files_are_raw_data_and_one_that_was_not_fetched_is_absent(datalad):
    assert statuses(datalad) == {"R1": "DATA_READY", "R2": "DATA_READY"}
    report = run(datalad)
    assert report.counts() == {"done": 2}
    assert statuses(datalad) == {"R1": "DONE", "R2": "DONE"}
    assert run(datalad).counts() == {}


def test_size_and_time_of_a_linked_file_are_those_of_its_target(datalad):
    path = Path(datalad.data_path, "R1/eeg/R1.csv")
    os.utime(path, (1_000_000, 1_000_000))
    rows = datalad.refresh().files.filter(pl.col("path") == "R1/eeg/R1.csv").collect()
    assert rows["size"].to_list() == [4]
    assert rows["modified"].dt.epoch("s").to_list() == [1_000_000]


def test_a_changed_target_makes_the_row_stale(datalad):
    run(datalad)
    target = Path(datalad.data_path, "R1/eeg/R1.csv").resolve()
    target.chmod(0o644)
    target.write_text("other raw")
    stale = datalad.refresh().steps.filter("stale").collect()
    assert stale["record_id"].to_list() == ["R1"]


def test_a_link_to_nothing_is_said_by_status_doctor_report_and_explain(datalad, cli, tmp_path):
    told = cli("doctor", datalad.config.root).stdout
    assert "1 link leads to nothing, such as R3/eeg/R3.csv" in " ".join(told.split())
    told = cli("status", datalad.config.root).stderr
    assert "1 link leads to nothing, such as R3/eeg/R3.csv" in " ".join(told.split())
    cli("report", datalad.config.root, "-o", tmp_path / "report.html")
    assert "1 link leads to nothing" in (tmp_path / "report.html").read_text()
    told = repr(datalad.explain("R3", "clean"))
    assert "R3/eeg/R3.csv: absent, a link to nothing" in told


@pytest.mark.parametrize(("by", "row"), [(None, "R1"), ((), "dataset=all")])
def test_explain_names_the_links_to_nothing_that_many_files_lack(make_workspace, by, row):
    script = f"""
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN = "raw/{{id}}/echo_*.nii"
    PATH_OUT = {"out" if by == () else "out/{id}"!r}
    BY = {by!r}
    def run(self): ...
"""
    ws = make_workspace({"join": script}, ["raw/R1/echo_1.nii", "raw/R2/echo_1.nii"])
    Path(ws.data_path, "raw/R1/echo_2.nii").symlink_to("nothing")
    told = repr(ws.explain(row, "join"))
    assert "raw/R1/echo_1.nii: absent" not in told
    assert told.count("raw/R1/echo_2.nii: absent, a link to nothing") == 1


def test_a_job_finds_a_link_to_nothing_absent(datalad):
    report = run(datalad.records.get("R3"), step_label="clean")
    assert report.counts() == {"not_available": 1}


def test_outputs_that_became_links_count_as_there(make_workspace):
    ws = make_workspace(
        {"one": ("raw/{id}", "mid/{id}.txt"), "two": ("mid/{id}.txt", "out/{id}.txt")}, ["raw/R1", "raw/R2"]
    )
    assert run(ws).ok
    root = Path(ws.data_path)
    for path in (*root.glob("mid/*"), *root.glob("out/*")):
        content = path.read_text()
        path.unlink()
        annexed(root, str(path.relative_to(root)), content)
    steps = ws.refresh().steps.collect()
    assert steps["status"].unique().to_list() == ["DONE"]
    assert steps["n_inputs_found"].to_list() == [1] * 4
    assert run(ws).counts() == {}
    assert run(Workspace(ws.config.root), force=True).counts() == {"done": 4}


def test_linked_files_in_a_folder_make_it_an_input(make_workspace):
    ws = make_workspace({"read": ("{id}/meg/", "out/{id}")})
    annexed(Path(ws.data_path), "R1/meg/a.fif")
    annexed(Path(ws.data_path), "R2/meg/a.fif", None)
    assert statuses(ws) == {"R1": "DATA_READY"}
    assert run(ws.records.get("R2"), step_label="read").counts() == {"not_available": 1}


def test_a_folder_that_holds_empty_folders_alone_is_absent_for_a_job_too(make_workspace):
    ws = make_workspace({"read": ("{id}/meg/", "out/{id}")})
    Path(ws.data_path, "R2/meg/deep").mkdir(parents=True)
    assert statuses(ws) == {}
    assert run(ws.records.get("R2"), step_label="read").counts() == {"not_available": 1}


@pytest.mark.parametrize("follow", [False, True])
def test_a_linked_folder_whose_name_varies_counts_for_nobody_or_for_all(make_workspace, tmp_path, follow):
    (tmp_path / "far/eeg").mkdir(parents=True)
    (tmp_path / "far/eeg/a.csv").write_text("far;")
    ws = make_workspace(
        {"clean": ("{id}/eeg/a.csv", "out/{id}")},
        ["R1/eeg/a.csv"],
        toml=f"[path]\nfollow_links = {str(follow).lower()}\n",
    )
    Path(ws.data_path, "R2").symlink_to(tmp_path / "far")
    assert set(statuses(ws)) == ({"R1", "R2"} if follow else {"R1"})
    report = run(ws.records.get("R2"), step_label="clean")
    assert report.counts() == ({"done": 1} if follow else {"not_available": 1})
    assert [one.exists for one in ws.refresh().explain("R2", "clean").files] == [follow, follow]


def test_a_linked_folder_that_the_pattern_names_counts_for_all(make_workspace, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a.csv").write_text("far;")
    scripts = {"clean": ("{id}/eeg/a.csv", "out/{id}"), "other": ("{id}/{id}.csv", "other/{id}")}
    ws = make_workspace(scripts, ["R1/R1.csv"])
    Path(ws.data_path, "R1/eeg").symlink_to(tmp_path / "far")
    found = ws.steps.collect().select("step", "status").rows()
    assert found == [("clean", "DATA_READY"), ("other", "DATA_READY")]
    assert run(ws).counts() == {"done": 2}


def test_an_output_below_a_linked_folder_counts_in_scan_and_job_alike(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}/a.txt")}, ["raw/R1", "kept/a.txt"])
    Path(ws.data_path, "out").mkdir()
    Path(ws.data_path, "out/R1").symlink_to(Path(ws.data_path, "kept"))
    assert statuses(ws) == {"R1": "DATA_READY"}
    assert run(ws).counts() != {"already_done": 1}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: Path(path).symlink_to(path)])
def test_pipes_and_links_in_a_circle_are_no_files_for_a_job_either(make_workspace, make):
    ws = make_workspace({"one": ("meta/all.csv", "out/{id}"), "two": ("raw/{id}", "two/{id}")}, ["raw/R1"])
    Path(ws.data_path, "meta").mkdir()
    make(Path(ws.data_path, "meta/all.csv"))
    assert ws.steps.filter(step="one").collect()["status"].to_list() == ["INIT"]
    assert run(ws.records.get("R1"), step_label="one").counts() == {"not_available": 1}


def test_many_processes_find_links_as_one_does(tmp_path):
    root = tmp_path / "root"
    for number in range(40):
        annexed(root, f"data/R{number:02}/a.csv", None if number % 4 == 0 else "x")
    from sinagot_catalog.patterns.template import parse_template

    reach = reach_of([parse_template("data/{id}/{id}.csv", fields={"id"})])
    one = scan(LocalStore(str(root)), reach)
    several = scan(LocalStore(str(root), patience=0), reach)
    assert one.paths["path"].sort().to_list() == several.paths["path"].sort().to_list()
    assert one.n_files == 30
    assert one.dangling == several.dangling
    assert len(one.dangling) == 10


def test_a_link_that_finds_its_end_later_is_seen_at_the_next_look(datalad):
    for _ in range(3):
        assert "R3" not in statuses(datalad)
    at = Path(datalad.data_path, "R3/eeg/R3.csv")
    target = at.parent / at.readlink()
    target.parent.mkdir(parents=True)
    target.write_text("late")
    assert statuses(datalad)["R3"] == "DATA_READY"
