"""Outputs that are files of a person: a run without `--force` never replaces them, and `--force` names them."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

EEG = "sub-{sub}/ses-{ses?}/eeg/{id}_eeg.edf"
CHANNELS = "sub-{sub}/ses-{ses?}/eeg/{id}_channels.tsv"
TOML = r"""
[records]
id_pattern = 'sub-(?P<sub>\d+)(_ses-(?P<ses>\d+))?'
[steps]
scripts = ["a"]
"""
FILES = {
    "sub-01/ses-01/eeg/sub-01_ses-01_eeg.edf": "signal",
    "sub-01/ses-01/eeg/sub-01_ses-01_channels.tsv": "name\ttype\nCz\tEEG\n",
    "sub-02/eeg/sub-02_eeg.edf": "signal",
    "sub-02/eeg/sub-02_channels.tsv": "name\ttype\nPz\tEEG\n",
}
WRITE = """
    written = self.path.output
    for path in written.values() if isinstance(written, dict) else [written]:
        path.write_text("made")
"""


@pytest.fixture(params=["processes", "main_process"])
def run(request):
    def run(folder, **options):
        report = Workspace(folder).steps.run(mode=request.param, workers=2, progress=False, **options)
        return report.counts(), [row["message"] for row in report.failures().iter_rows(named=True)]

    return run


@pytest.fixture
def lab(write_workspace, script_source):
    """Write a BIDS tree with a session in one subject, and one step."""

    def write(outputs, body=WRITE, files=FILES, toml=TOML, **attributes):
        return write_workspace({"a": script_source(EEG, outputs, body, **attributes)}, files, toml=toml)

    return write


def text(folder, name):
    return (folder / "dataset" / name).read_text()


def assert_kept(folder, files=FILES):
    assert {name: text(folder, name) for name in files} == files


def test_a_file_that_no_run_made_stays_when_another_output_is_missing(lab, run):
    folder = lab({"channels": CHANNELS, "quality": "quality/{id}.json"})
    for _ in range(2):  # the second run knows the error of the first
        counts, messages = run(folder)
        assert counts == {"error": 2}
        assert all("_channels.tsv' is there already, and no run made it" in one for one in messages)
        assert_kept(folder)
    assert not (folder / "dataset/quality").exists()
    assert Workspace(folder).steps.collect()["status"].to_list() == ["ERROR", "ERROR"]
    Path(folder / "dataset/sub-02/eeg/sub-02_channels.tsv").unlink()
    assert run(folder)[0] == {"done": 1, "error": 1}


def test_force_replaces_it_and_from_then_on_it_is_the_rows_own(lab, run):
    folder = lab({"channels": CHANNELS, "quality": "quality/{id}.json"})
    assert run(folder, force=True)[0] == {"done": 2}
    Path(folder / "dataset/quality/sub-02.json").unlink()
    assert run(folder)[0] == {"done": 1}


def test_force_names_the_files_that_no_run_made(lab, cli):
    folder = lab(CHANNELS)
    said = cli("run", folder, "--force", "-q").stderr
    assert said == (
        "--force replaces 2 outputs (34 B), and no run made 2 of them, such as "
        "sub-01/ses-01/eeg/sub-01_ses-01_channels.tsv, sub-02/eeg/sub-02_channels.tsv\n"
    )
    assert cli("run", folder, "--force", "-q").stderr == "--force replaces 2 outputs (8 B)\n"


@pytest.mark.parametrize("where", ["option", "config"])
def test_a_file_that_no_run_made_is_not_replaced_as_stale(lab, run, where):
    folder = lab(CHANNELS, toml=TOML + '[run]\nrerun_on = ["input"]\n' * (where == "config"))
    options = {"stale": True} if where == "option" else {}
    later = folder / "dataset/sub-02/eeg/sub-02_eeg.edf"
    os.utime(later, (later.stat().st_mtime + 60,) * 2)
    counts, messages = run(folder, **options)
    assert counts == {"error": 1}
    assert "sinagot-catalog accept" in messages[0]
    assert_kept(folder)
    Workspace(folder).steps.accept(all_rows=True)
    os.utime(later, (later.stat().st_mtime + 60,) * 2)
    assert run(folder, **options)[0] == {"done": 1}


def test_an_output_that_becomes_the_former_input_is_not_replaced_as_stale(lab, run):
    folder = lab("derivatives/clean/{id}.edf")
    assert run(folder)[0] == {"done": 2}
    script = folder / "scripts/a.py"
    turned = script.read_text().replace(f"PATH_IN = {EEG!r}", "PATH_IN = 'derivatives/clean/{id}.edf'")
    script.write_text(turned.replace("PATH_OUT = 'derivatives/clean/{id}.edf'", f"PATH_OUT = {EEG!r}"))
    for journal in (folder / "dataset/LOG/journal").rglob("*.ndjson"):  # the raw data are older than the run
        journal.write_text(re.sub(r'"20\d\d-', '"2090-', journal.read_text()))
    counts, messages = run(folder, stale="code")
    assert counts == {"error": 2}
    assert all("_eeg.edf' is there already" in one for one in messages)
    assert_kept(folder)


def test_a_control_file_that_no_run_made_stays(lab, run):
    folder = lab(
        "out/{id}.txt", '        self.path.control.write_text("bad")\n        1 / 0\n', PATH_CONTROL=CHANNELS
    )
    for _ in range(2):
        assert run(folder)[0] == {"error": 2}
        assert_kept(folder)


def test_a_control_file_of_an_earlier_attempt_is_replaced(lab, run):
    folder = lab("out/{id}.txt", 'self.path.control.write_text("bad")\n1 / 0', PATH_CONTROL="bad/{id}.txt")
    for _ in range(2):
        assert "division by zero" in run(folder)[1][0]
    assert (folder / "dataset/bad/sub-02.txt").exists()


def test_a_control_file_of_a_failed_attempt_does_not_stop_a_row_that_was_done_since(lab, run):
    body = """
    self.path.control.write_text("bad")
    if self.path.input.read_text() == "signal":
        raise ValueError(self.id)
    self.path.control.unlink()
    self.path.output.write_text("made")
    """
    folder = lab("out/{id}.txt", body, PATH_CONTROL="bad/{id}.txt")
    assert run(folder)[0] == {"error": 2}
    raw = folder / "dataset/sub-02/eeg/sub-02_eeg.edf"
    raw.write_text("mended")
    assert run(folder)[0] == {"done": 1, "error": 1}
    assert (folder / "dataset/bad/sub-02.txt").exists()
    for journal in (folder / "dataset/LOG/journal").rglob(
        "*.ndjson"
    ):  # the control file is older than the last attempt
        journal.write_text(re.sub(r'"20\d\d-', '"2090-', journal.read_text()))
    output = folder / "dataset/out/sub-02.txt"
    made = datetime.fromtimestamp(output.stat().st_mtime, UTC).replace(year=2090).timestamp()
    os.utime(output, (made, made))
    os.utime(raw, (raw.stat().st_mtime + 60,) * 2)
    assert run(folder, stale=True)[0] == {"done": 1, "error": 1}


def test_a_split_file_of_a_recorder_stays(lab, run):
    """A recorder wrote the second part itself; the step would write the second and the third."""
    files = {name.replace("channels.tsv", "split-02_meg.fif"): body for name, body in FILES.items()}
    part = "sub-{sub}/ses-{ses?}/eeg/{id}_split-0%d_meg.fif"
    folder = lab({"second": part % 2, "third": part % 3}, files=files)
    assert run(folder)[0] == {"error": 2}
    assert_kept(folder, files)


def test_a_folder_that_no_run_made_stays_when_another_output_is_missing(lab, run):
    body = """
    self.path.output["figures"].mkdir()
    (self.path.output["figures"] / "notes.txt").write_text("made")
    self.path.output["flag"].write_text("made")
"""
    files = FILES | {"figures/sub-02/notes.txt": "Cz was loose"}
    folder = lab({"figures": "figures/{id}/", "flag": "flag/{id}"}, body, files)
    assert run(folder)[0] == {"done": 1, "error": 1}
    assert_kept(folder, files)


def test_the_output_of_a_run_that_died_before_it_noted_the_row_is_its_own(lab, run):
    folder = lab("out/{id}.txt")
    assert run(folder)[0] == {"done": 2}
    for journal in (folder / "dataset/LOG/journal").rglob("*.ndjson"):
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(line for line in lines if '"event":"start"' in line.replace(" ", "")))
    later = folder / "dataset/sub-02/eeg/sub-02_eeg.edf"
    os.utime(later, (later.stat().st_mtime + 60,) * 2)
    assert run(folder, stale=True)[0] == {"done": 1}


def test_what_rows_of_several_tasks_share_is_of_each_of_them(write_workspace, run):
    toml = """
        [records]
        id_pattern = 'R\\d'
        [tasks.rest]
        modalities = ["EEG"]
        [tasks.walk]
        modalities = ["EEG"]
        [modalities.EEG]
        scripts = ["a"]
    """
    outputs = {"one": "out/{id}.txt", "two": "out/{id}.json"}
    folder = write_workspace({"EEG/a": ("raw/{id}", outputs)}, ["raw/R1"], toml=toml)
    assert run(folder)[0] == {"done": 1}
    Path(folder / "dataset/out/R1.json").unlink()
    rows = Workspace(folder).walk.steps
    assert rows.run(mode="main_process", progress=False).counts() == {"done": 1}


def test_an_object_that_no_run_made_stays(lab, moto, monkeypatch):
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    folder = lab({"channels": CHANNELS, "quality": "quality/{id}.json"})
    url = moto.upload(folder / "dataset", "bids")
    config = Path(folder, "workspace.toml")
    config.write_text(f'[path]\ndataset = "{url}"\n{config.read_text()}')
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert report.counts() == {"error": 2}, report.failures()
    assert {name: moto.read(f"bids/{name}").decode() for name in FILES} == FILES
