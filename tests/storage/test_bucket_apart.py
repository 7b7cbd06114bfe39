"""Stores that cannot keep runs apart, runs that died before their journal was sent, scripts on another machine."""

import base64
import http.client
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import StorageError
from sinagot_catalog.storage import open_store
from tests.hosts import Host, check_hosts, relay


class _Careless(BaseHTTPRequestHandler):
    """Hands requests on to a store, without the condition that they may have: as stores did for many years."""

    protocol_version = "HTTP/1.1"
    behind = ""

    def hand_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "if-none-match"}
        connection = http.client.HTTPConnection(self.behind, timeout=300)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def careless(moto):
    """The bucket behind a store without create-only puts; its options."""
    verbs = dict.fromkeys(
        (f"do_{verb}" for verb in ("GET", "PUT", "HEAD", "POST", "DELETE")), _Careless.hand_on
    )
    handler = type("Careless", (_Careless,), {"behind": urlsplit(moto.endpoint).netloc, **verbs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = {**moto.options["client_kwargs"], "endpoint_url": f"http://127.0.0.1:{server.server_port}"}
    yield {**moto.options, "client_kwargs": where}
    server.shutdown()
    server.server_close()
    thread.join(300)


def wait_until(is_so, seconds=300):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_store_without_create_only_puts_is_known_after_one_try(moto, careless):
    store = open_store(f"{moto.url}/LOG", careless)
    assert not store.can_create("claims")
    assert store.tree("") == {}
    assert open_store(f"{moto.url}/LOG", moto.options).can_create("claims")


def test_second_writer_is_refused_where_two_runs_cannot_be_kept_apart(
    moto, careless, write_workspace, tmp_path
):
    go_on = tmp_path / "go-on"
    body = f"""
    import pathlib, time
    pathlib.Path({str(tmp_path / "begun")!r}).touch()
    end = time.monotonic() + 300
    while not pathlib.Path({str(go_on)!r}).exists() and time.monotonic() < end:
        time.sleep(0.05)
    self.path.output.write_text("x")
    """
    folder = write_workspace({"slow": ("raw/{id}", "out/{id}", body)}, ["raw/R1", "raw/R2"])
    url = moto.upload(folder, "one")
    reports = []
    first = threading.Thread(
        target=lambda: reports.append(
            Workspace(url, storage_options=careless, trust=True).steps.run(workers=1, progress=False)
        )
    )
    first.start()
    wait_until((tmp_path / "begun").exists)
    second = Workspace(url, storage_options=careless, trust=True)
    with pytest.raises(StorageError, match=r"is at work in .*, and this store cannot keep two runs apart"):
        second.records.get("R2").steps.run(workers=1, progress=False)
    go_on.touch()
    first.join(300)
    assert reports[0].counts() == {"done": 2}
    again = second.refresh().steps.run(workers=1, force=True, progress=False)
    assert again.counts() == {"done": 2}


DYING = """
import json, sys
from sinagot_catalog import Workspace
from sinagot_catalog.run.claimed_runs import spool
spool._UPLOAD_EVERY = 3600  # it dies before it sends anything
ws = Workspace(sys.argv[1], storage_options=json.loads(sys.argv[2]), trust=True)
ws.steps.run(workers=1, progress=False)
"""


def test_journal_of_a_killed_run_is_sent_by_the_next_one(moto, write_workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    mark = tmp_path / "mark"
    body = f"""
    import pathlib, time
    mark = pathlib.Path({str(mark)!r})
    if self.id == "R2" and not mark.exists():
        mark.touch()
        time.sleep(600)
    self.path.output.write_text("x")
    """
    folder = write_workspace({"slow": ("raw/{id}", "out/{id}", body)}, ["raw/R1", "raw/R2"])
    url = moto.upload(folder, "one")
    run = subprocess.Popen(
        [sys.executable, "-c", DYING, url, json.dumps(moto.options)], start_new_session=True
    )
    try:
        wait_until(mark.exists)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait(300)
    assert not moto.keys("one/dataset/LOG/journal")
    (home,) = tmp_path.glob("sinagot-catalog-*")
    (dead,) = home.iterdir()
    ws = Workspace(url, storage_options=moto.options, trust=True)
    assert ws.steps.run(workers=1, progress=False).counts() == {"done": 1}
    events = ws.events().select("run_id", "record_id", "event").rows()
    assert [row[1:] for row in events if row[0] == dead.name] == [
        ("R1", "start"), ("R1", "done"), ("R2", "start"),
    ]  # fmt: skip
    assert list(home.iterdir()) == []
    assert set(ws.refresh().steps.collect()["status"]) == {"DONE"}


WAITING = """
import pathlib, time
pathlib.Path({begun!r}).touch()
end = time.monotonic() + 300
while self.id == "R1" and not pathlib.Path({go_on!r}).exists() and time.monotonic() < end:
    time.sleep(0.05)
self.path.output.write_text("x")
"""
RUNNING = """
import json, sys
from sinagot_catalog import Workspace
ws = Workspace(sys.argv[1], storage_options=json.loads(sys.argv[2]), trust=True)
ws.records.get("R1").steps.run(workers=1, progress=False)
"""


@pytest.fixture
def neighbour(moto, write_workspace, monkeypatch):
    """A host that shares the temporary folder with this one; it runs R1, which waits until a file exists."""
    with tempfile.TemporaryDirectory(prefix="shared-") as shared:
        folder = Path(shared)
        check_hosts(folder)
        monkeypatch.setenv("TMPDIR", shared)
        monkeypatch.setattr("tempfile.tempdir", None)
        begun, go_on = folder / "begun", folder / "go-on"
        body = WAITING.format(begun=str(begun), go_on=str(go_on))
        lab = write_workspace({"slow": ("raw/{id}", "out/{id}", body)}, ["raw/R1", "raw/R2"])
        url = moto.upload(lab, "one")
        port = urlsplit(moto.endpoint).port
        sock = folder / "s3.sock"
        process = relay(f"unix:{sock}", f"tcp:{port}")
        host = Host("neighbour", folder, {port: sock})
        try:
            wait_until(sock.exists)
            host.start([sys.executable, "-c", RUNNING, url, json.dumps(moto.options)], dict(os.environ))
            wait_until(begun.exists)
            (home,) = folder.glob("sinagot-catalog-*")
            yield Workspace(url, storage_options=moto.options, trust=True), host, home, go_on
        finally:
            host.lose()
            process.kill()
            process.wait(300)


def test_run_goes_on_when_another_host_with_the_same_temporary_folder_runs(neighbour):
    ws, _, home, go_on = neighbour
    assert ws.records.get("R2").steps.run(workers=1, progress=False).counts() == {"done": 1}
    go_on.touch()
    wait_until(lambda: list(home.iterdir()) == [])
    done = ws.refresh().steps.select("record_id", "status", "host").sort("record_id")
    assert done["status"].to_list() == ["DONE", "DONE"]
    assert done["host"][0] == "neighbour"


def test_journal_of_a_lost_host_is_sent_once_it_gave_no_sign_of_life_for_long(neighbour):
    ws, host, home, _ = neighbour
    host.lose()
    (lost,) = home.iterdir()
    assert ws.records.get("R2").steps.run(workers=1, progress=False).counts() == {"done": 1}
    assert list(home.iterdir()) == [lost]
    os.utime(lost / "owner", (0, 0))
    assert ws.records.get("R2").steps.run(workers=1, force=True, progress=False).counts() == {"done": 1}
    assert list(home.iterdir()) == []
    events = ws.refresh().events().filter(run_id=lost.name).select("record_id", "event").rows()
    assert events == [("R1", "start")]


ELSEWHERE = """
import base64, pickle, sys
from sinagot_catalog import Workspace
how, text = sys.argv[1:]
ws = Workspace(text, trust=True) if how == "opened" else pickle.loads(base64.b64decode(text))
report = ws.steps.run(workers=2, progress=False)
assert report.counts() == {"done": 9}, report.failures().rows()
"""


@pytest.mark.parametrize("how", ["pickled", "opened"])
def test_trusted_scripts_of_a_bucket_run_on_another_machine(moto, harbor_folder, tmp_path, how):
    """Another machine: a home, a temporary folder and a current folder of its own, and nothing of the workspace."""
    url = moto.upload(harbor_folder, "harbor")
    ws = Workspace(url, storage_options=moto.options, trust=True)
    assert ws.steps.plan().counts()["run"] == 9
    there = tmp_path / "there"
    for name in ("home", "tmp", "here"):
        (there / name).mkdir(parents=True)
    environment = {
        **os.environ,
        **moto.environment,
        "HOME": str(there / "home"),
        "TMPDIR": str(there / "tmp"),
        "SINAGOT_CATALOG_HOME": str(there / "home"),
    }
    text = url if how == "opened" else base64.b64encode(pickle.dumps(ws)).decode()
    words = [sys.executable, "-c", ELSEWHERE, how, text]
    done = subprocess.run(
        words, env=environment, cwd=there / "here", capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = {one.name for one in (there / "home").rglob("*.py")}
    assert kept == {"count.py", "mean.py", "summary.py"}
    assert not list((there / "here").iterdir())
    assert len([key for key in moto.keys("harbor/dataset") if "/LOG/" not in key]) == 12
