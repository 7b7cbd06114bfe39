"""What tests share: a home of their own, and one real Prefect server for the whole session."""

import contextlib
import locale
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import certifi
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.cli import call
from sinagot_catalog.flows.server import local_server


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's Prefect and the user's local server out of the tests, and leave no server behind."""
    own = {
        "SINAGOT_CATALOG_HOME": str(tmp_path_factory.mktemp("sinagot-home")),
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect-home")),
        # The gRPC side of gcsfs knows no server but the real one.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    # Without bytecode, each of the thousands of processes that tests start compiles the package anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update(own)
    # Each client of Prefect reads the certificates of all authorities. No server of the tests has one of them, so
    # that one certificate is as good, and saves a twentieth of a second each time.
    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    one = tmp_path_factory.mktemp("certificates") / "one.pem"
    one.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifi, "where", lambda: str(one))
        yield
    os.environ.update(own)
    local_server.stop(timeout=5)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def same_process_state(own_home: None) -> Iterator[None]:  # noqa: ARG001
    """Give back what a test changes of this process: the next one begins as it would alone.

    Fixtures of a whole file or session set variables of `RAY_`, which Ray reads when it is imported.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    limits = {
        number: resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
    }
    folder, path, language = Path.cwd(), list(sys.path), locale.setlocale(locale.LC_ALL)
    os.umask(mask := os.umask(0))
    yield
    os.umask(mask)
    os.chdir(folder)
    sys.path[:] = path
    locale.setlocale(locale.LC_ALL, language)
    for number, limit in limits.items():
        resource.setrlimit(number, (limit[0], resource.getrlimit(number)[1]))
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in [name for name in os.environ if name not in environment and not name.startswith("RAY_")]:
        del os.environ[name]
    os.environ.update(environment)


LAB = """
[records]
id_pattern = 'R\\d'
[tasks.RS]
modalities = ["EEG"]
[tasks.HDC]
modalities = ["EEG", "behavior"]
[modalities.EEG]
scripts = ["clean"]
task_scripts.RS = ["alpha"]
[modalities.behavior]
scripts = ["scores"]
[modalities.clinical]
models.plugin = "table"
models.data_path = ["clinical", "{id}.json"]
"""


@pytest.fixture
def lab_folder(write_workspace: Callable[..., Path]) -> Callable[..., Path]:
    """Write a scoped workspace: two tasks, a modality of both, one of HDC, one of no task and without scripts.

    R1 has everything, R2 only its EEG at rest, R3 only its behavior, R4 only its clinical file.
    """

    def write(toml: str = "", files: Mapping[str, str] | None = None, **options: Any) -> Path:
        scripts = {
            "EEG/clean": ("raw/{id}-{task}.txt", "clean/{id}-{task}.txt"),
            "EEG/alpha": ("clean/{id}-{task}.txt", "alpha/{id}.txt"),
            "behavior/scores": ("trials/{id}.csv", "scores/{id}.csv"),
        }
        raw = dict.fromkeys(["raw/R1-RS.txt", "raw/R1-HDC.txt", "raw/R2-RS.txt"], "raw;")
        raw |= dict.fromkeys(["trials/R1.csv", "trials/R3.csv"], "a,b\n1,2\n")
        raw |= {"clinical/R1.json": '{"age": 31, "hand": "left"}', "clinical/R4.json": '{"age": 40}'}
        return write_workspace(
            {**scripts, **options.pop("scripts", {})}, {**raw, **(files or {})}, toml=LAB + toml, **options
        )

    return write


@pytest.fixture
def lab(lab_folder: Callable[..., Path]) -> Workspace:
    """A workspace on `lab_folder`."""
    return Workspace(lab_folder())


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a user does: `cli("status", folder)`; keywords are its environment.

    It runs in this process, which saves the second that a new one needs to import Polars. A variable that Python
    reads when it starts, `--no-wait` of a run on this machine, and `new_process=True` start the installed program.
    """
    program = Path(sys.executable).with_name("sinagot-catalog")

    def run(
        *words: Any, cwd: Path = tmp_path, stdin: str = "", new_process: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        python_reads = any(name.startswith("PYTHON") for name in environment)
        leaves_a_process = "--no-wait" in words and "--deployment" not in words
        if not (new_process or python_reads or leaves_a_process):
            return run_here(command, cwd, stdin, environment)
        return subprocess.run(
            command,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, **environment},
        )

    return run


def run_here(
    command: list[str], cwd: Path, stdin: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process: its exit code, and what it and its children write to their streams."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(stdin.encode())
        files[0].seek(0)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
            stack.callback(os.close, saved := os.dup(number))
            stack.callback(os.dup2, saved, number)
            os.dup2(files[number].fileno(), number)
            patch.setattr(sys, name, stack.enter_context(open(number, mode, closefd=False)))
        patch.chdir(cwd)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", command)
        patch.setattr(logging.root, "handlers", [])  # of pytest: with them, Python prints no warning itself
        try:
            code = call(command[1:])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        texts = []
        for file in files[1:]:
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(command, code, *texts)


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """Tells the processes that this one has started, also those that have ended and nobody waited for."""

    def look() -> set[int]:
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                    found.add(int(stat.parent.name))
        return found

    return look
