"""A step may be a program: its arguments are split, then filled; no shell is ever started."""

import os
import shlex
import signal
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from sinagot_catalog.errors import PatternError
from sinagot_catalog.patterns.id_pattern import IdPattern
from sinagot_catalog.scripts.command_step import CommandError, command_script, parse_command

PYTHON = shlex.quote(sys.executable)
IDS = IdPattern(r"(?P<site>[A-Z]+)\d+")


def python(code, *arguments):
    """A command that runs a few lines of Python; braces in it are literal where they hold no name."""
    return " ".join([PYTHON, "-c", shlex.quote(textwrap.dedent(code)), *arguments])


@pytest.fixture(params=["processes", "main_process"])
def mode(request):
    return request.param


@pytest.fixture
def workspace(make_workspace):
    """A workspace of one step that is a program: `clean`, from raw/{id}.txt to clean/{id}.txt."""

    def make(
        command,
        files=("raw/R1.txt",),
        id_pattern=".+",
        more="",
        *,
        inputs="'raw/{id}.txt'",
        name="workspace",
        **options,
    ):
        settings = "\n".join(f"{key} = {value}" for key, value in options.items())
        toml = (
            f'[records]\nid_pattern = "{id_pattern}"\n[steps]\nscripts = ["clean"]\n[steps.clean]\n'
            f"command = '''{command}'''\ninputs = {inputs}\n"
            + ("" if "outputs" in options else "outputs = 'clean/{id}.txt'\n")
            + settings
        )
        return make_workspace({}, files, toml=toml + "\n" + more, name=name)

    return make


def script(command, **attributes):
    return command_script(command, os.curdir, IDS, **attributes)


def ran(ws, **options):
    (row,) = ws.steps.run(progress=False, **options).frame.to_dicts()
    return row


# -- split, then filled ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("cp {input} {output}", ["cp", "/d/raw/R1.txt", "/d/out/R1"]),
        ("x --to={output} '{id} of {site}'", ["x", "--to=/d/out/R1", "R1 of R"]),
        (r"x a\ b 'c d' \"e\" # $HOME `id` *", ["x", "a b", "c d", '"e"', "#", "$HOME", "`id`", "*"]),
        ("awk '{print $1}' '{{id}}' {} {a,b} ''", ["awk", "{print $1}", "{id}", "{}", "{a,b}", ""]),
        ("x {task}.{modality}", ["x", "RS.EEG"]),
    ],
)
def test_a_command_is_split_as_a_shell_would_and_then_filled(command, arguments):
    made = script(command, PATH_IN="raw/{id}.txt", PATH_OUT="out/{id}")
    assert made("R1", data_path="/d", task="RS", modality="EEG")._command() == arguments


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("", "the command is empty"),
        ("cp 'a", "cannot be split into arguments: no closing quotation"),
        ("{input} x", "'{input}' cannot be the program"),
        ("cp {inptu} x", "unknown placeholder {inptu}; did you mean 'input'?"),
        ("cp {zzz} x", "unknown placeholder {zzz}; known here: input, id"),
    ],
)
def test_a_command_that_cannot_be_filled_is_refused(command, fault):
    with pytest.raises(PatternError) as caught:
        parse_command(command, ["input", "id"])
    assert fault in caught.value.message


# -- run --------------------------------------------------------------------------------------------------


def test_a_program_runs_for_each_record(workspace, mode):
    ws = workspace("cp {input} {output}", {"raw/R1.txt": "one", "raw/R2.txt": "two"})
    assert ws.steps.collect()["status"].to_list() == ["DATA_READY", "DATA_READY"]
    assert ws.steps.run(mode=mode, progress=False).ok
    assert Path(ws.data_path, "clean/R2.txt").read_text() == "two"
    assert ws.steps.collect()["status"].to_list() == ["DONE", "DONE"]


@pytest.mark.parametrize(
    "record", ["a b", "$(touch x)", "é+[1]", 'it\'s "so"', "; rm -rf .", "-n", "%s {id}"]
)
def test_whatever_an_id_holds_stays_one_argument(workspace, record):
    ws = workspace("cp {input} {output}", {f"raw/{record}.txt": "one"})
    row = ran(ws, mode="main_process")
    assert (row["outcome"], row["message"]) == ("done", None)
    assert Path(ws.data_path, f"clean/{record}.txt").read_text() == "one"


def test_labels_controls_and_groups_are_filled(workspace, mode):
    code = """
        import sys, pathlib
        a, out, extra, control, said = sys.argv[1:]
        pathlib.Path(out).write_text(pathlib.Path(a).read_text() + said)
        pathlib.Path(extra).write_text("extra")
        pathlib.Path(control).write_text("control")
    """
    ws = workspace(
        python(code, "{input.a}", "{output.x}", "{output.y}", "{control}", "{site}:{id}"),
        {"raw/R1.txt": "one"},
        id_pattern=r"(?P<site>[A-Z])\\d",
        inputs="{a = 'raw/{id}.txt'}",
        outputs="{x = ['x', '{id}.txt'], y = 'y/{site}/{id}.txt'}",
        control="'qc/{id}.txt'",
    )
    row = ran(ws, mode=mode)
    assert row["outcome"] == "done", row
    assert Path(ws.data_path, "x/R1.txt").read_text() == "oneR:R1"
    assert Path(ws.data_path, "y/R/R1.txt").read_text() == "extra"
    assert Path(ws.data_path, "qc/R1.txt").read_text() == "control"


def test_a_program_runs_in_the_scripts_folder(workspace, mode):
    ws = workspace(f"{PYTHON} clean.tool {{input}} {{output}}")
    code = "import sys, shutil; shutil.copy(*sys.argv[1:])"
    Path(ws.config.scripts, "clean.tool").write_text(code)
    assert ran(ws, mode=mode)["outcome"] == "done"


def test_no_script_file_and_no_scripts_folder_is_needed(workspace, mode):
    ws = workspace("cp {input} {output}")
    Path(ws.config.scripts).rmdir()
    assert ran(ws, mode=mode)["outcome"] == "done"


def test_an_exit_code_is_an_error_with_the_last_line_of_standard_error(workspace, mode):
    code = "import sys; print('out'); print('first', file=sys.stderr); sys.exit('no boats  ')"
    ws = workspace(python(code))
    row = ran(ws, mode=mode)
    name = Path(sys.executable).name
    assert (row["outcome"], row["error_type"]) == ("error", "CommandFailed")
    assert row["message"] == f"{name} ended with exit code 1: no boats"
    (step,) = ws.steps.collect().to_dicts()
    assert (step["status"], step["error_type"]) == ("ERROR", "CommandFailed")
    assert not Path(ws.data_path, "clean").exists()


def test_what_a_program_prints_is_kept_as_a_scripts_prints_are(workspace):
    ws = workspace(python("import sys; print('to out'); sys.stdout.flush(); sys.exit('to err')"))
    assert ran(ws, mode="processes")["outcome"] == "error"
    (journal,) = Path(ws.config.log, "journal").glob("*/w*.ndjson")
    text = journal.read_text()
    assert "to out" in text
    assert "to err" in text
    assert '"traceback":' not in text.replace(" ", "") or '"traceback":null' in text.replace(" ", "")


def test_a_program_ended_by_a_signal_is_named_with_it(workspace):
    row = ran(workspace(python("import os; os.kill(os.getpid(), 9)")), mode="main_process")
    assert row["message"].endswith("was ended by signal 9 (killed)")


def test_a_program_that_is_not_found_is_one_sentence(workspace, mode):
    row = ran(workspace("Rskript clean.R {input}"), mode=mode)
    assert (row["outcome"], row["error_type"]) == ("error", "CommandNotFound")
    assert row["message"] == (
        "the program 'Rskript' is not found on PATH: install it, or give its path in the step's command"
    )


def test_a_program_that_cannot_be_started_says_why(tmp_path):
    (tmp_path / "closed").touch(0o600)
    with pytest.raises(CommandError, match=r"^the program '\./gone' is not found in /"):
        script("./gone")("R1").run()
    with pytest.raises(CommandError, match=r"closed' cannot be started: permission denied$"):
        script(shlex.quote(str(tmp_path / "closed")))("R1").run()


def test_a_program_that_wrote_no_output_is_an_error(workspace, mode):
    row = ran(workspace("cat {input}"), mode=mode)
    assert (row["error_type"], row["message"][:16]) == ("OutputMissing", "wrote no output:")


def test_a_program_is_tried_again(workspace, mode, tmp_path):
    trace = tmp_path / "trace"
    code = f"""
        import sys, pathlib
        trace = pathlib.Path({str(trace)!r})
        if not trace.exists():
            trace.touch(), sys.exit("not yet")
        pathlib.Path(sys.argv[1]).write_text("done")
    """
    row = ran(workspace(python(code, "{output}"), retries=1), mode=mode)
    assert (row["outcome"], row["attempts"]) == ("done", 2)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


SLEEPER = """
    import os, pathlib, signal, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    trace = pathlib.Path(sys.argv[1])
    trace.with_suffix(".new").write_text("%s %s" % (os.getpid(), child.pid))
    trace.with_suffix(".new").rename(trace)
    time.sleep(600)
"""


def test_a_time_out_ends_a_program_and_what_it_started(workspace, tmp_path, wait_until):
    trace = tmp_path / "trace"
    for seconds in (2, 16, 128):  # as many as this machine needs to start two programs
        ws = workspace(python(SLEEPER, str(trace)), timeout=seconds, name=f"lab-{seconds}")
        row = ran(ws, mode="processes")
        assert (row["outcome"], row["error_type"]) == ("timeout", "Timeout")
        if trace.exists():
            break
    pids = trace.read_text().split()
    assert len(pids) == 2
    wait_until(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize("mode", ["processes", "main_process"])
def test_an_interrupt_ends_a_program(workspace, tmp_path, wait_until, mode):
    trace = tmp_path / "trace"
    ws = workspace(python(SLEEPER, str(trace)))

    def interrupt():
        wait_until(trace.exists)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ws.steps.run(mode=mode, progress=False)
    thread.join(300)
    program, child = trace.read_text().split()
    wait_until(lambda: not is_alive(program))
    if mode == "processes":
        wait_until(lambda: not is_alive(child))
    elif is_alive(child):
        os.kill(int(child), signal.SIGKILL)


def test_what_a_program_leaves_running_is_not_waited_for(tmp_path):
    leaver = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
        sys.exit("gone")
    """
    with pytest.raises(CommandError, match=r"ended with exit code 1: gone$"):
        script(python(leaver))("R1", path=None).run()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


# -- beside other steps -----------------------------------------------------------------------------------


def test_programs_and_scripts_make_one_chain_in_scoped_mode(make_workspace, mode):
    ws = make_workspace(
        {
            "EEG/last": ("{task}/copy/{id}", "{task}/last/{id}"),
            "MRI/last": ("{task}/copy/{id}", "{task}/mri/{id}"),
        },
        {"RS/raw/R1": "one;", "MMN/raw/R1": "two;"},
        toml="""
        [steps.copy]
        command = "cp {input} {output}"
        inputs = "{task}/raw/{id}"
        outputs = ["{task}", "copy", "{id}"]
        version = 2
        [tasks.RS]
        modalities = ["EEG", "MRI"]
        [tasks.MMN]
        modalities = ["EEG"]
        [modalities.EEG]
        scripts = ["copy", "last"]
        [modalities.MRI]
        scripts = ["last"]
        """,
    )
    assert ws.config.notices == []
    report = ws.steps.run(mode=mode, downstream=True, progress=False)
    assert report.ok, report.frame
    assert Path(ws.data_path, "RS/last/R1").read_text() == "one;last;"
    assert Path(ws.data_path, "MMN/last/R1").read_text() == "two;last;"
    assert Path(ws.data_path, "RS/mri/R1").read_text() == "one;last;"
    step = ws.RS.EEG.get("R1").steps.get("copy")
    assert step.script.path.output == Path(ws.data_path, "RS/copy/R1")


def test_a_program_is_preferred_to_a_script_of_its_name(make_workspace):
    ws = make_workspace(
        {"copy": ("raw/{id}", "script/{id}")},
        ["raw/R1"],
        toml="""
        [steps]
        scripts = ["copy"]
        [steps.copy]
        command = "cp {input} {output}"
        inputs = "raw/{id}"
        outputs = "program/{id}"
        """,
    )
    assert ran(ws, mode="main_process")["outcome"] == "done"
    assert Path(ws.data_path, "program/R1").exists()
