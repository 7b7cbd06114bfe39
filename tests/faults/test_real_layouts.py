"""Layouts as labs have them, with results among the raw data: whatever is run, the raw files stay as they are."""

import os
import shutil
import subprocess
import sys
import time
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


@pytest.mark.slow
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
    subprocess.run(command, env={**os.environ, **fault}, capture_output=True, timeout=300, check=False)
    assert_kept(before, folder)
    Workspace(folder).steps.run(mode="main_process", progress=False)
    assert_kept(before, folder)
    assert Workspace(folder).steps.collect().filter(status="PROCESSING").is_empty()


@pytest.mark.parametrize("mode", ["main_process", "processes"])
def test_a_step_that_writes_into_its_folder_runs_for_a_subject_without_session(write_workspace, mode):
    """An optional folder of the pattern: what is in the recording counts as data wherever the recording lies."""
    ds = "sub-{sub}/ses-{ses?}/meg/sub-{sub}_ses-{ses?}_meg.ds/"
    toml = BIDS.replace(r"_ses-(?P<ses>\d+)", r"(_ses-(?P<ses>\d+))?").replace(
        '"clean", "figures", "sidecar"', '"heads", "count"'
    )
    scripts = {
        "heads": (ds, f"{ds}heads/", PICTURES),
        "count": (
            ds,
            "count/{id}.txt",
            "self.path.output.write_text(str(len(list(self.path.input.iterdir()))))",
        ),
    }
    files = ["sub-01/ses-01/meg/sub-01_ses-01_meg.ds/a.meg4", "sub-02/meg/sub-02_meg.ds/a.meg4"]
    folder = write_workspace(scripts, files, toml=toml)
    before = state(folder)
    ws = Workspace(folder)
    assert ws.steps.filter(status="DATA_READY").count() == 4
    assert ws.notices.is_empty()
    assert ws.steps.run(mode=mode, progress=False).counts() == {"done": 4}
    assert_kept(before, folder)
    ws = Workspace(folder)
    assert ws.steps.filter("stale").collect().is_empty()
    assert ws.notices.is_empty()
    for path in folder.glob("dataset/sub-02/meg/*/a.meg4"):
        path.unlink()
    for path in folder.glob("dataset/count/*"):
        path.unlink()
    waiting = Workspace(folder).steps.filter(step="count", status="INIT").collect()
    assert waiting["record_id"].to_list() == ["sub-02"]


# --- a card of a camera --------------------------------------------------------------------------------------

CARD = ["R1.CR2", "R2.CR2", "R1.JPG", "R1.xmp", "R1.log", ".thumbs/R1.jpg"]
BOTH = "self.path.output['tif'].write_text('made')\nself.path.output['xmp'].write_text('made')"
DEVELOP = ("DCIM/{id}.CR2", {"tif": "DCIM/{id}.tif", "xmp": "DCIM/{id}.xmp"}, BOTH)
SORT = ("DCIM/{id}.CR2", "DICOM/{id}/", PICTURES)


def logged(body):
    """A script with a control file where the camera has a file of its own."""
    return "\n".join(
        [
            "from sinagot_catalog import ScriptTemplate",
            "class Script(ScriptTemplate):",
            '    PATH_IN, PATH_OUT, PATH_CONTROL = "DCIM/{id}.CR2", "out/{id}.txt", "DCIM/{id}.log"',
            "    def run(self):",
            "        self.path.control.write_text('made')",
            f"        {body}",
            "",
        ]
    )


STANDS = {
    "a second output": (DEVELOP, "DCIM/R1.xmp"),
    "a folder output": (SORT, "DICOM/R1"),
    "a control of a script that works": (logged("self.path.output.write_text('x')"), "DCIM/R1.log"),
    "a control of a script that fails": (logged("1 / 0"), "DCIM/R1.log"),
}


def card(write_workspace, step):
    """A workspace with a card: pictures, sidecars of another program, scans without a suffix."""
    files = {f"DCIM/{name}": f"camera {name}" for name in CARD} | {"DICOM/R1": "scan"}
    return write_workspace({"dev": step}, files)


@pytest.mark.parametrize("mode", ["main_process", "processes"])
@pytest.mark.parametrize("name", STANDS)
def test_a_plain_run_replaces_no_file_that_it_did_not_make_by(write_workspace, name, mode):
    step, path = STANDS[name]
    folder = card(write_workspace, step)
    before = state(folder)
    for _ in range(2):
        report = Workspace(folder).steps.run(mode=mode, workers=2, progress=False)
        assert_kept(before, folder)
    failed = {row["record_id"]: row["message"] for row in report.failures().to_dicts()}
    row = report.frame.filter(record_id="R1").to_dicts()[0]
    assert (row["outcome"], row["error_type"]) == ("error", "ForeignFile"), failed
    assert path in row["message"]
    assert "--force" in row["message"]


def test_files_that_a_row_made_are_made_again(write_workspace):
    folder = card(write_workspace, DEVELOP)
    (folder / "dataset/DCIM/R1.xmp").unlink()
    options = {"mode": "main_process", "progress": False}
    assert Workspace(folder).steps.run(**options).counts()["done"] == 2
    (folder / "dataset/DCIM/R1.tif").unlink()
    Workspace(folder).gc(older_than="0h")
    assert Workspace(folder).steps.run(**options).counts() == {"done": 1}


def test_controls_of_a_script_that_fails_are_written_again(write_workspace):
    folder = card(write_workspace, logged("1 / 0"))
    (folder / "dataset/DCIM/R1.log").unlink()
    for _ in range(3):
        report = Workspace(folder).steps.run(mode="main_process", progress=False)
        assert set(report.frame["error_type"]) == {"ZeroDivisionError"}
        Workspace(folder).gc(older_than="0h")
    (folder / "scripts/dev.py").write_text(logged("self.path.output.write_text('x')"))
    assert Workspace(folder).steps.run(mode="main_process", progress=False).counts() == {"done": 2}


def test_force_tells_how_many_files_no_run_made(write_workspace, cli):
    folder = card(write_workspace, ("DCIM/{id}.CR2", "DCIM/{id}.JPG"))
    assert cli("run", folder, "-q").returncode == 0  # R1 has a JPG of the camera, R2 gets one
    said = cli("run", folder, "-q", "--force").stderr
    assert "--force replaces 2 outputs" in said
    assert "no run made 1 of them, such as DCIM/R1.JPG" in said


def test_an_input_under_another_name_of_a_mount_is_not_replaced(write_workspace):
    folder = card(write_workspace, ("DCIM/{id}.CR2", "view/{id}.CR2"))
    view = folder / "dataset/view"
    view.mkdir()
    mounted = subprocess.run(
        ["mount", "--bind", folder / "dataset/DCIM", view], capture_output=True, timeout=300, check=False
    )
    if mounted.returncode:
        pytest.skip("folders cannot be mounted here")
    try:
        before = state(folder)
        report = Workspace(folder).steps.run(force=True, mode="main_process", progress=False)
        assert_kept(before, folder)
        assert "by another name" in str(report.failures()["message"].to_list())
    finally:
        subprocess.run(["umount", view], timeout=300, check=False)


@pytest.mark.parametrize(
    "words",
    [("report", "-o"), ("ls", "records", "--parquet"), ("plan", "--parquet"), ("run", "-q", "--parquet")],
)
@pytest.mark.parametrize("way", ["the file", "a link to it"])
def test_no_verb_writes_over_a_picture(write_workspace, cli, words, way):
    folder = card(write_workspace, ("DCIM/{id}.CR2", "out/{id}.txt"))
    target = folder / "dataset/DCIM/R1.CR2"
    if way != "the file":
        (folder / "link").symlink_to(target)
        target = folder / "link"
    before = state(folder)
    done = cli(*words, target, cwd=folder)
    assert done.returncode == 2
    assert str(target) in done.stderr
    assert "Name another file" in done.stderr
    assert_kept(before, folder)
    assert not (folder / "dataset/out").exists()  # the refusal comes before the run


def test_a_verb_writes_its_own_file_again(write_workspace, cli):
    folder = card(write_workspace, ("DCIM/{id}.CR2", "out/{id}.txt"))
    for _ in range(2):
        assert cli("report", "-o", "r.html", cwd=folder).returncode == 0
        assert cli("ls", "records", "--parquet", "r.parquet", cwd=folder).returncode == 0


@pytest.mark.parametrize("log", [".", "dataset", ".."])
def test_a_log_folder_around_the_dataset_is_refused(write_workspace, cli, log):
    folder = write_workspace({"a": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml=f"[path]\nlog = '{log}'\n")
    done = cli("status", folder)
    assert done.returncode == 2
    assert "path.log" in done.stderr
    assert "'LOG'" in done.stderr


def test_a_log_that_is_a_picture_is_refused(write_workspace, cli):
    folder = write_workspace(
        {"a": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml="[path]\nlog = 'dataset/raw/R1'\n"
    )
    before = state(folder)
    done = cli("run", folder)
    assert done.returncode not in (0, 3)
    assert "it is a file, not a folder" in done.stderr
    assert_kept(before, folder)


def test_a_pattern_in_a_log_folder_of_the_camera_is_named(write_workspace, cli):
    folder = write_workspace({"a": ("LOG/{id}.csv", "out/{id}")}, ["LOG/R1.csv"])
    assert "LOG/{id}.csv finds nothing" in cli("status", folder).stdout + cli("status", folder).stderr
    Workspace(folder).gc(older_than="0h")
    assert (folder / "dataset/LOG/R1.csv").read_text() == "raw;"


def test_a_step_that_now_writes_to_its_former_input_replaces_no_picture(write_workspace, script_source):
    """What was there before the row was ever done is not its own, although the row was done once."""
    folder = card(write_workspace, ("DCIM/{id}.CR2", "out/{id}.txt"))
    time.sleep(2.1)  # clocks of disks and hosts may differ by two seconds
    options = {"mode": "main_process", "progress": False}
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}
    before = state(folder)
    turned = ("out/{id}.txt", {"cr2": "DCIM/{id}.CR2", "tif": "new/{id}.tif"}, BOTH.replace("xmp", "cr2"))
    (folder / "scripts/dev.py").write_text(script_source(*turned))
    report = Workspace(folder).steps.run(**options)
    assert set(report.frame["error_type"]) == {"ForeignFile"}
    assert_kept(before, folder)


def later(path, seconds=3600):
    """Make a file as if it was written some time after the run."""
    time = path.stat().st_mtime + seconds
    os.utime(path, (time, time))


@pytest.mark.parametrize("is_accepted", [False, True])
@pytest.mark.parametrize("options", [{}, {"stale": True}])
def test_a_file_of_a_person_that_came_after_the_last_run_is_kept(
    write_workspace, script_source, options, is_accepted
):
    """The step was done for the record, with another output."""
    folder = card(write_workspace, ("DCIM/{id}.CR2", "out/{id}.txt"))
    options = {"mode": "main_process", "progress": False, **options}
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}
    if is_accepted:
        Workspace(folder).steps.accept(all_rows=True)
    later(folder / "dataset/DCIM/R1.xmp")
    before = state(folder)
    (folder / "scripts/dev.py").write_text(script_source(*DEVELOP))
    report = Workspace(folder).steps.run(**options)
    assert report.failures()["error_type"].to_list() == ["ForeignFile"]
    assert_kept(before, folder)


def test_a_folder_of_a_person_that_came_after_the_last_run_is_kept(write_workspace, script_source):
    folder = card(write_workspace, ("DCIM/{id}.CR2", "out/{id}.txt"))
    options = {"mode": "main_process", "progress": False}
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}
    folder.joinpath("dataset/sorted/R1").mkdir(parents=True)
    picture = folder / "dataset/sorted/R1/a.txt"
    picture.write_text("a person")
    later(picture)
    before = state(folder)
    body = "folder = self.path.output['all']\nfolder.mkdir()\n(folder / 'a.txt').write_text('made')\n"
    outputs = {"all": "sorted/{id}/", "tif": "new/{id}.tif"}
    body += "self.path.output['tif'].write_text('made')"
    (folder / "scripts/dev.py").write_text(script_source("DCIM/{id}.CR2", outputs, body))
    report = Workspace(folder).steps.run(**options)
    assert report.failures()["error_type"].to_list() == ["ForeignFile"]
    assert "--force" not in report.failures()["message"].item()
    assert_kept(before, folder)


COMMAND = """
[records]
id_pattern = 'R\\d+'
[steps]
scripts = ["dev"]
[steps.dev]
command = "cp {input} {output}"
inputs = "DCIM/{id}.CR2"
outputs = "OUT/{id}.txt"
"""


def developing(write_workspace, kind):
    """A step of a kind that makes a text of each picture; gives its folder and the file that names its output."""
    files = {f"DCIM/{name}": f"camera {name}" for name in CARD}
    if kind == "command":
        folder = write_workspace({}, files, toml=COMMAND.replace("OUT", "out"))
        return folder, folder / "workspace.toml"
    attributes = "    VERSION = '1'\n" if kind == "version" else ""
    text = (
        "from sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        f"    PATH_IN = 'DCIM/{{id}}.CR2'\n    PATH_OUT = 'out/{{id}}.txt'\n{attributes}"
        "    def run(self):\n        self.path.output.write_text(self.path.input.read_text())\n"
    )
    folder = write_workspace({"dev": text}, files)
    return folder, folder / "scripts/dev.py"


KINDS = pytest.mark.parametrize("kind", ["script", "version", "command"])


@KINDS
@pytest.mark.parametrize("is_accepted", [False, True])
def test_a_step_that_writes_to_another_path_keeps_what_came_there_after_its_last_run(
    write_workspace, kind, is_accepted
):
    folder, where = developing(write_workspace, kind)
    options = {"mode": "main_process", "progress": False}
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}
    if is_accepted:
        Workspace(folder).steps.accept(all_rows=True)
    for name in ("R1.xmp", "R1.CR2"):
        later(folder / "dataset/DCIM" / name)
    before = state(folder)
    where.write_text(where.read_text().replace("out/{id}.txt", "DCIM/{id}.xmp"))
    report = Workspace(folder).steps.run(stale=True, **options)
    assert report.failures()["error_type"].to_list() == ["ForeignFile"]
    assert_kept(before, folder)


@KINDS
def test_a_step_makes_its_outputs_again_where_a_copy_or_a_person_gave_them_new_times(
    write_workspace, tmp_path, kind
):
    folder, _ = developing(write_workspace, kind)
    options = {"mode": "main_process", "progress": False, "stale": True}
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    for path in copy.glob("dataset/*/*"):
        later(path)
    (copy / "dataset/DCIM/R1.CR2").write_text("other")
    assert set(Workspace(copy).steps.run(**options).counts()) == {"done"}
    assert (copy / "dataset/out/R1.txt").read_text() == "other"


def test_a_step_gets_a_second_output(write_workspace, script_source):
    folder = card(write_workspace, ("DCIM/{id}.CR2", "DCIM/{id}.tif"))
    (folder / "dataset/DCIM/R1.xmp").unlink()
    options = {"mode": "main_process", "progress": False}
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}
    (folder / "scripts/dev.py").write_text(script_source(*DEVELOP))
    assert Workspace(folder).steps.run(**options).counts() == {"done": 2}


@pytest.mark.parametrize("way", ["rerun_on", "stale"])
def test_a_picture_that_only_looks_stale_is_kept(write_workspace, way):
    """A card that is copied without its times has CR2 files younger than the JPG files of the camera."""
    toml = "[run]\nrerun_on = ['input']\n" if way == "rerun_on" else ""
    folder = write_workspace(
        {"dev": ("DCIM/{id}.CR2", "DCIM/{id}.JPG")}, {"DCIM/R1.JPG": "jpg", "DCIM/R1.CR2": "cr2"}, toml=toml
    )
    os.utime(folder / "dataset/DCIM/R1.JPG", (1_600_000_000, 1_600_000_000))
    options = {"mode": "main_process", "progress": False, "stale": True if way == "stale" else None}
    before = state(folder)
    report = Workspace(folder).steps.run(**options)
    assert report.frame["error_type"].to_list() == ["ForeignFile"]
    assert_kept(before, folder)
    Workspace(folder).steps.accept(all_rows=True)
    os.utime(folder / "dataset/DCIM/R1.CR2")
    assert Workspace(folder).steps.run(**options).counts() == {"done": 1}


LATE = """
    (self.data_path / f"DCIM/{self.id}.psd").write_text("a person")
    for one in [self.path.output] if hasattr(self.path.output, "name") else self.path.output.values():
        one.write_text("made")
"""


@pytest.mark.parametrize("outputs", ["DCIM/{id}.psd", {"psd": "DCIM/{id}.psd", "txt": "out/{id}.txt"}])
def test_a_file_that_appears_while_the_script_runs_is_kept(write_workspace, outputs):
    folder = card(write_workspace, ("DCIM/{id}.CR2", outputs, LATE))
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert (folder / "dataset/DCIM/R1.psd").read_text() == "a person"
    assert "appeared while the script ran" in str(report.failures()["message"].to_list())
    assert not (folder / "dataset/out").exists()
