"""Log relay: copies the log lines of scripts into the log of the flow run, at a limited rate."""

import logging
import time
from collections.abc import Callable

from sinagot_catalog.journal import Line, LogBuffer, LogTail, parse_log_line

__all__ = ["Lines"]

_A_SECOND = 20
_A_RUN = 1_000


class Lines:
    """Relays the log lines of a run.

    Args:
        said: Tail of the journal, if it can be read here.
        heard: Buffer of the lines that a cluster sends.
        say: Receives the level and the text of a line.
        rest: The end of the message about lines that were left out.
    """

    def __init__(self, said: LogTail, heard: LogBuffer, say: Callable[[int, str], None], rest: str) -> None:
        self._journal = said
        self._heard = heard
        self._say = say
        self._rest = rest
        self._left = float(_A_SECOND)
        self._since = time.monotonic()
        self._said = 0
        self._unsaid = 0

    def look(self) -> None:
        """Relay new lines as far as the rate allows.

        Other lines of the journal are left out. Lines of a cluster arrive in bursts, so they wait in the buffer.
        """
        now = time.monotonic()
        self._left = min(self._left + (now - self._since) * _A_SECOND, 2.0 * _A_SECOND)
        self._since = now
        for line in self._journal.new():
            if self._may_speak:
                self._speak(parse_log_line(line))
            else:
                self._unsaid += 1
        while self._heard.lines and self._may_speak:
            self._speak(self._heard.lines.popleft())

    @property
    def _may_speak(self) -> bool:
        return self._left >= 1 and self._said < _A_RUN

    def _speak(self, line: Line | None) -> None:
        if line is not None:
            self._say(*line)
            self._said += 1
            self._left -= 1

    def end(self) -> None:
        """Relay the last lines, also those in the buffer, and tell how many lines were left out."""
        self.look()
        while self._heard.lines and self._said < _A_RUN:
            self._speak(self._heard.lines.popleft())
        unsaid = self._unsaid + self._heard.more + len(self._heard.lines)
        if unsaid:
            more = "1 more line" if unsaid == 1 else f"{unsaid:,} more lines"
            self._say(logging.INFO, f"{more}: {self._rest}")
