"""Log tail: reads the new log lines of a run from its journal while the run goes on."""

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from sinagot_catalog.storage import open_regular

Line: TypeAlias = tuple[int, str]
"""The level of a line, as `logging` counts, and its text."""

_WANTED = (b'"event": "log"', b'"event": "error"')
_HEAD = 64
"""The event's name is within these first bytes, so that other events need not be parsed."""
_LONGEST = 2_000
_MOST_BYTES = 4 * 1024 * 1024
_MOST_LINES = 1_000


class LogTail:
    """Reads the new lines in the journal of a run, as its processes on this machine write them.

    Args:
        folder: The local folder with the journal of the run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._offsets: dict[str, int] = {}
        self._lock = threading.Lock()

    def new(self) -> Iterator[bytes]:
        """The lines written since the last call that `parse_log_line` can read."""
        for line in self._whole():
            if any(kind in line[:_HEAD] for kind in _WANTED):
                yield line

    def some(self, most: int) -> tuple[list[Line], int]:
        """Up to `most` of the new lines, and how many more there are. Thread-safe: each line is returned once."""
        lines: list[Line] = []
        more = 0
        with self._lock:
            for line in self.new():
                if (parsed := parse_log_line(line)) is None:
                    continue
                if len(lines) < most:
                    lines.append(parsed)
                else:
                    more += 1
        return lines, more

    def _whole(self) -> Iterator[bytes]:
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.suffix == ".ndjson")
        except OSError:
            return
        for name in names:
            with suppress(OSError):
                while content := whole_lines(self._folder / name, self._offsets.get(name, 0)):
                    self._offsets[name] = self._offsets.get(name, 0) + len(content)
                    yield from content.splitlines()


def whole_lines(path: Path, start: int) -> bytes:
    """The next lines of a journal file from a byte on, without one that is not complete yet; empty at the end."""
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(start)
        content = file.read(_MOST_BYTES)
        if content and b"\n" not in content:  # one line that is longer
            content += file.readline()
    return content[: content.rfind(b"\n") + 1]


class LogBuffer:
    """Holds log lines of scripts on a cluster whose journal cannot be read here, until they are shown.

    Attributes:
        lines: The lines, in the order of their arrival.
        more: How many further lines there were.
    """

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self.more = 0
        self._lock = threading.Lock()

    def take(self, lines: Sequence[Line], more: int) -> None:
        """Add the lines of a batch, as far as there is room. Thread-safe."""
        with self._lock:
            room = _MOST_LINES - len(self.lines)
            self.lines.extend(lines[:room])
            self.more += more + len(lines[room:])


def parse_log_line(line: bytes) -> Line | None:
    """Format a line of the journal for the user; None if it is broken or below INFO.

    Example:
        >>> parse_log_line(b'{"event": "log", "record_id": "R1", "step_label": "clean", "message": "hm"}')
        (20, 'R1 | clean | hm')
    """
    try:
        event = json.loads(line)
        unit = "-".join(
            part for part in (event.get("task"), event.get("modality"), event["step_label"]) if part
        )
        message = event["message"]
        if event["event"] == "error":
            level, message = logging.ERROR, f"{event.get('error_type') or 'Error'}: {message}"
        else:
            level = logging.getLevelNamesMapping().get(event.get("level", "INFO"), logging.INFO)
        text = f"{event['record_id']} | {unit} | {message[:_LONGEST]}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (level, text) if level >= logging.INFO else None
