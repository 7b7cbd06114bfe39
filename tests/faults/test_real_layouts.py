"""Layouts as labs have them, with results among the raw data: whatever is run, the raw files stay as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are killed through /proc")
SHIM = Path(__file__).parent / "shim"

BIDS = r"""
[records]
id_pattern = 'sub-(?P<sub>\d+)_ses-(?P<ses>\d+)'
[steps]
scripts = ["clean", "figures", "sidecar"]
"""
CAMERAS = r"""
[records]
id_pattern = '\d{4}-\d\d-\d\d'
[steps]
scripts = ["index", "thumbnails", "daily"]
"""
PICTURES = """
    for number in range(3):
        self.path.output.mkdir(exist_ok=True)
        (self.path.output / f"{number}.png").write_text(f"{self.id} {number}")
"""
LIST = """
    names = sorted(path.name for path in self.path.input.iterdir() if path.suffix == ".jpg")
    self.path.output.write_text("\\n".join(names))
"""


@pytest.fixture
def bids(write_workspace):
    """Sessions in folders, sidecars beside the recordings, derivatives inside the dataset."""
    eeg = "sub-{sub}/ses-{ses}/eeg/"
    scripts = {
        "clean": (eeg + "{id}_eeg.edf", "derivatives/clean/" + eeg + "{id}_desc-clean_eeg.edf"),
        "figures": (
            "derivatives/clean/" + eeg + "{id}_desc-clean_eeg.edf",
            "derivatives/figures/sub-{sub}/ses-{ses}/",
            PICTURES,
        ),
        "sidecar": (eeg + "{id}_eeg.edf", eeg + "{id}_desc-quality_eeg.json"),
    }
    files = {
        "dataset_description.json": "{}",
        "participants.tsv": "participant_id\tage\nsub-01\t31\nsub-02\t40\n",
    }
    for sub in ("01", "02"):
        for ses in ("01", "02"):
            stem = f"sub-{sub}/ses-{ses}/eeg/sub-{sub}_ses-{ses}"
            files |= {f"{stem}_eeg.edf": "signal", f"{stem}_eeg.json": "{}", f"{stem}_events.tsv": "onset\n"}
            files[f"sub-{sub}/ses-{ses}/sub-{sub}_ses-{ses}_scans.tsv"] = "filename\n"
    files["derivatives/figures/sub-01/ses-01/notes.txt"] = "electrode Cz was loose"
    files["derivatives/fmriprep/sub-01/report.html"] = "another tool's"
    return write_workspace(scripts, files, toml=BIDS)


@pytest.fixture
def cameras(write_workspace):
    """A folder of pictures per camera and day; an index in it, thumbnails below it, a table beside it."""
    scripts = {
        "index": ("north/{id}/", "north/{id}/index.csv", LIST),
        "thumbnails": ("north/{id}/", "north/{id}/thumbnails/", PICTURES),
        "daily": ("north/{id}/index.csv", "daily/{id}.csv"),
    }
    files = {f"north/2024-05-0{day}/{n:04}.jpg": f"{day} {n}" for day in range(1, 5) for n in range(6)}
    files |= {
        "north/2024-05-02/notes.txt": "fog",
        "north/calibration.json": "{}",
        "south/2024-05-01/0001.jpg": "s",
    }
    files["daily/readme.txt"] = "one line per picture"
    return write_workspace(scripts, files, toml=CAMERAS)


@pytest.fixture(params=["bids", "cameras"])
def folder(request):
    return request.getfixturevalue(request.param)


def state(folder):
    """Every file of the dataset, but for LOG."""
    found = {}
    for path in (folder / "dataset").rglob("*"):
        about = path.lstat()
        if path.relative_to(folder).parts[1] != "LOG" and not path.is_dir():
            found[path] = (path.read_bytes(), about.st_mode, about.st_mtime_ns, about.st_ino)
    return found


def assert_kept(before, folder):
    after = state(folder)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_raw_files_stay_as_they_are(folder, mode):
    before = state(folder)
    options = {"mode": mode, "workers": 2, "progress": False}
    for act in (
        lambda ws: ws.steps.run(**options),
        lambda ws: ws.steps.run(force=True, **options),
        lambda ws: list(ws.steps.watch(once=True, interval=0.01, stable_for=0.01, submit=False)),
        lambda ws: ws.gc(older_than="0d"),
    ):
        act(Workspace(folder))
        assert_kept(before, folder)


def test_most_rows_are_done_and_stay_done(folder):
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert report.counts().get("done", 0) >= 11, report.failures()
    assert Workspace(folder).steps.run(mode="main_process", progress=False).counts().get("done", 0) == 0


def test_a_file_of_a_person_in_a_folder_of_results_stops_its_row_alone(folder):
    Workspace(folder).steps.run(mode="main_process", progress=False)
    step, below = (
        ("figures", "derivatives/figures/sub-02/ses-01")
        if "sub-" in str(sorted(folder.glob("dataset/*")))
        else ("thumbnails", "north/2024-05-03/thumbnails")
    )
    note = folder / "dataset" / below / "mine.txt"
    note.write_text("look at this")
    before = state(folder)
    report = Workspace(folder).steps.run(step, force=True, mode="main_process", progress=False)
    assert note.read_text() == "look at this"
    assert "mine.txt" in str(report.failures()["message"].to_list())
    assert report.counts()["done"] == 3 - (step == "figures")  # the session with notes.txt is kept, too
    assert before[note] == state(folder)[note]


@pytest.mark.parametrize(
    "point", ["after-publishing-line:2:self", "between-publishes:1:all", "after-rename:3:parent"]
)
def test_raw_files_stay_as_they_are_when_a_run_is_killed(folder, point):
    before = state(folder)
    command = [sys.executable, "-m", "sinagot_catalog", "run", "--force", "--workers", "2", str(folder)]
    fault = {
        "FAULT": point,
        "FAULT_ROLE": "worker",
        "FAULT_DONE": str(folder / "struck"),
        "PYTHONPATH": str(SHIM),
    }
    subprocess.run(command, env={**os.environ, **fault}, capture_output=True, timeout=90, check=False)
    assert_kept(before, folder)
    Workspace(folder).steps.run(mode="main_process", progress=False)
    assert_kept(before, folder)
    assert Workspace(folder).steps.collect().filter(status="PROCESSING").is_empty()
