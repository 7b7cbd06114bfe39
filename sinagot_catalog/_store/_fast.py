"""Listing a bucket quickly: ranges of keys side by side, straight into columns.

A store gives a thousand keys a page, one page after the other. Several streams that begin at different keys are
the only way to be quicker. Where to cut is learned as it goes: whoever has nothing to do splits a range ahead of
its reader, at the digits and letters that vary. A range is `(lo, hi]` and a stream begins behind a key, so nothing
is listed twice or left out at a seam; that keys come in order is checked on every page.

It is used where options map cleanly, and where anything is odd the caller lists in the plain way.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

__all__ = ["AT_ONCE", "OddError", "list_ranges", "s3_config"]

AT_ONCE = 32
"""Streams side by side; all they do is wait."""

_CLASSES = ("0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_PAGE = 1_000
_MAPPED = {
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
    "region_name": "region",
}


class OddError(Exception):
    """The keys do not come as they should; nothing is known of what was read so far."""


def s3_config(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options of s3fs as those of obstore; None where they do not map cleanly.

    Example:
        >>> s3_config({"anon": True, "client_kwargs": {"endpoint_url": "http://here"}})
        {'endpoint': 'http://here', 'skip_signature': True}
        >>> s3_config({"profile": "lab"}) is None
        True
    """
    flat = {key: value for key, value in options.items() if key not in ("client_kwargs", "anon")}
    flat |= options.get("client_kwargs") or {}
    if set(flat) - set(_MAPPED):
        return None
    config: dict[str, Any] = {_MAPPED[key]: value for key, value in flat.items() if value is not None}
    if options.get("anon"):
        return {**config, "skip_signature": True}
    known = {**os.environ, **{f"AWS_{key.upper()}": value for key, value in config.items()}}
    has_keys = bool(known.get("AWS_ACCESS_KEY_ID") and known.get("AWS_SECRET_ACCESS_KEY"))
    if not has_keys or (os.environ.get("AWS_PROFILE") and "key" not in flat):
        return None  # a profile, a role: the other library knows these
    if endpoint := known.get("AWS_ENDPOINT_URL_S3") or known.get("AWS_ENDPOINT_URL"):
        config.setdefault("endpoint", endpoint)
    if region := known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION"):
        config.setdefault("region", region)
    return config


def list_ranges(
    bucket: str, prefix: str, config: dict[str, Any], on_page: Callable[[int], None] | None = None
) -> pl.DataFrame:
    """Every key below a folder of a bucket: `path` (the whole key), `size`, `last_modified`, `e_tag`.

    Args:
        bucket: Its name.
        prefix: The folder, empty or ending in `/`.
        config: Options of obstore.
        on_page: Hears how many keys each page had.

    Raises:
        OddError: When the keys do not come in order, or a key cannot be told.
        ImportError: When obstore is not installed.
    """
    import polars as pl
    from obstore.store import S3Store

    # obstore takes what the environment says of credentials; what is given here wins
    client: Any = {"timeout": "60s", "allow_http": str(config.get("endpoint", "")).startswith("http://")}
    known: Any = config
    store = S3Store(bucket, config=known, client_options=client)

    def pages(after: str) -> Any:
        options: Any = {"offset": after} if after else {}
        return store.list(prefix.rstrip("/") or None, chunk_size=_PAGE, return_arrow=True, **options)

    frames = _Ranges(pages, prefix, on_page).run()
    schema: dict[str, Any] = {
        "path": pl.String,
        "last_modified": pl.Datetime("us", "UTC"),
        "size": pl.UInt64,
        "e_tag": pl.String,
    }
    listed: pl.DataFrame = pl.concat([pl.DataFrame(schema=schema), *frames])
    return listed


@dataclass
class _Range:
    """The keys behind `at`, up to and with `hi`; None is the end."""

    at: str
    hi: str | None
    first: str | None = None
    frames: list[Any] = field(default_factory=list)
    lo: str = ""

    def __post_init__(self) -> None:
        self.lo = self.at


class _Ranges:
    """The ranges that are read, that wait, and that are done."""

    def __init__(
        self, pages: Callable[[str], Any], prefix: str, on_page: Callable[[int], None] | None
    ) -> None:
        self._pages = pages
        self._prefix = prefix
        self._on_page = on_page or (lambda _keys: None)
        self._waiting = [_Range("", None)]
        self._reading: list[_Range] = []
        self._done: list[_Range] = []
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def run(self) -> list[Any]:
        with self._changed:
            self._hire()
            while self._waiting or self._reading:
                self._changed.wait()
                self._hire()
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return [frame for one in sorted(self._done, key=lambda one: one.lo) for frame in one.frames]

    def _hire(self) -> None:
        """Begin what waits, as far as hands are free."""
        while self._waiting and len(self._reading) < AT_ONCE and self._error is None:
            one = self._waiting.pop()
            self._reading.append(one)
            thread = threading.Thread(target=self._read, args=(one,), name="sinagot-list", daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._error is not None:
            self._waiting.clear()

    def _read(self, one: _Range) -> None:
        try:
            self._stream(one)
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            with self._changed:
                self._error = self._error or error
        with self._changed:
            self._reading.remove(one)
            self._done.append(one)
            self._changed.notify_all()

    def _stream(self, one: _Range) -> None:
        import polars as pl

        for batch in self._pages(one.at):
            page = pl.DataFrame(batch).select("path", "last_modified", "size", "e_tag")
            if page.is_empty():
                continue
            self._on_page(page.height)
            first, last = page["path"][0], page["path"][-1]
            if first <= one.at or not page["path"].is_sorted():
                raise OddError(f"keys out of order behind {one.at}")
            with self._changed:
                is_full = page.height >= _PAGE
                if one.hi is not None and last > one.hi:
                    one.frames.append(page.filter(pl.col("path") <= one.hi))
                    return
                one.frames.append(page)
                one.first, one.at = one.first or first, last
                if one.hi == last or self._error is not None:
                    return
                if is_full:
                    self._split(one)

    def _split(self, one: _Range) -> None:
        """Give what lies ahead of a reader to hands that are free."""
        free = AT_ONCE - len(self._reading) - len(self._waiting)
        if free < 1:
            return
        cuts = _cuts(one.first or one.at, one.at, one.hi, len(self._prefix))[:free]
        cuts.sort()
        if not cuts:
            return
        ends = [*cuts[1:], one.hi]
        one.hi = cuts[0]
        self._waiting += [_Range(lo, hi) for lo, hi in zip(cuts, ends, strict=True)]
        self._changed.notify_all()


def _cuts(first: str, at: str, hi: str | None, start: int) -> list[str]:
    """Where the keys ahead of `at` may be cut, the farthest apart first.

    Digits count up wherever they stand; a letter does where it was seen to differ.

    Example:
        >>> _cuts("raw/R-018", "raw/R-027", None, 4)[:3]
        ['raw/R-1', 'raw/R-2', 'raw/R-3']
        >>> _cuts("raw/a", "raw/c", "raw/e", 4)
        ['raw/d']
    """
    varies = len(commonprefix([first, at]))  # noqa: RUF071 - they are texts
    cuts: list[str] = []
    for index in range(start, min(len(at), varies + 2)):
        kind = next((one for one in _CLASSES if at[index] in one), None)
        if kind is None or (kind is not _CLASSES[0] and index < varies):
            continue
        cuts += [f"{at[:index]}{char}" for char in kind[kind.index(at[index]) + 1 :]]
    return [one for one in dict.fromkeys(cuts) if hi is None or one < hi]
