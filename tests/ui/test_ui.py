"""`sinagot-catalog ui`: the page, alive; what people see in a real browser, and what strangers do not get."""

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from sinagot_catalog import Workspace
from tests.browser import ARGUMENTS, CHROMIUM, browser_needed

PROGRAM = Path(sys.executable).with_name("sinagot-catalog")
WAIT = 300

FAILS_ON_TWO = "if self.id == 'R2':\n    raise ValueError('no boats')\nself.path.output.write_text('x')"


def png(width=2, height=2):
    """A picture of one colour."""

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    lines = (b"\0" + b"\x30\x90\x60" * width) * height
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


class Ui:
    """A running `ui`, and a client of it that can lie about itself."""

    def __init__(self, words):
        self.process = subprocess.Popen(
            [str(PROGRAM), "ui", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        ready, _, _ = select.select([self.process.stdout], [], [], WAIT)
        self.address = self.process.stdout.readline().strip() if ready else ""
        assert self.address, self.end()
        parts = urlsplit(self.address)
        self.host, self.port = parts.netloc, parts.port
        self.base = f"http://{self.host}"
        self.token = parse_qs(parts.query)["token"][0]
        self.cookie = None

    def request(self, method, path, body=None, **headers):
        """Send one request; a header that is None is left out."""
        sent = {"host": self.host, "cookie": self.cookie}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    connection.putheader(name, one)
        if body is not None and "content-length" not in sent:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.content = answer.read()
        answer.words = answer.content.decode(errors="replace")
        connection.close()
        return answer

    def get(self, path, **headers):
        return self.request("GET", path, **headers)

    def log_in(self):
        answer = self.get(f"/?token={self.token}")
        assert answer.status == 303
        self.cookie = answer.getheader("set-cookie").partition(";")[0]
        return answer

    def post(self, path, body, **headers):
        """Send what the page itself would send."""
        form_token = re.search(r'name="form-token" content="(\w+)"', self.get("/").words)
        own = {
            "origin": self.base,
            "content_type": "application/json",
            "x_form_token": form_token[1] if form_token else "",
        }
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, text, **{**own, **headers})

    def end(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            said = self.process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said = self.process.communicate()
        return self.process.returncode, *said


@pytest.fixture
def start():
    """Start `ui`; it ends with the test."""
    started = []

    def run(*words, log_in=True):
        started.append(Ui(words))
        if log_in:
            started[-1].log_in()
        return started[-1]

    yield run
    for ui in started:
        ui.end(signal.SIGKILL)


@pytest.fixture
def folder(write_workspace):
    """A workspace of four records, one of which fails."""
    folder = write_workspace(
        {"a": ("raw/{id}", "a/{id}.txt", FAILS_ON_TWO), "b": ("a/{id}.txt", "b/{id}.txt")},
        [f"raw/R{n}" for n in range(1, 5)],
        toml="[records]\nid_pattern = 'R\\d'\nexclude = 'exclude.csv'\n[steps]\nscripts = ['a', 'b']\n",
    )
    Workspace(folder).steps.filter(step="a").run(mode="main_process", progress=False)
    return folder


def key(record_id, step, **more):
    return {"record_id": record_id, "step": step, **more}


def row(record_id, step, page="/row", **more):
    return f"{page}?{urlencode(key(record_id, step, **more))}"


# --- who gets in ---------------------------------------------------------------------------------------------


def test_the_token_becomes_a_cookie_and_leaves_the_address(folder, start):
    ui = start(folder, log_in=False)
    refused = ui.get("/")
    assert refused.status == 401
    assert "R1" not in refused.words
    answer = ui.log_in()
    assert answer.getheader("location") == "/"
    cookie = answer.getheader("set-cookie")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert ui.token not in cookie
    page = ui.get("/")
    assert page.status == 200
    assert ui.token not in page.words
    assert ui.get("/?token=guess").status == 403
    assert ui.get("/", cookie=ui.cookie[:-1]).status == 401


def test_only_names_of_the_loopback_are_answered(folder, start):
    ui = start(folder)
    for host in (
        "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:1", "0.1.2.3", "",
        "127.0.0.1@evil.example", "evil.example#127.0.0.1", ["127.0.0.1", "evil.example"], "192.168.0.1", "[::2]",
    ):  # fmt: skip
        assert ui.get("/", host=host).status in (400, 421), host
        assert ui.get(f"/?token={ui.token}", host=host).status in (400, 421), host


def test_a_tunnel_may_change_the_port(folder, start):
    ui = start(folder)
    for host in ("localhost:9000", "127.0.0.1:9000", "[::1]:9000"):
        assert ui.get("/", host=host).status == 200


def test_other_pages_get_nothing(folder, start):
    ui = start(folder)
    for site in ("cross-site", "same-site"):
        assert ui.get("/rows", sec_fetch_site=site, sec_fetch_mode="no-cors").status == 403
        assert ui.get("/rows", sec_fetch_site=site, sec_fetch_mode="navigate").status == 200
    headers = ui.get("/rows")
    assert headers.getheader("x-frame-options") == "DENY"
    assert headers.getheader("cross-origin-resource-policy") == "same-origin"
    assert headers.getheader("access-control-allow-origin") is None
    policy = headers.getheader("content-security-policy")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    nonces = {
        re.search(r"script-src 'nonce-([\w-]+)'", ui.get("/").getheader("content-security-policy"))[1]
        for _ in "12"
    }
    assert len(nonces) == 2


def test_a_post_comes_from_the_page_itself(folder, start):
    ui = start(folder)
    body = {"rows": [key("R1", "a")], "reason": "fog"}
    for status, change in (
        (403, {"origin": None}),
        (403, {"origin": "http://evil.example"}),
        (403, {"origin": "null"}),
        (403, {"origin": f"https://{ui.host}"}),
        (403, {"origin": f"http://localhost:{ui.port}"}),
        (403, {"x_form_token": None}),
        (403, {"x_form_token": "0" * 64}),
        (415, {"content_type": "text/plain"}),
        (415, {"content_type": "application/x-www-form-urlencoded"}),
        (401, {"cookie": None}),
        (421, {"host": "evil.example", "origin": "http://evil.example"}),
        (403, {"sec_fetch_site": "cross-site"}),
    ):
        assert ui.post("/exclude", body, **change).status == status, change
    assert not (folder / "exclude.csv").exists()
    assert ui.post("/exclude", body).status == 200
    assert "R1" in (folder / "exclude.csv").read_text()


def test_the_form_token_of_one_person_is_not_that_of_another(folder, start):
    ui = start(folder)
    first = re.search(r'name="form-token" content="(\w+)"', ui.get("/").words)[1]
    ui.log_in()
    assert ui.post("/exclude", {"rows": [key("R1", "a")], "reason": "x"}, x_form_token=first).status == 403


def test_a_wrong_post_is_one_sentence(folder, start):
    ui = start(folder)
    for body in (
        b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"rows": [], "reason": "x"}', b'{"rows": [1], "reason": "x"}',
        b'{"rows": [{"record_id": 1}], "reason": "x"}', b'{"rows": [{"step": "a"}], "reason": "x"}',
        b'{"rows": [{"record_id": "R1", "step": "a"}]}',
        b'{"rows": [{"record_id": "R1", "step": "a"}], "reason": " "}',
        b'{"rows": [{"record_id": "nobody", "step": "a"}], "reason": "x"}',
        b'{"rows": [{"record_id": "R1", "step": "nothing"}], "reason": "x"}',
        b'{"rows": [{"record_id": "R1", "step": ["a"]}], "reason": "x"}',
        b'{"rows": [{"record_id": "R1", "step": "aa"}], "reason": "x"}',
    ):  # fmt: skip
        answer = ui.post("/exclude", body)
        assert answer.status in (400, 404), body
        told = json.loads(answer.words)["told"]
        assert "Traceback" not in told
        assert "fault of sinagot-catalog" not in told
        assert "None" not in told
    assert told == "the rows name step 'aa', which is not declared; did you mean 'a'?"
    told = json.loads(ui.post("/exclude", b"{").words)["told"]
    assert told == "the request is not complete. Begin at the overview."
    assert not (folder / "exclude.csv").exists()


def test_a_giant_post_is_refused(folder, start):
    ui = start(folder)
    assert ui.post("/exclude", b"x" * 10, content_length=str(10**9)).status == 413
    assert ui.post("/exclude", b"0\r\n\r\n", content_length=None, transfer_encoding="chunked").status in (
        400,
        413,
    )
    chunked = {"content_length": "5", "transfer_encoding": "chunked"}
    assert ui.post("/exclude", b"0\r\n\r\n", **chunked).status in (400, 413)
    assert ui.get("/").status == 200


def test_read_only_has_no_posts(folder, start):
    ui = start(folder, "--read-only")
    page = ui.get(row("R1", "a"))
    assert "read-only" in page.words
    assert "form-token" not in page.words
    assert "/exclude" not in page.words
    for path in ("/exclude", "/include"):
        assert ui.post(path, {"rows": [key("R1", "a")], "reason": "x"}).status == 403
    assert not (folder / "exclude.csv").exists()


def test_other_methods_and_paths_are_refused(folder, start):
    ui = start(folder)
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert ui.request(method, "/exclude").status == 405
    for path in (
        "/docs",
        "/openapi.json",
        "/redoc",
        "/page.html",
        "/../workspace.toml",
        "/file/../../etc/passwd",
        "/%2e%2e/x",
    ):
        answer = ui.get(path)
        assert answer.status == 404
        assert "there is no such page" in answer.words
    assert ui.get("/exclude").status in (404, 405)


# --- filters -------------------------------------------------------------------------------------------------


def test_a_filter_is_as_safe_as_that_of_the_command_line(folder, start):
    ui = start(folder)
    for where, sentence in (
        ("record_id IN (SELECT * FROM read_csv('/etc/passwd'))", "the filter holds a query: SELECT"),
        ("record_id = read_csv('/etc/passwd')", "the filter calls read_csv: no file is read here"),
        ("status = 'DOEN'", "status is never 'DOEN'; did you mean 'DONE'?"),
        ("status = ", "cannot be read"),
        ("colour = 'red'", "colour"),
        ("<script>alert(1)</script>", "cannot be read"),
    ):
        for page in ("/", "/rows"):
            answer = ui.get(f"{page}?where={quote(where)}")
            assert answer.status == 400
            words = answer.words.replace("&#39;", "'")
            assert sentence in words
            assert "root:" not in words
            assert "<script>alert" not in words


def test_rows_are_filtered_sorted_and_paged_by_the_address(write_workspace, start):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, [f"raw/R{n:03d}" for n in range(250)])
    ui = start(folder)
    records = lambda page: re.findall(r">(R\d+)</a>", page.words)  # noqa: E731
    first = ui.get("/rows")
    assert "250 rows" in first.words
    assert records(first) == [f"R{n:03d}" for n in range(100)]
    assert records(ui.get("/rows?page=3")) == [f"R{n:03d}" for n in range(200, 250)]
    assert records(ui.get("/rows?page=99")) == [f"R{n:03d}" for n in range(200, 250)]
    assert records(ui.get("/rows?page=-1"))[0] == "R000"
    assert records(ui.get("/rows?sort=record_id&down=1"))[0] == "R249"
    assert records(ui.get("/rows?sort=nothing"))[0] == "R000"
    narrowed = ui.get("/rows?" + urlencode({"where": "record_id >= 'R248'"}))
    assert records(narrowed) == ["R248", "R249"]


def test_a_status_that_the_filter_names_already_is_not_added_again(folder, start):
    ui = start(folder)

    def chips(where=""):
        links = re.findall(r'class="chip" href="([^"]+)"', ui.get(f"/rows?where={quote(where)}").words)
        return [parse_qs(urlsplit(link).query)["where"][0] for link in links]

    done = next(where for where in chips() if "DONE" in where)
    assert chips(done) == [done]
    [narrowed] = chips("step = 'a' AND record_id <> 'R2'")  # all of them are done
    assert narrowed == f"(step = 'a' AND record_id <> 'R2') AND {done}"
    assert chips(narrowed) == [narrowed]


def test_many_filters_at_once_are_answered(folder, start):
    ui = start(folder)
    filters = [f"/?{urlencode({'where': f'n_files > {n % 24} - 9'})}" for n in range(72)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ui.get, filters))
    assert {answer.status for answer in answers} == {200}


def test_the_command_runs_what_is_seen_from_a_shell(folder, start):
    ui = start(folder)
    where = "record_id IN ('R1', 'R3') AND message IS NULL AND reason <> 'it''s; $(touch x) `id`'"
    page = ui.get("/rows?" + urlencode({"where": where})).words
    command = re.search(r'id="command"><code>(.*?)</code>', page, re.DOTALL)[1]
    for code, char in (("&#39;", "'"), ("&#34;", '"'), ("&gt;", ">"), ("&lt;", "<"), ("&amp;", "&")):
        command = command.replace(code, char)
    done = subprocess.run(
        ["sh", "-c", f"{command} --csv"], capture_output=True, text=True, timeout=300, check=False,
        cwd=folder.parent, env={**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"(R\d),,,b,done", done.stdout)) == ["R1", "R3"]
    assert not (folder.parent / "x").exists()


# --- rows and files ------------------------------------------------------------------------------------------


def test_a_row_shows_why_its_log_and_its_files(folder, start):
    ui = start(folder)
    page = ui.get(row("R2", "a")).words
    assert "ValueError: no boats" in page
    assert "Traceback" in page
    assert "raw/R2" in page
    assert "--record R2 --step a" in page
    assert ui.get(row("R9", "a")).status == 200  # it may come
    assert ui.get(row("nobody", "a")).status == 404
    assert ui.get(row("R1", "nothing")).status == 404
    assert ui.get("/row").status == 400


def test_files_are_found_by_their_row_never_by_a_path(folder, start):
    ui = start(folder)
    assert ui.get(row("R1", "a", "/file", n=0)).content == b"raw;"
    for more in ({"n": 7}, {"n": -1}, {"n": 0, "inside": 0}, {"n": 0, "inside": -1}):
        assert ui.get(row("R1", "a", "/file", **more)).status == 404, more
    for path in ("../workspace.toml", "/etc/passwd", "raw/R1"):
        assert ui.get(row("R1", "a", "/file", n=path)).status == 400
        assert ui.get(row("R1", "a", "/file", n=0, path=path)).content == b"raw;"
        assert ui.get(row(path, "a", "/file", n=0)).status == 404
    assert ui.get(row("R2", "a", "/file", n=1)).status in (400, 404, 500)
    assert "a/R2.txt" in ui.get(row("R2", "a", "/file", n=1)).words


def test_results_with_scripts_are_never_shown_inline(make_workspace, start):
    evil = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    files = {
        "raw/R1.svg": evil,
        "raw/R2.svg": "<html><script>alert(2)</script></html>",
        "raw/R3.svg": png().decode("latin-1"),
    }
    ws = make_workspace({"a": ("raw/{id}.svg", "a/{id}")}, files)
    (Path(ws.data_path) / "raw" / "R3.svg").write_bytes(png())
    ui = start(ws.config.root)
    for record in ("R1", "R2"):
        answer = ui.get(row(record, "a", "/file", n=0))
        assert answer.getheader("content-type") == "application/octet-stream"
        assert answer.getheader("content-disposition").startswith("attachment")
        assert answer.getheader("x-content-type-options") == "nosniff"
        assert answer.getheader("content-security-policy") == "default-src 'none'; sandbox"
        page = ui.get(row(record, "a")).words
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
        assert "<img" not in page
    picture = ui.get(row("R3", "a", "/file", n=0))  # its first bytes tell
    assert picture.getheader("content-type") == "image/png"
    assert picture.getheader("content-security-policy") == "default-src 'none'; sandbox"


def test_names_with_markup_are_text(make_workspace, start):
    evil = "<img src=x onerror=alert(1)>\"'&amp;"
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, [f"raw/{evil}"], id_pattern=r"[^/]+")
    ui = start(ws.config.root)
    for path in ("/", "/rows", row(evil, "a"), "/rows?" + urlencode({"where": f"record_id = '{evil}'"})):
        page = ui.get(path)
        assert "<img src=x" not in page.words, path
    name = ui.get(row(evil, "a", "/file", n=0)).getheader("content-disposition")
    assert name == "attachment; filename*=UTF-8''" + quote(evil, safe="")


def test_a_giant_file_and_a_pipe_are_not_read(make_workspace, start):
    ws = make_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1", "raw/R2"])
    with (Path(ws.data_path) / "raw" / "R1").open("wb") as file:
        file.truncate(1 << 33)
    ui = start(ws.config.root)
    (Path(ws.data_path) / "raw" / "R2").unlink()
    os.mkfifo(Path(ws.data_path) / "raw" / "R2")
    page = ui.get(row("R1", "a"))
    assert page.status == 200
    assert "8.6 GB" in page.words or "8 GiB" in page.words
    assert ui.get(row("R1", "a", "/file", n=0)).status == 500
    assert ui.get(row("R2", "a", "/file", n=0)).status in (400, 404, 500)
    assert ui.get(row("R2", "a")).status == 200


def test_links_out_of_the_dataset_are_not_followed(make_workspace, start, tmp_path):
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}"), "b": ("day/{id}/", "b/{id}")},
        {"raw/R1": "here", "raw/R2": "", "raw/R3": "", "day/R1/x.txt": "inside", "day/R3/x.txt": ""},
    )
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x.txt").write_text("a secret of another folder")
    data = Path(ws.data_path)
    for name, target in (("raw/R2", secret / "x.txt"), ("raw/R3", data / "raw" / "R1"), ("day/R2", secret)):
        (data / name).unlink(missing_ok=True)
        (data / name).symlink_to(target)
    (data / "day" / "R3" / "x.txt").unlink()
    (data / "day" / "R3" / "x.txt").symlink_to(secret / "x.txt")
    ui = start(ws.config.root)
    for path in (row("R2", "a"), row("R2", "b"), row("R3", "b")):
        page = ui.get(path)
        assert page.status == 200, page.words
        assert "a secret" not in page.words
    assert "leads out of the dataset" in ui.get(row("R2", "a")).words
    assert "leads out of the dataset" in ui.get(row("R3", "b")).words
    for path in (row("R2", "a", "/file", n=0), row("R2", "b", "/file", n=0, inside=0),
                 row("R3", "b", "/file", n=0, inside=0)):  # fmt: skip
        answer = ui.get(path)
        assert "a secret" not in answer.words
        assert answer.status in (404, 500)
    assert ui.get(row("R3", "a", "/file", n=0)).content == b"here"
    assert ui.get(row("R1", "b", "/file", n=0, inside=0)).content == b"inside"


@pytest.mark.parametrize("name", ["json", "ndjson", "parquet", "arrow", "csv"])
def test_a_broken_table_has_a_page_nevertheless(make_workspace, start, name):
    ws = make_workspace({"a": (f"raw/{{id}}.{name}", "a/{id}")}, {f"raw/R1.{name}": "[" * 200_000})
    (Path(ws.data_path) / "raw" / f"R2.{name}").write_bytes(b"PAR1" + b"\0\xff" * 500 + b"PAR1")
    ui = start(ws.config.root)
    assert ui.get(row("R1", "a")).status == 200
    assert ui.get(row("R2", "a")).status == 200


def test_tables_and_texts_have_a_preview(make_workspace, start):
    import polars as pl

    ws = make_workspace(
        {
            "a": (
                {"t": "raw/{id}.csv", "p": "raw/{id}.parquet", "j": "raw/{id}.json", "x": "raw/{id}.log"},
                "a/{id}",
            )
        }
    )
    raw = Path(ws.data_path) / "raw"
    raw.mkdir()
    (raw / "R1.csv").write_text("kind,boats\n<b>ferry</b>,007\n" + "sail,1\n" * 30)
    pl.DataFrame({"depth": [1.5, None]}).write_parquet(raw / "R1.parquet")
    (raw / "R1.json").write_text('{"snr": 3.25, "parts": [1, 2]}')
    (raw / "R1.log").write_text("line\n" * 10_000)
    ui = start(ws.config.root)
    page = ui.get(row("R1", "a")).words
    for text in (
        "&lt;b&gt;ferry&lt;/b&gt;",
        "<td>007</td>",
        '<th scope="col">depth</th>',
        "<td>1.5</td>",
        "<td>[1, 2]</td>",
    ):
        assert text in page
    assert page.count("line\n") < 3_000
    for name in ("csv", "parquet", "json"):
        (raw / f"R1.{name}").write_bytes(b'"a\0\xff\n[{')
    assert ui.get(row("R1", "a")).status == 200


def test_a_folder_shows_the_files_in_it(make_workspace, start):
    ws = make_workspace({"a": ("raw/{id}/", "a/{id}")}, ["raw/R1/note.txt"])
    (Path(ws.data_path) / "raw" / "R1" / "map.png").write_bytes(png())
    ui = start(ws.config.root)
    page = ui.get(row("R1", "a")).words
    source = re.search(r'<img src="([^"]+)"', page)[1].replace("&amp;", "&")
    assert ui.get(source).content == png()
    assert "map.png" in page
    assert "note.txt" in page


# --- alive ---------------------------------------------------------------------------------------------------


def until(true):
    """Wait until something is true."""
    end = time.monotonic() + WAIT
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def test_new_files_and_results_are_seen(folder, start):
    ui = start(folder)
    before = json.loads(ui.get("/version").words)["version"]
    assert json.loads(ui.get("/version").words)["version"] == before
    (folder / "dataset" / "raw" / "R7").touch()
    until(lambda: json.loads(ui.get("/version").words)["version"] != before)
    assert ">R7</a>" in ui.get("/rows").words


def test_a_broken_toml_is_a_sentence_until_it_is_mended(folder, start):
    ui = start(folder)
    toml = folder / "workspace.toml"
    good = toml.read_text()
    toml.write_text(good + "\n[run]\nmode = 'main_proces'\n")
    page = until(lambda: next((one for one in [ui.get("/rows").words] if "main_proces" in one), None))
    assert "Traceback" not in page
    assert ">R1</a>" in page
    toml.write_text(good.replace("'b'", ""))
    page = until(lambda: next((one for one in [ui.get("/rows").words] if ">b</td>" not in one), None))
    assert "main_proces" not in page
    toml.unlink()
    until(lambda: "Shown is what was listed before" in ui.get("/").words)


def test_excluded_rows_come_back(folder, start):
    ui = start(folder)
    answer = ui.post(
        "/exclude", {"rows": [key("R1", "b"), {"record_id": "R3"}], "reason": "fog, <b>thick</b>"}
    )
    assert json.loads(answer.words)["n"] == 2
    excluded = "/rows?" + urlencode({"where": "status = 'EXCLUDED'"})
    assert re.findall(r">(R\d)</a>", ui.get(excluded).words) == ["R1", "R3", "R3"]
    assert "<b>thick" not in ui.get(excluded).words
    assert json.loads(ui.post("/include", {"rows": [{"record_id": "R3"}]}).words)["n"] == 1
    assert re.findall(r">(R\d)</a>", ui.get(excluded).words) == ["R1"]
    assert Workspace(folder).steps.filter(status="EXCLUDED").count() == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it(folder, start, number):
    ui = start(folder)
    with socket.create_connection(("127.0.0.1", ui.port)):  # an open connection does not hold it
        code, _, said = ui.end(number)
    assert code == 0
    assert said.splitlines()[-1] == "ended"
    assert "Traceback" not in said, said


def test_a_port_that_is_taken_is_one_sentence(folder, cli):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cli("ui", folder, "--port", port, new_process=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: port {port} cannot be used: Address already in use\n"
        "Name another one with --port, or none for a free one.\n"
    )
    assert cli("ui", folder, "--port", "70000").returncode == 2


def test_no_look_loads_a_web_server(harbor_folder):
    program = (
        "import sys; from sinagot_catalog.cli import call;"
        " call(['status', sys.argv[1]]); call(['report', sys.argv[1]]);"
        " print(sorted({'fastapi', 'uvicorn', 'starlette'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(harbor_folder)], capture_output=True, text=True, timeout=300,
        check=True, cwd=harbor_folder,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


# --- in a browser --------------------------------------------------------------------------------------------


@pytest.fixture
def browser():
    """A real browser; what its pages complain about fails the test."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        said = []

        def person(ui, path="", **options):
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(WAIT * 1000)
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda one: None if one.url.startswith((ui.base, "data:")) else said.append(one.url),
            )
            page.goto(ui.address)
            assert page.url == f"{ui.base}/"
            if path:
                page.goto(ui.base + path)
            return page

        yield person
        browser.close()
        # where a test ends its server: a request may be on its way then
        assert [
            one for one in said if not re.search("net::ERR_(CONNECTION_|EMPTY_RESPONSE|SOCKET_)", one)
        ] == []


@browser_needed
@pytest.mark.filterwarnings("ignore")  # of playwright's own event loop
def test_two_people_see_each_others_decisions(folder, start, browser):
    ui = start(folder, log_in=False)
    ann, bob = browser(ui), browser(ui, "/rows")
    assert (
        ann.locator(".headline").inner_text()
        == "3 of 8 rows done (38 %), 1 failed, 3 can run now, 1 waits for an input"
    )
    ann.locator(".figures a", has_text="ERROR").click()
    ann.locator("#table a", has_text="R2").click()
    ann.fill("input[name=reason]", "no boats <i>at all</i>")
    ann.get_by_role("button", name="Exclude this step").click()
    ann.locator("#told", has_text="1 excluded").wait_for()
    ann.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert 0 <= ann.locator("#told").bounding_box()["y"] < ann.viewport_size["height"]  # however far down
    ann.locator("h2", has_text="R2 a: EXCLUDED").wait_for()
    bob.locator("tr", has_text="R2").locator("td.keep", has_text="EXCLUDED").first.wait_for()
    assert bob.locator("i", has_text="at all").count() == 0
    bob.locator("tr", has_text="R2").locator("input").first.check()
    bob.locator("#picked").get_by_role("button", name="Include").click()
    ann.locator("h2", has_text="R2 a: ERROR").wait_for()


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_pages_are_drawn_again_and_keep_what_was_begun(folder, start, browser):
    ui = start(folder, log_in=False)
    reader, writer = browser(ui, "/rows"), browser(ui, row("R1", "b"))
    writer.fill("input[name=reason]", "half a sen")
    (folder / "dataset" / "raw" / "R7").touch()
    reader.locator("#table a", has_text="R7").first.wait_for()
    writer.locator("#told", has_text="The workspace changed.").wait_for()
    assert writer.input_value("input[name=reason]") == "half a sen"
    reader.keyboard.press("/")
    reader.keyboard.type("record_id = 'R7'\n")
    reader.locator("h2", has_text="2 rows").wait_for()
    reader.goto(f"{ui.base}/")
    reader.locator(".bins").first.click(position={"x": 2, "y": 5})
    reader.locator("h2", has_text="2 rows").wait_for()
    assert parse_qs(urlsplit(reader.url).query)["where"] == ["record_id = 'R1'"]
    ui.end()
    writer.locator("#told", has_text="The server has ended").wait_for()


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_what_is_picked_while_a_page_is_drawn_again_stays_picked(folder, start, browser):
    ui = start(folder, log_in=False)
    page = browser(ui, "/rows")

    def late(route):
        page.locator(".pick").first.check()
        route.continue_()

    page.route(f"{ui.base}/rows", late)
    (folder / "dataset" / "raw" / "R7").touch()
    page.locator("#told", has_text="The workspace changed.").wait_for()
    assert page.locator(".pick").first.is_checked()
    assert page.locator("#table a", has_text="R7").count() == 0


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_pictures_are_shown_and_pages_fit_a_phone(make_workspace, start, browser):
    ws = make_workspace({"a": ("raw/{id}.png", "a/{id}")}, ["raw/R1.png"])
    (Path(ws.data_path) / "raw" / "R1.png").write_bytes(png(900, 20))
    ui = start(ws.config.root, log_in=False)
    page = browser(ui, row("R1", "a"), viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert (
        page.evaluate("document.querySelector('img').decode().then(() => document.images[0].naturalWidth)")
        == 900
    )
    for path in ("/", "/rows", row("R1", "a")):
        page.goto(ui.base + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_no_text_covers_another_on_a_phone_with_20000_records(write_workspace, start, browser):
    ids = r"(?P<site>[AB])\d{5}"
    body = "raise ValueError('a montage of a name so long ' + 'that it cannot be on one line ' * 5)"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/A00000"], id_pattern=ids)
    for n in range(20_000):
        os.close(os.open(folder / "dataset" / "raw" / f"{'AB'[n % 2]}{n:05d}", os.O_CREAT | os.O_WRONLY))
    Workspace(folder).records.get("A00000").steps.run(mode="main_process", progress=False)
    ui = start(folder, log_in=False)
    page = browser(ui, viewport={"width": 390, "height": 800})
    over = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
    assert page.locator(":is(#groups, #runs, #durations) :is(td, th):visible").evaluate_all(over) == []
    page.goto(ui.base + row("A00000", "a"))
    page.locator("#log pre", has_text="that it cannot be on one line").wait_for()
    assert page.locator("#log pre").evaluate_all(over) == []


def test_an_empty_workspace_tells_what_it_looked_for_on_each_page(write_workspace, start):
    ui = start(write_workspace({"a": ("raw/{id}", "a/{id}"), "b": ("a/{id}", "b/{id}")}))
    for path in ("/", "/rows"):
        assert "dataset holds no file of a record; looked for raw/{id}<" in ui.get(path).words
    assert "There is no record yet." in ui.get("/").words
    assert "No row fits." not in ui.get("/rows").words


def test_one_record_and_one_page_are_named_so(write_workspace, start):
    ui = start(write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1", "raw/R2x"]))
    overview, rows = ui.get("/").words, ui.get("/rows").words
    assert "<b>1</b> record<" in overview
    assert "<summary>1 file does not match, such as raw/R2x" in overview
    assert "page 1 of 1" not in rows
    assert "No row fits." in ui.get("/rows?where=record_id%3D'R9'").words


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_results_are_shown_with_links_to_their_rows(make_workspace, start, browser):
    ws = make_workspace(
        {"a": ("raw/{id}", "a/{id}.png"), "t": ("raw/{id}", "t/{id}.csv")}, ["raw/R1", "raw/R2"]
    )
    for name, content in (("a/R2.png", png(30, 20)), ("t/R1.csv", b"snr\n4\n"), ("t/R2.csv", b"snr\n6\n")):
        (Path(ws.data_path) / name).parent.mkdir(exist_ok=True)
        (Path(ws.data_path) / name).write_bytes(content)
    for path in Path(ws.scripts_path).glob("*.py"):
        path.write_text(path.read_text().replace("    PATH_OUT", "    REPORT = True\n    PATH_OUT", 1))
    page = browser(start(ws.config.root, log_in=False))
    assert page.locator("#results .numbers tbody tr").inner_text().split() == [
        "all",
        "2",
        "5",
        "4",
        "to",
        "6",
    ]
    picture = page.locator("#results img")
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("async (one) => { await one.decode(); return one.naturalWidth; }") == 30
    picture.click()
    page.locator("h2", has_text="R2 a: DONE").wait_for()


@browser_needed
@pytest.mark.filterwarnings("ignore")
def test_100000_records_are_served(write_workspace, start, browser):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}"), "b": ("a/{id}", "b/{id}")}, id_pattern=r"R\d{6}")
    (folder / "dataset" / "raw").mkdir()
    for n in range(100_000):
        os.close(os.open(folder / "dataset" / "raw" / f"R{n:06d}", os.O_CREAT | os.O_WRONLY))
    ui = start(folder, log_in=False)
    page = browser(ui)
    assert page.locator(".headline").inner_text().startswith("0 of 200,000 rows done")
    page.goto(ui.base + "/rows?" + urlencode({"where": "record_id > 'R099'", "sort": "status", "page": "20"}))
    page.locator("h2", has_text="2,000 rows").wait_for()
    page.locator(".pager a", has_text="previous").click()
    page.locator(".pager span", has_text="page 19 of 20").wait_for()
