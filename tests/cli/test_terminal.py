"""What commands look like on a terminal, which is a real pseudo-terminal here."""

import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

import pytest

from sinagot_catalog.cli.parser.app import APP

pytestmark = pytest.mark.slow


@pytest.fixture
def on_terminal():
    """Run the command on a terminal so many characters wide; gives its code and what was on the screen.

    `seen` is a pattern and a file: the file is made as soon as the pattern was on the screen.
    """

    def call(width, *words, seen=None, **environment):
        program = str(Path(sys.executable).with_name("sinagot-catalog"))
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        pid = os.posix_spawn(
            program,
            [program, *map(str, words)],
            {**kept, "TERM": "xterm", **environment},
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs, one) for one in (0, 1, 2)],
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so at the end
                break
            if not part:
                break
            shown += part
            if seen is not None and re.search(seen[0].encode(), shown):
                seen[1].touch()
        os.close(ours)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    return call


def test_tables_fit_a_narrow_terminal_and_have_colours(on_terminal, harbor_folder):
    code, shown = on_terminal(44, "ls", "steps", "-C", harbor_folder)
    assert code == 0
    assert "\x1b[36mREADY \x1b[0m" in shown
    lines = re.sub(r"\x1b\[\d*m", "", shown).splitlines()
    assert max(map(len, lines)) <= 44
    assert lines[1].startswith("REC-20200601  count")
    assert "…" in lines[1]


def test_no_color_is_heeded(on_terminal, harbor_folder):
    code, shown = on_terminal(100, "status", harbor_folder, NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in shown


def test_a_run_shows_a_bar_and_ends_with_one_line(on_terminal, harbor_folder):
    code, shown = on_terminal(100, "run", harbor_folder, "--mode", "main_process")
    assert code == 0
    assert "9 of 9" in shown
    assert re.search(r"9 done in \d+\.\d s", shown.splitlines()[-1])


def test_status_has_bars_where_there_is_room(on_terminal, harbor, harbor_folder):
    harbor.records.get("REC-20200601").steps.run(mode="main_process", progress=False)
    _, shown = on_terminal(120, "status", harbor_folder)
    lines = re.sub(r"\x1b\[\d*m", "", shown).splitlines()
    count, total = lines[2], lines[5]
    assert count.endswith("██████░░░░░░░░░░░░░░  33%")
    assert total.endswith("  33%")
    assert len({len(line) for line in lines[2:6]}) == 1
    assert max(map(len, lines[1:6])) <= 120
    _, narrow = on_terminal(70, "status", harbor_folder)
    assert "█" not in narrow
    _, ascii_only = on_terminal(120, "status", harbor_folder, PYTHONIOENCODING="ascii")
    assert "█" not in ascii_only


TITLE = "\x1b]0;owned\x07"
HIDDEN = "\x1b[8mhidden\x1b[0m"
BENT = "R1\u202egpj\x9b2J\r"


@pytest.fixture
def steering_folder(write_workspace, script_source):
    """A workspace in which names of files, messages, types of errors and prints hold escape sequences."""
    body = f"""
        print("said {TITLE}")
        self.logger.warning("warned {HIDDEN}")
        raise type("Bad{TITLE}", (Exception,), {{}})("broken {TITLE} {HIDDEN} \\x9b2J")
    """.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    names = [f"raw/{name}.csv" for name in (f"A{TITLE}", f"B{HIDDEN}", f"C{BENT}", "D")]
    return write_workspace(
        {"one": script_source("raw/{id}.csv", "one/{id}.csv", body)},
        names,
        toml="[records]\nid_pattern = '.+'\n",
    )


def is_harmless(shown):
    """Whether a screen was sent nothing but text, colours, and the moves of a bar."""
    without = re.sub(
        r"\x1b\[(?:[012]|[39][0-7]|38;5;\d+)?m|\x1b\[(?:\d*[AK]|2K|1A|\?25[hl])|\r\n|\r(?=\x1b\[2K)",
        "",
        shown,
    )
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", without), repr(without)
    assert "\x1b[8m" not in shown
    return True


COMMANDS = [
    ("status",),
    ("ls", "steps"),
    ("ls", "records"),
    ("ls", "files", "--columns", "path,record_id"),
    ("ls", "events", "--columns", "record_id,error_type,message,traceback"),
    ("plan",),
    ("logs",),
    ("logs", "--failed"),
    ("logs", "--group"),
    ("explain", f"A{TITLE}", "one"),
    ("explain", f"C{BENT}", "one"),
    ("explain", f"Z{TITLE}", f"two{TITLE}"),
    ("ls", "steps", "--csv"),
    ("ls", "steps", "--json"),
    ("logs", "--csv"),
    ("plan", "--json"),
    ("ls", "steps", "--where", f"record_id = '{TITLE}' AND"),
    ("ls", f"{TITLE}"),
    ("run", "--record", f"B{HIDDEN}"),
    ("doctor",),
]


def test_nothing_that_a_workspace_holds_steers_the_terminal(on_terminal, cli, steering_folder):
    assert cli("run", steering_folder, "--record", "D").returncode == 3
    for verb, *rest in COMMANDS:
        code, shown = on_terminal(200, verb, "-C", steering_folder, *rest)
        assert code in (0, 2, 3), shown
        assert is_harmless(shown)


def test_rows_for_programs_are_exact(cli, steering_folder):
    done = cli("ls", "files", "-C", steering_folder, "--csv", "--columns", "path")
    assert f"raw/A{TITLE}.csv" in done.stdout
    assert f"raw/B{HIDDEN}.csv" in done.stdout
    rows = json.loads(cli("ls", "files", "-C", steering_folder, "--json", "--columns", "path").stdout)
    assert sorted(row["path"] for row in rows)[:2] == [f"raw/A{TITLE}.csv", f"raw/B{HIDDEN}.csv"]


def test_names_that_would_steer_the_shell_are_not_completed(cli, steering_folder):
    words = ("completion", "bash", "sinagot-catalog", "run", "-C", str(steering_folder), "--record", "")
    assert cli(*words).stdout == "D\n"


def test_the_bar_has_the_step_the_time_left_and_the_numbers_of_the_summary(on_terminal, write_workspace):
    fail = (
        "import time; time.sleep(0.05)\nif self.id > 'R6': raise ValueError\nself.path.output.write_text('')"
    )
    scripts = {
        "broken": ("raw/{id}", "raw/{id}"),
        "first": ("raw/{id}", "first/{id}", fail),
        "second": ("first/{id}", "second/{id}"),
    }
    folder = write_workspace(scripts, [f"raw/R{n}" for n in range(1, 9)])
    for columns in (80, 40):
        _, shown = on_terminal(columns, "run", folder, "--mode", "main_process", "--force", "--yes")
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
        states = [one.strip() for one in text.split("\r")]
        bars = [one for one in states if "━" in one]
        assert all(len(one) <= columns for one in bars)
        assert all(
            re.search(r"( 24( rows)?|failed|blocked| left|rows/s|, first|, second)$", one) for one in bars
        )
        assert any(re.search(r"━ \d+ of 24, (8|9|10) failed", one) for one in states)
    assert "12 done" in text
    assert "10 failed, 2 blocked" in text


def test_the_bar_on_80_columns_shows_rate_time_left_and_step(on_terminal, write_workspace, tmp_path):
    seen = (r"\d of 8, about [\d.]+ s left, [\d.]+ rows/s, slow", tmp_path / "seen")
    body = f"""
        import pathlib, time
        end = time.monotonic() + 300
        while self.id == "R5" and not pathlib.Path({str(seen[1])!r}).exists() and time.monotonic() < end:
            time.sleep(0.01)
        self.path.output.write_text('')
    """
    folder = write_workspace({"slow": ("raw/{id}", "slow/{id}", body)}, [f"raw/R{n}" for n in range(1, 9)])
    _, shown = on_terminal(80, "run", folder, "--mode", "main_process", seen=seen)
    assert re.search(seen[0], shown)


def test_paths_keep_both_ends_where_there_is_little_room(on_terminal, write_workspace):
    folder = write_workspace(
        {"filter_and_average": ("raw/{id}/eeg/signals/recording.csv", "out/{id}")},
        ["raw/R1/eeg/signals/recording.csv"],
    )
    _, shown = on_terminal(80, "ls", "files", "-C", folder)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("raw/R1/eeg/s…cording.csv ")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", lines[1])


def test_status_leaves_out_zeros_before_it_cuts_a_name(on_terminal, write_workspace):
    toml = """
    [records]
    id_pattern = 'R\\d'
    [tasks.RS]
    modalities = ["physiology"]
    [modalities.physiology]
    scripts = ["filter_and_average_signals"]
    """
    scripts = {"physiology/filter_and_average_signals": ("raw/{id}", "out/{id}")}
    folder = write_workspace(scripts, ["raw/R1"], toml=toml)
    _, shown = on_terminal(80, "status", folder, NO_COLOR="1")
    lines = shown.splitlines()
    assert max(map(len, lines[:4])) <= 80
    assert "filter_and_average_signals" in lines[2]
    assert "READY" in lines[1]
    assert "RUNNING" not in lines[1]
    _, shown = on_terminal(120, "status", folder, NO_COLOR="1")
    assert "RUNNING" in shown


def test_notes_are_broken_between_words(on_terminal, write_workspace):
    folder = write_workspace({"a": ("raw/{id}-raw.csv", "a/{id}")}, ["raw/R1-raw.csv", "raw/R1.2-raw.csv"])
    _, shown = on_terminal(60, "status", folder, NO_COLOR="1")
    lines = shown.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("note: "))
    assert lines[first + 1].startswith("      ")
    assert max(map(len, lines[first : first + 2])) <= 60
    assert "raw/R1.2-raw.csv" in shown


@pytest.fixture
def long_names(write_workspace):
    """A workspace with long ids and names of steps, where one step fails on some records and one waits for it."""
    names = [f"sub-{n:02d}_ses-2025-01-14_task-eyesclosedresting_run-01" for n in range(1, 5)]
    fail = """
        if self.id > "sub-02":
            raise ValueError("the channels do not fit those of the montage file standard_1020.csv")
        self.path.output.write_text("")
    """
    steps = {
        "independent_component_analysis": ("raw/{id}.csv", "made/components/{id}_components.csv", fail),
        "averaged_power_spectral_density": ("made/components/{id}_components.csv", "made/psd/{id}.csv"),
    }
    return write_workspace(steps, [f"raw/{name}.csv" for name in names], id_pattern=r"sub-\d\d_[\w-]+")


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("plan",),
        ("run", "--mode", "main_process"),
        ("ls", "units"),
        ("ls", "records"),
        ("ls", "files"),
        ("ls", "steps"),
        ("ls", "events"),
        ("ls", "links"),
        ("doctor",),
    ],
)
def test_nothing_is_broken_in_a_word_with_long_names_on_80_columns(on_terminal, cli, long_names, words):
    if words[0] != "run":
        cli("run", long_names, "--mode", "main_process")
    at = ("-C", long_names) if words[0] == "ls" else (long_names,)
    _, shown = on_terminal(80, words[0], *at, *words[1:], NO_COLOR="1")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line for part in text.splitlines() for line in part.split("\r") if str(long_names) not in line]
    assert max(map(len, lines)) <= 80
    assert not re.search(r"\d\d:\d\d:?\d?…", text)


def test_failures_are_broken_between_words(on_terminal, cli, long_names):
    cli("run", long_names, "--mode", "main_process")
    for words in (("status",), ("logs", "--failed", "--group"), ("run", "--mode", "main_process")):
        _, shown = on_terminal(80, words[0], "-C", long_names, *words[1:], NO_COLOR="1")
        text = " ".join(shown.split())
        assert re.search(
            r"ValueError: the channels do not fit those of the montage file standard_(1020|…).csv", text
        )
        lines = [line for line in shown.splitlines() if "channels" in line and "sinagot-catalog " not in line]
        assert all(len(line) <= 80 for line in lines if "\r" not in line)


@pytest.mark.parametrize("verb", ["", *APP.list_commands(None)])
def test_the_sentences_of_help_fit_80_columns(on_terminal, verb):
    _, shown = on_terminal(80, *verb.split(), "--help")
    lines = shown.splitlines()
    long = [line for line in lines if len(line) > 80]
    assert all(
        line.startswith(("  sinagot-catalog ", "  eval ")) and "   " not in line.strip() for line in long
    )  # a command can be copied
    assert not [line for line in lines if line.endswith("-") and not line.endswith(" -")]


def test_counts_of_done_and_failed_rows_are_left_out_last(on_terminal, write_workspace):
    toml = "[records]\nmetadata = 'people.csv'\nid_pattern = 'R.+'\n"
    fail = "if self.id.endswith('1'): raise ValueError\nself.path.output.write_text('')"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", fail)}, ["raw/R1", "raw/R2"], toml=toml)
    names = [f"measure_{n}" for n in range(12)]
    rows = [",".join(["record_id", *names]), *(f"R{n}," + ",".join(["4.25"] * 12) for n in (1, 2))]
    (folder / "people.csv").write_text("\n".join(rows))
    on_terminal(80, "run", folder, "--mode", "main_process")
    _, shown = on_terminal(80, "ls", "records", "-C", folder, NO_COLOR="1")
    head, *_ = lines = shown.splitlines()
    assert max(map(len, lines[:3])) <= 80
    assert {"record_id", "n_done", "n_error", "measure_0"} <= set(head.split())
    assert not {"n_units", "n_files", "n_steps"} & set(head.split())
    assert "no room for n_files, n_steps, n_units" in " ".join(shown.split())


def test_columns_that_are_left_out_leave_their_room_to_the_others(on_terminal, write_workspace):
    deep = {"average": ("raw/{id}/eeg.csv", "derivatives/averaged/{id}/eeg.csv")}
    folder = write_workspace(deep, ["raw/R1/eeg.csv", "derivatives/averaged/R1/eeg.csv"])
    _, shown = on_terminal(70, "ls", "files", "-C", folder, NO_COLOR="1")
    assert "derivatives/averaged/R1/eeg.csv" in shown
    assert shown.split()[:5] == ["path", "size", "record_id", "step", "role"]
    assert "(no room for modified)" in shown
    assert max(map(len, shown.splitlines())) <= 70


def test_a_command_in_a_message_stays_whole_so_that_it_can_be_copied(on_terminal, harbor_folder):
    """Also where the sentence before it is broken."""
    _, shown = on_terminal(50, "sbatch", harbor_folder, "--parts", "0", NO_COLOR="1")
    assert shown.splitlines()[-1] == "Try `sinagot-catalog sbatch --help`."
    _, shown = on_terminal(40, "submit", harbor_folder, "--parts", "2", NO_COLOR="1")
    assert "sinagot-catalog sbatch --parts N" in [line.strip() for line in shown.splitlines()]


def test_init_and_logs_are_broken_between_words(on_terminal, cli, long_names, tmp_path):
    files = tmp_path / "a_folder_with_quite_a_long_name" / "raw"
    files.mkdir(parents=True)
    for n in range(3):
        (files / f"sub-{n}_task-eyesclosedresting_run-01.csv").touch()
    for words in (
        ("init", files.parent), ("init", files.parent, "--from-files", "raw/{id}.csv"),
        ("init", files.parent, "--prefect"),
    ):  # fmt: skip
        _, shown = on_terminal(80, *words)
        long = [line.strip() for line in shown.splitlines() if len(line) > 80]
        assert all(line.startswith(("made ", "sinagot-catalog ", "cd ", "/")) for line in long)
    cli("run", long_names, "--mode", "main_process")
    _, shown = on_terminal(80, "logs", "-C", long_names, "--failed", NO_COLOR="1")
    lines = shown.splitlines()
    assert all(len(line) <= 80 for line in lines[: lines.index("    Traceback (most recent call last):")])


def test_an_error_is_broken_between_words(on_terminal, harbor_folder):
    _, shown = on_terminal(60, "ls", "-C", harbor_folder, "--columns", "recrod_id")
    assert max(map(len, shown.splitlines())) <= 60
    assert "did you mean 'record_id'?" in " ".join(shown.split())
