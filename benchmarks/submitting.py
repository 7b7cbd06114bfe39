"""Submitting: rows as a flow on a running server, through threads, Dask and Ray, beside a bare pool."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks._aside import forget_runs
from benchmarks._measure import (
    AtLeast,
    AtMost,
    Measurement,
    Scale,
    Skipped,
    alternate,
    child,
    environment,
    process,
)
from benchmarks._workspaces import burning
from benchmarks.running import held_later
from sinagot_catalog.flows.server import local_server
from sinagot_catalog.flows.server.api_client import ask
from sinagot_catalog.flows.server.server_state import LocalServer

__all__ = ["clusters", "growth", "slow", "submit"]

_WORKERS = "2"
_POOL = "a bare ProcessPoolExecutor, the same function"
_MOST_TASK_RUNS = 1_000

_RUNS_BATCHES = "sinagot_catalog.cluster.remote_batch, sinagot_catalog.worker.__main__"


def submit(scale: Scale) -> Iterator[Measurement]:
    """Rows of 0.2 ms, start-up of the workers counted, imports left out."""
    rows = min(scale.rows[-1], 10_000)
    goal = AtLeast(0.7) if rows >= 10_000 else None
    with _running_server() as server:
        yield from _beside_pool(f"submit/{rows}x0.2ms", burning(scale, rows, 0.2), goal, scale.times, server)


def slow(scale: Scale) -> Iterator[Measurement]:
    """Rows of 50 ms: what we add must drown."""
    rows = 10_000 if scale.slow_rows >= 10_000 else min(2_000, scale.rows[-1])
    goal = AtLeast(0.98) if rows >= 2_000 else None
    times = 1 if rows >= 10_000 else min(scale.times, 3)
    with _running_server() as server:
        yield from _beside_pool(f"submit/{rows}x50ms", burning(scale, rows, 50), goal, times, server)


def clusters(scale: Scale) -> Iterator[Measurement]:
    """Rows of 50 ms on a Dask and on a Ray cluster of this machine with two workers."""
    rows = min(2_000, scale.rows[-1])
    goal = AtLeast(0.98) if rows >= 2_000 else None
    packages = {"dask": "distributed", "ray": "ray"}
    found = [kind for kind, package in packages.items() if find_spec(package)]
    if not found:
        raise Skipped("neither the extra dask nor the extra ray is installed")
    with _running_server() as server:
        for kind in found:
            # Their byte code lies beside them where they are installed; to compile Dask takes two seconds.
            process(["-c", f"import {packages[kind]}, {_RUNS_BATCHES}"])
            with {"dask": _dask, "ray": _ray}[kind]() as address, tempfile.TemporaryDirectory() as folder:
                toml = Path(folder, "cluster.toml")
                toml.write_text(f"[prefect]\ntask_runner = {kind!r}\naddress = {address!r}\n")
                name = f"submit/{kind}/{rows}x50ms"
                where = (burning(scale, rows, 50), str(toml))
                yield from _beside_pool(name, where[0], goal, min(scale.times, 3), server, where[1])


def growth(scale: Scale) -> Iterator[Measurement]:
    """From a thousand rows of 0.2 ms to a hundred thousand: time, memory, task runs."""
    with _running_server() as server:
        for rows in sorted({min(1_000, scale.rows[-1]), *scale.rows}):
            said = _submitted(burning(scale, rows, 0.2), server, verb="submit-watched")
            name, what = f"submit/growth/{rows}", f"ws.steps.submit() of {rows} rows of 0.2 ms"
            yield Measurement(name, what, "", None, (said["seconds"],))
            yield Measurement(
                f"{name}/task-runs",
                "task runs, all recorded",
                "",
                AtMost(_MOST_TASK_RUNS),
                (said["runs"],),
                (),
                "",
            )
            yield Measurement(
                f"{name}/memory",
                "peak of the client and its workers",
                "",
                AtMost(1_000),
                (said["peak"],),
                (),
                "MB",
            )
            if rows >= 100_000:
                yield from held_later(f"{name}/memory", said)
            yield Measurement(
                f"{name}/server", "held by the server at the end", "", None, (said["server"],), (), "MB"
            )


# -- one run -------------------------------------------------------------------------------------------------


def _beside_pool(
    name: str, folder: Path, goal: AtLeast | None, times: int, server: LocalServer, *more: str
) -> Iterator[Measurement]:
    """The time, and the processor time, of a submitted run beside a bare pool."""
    processor: dict[str, list[float]] = {"submit": [], "pool": []}

    def done(verb: str) -> Callable[[], float]:
        def do() -> float:
            said = _submitted(folder, server, *more) if verb == "submit" else _pooled(folder)
            processor[verb].append(said["cpu"])
            return float(said["seconds"])

        return do

    ours, floors = alternate(done("submit"), done("pool"), times, start_workers=False)
    yield Measurement(name, "ws.steps.submit(), all task runs recorded", _POOL, goal, ours, floors)
    if not more:  # what the workers of a cluster use is not ours to see
        what = "its processor time, that of the server left out"
        cpu = (tuple(processor["submit"]), tuple(processor["pool"]))
        yield Measurement(f"{name}/cpu", what, _POOL, None, *cpu)


def _submitted(folder: Path, server: LocalServer, *more: str, verb: str = "submit") -> dict[str, Any]:
    rows = _undo(folder)
    said = child(verb, str(folder), _WORKERS, *more)
    _check(folder, rows, said)
    said["runs"] = _recorded(server, said["flow_run_id"], rows)
    said["server"] = _resident(server.pid)
    return said


def _pooled(folder: Path) -> dict[str, Any]:
    rows = _undo(folder)
    said = child("pool", str(folder), _WORKERS)
    _check(folder, rows, said)
    return said


def _undo(folder: Path) -> int:
    """Forget all runs; gives the number of rows."""
    forget_runs(folder)
    return sum(1 for _ in (folder / "dataset/raw").iterdir())


def _check(folder: Path, rows: int, said: dict[str, Any]) -> None:
    if said["rows"] != rows or sum(1 for _ in (folder / "dataset/out").iterdir()) != rows:
        raise RuntimeError(f"{said['rows']} of {rows} rows were done")


def _recorded(server: LocalServer, flow_run_id: str, rows: int) -> int:
    """How many task runs the server has of a flow run, when they hold all of its rows and are over."""
    body = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
    end = time.monotonic() + 60
    while True:
        found: list[dict[str, Any]] = []
        while page := ask(
            f"{server.api_url}/task_runs/filter",
            auth=server.auth,
            body={**body, "offset": len(found)},
            timeout=20,
        ):
            found += page
        held = sum(int(run["name"].rpartition("· ")[2].split()[0].replace(",", "")) for run in found)
        if held == rows and all((run["state"] or {}).get("type") == "COMPLETED" for run in found):
            return len(found)
        if time.monotonic() > end:
            raise RuntimeError(f"the server has task runs of {held} of {rows} rows")
        time.sleep(0.5)


def _resident(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


# -- what must run beside ------------------------------------------------------------------------------------


@contextmanager
def _running_server() -> Iterator[LocalServer]:
    """A local server of its own, warm: it has recorded a run."""
    with ExitStack() as undo:
        folder = undo.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        own = {"SINAGOT_CATALOG_HOME": f"{folder}/sinagot", "PREFECT_HOME": f"{folder}/prefect"}
        before = dict(os.environ)
        undo.callback(os.environ.update, before)
        undo.callback(os.environ.clear)
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            del os.environ[name]
        os.environ.update(own)
        server = local_server.start()
        undo.callback(local_server.stop, 5)
        server.wait_healthy(120)
        child("submit", str(burning(Scale(Path(folder), (), (), 0, 0), 10, 0.2)), _WORKERS)
        yield server


@contextmanager
def _dask() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as undo:
        file = Path(folder, "scheduler.json")

        def start(*words: str) -> None:
            command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
            quiet = subprocess.DEVNULL
            started = subprocess.Popen(command, cwd=folder, stdout=quiet, stderr=quiet, env=environment())
            undo.callback(started.wait, 20)
            undo.callback(started.terminate)

        start("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file))
        _wait(lambda: file.exists() and file.read_text().strip().endswith("}"))
        for _ in range(2):
            start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--nworkers", "1", "--no-nanny")
        _wait(lambda: len(_workers(file)) == 2)
        yield json.loads(file.read_text())["address"]


def _workers(file: Path) -> dict[str, Any]:
    import distributed

    with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
        return dict(client.scheduler_info(n_workers=-1)["workers"])


@contextmanager
def _ray() -> Iterator[str]:
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--port",
        "0",
        "--num-cpus",
        "2",
    ]
    command += ["--include-dashboard=false", "--disable-usage-stats", "--block", "--temp-dir", folder]
    quiet = subprocess.DEVNULL
    started = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True, env=environment())
    try:
        where = Path(folder, "ray_current_cluster")
        _wait(lambda: where.exists() and bool(where.read_text().strip()))
        yield where.read_text().strip()
    finally:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, 9)
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > end:
            raise Skipped("the cluster did not start within a minute")
        time.sleep(0.1)
