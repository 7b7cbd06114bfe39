"""`python -m benchmarks.verbs [--records N] [WORKSPACE ...]`: every verb once, its seconds and its first lines.

By default on copies of both examples, and on a workspace of 100,000 records.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import _workspaces
from benchmarks._measure import Scale

EXAMPLES = Path(__file__).resolve().parents[1] / "example"
SHOWN = 3
VERBS = (
    "init {new} --example",
    "status",
    "status --by status --json",
    "ls records --limit 3",
    "ls files --limit 3 --csv",
    "ls steps --where \"status = 'DATA_READY'\" --limit 3",
    "plan",
    "explain {id} {step}{unit}",
    "run --limit 20",
    "run --limit 1 --force --json",
    "submit --limit 20",
    "deploy verbs --where \"status = 'DATA_READY'\" --pool verbs --create-pool",
    "watch --run --once --where \"record_id = '{id}'\"",
    "logs --failed --group",
    "logs {id}",
    "snapshot",
    "diff",
    "report -o {page}",
    "doctor",
    "gc --keep 90d",
    "server status",
    "completion bash",
    "completion bash sinagot-catalog explain {begin}",
    "server stop",
)


def main() -> None:
    """Run every verb over each workspace and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verbs", description=__doc__)
    parser.add_argument("workspaces", nargs="*", type=Path, help="they are run, so give copies")
    parser.add_argument("--records", type=int, default=100_000, help="of the large workspace; 0 for none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = asked.workspaces or _copies(Path(folder), asked.records)
        try:
            for place in places:
                _all(place, Path(folder))
        finally:
            _call("server stop", places[0], Path(folder))


def _all(place: Path, folder: Path) -> None:
    """Run every verb over one workspace."""
    print(f"\n{place.name}\n{'seconds':>8} {'exit':>4}  verb")
    print(f"{_floor():8.2f}    0  python -c 'import polars', to compare with")
    row = _call("ls steps --csv --limit 1 --columns record_id,step,task,modality", place, folder)
    for verb in VERBS:
        _once(verb, place, folder, row.stdout.splitlines()[-1])


def _copies(folder: Path, records: int) -> list[Path]:
    """Both examples with nothing done yet, and a large workspace."""
    left_out = shutil.ignore_patterns("LOG", "count", "mean", "summary", "__pycache__")
    places = [Path(shutil.copytree(one.parent, folder / one.parent.name, ignore=left_out))
              for one in sorted(EXAMPLES.glob("*/workspace.toml"))]  # fmt: skip
    if records:
        scale = Scale(folder / "large", (records,), (records,), 1, 1)
        places.append(_workspaces.harbor(scale, records))
    return places


def _once(verb: str, place: Path, folder: Path, row: str) -> None:
    """Run one verb in the workspace, and print its time and its first lines."""
    record, step, task, modality = row.split(",")
    words = verb.format(
        new=folder / f"new-{place.name}",
        page=folder / f"{place.name}.html",
        id=record,
        step=step,
        begin=record[:-1],
        unit=f" --task {task} --modality {modality}" if task else "",
    )
    begin = time.monotonic()
    done = _call(words, place, folder)
    print(f"{time.monotonic() - begin:8.2f} {done.returncode:4d}  {words.replace(str(folder), '…')}")
    for line in (done.stdout or done.stderr).splitlines()[:SHOWN]:
        print(f"{'':15}{line[:100]}")


def _floor() -> float:
    """What a process takes that only loads Polars, now, with whatever else this machine does."""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import polars"], check=True, timeout=60)
    return time.monotonic() - begin


def _call(words: str, place: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call the command of this Python, with a local Prefect server of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "SINAGOT_CATALOG_HOME": str(folder / "home"), "COLUMNS": "110"}
    return subprocess.run(
        ["bash", "-c", f"sinagot-catalog {words}"],
        cwd=place,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


if __name__ == "__main__":
    main()
