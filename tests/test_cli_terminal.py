"""What commands look like on a terminal, which is a real pseudo-terminal here."""

import fcntl
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
    assert "\x1b[36mDATA_READY\x1b[0m" in shown
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
