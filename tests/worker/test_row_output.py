"""What a row prints, done or failed, is kept to a bound and shown."""

import json
import os
from pathlib import Path

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.scripts.row_output import DONE_BOUND, ERROR_BOUND, cut_file, read_ends

MODES = ("processes", "main_process")
TALK = """
print("out of", self.id)
print("err of", self.id, file=sys.stderr)
warnings.warn("warned of " + self.id, UserWarning, stacklevel=1)
logging.getLogger("library").warning("logged of %s", self.id)
"""


def outputs(ws):
    ends = [row for row in ws.events().iter_rows(named=True) if row["event"] in ("done", "error")]
    return {row["record_id"]: row["output"] for row in ends}


@pytest.fixture(params=MODES)
def run(request, make_workspace, script_source):
    def go(body, *, ids=("R1", "R2"), head="import os, sys, logging, warnings, subprocess"):
        body = f"import warnings; warnings.simplefilter('default')\n{body}\nself.path.output.touch()"
        source = script_source("raw/{id}", "out/{id}", body, head=head)
        ws = make_workspace({"work": source}, [f"raw/{one}" for one in ids])
        report = ws.steps.run(mode=request.param, workers=1, progress=False)
        return ws, report

    go.mode = request.param
    return go


def test_what_rows_print_is_kept_also_when_they_are_done(run, capfd):
    ws, report = run(TALK + "if self.id == 'R2': raise ValueError('no')")
    assert report.counts() == {"done": 1, "error": 1}
    for record_id, text in outputs(ws).items():
        # What warns and logs in this process is for pytest, which takes it before it is printed.
        words = ("out of", "err of", *(("warned of", "logged of") if run.mode == "processes" else ()))
        for word in words:
            assert text.count(f"{word} {record_id}") == 1
            assert f"{word} {'R1' if record_id == 'R2' else 'R2'}" not in text
    told = capfd.readouterr()
    if run.mode == "main_process":
        assert "out of R1" in told.out
        assert "err of R1" in told.err


def test_logs_show_what_a_done_row_printed(run, cli):
    ws, _ = run("print('seen once')", ids=("R1",))
    told = cli("logs", "-C", ws.config.root)
    assert told.stdout.count("    seen once") == 1
    assert json.loads(cli("logs", "-C", ws.config.root, "--json").stdout)[-1]["output"] == "seen once\n"
    assert "    seen once" in repr(ws.explain("R1", "work"))


def test_rows_that_print_nothing_have_no_word_of_it_in_the_journal(run):
    ws, _ = run("pass")
    assert outputs(ws) == {"R1": None, "R2": None}
    files = Path(ws.config.log, "journal").rglob("*.ndjson")
    assert not any(b"output" in path.read_bytes() for path in files)


def test_much_output_is_kept_to_its_beginning_and_its_end(run):
    ws, _ = run(
        "print('first')\nfor n in range(60_000): print('line', n)\nprint('last')\n"
        "if self.id == 'R2': raise ValueError"
    )
    found = outputs(ws)
    for record_id, bound in (("R1", DONE_BOUND), ("R2", ERROR_BOUND)):
        text = found[record_id]
        assert text.startswith("first\nline 0\n")
        assert text.endswith("line 59999\nlast\n")
        assert "cut here" in text
        assert len(text) <= bound


def test_what_children_print_is_kept_in_workers(make_workspace, script_source):
    body = "import os; os.system('echo child; echo trouble >&2')\nself.path.output.touch()"
    ws = make_workspace({"work": script_source("raw/{id}", "out/{id}", body)}, ["raw/R1"])
    ws.steps.run(workers=1, progress=False)
    assert outputs(ws)["R1"] == "child\ntrouble\n"


@pytest.mark.parametrize("mode", MODES)
def test_a_program_that_warns_and_ends_well_is_heard(make_workspace, mode):
    toml = """
        [steps]
        scripts = ["warns"]
        [steps.warns]
        command = "sh -c 'echo Warning: {id} >&2; echo made; cp $0 $1' {input} {output}"
        inputs = "raw/{id}"
        outputs = "out/{id}"
    """
    ws = make_workspace({}, ["raw/R1"], toml=toml)
    report = ws.steps.run(mode=mode, workers=1, progress=False)
    assert report.counts() == {"done": 1}, report.failures()
    assert sorted(outputs(ws)["R1"].splitlines()) == ["Warning: R1", "made"]


def test_attempts_before_the_last_are_heard_too(make_workspace, script_source):
    body = (
        "flag = self.data_path / self.id\nprint('attempt', flag.exists())\n"
        "if not flag.exists():\n    flag.touch()\n    raise ValueError\nself.path.output.touch()"
    )
    ws = make_workspace({"work": script_source("raw/{id}", "out/{id}", body, RETRIES=1)}, ["raw/R1"])
    ws.steps.run(workers=1, progress=False)
    assert outputs(ws)["R1"] == "attempt False\nattempt True\n"


def test_in_debug_mode_the_streams_are_the_users(make_workspace, script_source, capsys):
    body = "import sys\nprint(type(sys.stdout).__name__)\nself.path.output.touch()"
    ws = make_workspace({"work": script_source("raw/{id}", "out/{id}", body)}, ["raw/R1"])
    ws.steps.run(debug=True, progress=False)
    assert "Tee" not in capsys.readouterr().out
    assert outputs(ws)["R1"] is None


def test_a_file_that_was_cut_has_its_ends(tmp_path):
    fd = os.open(tmp_path / "printed", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        os.write(fd, b"the row before")
        mark = 14
        os.write(fd, b"begin" + b"x" * 2_000_000 + b"end")
        cut_file(fd, mark)
        text = read_ends(fd, mark, ERROR_BOUND)
        assert os.fstat(fd).st_size < 4 * ERROR_BOUND
        assert text.startswith("begin")
        assert text.endswith("end")
        assert len(text) <= ERROR_BOUND
    finally:
        os.close(fd)


def test_events_of_before_are_read(make_workspace):
    ws = make_workspace({"work": ("raw/{id}", "out/{id}")}, ["raw/R1"])
    ws.steps.run(workers=1, progress=False)
    (path,) = Path(ws.config.log, "journal").rglob("w01.ndjson")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert "output" not in lines[-1]
    assert Workspace(ws.config.root).events()["output"].to_list() == [None, None]
