"""`python -m benchmarks peers`: other tools and ours, the same work on the same files in the same run.

Each is started as its users start it, a process of its own each time, start-up counted, the disk's cache warm:
list the ids; run a small Python function over every record; run again with nothing to do; the status of every
record when half of the outputs are there. With `--pipeline` each record takes ten steps, and each hundred records
one step more. A measurement that reaches the cap is ended, with all that it started,
and that tool is not asked for the same at larger sizes; nor where its growth foretells twice the cap.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks._aside import delete_all, put_aside
from benchmarks._book import Book
from benchmarks._bounded import Ended, bounded
from benchmarks._compare import Figures, compared, earlier
from benchmarks._environments import Environment, environment
from benchmarks._machine import cache_folder, machine
from benchmarks._mariadb import database
from benchmarks._measure import Skipped
from benchmarks._peers_table import tables
from benchmarks._tools import OURS, PIPELINE, SINGLE, TOOLS, Task, Tool, Work

__all__ = ["Race", "main"]

_SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
_CONTENT = b"kind,length\nsail,3\nmotor,12\n"
_LONG_CYCLE = 15.0
_WARM = 10
_ORDER: tuple[Task, ...] = ("list", "run", "again", "status")


def main(arguments: list[str]) -> int:
    """Measure, print the tables, write and compare."""
    asked = _parser().parse_args(arguments)
    talk = Console(stderr=True)
    tools = [one for one in TOOLS if one is OURS or not asked.tools or one.name in asked.tools]

    def keep(result: dict[str, Any]) -> None:
        if asked.json:
            asked.json.write_text(json.dumps(result, indent=1) + "\n")

    race = Race(asked.cache / "peers", asked.cap, asked.times, 60 * asked.minutes, talk, keep)
    race.work = PIPELINE if asked.pipeline else SINGLE
    sizes = [one for one in _SIZES if asked.least <= one <= asked.most] or [asked.most]
    try:
        result = race.run(tools, sizes, asked.old_python)
    except KeyboardInterrupt:
        talk.print("Stopped." + (f" What was finished stands in {asked.json}." if asked.json else ""))
        return 130
    finally:
        delete_all(race.folder)
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables(result):
        console.print(table)
    if asked.compare:
        before = Figures.of_peers(asked.compare)
        console.print("\n".join(compared(asked.compare["time"], before, Figures.of_peers(result))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [one.name for one in TOOLS]
    parser.add_argument("--tools", nargs="+", choices=names, metavar="TOOL", help=", ".join(names))
    parser.add_argument("--pipeline", action="store_true", help=f"not {SINGLE.title} but {PIPELINE.title}")
    parser.add_argument(
        "--most",
        type=int,
        default=10_000,
        metavar="N",
        help="up to so many records (10000); 1000000 is the most",
    )
    parser.add_argument("--least", type=int, default=0, metavar="N", help="from so many records on")
    parser.add_argument(
        "--cap", type=float, default=180, metavar="S", help="seconds for one measurement (180)"
    )
    parser.add_argument("--times", type=int, default=3, metavar="N", help="rounds of what is not long (3)")
    parser.add_argument(
        "--minutes", type=float, default=60, metavar="M", help="begin nothing after these (60)"
    )
    parser.add_argument(
        "--old-python", type=Path, metavar="FILE", help="a Python 3.8 or 3.9 for sinagot 0.2.6, if not found"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--compare",
        type=partial(earlier, "peers"),
        metavar="FILE",
        help="say what got slower since that JSON",
    )
    parser.add_argument(
        "--cache", type=Path, default=cache_folder(), metavar="DIR", help="where tools are kept"
    )
    return parser


@dataclass
class Race:
    """All tools at all sizes, in turn.

    Attributes:
        folder: Where environments are kept and the work is done.
        cap: Seconds that one measurement may take.
        times: How many rounds, of what is not long.
        seconds: When nothing more is begun.
        talk: Where it says how far it is.
        keep: Is given what came out so far, after each size.
        work: What all of them do.
    """

    folder: Path
    cap: float
    times: int
    seconds: float
    talk: Console
    keep: Callable[[dict[str, Any]], None] = lambda _: None
    work: Work = SINGLE

    def run(
        self, tools: Sequence[Tool], sizes: Sequence[int], old_python: Path | None = None
    ) -> dict[str, Any]:
        """Measure all; what came out, as JSON."""
        with ExitStack() as servers:
            return self._run(tools, sizes, old_python, servers)

    def _run(
        self, tools: Sequence[Tool], sizes: Sequence[int], old_python: Path | None, servers: ExitStack
    ) -> dict[str, Any]:
        ready: list[tuple[Tool, Environment]] = []
        said: list[dict[str, Any]] = []
        for tool in tools:
            about = {"name": tool.name, "way": tool.way, "beside": tool.beside}
            self.talk.print(f"{tool.name}: its environment")
            try:
                place = environment(tool, self.folder, old_python)
                if tool.needs_database:
                    place.variables.update(servers.enter_context(database(self.folder)))
            except Skipped as reason:
                self.talk.print(f"{tool.name} skipped: {reason}")
                said.append({**about, "skipped": str(reason)})
            else:
                said.append({**about, "version": place.version, "python": place.python})
                ready.append((tool, place))
        book = Book(self.cap)
        loads = [os.getloadavg()[0]]
        about_all = {"disk cache": "start_workers", "cap": self.cap, "work": self.work.title, "tools": said}
        self._end = time.monotonic() + self.seconds
        for tool, place in ready:  # byte code and the disk's cache are warm then
            self._cycle(Book(self.cap), tool, place, _WARM)
        result: dict[str, Any] = {}
        for records in sizes:
            self._size(book, ready, records)
            loads.append(os.getloadavg()[0])
            result = {
                "schema": 1,
                "kind": "peers",
                **machine(),
                **about_all,
                "load": [round(one, 1) for one in loads],
                "measurements": [one.as_json() for one in book],
            }
            self.keep(result)
        return result

    def _size(self, book: Book, ready: Sequence[tuple[Tool, Environment]], records: int) -> None:
        long = set()
        for turn in range(self.times):
            for tool, place in ready:
                if tool.name in long or (turn and time.monotonic() > self._end):
                    continue
                begin = time.monotonic()
                self._cycle(book, tool, place, records)
                if time.monotonic() - begin > _LONG_CYCLE:
                    long.add(tool.name)

    def _cycle(self, book: Book, tool: Tool, place: Environment, records: int) -> None:
        """All tasks of a tool, once, on files made for it."""
        reasons = {task: book.not_asked(tool, task, records) for task in _ORDER if task != "again"}
        folder = self.folder / "work" / tool.name
        trouble = "the time was over" if time.monotonic() > self._end else ""
        if not trouble and not all(reasons.values()):
            trouble = self._prepared(tool, place, folder, records)
        for task in _ORDER:
            reason = book.not_asked(tool, task, records) or trouble
            if not reason and time.monotonic() > self._end:
                reason = "the time was over"
            figure = book.at(tool, task, records)
            foretold = None if reason else book.foretold(tool, task, records)
            if foretold is not None:
                reason = f"would take about {foretold:,.0f} s, by its growth so far"
                figure.outcome, figure.reason, figure.foretold = "foretold", reason, round(foretold)
            if reason:
                if figure.outcome == "done" and not figure.seconds:
                    figure.outcome, figure.reason = "skipped", reason
                continue
            if task == "status":
                self._halve(tool, place, folder, records)
            ended = self._bounded(tool.does[task], place, folder)
            wrong = self._wrong(tool, task, folder, records, ended)
            if ended.is_capped:
                figure.outcome, figure.reason = "capped", f"more than {self.cap:g} s"
            elif wrong:
                figure.outcome, figure.reason = "failed", wrong
            else:
                figure.seconds.append(ended.seconds)
                figure.cpu.append(ended.cpu)
                figure.peaks += [] if ended.peak is None else [ended.peak]
            said = figure.reason or f"{ended.seconds:.2f} s"
            self.talk.print(f"{tool.name} {task} {records:,}: {said}", highlight=False, markup=False)
        put_aside(self.folder, folder)

    def _prepared(self, tool: Tool, place: Environment, folder: Path, records: int) -> str:
        """Lay out its files; what went wrong, or nothing."""
        put_aside(self.folder, folder)
        for files in tool.folders(self.work):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(files, folder, ignore=ignored, dirs_exist_ok=True)
        raw = folder / "dataset/raw"
        raw.mkdir(parents=True)
        for number in range(records):
            (raw / f"REC-{number:06d}.csv").write_bytes(_CONTENT)
        if not (folder / "prepare.py").exists():
            return ""
        ended = self._bounded(("python3", "prepare.py"), place, folder)
        if ended.is_capped:
            return f"to take up the files took more than {self.cap:g} s"
        return f"to take up the files failed: {_last(ended)}" if ended.code else ""

    def _bounded(self, command: Sequence[str], place: Environment, folder: Path) -> Ended:
        """Run it with the tool's own programs before those of the machine."""
        found = shutil.which(command[0], path=place.variables["PATH"]) or command[0]
        try:
            return bounded([found, *command[1:]], cap=self.cap, folder=folder, environment=place.variables)
        except OSError as error:
            return Ended(0.0, 0.0, None, 127, is_capped=False, lines=0, tail=str(error))

    def _wrong(self, tool: Tool, task: Task, folder: Path, records: int, ended: Ended) -> str:
        """What is wrong with what it did, or nothing: a quick failure is no good figure."""
        if ended.code:
            return f"ended {ended.code}: {_last(ended)}"
        least = {"list": records, "status": records // 2}.get(task, 0)
        if ended.lines < least:
            return f"printed {ended.lines:,} lines for {records:,} records"
        if task in ("run", "again"):
            groups = (folder / f"dataset/total/{group}.txt" for group in self.work.groups(records))
            made = sum(one.exists() for one in (*_outputs(tool, folder, self.work.steps), *groups))
            wanted = self.work.rows(records)
            return f"made {made:,} of {wanted:,} outputs" if made != wanted else ""
        return ""

    def _halve(self, tool: Tool, place: Environment, folder: Path, records: int) -> None:
        """Leave the outputs of every other record, whatever a run made, and of no group."""
        if tool.halve:
            self._bounded(tool.halve, place, folder)
        n_steps = len(self.work.steps)
        for number, output in enumerate(_outputs(tool, folder, self.work.steps)):
            if number // n_steps % 2:
                output.unlink(missing_ok=True)
            elif not output.exists():
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text("3")
        for group in self.work.groups(records):
            (folder / f"dataset/total/{group}.txt").unlink(missing_ok=True)


def _last(ended: Ended) -> str:
    return ended.tail.splitlines()[-1].strip() if ended.tail else "it said nothing"


def _outputs(tool: Tool, folder: Path, steps: Sequence[str]) -> Iterator[Path]:
    for source in sorted(folder.glob(tool.inputs)):
        for step in steps:
            yield folder / tool.output.format(folder=source.parent, stem=source.stem, step=step)
