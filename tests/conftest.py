"""What tests share: a home of their own, and one real Prefect server for the whole session."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sinagot_catalog import Workspace, _server


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's Prefect and the user's local server out of the tests, and leave no server behind."""
    own = {
        "SINAGOT_CATALOG_HOME": str(tmp_path_factory.mktemp("sinagot-home")),
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect-home")),
    }
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(own)
    yield
    os.environ.update(own)
    _server.stop(timeout=5)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def prefect_server(own_home: None) -> Iterator[_server.LocalServer]:  # noqa: ARG001
    """The local server of the session: `api_url`, `auth`, `url`.

    A program that is started by a test finds it by itself, through the environment.
    """
    server = _server.start()
    server.wait_healthy(90)
    yield server
    _server.stop(timeout=5)


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
    """Run the installed command as a user does: `cli("status", folder)`; keywords are its environment."""
    program = Path(sys.executable).with_name("sinagot-catalog")

    def call(*words: Any, cwd: Path = tmp_path, stdin: str = "", **environment: str) -> Any:
        return subprocess.run(
            [program, *map(str, words)],
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **environment},
        )

    return call
