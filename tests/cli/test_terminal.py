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


@pytest.fixture
def on_terminal():
    """Run the command on a terminal so many characters wide; gives its code and what was on the screen."""

    def call(width, *words, **environment):
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
    assert "9/9" in shown
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
