"""Publishing never replaces or removes a file that the row did not make: in every mode, also with force."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import polars as pl
import pytest

from sinagot_catalog import Workspace

FOLDER = """
self.path.output.mkdir()
for name in NAMES:
    (self.path.output / name).write_text(self.id)
"""


@pytest.fixture(params=["main_process", "processes"])
def mode(request):
    return request.param


@pytest.fixture
def run(mode):
    """Run a workspace; gives outcome, error type and message by record and step."""

    def call(ws, **options):
        report = ws.steps.run(mode=mode, progress=False, **options)
        return {
            (row["record_id"], row["step"]): (row["outcome"], row["error_type"], row["message"])
            for row in report.frame.iter_rows(named=True)
        }

    return call


def folder_body(*names):
    return FOLDER.replace("NAMES", repr(names))


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "LOG" not in path.parts
    }


# -- undeclared files


def test_undeclared_file_never_replaces_a_file_of_the_dataset(make_workspace, run):
    body = """
    self.path.output.write_text("made")
    (self.path.output.parent / "R2.csv").write_text("gone")
    (self.path.output.parent / "participants.tsv").write_text("gone")
    """
    raw = ["raw/R1.csv", "raw/R2.csv", "raw/participants.tsv"]
    ws = make_workspace({"a": ("raw/{id}.csv", "raw/{id}_clean.txt", body)}, raw)
    found = run(ws.records["R1"])
    assert found["R1", "a"][:2] == ("error", "ForeignFile")
    assert "a file that this row did not make is there" in found["R1", "a"][2]
    assert "Declare it as an output" in found["R1", "a"][2]
    assert files_of(ws.data_path) == dict.fromkeys(raw, "raw;")


def test_rows_that_write_one_undeclared_file_do_not_replace_each_others(make_workspace, run):
    body = """
    self.path.output.write_text("made")
    with open(self.path.output.parent / "all.csv", "a") as file:
        file.write(self.id)
    """
    ids = [f"R{number}" for number in range(5)]
    ws = make_workspace({"a": ("raw/{id}", "out/{id}", body)}, [f"raw/{one}" for one in ids])
    found = run(ws)
    assert sorted(one[0] for one in found.values()) == ["done", *["error"] * 4]
    assert all("write one per record" in one[2] for one in found.values() if one[0] == "error")
    done = next(record for (record, _), one in found.items() if one[0] == "done")
    assert (Path(ws.data_path) / "out" / "all.csv").read_text() == done
    assert [one.name for one in (Path(ws.data_path) / "out").iterdir() if one.name != "all.csv"] == [done]


def test_a_row_replaces_its_own_undeclared_file(make_workspace, run):
    body = """
    self.path.output.write_text("made")
    self.path.output.with_suffix(".png").write_text("plot")
    """
    ws = make_workspace({"a": ("raw/{id}", "out/{id}.txt", body)}, ["raw/R1", "raw/R2"])
    for _ in range(3):
        assert {one[0] for one in run(ws, force=True).values()} == {"done"}


def test_undeclared_file_of_an_earlier_run_stays_the_rows_own(make_workspace, script_source, run):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}.txt")}, ["raw/R1"])
    write = "self.path.output.write_text('made')\n(self.path.output.parent / '{}').write_text('x')"
    for name in ("one.png", "two.png", "one.png"):
        source = script_source("raw/{id}", "out/{id}.txt", write.format(name))
        Path(ws.scripts_path, "a.py").write_text(source)
        assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"


def test_undeclared_file_that_came_after_a_run_without_it_is_kept(make_workspace, script_source, run):
    """What the last run recorded is all: an older file that it does not name is somebody's."""
    ws = make_workspace({"a": ("raw/{id}", "out/{id}.txt")}, ["raw/R1"])
    Path(ws.data_path, "out").mkdir()
    Path(ws.data_path, "out", "notes.txt").write_text("mine")
    assert run(ws)["R1", "a"][0] == "done"
    body = "self.path.output.write_text('made')\n(self.path.output.parent / 'notes.txt').write_text('x')"
    Path(ws.scripts_path, "a.py").write_text(script_source("raw/{id}", "out/{id}.txt", body))
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][1] == "ForeignFile"
    assert Path(ws.data_path, "out", "notes.txt").read_text() == "mine"


def test_undeclared_file_never_takes_the_place_of_a_folder(make_workspace, run):
    body = "self.path.output.write_text('made')\n(self.path.output.parent / 'more').write_text('x')"
    ws = make_workspace({"a": ("raw/{id}", "out/{id}", body)}, ["raw/R1", "out/more/notes"])
    assert run(ws)["R1", "a"][1] == "ForeignFile"
    assert files_of(ws.data_path) == {"out/more/notes": "raw;", "raw/R1": "raw;"}


# -- folders


@pytest.mark.parametrize("pattern", ["deriv/{id}/", "deriv/{id}"])
def test_folder_output_keeps_what_a_person_put_into_it(make_workspace, run, pattern):
    ws = make_workspace({"a": ("raw/{id}", pattern, folder_body("x"))}, ["raw/R1"])
    assert run(ws)["R1", "a"][0] == "done"
    notes = Path(ws.data_path, "deriv", "R1", "notes.txt")
    notes.write_text("mine")
    found = run(ws, force=True)["R1", "a"]
    assert found[:2] == ("error", "ForeignFile")
    assert "deriv/R1/notes.txt is a file that this row did not make" in found[2]
    assert "accept" in found[2]
    assert notes.read_text() == "mine"
    notes.unlink()
    assert run(ws, force=True)["R1", "a"][0] == "done"


def test_a_file_that_was_moved_into_a_folder_output_is_kept_whatever_its_time(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x"))}, ["raw/R1", "notes.txt"])
    os.utime(Path(ws.data_path, "notes.txt"), (1, 1))
    assert run(ws)["R1", "a"][0] == "done"
    Path(ws.data_path, "notes.txt").rename(Path(ws.data_path, "deriv", "R1", "notes.txt"))
    assert run(ws, force=True)["R1", "a"][1] == "ForeignFile"


def test_folder_output_is_replaced_where_its_files_changed(make_workspace, script_source, run):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x", "y/z"))}, ["raw/R1"])
    body = folder_body("x", "y").replace("mkdir()", "mkdir()\n(self.path.output / 'sub').mkdir()")
    for names in (("x", "sub/z"), ("sub/w",), ("x",)):
        source = script_source("raw/{id}", "deriv/{id}/", body.replace("('x', 'y')", repr(names)))
        Path(ws.scripts_path, "a.py").write_text(source)
        assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"
        assert sorted(files_of(Path(ws.data_path, "deriv", "R1"))) == sorted(names)
    Path(ws.data_path, "deriv", "R1", "x").write_text("edited by hand")  # a name that is recorded
    assert run(ws, force=True)["R1", "a"][0] == "done"


def test_folder_of_very_many_files_is_known_by_its_fingerprint(make_workspace, script_source, run):
    body = "self.path.output.mkdir()\nfor n in range(1_200):\n    (self.path.output / f'{n}').touch()"
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", body)}, ["raw/R1"])
    assert run(ws)["R1", "a"][0] == "done"
    Path(ws.scripts_path, "a.py").write_text(script_source("raw/{id}", "deriv/{id}/", folder_body("x")))
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"
    made = [json.loads(line)["made"][0] for line in lines_of(ws, "done")]
    assert ("deriv/R1", 1_200, None) in [(one["path"], one["count"], one["names"]) for one in made]


def test_folder_that_is_there_before_the_first_run_is_kept(make_workspace, run):
    outputs = {"dir": "deriv/{id}/", "flag": "flag/{id}"}
    body = """
    self.path.output['dir'].mkdir()
    (self.path.output['dir'] / 'x').touch()
    self.path.output['flag'].touch()
    """
    ws = make_workspace({"a": ("raw/{id}", outputs, body)}, ["raw/R1", "deriv/R1/notes.txt"])
    assert run(ws)["R1", "a"][1] == "ForeignFile"
    assert files_of(ws.data_path) == {"deriv/R1/notes.txt": "raw;", "raw/R1": "raw;"}


def test_folder_in_place_of_a_link_is_refused(make_workspace, run, tmp_path):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x"))}, ["raw/R1"])
    away = tmp_path / "away"
    away.mkdir()
    (away / "x").write_text("mine")
    Path(ws.data_path, "deriv").mkdir()
    Path(ws.data_path, "deriv", "R1").symlink_to(away)
    found = run(ws, force=True)["R1", "a"]
    assert found[1] == "ForeignFile"
    assert "deriv/R1 is a link that this row did not make" in found[2]
    assert (away / "x").read_text() == "mine"


def test_control_that_is_a_folder_keeps_what_a_person_put_into_it(make_workspace, script_source, run):
    body = "self.path.control.mkdir()\n(self.path.control / self.id).touch()\nraise ValueError('no')"
    source = script_source("raw/{id}", "out/{id}", body, PATH_CONTROL="qc/{id}/")
    ws = make_workspace({"a": source}, ["raw/R1", "qc/R1/notes.txt"])
    assert run(ws)["R1", "a"][1] == "ValueError"
    assert files_of(ws.data_path) == {"qc/R1/notes.txt": "raw;", "raw/R1": "raw;"}
    Path(ws.data_path, "qc", "R1", "notes.txt").unlink()
    for _ in range(2):
        assert run(ws)["R1", "a"][1] == "ValueError"
        assert "qc/R1/R1" in files_of(ws.data_path)


def test_rows_that_share_a_folder_each_own_it(make_workspace, run):
    toml = """
    [tasks.A]
    modalities = ["M"]
    [tasks.B]
    modalities = ["M"]
    [modalities.M]
    scripts = ["a"]
    """
    names = "self.path.output.mkdir(); (self.path.output / f'{self.task}').touch()"
    ws = make_workspace({"M/a": ("raw/{id}", "deriv/{id}/", names)}, ["raw/R1"], toml=toml)
    for task in ("A", "B", "A"):
        assert run(ws.get_subscope(task=task), force=True)["R1", "a"][0] == "done"
        assert set(files_of(ws.data_path)) == {f"deriv/R1/{task}", "raw/R1"}
    Path(ws.data_path, "deriv", "R1", "notes.txt").write_text("mine")
    assert run(ws.get_subscope(task="B"), force=True)["R1", "a"][1] == "ForeignFile"


def test_records_that_share_a_folder_each_own_it(make_workspace, run):
    body = "self.path.output.mkdir(); (self.path.output / self.id).touch()"
    ws = make_workspace(
        {"a": ("raw/{sub}.csv", "deriv/{sub}/", body), "b": ("raw/{id}", "b/{id}")},
        ["raw/s1.csv", "raw/s1_1", "raw/s1_2"],
        id_pattern=r"(?P<sub>s\d)_\d",
    )
    for record in ("s1_1", "s1_2", "s1_1"):
        assert run(ws.records[record].steps.filter(step="a"), force=True)[record, "a"][0] == "done"


def test_outputs_folder_of_its_own_keeps_what_is_there(make_workspace, run, tmp_path):
    (tmp_path / "results" / "out").mkdir(parents=True)
    (tmp_path / "results" / "out" / "all.csv").write_text("mine")
    body = "self.path.output.touch()\n(self.path.output.parent / 'all.csv').write_text('x')"
    toml = f'[path]\noutputs = "{tmp_path}/results"\n[steps]\nscripts = ["a"]\n'
    ws = make_workspace({"a": ("raw/{id}", "out/{id}", body)}, ["raw/R1"], toml=toml)
    assert run(ws)["R1", "a"][1] == "ForeignFile"
    assert files_of(tmp_path / "results") == {"out/all.csv": "mine"}


def test_command_keeps_what_a_person_put_into_its_folder(make_workspace, run):
    toml = """
    [steps]
    scripts = ["a"]
    [steps.a]
    command = "cp -r {input} {output}"
    inputs = "raw/{id}"
    outputs = "deriv/{id}/"
    """
    ws = make_workspace({}, ["raw/R1/x"], toml=toml)
    assert run(ws)["R1", "a"][0] == "done"
    Path(ws.data_path, "deriv", "R1", "notes.txt").write_text("mine")
    assert run(ws, force=True)["R1", "a"][1] == "ForeignFile"
    assert Path(ws.data_path, "deriv", "R1", "notes.txt").read_text() == "mine"


# -- what was recorded


def lines_of(ws, event=None):
    lines = [
        line
        for path in sorted(Path(ws.config.log, "journal").rglob("*.ndjson"))
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if event is None or json.loads(line)["event"] == event]


def test_a_compacted_journal_keeps_what_rows_made(make_workspace, run):
    body = folder_body("x") + "(self.path.output.parent / f'{self.id}.png').touch()"
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", body)}, ["raw/R1", "raw/R2"])
    run(ws)
    Path(ws.scripts_path, "a.py").write_text(Path(ws.scripts_path, "a.py").read_text().replace("'x'", "'y'"))
    ws.gc("0h")
    assert not lines_of(ws)
    assert {one[0] for one in run(Workspace(ws.config.root), force=True).values()} == {"done"}
    assert {"deriv/R1/y", "deriv/R1.png"} < set(files_of(ws.data_path))


def without_records(ws):
    """Make the journal that of an older version."""
    for path in Path(ws.config.log, "journal").rglob("*.ndjson"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            event.pop("made", None)
        path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_folder_of_an_older_version_is_replaced_where_nothing_in_it_is_younger(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x"))}, ["raw/R1"])
    run(ws)
    without_records(ws)
    script = Path(ws.scripts_path, "a.py")
    script.write_text(script.read_text().replace("'x'", "'y'"))
    ws = Workspace(ws.config.root)
    Path(ws.data_path, "deriv", "R1", "notes.txt").write_text("mine")
    assert run(ws, force=True)["R1", "a"][1] == "ForeignFile"
    Path(ws.data_path, "deriv", "R1", "notes.txt").unlink()
    assert run(ws, force=True)["R1", "a"][0] == "done"
    assert set(files_of(ws.data_path)) == {"deriv/R1/y", "raw/R1"}


def test_undeclared_file_of_an_older_version_stays_the_rows_own(make_workspace, run):
    body = "self.path.output.touch()\nself.path.output.with_suffix('.png').touch()"
    ws = make_workspace({"a": ("raw/{id}", "out/{id}.txt", body)}, ["raw/R1"])
    run(ws)
    without_records(ws)
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"


def test_an_accepted_state_lets_a_folder_be_replaced(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x"))}, ["raw/R1"])
    run(ws)
    Path(ws.data_path, "deriv", "R1", "notes.txt").write_text("mine")
    assert run(ws, force=True)["R1", "a"][1] == "ForeignFile"
    event = {**json.loads(lines_of(ws, "done")[0]), "event": "accepted", "run_id": "20990101T000000-aaaaaa"}
    del event["made"]
    event["time"] = "2099-01-01T00:00:00.000000Z"
    accepted = Path(ws.config.log, "journal", "20990101T000000-aaaaaa", "main.ndjson")
    accepted.parent.mkdir()
    accepted.write_text(json.dumps(event) + "\n")
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"
    assert set(files_of(ws.data_path)) == {"deriv/R1/x", "raw/R1"}


def a_day_ahead(ws):
    """Make the journal that of a machine whose clock was a day ahead."""
    for path in Path(ws.config.log, "journal").rglob("*.ndjson"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            event["time"] = event["time"].replace(event["time"][:4], "2099")
        path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_what_a_row_made_last_follows_the_numbers_of_claims(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x"))}, ["raw/R1"])
    run(ws)
    a_day_ahead(ws)
    script = Path(ws.scripts_path, "a.py")
    for old, new in (("'x'", "'y'"), ("'y'", "'z'")):
        script.write_text(script.read_text().replace(old, new))
        assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"
    assert set(files_of(ws.data_path)) == {"deriv/R1/z", "raw/R1"}


def test_an_accepted_state_counts_until_the_next_run_whatever_the_clocks_say(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}", "deriv/{id}/", folder_body("x"))}, ["raw/R1"])
    run(ws)
    event = {**json.loads(lines_of(ws, "done")[0]), "event": "accepted", "run_id": "20990101T000000-aaaaaa"}
    del event["made"]
    accepted = Path(ws.config.log, "journal", "20990101T000000-aaaaaa", "main.ndjson")
    accepted.parent.mkdir()
    accepted.write_text(json.dumps({**event, "time": "2099-01-01T00:00:00.000000Z", "claim": 1}) + "\n")
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"
    Path(ws.data_path, "deriv", "R1", "notes.txt").write_text("mine")
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][1] == "ForeignFile"
    accepted.write_text(json.dumps({**event, "time": "2020-01-01T00:00:00.000000Z", "claim": 9}) + "\n")
    assert run(Workspace(ws.config.root), force=True)["R1", "a"][0] == "done"
    assert set(files_of(ws.data_path)) == {"deriv/R1/x", "raw/R1"}


# -- killed in the midst


KILLED = """
import os, signal
def dying(call, end):
    def do(source, *rest, **options):
        if str(rest[0] if rest else source).endswith(end):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(source, *rest, **options)
    return do
"""


def killed_run(folder, *words):
    """Run a workspace in this process' stead, which dies of its script."""
    program = [
        sys.executable,
        "-m",
        "sinagot_catalog",
        "run",
        str(folder),
        "--mode",
        "main_process",
        "-q",
        *words,
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_row_that_was_killed_between_its_two_outputs_is_made_anew(write_workspace, script_source):
    outputs = {"dir": "deriv/{id}/", "flag": "flag/{id}"}
    body = """
    self.path.output['dir'].mkdir()
    (self.path.output['dir'] / NAME).touch()
    self.path.output['flag'].write_text(NAME)
    """
    folder = write_workspace({"a": ("raw/{id}", outputs, body.replace("NAME", "'0'"))}, ["raw/R1"])
    ws = Workspace(folder)
    assert ws.steps.run(mode="main_process", progress=False).ok
    for name in ("'1'", "'2'", "'3'"):  # each kill leaves another state, and each of them is the row's own
        die = "\nos.replace = dying(os.replace, 'flag/R1')"
        source = script_source("raw/{id}", outputs, body.replace("NAME", name) + textwrap.indent(die, "    "))
        Path(folder, "scripts", "a.py").write_text(KILLED + source)
        killed_run(folder, "--force")
        assert Workspace(folder).steps.collect()["reason"].str.contains("half published").all()
        assert Path(ws.data_path, "flag", "R1").read_text() == "0"
    source = script_source("raw/{id}", outputs, body.replace("NAME", "'9'"))
    Path(folder, "scripts", "a.py").write_text(source)
    assert Workspace(folder).steps.run(mode="main_process", progress=False).ok
    assert files_of(ws.data_path) == {"deriv/R1/9": "", "flag/R1": "9", "raw/R1": "raw;"}


BESIDE = """
    self.path.output.write_text("made")
    (self.path.output.parent / "notes.txt").write_text("made")
"""


def killed_beside_notes(write_workspace, script_source, end):
    """A workspace whose run was killed when it was about to move a path with such an end into place."""
    die = BESIDE + f"    os.replace = dying(os.replace, {end!r})\n    os.link = dying(os.link, {end!r})\n"
    source = script_source("raw/{id}", "out/{id}", die)
    folder = write_workspace({"a": KILLED + source}, ["raw/R1"])
    killed_run(folder)
    (folder / "scripts" / "a.py").write_text(script_source("raw/{id}", "out/{id}", BESIDE))
    return folder


def test_undeclared_file_that_a_killed_row_only_announced_is_not_its_own(write_workspace, script_source, run):
    folder = killed_beside_notes(write_workspace, script_source, "notes.txt")
    notes = folder / "dataset" / "out" / "notes.txt"
    assert not notes.exists()
    notes.parent.mkdir(exist_ok=True)
    notes.write_text("mine")
    assert run(Workspace(folder))["R1", "a"][1] == "ForeignFile"
    assert notes.read_text() == "mine"


def test_undeclared_file_that_a_killed_row_published_is_its_own(write_workspace, script_source, run):
    folder = killed_beside_notes(write_workspace, script_source, "out/R1")
    assert (folder / "dataset" / "out" / "notes.txt").read_text() == "made"
    assert not (folder / "dataset" / "out" / "R1").exists()
    assert run(Workspace(folder))["R1", "a"][0] == "done"


def test_folder_that_was_put_aside_by_a_killed_run_is_put_back(write_workspace, script_source):
    """Where two names cannot be exchanged at once, a folder is put aside first."""
    body = folder_body("x")
    folder = write_workspace({"a": ("raw/{id}", "deriv/{id}/", body)}, ["raw/R1"])
    ws = Workspace(folder)
    assert ws.steps.run(mode="main_process", progress=False).ok
    die = """
    import ctypes
    class NoSystem:
        def __init__(self, *_, **__): pass
    ctypes.CDLL = NoSystem
    def rename(source, target, call=os.rename, count=[0]):
        count[0] += "deriv/R1" in f"{source} {target}"
        if count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(source, target)
    os.rename = rename
    """
    source = script_source("raw/{id}", "deriv/{id}/", folder_body("y") + textwrap.dedent(die))
    Path(folder, "scripts", "a.py").write_text(KILLED + source)
    killed_run(folder, "--force")
    names = [path.name for path in Path(ws.data_path, "deriv").iterdir()]
    assert len(names) == 1
    assert names[0].endswith(".old.tmp")
    ws.gc("90d")
    assert files_of(ws.data_path) == {"deriv/R1/x": "R1", "raw/R1": "raw;"}


def test_worker_that_dies_in_the_midst_of_publishing_may_try_again(make_workspace, script_source):
    outputs = {"dir": "deriv/{id}/", "flag": "flag/{id}"}
    body = """
    first = not (self.data_path / "tried").exists()
    (self.data_path / "tried").touch()
    self.path.output['dir'].mkdir()
    (self.path.output['dir'] / ("1" if first else "2")).touch()
    self.path.output['flag'].touch()
    if first:
        os.replace = dying(os.replace, 'flag/R1')
    """
    source = script_source("raw/{id}", outputs, body, RETRIES=1)
    ws = make_workspace({"a": KILLED + source}, ["raw/R1"])
    report = ws.steps.run(mode="processes", progress=False)
    assert report.counts() == {"done": 1}, report.frame["message"].to_list()
    assert Path(ws.data_path, "deriv", "R1", "2").exists()


# -- what is no regular file


SOCKET = """
import os, socket
os.chdir(self.path.output.parent)
one = socket.socket(socket.AF_UNIX)
one.bind(self.id)
one.close()
"""


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (SOCKET, "out/R1 is not a regular file or folder"),
        ("import os; os.mkfifo(self.path.output)", "out/R1 is not a regular file or folder"),
        ("self.path.output.symlink_to('/dev/zero')", "out/R1 is not a regular file or folder"),
        (
            "import os; self.path.output.mkdir(); os.mkfifo(self.path.output / 'pipe')",
            "out/R1/pipe is not a regular file or folder",
        ),
        (
            "self.path.output.mkdir(); (self.path.output / 'link').symlink_to(self.path.input)",
            "out/R1/link is a link that leads out of the output folder",
        ),
        (
            "self.path.output.mkdir(); (self.path.output / 'link').symlink_to('../../raw')",
            "out/R1/link is a link that leads out of the output folder",
        ),
    ],
)
def test_output_that_is_no_regular_file_is_an_error(make_workspace, run, body, sentence):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}", body)}, ["raw/R1"])
    found = run(ws)["R1", "a"]
    assert found[0] == "error"
    assert sentence in found[2].replace("wrote no output: ", "")
    assert files_of(ws.data_path) == {"raw/R1": "raw;"}


def test_link_within_a_folder_output_is_published(make_workspace, run):
    body = (
        "self.path.output.mkdir(); (self.path.output / 'a').touch(); (self.path.output / 'b').symlink_to('a')"
    )
    ws = make_workspace({"a": ("raw/{id}", "out/{id}/", body)}, ["raw/R1"])
    for _ in range(2):
        assert run(ws, force=True)["R1", "a"][0] == "done"
    assert Path(ws.data_path, "out", "R1", "b").readlink() == Path("a")


def test_control_that_is_a_pipe_is_an_error(make_workspace, script_source, run):
    body = "import os; os.mkfifo(self.path.control); self.path.output.touch()"
    source = script_source("raw/{id}", "out/{id}", body, PATH_CONTROL="qc/{id}")
    assert (
        "qc/R1 is not a regular file or folder"
        in run(make_workspace({"a": source}, ["raw/R1"]))["R1", "a"][2]
    )


@pytest.mark.parametrize(
    "make",
    [
        "os.mkfifo(beside)",
        "with socket.socket(socket.AF_UNIX) as one: one.bind(beside.name)",
        "beside.symlink_to('..')",
        "beside.symlink_to('gone')",
    ],
)
def test_what_is_no_file_beside_an_output_is_named_in_the_log_and_gone_before_the_next_row(
    make_workspace, run, make
):
    body = f"""
import os, socket
beside = self.path.output.parent / "beside"
os.chdir(beside.parent)
{make}
self.path.output.write_text(self.id)
"""
    ws = make_workspace({"a": ("raw/{id}", "out/{id}", body)}, ["raw/R1", "raw/R2"])
    found = run(ws, workers=1)
    assert {one[0] for one in found.values()} == {"done"}, found
    said = ws.events().filter(pl.col("message").str.contains("out/beside is not published", literal=True))
    assert sorted(said["record_id"]) == ["R1", "R2"]
    assert sorted(path for path in files_of(ws.data_path) if path.startswith("out")) == ["out/R1", "out/R2"]
    assert not list(Path(ws.data_path).rglob("beside"))


# -- check and empty outputs


def test_what_check_raises_is_an_error_and_nothing_is_published(make_workspace, script_source, run):
    source = script_source("raw/{id}", "out/{id}", PATH_CONTROL="qc/{id}")
    source = source.replace("        read =", "        self.path.control.write_text('seen')\n        read =")
    source += """
    def check(self):
        if self.id == "R1":
            raise ValueError(f"{self.path.output.read_text()} is too short")
"""
    ws = make_workspace({"a": source}, ["raw/R1", "raw/R2"])
    found = run(ws)
    assert found["R1", "a"] == ("error", "ValueError", "raw;a; is too short")
    assert found["R2", "a"][0] == "done"
    assert set(files_of(ws.data_path)) == {"out/R2", "qc/R1", "qc/R2", "raw/R1", "raw/R2"}


def test_check_is_tried_again_with_its_row(make_workspace, script_source, run):
    source = script_source("raw/{id}", "out/{id}", RETRIES=1)
    source += """
    def check(self):
        tried = self.data_path / "tried"
        if not tried.exists():
            tried.touch()
            raise ValueError("not yet")
"""
    assert run(make_workspace({"a": source}, ["raw/R1"]))["R1", "a"][0] == "done"


def test_a_helper_named_check_that_takes_arguments_is_left_alone(make_workspace, script_source, run):
    source = (
        script_source("raw/{id}", "out/{id}") + "\n    def check(self, frame):\n        raise ValueError\n"
    )
    assert run(make_workspace({"a": source}, ["raw/R1"]))["R1", "a"][0] == "done"


def test_a_step_function_has_a_check(make_workspace, run):
    source = """
from sinagot_catalog import step

def is_long(output, id):
    assert len(output.read_text()) > 2, f"{id} is short"

@step(inputs="raw/{id}", outputs="out/{id}", check=is_long)
def a(input, output):
    output.write_text(input.read_text())
"""
    ws = make_workspace({"a": source}, {"raw/R1": "long", "raw/R2": "s"})
    found = run(ws)
    assert found["R1", "a"][0] == "done"
    assert found["R2", "a"][:2] == ("error", "AssertionError")
    assert "R2 is short" in found["R2", "a"][2]


@pytest.mark.parametrize("setting", ["keep", "error"])
def test_empty_outputs_are_kept_or_an_error(make_workspace, run, setting):
    toml = f'[run]\nempty_outputs = "{setting}"\n[steps]\nscripts = ["file", "dir", "full"]\n'
    scripts = {
        "file": ("raw/{id}", "file/{id}", "self.path.output.touch()"),
        "dir": ("raw/{id}", "dir/{id}/", "self.path.output.mkdir(); (self.path.output / 'x').touch()"),
        "full": ("raw/{id}", "full/{id}/", folder_body("x")),
    }
    found = run(make_workspace(scripts, ["raw/R1"], toml=toml))
    outcome = "done" if setting == "keep" else "error"
    assert [found["R1", step][0] for step in scripts] == [outcome, outcome, "done"]
    if setting == "error":
        assert found["R1", "file"][2] == 'file/R1 is empty, and [run] empty_outputs is "error"'


def test_empty_outputs_takes_no_other_word(write_workspace, cli):
    folder = write_workspace({"a": ("raw/{id}", "out/{id}")}, toml='[run]\nempty_outputs = "eror"\n')
    done = cli("run", folder)
    assert done.returncode == 2
    assert "did you mean 'error'?" in done.stderr


# -- links


def test_an_output_folder_that_is_a_link_to_the_raw_data_is_refused(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}.csv", "view/{id}.csv")}, ["raw/R1.csv"])
    Path(ws.data_path, "view").symlink_to("raw")
    found = run(ws, force=True)["R1", "a"]
    assert found[0] == "error"
    assert "is its input 'raw/{id}.csv' (a link leads there)" in found[2]
    assert files_of(Path(ws.data_path, "raw")) == {"R1.csv": "raw;"}


def test_raw_data_behind_a_link_are_not_written_by_their_other_name(make_workspace, run, tmp_path):
    nas = tmp_path / "nas"
    nas.mkdir()
    (nas / "R1.csv").write_text("raw;")
    ws = make_workspace({"a": ("raw/{id}.csv", "view/{id}.csv"), "b": ("raw/{id}.csv", "more/{id}.csv")})
    Path(ws.data_path, "raw").symlink_to(nas)
    Path(ws.data_path, "view").symlink_to(nas)
    Path(ws.data_path, "more").symlink_to(tmp_path)
    found = run(ws.records.filter(pl.lit(True)), force=True)
    assert found["R1", "a"][0] == "error"
    assert found["R1", "b"][0] == "done"
    assert (nas / "R1.csv").read_text() == "raw;"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes links of other users")
def test_a_link_of_another_user_is_not_published_through(make_workspace, run, tmp_path):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}"), "b": ("raw/{id}", "own/{id}")}, ["raw/R1"])
    for name in ("out", "own"):
        (tmp_path / name).mkdir()
        Path(ws.data_path, name).symlink_to(tmp_path / name)
    os.chown(Path(ws.data_path, "out"), 12345, -1, follow_symlinks=False)
    found = run(ws)
    assert "is a link of another user" in found["R1", "a"][2]
    assert found["R1", "b"][0] == "done"


def test_a_folder_that_becomes_a_link_during_the_run_is_refused(make_workspace, run, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    body = f"""
    import os
    self.path.output.touch()
    out = self.data_path / "out"
    if self.id == "R2":
        out.rename({str(tmp_path / "moved")!r})
        out.symlink_to({str(away)!r})
    """
    ws = make_workspace({"a": ("raw/{id}", "out/{id}", body)}, ["raw/R1", "raw/R2", "raw/R3"])
    report = run(ws, workers=1)
    assert report["R1", "a"][0] == "done"
    assert "out: it became a link during the run" in report["R2", "a"][2]
    assert list(away.iterdir()) == []


def test_links_in_log_are_refused_and_nothing_behind_them_is_deleted(make_workspace, cli, tmp_path):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    away = tmp_path / "away"
    for name in (".staging", "claims", "selections", "reports", "journal"):
        folder = away / name / "20200101T000000-abcdef"
        folder.mkdir(parents=True)
        for file in ("w01.ndjson", "x.parquet"):
            (folder / file).write_text("mine")
            os.utime(folder / file, (1, 1))
        Path(ws.config.log).mkdir(exist_ok=True)
        Path(ws.config.log, name).symlink_to(away / name)
        before = files_of(away)
        for verb in (("run",), ("gc", "--keep", "0h")):
            done = cli(*verb, "-C", ws.config.root)
            assert done.returncode == 1, done.stdout
            assert f"LOG/{name} is a link" in done.stderr
        assert files_of(away) == before
        Path(ws.config.log, name).unlink()


def test_log_itself_may_be_a_link(make_workspace, run, tmp_path):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    (tmp_path / "log").mkdir()
    Path(ws.config.log).symlink_to(tmp_path / "log")
    assert run(ws)["R1", "a"][0] == "done"


def test_only_names_of_the_librarys_own_form_are_deleted_in_log(make_workspace, run):
    ws = make_workspace({"a": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    run(ws)
    log = Path(ws.config.log)
    kept = [
        ".staging/notes/a.txt",
        "claims/mine.parquet",
        "claims/mine.tmp",
        "claims/2020.json",
        "selections/cohort.parquet",
        "reports/final.parquet",
        "journal/mine.tmp",
        "journal/20200101T000000-abcdef/notes.txt",
    ]
    gone = [".staging/20200101T000000-abcdef/w01/x", "claims/20200101T000000-abcdef.parquet"]
    for name in (*kept, *gone):
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        (log / name).write_text("mine")
        os.utime(log / name, (1, 1))
    ws.gc("0h")
    assert [name for name in kept if not (log / name).exists()] == []
    assert [name for name in gone if (log / name).exists()] == []


# -- mode and group


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system."""
    shared = Path("/dev/shm")  # noqa: S108 a folder of one's own is made in it
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    folder = Path(tempfile.mkdtemp(dir=shared))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["same", "other"])
def target(request, tmp_path):
    """A folder on this or on another file system."""
    if request.param == "same":
        (tmp_path / "far").mkdir()
        return tmp_path / "far"
    return request.getfixturevalue("elsewhere")


def test_mode_is_as_written_in_place(make_workspace, run, target):
    body = """
    import os
    file, folder = self.path.output["file"], self.path.output["dir"]
    file.write_text("secret")
    os.chmod(file, 0o600)
    folder.mkdir(mode=0o750)
    (folder / "run.sh").touch(mode=0o755)
    """
    ws = make_workspace({"a": ("raw/{id}", {"file": "far/{id}.txt", "dir": "far/{id}/"}, body)}, ["raw/R1"])
    Path(ws.data_path, "far").symlink_to(target)
    umask = os.umask(0o022)
    try:
        for _ in range(2):
            assert run(ws, force=True)["R1", "a"][0] == "done"
    finally:
        os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*")}
    assert modes == {"R1.txt": 0o600, "R1": 0o750, "run.sh": 0o755}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")
def test_a_set_group_id_folder_hands_its_group_on(make_workspace, run, target):
    body = """
    file, folder = self.path.output["file"], self.path.output["dir"]
    file.touch()
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "x").touch()
    """
    ws = make_workspace({"a": ("raw/{id}", {"file": "far/{id}.txt", "dir": "far/{id}/"}, body)}, ["raw/R1"])
    plain = make_workspace({"a": ("raw/{id}", "far/{id}.txt")}, ["raw/R2"], name="plain")
    os.chown(target, -1, 4321)
    target.chmod(0o2775)
    for one in (ws, plain):
        Path(one.data_path, "far").symlink_to(target)
        assert {found[0] for found in run(one).values()} == {"done"}
    assert {path.stat().st_gid for path in target.rglob("*")} == {4321}
    assert (target / "R1").stat().st_mode & stat.S_ISGID
    assert (target / "R1" / "deep").stat().st_mode & stat.S_ISGID


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")
def test_the_group_of_log_does_not_come_along(make_workspace, run):
    ws = make_workspace(
        {"a": ("raw/{id}", "out/{id}"), "b": ("raw/{id}", "dir/{id}/", folder_body("x"))}, ["raw/R1"]
    )
    Path(ws.config.log).mkdir()
    os.chown(ws.config.log, -1, 4321)
    Path(ws.config.log).chmod(0o2775)
    assert {found[0] for found in run(ws).values()} == {"done"}
    made = [path for path in Path(ws.data_path).rglob("*") if "LOG" not in path.parts]
    assert {path.stat().st_gid for path in made} == {os.getegid()}
    assert not Path(ws.data_path, "dir", "R1").stat().st_mode & stat.S_ISGID


# -- --force says what it replaces


def test_force_says_how_much_it_replaces(write_workspace, cli):
    folder = write_workspace(
        {"a": ("raw/{id}", "out/{id}"), "b": ("raw/{id}", "dir/{id}/", folder_body("x", "y"))},
        ["raw/R1", "raw/R2"],
    )
    assert "--force" not in cli("run", folder, "--force", "-q").stderr  # nothing is there yet
    done = cli("run", folder, "--force", "-q")
    assert done.returncode == 0
    assert done.stderr == "--force replaces 4 outputs (20 B)\n"
    assert cli("run", folder, "--force", "--step", "b", "--record", "R1", "-q", "-y").stderr == (
        "--force replaces 1 output (4 B)\n"
    )


@pytest.mark.parametrize(("answer", "code"), [("n", 130), ("", 130), ("y", 0)])
def test_force_asks_on_a_terminal(write_workspace, cli, answer, code):
    import pty

    folder = write_workspace({"a": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    assert cli("run", folder, "-q").returncode == 0
    Path(folder, "dataset", "raw", "R1").write_text("new;")
    program = Path(sys.executable).with_name("sinagot-catalog")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [program, "run", folder, "--force", "-q"], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 1000)
        os.write(ours, f"{answer}\n".encode())
        assert process.wait(300) == code
    os.close(ours)
    assert b"--force replaces 1 output (6 B). Go on?" in said
    text = Path(folder, "dataset", "out", "R1").read_text()
    assert text == ("new;a;" if code == 0 else "raw;a;")


def test_an_output_that_is_again_a_hard_link_to_the_same_file_disturbs_no_other_row(make_workspace, run):
    toml = """
    [records]
    id_pattern = 'R\\d'
    [steps]
    scripts = ["c", "d"]
    [steps.c]
    command = "ln {input} {output}"
    inputs = "raw/{id}"
    outputs = "c/{id}"
    [steps.d]
    command = "sh -c 'mkdir $1; ln $0 $1/x' {input} {output}"
    inputs = "raw/{id}"
    outputs = "d/{id}/"
    [run]
    workers = 1
    """
    ws = make_workspace(toml=toml, files=[f"raw/R{n}" for n in range(6)])
    for _ in range(3):
        assert {outcome for outcome, _, _ in run(ws, force=True).values()} == {"done"}
    assert len(list((Path(ws.data_path) / "c").iterdir())) == 6


def test_a_staged_folder_that_cannot_be_removed_does_not_fail_a_row_that_is_uploaded():
    program = """if True:
        import os, sys
        from pathlib import Path
        from sinagot_catalog.storage import open_store
        from sinagot_catalog.worker.buckets.remote_publisher import RemotePublisher
        store = open_store("memory://bucket")
        publisher = RemotePublisher(store, lambda call: call(), query=store.info, forget=lambda paths: None)
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        folder = Path(sys.argv[1], "out", "R1", "inner")
        folder.mkdir(parents=True)
        (folder / "a").write_text("a")
        folder.chmod(0o555)
        publisher.publish(sys.argv[1], ["out/R1"])
        folder.chmod(0o755)
        print(list(store.tree("out")))
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=300, check=True
        )
    assert done.stdout == "['out/R1/inner/a']\n"
