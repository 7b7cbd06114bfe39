"""Quantities: reads and writes durations, sizes and counts; the only grammar of durations.

Imports the standard library only: workers and the completion of a shell use it.
"""

import re

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*(s|min|m|h|d|w|)\s*")


def parse_duration(text: str | float, *, needs_unit: bool = False) -> float:
    """Return the seconds of a duration such as `90s`, `10m`, `2h`, `7d` or `1w`; a bare number counts seconds.

    Args:
        text: The duration.
        needs_unit: Refuse a bare number but 0: where people think of days, seconds would be a costly surprise.

    Raises:
        ValueError: When the text is not a duration.

    Example:
        >>> [parse_duration(one) for one in ("90s", "10m", "2h", "7d", "1w", "1.5", 3)]
        [90.0, 600.0, 7200.0, 604800.0, 604800.0, 1.5, 3.0]
        >>> parse_duration("5 parsecs")
        Traceback (most recent call last):
        ValueError: '5 parsecs' is not a duration such as 90s, 10m, 2h, 7d or 1w
    """
    match = None if isinstance(text, bool) else _DURATION.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 90s, 10m, 2h, 7d or 1w")
    if needs_unit and not match[2] and float(match[1]):
        raise ValueError(f"{text!r} has no unit: write {match[1]}d for days, {match[1]}h for hours")
    return float(match[1]) * _SECONDS[match[2]]


_BYTES = {"": 1, "B": 1}
_BYTES |= {f"{letter}{end}": 1000 ** (n + 1) for n, letter in enumerate("KMGT") for end in ("", "B")}
_BYTES |= {f"{letter}IB": 1024 ** (n + 1) for n, letter in enumerate("KMGT")}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return the bytes of a size such as `2 GB` or `512 MiB`; a bare number counts bytes.

    Raises:
        ValueError: When the text is not a size.

    Example:
        >>> [parse_size(one) for one in ("2 GB", "512MiB", "1.5k", "80")]
        [2000000000, 536870912, 1500, 80]
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2].upper() not in _BYTES:
        raise ValueError(f"{text!r} is not a size such as 2 GB or 512 MiB")
    return int(float(match[1]) * _BYTES[match[2].upper()])


_FEW_MS = 0.01
"""Seconds below which milliseconds have a decimal."""


def duration_text(seconds: float, *, has_ms: bool = False) -> str:
    """Write a measured duration; `has_ms` writes less than a second in milliseconds.

    Example:
        >>> [duration_text(one) for one in (0.25, 12.3, 600, 9000, 259_200)]
        ['0.2 s', '12.3 s', '10.0 min', '2.5 h', '3.0 d']
        >>> [duration_text(one, has_ms=True) for one in (0.25, 0.0003)]
        ['250 ms', '0.3 ms']
    """
    if has_ms and seconds < 1:
        return f"{seconds * 1000:.{int(seconds < _FEW_MS)}f} ms"
    for most, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def size_text(count: float) -> str:
    """Write a number of bytes, in decimal units.

    Example:
        >>> [size_text(one) for one in (0, 999, 1500, 2.5e9)]
        ['0 B', '999 B', '1.5 kB', '2.5 GB']
    """
    for most, size, unit in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB"), (1e12, 1e9, "GB")):
        if count < most:
            return f"{count / size:,.{0 if size == 1 else 1}f} {unit}"
    return f"{count / 1e12:,.1f} TB"


def count_of(count: int, noun: str) -> str:
    """Write a number with its noun, which is in the plural unless the number is 1.

    Example:
        >>> count_of(1, "row"), count_of(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
