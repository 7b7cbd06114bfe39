"""Which workspaces a worker runs, and what a deployment may carry; without a server."""

import os

import polars as pl
import pytest
import yaml

from sinagot_catalog import Workspace
from sinagot_catalog.config.permissions import ALLOW, check_allowed
from sinagot_catalog.errors import ConfigError, NotFoundError, SelectionError, UsageError
from sinagot_catalog.flows.deployments.deployment_spec import describe
from sinagot_catalog.flows.prepare import prepare
from sinagot_catalog.flows.stored_run import parameters_of

ONE = {"one": ("raw/{id}", "one/{id}")}


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    monkeypatch.delenv(ALLOW, raising=False)


# --- allowed ---------------------------------------------------------------------------------------------------


def test_a_flow_that_is_called_by_hand_opens_what_it_is_told():
    assert check_allowed("/lab/any", [], None) is None


@pytest.mark.parametrize("workspace", ["/lab/a", "/lab/a/", "/lab/a/workspace.toml", "/lab/b/../a"])
def test_the_deployed_workspace_is_allowed_however_it_is_written(workspace):
    assert check_allowed(workspace, [], {"workspace": "/lab/a/workspace.toml"})


def test_a_link_to_the_deployed_workspace_is_that_workspace(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert check_allowed(str(tmp_path / "link"), [], {"workspace": str(tmp_path / "real")})


@pytest.mark.parametrize(
    ("workspace", "config"),
    [
        ("/lab/b", []),
        ("/lab/a/dataset/raw", []),
        ("/lab/a/dataset/raw/workspace.toml", []),
        ("/lab/a", ["/lab/a/dataset/raw/evil.toml"]),
        ("/lab/a", []),
        ("/lab/night.toml", ["/lab/a"]),
        ("s3://lab/a", ["/lab/night.toml"]),
        ("", ["/lab/night.toml"]),
    ],
)
def test_any_other_workspace_or_config_is_refused(workspace, config):
    made_for = {"workspace": "/lab/a", "config": ["/lab/night.toml"]}
    assert check_allowed("/lab/a", ["/lab/night.toml"], made_for)
    with pytest.raises(UsageError, match=r"this worker does not run .*: its deployment was made for /lab/a"):
        check_allowed(workspace, config, made_for)


def test_a_deployment_that_was_made_for_nothing_runs_nothing():
    with pytest.raises(UsageError, match="made for none"):
        check_allowed("/lab/a", [], {})


def test_the_workers_own_list_is_the_last_word(monkeypatch):
    monkeypatch.setenv(ALLOW, "/lab/a, s3://lab/ws ,/shared/")
    for workspace in ("/lab/a", "s3://lab/ws/workspace.toml", "/shared/x", "/shared/x/y.toml"):
        assert check_allowed(workspace, [], {"workspace": "/elsewhere"})
        assert check_allowed(workspace, [], None)
    for workspace in ("/lab/a/dataset", "/lab/ab", "s3://lab/ws2", "/shared/../etc", "/shared"):
        with pytest.raises(UsageError, match=f"{ALLOW} of the worker's environment names /lab/a, "):
            check_allowed(workspace, [], {"workspace": workspace})


@pytest.mark.parametrize(
    "workspace",
    [
        "s3://evil/y/../../lab/x",
        "s3://lab/x/../y",
        "s3://lab/./x",
        "s3://lab//x",
        "s3://lab/x//",
        "s3://lab/%78",
        "s3://lab/x/%2e%2e/y",
        "s3://lab/x/%2E%2E%2Fy",
        "s3://lab/x ",
        " s3://lab/x",
        "s3://lab/x\n",
        "s3://lab/x\x1f",
        "s3://lab\\x",
        "s3://lab/x/\\..\\y",
        "s3://lab/x/y::file",
        "s3://lab/x/y::s3://evil/z",
        "s3://../lab/x",
        "/lab/x ",
        "/lab/x\t",
    ],
)
@pytest.mark.parametrize("allowed", ["s3://lab/x", "s3://lab/x/", "s3://lab/", "/lab/", "deployed"])
def test_an_address_that_can_be_read_in_two_ways_is_refused(monkeypatch, workspace, allowed):
    deployed = {"workspace": workspace, "config": [workspace]}
    if allowed != "deployed":
        monkeypatch.setenv(ALLOW, f"{allowed},{workspace}")
    with pytest.raises(UsageError, match="this worker does not run"):
        check_allowed(workspace, [], deployed)
    with pytest.raises(UsageError, match="this worker does not run"):
        check_allowed(allowed.rstrip("/"), [workspace], deployed)


def test_scheme_host_and_path_are_compared_apart(monkeypatch):
    monkeypatch.setenv(ALLOW, "s3://lab/x/,S3://Box/ws,simplecache::s3://lab/z")
    for workspace in (
        "S3://lab/x/y",
        "s3://lab/x/y/",
        "s3://Box/ws/workspace.toml",
        "simplecache::s3://lab/z",
    ):
        assert check_allowed(workspace, [], None)
    for workspace in (
        "gs://lab/x/y",
        "s3://labx/x/y",
        "s3://lab/xy",
        "s3://lab/x",
        "s3://lab/x/",
        "s3://box/ws",
        "s3://me@lab/x/y",
        "s3://lab:80/x/y",
        "s3://lab?/x/y",
        "/lab/x/y",
        "s3:lab/x/y",
        "simplecache::s3://lab/x/y",
        "s3://lab/z",
    ):
        with pytest.raises(UsageError, match="this worker does not run"):
            check_allowed(workspace, [], None)


def test_a_refused_address_shows_no_password(monkeypatch):
    monkeypatch.setenv(ALLOW, "ftp://ann:hush@host/x")
    for workspace in ("ftp://bob:hush@host/x", "ftp://bob:hush@host//x", "https://h/x?sig=hush"):
        with pytest.raises(UsageError, match="this worker does not run") as caught:
            check_allowed(workspace, [], None)
        assert "hush" not in str(caught.value)


def test_an_allowed_workspace_in_a_bucket_is_trusted_to_bring_scripts(moto, write_workspace, monkeypatch):
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    computed = "import os\nfrom sinagot_catalog import ScriptTemplate\nclass Script(ScriptTemplate):\n"
    computed += "    PATH_IN = os.path.join('raw', '{id}')\n    PATH_OUT = 'one/{id}'\n    def run(self):\n"
    computed += "        self.path.output.write_text('made')\n"
    url = moto.upload(write_workspace({"one": computed}, ["raw/R1"]), "ws")
    with pytest.raises(UsageError, match="does not run"):
        prepare(f"{url}/other", deployed={"workspace": url})
    execution = prepare(url, deployed={"workspace": url})
    try:
        assert execution.source.distrust() is None
        assert execution.n_rows == 1
    finally:
        execution.finish()


def test_rows_come_from_beside_the_journal_only(write_workspace, tmp_path):
    folder = write_workspace(ONE, ["raw/R1", "raw/R2"])
    pl.DataFrame({"record_id": ["R1"]}).write_parquet(tmp_path / "rows.parquet")
    (folder / "dataset/LOG/selections").mkdir(parents=True)
    deployed = {"workspace": str(folder)}
    elsewhere = [
        str(tmp_path / "rows.parquet"),
        "selections/../../rows.parquet",
        "../rows.parquet",
        "rows.parquet",
    ]
    for rows in elsewhere:
        with pytest.raises(UsageError, match="does not read rows from"):
            prepare(str(folder), rows=rows, deployed=deployed)
    with pytest.raises(NotFoundError, match=r"selections/gone\.parquet is not there any more"):
        prepare(str(folder), rows="selections/gone.parquet", deployed=deployed)
    first = prepare(str(folder), where="record_id = 'R2'")
    kept = parameters_of(first.source, first.query, first.options, first.plan.frame, first.run_id)["rows"]
    first.finish()
    for rows in (kept, f"{folder}/dataset/LOG/{kept}"):
        again = prepare(str(folder), rows=rows, deployed=deployed)
        again.finish()
        assert [row["record_id"] for row in again.plan.frame.to_dicts()] == ["R2"]
    by_hand = prepare(str(folder), rows=str(tmp_path / "rows.parquet"))
    by_hand.finish()
    assert by_hand.plan.frame["record_id"].to_list() == ["R1"]


# --- what is deployed ------------------------------------------------------------------------------------------


def test_parameters_are_few_and_hold_no_secret(write_workspace, tmp_path):
    toml = '[storage]\nkey = "AKIA"\nsecret = "hush"\n[prefect]\ntags = ["lab"]\n'
    folder = write_workspace(ONE, ["raw/R1"], toml=toml)
    (tmp_path / "night.toml").write_text("[run]\nworkers = 2\n")
    ws = Workspace([folder, tmp_path / "night.toml"], storage_options={"token": "hush"})
    wanted = describe(ws._source, "nightly", where="status = 'DATA_READY'", limit=5, tags=["lab", "night"])
    assert wanted.parameters == {
        "workspace": f"{folder}/workspace.toml",
        "where": "status = 'DATA_READY'",
        "limit": 5,
        "config": [f"{tmp_path}/night.toml"],
        "downstream": True,
    }
    assert wanted.tags == ("sinagot-catalog", "lab", "night")
    assert (wanted.full_name, wanted.n_rows, wanted.concurrency) == ("run-workspace/nightly", 1, 1)
    assert "hush" not in repr(wanted)


def test_a_workspace_that_its_config_does_not_tell_of_is_not_deployed(write_workspace, tmp_path):
    folder = write_workspace(ONE, ["raw/R1"])
    (tmp_path / "data").mkdir()
    ws = Workspace(folder, data_path=tmp_path / "data")
    with pytest.raises(ConfigError, match="opened with another dataset than its config names"):
        describe(ws._source, "nightly")


@pytest.mark.parametrize("name", ["", "a/b", "50%"])
def test_a_name_that_prefect_cannot_have_is_refused(make_workspace, name):
    with pytest.raises(SelectionError, match="is not a name of a deployment"):
        describe(make_workspace(ONE, ["raw/R1"])._source, name)


def test_an_expression_is_no_text_that_can_be_deployed(make_workspace):
    with pytest.raises(SelectionError, match="where: a Expr cannot be deployed"):
        describe(make_workspace(ONE, ["raw/R1"])._source, "nightly", where=pl.col("step") == "one")  # type: ignore[arg-type]


# --- prefect.yaml ----------------------------------------------------------------------------------------------


def test_init_writes_a_prefect_yaml_with_a_workspace_or_beside_one(cli, tmp_path):
    done = cli("init", "lab: 1", "--prefect")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "lab: 1"
    told = yaml.safe_load((folder / "prefect.yaml").read_text())
    assert told["pull"] == []
    [nightly] = told["deployments"]
    assert nightly["parameters"] == {
        "workspace": str(folder), "where": "status = 'DATA_READY'", "downstream": True,
    }  # fmt: skip
    assert nightly["entrypoint"] == "sinagot_catalog.flows.run_workspace"
    again = cli("init", "lab: 1", "--prefect")
    assert again.returncode == 2
    assert "prefect.yaml is there already" in again.stderr
    (folder / "prefect.yaml").unlink()
    before = (folder / "workspace.toml").read_text()
    assert cli("init", "lab: 1", "--prefect").returncode == 0
    assert (folder / "prefect.yaml").exists()
    assert (folder / "workspace.toml").read_text() == before


# --- what is kept ----------------------------------------------------------------------------------------------


def test_gc_deletes_old_selections_and_reports_and_nothing_of_another_name(make_workspace):
    ws = make_workspace(ONE, ["raw/R1"])
    ws.steps.run(progress=False)
    log = ws._source.log_store
    old, new = "20200101T000000-0123ab.parquet", "20200102T000000-0123ab.parquet"
    for folder in ("selections", "reports"):
        for name in (old, new, "mine.parquet"):
            log.write(f"{folder}/{name}", b"")
        for name in (old, "mine.parquet"):
            os.utime(f"{log.root}/{folder}/{name}", (0, 0))
    swept = ws.gc("1h")
    assert (swept.selections, swept.reports) == (1, 1)
    assert sorted(log.names("selections")) == sorted(log.names("reports")) == [new, "mine.parquet"]
