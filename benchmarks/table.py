"""`python -m benchmarks table JSON...`: what earlier runs found, as tables for a terminal or a page."""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import _floors_table, _peers_table
from benchmarks._compare import earlier_of_any_kind

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Show the figures of one or more JSONs of the same kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks table", description=__doc__)
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="JSON", help="what `--json` wrote; of peers only one"
    )
    parser.add_argument(
        "--markdown", nargs="?", type=int, const=0, metavar="N",
        help="as Markdown; of peers those of N records",
    )  # fmt: skip
    parser.add_argument(
        "--goals", action="store_true", help="with --markdown: only what has a number to reach"
    )
    asked = parser.parse_args(arguments)
    try:
        results = [earlier_of_any_kind(str(path)) for path in asked.results]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    kinds = {result.get("kind", "floors") for result in results}
    if len(kinds) > 1:
        parser.error("the JSONs are of several kinds: show them one after the other")
    if kinds == {"peers"}:
        return _show_peers(parser, results, asked.markdown)
    if asked.markdown is not None:
        print(_floors_table.markdown(results, goals=asked.goals), end="")
    else:
        _console().print(_floors_table.table(results))
    return 0


def _show_peers(parser: argparse.ArgumentParser, results: list[dict[str, Any]], records: int | None) -> int:
    if len(results) > 1:
        parser.error("of peers one JSON at a time")
    if records == 0:
        parser.error("of peers --markdown takes the number of records")
    if records is not None:
        print(_peers_table.markdown(results[0], records), end="")
        return 0
    for table in _peers_table.tables(results[0]):
        _console().print(table)
    return 0


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
