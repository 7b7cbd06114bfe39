"""A script that moves its input to its output, and then fails, loses no file: the input comes back."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sinagot_catalog import Workspace

ENDS = {
    "raises": "1 / 0",
    "leaves the process": "import os; os._exit(3)",
    "passes its time-out": "import time; time.sleep(600)",
    "forgets its second output": "",
}
MODES = [("processes", end) for end in ENDS] + [
    ("main_process", "raises"),
    ("main_process", "forgets its second output"),
]


def move(ends):
    """A script's body that moves its input, and then ends in some way."""
    note = "with (self.data_path.parent / 'moved').open('a') as moved: moved.write(f'{self.id}\\n')"
    return f"import shutil\nshutil.move(self.path.input, self.path.output['jpg'])\n{note}\n{ends}"


def card(write_workspace, body, *, path_in="DCIM/{id}.JPG", files=("DCIM/R1.JPG", "DCIM/R2.JPG"), **options):
    """A card of a camera, with files older than the run and unlike each other."""
    outputs = {"jpg": "sorted/{id}.jpg", "txt": "sorted/{id}.txt"}
    folder = write_workspace(
        {"sort": (path_in, outputs, body)}, {name: f"picture {name}" for name in files}, **options
    )
    for number, name in enumerate(files):
        os.utime(folder / "dataset" / name, (1_600_000_000 + number, 1_600_000_000 + number))
    return folder


def pictures(folder, top="DCIM"):
    """Content and time of each file in the raw folder."""
    files = [path for path in sorted((folder / "dataset" / top).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_text(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(("mode", "ends"), MODES)
def test_an_input_that_a_failing_script_moved_is_put_back(write_workspace, mode, ends, retries):
    # Seconds of a row: as many as this machine needs until each attempt has moved its input.
    for seconds in (1, 8, 64, 512) if ends == "passes its time-out" else (300,):
        toml = f"[run]\ntimeout = {seconds}\nretries = {retries}\n" if mode == "processes" else ""
        folder = card(write_workspace, move(ENDS[ends]), toml=toml, name=f"card-{seconds}")
        before = pictures(folder)
        report = Workspace(folder).steps.run(mode=mode, workers=2, progress=False)
        assert pictures(folder) == before
        moved = (folder / "moved").read_text() if (folder / "moved").exists() else ""
        if moved.count("\n") == 2 * (1 + retries):
            break
    messages = report.failures()["message"].to_list()
    assert len(messages) == 2
    assert all("the script had moved its input" in one and "put back" in one for one in messages)
    assert not list((folder / "dataset" / "LOG").glob(".staging/*"))
    assert Workspace(folder).steps.collect()["status"].to_list() == ["ERROR", "ERROR"]


def test_an_input_is_put_back_from_a_log_folder_on_another_disk(write_workspace):
    elsewhere = Path("/dev/shm" if sys.platform == "linux" else "/tmp") / f"sinagot-log-{os.getpid()}"  # noqa: S108
    if not elsewhere.parent.is_dir():
        pytest.skip("there is no second file system")
    try:
        folder = card(write_workspace, move("1 / 0"), toml=f"[path]\nlog = '{elsewhere}'\n")
        before = pictures(folder)
        Workspace(folder).steps.run(mode="main_process", progress=False)
        assert pictures(folder) == before
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


FILES = """
import shutil
self.path.output["jpg"].mkdir()
for number, one in enumerate(sorted(self.path.input.iterdir())):
    shutil.move(one, self.path.output["jpg"] / str(number))
1 / 0
"""


@pytest.mark.parametrize(
    "body",
    [
        "import os\nos.rename(self.path.input, self.path.output['jpg'])\n1 / 0",
        FILES,
    ],
    ids=["the folder", "its files, under other names"],
)
def test_files_of_a_folder_input_are_put_back(write_workspace, body):
    files = ("DCIM/R1/a.JPG", "DCIM/R1/b.JPG", "DCIM/R1/deep/c.JPG", "DCIM/R2/a.JPG")
    folder = card(write_workspace, body, path_in="DCIM/{id}/", files=files)
    before = pictures(folder)
    Workspace(folder).steps.run(mode="main_process", progress=False)
    assert pictures(folder) == before


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_moved_link_is_put_back(write_workspace, is_relative):
    """The raw files of a DataLad dataset are links."""
    folder = card(write_workspace, move("1 / 0"), files=("annex/a",))
    link = folder / "dataset/DCIM/R1.JPG"
    link.parent.mkdir()
    target = "../annex/a" if is_relative else str(folder / "dataset/annex/a")
    link.symlink_to(target)
    Workspace(folder).steps.run(mode="main_process", progress=False)
    assert str(link.readlink()) == target


def test_nothing_replaces_a_new_file_at_the_path_of_a_moved_input(write_workspace):
    body = move("self.path.input.write_text('a new picture')\n1 / 0")
    folder = card(write_workspace, body)
    Workspace(folder).steps.run(mode="main_process", progress=False)
    assert (folder / "dataset/DCIM/R1.JPG").read_text() == "a new picture"


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_an_input_that_a_script_moved_and_succeeded_is_put_back(write_workspace, mode):
    folder = card(write_workspace, move("self.path.output['txt'].write_text('x')"))
    before = pictures(folder)
    report = Workspace(folder).steps.run(mode=mode, workers=2, progress=False)
    assert set(report.frame["error_type"]) == {"InputMoved"}
    assert pictures(folder) == before
    assert not (folder / "dataset/sorted").exists()


PORTS = {
    "many": '"DCIM/{id}_*.JPG"',
    "optional": '{"a": optional("DCIM/{id}_a.JPG"), "b": "DCIM/{id}_b.JPG"}',
    "any_of": 'any_of("DCIM/{id}.RAW", "DCIM/{id}_a.JPG")',
    "many folders": 'many("DCIM/{id}_*/")',
}


@pytest.mark.parametrize("ends", ["1 / 0", "pass"])
@pytest.mark.parametrize("port", PORTS)
def test_inputs_of_every_kind_of_port_are_put_back(write_workspace, port, ends):
    source = f"""
import shutil
from sinagot_catalog import ScriptTemplate, any_of, many, optional

class Script(ScriptTemplate):
    PATH_IN = {PORTS[port]}
    PATH_OUT = "sorted/{{id}}/"

    def run(self):
        paths = self.path.input
        paths = list(paths.values()) if isinstance(paths, dict) else paths
        paths = paths if isinstance(paths, list) else [paths]
        self.path.output.mkdir(exist_ok=True)
        for path in paths:
            shutil.move(path, self.path.output / path.name)
        {ends}
"""
    files = {f"DCIM/R1_{name}.JPG": f"picture {name}" for name in "ab"}
    if port == "many folders":
        files = {f"DCIM/R1_{name}/{name}.JPG": f"picture {name}" for name in "ab"}
    folder = write_workspace({"sort": source}, files)
    before = pictures(folder)
    report = Workspace(folder).steps.run(mode="main_process", progress=False)
    assert pictures(folder) == before
    assert "the script had moved its input DCIM/R1_a" in str(report.failures()["message"].to_list())


@pytest.mark.skipif(sys.platform != "linux", reason="processes are killed as a group")
@pytest.mark.parametrize("way", ["run", "gc"])
def test_inputs_of_a_killed_run_are_put_back_by_the_next_command(write_workspace, cli, way):
    folder = card(write_workspace, move("import time; time.sleep(600)"))
    before = pictures(folder)
    command = [sys.executable, "-m", "sinagot_catalog", "run", "-q", "--workers", "2", str(folder)]
    with subprocess.Popen(command, start_new_session=True) as process:
        until = time.monotonic() + 300
        while len(list(folder.glob("dataset/LOG/.staging/*/*/c0/sorted/*.jpg"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(300)
    assert pictures(folder) == {}
    until = time.monotonic() + 300
    while pictures(folder) != before:  # a worker ends a moment after its parent
        assert time.monotonic() < until
        done = cli(way, folder)
    assert "back in their place" in done.stderr
    assert pictures(folder) == before
    assert not list(folder.glob("dataset/LOG/.staging/*"))
