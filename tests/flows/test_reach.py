"""A Prefect API behind a proxy, headers, a private authority or a path: reached as Prefect itself reaches it."""

import base64
import json
import os
import shutil
import subprocess
import sys

import pytest

from sinagot_catalog import Workspace
from tests.flows.proxy import Proxy, make_certificate

HEADER = "X-Lab-Token: 7-of-hearts"
HEADERS = {"PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps(dict([HEADER.split(": ")]))}
ACCOUNT = "/api/accounts/a1/workspaces/w1"


@pytest.fixture
def folder(write_workspace):
    return write_workspace({"a": ("raw/{id}", "a/{id}")}, ["raw/R1", "raw/R2"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def program(tmp_path, prefect_server):
    """Run the program in a new process with these variables; it knows no API but theirs."""

    def run(*words, cwd=tmp_path, **environment):
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        clean |= {"PREFECT_API_AUTH_STRING": prefect_server.auth, "PREFECT_HOME": str(tmp_path / "home")}
        return subprocess.run(
            [sys.executable, "-m", "sinagot_catalog", *map(str, words)],
            cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


def check_of_prefect(done):
    """The line of doctor on Prefect: its mark and its text."""
    return next(line for line in done.stdout.splitlines() if "Prefect API" in line or "/api" in line)


def submits(program, folder, **environment):
    done = program("submit", folder, **environment)
    assert done.returncode == 0, done.stderr
    assert "2 done" in done.stdout + done.stderr
    return done


def test_an_api_that_demands_a_header_is_used(program, folder, prefect_server):
    with Proxy(prefect_server.port, demanded=HEADER) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/api"
        submits(program, folder, PREFECT_API_URL=url, **HEADERS)
        assert not proxy.refused
        assert any("/api/events/in" in line for line in proxy.seen)
        told = check_of_prefect(program("doctor", folder, PREFECT_API_URL=url, **HEADERS))
        assert f"{url} (configured in the environment; with PREFECT_CLIENT_CUSTOM_HEADERS) answers" in told
        without = program("submit", folder, "--force", PREFECT_API_URL=url)
    assert without.returncode == 1
    assert "HTTP 403" in without.stderr
    assert "PREFECT_CLIENT_CUSTOM_HEADERS" in without.stderr
    assert "7-of-hearts" not in told + without.stderr


def test_an_api_with_a_certificate_of_a_private_authority_is_used(
    program, folder, prefect_server, certificate, tmp_path
):
    authority, *own = certificate
    with Proxy(prefect_server.port, certificate=tuple(own)) as proxy:
        url = f"https://localhost:{proxy.port}/api"
        submits(program, folder, PREFECT_API_URL=url, PREFECT_API_SSL_CERT_FILE=str(authority))
        (tmp_path / "prefect.toml").write_text(f'[api]\nurl = "{url}"\nssl_cert_file = "{authority}"\n')
        told = check_of_prefect(program("doctor", folder))
        assert f"{url} (configured in ./prefect.toml; with PREFECT_API_SSL_CERT_FILE) answers" in told
        (tmp_path / "prefect.toml").write_text(f'[api]\nurl = "{url}"\ntls_insecure_skip_verify = true\n')
        told = check_of_prefect(program("doctor", folder))
        assert "PREFECT_API_TLS_INSECURE_SKIP_VERIFY) answers" in told
        (tmp_path / "prefect.toml").unlink()
        for file, said in (
            ({}, "its certificate is not trusted"),
            ({"PREFECT_API_SSL_CERT_FILE": "/nowhere.pem"}, "'/nowhere.pem' cannot be read: no such file"),
            ({"PREFECT_API_SSL_CERT_FILE": __file__}, "cannot be read: it holds no certificate"),
        ):
            done = program("submit", folder, "--force", PREFECT_API_URL=url, **file)
            assert done.returncode == 1
            assert said in done.stderr
            assert "PREFECT_API_SSL_CERT_FILE" in done.stderr
            assert "Traceback" not in done.stderr


def test_an_api_below_a_path_with_accounts_is_used_with_its_key(program, folder, prefect_server, certificate):
    authority, *own = certificate
    login = base64.b64encode(prefect_server.auth.encode()).decode()
    with Proxy(
        prefect_server.port, prefix=ACCOUNT, certificate=tuple(own),
        demanded="Authorization: Bearer pnu_lab", given=f"Authorization: Basic {login}",
    ) as proxy:  # fmt: skip
        url = f"https://localhost:{proxy.port}{ACCOUNT}"
        variables = {
            "PREFECT_API_URL": url, "PREFECT_API_SSL_CERT_FILE": str(authority), "PREFECT_API_AUTH_STRING": "",
        }  # fmt: skip
        done = submits(program, folder, PREFECT_API_KEY="pnu_lab", **variables)
        assert f"https://localhost:{proxy.port}/account/a1/workspace/w1/runs/flow-run/" in done.stderr
        wrong = check_of_prefect(program("doctor", folder, PREFECT_API_KEY="pnu_other", **variables))
    assert "PREFECT_API_KEY" in wrong
    assert "pnu_" not in wrong


def test_an_api_is_reached_through_the_proxy_of_the_environment(program, folder, prefect_server):
    with Proxy(prefect_server.port) as proxy:
        url = f"http://prefect.lab.invalid:{prefect_server.port}/api"
        through = {"PREFECT_API_URL": url, "HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
        submits(program, folder, **through)
        assert any(line.startswith(f"GET {url}/health") for line in proxy.seen)
        told = check_of_prefect(program("doctor", folder, **through))
        assert f"{url} (configured in the environment; with HTTP_PROXY) answers" in told
    away = program("submit", folder, "--force", **{**through, "HTTP_PROXY": "http://127.0.0.1:9"})
    assert away.returncode == 1
    assert "does not answer as it should: connection refused" in away.stderr


def test_the_local_server_is_never_asked_through_a_proxy(program, folder, prefect_server):
    assert prefect_server.is_alive
    dead = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    done = submits(program, folder, **dead)
    assert prefect_server.url in done.stderr
    assert "NO_PROXY=lab.example,127.0.0.1" in program("server", "env", NO_PROXY="lab.example", **dead).stdout
    assert "PROXY" not in program("server", "env").stdout
    assert Workspace(folder).steps.plan().n_run == 0


def test_server_status_tells_of_the_api_that_submit_uses(program, prefect_server, tmp_path):
    profiles = tmp_path / "home" / "profiles.toml"
    profiles.parent.mkdir()
    profiles.write_text(
        f'active = "lab"\n[profiles.lab]\nPREFECT_API_URL = "{prefect_server.api_url}"\n[profiles.bare]\n'
    )
    elsewhere = {"SINAGOT_CATALOG_HOME": str(tmp_path / "none")}
    done = program("server", "status", **elsewhere)
    first, second, *rest = done.stdout.splitlines()
    assert first == (
        f"`submit` uses {prefect_server.api_url} (configured in the Prefect profile 'lab' in {profiles})"
    )
    assert second == "it answers"
    assert rest[-1] == "not running; `sinagot-catalog server start` starts it"
    found = json.loads(program("server", "status", "--json", **elsewhere).stdout)["configured"]
    assert (found["url"], found["fault"]) == (prefect_server.api_url, None)
    dead = program("server", "status", PREFECT_API_URL="http://127.0.0.1:9/api", **elsewhere)
    assert "connection refused" in dead.stdout.splitlines()[1]
    bare = program("server", "status", PREFECT_PROFILE="bare", **elsewhere)
    assert bare.stdout.startswith("not running; `sinagot-catalog server start` or the next `submit`")


@pytest.mark.parametrize("url", [{"PREFECT_API_URL": "http://127.0.0.1:PORT/api"}, {}])
def test_a_setting_that_prefect_cannot_read_is_one_sentence(program, folder, prefect_server, url):
    url = {name: value.replace("PORT", str(prefect_server.port)) for name, value in url.items()}
    done = program("submit", folder, PREFECT_CLIENT_CUSTOM_HEADERS="no json", **url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert "custom_headers" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_long_row_updates_its_progress_only_when_that_changes(program, write_workspace, prefect_server):
    long = "import time\ntime.sleep(8)\nself.path.output.touch()"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", long)}, ["raw/R1"])
    with Proxy(prefect_server.port) as proxy:
        done = program("submit", folder, PREFECT_API_URL=f"http://127.0.0.1:{proxy.port}/api")
        assert done.returncode == 0, done.stderr
    updates = [line for line in proxy.seen if line.startswith("PATCH /api/artifacts/")]
    assert any(line.startswith("POST /api/artifacts/") for line in proxy.seen)
    assert len(updates) <= 1, updates
