"""`python -m benchmarks page`: writes the tables of the guide's page and its charts from the kept JSONs."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks import _floors_table, _keys_table, _peers_table, _plain_table, chart, guarantees
from benchmarks._measure import REPOSITORY

__all__ = ["main", "written"]

_PAGE = REPOSITORY / "example" / "guide" / "benchmarks.md"
_RESULTS = Path(__file__).parent / "results"
_CHARTS = {
    "growth.svg": ("peers", "peers_million"),
    "pipeline.svg": ("pipeline",),
    "keys.svg": ("keys",),
}
_BLOCK = re.compile(r"(<!-- table of (\w+)(?:, (\d+) records)? -->\n).*?(<!-- end of table -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Write the page and its charts."""
    argparse.ArgumentParser(prog="python -m benchmarks page", description=__doc__).parse_args(arguments)
    _PAGE.write_text(written(_PAGE.read_text()))
    for drawn, names in _CHARTS.items():
        kept = [str(_RESULTS / f"{name}.json") for name in names]
        if code := chart.main([*kept, "-o", str(_RESULTS / drawn)]):
            return code
    return 0


def written(page: str) -> str:
    """A page with its tables made anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_table(found[2], found[3])}\n{found[4]}", page)


def _table(name: str, records: str | None) -> str:
    kept = "floors" if name == "plain" else name
    result: dict[str, Any] = json.loads((_RESULTS / f"{kept}.json").read_text())
    if name == "floors":
        return _floors_table.markdown([result], goals=True)
    when = f"{result['machine']}, {result['time'][:10]}\n\n"
    if name == "guarantees":
        return when + guarantees.markdown(result)
    if name == "plain":
        return when + _plain_table.markdown(result)
    if name == "keys":
        return when + _keys_table.markdown(result)
    loads = result.get("load", ())
    load = f", load {min(loads):g} to {max(loads):g}" if loads else ""
    return when.replace("\n", f"{load}\n", 1) + _peers_table.markdown(result, int(records or 0))
