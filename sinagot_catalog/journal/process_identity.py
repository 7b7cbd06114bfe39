"""Process identity: tells whether a recorded process is still alive.

A process id alone proves nothing: the system reuses ids, and counts from 1 again after a restart. So the start
time of the process and the boot id of the machine are recorded with it. Standard library only.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

_STATE, _THREADS, _START = 0, 17, 19
"""Fields of `/proc/<pid>/stat`, counted from the field after the name, which may contain any character."""


@cache
def boot_id() -> str:
    """Identify the current boot of the machine and its namespace of process ids.

    Returns:
        A text that differs after each restart and between containers; empty if the machine has none.
    """
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        space = os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").is_symlink() else ""  # noqa: PTH115
        return f"{linux.read_text(encoding='ascii').strip()} {space}".strip()
    return _said_by("sysctl", "-n", "kern.bootsessionuuid")


def start_time(pid: int) -> str | None:
    """Return when a process started, in the machine's own format.

    Args:
        pid: The process id.

    Returns:
        A text to compare with an earlier result, or None if no such process is alive.

    Example:
        >>> import os
        >>> start_time(os.getpid()) == start_time(os.getpid())
        True
    """
    if pid <= 0:
        return None
    if not Path("/proc/self/stat").exists():
        return _start_time_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended: only its parent has not collected its exit status yet. But while other threads remain,
    # it was just killed, or a thread waits for a disk: its pipes are open, so its workers cannot know that it died.
    has_ended = fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1
    return None if has_ended else fields[_START]


def is_same_process(pid: int, started: str, boot: str) -> bool:
    """Tell whether the recorded process (`pid`, `started`, `boot`) is still alive.

    Args:
        pid: The recorded process id.
        started: The result of `start_time` at that time.
        boot: The result of `boot_id` at that time.

    Returns:
        False also if another process now has the same id.
    """
    return bool(started) and boot == boot_id() and start_time(pid) == started


def _start_time_by_ps(pid: int) -> str | None:
    state, _, started = _said_by("ps", "-o", "state=,lstart=", "-p", str(pid)).partition(" ")
    return started.strip() or None if not state.startswith("Z") else None


def _said_by(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
