"""What tests share: a home of their own, and one real Prefect server for the whole session."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
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


# --- buckets -------------------------------------------------------------------------------------------------


class Bucket:
    """A real store of objects on this machine: its URL, the options that reach it, and its objects."""

    def __init__(self, url: str, options: dict[str, Any], environment: dict[str, str], endpoint: str = "") -> None:
        self.url = url
        self.options = options
        self.environment = environment
        self.endpoint = endpoint
        self.fs = fsspec.filesystem(url.partition("://")[0], skip_instance_cache=True, use_listings_cache=False, **options)

    def put(self, files: Mapping[str, str | bytes], prefix: str = "") -> None:
        """Write objects by their keys."""
        for key, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            self.fs.pipe_file("/".join(part for part in (self.url, prefix, key) if part), data)

    def upload(self, folder: Path, prefix: str = "") -> str:
        """Copy a folder; gives the URL of the copy."""
        files = {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}
        self.put(files, prefix)
        return "/".join(part for part in (self.url, prefix) if part)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys below a prefix, relative to the bucket."""
        base = self.fs._strip_protocol(self.url)
        at = f"{base}/{prefix}".rstrip("/")
        return sorted(name.removeprefix(f"{base}/") for name in self.fs.find(at) if not name.endswith("/"))

    def read(self, key: str) -> bytes:
        """An object's content."""
        return bytes(self.fs.cat_file(f"{self.url}/{key}"))


def s3_bucket(endpoint: str, name: str, key: str = "testkey", secret: str = "testsecret") -> Bucket:
    options = {"key": key, "secret": secret, "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"}}
    environment = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    bucket = Bucket(f"s3://{name}", options, environment, endpoint)
    bucket.fs.call_s3("create_bucket", Bucket=name)
    return bucket


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A server that speaks S3, in this process."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    server = server_module.ThreadedMotoServer(port=0, ip_address="127.0.0.1", verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_url: str) -> Bucket:
    """A bucket of its own on a server that speaks S3."""
    return s3_bucket(moto_url, f"lab-{secrets.token_hex(6)}")
