"""`stale`: what makes a done row stale, which views report it, and what a run does about it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SelectionError

HERE = {"mode": "main_process", "progress": False}
SUM_FOLDER = """
files = sorted(one for one in self.path.input.rglob("*") if one.is_file())
self.path.output.write_text(str(sum(one.stat().st_size for one in files)))
"""
FOLDER = {"total": ("raw/{id}/", "total/{id}.txt", SUM_FOLDER)}
FILES = {"raw/R1/a.csv": "aaaa", "raw/R1/sub/b.csv": "bb", "raw/R2/a.csv": "a"}


def stale(ws, **constraints):
    return ws.refresh().steps.filter(**constraints).select("stale")["stale"].to_list()


def why(ws, record_id="R1", step="total"):
    return ws.refresh().explain(record_id, step).stale


@pytest.fixture
def total(make_workspace):
    """A step that reads a folder, done for two records."""
    ws = make_workspace(FOLDER, FILES)
    assert ws.steps.run(**HERE).counts() == {"done": 2}
    return ws


# --- folders -------------------------------------------------------------------------------------------------


def test_a_folder_that_nobody_touched_is_not_stale(total):
    assert stale(total) == [False, False]
    assert why(total) == ()
    raw = Path(total.data_path, "raw/R1")
    (raw / "new").mkdir()  # a folder without a file is nothing
    os.utime(raw)
    assert stale(total) == [False, False]


@pytest.mark.parametrize(
    ("change", "now"),
    [
        (lambda raw: (raw / "sub/b.csv").write_text("bbbb"), "2 files (8 bytes)"),
        (lambda raw: (raw / "c.csv").write_text("c"), "3 files (7 bytes)"),
        (lambda raw: (raw / "a.csv").unlink(), "1 file (2 bytes)"),
        (lambda raw: (raw / "a.csv").rename(raw / "z.csv"), None),
        (lambda raw: os.utime(raw / "sub/b.csv", (1, 1)), None),
    ],
    ids=["changed", "added", "removed", "renamed", "older"],
)  # fmt: skip
def test_a_file_of_a_folder_input_makes_its_row_stale(total, change, now):
    change(Path(total.data_path, "raw/R1"))
    assert stale(total) == [True, False]
    before = "2 files (6 bytes)"
    told = f"files in raw/R1 were changed: it had and has {before}" if now is None else ""
    assert why(total) == (told or f"raw/R1 had {before} and has {now}",)
    plan = total.steps.plan(stale=True).frame.filter(action="run")
    assert plan.select("record_id", "reason").rows() == [("R1", "stale: an input changed since")]
    assert total.steps.run(stale=True, **HERE).counts() == {"done": 1}
    assert stale(total) == [False, False]


def test_worker_processes_record_the_fingerprint_that_the_catalog_computes(make_workspace):
    ws = make_workspace(FOLDER, FILES)
    ws.steps.run(progress=False, workers=1)
    texts = [one.read_text() for one in Path(ws.config.log).rglob("*.ndjson")]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    recorded = {one["record_id"]: one["inputs"][0] for one in lines if one["event"] == "done"}
    assert [recorded[one][:2] for one in ("R1", "R2")] == [[6, 2], [1, 1]]
    assert stale(ws) == [False, False]


def test_a_link_to_a_file_in_a_folder_input_counts_as_that_file(make_workspace, tmp_path):
    target = tmp_path / "store.bin"
    target.write_text("12345")
    ws = make_workspace(FOLDER, ["raw/R1/a.csv"])
    Path(ws.data_path, "raw/R1/b.csv").symlink_to(target)
    ws.steps.run(**HERE)
    assert stale(ws) == [False]
    target.write_text("1234567")
    assert stale(ws) == [True]


def test_outputs_that_steps_declare_in_a_folder_input_do_not_count(make_workspace):
    ws = make_workspace(
        {"check": ("raw/{id}/", "raw/{id}/qc/{id}.txt", SUM_FOLDER), **FOLDER},
        ["raw/R1/a.csv", "raw/R1/b.csv"],
    )
    assert ws.steps.run(**HERE).counts() == {"done": 2}
    assert stale(ws) == [False, False]
    ws.steps.run("check", force=True, **HERE)
    assert stale(ws) == [False, False]
    Path(ws.data_path, "raw/R1/qc/notes.txt").write_text("by hand")
    assert stale(ws) == [True, True]


def test_a_folder_that_a_step_makes_counts_whole(make_workspace):
    many = """
self.path.output.mkdir(parents=True)
(self.path.output / "one.txt").write_text(self.path.input.read_text())
"""
    ws = make_workspace(
        {
            "split": ("raw/{id}.csv", "parts/{id}/", many),
            "total": ("parts/{id}/", "total/{id}.txt", SUM_FOLDER),
        },
        {"raw/R1.csv": "abc"},
    )
    assert ws.steps.run(**HERE).counts() == {"done": 2}
    assert stale(ws) == [False, False]
    Path(ws.data_path, "parts/R1/one.txt").write_text("abcdef")
    assert stale(ws) == [False, True]


def test_a_folder_that_became_a_file_makes_stale(make_workspace):
    body = "self.path.output.write_text('x')"
    ws = make_workspace({"total": ("raw/{id}", "total/{id}.txt", body)}, ["raw/R1/a.csv"])
    ws.steps.run(**HERE)
    shutil.rmtree(f"{ws.data_path}/raw/R1")
    Path(ws.data_path, "raw/R1").write_text("file")
    assert stale(ws) == [True]
    assert why(ws) == ("raw/R1 was a folder and is a file",)


def test_sizes_of_folders_are_those_of_their_files(total):
    ws = total.refresh()
    folders = ws.files.filter(pl.col("kind") == "directory").select("path", "size")
    assert folders.rows() == [("raw/R1", 6), ("raw/R2", 1)]
    assert ws.records.select("record_id", "size").rows() == [("R1", 6 + 1), ("R2", 1 + 1)]
    plan = ws.steps.plan(force=True)
    assert plan.volume().rows() == [("total", 7)]
    (file,) = [one for one in ws.explain("R1", "total").files if one.role == "input"]
    assert (file.size, file.count) == (6, 2)


def test_a_file_within_a_folder_counts_once_in_the_size_of_a_record(make_workspace):
    body = "self.path.output.write_text('x')"
    ws = make_workspace(
        {"one": ("raw/{id}/a.csv", "one/{id}", body), "all": ("raw/{id}/", "all/{id}", body)},
        {"raw/R1/a.csv": "aaaa", "raw/R1/b.csv": "b"},
    )
    assert ws.records.select("size").item() == 5


def test_diff_names_the_folders_whose_files_changed(total):
    total.snapshot()
    assert len(total.diff()) == 0
    Path(total.data_path, "raw/R1/sub/b.csv").write_text("xx")  # of the same size
    os.utime(Path(total.data_path, "raw/R1/sub/b.csv"), (5, 5))
    found = total.diff()
    assert found.files.rows() == [("changed", "raw/R1", "R1", "6", "6")]
    assert found.records.rows() == [("changed", "R1")]
    Path(total.data_path, "raw/R1/c.csv").write_text("c")
    assert total.diff().files.rows() == [("changed", "raw/R1", "R1", "6", "7")]


def test_a_snapshot_says_what_was_stale_then(total):
    Path(total.data_path, "raw/R1/c.csv").write_text("c")
    total.snapshot()
    Path(total.data_path, "raw/R2/c.csv").write_text("c")
    then = Workspace(total.config.root, snapshot="latest")
    assert then.steps.select("stale")["stale"].to_list() == [True, False]
    assert then.explain("R1", "total").stale


def test_a_failed_row_of_a_folder_is_watched_until_a_file_of_it_changes(make_workspace):
    body = "assert not (self.path.input / 'bad.csv').exists(), 'bad'\nself.path.output.write_text('x')"
    ws = make_workspace({"total": ("raw/{id}/", "total/{id}.txt", body)}, ["raw/R1/a.csv", "raw/R1/bad.csv"])
    watching = {"submit": False, "once": True, "stable_for": 0.0}
    assert [one.counts() for one in ws.steps.watch(**watching)] == [{"error": 1}]
    assert [one.counts() for one in ws.steps.watch(**watching)] == []
    Path(ws.data_path, "raw/R1/bad.csv").unlink()
    assert [one.counts() for one in ws.steps.watch(**watching)] == [{"done": 1}]
    Path(ws.data_path, "raw/R1/a.csv").write_text("other")
    assert [one.counts() for one in ws.steps.watch(**watching)] == []
    assert [one.counts() for one in ws.steps.watch(stale=True, **watching)] == [{"done": 1}]


def test_status_lists_no_content_of_folders(total, monkeypatch):
    def unasked(_self, _folders):
        raise AssertionError("the content of folders was listed")

    monkeypatch.setattr("sinagot_catalog.storage.local.store.LocalStore.contents", unasked)
    assert total.refresh().steps.collect()["status"].to_list() == ["DONE", "DONE"]
    with pytest.raises(AssertionError, match="listed"):
        total.steps.select("stale")


# --- what nobody can know ------------------------------------------------------------------------------------


def test_stale_is_null_where_nobody_can_know(make_workspace, journal_of):
    ws = make_workspace(FOLDER, [*FILES, "total/R1.txt", "total/R2.txt"])
    for record_id in ("R1", "R2"):  # an older version recorded nothing of folders
        journal_of(ws, "total", name=record_id).write(
            "done", record_id, seconds=1.0, attempts=1, inputs=[None]
        )
    for path in Path(ws.data_path, "total").iterdir():
        os.utime(path, (4e9, 4e9))
    assert stale(ws) == [None, None]
    os.utime(Path(ws.data_path, "raw/R1/sub/b.csv"), (4.1e9, 4.1e9))
    assert stale(ws) == [True, None]
    assert why(ws) == ("raw/R1 is newer than the oldest output",)
    assert ws.steps.plan(stale=True).n_run == 1


def test_an_input_that_is_gone_leaves_stale_unknown(make_workspace):
    ws = make_workspace({"clean": ("raw/{id}.csv", "out/{id}.csv")}, ["raw/R1.csv", "raw/R2.csv"])
    ws.steps.run(**HERE)
    Path(ws.data_path, "raw/R1.csv").unlink()
    assert stale(ws) == [None, False]
    assert why(ws, step="clean") == ()


def test_a_folder_that_cannot_be_read_leaves_stale_unknown(write_workspace):
    program = """if True:
        import os, sys
        from sinagot_catalog import Workspace
        ws = Workspace(sys.argv[1])
        ws.steps.select("stale")
        if os.getuid() == 0:  # root reads every folder
            os.setuid(65534)
        print(ws.refresh().steps.select("stale").rows())
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # another user reads the rest
        place = write_workspace(FOLDER, FILES).rename(Path(folder, "workspace"))
        assert Workspace(place).steps.run(**HERE).counts() == {"done": 2}
        (place / "dataset/raw/R1/sub").chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", program, place], capture_output=True, text=True, timeout=300, check=True
        )
        (place / "dataset/raw/R1/sub").chmod(0o755)
    assert done.stdout == "[(None,), (False,)]\n"


# --- code ----------------------------------------------------------------------------------------------------

SCRIPT = '''"""What it does."""

from sinagot_catalog import ScriptTemplate

from helper import factor


class Script(ScriptTemplate):
    """Multiplies."""

    PATH_IN = "raw/{id}.txt"
    PATH_OUT = "out/{id}.txt"
    VERSION = None

    def run(self):
        # a comment
        self.path.output.write_text(f"{int(self.path.input.read_text()) * factor()}")
'''
HELPER = "from deeper import number\n\ndef factor():\n    return number\n"


@pytest.fixture
def coded(make_workspace):
    ws = make_workspace({"clean": SCRIPT}, {"raw/R1.txt": "2"})
    scripts = Path(ws.scripts_path)
    (scripts / "helper.py").write_text(HELPER)
    (scripts / "deeper.py").write_text("number = 2\n")
    (scripts / "beside.py").write_text("x = 1\n")
    assert ws.steps.run(**HERE).counts() == {"done": 1}
    return ws


def rewrite(ws, name, old, new):
    file = Path(ws.scripts_path, name)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("clean.py", "# a comment", "# another"),
        ("clean.py", '"""Multiplies."""', '"""Multiplies a\n    number."""'),
        ("clean.py", "factor()}", "factor( ) }"),
        ("clean.py", "    def run(self):\n", "    def run(self):\n\n        '''Run.'''\n"),
        ("deeper.py", "number = 2", "number   =   2  # two"),
        ("beside.py", "x = 1", "x = 2"),
    ],
)
def test_comments_docstrings_spacing_and_other_files_make_no_code_stale(coded, name, old, new):
    if (name, old) == ("clean.py", "factor()}"):
        old, new = "self.path.output.write_text(", "self.path.output.write_text( "
    rewrite(coded, name, old, new)
    assert stale(coded) == [False]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("clean.py", "* factor()", "+ factor()"),
        ("helper.py", "return number", "return -number"),
        ("deeper.py", "2", "3"),
    ],
    ids=["script", "helper", "helper of the helper"],
)  # fmt: skip
def test_changed_code_makes_stale_and_runs_when_asked_for(coded, name, old, new):
    rewrite(coded, name, old, new)
    assert stale(coded) == [True]
    assert why(coded, step="clean") == ("script changed",)
    assert coded.explain("R1", "clean").changes[0].run == {"stale": "code"}
    assert coded.steps.plan(stale=True).n_run == 0
    assert coded.steps.plan(stale="code").frame["reason"].to_list() == ["stale: script changed"]
    assert coded.steps.run(stale="code", **HERE).counts() == {"done": 1}
    assert stale(coded) == [False]


def test_a_script_with_a_version_is_compared_by_that_alone(coded):
    rewrite(coded, "clean.py", "VERSION = None", "VERSION = 1")
    assert why(coded, step="clean") == ("VERSION of the script was None and is '1'",)
    coded.steps.run(stale=True, **HERE)
    rewrite(coded, "clean.py", "* factor()", "+ factor()")
    assert stale(coded) == [False]
    rewrite(coded, "clean.py", "VERSION = 1", "VERSION = 2")
    assert stale(coded) == [True]


def test_an_event_without_a_hash_is_not_compared(make_workspace, journal_of):
    ws = make_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1", "out/R1"])
    found = Path(ws.data_path, "raw/R1").stat()
    journal_of(ws, "clean").write(
        "done", "R1", seconds=1.0, attempts=1, inputs=[(found.st_size, found.st_mtime_ns)]
    )
    assert ws.refresh().records.logs().filter(pl.col("event") == "done")["code"].to_list() == [None]
    assert stale(ws) == [False]


def test_code_is_a_column_of_events(coded):
    done = coded.refresh().records.logs().filter(pl.col("event") == "done")
    assert done["code"].str.len_chars().to_list() == [16]


COMMAND = """
[steps]
scripts = ["copy"]
[steps.copy]
command = "sh copy.sh {input} {output}"
inputs = "raw/{id}.txt"
outputs = "out/{id}.txt"
"""


def test_the_code_of_a_command_is_its_text_and_the_files_that_it_names(make_workspace):
    ws = make_workspace({}, ["raw/R1.txt"], toml=COMMAND)
    script = Path(ws.scripts_path, "copy.sh")
    script.write_text('cp "$1" "$2"\n')
    assert ws.steps.run(**HERE).counts() == {"done": 1}
    assert stale(ws) == [False]
    script.write_text('cp -f "$1" "$2"\n')
    assert stale(ws) == [True]
    assert ws.steps.run(stale="code", **HERE).counts() == {"done": 1}
    toml = Path(ws.config.root, "workspace.toml")
    toml.write_text(toml.read_text().replace("sh copy.sh", "sh -e copy.sh"))
    assert stale(Workspace(ws.config.root)) == [True]


# --- what a run acts on --------------------------------------------------------------------------------------


def test_rerun_on_acts_on_the_causes_that_it_names(coded):
    rewrite(coded, "clean.py", "* factor()", "+ factor()")
    toml = Path(coded.config.root, "workspace.toml")
    text = toml.read_text()
    for causes, count in (("input", 0), ("version", 0), ("params", 0), ("code", 1)):
        toml.write_text(f'{text}\n[run]\nrerun_on = ["{causes}"]\n')
        ws = Workspace(coded.config.root)
        assert ws.steps.plan().n_run == count, causes
        assert ws.steps.plan(stale=False).n_run == 0
    Path(coded.data_path, "raw/R1.txt").write_text("33")
    assert ws.refresh().steps.plan(stale=True).n_run == 1
    toml.write_text(f'{text}\n[run]\nrerun_on = ["version"]\n')
    assert Workspace(coded.config.root).steps.plan().n_run == 0


def test_another_word_for_stale_is_refused(harbor):
    with pytest.raises(SelectionError, match="did you mean 'code'"):
        harbor.steps.plan(stale="cod")


def test_the_command_line_tells_inputs_from_code(cli, coded):
    rewrite(coded, "clean.py", "* factor()", "+ factor()")
    folder = coded.config.root
    told = cli("status", folder, "--stale").stdout
    assert f"1 stale: sinagot-catalog run {folder} --stale=code" in told
    assert "nothing to do" in cli("run", "--stale", folder).stdout
    assert "stale: script changed" in cli("plan", folder, "--stale=code").stdout
    assert "--stale=code" in cli("explain", "-C", folder, "R1", "clean").stdout
    assert "1 done" in cli("run", folder, "--stale=code", "-q").stdout


# --- buckets -------------------------------------------------------------------------------------------------


def test_folders_in_a_bucket_are_compared_as_local_ones(write_workspace, moto):
    folder = write_workspace(FOLDER, FILES)
    url = moto.upload(folder / "dataset", "data")
    toml = folder / "workspace.toml"
    toml.write_text(f'{toml.read_text()}\n[path]\ndataset = "{url}"\n')
    ws = Workspace(folder, storage_options=moto.options)
    assert ws.steps.run(progress=False, workers=1).counts() == {"done": 2}
    assert stale(ws) == [False, False]
    moto.put({"data/raw/R1/c.csv": "ccc"})
    assert stale(ws) == [True, False]
    assert why(ws) == ("raw/R1 had 2 files (6 bytes) and has 3 files (9 bytes)",)
    assert ws.files.filter(pl.col("path") == "raw/R1").select("size").item() == 9
    moto.fs.rm_file(f"{url}/raw/R1/c.csv")
    assert stale(ws) == [False, False]
    moto.fs.rm_file(f"{url}/raw/R1/a.csv")
    assert ws.refresh().steps.run(stale=True, progress=False, workers=1).counts() == {"done": 1}


def test_a_row_is_stale_when_the_column_name_that_it_read_has_another_value(write_workspace):
    toml = "[records]\nid_pattern = 'R\\d'\nmetadata = 'people.csv'\n"
    body = "self.path.output.write_text(self.record['name'] + str(self.record['now']))"
    folder = write_workspace({"greet": ("raw/{id}", "hello/{id}", body)}, ["raw/R1", "raw/R2"], toml=toml)
    (folder / "people.csv").write_text("record_id,name,now\nR1,Ann,3\nR2,Bo,4\n")
    Workspace(folder).steps.run(mode="main_process", progress=False)
    (folder / "people.csv").write_text("record_id,name,now\nR1,Ann,3.0\nR2,Bob,4\n")
    assert Workspace(folder).steps.select("record_id", "stale").rows() == [("R1", False), ("R2", True)]
