"""Log relay: copies the log lines of scripts into the logs of Prefect, at a limited rate."""

import logging
import time
from collections.abc import Callable

from sinagot_catalog.journal import Line, LogBuffer, LogTail, parse_log_line

_A_SECOND = 20
_A_RUN = 1_000


class LogRelay:
    """Relays the log lines of a run.

    Args:
        journal: Tail of the journal, if it can be read here.
        buffer: Buffer of the lines that a cluster sends.
        write: Receives the level and the text of a line.
        rest: The end of the message about lines that were left out.
    """

    def __init__(
        self, journal: LogTail, buffer: LogBuffer, write: Callable[[int, str], None], rest: str
    ) -> None:
        self._journal = journal
        self._buffer = buffer
        self._write = write
        self._rest = rest
        self._room = float(_A_SECOND)
        self._since = time.monotonic()
        self._n_relayed = 0
        self._n_left_out = 0

    def relay(self) -> None:
        """Relay new lines as far as the rate allows.

        Other lines of the journal are left out. Lines of a cluster arrive in bursts, so they wait in the buffer.
        """
        now = time.monotonic()
        self._room = min(self._room + (now - self._since) * _A_SECOND, 2.0 * _A_SECOND)
        self._since = now
        for line in self._journal.new():
            if self._has_room:
                self._relay_line(parse_log_line(line))
            else:
                self._n_left_out += 1
        while self._buffer.lines and self._has_room:
            self._relay_line(self._buffer.lines.popleft())

    @property
    def _has_room(self) -> bool:
        return self._room >= 1 and self._n_relayed < _A_RUN

    def _relay_line(self, line: Line | None) -> None:
        if line is not None:
            self._write(*line)
            self._n_relayed += 1
            self._room -= 1

    def end(self) -> None:
        """Relay the last lines, also those in the buffer, and tell how many lines were left out."""
        self.relay()
        while self._buffer.lines and self._n_relayed < _A_RUN:
            self._relay_line(self._buffer.lines.popleft())
        left_out = self._n_left_out + self._buffer.more + len(self._buffer.lines)
        if left_out:
            more = "1 more line" if left_out == 1 else f"{left_out:,} more lines"
            self._write(logging.INFO, f"{more}: {self._rest}")
