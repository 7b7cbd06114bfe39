"""Pipes, devices and endless files where files should be, and ids that keep a pattern busy: a sentence, soon."""

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SinagotError
from sinagot_catalog.storage.local.regular_file import read_regular

SOON = 200.0


def make_pipe(path):
    os.mkfifo(path)


def make_zero(path):
    path.symlink_to("/dev/zero")


def make_sparse(path):
    with path.open("wb") as file:
        file.truncate(8 << 30)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_folder(path):
    path.mkdir()


KINDS = {
    "a named pipe": make_pipe,
    "a device": make_zero,
    "8,589,934,592 bytes": make_sparse,
    "a folder": make_folder,
}


@pytest.fixture(autouse=True)
def soon():
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


@pytest.mark.parametrize(("word", "make"), [*KINDS.items(), ("a socket", make_socket)])
def test_only_a_regular_file_of_bounded_size_is_read(tmp_path, monkeypatch, word, make):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make(Path("file"))
    with pytest.raises(OSError, match=word):
        read_regular("file")
    Path("fine").write_bytes(b"x" * 10)
    assert read_regular("fine", 10) == b"x" * 10
    with pytest.raises(OSError, match="at most 9"):
        read_regular("fine", 9)


@pytest.mark.parametrize("word", KINDS)
def test_a_script_that_is_no_file_fails_its_rows_and_no_others(write_workspace, cli, word):
    folder = write_workspace({"bad": "x", "fine": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    path = folder / "scripts" / "bad.py"
    path.unlink()
    KINDS[word](path)
    ws = Workspace(folder, trust=True)  # anybody can write to a device
    status = {row["step"]: row for row in ws.steps.collect().iter_rows(named=True)}
    assert status["bad"]["status"] == "ERROR"
    assert word in status["bad"]["reason"]
    assert ws.steps.run(workers=1, progress=False).counts()["done"] == 1
    told = cli("doctor", folder)
    assert word in told.stdout
    assert "Traceback" not in told.stdout + told.stderr


@pytest.mark.parametrize("word", ["a named pipe", "8,589,934,592 bytes"])
@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_a_helper_that_is_no_file_fails_those_that_need_it(write_workspace, script_source, word, mode):
    folder = write_workspace(
        {"bad": script_source("raw/{id}", "bad/{id}", head="import odd"), "fine": ("raw/{id}", "out/{id}")},
        ["raw/R1"],
    )
    KINDS[word](folder / "scripts" / "odd.py")
    report = Workspace(folder).steps.run(workers=1, progress=False, mode=mode)
    assert report.counts() == {"done": 1, "error": 1}


@pytest.mark.parametrize("word", KINDS)
def test_a_metadata_table_that_is_no_file_is_one_sentence(write_workspace, cli, word):
    toml = """
        [tasks.T]
        modalities = ["EEG"]
        [modalities.EEG]
        scripts = ["work"]
        models.dataframe_path = "people.csv"
    """
    folder = write_workspace({"EEG/work": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml=toml)
    KINDS[word](folder / "dataset" / "people.csv")
    told = cli("status", "-C", folder)
    assert told.returncode in (0, 1, 2)
    assert "fault of sinagot-catalog" not in told.stderr
    assert "Traceback" not in told.stderr
    assert word in told.stderr + told.stdout


@pytest.mark.parametrize("word", ["a named pipe", "a device", "8,589,934,592 bytes"])
def test_a_journal_file_that_is_no_file_is_one_sentence(write_workspace, cli, word):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    Workspace(folder).steps.run(workers=1, progress=False)
    (run,) = (folder / "dataset" / "LOG" / "journal").iterdir()
    KINDS[word](run / "w99.ndjson")
    for verb in ("status", "logs"):
        told = cli(verb, "-C", folder)
        assert "fault of sinagot-catalog" not in told.stderr
        assert "Traceback" not in told.stderr
        assert word in told.stderr + told.stdout or told.returncode == 0


@pytest.mark.parametrize("word", KINDS)
def test_a_config_that_is_no_file_is_one_sentence(write_workspace, cli, word):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    (folder / "workspace.toml").unlink()
    KINDS[word](folder / "workspace.toml")
    told = cli("status", "-C", folder)
    assert told.returncode == 2
    assert told.stderr.startswith("error: ")
    assert "Traceback" not in told.stderr
    assert "holds no workspace.toml" not in told.stderr


def test_results_that_are_no_files_are_not_waited_for(write_workspace):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}.csv")}, ["raw/R1", "raw/R2"])
    (folder / "dataset" / "out").mkdir()
    (folder / "dataset" / "out" / "R1.csv").write_text("a\n1\n")
    make_pipe(folder / "dataset" / "out" / "R2.csv")
    try:
        assert Workspace(folder).steps.scan_outputs("work").collect()["a"].to_list() == [1]
    except SinagotError as error:
        assert "R2.csv" in str(error)  # noqa: PT017 - either is right


BUSY = "R" * 60


@pytest.mark.parametrize(
    "pattern", ["(R|R)*y", "(R+)+y", "((R|R)*y|S+)", "(?P<kind>(R|R)*)y", "(?=R)(R|R)*y"]
)
def test_an_id_that_keeps_a_pattern_busy_is_refused_soon(write_workspace, cli, pattern):
    folder = write_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/Ry"], id_pattern=pattern)
    for words in (["explain", BUSY, "work"], ["logs", BUSY], ["run", "--record", BUSY]):
        told = cli(*words, "-C", folder)
        assert told.returncode == 2
        assert "id_pattern" in told.stderr
    for look in (
        lambda ws: ws.records.get(BUSY),
        lambda ws: ws.records[BUSY],
        lambda ws: ws.records.has(BUSY),
    ):
        with contextlib.suppress(SinagotError):
            assert look(Workspace(folder)) is False


def test_ids_that_fit_a_busy_pattern_run(write_workspace):
    name = "R" * 40
    folder = write_workspace(
        {"work": ("raw/{id}", "out/{id}")}, [f"raw/{name}", "raw/Ry"], id_pattern="(?:(?:R|R)*y|R+)"
    )
    report = Workspace(folder).steps.run(workers=1, progress=False)
    assert report.counts() == {"done": 2}


def test_doctor_names_what_is_called_like_the_standard_library(write_workspace, cli):
    folder = write_workspace(
        {"statistics": ("raw/{id}", "out/{id}"), "fine": ("raw/{id}", "fine/{id}")}, ["raw/R1"]
    )
    (folder / "scripts" / "tokenize.py").write_text("X = 1\n")
    (folder / "scripts" / "json").mkdir()
    (folder / "scripts" / "json" / "__init__.py").touch()
    (folder / "scripts" / "helper.py").write_text("X = 1\n")
    told = " ".join(cli("doctor", folder).stdout.split())
    assert "the step statistics is named like the standard library's module statistics" in told
    assert "tokenize.py is named like the standard library's module tokenize" in told
    assert "json is named like the standard library's module json" in told
    assert "helper.py is" not in told
