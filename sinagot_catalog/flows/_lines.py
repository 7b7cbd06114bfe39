"""What scripts say, on its way from the journal into the log of the flow run, at a bounded rate."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["Lines"]

_A_SECOND = 20
_A_RUN = 1_000
_WANTED = (b'"event": "log"', b'"event": "error"')
_HEAD = 64
"""The kind of an event stands within so many bytes: what is not wanted is not parsed."""
_LONGEST = 2_000
_MOST_BYTES = 4 * 1024 * 1024


class Lines:
    """Reads on in the journal of a run and says its lines.

    Args:
        folder: The local folder with the journal of the run.
        say: Takes the level and the text of a line.
        rest: Ends the sentence about lines that were not said.
    """

    def __init__(self, folder: str, say: Callable[[int, str], None], rest: str) -> None:
        self._folder = Path(folder)
        self._say = say
        self._rest = rest
        self._offsets: dict[str, int] = {}
        self._left = float(_A_SECOND)
        self._since = time.monotonic()
        self._said = 0
        self._unsaid = 0

    def look(self) -> None:
        """Say what is new, as far as the rate allows."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._since) * _A_SECOND, 2.0 * _A_SECOND)
        self._since = now
        for line in self._new():
            if not any(kind in line[:_HEAD] for kind in _WANTED):
                continue
            if self._left < 1 or self._said >= _A_RUN:
                self._unsaid += 1
                continue
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                level, text = _read(line)
                if level >= logging.INFO:
                    self._say(level, text)
                    self._said += 1
                    self._left -= 1

    def end(self) -> None:
        """Say the last lines, and how many were left out."""
        self.look()
        if self._unsaid:
            more = "1 more line" if self._unsaid == 1 else f"{self._unsaid:,} more lines"
            self._say(logging.INFO, f"{more}: {self._rest}")
            self._unsaid = 0

    def _new(self) -> Iterator[bytes]:
        """The whole lines that were written since the last look."""
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.suffix == ".ndjson")
        except OSError:
            return
        for name in names:
            with suppress(OSError), (self._folder / name).open("rb") as file:
                start = self._offsets.get(name, 0)
                file.seek(start)
                while content := file.read(_MOST_BYTES):
                    whole = content[: content.rfind(b"\n") + 1]
                    if not whole:
                        break
                    start += len(whole)
                    file.seek(start)
                    yield from whole.splitlines()
                self._offsets[name] = start


def _read(line: bytes) -> tuple[int, str]:
    event = json.loads(line)
    unit = "-".join(part for part in (event.get("task"), event.get("modality"), event["step_label"]) if part)
    message = event["message"]
    if event["event"] == "error":
        level, message = logging.ERROR, f"{event.get('error_type') or 'Error'}: {message}"
    else:
        level = logging.getLevelNamesMapping().get(event.get("level", "INFO"), logging.INFO)
    return level, f"{event['record_id']} | {unit} | {message[:_LONGEST]}"
