"""What scripts say, read on from the journal of a run while it is written."""

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

__all__ = ["Line", "LogBuffer", "LogTail", "told"]

Line: TypeAlias = tuple[int, str]
"""The level of a line, as `logging` counts, and its text."""

_WANTED = (b'"event": "log"', b'"event": "error"')
_HEAD = 64
"""The kind of an event stands within so many bytes: what is not wanted is not parsed."""
_LONGEST = 2_000
_MOST_BYTES = 4 * 1024 * 1024
_MOST_HEARD = 1_000


class LogTail:
    """Reads on in the journal of a run, as its processes on this machine write it.

    Args:
        folder: The local folder with the journal of the run.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._offsets: dict[str, int] = {}
        self._lock = threading.Lock()

    def new(self) -> Iterator[bytes]:
        """What `told` can read of the lines that were written since the last look."""
        for line in self._whole():
            if any(kind in line[:_HEAD] for kind in _WANTED):
                yield line

    def some(self, most: int) -> tuple[list[Line], int]:
        """So many of the new lines, and how many more there are; many threads may ask, each line is given once."""
        lines: list[Line] = []
        more = 0
        with self._lock:
            for line in self.new():
                if (one := told(line)) is None:
                    continue
                if len(lines) < most:
                    lines.append(one)
                else:
                    more += 1
        return lines, more

    def _whole(self) -> Iterator[bytes]:
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.suffix == ".ndjson")
        except OSError:
            return
        for name in names:
            with suppress(OSError), os.fdopen(open_regular(self._folder / name), "rb") as file:
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


class LogBuffer:
    """What scripts said on a cluster whose journal cannot be read here, until somebody says it.

    Attributes:
        lines: What came in, in its order.
        more: How many further lines there were.
    """

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self.more = 0
        self._lock = threading.Lock()

    def take(self, lines: Sequence[Line], more: int) -> None:
        """Take in what a batch handed over, as far as there is room; many threads may call it."""
        with self._lock:
            room = _MOST_HEARD - len(self.lines)
            self.lines.extend(lines[:room])
            self.more += more + len(lines[room:])


def told(line: bytes) -> Line | None:
    """What a line of the journal says to people, None where it is broken or of a low level.

    Example:
        >>> told(b'{"event": "log", "record_id": "R1", "step_label": "clean", "level": "WARNING", "message": "hm"}')
        (30, 'R1 | clean | hm')
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
