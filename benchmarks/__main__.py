"""`python -m benchmarks [--quick] [--json FILE] [--compare FILE] [NAME ...]`, and `... peers`, `... chart`."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import (
    _floors_table,
    _keys_table,
    _plain_table,
    buckets,
    chart,
    grouping,
    guarantees,
    keys,
    looking,
    page,
    peers,
    running,
    starting,
    submitting,
    table,
    verbs,
)
from benchmarks._aside import delete_all
from benchmarks._compare import Figures, compared, earlier
from benchmarks._machine import cache_folder, machine, moment
from benchmarks._measure import Benchmark, Scale, Skipped

BENCHMARKS: dict[str, tuple[Benchmark, ...]] = {
    "keys": (keys.keys,),
    "many-keys": (keys.many_keys,),
    "import": (starting.imports,),
    "cli": (starting.command_line,),
    "ui": (starting.first_page,),
    "status": (looking.status,),
    "files": (looking.files,),
    "catalog": (looking.catalog,),
    "groups": (grouping.group_status,),
    "filter": (looking.filtering,),
    "results": (looking.results,),
    "refresh": (looking.refresh,),
    "relist": (looking.relist,),
    "run": (running.run,),
    "outputs": (running.outputs,),
    "guarantees": (guarantees.of_rows,),
    "slow": (running.slow,),
    "nothing-to-do": (running.nothing_to_do,),
    "memory": (looking.memory, running.memory),
    "snapshot": (looking.snapshot,),
    "million": (looking.million,),
    "verbs": (verbs.verbs,),
    "cold": (looking.cold,),
    "network": (looking.network,),
    "submit": (submitting.submit, submitting.slow),
    "submit-growth": (submitting.growth,),
    "submit-clusters": (submitting.clusters,),
    "bucket-list": (buckets.listing,),
    "bucket-pages": (buckets.pages,),
    "bucket-run": (buckets.run,),
}
ON_REQUEST = (
    "many-keys",
    "results",
    "guarantees",
    "million",
    "verbs",
    "cold",
    "network",
    "submit",
    "submit-growth",
    "submit-clusters",
    "bucket-list",
    "bucket-pages",
    "bucket-run",
)
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "peers": peers.main,
    "chart": chart.main,
    "table": table.main,
    "page": page.main,
}


_ABOUT = """How quick looking, running and starting are, each beside a floor in the same run. Commands of their
own, each with its --help: `peers` runs other tools beside ours, `table` shows kept figures of either kind, `chart`
draws them, `page` writes the page of the guide from those that are kept."""


def main(arguments: list[str] | None = None) -> int:
    """Hand over to a command of its own, or measure beside floors."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in COMMANDS:
        return COMMANDS[given[0]](given[1:])
    return _floors(given)


def _floors(arguments: list[str]) -> int:
    """Measure, print the table, write and compare."""
    asked = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    talk = Console(stderr=True)
    measurements: list[dict[str, Any]] = []
    for name in asked.names or [one for one in BENCHMARKS if one not in ON_REQUEST]:
        for benchmark in BENCHMARKS[name]:
            begin = time.monotonic()
            try:
                for one in benchmark(_scale(asked)):
                    talk.print(f"{one.name}: {one.figure:.3g} after {time.monotonic() - begin:.0f} s")
                    measurements.append({**one.as_json(), **moment()})
            except Skipped as reason:
                talk.print(f"{name} skipped: {reason}")
    delete_all(asked.cache)
    result = {"schema": 1, **machine(), "measurements": measurements}
    if any(map(_keys_table.is_of_keys, result["measurements"])):
        console.print(_keys_table.table(result))
    others = [one for one in result["measurements"] if not _keys_table.is_of_keys(one)]
    if plain := _plain_table.table({"measurements": others}):
        console.print(plain)
    if others:
        console.print(_floors_table.table([{**result, "measurements": others}]))
    if asked.compare:
        lines = compared(asked.compare["time"], Figures.of(asked.compare), Figures.of(result))
        console.print("\n".join(lines))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=_ABOUT)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, []], help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="small workspaces, few rounds")
    parser.add_argument("--records", type=int, metavar="N", help="this many records and rows everywhere")
    parser.add_argument("--times", type=int, metavar="N", help="rounds of each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--compare",
        type=partial(earlier, "floors"),
        metavar="FILE",
        help="say what got slower since that JSON was written",
    )
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(), metavar="DIR", help="where the workspaces are kept"
    )
    return parser


def _scale(asked: argparse.Namespace) -> Scale:
    times = asked.times or (3 if asked.quick else 5)
    if asked.records:
        return Scale(asked.cache, (asked.records,), (asked.records,), min(asked.records, 100), times)
    if asked.quick:
        return Scale(asked.cache, (1_000, 10_000), (10_000,), 100, times)
    return Scale(asked.cache, (1_000, 10_000, 100_000), (1_000, 10_000, 100_000), 10_000, times)


if __name__ == "__main__":
    sys.exit(main())
