"""A listing as Parquet of a thousand to a hundred million keys: each question as a process, beside plain Polars.

The figures are processor seconds, which other load on the machine hardly changes, and the memory held at most.
"""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from benchmarks._bounded import bounded
from benchmarks._measure import AtMost, Measurement, Scale, environment

__all__ = ["QUESTIONS", "SIZES", "keys", "many_keys"]

QUESTIONS = {
    "count": "ws.records.count()",
    "status": "sinagot-catalog status",
    "plan": "sinagot-catalog plan",
    "ls": "sinagot-catalog ls steps --where \"status = 'DATA_READY'\" --csv",
}
SIZES = (1_000, 100_000, 1_000_000)
_MANY = (6_000_000, 100_000_000)
_GOALS = {6_000_000: AtMost(2.0), 100_000_000: AtMost(2.5)}
_CAP = 1_200.0
_LONG = 10_000_000
_COUNT = (
    "from sinagot_catalog import Workspace; print(Workspace('.', listing='keys.parquet').records.count())"
)
_TOML = """[path]
dataset = "dataset"
[records]
id_pattern = 'REC-\\d+'
[steps]
scripts = ["count"]
"""
_SCRIPT = """from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.csv"
    PATH_OUT = "out/{id}.csv"

    def run(self):
        self.path.output.write_bytes(self.path.input.read_bytes())
"""
_PLAIN = r"""
import sys
import polars as pl
keys = pl.scan_parquet("keys.parquet").select(
    pl.col("path").str.extract(r"^(?:raw|out)/(REC-\d+)\.csv$").alias("id"),
    pl.col("path").str.starts_with("out/").alias("is_output"),
).filter(pl.col("id").is_not_null())
rows = keys.group_by("id").agg(
    pl.col("is_output").any().alias("done"), (~pl.col("is_output")).any().alias("ready")
)
match sys.argv[1]:
    case "count":
        print(keys.select(pl.col("id").n_unique()).collect(engine="streaming").item())
    case "ls":
        ready = rows.filter(pl.col("ready") & ~pl.col("done")).select("id", step=pl.lit("count")).sort("id")
        ready.sink_csv(sys.stdout.buffer)
    case _:
        print(rows.select(pl.len(), pl.col("ready").sum(), pl.col("done").sum()).collect(engine="streaming").row(0))
"""


def keys(scale: Scale) -> Iterator[Measurement]:
    """The questions at sizes that one look holds."""
    most = max(scale.records)
    for size in [one for one in SIZES if one <= most * 10] or [most]:
        yield from _asked(scale, size)


def many_keys(scale: Scale) -> Iterator[Measurement]:
    """The questions at sizes that are looked at range by range."""
    for size in _MANY:
        yield from _asked(scale, size)


def _asked(scale: Scale, size: int) -> Iterator[Measurement]:
    """Each question at one size: processor seconds, and megabytes."""
    place = _made(scale.cache, size)
    for question, words in QUESTIONS.items():
        ours: list[tuple[float, float]] = []
        plain: list[tuple[float, float]] = []
        for turn in range(1 if size > _LONG else min(scale.times, 3)):
            for which in (0, 1) if turn % 2 else (1, 0):
                command = _command(question) if which else [sys.executable, "-c", _PLAIN, question]
                (plain, ours)[which].append(_once(command, place))
        name = f"keys/{size}/{question}"
        goal = _GOALS.get(size) if question == "status" else None
        floor = "the same in plain Polars, streaming"
        what = f"`{words}` of a listing of {size:,} keys"
        for kind, unit, at in (("", "s", 0), ("/memory", "MB", 1)):
            figures, floors = (tuple(one[at] for one in rounds) for rounds in (ours, plain))
            told = f"{what}, {'memory held' if at else 'processor seconds'}"
            yield Measurement(f"{name}{kind}", told, floor, None if at else goal, figures, floors, unit)
    if size > _LONG:
        shutil.rmtree(place)


def _once(command: list[str], place: Path) -> tuple[float, float]:
    """Processor seconds and megabytes of one process."""
    ended = bounded(command, cap=_CAP, folder=place, environment=environment())
    if ended.code:
        raise RuntimeError(f"{shlex.join(command)} ended {ended.code}: {ended.tail}")
    return ended.cpu, ended.peak or 0.0


def _command(question: str) -> list[str]:
    if question == "count":
        return [sys.executable, "-c", _COUNT]
    words = [*shlex.split(QUESTIONS[question])[1:], "--listing", "keys.parquet"]
    return [sys.executable, "-m", "sinagot_catalog", *words]


def _made(cache: Path, size: int) -> Path:
    """A workspace with a listing of so many keys: a raw file of each record, and each second output."""
    place = cache / f"keys-{size}"
    if not (place / "keys.parquet").exists():
        (place / "scripts").mkdir(parents=True, exist_ok=True)
        (place / "dataset").mkdir(exist_ok=True)
        (place / "workspace.toml").write_text(_TOML)
        (place / "scripts" / "count.py").write_text(_SCRIPT)
        numbers = pl.LazyFrame({"n": pl.int_range(size * 2 // 3, dtype=pl.Int32, eager=True)})
        name = pl.col("n").cast(pl.String).str.zfill(9)
        parts = [
            some.select(pl.format(f"{folder}/REC-{{}}.csv", name).alias("path"))
            for folder, some in (("out", numbers.gather_every(2)), ("raw", numbers))
        ]
        listing = pl.concat(parts).with_columns(size=pl.lit(28, pl.Int64))
        listing.sink_parquet(place / "part.parquet", row_group_size=250_000)
        (place / "part.parquet").rename(place / "keys.parquet")
    return place
