"""Files that no output declares, at paths of raw data: a run makes no recordings."""

import fsspec
import pytest

from sinagot_catalog import Workspace

BOTH = 'self.path.output.write_text("made")\n(self.path.output.parent / {}).write_text("made")'


@pytest.fixture(params=["processes", "main_process"])
def run(request):
    def run(folder, **options):
        report = Workspace(folder).steps.run(mode=request.param, workers=1, progress=False, **options)
        return report.counts(), [row["message"] for row in report.failures().iter_rows(named=True)]

    return run


def files(folder):
    dataset = folder / "dataset"
    return sorted(
        path.relative_to(dataset).as_posix()
        for path in dataset.rglob("*")
        if path.is_file() and path.relative_to(dataset).parts[0] != "LOG"
    )


FOREIGN = {
    "a file of another id": (r"R\d+", "raw/{id}.csv", "raw/{id}_mean.txt", "raw/R1.csv", '"R9.csv"', "R9"),
    "a file in a folder of another id": (
        r"R\d+", "{id}/raw/", "{id}/mean.txt", "R1/raw/a.csv", '"../R9/raw/b.csv"', "R9",
    ),
    "one of many files of another id": (
        r"R\d+", "raw/{id}/*.csv", "raw/{id}_mean.txt", "raw/R1/a.csv", '"R9/b.csv"', "R9",
    ),
    "one of many files at any depth, in no folder": (
        r"R\d+", "raw/{id}/**/*.csv", "raw/{id}_mean.txt", "raw/R1/a/b.csv", '"R9/b.csv"', "R9",
    ),
    "one of many files at any depth, in two folders": (
        r"R\d+", "raw/**/{id}_*.csv", "mean/{id}.txt", "raw/R1_a.csv", '"../raw/b/c/R9_a.csv"', "R9",
    ),
    "a file of other fields": (
        r"(?P<sub>\d+)_(?P<ses>[ab])", "{sub}/{ses}.csv", "{sub}/{ses}_mean.txt", "01/a.csv", '"b.csv"', "01_b",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_row_that_makes_raw_data_of_another_record_is_an_error_and_publishes_nothing(
    write_workspace, script_source, run, name
):
    id_pattern, read, made, raw, other, record_id = FOREIGN[name]
    body = f"""
        other = self.path.output.parent / {other}
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("made")
        self.path.output.write_text("made")
    """
    folder = write_workspace({"mean": script_source(read, made, body)}, [raw], id_pattern=id_pattern)
    before = files(folder)
    counts, messages = run(folder)
    assert counts == {"error": 1}
    assert f"would count as raw data of {record_id}" in messages[0]
    assert "declare it as an output" in messages[0]
    assert files(folder) == before
    assert Workspace(folder).records.count() == 1


def test_row_may_leave_other_files_and_files_of_its_own_record(write_workspace, script_source, run):
    reads = {"raw": "raw/{id}.csv"}
    scripts = {
        "mean": script_source(reads, "raw/{id}_mean.txt", BOTH.format('f"{self.id}.log"')),
        "look": script_source({"log": "raw/{id}.log"}, "look/{id}.txt", BOTH.format('"R9.csv"')),
    }
    folder = write_workspace(scripts, ["raw/R1.csv"])
    assert run(folder)[0] == {"done": 1}
    assert run(folder)[0] == {"done": 1}
    assert files(folder) == [
        "look/R1.txt", "look/R9.csv", "raw/R1.csv", "raw/R1.log", "raw/R1_mean.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("other", ["R9/.hidden.csv", "R9/.hidden/a.csv", "R9/folder.csv/a.txt"])
def test_row_may_leave_files_that_the_wildcards_of_an_input_do_not_find(
    write_workspace, script_source, run, other
):
    body = f"""
        other = self.path.output.parent / "{other}"
        other.parent.mkdir(parents=True)
        other.write_text("made")
        self.path.output.write_text("made")
    """
    source = script_source("raw/{id}/**/*.csv", "raw/{id}_mean.txt", body)
    folder = write_workspace({"mean": source}, ["raw/R1/a.csv"])
    assert run(folder)[0] == {"done": 1}
    assert files(folder) == sorted(["raw/R1/a.csv", "raw/R1_mean.txt", f"raw/{other}"])
    assert Workspace(folder).records.count() == 1


def test_group_makes_no_raw_data_of_a_member(write_workspace, script_source, run):
    source = script_source("{sub}/{ses}.csv", "{sub}/all.txt", BOTH.format('"b.csv"'), BY=("sub",))
    folder = write_workspace({"all": source}, ["01/a.csv"], id_pattern=r"(?P<sub>\d+)_(?P<ses>[ab])")
    counts, messages = run(folder)
    assert counts == {"error": 1}
    assert "would count as raw data of 01_b" in messages[0]
    assert files(folder) == ["01/a.csv"]


@pytest.mark.parametrize(("outputs", "read"), [("derived", "*/{id}.csv"), ("raw", "raw/{id}.csv")])
def test_outputs_in_a_folder_of_the_dataset_make_no_recordings(
    write_workspace, script_source, run, outputs, read
):
    source = script_source(read, "{id}_mean.txt", BOTH.format('"R9.csv"'))
    toml = f"[path]\noutputs = 'dataset/{outputs}'\n"
    folder = write_workspace({"mean": source}, ["raw/R1.csv"], toml=toml)
    counts, messages = run(folder)
    assert counts == {"error": 1}
    assert "wrote R9.csv, which no output declares and which would count as raw data of R9" in messages[0]
    assert Workspace(folder).records.count() == 1


def test_outputs_in_a_root_of_their_own_make_no_recordings(write_workspace, script_source, run, tmp_path):
    source = script_source("raw/{id}.csv", "raw/{id}_mean.txt", BOTH.format('"R9.csv"'))
    toml = f"[path]\noutputs = '{tmp_path / 'outputs'}'\n"
    folder = write_workspace({"mean": source}, ["raw/R1.csv"], toml=toml)
    assert run(folder)[0] == {"done": 1}
    assert Workspace(folder).records.count() == 1


def test_row_makes_no_recording_in_a_bucket(write_workspace, script_source, tmp_path):
    source = script_source("raw/{id}.csv", "raw/{id}_mean.txt", BOTH.format('"R9.csv"'))
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/{tmp_path.name}/raw/R1.csv", b"1")
    folder = write_workspace({"mean": source}, toml=f"[path]\ndataset = 'memory://{tmp_path.name}'\n")
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert report.counts() == {"error": 1}
    assert memory.ls(f"/{tmp_path.name}/raw", detail=False) == [f"/{tmp_path.name}/raw/R1.csv"]
