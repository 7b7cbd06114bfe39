"""Whatever fsspec opens is opened by its address: archives, caches, servers, roots; errors say their reason."""

import contextlib
import http.server
import socket
import socketserver
import tarfile
import threading
import zipfile
from functools import partial
from pathlib import Path

import fsspec
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import SinagotError, StorageError

SCRIPTS = {"clean": ("raw/{id}.csv", "out/{id}.txt")}
FILES = {"raw/R1.csv": "one", "raw/R2.csv": "two", "deriv/x.txt": "x"}
APART = "outputs = 'results'\nlog = 'results/LOG'\n"


def opened(write_workspace, dataset, scripts=SCRIPTS, toml="", **options):
    folder = write_workspace(scripts, toml=f"[path]\ndataset = '{dataset}'\n{APART}{toml}")
    return Workspace(folder, **options)


def check_runs(ws):
    """Look at it, run it, and find that nothing is left to do."""
    assert ws.records.ids() == ["R1", "R2"]
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 2}, report.frame["message"].to_list()
    assert Path(ws.config.outputs, "out/R2.txt").read_text() == "twoclean;"
    steps = Workspace(ws.config.root).steps
    assert steps.collect()["status"].to_list() == ["DONE", "DONE"]
    assert steps.filter("stale").collect().is_empty()


@pytest.fixture
def archive(tmp_path):
    """A zip and a tar of the same files, with entries for folders."""
    tree = tmp_path / "tree"
    for name, content in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    (tree / "raw/R3.csv").mkdir()
    with (
        zipfile.ZipFile(tmp_path / "data.zip", "w") as one,
        tarfile.open(tmp_path / "data.tar.gz", "w:gz") as other,
    ):
        for path in sorted(tree.rglob("*")):
            one.write(path, path.relative_to(tree))
        other.add(tree, arcname=".")
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                other.add(path, arcname=str(path.relative_to(tree)))
    return tmp_path


@pytest.mark.parametrize(
    "url", ["zip://::{}/data.zip", "zip://::file://{}/data.zip", "tar://::{}/data.tar.gz"]
)
def test_an_archive_is_looked_at_and_run_with_outputs_elsewhere(write_workspace, archive, url):
    check_runs(opened(write_workspace, url.format(archive)))


def test_a_folder_of_an_archive_is_a_dataset_and_rows_run_in_processes(write_workspace, archive):
    ws = opened(write_workspace, f"zip://raw::{archive}/data.zip", {"clean": ("{id}.csv", "out/{id}.txt")})
    assert ws.records.ids() == ["R1", "R2"]
    assert ws.steps.run(progress=False, workers=2).counts() == {"done": 2}


@pytest.mark.parametrize("url", ["tar://::{}/dotted.tgz", "tar://lab::{}/dotted.tgz"])
def test_a_tar_of_the_folder_itself_is_a_dataset_whatever_its_name_says_of_compression(
    write_workspace, archive, url
):
    tree = archive / "tree"
    if "lab" in url:
        tree.rename(archive / "lab")
        tree.mkdir()
        (archive / "lab").rename(tree / "lab")
    with tarfile.open(archive / "dotted.tgz", "w:gz") as tar:
        tar.add(tree, arcname=".")
    check_runs(opened(write_workspace, url.format(archive), toml="[storage.tar]\ncompression = 'gzip'\n"))


@pytest.mark.usefixtures("archive")
def test_an_archive_lies_beside_the_config(write_workspace):
    folder = write_workspace(SCRIPTS, toml=f"[path]\ndataset = 'zip://::../data.zip'\n{APART}")
    check_runs(Workspace(folder))


def test_an_archive_takes_no_outputs_and_says_so(write_workspace, archive):
    folder = write_workspace(SCRIPTS, toml=f"[path]\ndataset = 'zip://::{archive}/data.zip'\n")
    ws = Workspace(folder)
    assert ws.records.count() == 2
    with pytest.raises(SinagotError, match="the run cannot write to"):
        ws.steps.run(mode="main_process", progress=False)


def test_an_archive_that_is_not_there_is_named(write_workspace, tmp_path):
    with pytest.raises(StorageError, match=r"nowhere\.zip cannot be opened"):
        opened(write_workspace, f"zip://::{tmp_path}/nowhere.zip").records.ids()


@pytest.mark.parametrize("url", ["simplecache::file://{}/tree", "simplecache::zip://::{}/data.zip"])
def test_a_cache_in_front_of_a_store_is_a_dataset(write_workspace, archive, url):
    check_runs(opened(write_workspace, url.format(archive)))


def test_a_cache_in_front_of_a_bucket_takes_options_of_the_bucket(write_workspace, moto):
    moto.put(FILES, "data")
    inner = {key: value for key, value in moto.options.items() if key != "client_kwargs"}
    toml = "[storage.s3]\n" + "".join(f"{key} = '{value}'\n" for key, value in inner.items())
    toml += f"client_kwargs = {{endpoint_url = '{moto.endpoint}', region_name = 'us-east-1'}}\n"
    check_runs(opened(write_workspace, f"simplecache::{moto.url}/data", toml=toml))


def test_protocols_may_be_in_capitals(write_workspace, moto):
    moto.put(FILES, "data")
    ws = opened(write_workspace, f"{moto.url.replace('s3', 'S3')}/data", storage_options=moto.options)
    assert ws.records.ids() == ["R1", "R2"]
    assert ws.config.dataset.startswith("s3://")


def test_the_root_of_a_store_in_memory_is_a_dataset(write_workspace):
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/{name}": content.encode() for name, content in FILES.items()})
    try:
        check_runs(opened(write_workspace, "memory://"))
    finally:
        fs.rm("/raw", recursive=True)
        fs.rm("/deriv", recursive=True)


def test_roots_with_empty_parts_and_tabs_are_read_too(write_workspace, moto, tmp_path):
    moto.put({"data//raw/R1.csv": "a\n1\n", "data//out/R1.txt": "a\n2\n"})
    url = f"{moto.url}/data/"
    folder = write_workspace(SCRIPTS, toml=f"[path]\ndataset = '{url}/x'\n", name="one")
    ws = Workspace(folder, data_path=f"{moto.url}/data//", storage_options=moto.options)
    assert ws.records.count() == 0  # slashes at the end are none
    moto.put({"da\tta/raw/R1.csv": "a\n1\n", "da\tta/out/R1.txt": "a\n2\n", "x//y/raw/R1.csv": "a\n1\n"})
    moto.put({"x//y/out/R1.txt": "a\n3\n"})
    for root, value in ((f"{moto.url}/da\tta", 2), (f"{moto.url}/x//y", 3)):
        ws = Workspace(folder, data_path=root, storage_options=moto.options)
        assert ws.records.ids() == ["R1"]
        assert ws.steps.scan_outputs(format="csv").collect()["a"].to_list() == [value]
    local = tmp_path / "lo\tcal"
    for name, text in (("raw/R1.csv", "a\n1\n"), ("out/R1.txt", "a\n4\n")):
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_text(text)
    assert Workspace(folder, data_path=local).steps.scan_outputs(format="csv").collect()["a"].to_list() == [4]


# --- a web server --------------------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; what is called `shut` is refused."""

    def send_head(self):
        if "/shut" in self.path:
            self.send_error(403)
            return None
        return super().send_head()

    def log_message(self, *_):
        """Be quiet."""


@pytest.fixture
def web(tmp_path):
    """A folder and the address that serves it."""
    (tmp_path / "web/raw").mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "web"))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path / "web", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(300)


@pytest.mark.parametrize("cache", ["", "simplecache::"])
def test_a_web_server_is_a_dataset_whose_names_are_plain(write_workspace, web, cache):
    folder, url = web[0], f"{cache}{web[1]}"
    for name in ("a b", "50%", "é+(1)", "x#1"):
        (folder / "raw" / f"{name}.csv").write_text(f"<{name}>")
    (folder / "raw/nested").mkdir()
    ws = opened(write_workspace, url, toml="[records]\nid_pattern = '.+'\n[steps]\nscripts = ['clean']\n")
    assert ws.records.ids() == ["50%", "a b", "x#1", "é+(1)"]
    report = ws.steps.run(mode="main_process", progress=False)
    assert report.counts() == {"done": 4}, report.frame["message"].to_list()
    assert Path(ws.config.outputs, "out/a b.txt").read_text() == "<a b>clean;"
    files = ws.refresh().files.collect()
    assert dict(files.select("path", "size").rows())["raw/a b.csv"] == 5
    assert ws.steps.filter("stale").collect().is_empty()


def test_a_folder_of_a_web_server_is_no_file(write_workspace, web):
    folder, url = web
    (folder / "raw/R1").mkdir()
    (folder / "raw/R2").write_text("x")
    ws = opened(write_workspace, url, {"clean": ("raw/{id}", "out/{id}")})
    assert ws.records.ids() == ["R2"]
    report = ws.records.get("R1").steps.run(step_label="clean", mode="main_process", progress=False)
    assert report.counts() == {"not_available": 1}


def test_an_address_that_is_not_found_is_told_as_such(write_workspace, web):
    with pytest.raises(StorageError, match=r"/nowhere cannot be listed: 404 Not Found"):
        opened(write_workspace, f"{web[1]}/nowhere").records.ids()


def test_a_server_that_does_not_answer_is_an_error_and_no_folder_that_cannot_be_read(write_workspace):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(StorageError, match=r"/raw cannot be listed: .*onnect"):
        opened(write_workspace, f"http://127.0.0.1:{port}").records.ids()


def test_a_folder_that_a_server_refuses_is_unknown_and_not_empty(write_workspace, web):
    folder, url = web
    (folder / "R1").mkdir()
    (folder / "R1/a.csv").write_text("x")
    (folder / "shut").mkdir()
    scripts = {"clean": ("{id}/a.csv", "out/{id}")}
    ws = opened(
        write_workspace,
        url,
        scripts,
        toml="[records]\nid_pattern = 'R1|shut'\n[steps]\nscripts = ['clean']\n",
    )
    found = dict(ws.steps.collect().select("record_id", "status").rows())
    assert found == {"R1": "DATA_READY", "shut": None}
    assert "shut" in ws.explain("shut", "clean").reason


# --- an FTP server ---------------------------------------------------------------------------------------------


class Ftp(socketserver.StreamRequestHandler):
    """As much of an FTP server as a client needs to look and to read; it wants a name and a password."""

    def setup(self):
        super().setup()
        self.data = socket.socket()

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())

    def send(self, content):
        connection, _ = self.data.accept()
        with connection:
            self.say("150 here it comes")
            connection.sendall(content)
        self.data.close()
        self.say("226 done")

    def listen(self):
        self.data.close()
        self.data = socket.create_server(("127.0.0.1", 0))
        high, low = divmod(self.data.getsockname()[1], 256)
        self.say(f"227 (127,0,0,1,{high},{low})")

    def finish(self):
        self.data.close()
        super().finish()

    def handle(self):  # noqa: C901 - one case for each command
        self.say("220 hello")
        start, words = 0, {}
        for raw in self.rfile:
            command, _, argument = raw.decode().strip().partition(" ")
            at = Path(self.server.folder, argument.lstrip("/"))
            words[command] = argument
            match command:
                case "USER":
                    self.say("331 password")
                case "PASS":
                    self.say(
                        "230 welcome" if (words["USER"], argument) == ("ann", "hidden-word") else "530 no"
                    )
                case "PASV":
                    self.listen()
                case "REST":
                    start = int(argument)
                    self.say("350 from there")
                case "MLSD" if at.is_dir():
                    kinds = [(one, "dir" if one.is_dir() else "file") for one in sorted(at.iterdir())]
                    facts = [
                        f"type={kind};size={one.stat().st_size};modify=20260101120000; {one.name}"
                        for one, kind in kinds
                    ]
                    self.send("".join(f"{line}\r\n" for line in facts).encode())
                case "RETR" if at.is_file():
                    self.send(at.read_bytes()[start:])
                    start = 0
                case "SIZE" if at.is_file():
                    self.say(f"213 {at.stat().st_size}")
                case "CWD" if at.is_dir():
                    self.say("250 there")
                case "TYPE" | "NOOP":
                    self.say("200 fine")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("550 no such thing")


@pytest.fixture
def ftp(tmp_path):
    """A folder and the address, with name and password, that serves it."""
    (tmp_path / "ftp/lab").mkdir(parents=True)
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Ftp)
    server.daemon_threads = True
    server.folder = tmp_path / "ftp"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield tmp_path / "ftp/lab", f"ftp://ann:hidden-word@127.0.0.1:{server.server_address[1]}/lab"
    server.shutdown()
    server.server_close()
    thread.join(300)


def test_an_ftp_server_is_opened_by_name_and_password_of_its_address(write_workspace, ftp):
    folder, url = ftp
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    (folder / "raw/R3.csv").mkdir()
    check_runs(opened(write_workspace, url))


def test_a_folder_that_an_ftp_server_lacks_is_named_without_the_password(write_workspace, ftp):
    with pytest.raises(
        StorageError, match=r"/lab/nowhere cannot be listed: there is no such folder"
    ) as caught:
        opened(write_workspace, f"{ftp[1]}/nowhere").records.ids()
    assert "hidden-word" not in str(caught.value)


# --- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDenied", "access denied"),
        ("InvalidAccessKeyId", "the access key is not known there"),
        ("SignatureDoesNotMatch", "the secret key does not fit"),
        ("ExpiredToken", "the session token has expired"),
        ("InvalidObjectState", "the object is archived: restore it first"),
    ],
)
def test_a_store_that_refuses_says_why(write_workspace, code, says):
    """The store's answer is given by a small server that speaks as S3 does."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Be quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        options = {
            "key": "unknown",
            "secret": "nothing",
            "client_kwargs": {
                "endpoint_url": f"http://127.0.0.1:{server.server_port}",
                "region_name": "us-east-1",
            },
        }
        with pytest.raises(StorageError, match=says):
            opened(write_workspace, "s3://lab/data", storage_options=options).records.ids()
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "url", ["ftp://ann:hidden-word@127.0.0.1:9/data", "sftp://ann:hidden-word@127.0.0.1:9/data"]
)
def test_a_server_that_does_not_answer_is_named_without_its_password(write_workspace, url):
    with pytest.raises(StorageError) as caught, contextlib.suppress(ConnectionError):
        opened(write_workspace, url).records.ids()
    assert "hidden-word" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
