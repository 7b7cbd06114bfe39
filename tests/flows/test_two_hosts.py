"""A deployment whose parts run on two hosts, one of which is lost: no row is lost, and none runs twice."""

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import fsspec
import pytest

from sinagot_catalog import Workspace
from tests.buckets import s3_bucket
from tests.hosts import Host, check_hosts, relay
from tests.servers import wait

N_RECORDS = 18
N_PARTS = 3
SCRIPT = """
import os, pathlib, socket, time
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = {reads!r}
    PATH_OUT = "{step}/{{id}}.txt"

    def note(self, what):
        fd = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{{what}} {{self.label}} {{self.id}} {{socket.gethostname()}}\\n".encode())
        os.close(fd)

    def noted(self, what):
        return [line for line in pathlib.Path({notes!r}).read_text().splitlines() if line.startswith(what)]

    def run(self):
        text = self.path.input.read_text()
        self.note("start")
        if socket.gethostname() == "lost":
            # It stands still after some rows, and is lost in the middle of a row.
            if len([line for line in self.noted("end second") if line.endswith(" lost")]) >= 2:
                self.note("stand")
                time.sleep(600)
        else:
            # It leaves a part to the other host, however late that begins.
            deadline = time.monotonic() + 300
            while not self.noted("stand") and time.monotonic() < deadline:
                time.sleep(0.05)
        self.path.output.write_text(text + " {step}")
        self.note("end")
"""


@pytest.fixture
def shared():
    """A folder that both hosts see; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="shared-") as folder:
        check_hosts(Path(folder))
        yield Path(folder)


@pytest.fixture
def hosts(shared, prefect_server, moto_url):
    """Two hosts that reach the Prefect server and the store of objects."""
    ports = {
        urlsplit(url).port: shared / f"{urlsplit(url).port}.sock"
        for url in (prefect_server.api_url, moto_url)
    }
    relays = [relay(f"unix:{path}", f"tcp:{port}") for port, path in ports.items()]
    made = [Host(name, shared, ports) for name in ("lost", "kept")]
    wait(lambda: all(path.exists() for path in ports.values()))
    yield made
    for host in made:
        host.lose()
    for process in relays:
        process.kill()
        process.wait(300)


@pytest.fixture
def folder(shared):
    """A workspace of two steps in the shared folder, with a short lease."""
    root = shared / "lab"
    (root / "scripts").mkdir(parents=True)
    (root / "dataset" / "raw").mkdir(parents=True)
    (root / "workspace.toml").write_text(
        "[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = ['first', 'second']\n[run]\nworkers = 2\nlease = 30\n"
    )
    for step, reads in (("first", "raw/{id}.txt"), ("second", "first/{id}.txt")):
        text = SCRIPT.format(step=step, reads=reads, notes=str(shared / "notes"))
        (root / "scripts" / f"{step}.py").write_text(text)
    for number in range(N_RECORDS):
        (root / "dataset" / "raw" / f"R{number}.txt").write_text("raw")
    return root


def read_notes(shared, what):
    """What the scripts noted of a kind: pairs of a row and its host."""
    path = shared / "notes"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [((step, record), host) for kind, step, record, host in lines if kind == what]


@pytest.fixture
def states(prefect_server):
    """Give the sorted states of flow runs."""
    from prefect import get_client
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    where = {PREFECT_API_URL: prefect_server.api_url, PREFECT_API_AUTH_STRING: prefect_server.auth}
    with temporary_settings(where), get_client(sync_client=True) as client:
        yield lambda ids: sorted(client.read_flow_run(UUID(one)).state.type.value for one in ids)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_host_is_lost_and_the_next_flow_run_does_the_rest(  # noqa: PLR0917 - fixtures
    cli, hosts, shared, folder, prefect_server, moto_url, states, place
):
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_API_AUTH_STRING": prefect_server.auth,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    where, options, storage = str(folder), {}, {}
    dataset = fsspec.filesystem("file")
    if place == "bucket":
        bucket = s3_bucket(moto_url, "hosts")
        bucket.upload(folder)
        where, options, storage = bucket.url, bucket.environment, {"storage_options": bucket.options}
        dataset = bucket.fs
        environment |= options
    name = f"two-hosts-{place}"
    pool = ("--pool", name, "--create-pool", "--concurrency", N_PARTS)
    done = cli("deploy", name, "-C", where, *pool, **options)
    assert done.returncode == 0, done.stderr
    lost, kept = hosts
    prefect = Path(sys.executable).with_name("prefect")
    for host in hosts:
        words = ("worker", "start", "--pool", name, "--limit", "1", "--name", host.name)
        host.start([prefect, *words], environment)

    submit = ("submit", "-C", where, "--deployment", name, "--json")
    done = cli(*submit, "--parts", N_PARTS, "--no-wait", **options)
    assert done.returncode == 0, done.stderr
    ids = [one["flow_run_id"] for one in json.loads(done.stdout)["flow_runs"]]
    assert len(ids) == N_PARTS

    def rows(what, host):
        return {row for row, at in read_notes(shared, what) if at == host}

    def published(host):
        return {
            (step, record) for step, record in rows("start", host)
            if dataset.exists(f"{where}/dataset/{step}/{record}.txt")
        }  # fmt: skip

    def stands():
        """Whether the lost host is between no script's end and its publishing: such a row rightly runs again."""
        standing = rows("stand", "lost")
        return standing and rows("start", "lost") - standing == published("lost")

    wait(stands)
    lost.lose()
    wait(lambda: states(ids).count("COMPLETED") == N_PARTS - 1)
    interrupted = rows("start", "lost") - rows("end", "lost")
    assert interrupted

    def is_completed():
        done = cli(*submit, **options)
        assert done.returncode == 0, done.stderr + (kept.home / "said").read_text()
        return Workspace(where, **storage).steps.filter(status="DONE").collect().height == 2 * N_RECORDS

    wait(is_completed)  # until its lease is over, the lost host holds its rows
    ended, begun = (Counter(row for row, _ in read_notes(shared, what)) for what in ("end", "start"))
    assert ended == {(step, f"R{n}"): 1 for step in ("first", "second") for n in range(N_RECORDS)}
    assert {row for row, count in begun.items() if count > 1} == interrupted
    assert rows("end", "lost")
    assert rows("end", "kept")
    assert states(ids) == ["COMPLETED"] * (N_PARTS - 1) + ["CRASHED"]
