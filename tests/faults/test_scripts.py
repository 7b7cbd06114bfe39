"""Scripts that misbehave: what it costs is their own row, and the journal says what it was."""

# ruff: noqa: E501, ISC004 - tables of cases read by line

import sys
import time
from functools import partial
from pathlib import Path

import pytest

IDS = [f"R{number}" for number in range(6)]


@pytest.fixture
def run(make_workspace):
    """Run a body for R0 to R5 in two worker processes; the body may ask `if self.id == 'R1'`."""

    def go(body, *, toml="", head="", **options):
        body = f"""
{body}
        self.path.output.write_text(self.id)
        """
        source = "\n".join(
            [
                "import ctypes, os, signal, subprocess, sys, threading, time, resource",
                head,
                "from sinagot_catalog import ScriptTemplate",
                "class Script(ScriptTemplate):",
                "    PATH_IN = 'raw/{id}'",
                "    PATH_OUT = 'out/{id}'",
                *(f"    {name} = {value!r}" for name, value in options.items()),
                "    def run(self):",
                body,
            ]
        )
        ws = make_workspace({"work": source}, [f"raw/{one}" for one in IDS], toml=toml)
        report = ws.steps.run(workers=2, progress=False)
        return ws, {row["record_id"]: row for row in report.frame.iter_rows(named=True)}

    return go


def the_others_are_done(rows, *bad):
    assert {one: rows[one]["outcome"] for one in IDS if one not in bad} == {
        one: "done" for one in IDS if one not in bad
    }


def event_of(ws, record_id):
    return ws.events().filter(record_id=record_id, event="error").row(-1, named=True)


# What a script does for R1 alone, the type of its error, and a part of its message.
BODIES = {
    "an endless recursion": (
        "sys.setrecursionlimit(10**9) if False else None; f = lambda: f(); f()",
        "RecursionError",
        "recursion",
    ),
    "a message of 100 MB": ("raise ValueError('x' * 100_000_000)", "ValueError", "characters cut"),
    "an error that cannot be pickled": (
        "raise type('Odd', (Exception,), {'__reduce__': lambda s: 1 / 0, '__init__': lambda s, *a: setattr(s, 'lock', threading.Lock())})()",
        "Odd",
        "without a message",
    ),
    "an error whose text fails": (
        "raise type('Mute', (Exception,), {'__str__': lambda s: 1 / 0})()",
        "Mute",
        "cannot be read",
    ),
    "an error that is no Exception": ("raise type('Base', (BaseException,), {})('bare')", "Base", "bare"),
    "a group of errors": (
        "raise ExceptionGroup('two', [ValueError(1), TypeError(2)])",
        "ExceptionGroup",
        "two (2 sub-exceptions)",
    ),
    "an output beside its staging": (
        "os.makedirs(self.data_path / 'out', exist_ok=True); (self.data_path / 'out' / self.id).write_text('x'); return",
        "OutputMissing",
        "was written to its final path: write to self.path.output",
    ),
    "staging taken away": (
        "import shutil; shutil.rmtree(self.path.output.parent.parent); return",
        "OutputMissing",
        "is missing after run()",
    ),
    "its descriptors closed": (
        "os.closerange(3, 200)",
        "WorkerDied",
        "closed files of its process that it did not open",
    ),
    "its descriptors closed, and an error": (
        "os.closerange(3, 200); raise ValueError",
        "WorkerDied",
        "closed files of its process",
    ),
    "its descriptors closed, and it goes on": (
        "os.closerange(3, 200); time.sleep(60)",
        "WorkerDied",
        "closed files of its process",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_what_goes_wrong_in_a_row_stays_in_it(run, name):
    body, error_type, message = BODIES[name]
    ws, rows = run(f"        if self.id == 'R1': {body}")
    assert rows["R1"]["outcome"] == "error"
    the_others_are_done(rows, "R1")
    assert error_type in rows["R1"]["error_type"]
    assert message in rows["R1"]["message"]
    assert len(rows["R1"]["message"]) < 3_000
    event = event_of(ws, "R1")
    assert len(event["message"] + (event["traceback"] or "")) < 200_000
    assert message in event["message"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts what a process allocates")
def test_memory_beyond_its_limit_fails_the_row_and_the_worker_goes_on(run):
    ws, rows = run(
        "        if self.id == 'R1': bytearray(10 * 2**30)\n"
        "        if self.id == 'R3': [bytearray(2**20) for _ in range(2000)]\n"
        "        if self.id == 'R4': subprocess.run([sys.executable, '-c', 'bytearray(2**30)'], check=True, stderr=-3)",
        toml="[run]\nmemory_limit = '500 MB'\n",
    )
    the_others_are_done(rows, "R1", "R3", "R4")
    for one in ("R1", "R3"):
        assert rows[one]["error_type"] == "MemoryError"
        assert rows[one]["message"] == "ran past memory_limit of 500.0 MB"
    assert rows["R4"]["error_type"] == "CalledProcessError"  # what it starts is bound by it, too
    assert event_of(ws, "R1")["traceback"].count("bytearray(10 * 2**30)") == 1


def test_end_of_endless_output_is_kept(run):
    ws, rows = run(
        "        if self.id == 'R1':\n"
        "            for n in range(40):\n"
        "                print('y' * 99_999, flush=True)\n"
        "                sys.stderr.write('z' * 99_999)\n"
        "                time.sleep(0.02)\n"
        "            print('the last word', flush=True)\n"
        "            raise ValueError('enough')"
    )
    the_others_are_done(rows, "R1")
    output = event_of(ws, "R1")["output"]
    assert output.endswith("the last word\n")
    assert 10_000 < len(output) < 70_000
    assert sum(path.stat().st_size for path in Path(ws.config.log).rglob("*.ndjson")) < 200_000


def test_worker_whose_script_spoils_signals_folder_and_environment_runs_the_next_rows(run, tmp_path):
    _, rows = run(
        f"        os.makedirs({str(tmp_path / 'away')!r}, exist_ok=True)\n"
        "        assert os.environ.get('SPOILT') is None, 'environment'\n"
        "        assert os.umask(0o777) != 0o777, 'umask'\n"
        f"        assert os.getcwd() != {str(tmp_path / 'away')!r}, 'folder'\n"
        f"        os.chdir({str(tmp_path / 'away')!r}); os.environ['SPOILT'] = '1'; os.environ.pop('PATH', None)\n"
        "        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(one, signal.SIG_IGN)\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "        sys.stdout = None; sys.argv[:] = ['x']; os.umask(0o022)"
    )
    the_others_are_done(rows)


def test_script_that_ignores_signals_is_ended_past_its_time(make_workspace, script_source):
    began = time.monotonic()
    ignores = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    late = f"{ignores}while True:\n    try: time.sleep(60)\n    except BaseException: pass"
    scripts = {
        "work": ("raw/{id}", "out/{id}", f"{ignores}self.path.output.write_text(self.id)"),
        "late": script_source("late/{id}", "never/{id}", late, TIMEOUT=0.5),
    }
    ws = make_workspace(scripts, [*(f"raw/{one}" for one in IDS), "late/R1"])
    report = ws.steps.run(workers=2, progress=False)
    rows = {row["record_id"]: row for row in report.frame.filter(step="work").iter_rows(named=True)}
    the_others_are_done(rows)
    [row] = report.frame.filter(step="late").to_dicts()
    assert (row["outcome"], row["message"]) == ("timeout", "ran past its TIMEOUT of 0.5 s")
    assert time.monotonic() - began < 200


def has_ended(stat):
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_threads_and_children_that_do_not_end_do_not_keep_the_run(run, tmp_path, wait_until):
    began = time.monotonic()
    _, rows = run(
        "        threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "        child = subprocess.Popen(['sleep', '600'])\n"
        f"        open({str(tmp_path)!r} + f'/{{self.id}}.pid', 'w').write(str(child.pid))"
    )
    the_others_are_done(rows)
    assert time.monotonic() - began < 300
    for path in tmp_path.glob("*.pid"):
        wait_until(partial(has_ended, Path(f"/proc/{path.read_text()}/stat")))


SOURCES = {
    "a syntax error": (b"class Script(:\n", "scripts/work.py:1: SyntaxError: invalid syntax"),
    "no UTF-8": (b"x = '\xff'\n", "work.py"),
    "an import that is not there": (
        b"import no_such_thing\nfrom sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        b"    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'out/{id}'\n    def run(self): pass\n",
        "No module named 'no_such_thing'",
    ),
    "an end of the process on import": (
        b"import os\nfrom sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        b"    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'out/{id}'\n    def run(self): pass\nos._exit(7)\n",
        "ended its process with exit code 7",
    ),
    "an import without end": (
        b"import time\nfrom sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
        b"    PATH_IN = 'raw/{id}'\n    PATH_OUT = 'out/{id}'\n    TIMEOUT = 0.5\n    def run(self): pass\ntime.sleep(600)\n",
        "ran past its TIMEOUT of 0.5 s",
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_script_that_cannot_be_loaded_fails_its_rows_with_a_sentence(make_workspace, name):
    source, sentence = SOURCES[name]
    ws = make_workspace({"fine": ("raw/{id}", "fine/{id}"), "work": ""}, ["raw/R0", "raw/R1"])
    Path(ws.scripts_path, "work.py").write_bytes(source)
    report = ws.refresh().steps.run(workers=2, progress=False)
    assert not report.ok
    messages = report.failures()["message"].to_list()
    assert len(messages) == 2
    assert all(sentence in one for one in messages), messages
    assert Path(ws.data_path).is_dir()
