"""The local Prefect server: real processes, a real server."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sinagot_catalog.errors import ServerError
from sinagot_catalog.flows import environment as environment_of_programs
from sinagot_catalog.flows.server import api as _api
from sinagot_catalog.flows.server import local_server, server_state
from sinagot_catalog.journal.process_identity import boot_id, start_time
from tests.hosts import Host, check_hosts


@pytest.fixture
def other_home(tmp_path, monkeypatch) -> Iterator[Path]:
    """A home besides the one of the session; whatever is started in it ends with the test."""
    home = tmp_path / "home"
    monkeypatch.setenv("SINAGOT_CATALOG_HOME", str(home))
    yield home
    monkeypatch.setenv("SINAGOT_CATALOG_HOME", str(home))
    local_server.stop(timeout=2)


@pytest.fixture
def grown_home(other_home, grow_prefect) -> Path:
    """The same with a database that has its tables already, which saves a start most of its seconds."""
    grow_prefect(other_home)
    return other_home


def ask(url, **headers) -> tuple[int, dict, bytes]:
    """Code, headers and body of what an address answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=300) as answer:  # noqa: S310
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, b""


def code_of(url) -> int:
    return ask(url)[0]


def in_a_new_process(code, **environment) -> subprocess.CompletedProcess:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=300, check=True
    )


@contextmanager
def busy(server, seconds) -> Iterator[None]:
    """A server that takes connections, and answers nothing for some seconds."""
    os.kill(server.pid, signal.SIGSTOP)
    end = threading.Timer(seconds, os.kill, [server.pid, signal.SIGCONT])
    end.start()
    try:
        yield
    finally:
        end.join()


# -- its life


def test_the_server_answers_and_asks_for_its_password(prefect_server):
    assert code_of(f"{prefect_server.api_url}/health") == 200
    assert code_of(f"{prefect_server.api_url}/admin/version") == 401
    assert prefect_server.is_healthy()
    assert not replace(prefect_server, auth="admin:guessed").is_healthy()


def test_its_page_is_served_and_calls_its_own_api(prefect_server):
    assert code_of(prefect_server.url) == 200
    _, _, settings = ask(f"{prefect_server.url}/ui-settings")
    assert json.loads(settings)["api_url"] == prefect_server.api_url


def test_another_page_is_not_let_in_by_the_browser(prefect_server):
    for origin, allowed in (("http://elsewhere.example", None), (prefect_server.url, prefect_server.url)):
        _, headers, _ = ask(f"{prefect_server.api_url}/health", Origin=origin)
        assert headers.get("Access-Control-Allow-Origin") == allowed


def test_status_tells_the_login_of_the_page(prefect_server):
    said = local_server.status()
    assert said["running"]
    assert said["healthy"]
    assert f"{said['user']}:{said['password']}" == prefect_server.auth
    assert said["url"] == prefect_server.url
    assert said["pid"] == prefect_server.pid


def test_others_cannot_read_its_files(prefect_server):
    home = Path(prefect_server.log).parent
    for folder in (home, home / "prefect"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("server.json", "server.lock", "server.alive", "server.log"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


def test_it_listens_on_the_loopback_only(prefect_server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outwards:
        # This sends nothing; it tells the address of this machine, if there is a network.
        elsewhere = "127.0.0.2" if outwards.connect_ex(("192.0.2.1", 9)) else outwards.getsockname()[0]
    for address in {elsewhere, "127.0.0.2"}:
        with socket.socket() as knocking:
            knocking.settimeout(3)
            assert knocking.connect_ex((address, prefect_server.port)) != 0


def test_its_password_is_in_no_log_and_no_repr(prefect_server):
    password = prefect_server.auth.partition(":")[2]
    assert password not in repr(prefect_server)
    assert password not in Path(prefect_server.log).read_text()


def test_its_password_is_not_among_the_arguments_that_all_users_see(prefect_server):
    shown = subprocess.run(
        ["ps", "-o", "args=", "-p", str(prefect_server.pid)], capture_output=True, text=True, check=True
    ).stdout
    assert "server start" in shown
    assert prefect_server.auth.partition(":")[2] not in shown


def test_a_second_start_finds_the_first(prefect_server):
    assert local_server.start() == prefect_server
    assert local_server.find() == prefect_server


def test_another_port_is_not_opened_beside_it(prefect_server):
    with pytest.raises(ServerError, match=f"already runs at {prefect_server.url}"):
        local_server.start(port=prefect_server.port + 1)


def test_starting_stopping_and_starting_again_keeps_port_and_password(grown_home):
    first = local_server.start()
    first.wait_healthy(300)
    ended = local_server.stop(timeout=10)
    # how many runs its records call running depends on the tests before: some of those kill a run
    assert {**ended, "running": 0} == {"stopped": True, "pid": first.pid, "url": first.url, "running": 0}
    assert not first.is_alive
    assert local_server.find() is None
    assert local_server.status()["running"] is False
    again = local_server.start()
    assert (again.port, again.auth) == (first.port, first.auth)
    assert again.pid != first.pid
    assert stat.S_IMODE(grown_home.stat().st_mode) == 0o700


def test_nothing_to_stop_is_no_error(other_home):
    assert local_server.stop(timeout=1)["stopped"] is False
    assert local_server.status() == {"running": False, "healthy": False, "home": str(other_home)}


@pytest.mark.usefixtures("other_home")
def test_two_starts_at_once_start_one_server():
    code = "from sinagot_catalog.flows.server import local_server; print(local_server.start().pid)"
    starting = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    pids = {process.communicate(timeout=300)[0].strip() for process in starting}
    assert len(pids) == 1


@pytest.mark.usefixtures("other_home")
def test_it_outlives_the_program_that_started_it():
    code = "from sinagot_catalog.flows.server import local_server; print(local_server.start().pid)"
    pid = int(in_a_new_process(code).stdout)
    server = local_server.find()
    assert server is not None
    assert server.pid == pid
    assert os.getsid(pid) == pid  # of its own, so that Ctrl-C in the terminal does not reach it


@pytest.mark.usefixtures("other_home")
def test_a_killed_server_is_started_anew():
    first = local_server.start()
    os.kill(first.pid, signal.SIGKILL)
    while first.is_alive:
        pass
    assert local_server.find() is None
    assert local_server.status()["running"] is False
    second = local_server.start()
    assert second.is_alive
    assert (second.port, second.auth) == (first.port, first.auth)


ON_A_HOST = """
import json
from sinagot_catalog.flows.server import local_server
before = local_server.status()
server = local_server.start()
again = local_server.start()
found = local_server.status()
stopped = local_server.stop(timeout=2)
print(json.dumps([before["running"], again == server, found["running"], found["home"], stopped["stopped"]]))
"""


def test_hosts_that_share_a_home_have_a_server_each(grown_home, tmp_path):
    check_hosts(tmp_path)
    command = Host("node2", tmp_path, {}).command([sys.executable, "-c", ON_A_HOST])

    def on_a_host() -> list[object]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    server = local_server.start()
    assert on_a_host() == [False, True, True, str(grown_home / "hosts" / "node2"), True]
    assert server_state.find() == server
    server.wait_healthy(300)
    local_server.stop(timeout=2)
    assert on_a_host() == [False, True, True, str(grown_home), True]


@pytest.mark.usefixtures("other_home")
def test_a_process_that_got_its_id_later_is_left_alone():
    server = local_server.start()
    local_server.stop(timeout=1)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        server_state.write_state(replace(server, pid=bystander.pid, started="1"))
        assert local_server.find() is None
        assert local_server.stop(timeout=1)["stopped"] is False
        assert bystander.poll() is None
        server_state.write_state(
            replace(server, pid=bystander.pid, started=start_time(bystander.pid), boot="earlier")
        )
        assert local_server.find() is None
        assert boot_id() != "earlier"
    finally:
        bystander.communicate(b"\n", timeout=300)


def test_a_broken_state_file_counts_as_none(other_home):
    other_home.mkdir()
    for text in ("", "{", "[]", '{"pid": 1}'):
        (other_home / "server.json").write_text(text)
        assert local_server.find() is None


@pytest.mark.usefixtures("other_home")
def test_a_port_that_another_program_took_is_given_up():
    server = local_server.start()
    local_server.stop(timeout=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        assert local_server.start().port != server.port


@pytest.mark.usefixtures("other_home")
def test_a_port_that_is_asked_for_and_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port} of 127.0.0.1 is taken"):
            local_server.start(port=port)


@pytest.mark.usefixtures("other_home")
def test_a_server_of_another_prefect_version_makes_way():
    first = local_server.start()
    server_state.write_state(replace(first, prefect="3.0.0"))
    second = local_server.start()
    assert not first.is_alive
    assert second.is_alive
    assert second.prefect != "3.0.0"


def test_a_server_that_cannot_start_says_why(other_home):
    (other_home / "prefect").mkdir(parents=True)
    (other_home / "prefect" / "prefect.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ServerError, match=r"ended while it started: .*\n.*server\.log.*sinagot-catalog run"):
        local_server.start().wait_healthy(300)


def test_a_database_of_a_newer_prefect_is_said_and_can_be_put_aside(grown_home, cli):
    with closing(sqlite3.connect(grown_home / "prefect/prefect.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = 'of-the-future'")
        database.commit()
    failed = cli("server", "start")
    assert failed.returncode == 1
    assert "was written by a newer Prefect than" in failed.stderr
    assert "`sinagot-catalog server start --fresh`" in failed.stderr
    assert "Traceback" not in failed.stderr
    server = local_server.start(fresh=True)
    try:
        kept = [one for one in grown_home.glob("prefect-*") if (one / "prefect.db").exists()]
        assert len(kept) == 1
        with pytest.raises(ServerError, match=r"cannot be put aside\.\nEnd it first"):
            local_server.start(fresh=True)
        assert server.is_alive
    finally:
        local_server.stop(timeout=0)


@pytest.fixture
def run_under_way(prefect_server) -> Iterator[None]:
    """A flow run that the session's server believes to be running."""

    def post(path, **body) -> dict:
        return prefect_server.ask(f"/{path}", body)

    flow = post("flows/", name="of-somebody")
    run = post("flow_runs/", flow_id=flow["id"], state={"type": "RUNNING"})
    yield
    post(f"flow_runs/{run['id']}/set_state", state={"type": "COMPLETED"}, force=True)


@pytest.mark.usefixtures("run_under_way")
def test_a_server_of_another_version_that_is_at_work_is_left_alone_also_where_it_answers_late(prefect_server):
    server_state.write_state(replace(prefect_server, prefect="3.0.0"))
    try:
        with (
            busy(prefect_server, 3.5),
            pytest.raises(
                ServerError, match=r"of Prefect 3\.0\.0, this is .*under way\.\nWait for them, or end it"
            ),
        ):
            local_server.start()
        assert prefect_server.is_alive
    finally:
        server_state.write_state(prefect_server)


@pytest.mark.usefixtures("other_home")
def test_ctrl_c_in_the_terminal_that_started_it_leaves_it_alone():
    code = (
        "from sinagot_catalog.flows.server.local_server import start; print(start().pid, flush=True); input()"
    )
    starting = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert starting.stdout is not None
    pid = int(starting.stdout.readline())
    os.killpg(starting.pid, signal.SIGINT)  # what a terminal does: all of the group that is in front
    starting.communicate(timeout=300)
    server = local_server.find()
    assert server is not None
    assert (server.pid, server.is_alive) == (pid, True)


def test_a_folder_that_cannot_be_written_is_said(cli, write_workspace, tmp_path):
    (tmp_path / "file").touch()
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    done = cli("submit", folder, SINAGOT_CATALOG_HOME=str(tmp_path / "file" / "below"))
    assert done.returncode == 1
    assert (
        f"The folder of the local Prefect server, {tmp_path}/file/below, cannot be used: Not a dir"
        in done.stderr
    )
    assert "`sinagot-catalog run`" in done.stderr
    assert cli("status", folder, SINAGOT_CATALOG_HOME=str(tmp_path / "file" / "below")).returncode == 0


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Path]:
    """A disk of its own with next to no space."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_said(full_disk, monkeypatch):
    monkeypatch.setenv("SINAGOT_CATALOG_HOME", str(full_disk))
    (full_disk / "ballast").write_bytes(b"x" * 4096)
    with pytest.raises(ServerError, match=r"No space left on device|is full") as caught:
        local_server.start().wait_healthy(300)
    assert "sinagot-catalog run" in caught.value.hint
    assert local_server.find() is None


def test_a_server_that_answers_late_is_neither_starting_nor_ill(prefect_server):
    said: list[str] = []
    with busy(prefect_server, 1.5):
        assert environment_of_programs(on_message=said.append) == prefect_server.environment
    assert said == []
    with busy(prefect_server, 1.5):
        assert local_server.status()["healthy"]


@pytest.mark.usefixtures("other_home")
def test_a_server_that_keeps_silent_is_not_waited_for_without_end():
    server = local_server.start()
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(ServerError, match=r"kept silent for 0\.5 s"):
        server.wait_healthy(0.5)
    os.kill(server.pid, signal.SIGCONT)


def test_the_users_prefect_settings_do_not_reach_it(other_home, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere.example/api")
    monkeypatch.setenv("PREFECT_SERVER_API_HOST", "0.0.0.0")  # noqa: S104
    environment = local_server._environment(other_home / "prefect", 21_000, "admin:secret")
    assert "PREFECT_API_URL" not in environment
    assert "PREFECT_SERVER_API_HOST" not in environment
    assert environment["PREFECT_HOME"] == str(other_home / "prefect")


def test_each_setting_of_ours_is_one_that_this_prefect_knows():
    ours = {name: value for name, value in local_server._SETTINGS.items() if name.startswith("PREFECT_")}
    code = (
        "import json; from prefect.settings import get_current_settings as settings;"
        "print(json.dumps(settings().to_environment_variables(exclude_unset=True)))"
    )
    known = json.loads(in_a_new_process(code, **ours).stdout)
    assert ours.keys() <= known.keys()


def test_neither_looking_nor_submitting_imports_prefect_by_itself():
    names = "sinagot_catalog.flows.server.local_server, sinagot_catalog.flows.submission"
    code = f"import sys, {names}; print('prefect' in sys.modules)"
    assert in_a_new_process(code).stdout.strip() == "False"


def test_two_submits_at_once_share_one_server(grown_home, write_workspace):
    program = Path(sys.executable).with_name("sinagot-catalog")
    folders = [
        write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"], name=name) for name in ("one", "two")
    ]
    both = [
        subprocess.Popen(
            [program, "submit", folder], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for folder in folders
    ]
    said = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert (grown_home / "server.log").read_text().count("--- starting Prefect") == 1
    url = local_server.status()["url"]
    assert all(f"{url}/runs/flow-run/" in err for _, err in said)


def test_a_profile_that_points_elsewhere_is_used_and_no_server_is_started(
    cli, prefect_server, write_workspace, tmp_path
):
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/profiles.toml").write_text(
        f'active = "lab"\n[profiles.lab]\nPREFECT_API_URL = "{prefect_server.api_url}"\n'
        f'PREFECT_API_AUTH_STRING = "{prefect_server.auth}"\n'
    )
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    homes = {"PREFECT_HOME": str(tmp_path / "profile"), "SINAGOT_CATALOG_HOME": str(tmp_path / "unused")}
    done = cli("submit", folder, **homes)
    assert done.returncode == 0, done.stderr
    assert f"{prefect_server.url}/runs/flow-run/" in done.stderr
    assert not (tmp_path / "unused").exists()


def test_a_submit_to_an_api_that_refuses_or_hangs_says_how_to_do_without(cli, write_workspace, silent_port):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1"])
    for port, what in ((9, "connection refused"), (silent_port, "nothing came back within 10 s")):
        done = cli(
            "submit", folder, PREFECT_API_URL=f"http://127.0.0.1:{port}/api", PYTHONPROFILEIMPORTTIME="1"
        )
        assert done.returncode == 1
        assert f"{what}. It is configured in the environment." in done.stderr
        assert "Without Prefect the same rows run by `sinagot-catalog run`." in done.stderr
        if port == 9:  # nor were the seconds of Prefect's import spent before that
            assert "prefect" not in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "1 can run now" in cli("status", folder).stdout


# -- another user of the machine


@pytest.fixture
def as_another_user(prefect_server) -> Iterator[Callable[[str], str]]:
    """Run a line of shell as another user, who can get to the folder of the server as far as it lets him."""
    if os.getuid() != 0 or not shutil.which("setpriv") or not shutil.which("curl"):
        pytest.skip("only root can become another user (with setpriv and curl)")
    home = Path(prefect_server.log).parent
    above = [one for one in home.parents if not stat.S_IMODE(one.stat().st_mode) & stat.S_IXOTH]
    modes = {one: stat.S_IMODE(one.stat().st_mode) for one in above}

    def run(line: str) -> str:
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", line],
            capture_output=True, text=True, timeout=300, check=False, cwd="/", env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return done.stdout + done.stderr

    try:
        for one, mode in modes.items():
            one.chmod(mode | stat.S_IXOTH)
        yield run
    finally:
        for one, mode in modes.items():
            one.chmod(mode)


def test_another_user_is_let_in_nowhere_without_the_password(prefect_server, as_another_user):
    assert as_another_user("id -u") == "65534\n"
    curl = "curl -s -o /dev/null -w '%{http_code} ' -H 'Content-Type: application/json'"
    api = prefect_server.api_url
    reads = as_another_user(f"{curl} {api}/admin/version; {curl} {api}/flow_runs/count -d '{{}}'")
    guess = as_another_user(f"{curl} -u admin:admin {api}/admin/version")
    # what would run a command as the server's user: a deployment with a pull step
    makes = as_another_user(
        f"{curl} {api}/flows/ -d '{{\"name\": \"x\"}}'; {curl} {api}/deployments/ -d '{{}}'"
    )
    assert (reads, guess, makes) == ("401 401 ", "401 ", "401 401 ")
    assert as_another_user(f"{curl} {api}/health") == "200 "


def test_another_user_reads_neither_the_password_nor_the_database(prefect_server, as_another_user):
    home = Path(prefect_server.log).parent
    for name in ("server.json", "server.log", "prefect/prefect.db"):
        assert (home / name).exists()
        assert "Permission denied" in as_another_user(f"cat {home / name}")
    assert "Permission denied" in as_another_user(f"ls {home}")
    password = prefect_server.auth.partition(":")[2]
    seen = as_another_user(f"cat /proc/{prefect_server.pid}/environ /proc/{prefect_server.pid}/cmdline")
    assert password not in seen
    assert "Permission denied" in seen


# -- asking an API


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.fixture
def other_site() -> Iterator[str]:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_an_api_that_is_well_says_nothing(prefect_server):
    _api.ConfiguredApi(prefect_server.api_url, "a test", auth=prefect_server.auth).probe()


def test_an_api_that_refuses_connections_is_said_with_what_to_do_instead():
    with pytest.raises(ServerError, match=r"http://127\.0\.0\.1:9/api does .*: connection refused") as caught:
        _api.ConfiguredApi("http://127.0.0.1:9/api", "a test").probe()
    assert "sinagot-catalog run" in caught.value.hint


def test_an_api_that_is_silent_is_said_in_time(silent_port):
    with pytest.raises(ServerError, match=r"nothing came back within 0\.3 s"):
        _api.ConfiguredApi(f"http://127.0.0.1:{silent_port}/api", "a test").probe(timeout=0.3)


def test_a_stray_key_of_the_cloud_is_not_sent_where_there_is_a_password(prefect_server):
    _api.ConfiguredApi(
        prefect_server.api_url, "a test", auth=prefect_server.auth, key="pnu_of_another_place"
    ).probe()


def test_an_api_that_refuses_the_password_is_said(prefect_server):
    with pytest.raises(ServerError, match=r"HTTP 401.*PREFECT_API_AUTH_STRING"):
        _api.ConfiguredApi(prefect_server.api_url, "a test", auth="admin:wrong").probe()


def test_a_site_that_is_not_prefect_is_said(other_site):
    with pytest.raises(ServerError, match="not from Prefect's API"):
        _api.ConfiguredApi(other_site, "a test").probe()


def test_an_address_of_another_kind_is_said():
    with pytest.raises(ServerError, match="is not an address of a Prefect API"):
        _api.ConfiguredApi("file:///etc/passwd", "a test").probe()


# -- what the user configured

URL = "http://api.example:4200/api"
PREFECT = """
import json, os, sys
from prefect.context import refresh_global_settings_context
from prefect.settings import PREFECT_API_URL
for line in sys.stdin:
    folder, environment = json.loads(line)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    refresh_global_settings_context()
    print(PREFECT_API_URL.value() or "", flush=True)
"""
PROFILES = f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{URL}"\n[profiles.bare]\n'


@pytest.fixture(scope="module")
def api_of_prefect() -> Iterator[Callable[[], str]]:
    """Ask Prefect for its API in this folder and environment; one process of it answers all tests."""
    command = [sys.executable, "-c", PREFECT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask_prefect() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps([str(Path.cwd()), dict(os.environ)]), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer, process.wait(300)
            return answer.strip()

        yield ask_prefect
        assert process.stdin is not None
        process.stdin.close()
        process.wait(300)


@pytest.mark.parametrize(
    ("files", "environment", "url", "source"),
    [
        ({}, {}, None, ""),
        ({}, {"PREFECT_API_URL": URL}, URL, "the environment"),
        ({}, {"PREFECT_API_URL": ""}, None, ""),
        ({"profile/profiles.toml": PROFILES}, {}, URL, "profile 'mine'"),
        ({"profile/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "bare"}, None, ""),
        ({"profile/profiles.toml": PROFILES}, {"PREFECT_PROFILE": "local"}, None, ""),
        ({}, {"PREFECT_PROFILE": "local"}, None, ""),
        (
            {},
            {"PREFECT_PROFILE": "local", "PREFECT_HOME": "", "HOME": "/nowhere"},
            "http://127.0.0.1:4200/api",
            "profile 'local'",
        ),
        ({"elsewhere.toml": PROFILES}, {"PREFECT_PROFILES_PATH": "elsewhere.toml"}, URL, "profile 'mine'"),
        ({"prefect.toml": f'[api]\nurl = "{URL}"\n'}, {}, URL, "prefect.toml"),
        ({"pyproject.toml": f'[tool.prefect.api]\nurl = "{URL}"\n'}, {}, URL, "pyproject.toml"),
        ({"pyproject.toml": '[project]\nname = "x"\n'}, {}, None, ""),
        ({".env": f"PREFECT_API_URL='{URL}'\n"}, {}, URL, ".env"),
        (
            {"prefect.toml": '[api]\nurl = "http://other/api"\n'},
            {"PREFECT_API_URL": URL},
            URL,
            "the environment",
        ),
    ],
)
def test_a_configured_api_is_found_where_prefect_finds_it(  # noqa: PLR0917
    api_of_prefect, tmp_path, monkeypatch, files, environment, url, source
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "profile"))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = _api.configured_api()
    assert (found and found.url) == url
    assert source in (found.source if found else "")
    assert api_of_prefect() == (url or "")


def test_a_configured_api_that_does_not_answer_is_said_with_its_place(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = _api.configured_api()
    assert found is not None
    with pytest.raises(ServerError, match=r"connection refused\. It is configured in the environment\."):
        found.probe()


def test_the_secrets_of_a_configured_api_are_not_shown(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", URL)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hidden")
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_hidden")
    found = _api.configured_api()
    assert found is not None
    assert found.auth == "admin:hidden"
    assert "hidden" not in repr(found)
