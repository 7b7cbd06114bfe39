"""Scripts that change, remove or move their inputs: it is noticed, and a moved input comes back."""

import pytest

from sinagot_catalog import Workspace

BOTH = {"recording": "clean/{id}.edf", "report": "report/{id}.txt"}


@pytest.fixture(params=["processes", "main_process"])
def run(request):
    def run(folder, **options):
        report = Workspace(folder).steps.run(mode=request.param, workers=2, progress=False, **options)
        return report.counts(), [row["message"] for row in report.failures().iter_rows(named=True)]

    return run


def said(folder):
    return " ".join(Workspace(folder).records.logs()["message"].drop_nulls().to_list())


@pytest.fixture
def raw(tmp_path):
    def raw(name="R1.edf"):
        return tmp_path / "workspace" / "dataset" / "raw" / name

    return raw


@pytest.mark.parametrize("end", ["raise ValueError('no')", "pass"])
def test_a_moved_input_comes_back_when_its_row_fails(write_workspace, run, raw, end):
    body = f"import shutil; shutil.move(self.path.input, self.path.output['recording'])\n{end}"
    folder = write_workspace({"a": ("raw/{id}.edf", BOTH, body)}, ["raw/R1.edf"])
    before = raw().stat()
    assert run(folder)[0] == {"error": 1}
    assert raw().read_text() == "raw;"
    assert (raw().stat().st_ino, raw().stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("retries", [0, 1])
def test_an_input_is_never_published_as_an_output(write_workspace, run, raw, retries):
    body = "import os; os.rename(self.path.input, self.path.output)"
    toml = f"[run]\nretries = {retries}\n"
    folder = write_workspace({"a": ("raw/{id}.edf", "clean/{id}.edf", body)}, ["raw/R1.edf"], toml=toml)
    counts, messages = run(folder)
    assert counts == {"error": 1}
    assert messages == [
        "nothing was published; the script had moved its input raw/R1.edf away: put back. Copy an input instead"
    ]
    assert raw().read_text() == "raw;"
    assert not (folder / "dataset/clean/R1.edf").exists()


def test_a_moved_folder_comes_back(write_workspace, run, raw):
    body = "import shutil; shutil.move(self.path.input, self.path.output['recording']); 1 / 0"
    outputs = {"recording": "clean/{id}.ds/", "report": "report/{id}.txt"}
    folder = write_workspace({"a": ("raw/{id}.ds/", outputs, body)}, ["raw/R1.ds/a.meg4", "raw/R1.ds/a.res4"])
    assert run(folder)[0] == {"error": 1}
    assert sorted(path.name for path in raw("R1.ds").iterdir()) == ["a.meg4", "a.res4"]


def test_a_moved_link_comes_back(write_workspace, run, raw):
    """A dataset of git-annex: the file is a link to its object."""
    body = "import os; os.rename(self.path.input, self.path.output)"
    folder = write_workspace({"a": ("raw/{id}.edf", "clean/{id}.edf", body)}, [".git/annex/key"])
    raw().parent.mkdir()
    raw().symlink_to("../.git/annex/key")
    assert run(folder)[0] == {"error": 1}
    assert str(raw().readlink()) == "../.git/annex/key"


def test_a_changed_input_is_noticed(write_workspace, run):
    body = 'self.path.input.write_text("spoiled"); self.path.output.write_text("made")'
    folder = write_workspace({"a": ("raw/{id}.edf", "clean/{id}.edf", body)}, ["raw/R1.edf"])
    assert run(folder)[0] == {"done": 1}
    assert "its input raw/R1.edf changed while run() ran: a script must not write to its inputs" in said(
        folder
    )
    assert Workspace(folder).steps.filter("stale").collect().height == 1


def test_a_removed_input_is_noticed(write_workspace, run):
    body = 'self.path.input.unlink(); self.path.output.write_text("made")'
    folder = write_workspace({"a": ("raw/{id}.edf", "clean/{id}.edf", body)}, ["raw/R1.edf"])
    assert run(folder)[0] == {"done": 1}
    assert "its input raw/R1.edf is gone since run() began" in said(folder)


def test_an_input_that_is_read_is_not_mentioned(write_workspace, run):
    folder = write_workspace({"a": ("raw/{id}.edf", "clean/{id}.edf")}, ["raw/R1.edf"])
    assert run(folder)[0] == {"done": 1}
    assert "its input" not in said(folder)


@pytest.mark.parametrize("change", ["unlink()", 'chmod(0o644); self.path.input.write_text("bad;")'])
def test_the_next_step_reads_the_object_and_no_spoiled_copy(write_workspace, moto, monkeypatch, change):
    """A fetched copy is used again by later steps of the worker, but only as it was fetched."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    url = moto.url
    moto.put({"raw/R1.edf": "raw;"})
    body = f'self.path.output.write_text("made"); self.path.input.{change}'
    steps = {"a": ("raw/{id}.edf", "a/{id}.txt", body), "b": ("raw/{id}.edf", "b/{id}.txt")}
    folder = write_workspace(steps, toml=f'[path]\ndataset = "{url}"\n')
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 2}, report.failures()
    assert moto.read("b/R1.txt") == b"raw;b;"
    assert moto.read("raw/R1.edf") == b"raw;"
