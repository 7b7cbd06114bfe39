"""One command in a process group of its own: how long it took, what it held, and an end to all of it at the cap."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "bounded"]

_TAIL = 600
_FIRST_SAMPLE = 0.005
_SLOWEST_SAMPLE = 0.05


@dataclass(frozen=True)
class Ended:
    """What became of a command.

    Attributes:
        seconds: From its start to its end.
        cpu: Seconds of processor time of it and of all that it started and waited for: what else the machine does
            hardly changes it.
        peak: What it and all that it started held at most at one time, in MB; None where the machine does not tell.
        code: Its exit code, negative for a signal.
        is_capped: Whether it was ended because it took too long.
        lines: How many lines it printed.
        tail: The end of what it said on stderr, or else on stdout.
    """

    seconds: float
    cpu: float
    peak: float | None
    code: int
    is_capped: bool
    lines: int
    tail: str


def bounded(command: Sequence[str], *, cap: float, folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run a command in a folder for at most so many seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        _keep_priority(process.pid)
        watch = _Watch(process, begin + cap)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begin
            process.returncode = code = os.waitstatus_to_exitcode(status)
        finally:
            watch.end()
        printed, said = _content(out), _content(err)
    tail = (said.strip() or printed.strip())[-_TAIL:].decode(errors="replace")
    cpu = usage.ru_utime + usage.ru_stime
    return Ended(seconds, cpu, watch.peak, code, watch.is_capped, printed.count(b"\n"), tail)


def _keep_priority(process: int) -> None:
    """Give a session the priority of this process: Linux weighs sessions as a whole, a new one as usual."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))


def _content(file: object) -> bytes:
    file.seek(0)  # type: ignore[attr-defined]
    content: bytes = file.read()  # type: ignore[attr-defined]
    return content


class _Watch:
    """Samples the memory of a process and its descendants from a thread, and kills them all at the deadline."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        self.is_capped = False
        self.peak: float | None = None
        self._process = process
        self._deadline = deadline
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Leave nothing of the process group behind."""
        self._over.set()
        self._thread.join()
        _kill(self._process.pid, [])

    def _watch(self) -> None:
        pause, known = _FIRST_SAMPLE, {self._process.pid}
        while not self._over.wait(min(pause, max(0.0, self._deadline - time.perf_counter()))):
            members = list(_tree(self._process.pid))
            for one in set(members) - known:
                _keep_priority(one)  # it may have a session of its own
            known.update(members)
            held = sum(map(_resident, members))
            if held:
                self.peak = max(held, self.peak or 0.0)
            if time.perf_counter() >= self._deadline:
                self.is_capped = True
                _kill(self._process.pid, members)
                return
            pause = min(pause * 1.2, _SLOWEST_SAMPLE)


def _kill(group: int, members: Sequence[int]) -> None:
    """End a process group, and members of the tree that made a session of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for member in members:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)


def _tree(process: int) -> Iterator[int]:
    """A process and its descendants."""
    yield process
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return
    for child in children:
        yield from _tree(child)


def _resident(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGESIZE") / 1e6
