"""Done rows below a row that fails again and again: they run when an input of theirs has changed, and only then."""

from pathlib import Path

import pytest

from sinagot_catalog import Workspace

MODES = ("processes", "main_process")
IDS = r"(?P<sub>s\d)_(?P<run>\d)"

COUNTING = """
from pathlib import Path
from sinagot_catalog import ScriptTemplate, any_of, many, optional
class Script(ScriptTemplate):
    PATH_IN, PATH_OUT = {path_in}, {path_out!r}
    {more}
    def run(self):
        runs = Path(self.data_path).parent / "runs.txt"
        with runs.open("a") as file:
            file.write(f"{{self.label}} {{self.id}}\\n")
        {body}
        self.path.output.write_text("made")
"""

FAIL = "assert (Path(self.data_path).parent / 'repaired').exists() or self.id != 's1_2'"


def script(path_in, path_out, more="", body=""):
    return COUNTING.format(path_in=path_in, path_out=path_out, more=more, body=body)


CLEAN = script("'raw/{id}.txt'", "clean/{id}.txt", body=FAIL)
OPTIONAL = script("{'raw': 'raw/{id}.txt', 'clean': optional('clean/{id}.txt')}", "plot/{id}.txt")
PARTIAL = script("'clean/{id}.txt'", "avg/{sub}.txt", "BY = ('sub',); PARTIAL = True")
STEPS = {
    "clean": CLEAN,
    "plot": OPTIONAL,
    "page": script("'plot/{id}.txt'", "page/{id}.txt"),
    "avg": PARTIAL,
    "grand": script("'avg/{sub}.txt'", "grand.txt", "BY = ()"),
}
FILES = [f"raw/s1_{run}.txt" for run in (1, 2, 3)]
BELOW = {"plot s1_2", "page s1_2", "avg sub=s1", "grand dataset=all"}


def fresh_runs(ws):
    """The rows that ran since the last call."""
    path = Path(ws.data_path).parent / "runs.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(lines)


def repair(ws):
    (Path(ws.data_path).parent / "repaired").touch()


@pytest.fixture
def failed(make_workspace):
    """A workspace in which all is done but one row, which failed."""
    ws = make_workspace(STEPS, FILES, id_pattern=IDS)
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 10, "error": 1}
    assert not any(ws.steps.select("stale")["stale"])
    fresh_runs(ws)
    return ws


@pytest.mark.parametrize("mode", MODES)
def test_a_row_that_fails_each_time_makes_no_done_row_run_again(failed, mode):
    for _ in range(2):
        report = failed.steps.run(stale=True, mode=mode, progress=False)
        assert report.counts() == {"error": 1, "already_done": 4}
        assert fresh_runs(failed) == ["clean s1_2"]
    repair(failed)
    assert failed.steps.run(stale=True, mode=mode, progress=False).counts() == {"done": 5}
    assert set(fresh_runs(failed)) == {"clean s1_2", *BELOW}
    assert failed.steps.run(stale=True, mode=mode, progress=False).counts() == {}
    assert not any(failed.steps.select("stale")["stale"])


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_runs_no_done_row_after_a_failed_one_either(failed):
    report = failed.steps.submit(stale=True).wait()
    assert report.counts() == {"error": 1, "already_done": 4}
    repair(failed)
    assert failed.steps.submit(stale=True).wait().counts() == {"done": 5}
    assert set(fresh_runs(failed)) == {"clean s1_2", *BELOW}


def test_a_plan_says_that_done_rows_run_only_if_an_input_changes(failed, cli):
    assert failed.steps.plan(stale=True).frame.filter(action="run").select("step", "reason").rows() == [
        ("clean", "again: AssertionError: AssertionError without a message"),
        ("plot", "after clean, if an input changes"),
        ("page", "after plot, if an input changes"),
        ("avg", "after clean, if an input changes"),
        ("grand", "after avg, if an input changes"),
    ]
    folder = Path(failed.scripts_path).parent
    assert "after clean, if an input changes" in cli("plan", folder, "--stale").stdout
    result = cli("run", folder, "--stale", "-q")
    assert result.returncode == 3
    assert "1 failed, 4 done already" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        {"step_label": "clean", "downstream": True, "stale": True},
        {"step_label": ["clean", "plot", "page", "avg", "grand"], "stale": True},
        {"ignore_missing": True, "stale": True},
    ],
    ids=["downstream", "named steps", "ignore_missing"],
)
def test_other_options_keep_the_rule(failed, options):
    failed.steps.run(**options, mode="main_process", progress=False)
    assert fresh_runs(failed) == ["clean s1_2"]
    repair(failed)
    failed.steps.run(**options, mode="main_process", progress=False)
    assert set(fresh_runs(failed)) == {"clean s1_2", *BELOW}


def test_a_forced_row_runs_also_after_a_failed_one(failed):
    only = failed.steps.filter(record_id="s1_2")
    report = only.run(stale=True, force=True, mode="main_process", progress=False)
    assert fresh_runs(failed) == ["clean s1_2", "page s1_2", "plot s1_2"]
    assert report.counts() == {"done": 2, "error": 1}


def test_a_stale_row_runs_also_after_a_failed_one(failed):
    (Path(failed.data_path) / "raw/s1_2.txt").write_text("another recording")
    report = failed.refresh().steps.run(stale=True, mode="main_process", progress=False)
    assert fresh_runs(failed) == ["clean s1_2", "page s1_2", "plot s1_2"]
    assert report.counts() == {"error": 1, "done": 2, "already_done": 2}


def test_a_done_row_runs_if_its_output_goes_before_its_turn(failed):
    plot = Path(failed.data_path, "plot/s1_2.txt")
    script = Path(failed.scripts_path, "clean.py")
    script.write_text(script.read_text().replace(FAIL, f"Path({str(plot)!r}).unlink(); {FAIL}"))
    failed.steps.filter(record_id="s1_2").run(stale=True, mode="main_process", progress=False)
    assert "plot s1_2" in fresh_runs(failed)


def test_rerun_on_and_retry_changed_keep_the_rule(make_workspace):
    toml = f"[records]\nid_pattern = '{IDS}'\n[run]\nretry = 'changed'\nrerun_on = ['input']\n"
    ws = make_workspace(STEPS, FILES, toml=toml)
    ws.steps.run(mode="main_process", progress=False)
    fresh_runs(ws)
    assert ws.steps.run(mode="main_process", progress=False).counts() == {}
    for _ in range(2):  # who names steps has failed rows tried again
        ws.steps.run(list(STEPS), mode="main_process", progress=False)
        assert fresh_runs(ws) == ["clean s1_2"]
    repair(ws)
    ws.steps.run(list(STEPS), mode="main_process", progress=False)
    assert set(fresh_runs(ws)) == {"clean s1_2", *BELOW}


def test_a_command_keeps_the_rule(write_workspace):
    toml = """
[steps]
scripts = ["clean", "plot"]
[steps.clean]
command = "python3 clean.py {input} {output}"
inputs = "raw/{id}.txt"
outputs = "clean/{id}.txt"
[steps.plot]
command = "python3 plot.py {output} {input.clean}"
outputs = "plot/{id}.txt"
[steps.plot.inputs]
raw = "raw/{id}.txt"
clean = {path = "clean/{id}.txt", optional = true}
"""
    ws = Workspace(write_workspace({}, ["raw/R1.txt"], toml=toml))
    scripts, plot = Path(ws.scripts_path), Path(ws.data_path, "plot/R1.txt")
    (scripts / "clean.py").write_text("raise SystemExit(1)")
    (scripts / "plot.py").write_text("import sys; open(sys.argv[1], 'w').write(str(len(sys.argv)))")
    assert ws.steps.run(mode="main_process", progress=False).counts() == {"done": 1, "error": 1}
    made = plot.stat().st_ino
    report = ws.steps.run(stale=True, mode="main_process", progress=False)
    assert report.counts() == {"error": 1, "already_done": 1}
    assert (plot.read_text(), plot.stat().st_ino) == ("2", made)
    (scripts / "clean.py").write_text("import shutil, sys; shutil.copyfile(*sys.argv[1:])")
    assert ws.steps.run(stale=True, mode="main_process", progress=False).counts() == {"done": 2}
    assert plot.read_text() == "3"


def test_a_bucket_keeps_the_rule(make_workspace):
    import fsspec

    ws = make_workspace(STEPS, FILES, id_pattern=IDS)
    fs = fsspec.filesystem("memory")
    for path in FILES:
        fs.pipe_file(f"/after-failures/{path}", b"x")
    remote = Workspace(Path(ws.scripts_path).parent, "memory://after-failures")
    assert remote.steps.run(mode="main_process", progress=False).counts() == {"done": 10, "error": 1}
    for _ in range(2):
        report = remote.steps.run(stale=True, mode="main_process", progress=False)
        assert report.counts() == {"error": 1, "already_done": 4}


KEEP_TIME = """
import os
from sinagot_catalog import ScriptTemplate
class Script(ScriptTemplate):
    PATH_IN, PATH_OUT, VERSION = "raw/{id}.txt", "clean/{id}.txt", "1"
    def run(self):
        self.path.output.write_text(f"by {self.VERSION}")
        time = self.path.input.stat().st_mtime_ns
        os.utime(self.path.output, ns=(time, time))
"""


@pytest.mark.parametrize("mode", MODES)
def test_a_new_input_counts_also_if_its_step_gives_it_the_size_and_the_time_of_the_old_one(
    make_workspace, mode
):
    copy = script("'clean/{id}.txt'", "copy/{id}.txt").replace('"made"', "self.path.input.read_text()")
    ws = make_workspace({"clean": KEEP_TIME, "copy": copy}, ["raw/R1.txt"])
    ws.steps.run(mode=mode, progress=False)
    clean = Path(ws.scripts_path, "clean.py")
    clean.write_text(KEEP_TIME.replace('"1"', '"2"'))
    report = Workspace(clean.parents[1]).steps.run(stale=True, mode=mode, progress=False)
    assert report.counts() == {"done": 2}
    assert Path(ws.data_path, "copy/R1.txt").read_text() == "by 2"
