"""Range listing: lists a store in order of its keys, in several ranges in parallel if that is faster.

A store gives a thousand keys a page, one page after the other. Only several streams that begin at different keys
are faster. Every listing begins as one stream, and a short one also ends as one. If it goes on, each free stream
gets a part of the range ahead of a reader. Ranges are split at the digits and letters that vary, which are learned
from the keys. The number of streams is learned from the pages: it rises by one with each page that is as fast as
the pages of a single stream, and falls by one with each page that had to queue.

A range is `(lo, hi]` and a stream begins after a key, so no key is listed twice or left out between ranges. Every
page is checked for the order of its keys.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from os.path import commonprefix
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import polars as pl

_WORTH = 3
"""The fewest pages that a range should have."""

COLUMNS = ("path", "last_modified", "size", "e_tag")
_CLASSES = ("0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_PAGE = 1_000
_SIGNAL_CHECK = 0.25
"""The most seconds of a wait: with Polars' SIGINT handler, an endless wait would go on after Ctrl-C."""
_QUEUED = 1.6
"""A page that takes this many times the usual time had to queue."""


class OddError(Exception):
    """The keys are not in the expected order; what was read so far is not reliable."""


class ConcurrencyLimiter:
    """Decides how many streams are worthwhile.

    A distant store answers thirty streams as fast as one. In a nearby or a busy store they only queue.

    Args:
        most: The most streams.
        warm_up: Seconds for which a listing is one stream, to measure how long its pages take; many listings end
            within this time. 0: use all streams from the first page on.
    """

    def __init__(self, most: int = 32, warm_up: float = 0.25) -> None:
        self._most = most
        self._warm_until = time.monotonic() + warm_up
        self._alone: list[float] = []
        self._usual = 0.0
        self._lately = 0.0
        self.limit = 1 if warm_up else most

    def note(self, seconds: float) -> None:
        """Record how long a page took."""
        if self._usual:
            self._lately += (seconds - self._lately) / 4
            step = 1 if self._lately < _QUEUED * self._usual else -1
            self.limit = min(max(self.limit + step, 1), self._most)
        elif self.limit == 1:
            self._alone.append(seconds)
            if len(self._alone) > 1 and time.monotonic() >= self._warm_until:
                # the time of the first page includes the connection
                self._usual = self._lately = median(self._alone[1:])
                self.limit = min(2, self._most)


@dataclass
class _Range:
    """The keys after `lo`, up to and including `hi`; None means no end."""

    lo: str
    hi: str | None
    frames: list[pl.DataFrame] = field(default_factory=list)

    @property
    def at(self) -> str:
        """The last key that was read."""
        return self.frames[-1]["path"][-1] if self.frames else self.lo


class Ranges:
    """The ranges that are read, that wait, and that are done.

    Args:
        pages: Gives the pages after a key, as something that Polars reads, with `COLUMNS`.
        prefix: The common prefix of all keys.
        on_page: Called with the number of keys of each page.
        pace: Limits the number of concurrent streams.
    """

    def __init__(
        self,
        pages: Callable[[str], Iterable[Any]],
        prefix: str,
        on_page: Callable[[int], None] | None = None,
        pace: ConcurrencyLimiter | None = None,
    ) -> None:
        self._pages = pages
        self._prefix = prefix
        self._on_page = on_page or (lambda _keys: None)
        self._pace = pace if pace is not None else ConcurrencyLimiter()
        self._waiting = [_Range("", None)]
        self._reading: list[_Range] = []
        self._done: list[_Range] = []
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def run(self) -> list[pl.DataFrame]:
        """Every page, in the order of the keys.

        Raises:
            OddError: When the keys are not in order.
        """
        try:
            with self._changed:
                self._hire()
                while self._waiting or self._reading:
                    self._changed.wait(_SIGNAL_CHECK)
                    self._hire()
        except BaseException as error:
            self._error = error  # readers end after their current page
            raise
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return [frame for part in sorted(self._done, key=lambda part: part.lo) for frame in part.frames]

    def _hire(self) -> None:
        """Start reading the waiting ranges, as far as the limit allows."""
        while self._waiting and len(self._reading) < self._pace.limit and self._error is None:
            one = self._waiting.pop()
            self._reading.append(one)
            thread = threading.Thread(target=self._read, args=(one,), name="sinagot-list", daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._error is not None:
            self._waiting.clear()

    def _read(self, part: _Range) -> None:
        try:
            self._stream(part)
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            with self._changed:
                self._error = self._error or error
        with self._changed:
            self._reading.remove(part)
            self._done.append(part)
            self._changed.notify_all()

    def _stream(self, part: _Range) -> None:
        import polars as pl

        begin = time.monotonic()
        for batch in self._pages(part.at):
            seconds = time.monotonic() - begin
            page = pl.DataFrame(batch)
            if page.is_empty():
                continue
            self._on_page(page.height)
            paths = page["path"]
            first, last = paths[0], paths[-1]
            if first <= part.at or not paths.is_sorted():
                raise OddError(f"keys out of order behind {part.at}")
            with self._changed:
                self._pace.note(seconds)
                if part.hi is not None and last > part.hi:
                    part.frames.append(page[: paths.search_sorted(part.hi, side="right")])
                    return
                part.frames.append(page)
                if part.hi == last or self._error is not None:
                    return
                if page.height >= _PAGE:
                    self._split(part)
            begin = time.monotonic()

    def _split(self, part: _Range) -> None:
        """Split the range ahead of a reader for free streams."""
        free = self._pace.limit - len(self._reading) - len(self._waiting)
        if free < 1:
            return
        first = part.frames[0]["path"][0]
        cuts = sorted(_cuts(first, part.at, part.hi, len(self._prefix), pages=len(part.frames))[:free])
        if not cuts:
            return
        ends = [*cuts[1:], part.hi]
        part.hi = cuts[0]
        self._waiting += [_Range(lo, hi) for lo, hi in zip(cuts, ends, strict=True)]
        self._changed.notify_all()


def _cuts(first: str, at: str, hi: str | None, start: int, pages: int = 1) -> list[str]:
    """Where to split the keys ahead of `at`, the largest parts first.

    A cut raises a digit before the position at which keys were seen to differ, or a digit or letter at that
    position. Parts that would be too small are not split off: most of the last page of a range is read in vain.

    Example:
        >>> _cuts("raw/R-018", "raw/R-027", None, 4)[:3]
        ['raw/R-1', 'raw/R-2', 'raw/R-3']
        >>> _cuts("raw/a", "raw/c", "raw/e", 4, pages=6)
        ['raw/d']
        >>> _cuts("raw/a", "raw/c", "raw/e", 4, pages=1)
        []
    """
    varies = len(commonprefix([first, at]))  # noqa: RUF071 - these are texts
    steps = ord(at[varies]) - ord(first[varies]) if varies < min(len(first), len(at)) else 0
    cuts: list[str] = []
    for index in range(start, min(len(at), varies + 1)):
        kind = next((chars for chars in _CLASSES if at[index] in chars), None)
        if kind is None or (kind is not _CLASSES[0] and index < varies):
            continue
        if index >= varies - 1 and pages * len(kind) ** (varies - index) < _WORTH * max(steps, 1):
            continue
        cuts += [f"{at[:index]}{char}" for char in kind[kind.index(at[index]) + 1 :]]
    return [fromkey for fromkey in dict.fromkeys(cuts) if hi is None or fromkey < hi]
