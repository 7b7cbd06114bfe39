"""`python -m benchmarks table JSON...`: what earlier runs found, as tables for a terminal or a page."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import _floors_table, _peers_table
from benchmarks._compare import earlier_of_any_kind

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Show the figures of one or more JSONs of the same kind."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        results = [earlier_of_any_kind(str(path)) for path in asked.results]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    kinds = {result.get("kind", "floors") for result in results}
    if len(kinds) > 1:
        parser.error("the JSONs are of several kinds: show them one after the other")
    is_peers = kinds == {"peers"}
    if asked.goals and (is_peers or not asked.markdown):
        parser.error("--goals goes with --markdown and figures beside floors")
    if (asked.records is not None) is not (is_peers and asked.markdown):
        parser.error("--records goes with --markdown and figures of peers, which need it")
    if is_peers and len(results) > 1:
        parser.error("of peers one JSON at a time")
    if asked.markdown:
        page = (
            _peers_table.markdown(results[0], asked.records)
            if is_peers
            else _floors_table.markdown(results, goals=asked.goals)
        )
        print(page, end="")
        return 0
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in _peers_table.tables(results[0]) if is_peers else [_floors_table.table(results)]:
        console.print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks table", description=__doc__)
    parser.add_argument(
        "results", nargs="+", type=Path, metavar="JSON", help="what `--json` wrote; of peers only one"
    )
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a page")
    parser.add_argument(
        "--goals", action="store_true", help="of floors, as Markdown: only what has a number to reach"
    )
    parser.add_argument("--records", type=int, metavar="N", help="of peers, as Markdown: this many records")
    return parser
