"""Looking: from files to tables, and questions to tables that are held."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl

from benchmarks._measure import AtMost, Measurement, Scale, Skipped, alternate, child
from benchmarks._network import FORGOTTEN_SECONDS, MICROSECONDS, network_disk
from benchmarks._workspaces import SHAPES, harbor
from sinagot_catalog import Workspace
from sinagot_catalog.catalog.structure.layout import Layout
from sinagot_catalog.catalog.tables import Catalog
from sinagot_catalog.schema import KIND
from sinagot_catalog.storage import open_store
from sinagot_catalog.storage.listing import reach_of, scan

__all__ = [
    "catalog",
    "cold",
    "files",
    "filtering",
    "memory",
    "million",
    "network",
    "refresh",
    "relist",
    "results",
    "snapshot",
    "status",
]

_FIND = "find -printf '%P %s %T@'"
_RESULTS = 15_000
_CACHES = Path("/proc/sys/vm/drop_caches")


def status(scale: Scale) -> Iterator[Measurement]:
    """From nothing to every row of `steps`, the disk's cache warm."""
    for name, folder, count in _trees(scale):
        ours, floors = alternate(lambda: _collect_steps(folder), _finding(folder), scale.times)  # noqa: B023
        goal = AtMost(0.5) if count >= 100_000 else None
        yield Measurement(
            f"status/{name}", "ws.steps.collect() from nothing, warm", _FIND, goal, ours, floors
        )


def files(scale: Scale) -> Iterator[Measurement]:
    """From nothing to every row of `files` with sizes and times, the disk's cache warm."""
    for name, folder, count in _trees(scale):
        ours, floors = alternate(lambda: _collect_files(folder), _finding(folder), scale.times)  # noqa: B023
        goal = AtMost(1.2) if count >= 100_000 else None
        yield Measurement(f"files/{name}", "ws.files.collect() from nothing, warm", _FIND, goal, ours, floors)


def cold(scale: Scale) -> Iterator[Measurement]:
    """The same as `status` with the disk's cache dropped before each round; only where one may do that."""
    if not os.access(_CACHES, os.W_OK):
        raise Skipped(f"the disk's cache can only be dropped by root, in {_CACHES}")

    def dropped(work: Callable[[], None]) -> None:
        os.sync()
        _CACHES.write_text("3")
        work()

    for name, folder, _ in _trees(scale):
        find = _finding(folder)
        ours, floors = alternate(
            lambda: dropped(lambda: _collect_steps(folder)),  # noqa: B023
            lambda: dropped(find),  # noqa: B023
            scale.times,
        )
        yield Measurement(f"cold/{name}", "ws.steps.collect() from nothing, cold", _FIND, None, ours, floors)


def network(scale: Scale) -> Iterator[Measurement]:
    """`status` and `files` on a disk that takes a millisecond for each question, at 1,000 records at most."""
    floor = f"{{}}, {MICROSECONDS // 1_000} ms for each question to the disk"
    for shape, made in SHAPES.items():
        records = min(1_000, *scale.records)
        with network_disk(made(scale, records)) as folder:
            for name, look, shown in (
                ("status", _collect_steps, r"%P\n"),
                ("files", _collect_files, r"%P %s %T@\n"),
            ):
                yield Measurement(
                    f"network/{name}/{shape}/{records}",
                    f"ws.{'steps' if name == 'status' else name}.collect() from nothing",
                    floor.format(f"find -printf '{shown.strip()[:-2]}'"),
                    AtMost(1.2) if shape == "eeg" and records >= 1_000 else None,
                    *alternate(
                        _forgotten(partial(look, folder)),
                        _forgotten(_finding(folder, shown)),
                        min(scale.times, 3),
                        start_workers=False,
                    ),
                )


def _forgotten(work: Callable[[], None]) -> Callable[[], float]:
    """Work that begins when the kernel has forgotten what a network disk answered."""

    def done() -> float:
        time.sleep(FORGOTTEN_SECONDS)
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return done


def million(scale: Scale) -> Iterator[Measurement]:
    """A million files: the listing by names, the status of every step, and the memory that it takes."""
    for shape, records in (("harbor", 345_000), ("eeg", 132_000)):
        folder = SHAPES[shape](scale, records)
        name = f"million/{shape}"
        names = _finding(folder, r"%P\n")
        floor = "find -printf '%P'"
        yield Measurement(
            f"{name}/names", "names by folder", floor, None, *alternate(_listing(folder), names, scale.times)
        )
        ours, floors = alternate(lambda: _collect_steps(folder), _finding(folder), scale.times)  # noqa: B023
        what = "ws.steps.collect() from nothing, warm"
        yield Measurement(f"{name}/status", what, _FIND, AtMost(0.5), ours, floors)
        peaks = tuple(child("status", str(folder))["peak"] for _ in range(scale.times))
        what = "peak of ws.steps.collect(), whole process"
        yield Measurement(f"{name}/memory", what, "", AtMost(1000), peaks, (), "MB")


def snapshot(scale: Scale) -> Iterator[Measurement]:
    """A first look at a snapshot beside one at the files."""
    for name, folder, _ in _trees(scale):
        if not Workspace(folder).snapshots():
            Workspace(folder).snapshot()

        def ours(folder: Path = folder) -> None:
            _nothing(Workspace(folder, snapshot="latest").steps.collect())

        floor = "the same with a listing"
        yield Measurement(
            f"snapshot/{name}",
            "ws.steps.collect() of a snapshot, from nothing",
            floor,
            AtMost(1.0),
            *alternate(ours, lambda: _collect_steps(folder), scale.times),  # noqa: B023
        )


def catalog(scale: Scale) -> Iterator[Measurement]:
    """From a given listing to the status of every step."""
    for name, folder, count in _trees(scale):
        held = Workspace(folder)._source.catalog()  # noqa: SLF001 - measured below what users hold
        paths = held.listings["dataset"].paths["path"].to_list()

        def ours(held: Catalog = held) -> None:
            assert Catalog(held.layout, held.listings, last=held.last).steps.height  # noqa: S101

        def floor(layout: Layout = held.layout, paths: list[str] = paths) -> None:
            assert _status_by_loop(layout, paths)  # noqa: S101

        yield Measurement(
            f"catalog/{name}",
            "status of every step from a given listing, names by folder",
            "a Python loop over sets",
            AtMost(0.08) if count >= 100_000 else None,
            *alternate(ours, floor, scale.times),
        )


def filtering(scale: Scale) -> Iterator[Measurement]:
    """Filter and collect steps of a workspace whose columns are held."""
    for name, folder, _ in _trees(scale):
        workspace = Workspace(folder)
        frame = workspace.steps.collect()
        middle = frame["record_id"][frame.height // 2]
        for kind, predicate in (
            (
                "few",
                (pl.col("status") == "DATA_READY")
                & (pl.col("record_id") < frame["record_id"][min(70, frame.height - 1)]),
            ),
            ("some", (pl.col("status") == "DATA_READY") & (pl.col("record_id") > middle)),
            ("reason", pl.col("reason").str.starts_with("waits for")),
        ):
            yield Measurement(
                f"filter/{name}/{kind}",
                "ws.steps.filter(...).collect(), columns held",
                "the same expression on a bare frame",
                AtMost(1.2) if frame.height >= 600_000 else None,
                *alternate(
                    lambda: _nothing(workspace.steps.filter(predicate).collect()),  # noqa: B023
                    lambda: _nothing(frame.filter(predicate)),  # noqa: B023
                    4 * scale.times,
                ),
            )


def results(scale: Scale) -> Iterator[Measurement]:
    """One record of the frame of all results, and all of them."""
    for records in sorted({min(one, _RESULTS) for one in scale.records}):
        folder = harbor(scale, records)
        for file in (folder / "dataset" / "count").iterdir():
            if not file.stat().st_size:
                file.write_text("kind,boats\nsail,3\ntug,1\n")
        steps = Workspace(folder).steps
        one = pl.col("record_id") == f"REC-{records // 2:06d}"
        paths = sorted(map(str, (folder / "dataset" / "count").iterdir()))
        yield Measurement(
            f"results/{records}/one",
            "ws.steps.scan_outputs(...).filter(record_id == x)",
            "ws.steps.filter(record_id == x).scan_outputs(...)",
            AtMost(1.5) if records >= 10_000 else None,
            *alternate(
                lambda: _nothing(steps.scan_outputs("count").filter(one).collect()),  # noqa: B023
                lambda: _nothing(steps.filter(one).scan_outputs("count").collect()),  # noqa: B023
                4 * scale.times,
            ),
        )
        yield Measurement(
            f"results/{records}/all",
            "ws.steps.scan_outputs(...).collect()",
            "pl.scan_csv of the same paths, types of all files",
            None,
            *alternate(
                lambda: _nothing(steps.scan_outputs("count").collect()),  # noqa: B023
                lambda: _nothing(_all_results(paths)),  # noqa: B023
                1,
            ),
        )


def _all_results(paths: list[str]) -> pl.DataFrame:
    options = {"infer_schema_files": len(paths), "infer_schema_length": None}
    return pl.scan_csv(paths, glob=False, include_file_paths="path", **options).collect()  # type: ignore[arg-type]


def refresh(scale: Scale) -> Iterator[Measurement]:
    """Take up what a run wrote into a listing that is held: its new paths, and the status of every step."""
    for records in scale.records:
        source = Workspace(harbor(scale, records))._source  # noqa: SLF001 - measured below what users hold
        held = source.catalog()
        written = pl.DataFrame(
            {"path": [f"mean/REC-{number:06d}-mean.csv" for number in range(0, records, 10)]}
        ).select(pl.lit("dataset").alias("root"), "path", pl.lit("file").cast(KIND).alias("kind"))

        def ours(source=source, held=held, written=written) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            source._catalog = held  # noqa: SLF001
            source.published(written)
            assert source.catalog().steps.height  # noqa: S101

        def floor(source=source) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            source._catalog = None  # noqa: SLF001
            source.stores["dataset"]._last = None, None  # noqa: SLF001 - or it lists only what has changed
            assert source.catalog().steps.height  # noqa: S101

        yield Measurement(
            f"refresh/harbor/{records}",
            f"status after a run that wrote {records // 10} files",
            "the same after a full listing",
            AtMost(1.0),
            *alternate(ours, floor, scale.times),
        )


def relist(scale: Scale) -> Iterator[Measurement]:
    """Refresh after files came and went in some folders, or in none, beside a refresh that lists every folder."""
    for name, folder, count in _trees(scale):
        workspace = Workspace(folder)
        paths = workspace.files.select("path")["path"]
        some = paths.gather_every(max(len(paths) // 100, 1))[:100]
        marks = [(folder / "dataset" / path).with_name(".mark.tmp") for path in some]
        for n_changed in (0, 100):
            # flat folders are three: all of them change, and all are listed
            goal = AtMost(0.6) if "eeg" in name else AtMost(1.0) if not n_changed else None
            yield Measurement(
                f"relist/{name}/{n_changed}",
                f"ws.refresh().steps.collect() after changes in {len(set(marks[:n_changed]))} folders",
                "the same with every folder listed",
                goal if count >= 100_000 else None,
                *alternate(
                    lambda: _refreshing(workspace, marks[:n_changed]),  # noqa: B023
                    lambda: _refreshing(workspace, marks[:n_changed], anew=True),  # noqa: B023
                    scale.times,
                ),
            )
        _change(marks, is_there=False)


def _refreshing(workspace: Workspace, marks: list[Path], *, anew: bool = False) -> float:
    """Seconds of a refresh after some files came and went."""
    stores = workspace._source.stores  # noqa: SLF001 - measured below what users hold
    held = stores["dataset"]
    _change(marks, is_there=not (marks and marks[0].exists()))
    if anew:
        stores["dataset"] = open_store(held.root)
    begin = time.perf_counter()
    _nothing(workspace.refresh().steps.collect())
    seconds = time.perf_counter() - begin
    stores["dataset"] = held
    return seconds


def _change(marks: list[Path], *, is_there: bool) -> None:
    for mark in set(marks):
        mark.touch() if is_there else mark.unlink(missing_ok=True)


def memory(scale: Scale) -> Iterator[Measurement]:
    """What a process holds at most that collects every step."""
    for name, folder, count in _trees(scale):
        peaks = tuple(child("status", str(folder))["peak"] for _ in range(scale.times))
        goal = AtMost(1000) if count >= 100_000 else None
        yield Measurement(
            f"memory/status/{name}", "peak of ws.steps.collect(), whole process", "", goal, peaks, (), "MB"
        )


def _trees(scale: Scale) -> Iterator[tuple[str, Path, int]]:
    for shape, made in SHAPES.items():
        for records in scale.records:
            yield f"{shape}/{records}", made(scale, records), records


def _finding(folder: Path, shown: str = r"%P %s %T@\n") -> Callable[[], None]:
    """What lists the same tree, by default with sizes and times."""
    command = ["find", str(folder / "dataset"), "-type", "f", "-printf", shown]
    if (
        shutil.which("find") is None
        or subprocess.run([*command[:2], "-quit", "-printf", ""], check=False).returncode
    ):
        raise Skipped("there is no GNU find here")

    def find() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    return find


def _listing(folder: Path) -> Callable[[], None]:
    """What lists the names of a tree, and nothing else."""
    source = Workspace(folder)._source  # noqa: SLF001 - measured below what users hold
    reach = reach_of([place.template for place in source.layout().places])

    def ours() -> None:
        assert scan(open_store(str(folder / "dataset")), reach).n_files  # noqa: S101 - a store remembers

    return ours


def _collect_steps(folder: Path) -> None:
    _nothing(Workspace(folder).steps.collect())


def _collect_files(folder: Path) -> None:
    files = Workspace(folder).files
    frame = files.select(*files.collect_schema())
    assert frame["size"].null_count() == 0  # noqa: S101


def _nothing(frame: pl.DataFrame) -> None:
    assert frame.width  # noqa: S101


def _status_by_loop(layout: Layout, paths: list[str]) -> list[tuple[str, int, str]]:
    """The status of every step as one would write it without frames, events left out."""
    there = set(paths)
    patterns = [
        re.compile(
            "".join(
                re.escape(text) if kind == "text" else f"(?P<{text}>[^/]+)" for kind, text in _once(tokens)
            )
        )
        for tokens in dict.fromkeys(place.template.tokens for place in layout.places)
    ]
    ids = set()
    for path in there:
        for pattern in patterns:
            found = pattern.match(path)
            if found:
                ids.add(found["id"])
                break
    formats = [
        "".join(text if kind == "text" else "{}" for kind, text in place.template.tokens)
        for place in layout.places
    ]
    counts = [one.count("{}") for one in formats]
    rows = []
    for record in sorted(ids):
        for cell in layout.cells:
            outputs = [
                formats[place].format(*[record] * counts[place]) in there for place in cell.places("output")
            ]
            inputs = [
                formats[place].format(*[record] * counts[place]) in there for place in cell.places("input")
            ]
            rows.append(
                (record, cell.index, "DONE" if all(outputs) else "DATA_READY" if all(inputs) else "INIT")
            )
    return rows


def _once(tokens: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    """The tokens up to the first placeholder: what comes behind it is not needed to tell the id of these trees."""
    for kind, text in tokens:
        yield kind, text
        if kind != "text":
            return
