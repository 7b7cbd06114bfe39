"""What got slower since an earlier JSON of the same kind."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

__all__ = ["Figures", "compared", "earlier", "earlier_of_any_kind"]

_SLOWER = 1.1


@dataclass(frozen=True)
class Figures:
    """The figures of one run by name, each so that more is slower (or more memory).

    Attributes:
        by_name: Figure of each measurement.
        shown: How each is written.
    """

    by_name: dict[str, float]
    shown: dict[str, str]

    @classmethod
    def of(cls, result: dict[str, Any]) -> Self:
        """Of a JSON of `python -m benchmarks`: a ratio to the floor where there is one."""
        by_name, shown = {}, {}
        for one in result["measurements"]:
            is_rate = (one["goal"] or "").startswith(">=")
            by_name[one["name"]] = 1 / one["figure"] if is_rate else one["figure"]
            unit = "x" if one["floors"] else f" {one['unit']}"
            shown[one["name"]] = f"{one['figure']:.3g}{unit}"
        return cls(by_name, shown)

    @classmethod
    def of_peers(cls, result: dict[str, Any]) -> Self:
        """Of a JSON of `python -m benchmarks peers`: what was done, in seconds."""
        done = [one for one in result["measurements"] if one["outcome"] == "done"]
        by_name = {f"{one['tool']}/{one['task']}/{one['records']}": median(one["seconds"]) for one in done}
        return cls(by_name, {name: f"{seconds:.3g} s" for name, seconds in by_name.items()})


def compared(since: str, before: Figures, now: Figures) -> Iterator[str]:
    """How many of the common measurements got slower, then each of them, and those that are gone."""
    common = [name for name in now.by_name if name in before.by_name]
    slower = [name for name in common if now.by_name[name] > _SLOWER * before.by_name[name]]
    yield f"Compared with {since}: {len(slower)} of {len(common)} got slower by more than 10 %."
    for name in slower:
        percent = (now.by_name[name] / before.by_name[name] - 1) * 100
        word = "more" if now.shown[name].endswith("MB") else "slower"
        yield f"{name}: {percent:.0f} % {word} ({before.shown[name]} -> {now.shown[name]})"


def earlier(kind: str, text: str) -> dict[str, Any]:
    """The JSON of an earlier run, read before anything is measured.

    Raises:
        argparse.ArgumentTypeError: There is none, or it is of another kind.
    """
    result = earlier_of_any_kind(text)
    found = result.get("kind", "floors")
    if found != kind:
        raise argparse.ArgumentTypeError(f"{text} has figures of another kind ({found}, not {kind})")
    return result


def earlier_of_any_kind(text: str) -> dict[str, Any]:
    """The JSON of an earlier run, of floors or of peers.

    Raises:
        argparse.ArgumentTypeError: There is none.
    """
    try:
        result: dict[str, Any] = json.loads(Path(text).read_text())
        result["time"], result["measurements"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no JSON of an earlier run: {error!r}") from error
    return result
