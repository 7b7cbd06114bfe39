"""`python -m benchmarks [--quick] [--json FILE] [--compare FILE] [NAME ...]`."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import buckets, looking, running, starting, submitting
from benchmarks._measure import Benchmark, Measurement, Scale, Skipped

BENCHMARKS: dict[str, tuple[Benchmark, ...]] = {
    "import": (starting.imports,),
    "cli": (starting.command_line,),
    "status": (looking.status,),
    "files": (looking.files,),
    "catalog": (looking.catalog,),
    "filter": (looking.filtering,),
    "refresh": (looking.refresh,),
    "run": (running.run,),
    "slow": (running.slow,),
    "nothing-to-do": (running.nothing_to_do,),
    "memory": (looking.memory, running.memory),
    "cold": (looking.cold,),
    "submit": (submitting.submit, submitting.slow),
    "submit-growth": (submitting.growth,),
    "submit-clusters": (submitting.clusters,),
    "bucket-list": (buckets.listing,),
    "bucket-pages": (buckets.pages,),
    "bucket-run": (buckets.run,),
}
ON_REQUEST = (
    "cold",
    "submit",
    "submit-growth",
    "submit-clusters",
    "bucket-list",
    "bucket-pages",
    "bucket-run",
)
SLOWER = 1.1


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write and compare."""
    asked = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    talk = Console(stderr=True)
    measurements: list[Measurement] = []
    for name in asked.names or [one for one in BENCHMARKS if one not in ON_REQUEST]:
        for benchmark in BENCHMARKS[name]:
            begin = time.monotonic()
            try:
                for one in benchmark(_scale(asked)):
                    talk.print(f"{one.name}: {one.figure:.3g} after {time.monotonic() - begin:.0f} s")
                    measurements.append(one)
            except Skipped as reason:
                talk.print(f"{name} skipped: {reason}")
    console.print(_table(measurements))
    result = {"schema": 1, **_machine(), "measurements": [one.as_json() for one in measurements]}
    if asked.compare:
        console.print("\n".join(_compared(json.loads(asked.compare.read_text()), measurements)))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, []], help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="small workspaces, few rounds")
    parser.add_argument("--records", type=int, metavar="N", help="this many records and rows everywhere")
    parser.add_argument("--times", type=int, metavar="N", help="rounds of each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="say what got slower since that JSON was written"
    )
    parser.add_argument(
        "--cache", type=Path, default=_cache(), metavar="DIR", help="where the workspaces are kept"
    )
    return parser


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sinagot-catalog-benchmarks"


def _scale(asked: argparse.Namespace) -> Scale:
    times = asked.times or (3 if asked.quick else 5)
    if asked.records:
        return Scale(asked.cache, (asked.records,), (asked.records,), min(asked.records, 100), times)
    if asked.quick:
        return Scale(asked.cache, (1_000, 10_000), (10_000,), 100, times)
    return Scale(asked.cache, (1_000, 10_000, 100_000), (10_000, 100_000), 10_000, times)


def _machine() -> dict[str, Any]:
    packages = ("sinagot-catalog", "polars", "pyarrow", "prefect", "fsspec")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _table(measurements: list[Measurement]) -> Table:
    table = Table(
        title=f"{_machine()['machine']}, Python {platform.python_version()}, polars {version('polars')}"
    )
    for column in ("measured", "ours", "floor", "ratio", "spread", "to reach", ""):
        table.add_column(
            column, justify="left" if column == "measured" else "right", no_wrap=column != "measured"
        )
    for one in measurements:
        figures = one.figures
        goal = "" if one.goal is None else f"{one.goal.sign} {one.goal.limit:g}{'' if one.floors else ' MB'}"
        verdict = {True: "yes", False: "[bold red]missed[/]", None: ""}[one.is_met]
        table.add_row(
            f"{one.name}\n[dim]{one.what}{f' / {one.floor}' if one.floor else ''}[/]",
            _amount(one.ours, one.unit),
            _amount(one.floors, one.unit),
            f"{one.figure:.2f}" if one.floors else "",
            f"{min(figures):.2f} - {max(figures):.2f}" if one.floors else "",
            goal,
            verdict,
        )
    return table


def _amount(figures: tuple[float, ...], unit: str) -> str:
    if not figures:
        return ""
    middle = sorted(figures)[len(figures) // 2]
    if unit != "s":
        return f"{middle:.0f} {unit}"
    return f"{middle:.2f} s" if middle >= 1 else f"{middle * 1000:.3g} ms"


def _compared(earlier: dict[str, Any], measurements: list[Measurement]) -> Iterator[str]:
    """What got slower since: ratios are compared where there is a floor, figures else."""
    before = {one["name"]: one for one in earlier["measurements"]}
    common = [one for one in measurements if one.name in before]
    slower = []
    for one in common:
        then, now = before[one.name]["figure"], one.figure
        is_rate = one.goal is not None and one.goal.sign == ">="
        times = then / now if is_rate else now / then
        if times > SLOWER:
            slower.append(f"{one.name}: {(times - 1) * 100:.0f} % slower ({then:.2f} -> {now:.2f})")
    yield f"Compared with {earlier['time']}: {len(slower)} of {len(common)} got slower by more than 10 %."
    yield from slower


if __name__ == "__main__":
    sys.exit(main())
