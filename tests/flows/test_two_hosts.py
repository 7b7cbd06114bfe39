"""A deployment whose parts run on two hosts, one of which is lost: no row is lost, and none runs twice."""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sinagot_catalog import Workspace
from tests.buckets import s3_bucket
from tests.hosts import Host, check_hosts, relay
from tests.servers import wait

pytestmark = pytest.mark.timeout(420)

PROGRAMS = Path(sys.executable).parent
N_RECORDS = 24
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

    def run(self):
        text = self.path.input.read_text()
        self.note("start")
        # One host stands still after some rows, so that it is lost in the middle of a row.
        if socket.gethostname() == "lost" and self.label == "second" and text.count("first") == 1:
            seen = pathlib.Path({notes!r}).read_text().splitlines()
            if sum(line.startswith("end second") and line.endswith(" lost") for line in seen) >= 2:
                self.note("stand")
                time.sleep(300)
        time.sleep(0.1)
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
        process.wait(10)


@pytest.fixture
def folder(shared):
    """A workspace of two steps in the shared folder, with a short lease."""
    root = shared / "lab"
    (root / "scripts").mkdir(parents=True)
    (root / "dataset" / "raw").mkdir(parents=True)
    (root / "workspace.toml").write_text(
        "[records]\nid_pattern = 'R\\d+'\n[steps]\nscripts = ['first', 'second']\n[run]\nworkers = 2\nlease = 6\n"
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


def states(environment, ids):
    """The states of flow runs, by their ids."""
    found = {}
    for one in ids:
        command = [PROGRAMS / "prefect", "flow-run", "inspect", one, "--output", "json"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        found[one] = json.loads(done.stdout)["state"]["type"]
    return found


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_host_is_lost_and_the_next_flow_run_does_the_rest(  # noqa: PLR0917 - fixtures
    cli, hosts, shared, folder, prefect_server, moto_url, place
):
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_server.api_url,
        "PREFECT_API_AUTH_STRING": prefect_server.auth,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    where, options = str(folder), {}
    if place == "bucket":
        bucket = s3_bucket(moto_url, "hosts")
        bucket.upload(folder)
        where, options = bucket.url, bucket.environment
        environment |= options
    name = f"two-hosts-{place}"
    words = ("--pool", name, "--create-pool", "--concurrency", "8")
    done = cli("deploy", name, "-C", where, *words, **options)
    assert done.returncode == 0, done.stderr

    lost, kept = hosts
    submit = ("submit", "-C", where, "--deployment", name, "--parts", "4")
    done = cli(*submit, "--no-wait", "--json", **options)
    assert done.returncode == 0, done.stderr
    ids = [one["flow_run_id"] for one in json.loads(done.stdout)["flow_runs"]]
    assert len(ids) == 4
    for host in hosts:
        worker = [
            PROGRAMS / "prefect",
            "worker",
            "start",
            "--pool",
            name,
            "--limit",
            "1",
            "--name",
            host.name,
        ]
        host.start(worker, environment)

    def both_are_at_work():
        return read_notes(shared, "stand") and any(host == "kept" for _, host in read_notes(shared, "end"))

    wait(both_are_at_work, 120)
    lost.lose()
    interrupted = {row for row, host in read_notes(shared, "start") if host == "lost"} - {
        row for row, host in read_notes(shared, "end") if host == "lost"
    }
    assert interrupted

    report = cli(*submit, "--json", **options)
    assert report.returncode == 0, report.stderr + (kept.home / "said").read_text()
    ended, begun = (Counter(row for row, _ in read_notes(shared, what)) for what in ("end", "start"))
    assert ended == {(step, f"R{n}"): 1 for step in ("first", "second") for n in range(N_RECORDS)}
    assert {row for row, count in begun.items() if count > 1} == interrupted
    assert {host for _, host in read_notes(shared, "end")} == {"lost", "kept"}
    storage = {"storage_options": bucket.options} if place == "bucket" else {}
    assert Workspace(where, **storage).steps.filter(status="DONE").collect().height == 2 * N_RECORDS
    assert sorted(states(environment, ids).values()) == ["COMPLETED"] * 3 + ["CRASHED"]
