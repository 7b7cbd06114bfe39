"""The workspaces that are measured, made once and kept."""

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks._measure import Scale

__all__ = ["SHAPES", "burning", "eeg", "grouped", "halfway", "harbor", "tiny"]

_HARBOR = """
[path]
dataset = "dataset"
scripts = "scripts"
[records]
id_pattern = 'REC-\\d{6}'
[steps]
scripts = ["count", "mean"]
"""
_GROUPED = """
[path]
dataset = "dataset"
scripts = "scripts"
[records]
id_pattern = '(?P<group>REC-\\d{4})\\d{2}'
[steps]
scripts = ["count", "total"]
"""
_EEG = """
[path]
dataset = "dataset"
scripts = "scripts"
[records]
id_pattern = 'S(?P<site>\\d)-\\d{6}'
[tasks.RS]
modalities = ["EEG", "behavior"]
[tasks.MMN]
modalities = ["EEG"]
[tasks.HDC]
modalities = ["EEG"]
[modalities.EEG]
scripts = ["clean", "power"]
[modalities.behavior]
scripts = ["scores"]
"""
_BURNING = """
[path]
dataset = "dataset"
scripts = "scripts"
[records]
id_pattern = 'REC-\\d{6}'
[steps]
scripts = ["burn"]
"""
_SCRIPT = """from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = {path_in}
    PATH_OUT = {path_out}

    def run(self):
        self.path.output.write_bytes(self.path.input.read_bytes())
"""
_BURN = """from burning import burn

from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    PATH_IN = ("raw", "{id}.bin")
    PATH_OUT = OUTPUTS

    def run(self):
        burn(self.path.input, TARGET)
"""
_BURNING_MODULE = """import os
from time import perf_counter


def burn(source, target):
    end = perf_counter() + SECONDS
    with open(source, "rb") as file:
        content = file.read()
    while perf_counter() < end:
        pass
    if SUFFIXES[0].startswith("/"):
        os.mkdir(target)
    for suffix in SUFFIXES:
        with open(f"{target}{suffix}", "wb") as file:
            file.write(content)
"""
_OUTPUTS = {
    1: ("('out', '{id}.bin')", "self.path.output", [""]),
    5: (
        str({str(n): f"out/{{id}}.bin.{n}" for n in range(5)}),
        "str(self.path.output['0'])[:-2]",
        [f".{n}" for n in range(5)],
    ),
    50: ("('out', '{id}.bin/')", "self.path.output", [f"/{n:02d}" for n in range(50)]),
}
"""By their number the outputs of a row: one file, five that are declared, a folder of fifty."""


def harbor(scale: Scale, records: int) -> Path:
    """A flat folder per kind of file: raw, count, mean. Two steps; one record in ten lacks its last file."""

    def files() -> Iterator[tuple[str, bytes]]:
        for number in range(records):
            yield f"raw/REC-{number:06d}-raw.csv", b""
            yield f"count/REC-{number:06d}-count.csv", b""
            if number % 10:
                yield f"mean/REC-{number:06d}-mean.csv", b""

    scripts = {f"{step}.py": _step("raw", step) for step in ("count", "mean")}
    return _made(scale.cache / f"harbor-{records}", _HARBOR, scripts, files())


def halfway(scale: Scale, records: int) -> Path:
    """The same folders, two steps one after the other, both done for every second record."""
    files = (
        (f"{kind}/REC-{number:06d}-{kind}.csv", b"")
        for kind, every in (("raw", 1), ("count", 2), ("mean", 2))
        for number in range(0, records, every)
    )
    scripts = {"count.py": _step("raw", "count"), "mean.py": _step("count", "mean")}
    return _made(scale.cache / f"halfway-{records}", _HARBOR, scripts, files)


def _step(source: str, target: str) -> str:
    """A script that makes a file of one of these folders from one of another."""
    return _SCRIPT.format(
        path_in=f'("{source}", "{{id}}-{source}.csv")', path_out=f'("{target}", "{{id}}-{target}.csv")'
    )


def eeg(scale: Scale, records: int) -> Path:
    """A folder per record: three tasks, two modalities, seven steps, seven or eight files."""

    def files() -> Iterator[tuple[str, bytes]]:
        for number in range(records):
            record = f"S{number % 4}-{number:06d}"
            for shift, task in enumerate(("RS", "MMN", "HDC")):
                yield f"{record}/{record}-{task}-raw.edf", b""
                if (number + shift) % 4:
                    yield f"{record}/{record}-{task}-clean.fif", b""
                if (number + shift) % 3 == 0:
                    yield f"{record}/{record}-{task}-power.csv", b""
            yield f"{record}/{record}-RS-behavior.csv", b""
            if number % 3 == 0:
                yield f"{record}/{record}-RS-scores.csv", b""

    def script(path_in: str, path_out: str) -> str:
        return _SCRIPT.format(
            path_in=f'("{{id}}", "{{id}}-{{task}}-{path_in}")',
            path_out=f'("{{id}}", "{{id}}-{{task}}-{path_out}")',
        )

    scripts = {
        "EEG/clean.py": script("raw.edf", "clean.fif"),
        "EEG/power.py": script("clean.fif", "power.csv"),
        "behavior/scores.py": script("behavior.csv", "scores.csv"),
    }
    return _made(scale.cache / f"eeg-{records}", _EEG, scripts, files())


def grouped(scale: Scale, records: int) -> Path:
    """A step of each record and one of each hundred; one record in ten and one group in ten lack their outputs."""

    def files() -> Iterator[tuple[str, bytes]]:
        for number in range(records):
            yield f"raw/REC-{number:06d}.csv", b""
        for number in range(records):
            if number % 10 or number // 1_000 % 2:
                yield f"out/REC-{number:06d}.txt", b""
        for number in range(-(-records // 100)):
            if number % 10:
                yield f"total/REC-{number:04d}.txt", b""

    total = _SCRIPT.format(path_in='("out", "{id}.txt")', path_out='("total", "{group}.txt")')
    scripts = {
        "count.py": _SCRIPT.format(path_in='("raw", "{id}.csv")', path_out='("out", "{id}.txt")'),
        "total.py": total.replace("    PATH_IN", '    BY = ("group",)\n    PATH_IN'),
    }
    return _made(scale.cache / f"grouped-{records}", _GROUPED, scripts, files())


SHAPES = {"harbor": harbor, "eeg": eeg}


def burning(scale: Scale, rows: int, milliseconds: float, outputs: int = 1) -> Path:
    """One step that reads its input, burns some time and writes its outputs; nothing is done yet.

    What it calls lies beside it as a module, for the floor to call as well.
    """
    declared, target, suffixes = _OUTPUTS[outputs]
    module = _BURNING_MODULE.replace("SECONDS", str(milliseconds / 1000)).replace("SUFFIXES", str(suffixes))
    scripts = {
        "burn.py": _BURN.replace("OUTPUTS", declared).replace("TARGET", target),
        "burning.py": module,
    }
    files = ((f"raw/REC-{number:06d}.bin", b"x" * 100) for number in range(rows))
    name = f"burning-{rows}-{milliseconds:g}" + f"-{outputs}" * (outputs > 1)
    return _made(scale.cache / name, _BURNING, scripts, files)


def tiny(scale: Scale) -> Path:
    """Three records."""
    return harbor(scale, 3)


def _made(folder: Path, config: str, scripts: dict[str, str], files: Iterable[tuple[str, bytes]]) -> Path:
    """Make a workspace, or find it made whole with the same config and scripts."""
    texts = {"workspace.toml": config, **{f"scripts/{name}": text for name, text in scripts.items()}}
    finished = folder / ".finished"
    if finished.exists() and finished.read_text() == str(texts):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    dataset = f"{folder}/dataset"
    for parent, group in itertools.groupby(files, lambda one: one[0].rpartition("/")[0]):
        os.makedirs(f"{dataset}/{parent}", exist_ok=True)  # noqa: PTH103 - done for every file
        for path, content in group:
            fd = os.open(f"{dataset}/{path}", os.O_CREAT | os.O_WRONLY, 0o644)
            os.write(fd, content)
            os.close(fd)
    finished.write_text(str(texts))
    return folder
