"""What tests and the examples in docstrings share: workspaces on real files."""

import gc
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from sinagot_catalog import Workspace
from sinagot_catalog.journal.claims import Claim
from sinagot_catalog.journal.process_identity import boot_id
from sinagot_catalog.journal.run_spec import UnitStepSpec
from sinagot_catalog.journal.writer import JournalWriter, UnitStepLines, journal_path

# Pytest keeps the tests that it has prepared as bytecode: without it, each process of the suite takes ten seconds
# longer to start.
sys.dont_write_bytecode = False

pytest_plugins = ["tests.buckets", "tests.servers"]

# Generated examples are the same in each run, so that only a change turns it red. `--hypothesis-profile=random`
# looks for new ones. A slow machine is no fault of an example.
settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", parent=settings.get_profile("same"), derandomize=False)
settings.load_profile("same")

# Prefect, Dask, Ray and FastAPI are imported when they are first needed: collecting the examples must not do it.
collect_ignore_glob = [
    f"sinagot_catalog/{file}.py"
    for file in ("flows/*", "cluster/dask_cluster", "cluster/ray_cluster", "ui/routes", "ui/server")
]

HARBOR = Path(__file__).parent / "example" / "harbor"

# Files of tests that take longest, and wait for others: a process that comes to one last makes all wait.
LONGEST = (
    *("test_deployments", "test_two_hosts", "test_guide", "test_server", "test_flows", "test_clusters"),
    *("test_bucket_outage", "test_composition", "test_bucket_apart", "test_faults", "test_dask_clusters"),
    *("test_reach", "test_raw_data", "test_slurm", "test_watch", "test_ui", "test_publish", "test_run_verb"),
    *(
        "test_resources",
        "test_ranges",
        "test_same_in_all_modes",
        "test_bucket_listing",
        "test_benchmark_tools",
    ),
    *("test_bucket_trust", "test_benchmarks", "test_disk", "test_metadata", "test_torture", "test_job"),
    *("test_pool", "test_credentials", "test_urls"),
)

BODIES = {
    "copy": """
        read = self.path.input
        read = list(read.values()) if isinstance(read, dict) else [read]
        text = "".join(one.read_text() for one in read if one is not None and one.is_file())
        written = self.path.output
        for one in written.values() if isinstance(written, dict) else [written]:
            one.write_text(text + self.label + ";")
    """,
    "nothing": "pass",
    "fail": "raise ValueError(f'no boats on {self.id}')",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    parser.addoption("--slow", action="store_true", help="run 100,000 rows where 10,000 do otherwise")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """More processes than cores: tests wait for disks, and others for servers, workers and time-outs, too."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + 1 if "not server" in config.getoption("markexpr") else cores + 3


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Do not look for garbage in what stays: thousands of tests and modules. That costs each test a twentieth."""
    gc.disable()
    done = yield
    gc.freeze()
    gc.enable()
    return done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture
def script_source() -> Callable[..., str]:
    """Write the source of a script: `script_source(path_in, path_out, body, **attributes)`."""

    def source(
        path_in: Any = (), path_out: Any = (), body: str = "copy", *, head: str = "", **attributes: Any
    ) -> str:
        lines = [f"    {name} = {value!r}" for name, value in attributes.items()]
        text = textwrap.indent(textwrap.dedent(BODIES.get(body, body)).strip(), " " * 8)
        return "\n".join(
            [
                head,
                "from sinagot_catalog import ScriptTemplate",
                "class Script(ScriptTemplate):",
                f"    PATH_IN = {path_in!r}",
                f"    PATH_OUT = {path_out!r}",
                *lines,
                "    def run(self):",
                text,
                "",
            ]
        )

    return source


@pytest.fixture
def write_workspace(tmp_path: Path, script_source: Callable[..., str]) -> Callable[..., Path]:
    """Write a workspace: its scripts from sources or argument tuples, its files from names or texts."""

    def write(
        scripts: Mapping[str, Any] | None = None,
        files: Any = (),
        *,
        toml: str = "",
        id_pattern: str = r"R\d+",
        name: str = "workspace",
    ) -> Path:
        folder = tmp_path / name
        scripts = scripts or {}
        (folder / "dataset").mkdir(parents=True)
        (folder / "scripts").mkdir()
        head = "" if "[records]" in toml else f"[records]\nid_pattern = '{id_pattern}'\n"
        if "[tasks" not in toml and "[modalities" not in toml and "[steps]" not in toml:
            head += f"[steps]\nscripts = {list(scripts)}\n"
        (folder / "workspace.toml").write_text(head + textwrap.dedent(toml))
        for label, given in scripts.items():
            path = folder / "scripts" / f"{label}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(given if isinstance(given, str) else script_source(*given))
        made = set()
        for file in files:
            path = f"{folder}/dataset/{file}"
            if (parent := path.rpartition("/")[0]) not in made:
                made.add(parent)
                Path(parent).mkdir(parents=True, exist_ok=True)
            with open(path, "w") as opened:  # noqa: PTH123 - called for thousands of files
                opened.write(files[file] if isinstance(files, Mapping) else "raw;")
        return folder

    return write


@pytest.fixture
def make_workspace(write_workspace: Callable[..., Path]) -> Callable[..., Workspace]:
    """Write a workspace and open it; see `write_workspace`."""

    def make(*args: Any, **options: Any) -> Workspace:
        return Workspace(write_workspace(*args, **options))

    return make


@pytest.fixture
def harbor_folder(tmp_path: Path) -> Path:
    """A copy of the harbour with the first three days of its month."""
    folder = tmp_path / "harbor"
    for part in ("workspace.toml", "scripts/count.py", "scripts/mean.py", "scripts/summary.py"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HARBOR / part, folder / part)
    (folder / "dataset" / "raw").mkdir(parents=True)
    for day in (1, 2, 3):
        name = f"dataset/raw/REC-2020060{day}-raw.csv"
        shutil.copy(HARBOR / name, folder / name)
    return folder


@pytest.fixture
def harbor(harbor_folder: Path) -> Workspace:
    """A workspace on `harbor_folder`."""
    return Workspace(harbor_folder)


@pytest.fixture
def journal_of() -> Callable[..., UnitStepLines]:
    """The journal's lines of one step, as a process of a run writes them."""

    def lines(
        ws: Workspace,
        step: str,
        run_id: str = "run-1",
        *,
        name: str = "main",
        task: str | None = None,
        modality: str | None = None,
        version: str | None = None,
    ) -> UnitStepLines:
        writer = JournalWriter(
            journal_path(ws.config.log, run_id, name), run_id=run_id, workspace_version=ws.version
        )
        cell = UnitStepSpec(task, modality, step, "", (), (), version=version)
        return writer.step_lines(cell)

    return lines


@pytest.fixture(scope="session")
def ended_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait(300)
        return process.pid


@pytest.fixture
def dead_claim(ended_pid: int) -> Callable[..., Claim]:
    """The claim of a run of this machine whose process is gone."""

    def make(number: int = 1, run_id: str = "run-1", **changes: Any) -> Claim:
        known = {
            "number": number,
            "run_id": run_id,
            "host": socket.gethostname(),
            "boot_id": boot_id(),
            "pid": ended_pid,
            "pid_start": "1",
            "lease": 60.0,
            "time": "2026-01-01T00:00:00+00:00",
        }
        return Claim(**{**known, **changes})

    return make
