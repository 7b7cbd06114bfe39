"""A worker process, seen from its parent: starts it, exchanges messages, watches it, ends it and cleans up.

`worker.__main__` tells the protocol of the pipe: the messages in both directions and the shared status.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from sinagot_catalog.journal import Result, RunSpec, StorageOptions
from sinagot_catalog.run.resources import WorkerKind
from sinagot_catalog.scripts import ERROR_BOUND, cut_file, read_ends
from sinagot_catalog.storage import read_message, write_message
from sinagot_catalog.worker import BOARD_SIZE, CLOSED, SharedStatus

_OUTPUT_BOUND = 1 << 20
_GRACE = 1.0
_CAPS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


class WorkerProcess:
    """A worker process in its own process session, so that a signal reaches all programs that it started.

    The process starts at once and waits for `hello`. So it can start before the run is known.

    Args:
        kind: What the process has for its whole life. The environment may set other thread limits.
    """

    def __init__(self, kind: WorkerKind) -> None:
        self.kind = kind
        self.is_ready = False
        self.name = ""
        self.started = time.monotonic()
        self._told_to_end: float | None = None
        self._signals = threading.Lock()
        with contextlib.ExitStack() as undo:
            self._output = _shared_file(0)
            undo.callback(os.close, self._output)
            board = _shared_file(BOARD_SIZE)
            try:
                self._board = SharedStatus(board)
                undo.callback(self._board.close)
                self._popen = subprocess.Popen(  # noqa: S603 our own module
                    [
                        sys.executable,
                        "-P",
                        "-u",
                        "-m",
                        "sinagot_catalog.worker",
                        str(board),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._output,
                    bufsize=0,
                    pass_fds=(board,),
                    start_new_session=True,
                    env=_environment(kind),
                )
            finally:
                os.close(board)
            for pipe in filter(None, (self._popen.stdin, self._popen.stdout)):
                undo.callback(pipe.close)
            self._files = undo.pop_all()
        self._poll = select.poll()
        self._poll.register(self._fd_out, select.POLLIN)

    @property
    def _fd_in(self) -> int:
        return -1 if self._popen.stdin is None else self._popen.stdin.fileno()

    @property
    def _fd_out(self) -> int:
        return -1 if self._popen.stdout is None else self._popen.stdout.fileno()

    # -- messages -----------------------------------------------------------------------------------------

    def hello(self, spec: RunSpec, name: str, options: StorageOptions) -> None:
        """Send the run's spec, the worker's name, and the storage options: only the pipe carries these secrets."""
        self.name = name
        self.started = time.monotonic()
        self.send("hello", spec, name, sys.path, os.environ.get("PYTHONPATH"), options)

    def send(self, *message: object) -> None:
        """Send a message.

        Raises:
            EOFError: When the process has ended.
        """
        try:
            write_message(self._fd_in, message)
        except OSError as error:
            raise EOFError from error

    def receive(self, seconds: float) -> tuple[Any, ...] | None:
        """The next message, or None if there is none within that time.

        Raises:
            EOFError: When the process has ended.
        """
        if not self._poll.poll(seconds * 1000):
            # A child that a script forked may keep the pipe open after the worker has ended.
            if self._popen.poll() is not None:
                raise EOFError
            return None
        try:
            message: tuple[Any, ...] = read_message(self._fd_out)
        except OSError as error:
            raise EOFError from error
        if message[0] == "ready":
            self.is_ready = True
        elif message[0] in ("results", "idle"):
            message = message[0], list(map(Result._make, message[1]))
        return message

    # -- watching -----------------------------------------------------------------------------------------

    def at_work(self) -> tuple[float, int, int, int]:
        """The running attempt: its seconds so far, its row, its number, and where its output begins."""
        since, row, attempt, mark = self._board.read()
        return time.monotonic() - since, row, attempt, mark

    def output(self, mark: int) -> str | None:
        """The beginning and the end of its printed output since a mark."""
        return read_ends(self._output, mark, ERROR_BOUND)

    def bound_output(self) -> None:
        """Shorten the printed output when it grows too long; keeps its beginning and its end."""
        if os.fstat(self._output).st_size > _OUTPUT_BOUND:
            entry = self._board.read()
            _, row, _, mark = entry
            if self._board.read() == entry:  # else the next row has begun and cuts the file
                cut_file(self._output, mark if row >= 0 else 0)

    # -- ending -------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Send SIGTERM to its process group; a call more than a second after the first sends SIGKILL."""
        now = time.monotonic()
        if self._told_to_end is None:
            self._told_to_end = now
            self._signal(signal.SIGTERM)
        elif now - self._told_to_end > _GRACE:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._signals:
            if self._popen.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._popen.pid, number)

    def end(self) -> None:
        """Tell the process that there is no more work; `reap` waits for its end."""
        with contextlib.suppress(EOFError):
            self.send("end")
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def reap(self) -> int:
        """Wait for its end, kill it if it does not end in time, and kill the processes that it left running.

        Returns:
            The exit code, negative for a signal; `CLOSED` if it runs on although its pipes are closed.
        """
        try:
            code = self._popen.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            code = self._popen.wait()
            if code == -signal.SIGKILL and self._told_to_end is None:
                code = CLOSED
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        return code

    def close(self) -> None:
        """Close the pipes, the shared status and the output file."""
        self._files.close()


def _shared_file(size: int) -> int:
    """An unlinked file, opened to append, to pass to a child; it disappears when the last process closes it."""
    fd, path = tempfile.mkstemp(prefix="sinagot-")
    os.close(fd)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    Path(path).unlink()
    if size:
        os.ftruncate(fd, size)
    return fd


def _limits_of_nanny() -> dict[str, str]:
    """The thread limits that a Dask worker has from its nanny; nobody asked for them."""
    if multiprocessing.parent_process() is None or "distributed" not in sys.modules:
        return {}
    sets = sys.modules["dask"].config.get("distributed.nanny.pre-spawn-environ", {})
    return {name: str(sets[name]) for name in _CAPS if name in sets}


def _environment(kind: WorkerKind) -> dict[str, str]:
    """The environment of a worker: that of this process, thread limits, GPUs, and the path of this package."""
    own = str(Path(__file__).parents[3])
    limits = _limits_of_nanny()
    given = {name: value for name, value in os.environ.items() if limits.get(name) != value}
    environment = {**dict.fromkeys(_CAPS, str(kind.threads)), **given}
    if kind.gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(kind.gpus)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
    return environment
