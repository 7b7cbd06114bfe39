"""Slurm requests: what the jobs of a run in parts ask Slurm for, so that each of their rows fits."""

from __future__ import annotations

import re
from itertools import pairwise
from math import ceil, inf
from typing import TYPE_CHECKING

from sinagot_catalog.journal import NO_RESOURCES
from sinagot_catalog.run import check_fits, largest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sinagot_catalog.journal import Resources

_NAMES = {
    "cpus": ("--cpus-per-task", "-c"),
    "memory": ("--mem", "--mem-per-cpu", "--mem-per-gpu"),
    "gpus": ("--gres", "--gpus", "-G", "--gpus-per-node", "--gpus-per-task", "--gpus-per-socket"),
    "time": ("--time", "-t"),
}
"""The options of `sbatch` that ask for a resource; the first is the one that is written."""

_MIB = 2**20
_UNITS = {"K": 2**10, "": _MIB, "M": _MIB, "G": 2**30, "T": 2**40}


def requests(
    needs: Mapping[str, Resources],
    parts: Iterable[Mapping[str, int]],
    given: Sequence[str] = (),
    workers: int | None = None,
) -> list[str]:
    """Return the options of `sbatch` for the resources that rows declare and the user does not ask for.

    They are the largest amounts of all steps. The time is that of the longest part, in which rows run one after the
    other where they do not fit side by side.

    Args:
        needs: What a row of each step needs, for the steps that declare resources.
        parts: The number of rows of each step, for each part.
        given: The options of the user.
        workers: The most rows at a time, None for no limit.

    Raises:
        UsageError: The user asks for less than a row needs.

    Example:
        >>> from sinagot_catalog.journal import Resources
        >>> fit = Resources(cpus=4, memory=8_000_000_000, time=7200.0)
        >>> requests({"fit": fit}, [{"fit": 3}, {"fit": 5}])
        ['--cpus-per-task=4', '--mem=7630M', '--time=10:00:00']
        >>> requests({"fit": fit}, [{"fit": 3}, {"fit": 5}], ["-c", "8", "--mem=16G"])
        ['--time=6:00:00']
    """
    whole = largest(needs.values())
    user = {name: _given(names, given) for name, names in _NAMES.items()}
    cpus = float(user["cpus"] or whole.cpus or 1) if (user["cpus"] or "1").isdecimal() else inf
    there = {
        "cpus": cpus,
        "memory": float(whole.memory or inf) if user["memory"] is None else _memory(given, cpus),
        "gpus": float(whole.gpus or inf) if user["gpus"] is None else inf,
    }
    check_fits(
        needs, there, "a job with these options of sbatch", "Ask sbatch for more, or leave its option out."
    )
    seconds = _seconds(needs, parts, there, workers)
    values = {
        "cpus": f"{whole.cpus}" if whole.cpus else None,
        "memory": f"{ceil(whole.memory / _MIB)}M" if whole.memory else None,
        "gpus": f"gpu:{whole.gpus}" if whole.gpus else None,
        "time": f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}" if seconds else None,
    }
    return [f"{_NAMES[name][0]}={value}" for name, value in values.items() if value and user[name] is None]


def _seconds(
    needs: Mapping[str, Resources],
    parts: Iterable[Mapping[str, int]],
    there: Mapping[str, float],
    workers: int | None,
) -> int:
    """The seconds of the longest part; a step that does not say its time counts as the longest one."""
    longest = largest(needs.values()).time
    if not longest:
        return 0

    def of_step(step: str, rows: int) -> float:
        need = needs.get(step, NO_RESOURCES)
        asked: dict[str, float] = {**need._asdict(), "cpus": need.cpus or 1}
        side_by_side = min(amount // asked[name] for name, amount in there.items() if asked[name])
        return (need.time or longest) * ceil(rows / max(1.0, min(side_by_side, workers or inf)))

    return ceil(max((sum(of_step(*item) for item in part.items()) for part in parts), default=0))


def _given(names: Sequence[str], options: Sequence[str]) -> str | None:
    """The value of an option that the user gives, by one of its names; None without it."""
    setting = None
    for word, following in pairwise([*options, ""]):
        name, _, value = word.partition("=")
        if name in names:
            setting = value or following
        elif not word.startswith("--") and word[:2] in names:
            setting = word[2:]
    return setting


def _memory(options: Sequence[str], cpus: float) -> float:
    """The bytes of a job, by `--mem` or `--mem-per-cpu`; infinity where they are not known, or all of a node."""
    whole, per_cpu = (_bytes(_given([name], options)) for name in ("--mem", "--mem-per-cpu"))
    return whole or (per_cpu or inf) * cpus


def _bytes(text: str | None) -> float:
    found = re.fullmatch(r"(\d+)([KMGT]?)B?", (text or "").upper())
    return 0 if found is None else int(found[1]) * _UNITS[found[2]]
