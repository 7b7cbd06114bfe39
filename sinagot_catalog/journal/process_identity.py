"""Whether a process that was written down is still that process.

A process id alone proves nothing: it is used again after its owner ended, and everything starts from 1 after
a restart of the machine. Its start time and the machine's boot id beside it do. Standard library only.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["boot_id", "is_same_process", "start_time"]

_STATE, _THREADS, _START = 0, 17, 19
"""Fields of `/proc/<pid>/stat`, counted from the one behind the name, which may hold anything."""


@cache
def boot_id() -> str:
    """Name this run of the machine, and the space in which its process ids mean something.

    Returns:
        A text that differs after each restart, and between containers; empty where the machine does not tell.
    """
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        space = os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").is_symlink() else ""  # noqa: PTH115
        return f"{linux.read_text(encoding='ascii').strip()} {space}".strip()
    return _said_by("sysctl", "-n", "kern.bootsessionuuid")


def start_time(pid: int) -> str | None:
    """Tell when a process started, in the machine's own terms.

    Args:
        pid: The process id.

    Returns:
        A text to compare with an earlier answer, or None where no such process is alive.

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
    # A zombie has ended: only its parent has not looked yet. But where other threads are left, it was killed a
    # moment ago, or one of them waits for a disk: its pipes are open, and whoever works for it does not know yet.
    has_ended = fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1
    return None if has_ended else fields[_START]


def is_same_process(pid: int, started: str, boot: str) -> bool:
    """Tell whether the process that was noted as (`pid`, `started`, `boot`) is still alive.

    Args:
        pid: The process id that was noted.
        started: What `start_time` said of it then.
        boot: What `boot_id` said then.

    Returns:
        False too for another process under the same id.
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
