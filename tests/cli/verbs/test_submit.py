"""`sinagot-catalog submit` and `sinagot-catalog server`, with the real server of the session."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def test_submit_runs_a_flow_and_then_has_nothing_to_do_without_prefect(cli, prefect_server, harbor_folder):
    done = cli("submit", harbor_folder, "--json", "--where", "record_id < 'REC-20200603'")
    assert done.returncode == 0, done.stderr
    assert [row["outcome"] for row in json.loads(done.stdout)] == ["done"] * 6
    assert f"{prefect_server.url}/runs/flow-run/" in done.stderr
    assert "6 done in " in done.stderr
    again = cli("submit", harbor_folder, "--where", "record_id < 'REC-20200603'", PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0
    assert again.stdout.startswith("nothing to do")
    assert "prefect" not in {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}


@pytest.mark.usefixtures("prefect_server")
def test_failed_rows_of_a_flow_end_3(cli, write_workspace):
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", "fail")}, ["raw/R1", "raw/R2"])
    done = cli("submit", folder)
    assert done.returncode == 3
    assert done.stdout.startswith("2 failed in ")
    assert "  R1 a: ValueError: no boats on R1" in done.stderr


def test_no_wait_returns_with_the_page_and_the_flow_goes_on(cli, prefect_server, write_workspace, wait_until):
    body = """
        import pathlib, time
        while not pathlib.Path(self.data_path, "go").exists():
            time.sleep(0.02)
        self.path.output.write_text("x")
    """
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1"])
    done = cli("submit", folder, "--no-wait", "--json")
    assert done.returncode == 0, done.stderr
    handle = json.loads(done.stdout)
    assert list(handle) == ["run_id", "flow_run_id", "url", "pid"]
    assert handle["url"] == f"{prefect_server.url}/runs/flow-run/{handle['flow_run_id']}"
    made = folder / "dataset" / "a" / "R1"
    assert not made.exists()
    (folder / "dataset" / "go").touch()
    wait_until(made.exists)
    wait_until(lambda: "everything is done" in cli("status", folder).stdout)
    assert cli("submit", folder, "--no-wait").stdout == "nothing to do\n"


@pytest.mark.usefixtures("prefect_server")
def test_an_interrupted_submit_cancels_its_flow_and_ends_130(cli, write_workspace, wait_until):
    body = "import pathlib, time; pathlib.Path(self.data_path, 'begun').touch(); time.sleep(600)"
    folder = write_workspace({"a": ("raw/{id}", "a/{id}", body)}, ["raw/R1", "raw/R2"])
    program = Path(sys.executable).with_name("sinagot-catalog")
    with subprocess.Popen(
        [program, "submit", folder, "--workers", "1"], stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until((folder / "dataset" / "begun").exists)
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 130
    assert "interrupted; what is done is kept" in said
    assert "Traceback" not in said
    assert "2 can run now" in cli("status", folder).stdout


def test_server_status_has_the_login_and_says_where_none_runs(cli, prefect_server, tmp_path):
    done = cli("server", "status")
    assert f"running at {prefect_server.url}\n" in done.stdout
    assert f"/login with {prefect_server.auth}\n" in done.stdout
    told = json.loads(cli("server", "status", "--json").stdout)
    assert told["running"]
    assert told["healthy"]
    none = cli("server", "stop", SINAGOT_CATALOG_HOME=str(tmp_path / "none"))
    assert (none.returncode, none.stdout) == (0, "it was not running\n")
    quiet = cli("server", "status", SINAGOT_CATALOG_HOME=str(tmp_path / "none"))
    assert quiet.stdout.startswith("not running; ")
