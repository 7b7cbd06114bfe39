"""What a bucket may not be: written where it is read only, run unasked, or told a secret."""

import pickle
import sqlite3

import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import StorageError, UsageError


@pytest.fixture
def harbor_url(seaweed, harbor_folder):
    return seaweed.upload(harbor_folder, "harbor")


def test_read_only_bucket_is_looked_at_and_named_when_it_is_run(weed, seaweed, harbor_url):
    owner = Workspace(harbor_url, storage_options=seaweed.options, trust=True)
    owner.records.get("REC-20200601").steps.run(mode="main_process", progress=False)
    reader = weed.bucket(seaweed.url.removeprefix("s3://"), "readerkey")
    before = seaweed.keys()
    ws = Workspace(harbor_url, storage_options=reader.options, trust=True)
    assert ws.records.count() == 3
    assert ws.steps.filter(status="DONE").collect().height == 3
    assert ws.steps.scan_outputs("summary").collect()["record_id"].to_list() == ["REC-20200601"]
    with pytest.raises(UsageError, match=rf"the run cannot write to {seaweed.url}: access denied"):
        ws.steps.run(progress=False)
    assert seaweed.keys() == before


def test_read_only_bucket_is_run_with_its_outputs_on_disk(weed, seaweed, harbor_url, harbor_folder):
    reader = weed.bucket(seaweed.url.removeprefix("s3://"), "readerkey")
    text = (harbor_folder / "workspace.toml").read_text()
    outputs = f'dataset = "{harbor_url}/dataset"\noutputs = "results"\nlog = "log"'
    (harbor_folder / "workspace.toml").write_text(text.replace('dataset = "dataset"', outputs))
    before = seaweed.keys()
    ws = Workspace(harbor_folder, storage_options=reader.options)
    assert ws.steps.run(workers=2, progress=False).counts() == {"done": 9}
    assert ws.refresh().steps.collect()["status"].unique().to_list() == ["DONE"]
    assert len(list((harbor_folder / "results").rglob("*.*"))) == 9
    assert len(list((harbor_folder / "log" / "journal").rglob("*.ndjson"))) > 0
    assert seaweed.keys() == before


def test_local_dataset_may_have_its_outputs_in_a_bucket(seaweed, harbor_folder):
    text = (harbor_folder / "workspace.toml").read_text()
    (harbor_folder / "workspace.toml").write_text(
        text.replace("[path]", f'[path]\noutputs = "{seaweed.url}/results"')
    )
    ws = Workspace(harbor_folder, storage_options=seaweed.options)
    assert ws.steps.run(workers=2, progress=False).counts() == {"done": 9}
    assert ws.refresh().steps.collect()["status"].unique().to_list() == ["DONE"]
    assert len([key for key in seaweed.keys("results") if "/LOG/" not in key]) == 9
    assert not (harbor_folder / "dataset" / "LOG").exists()


def test_scripts_of_a_bucket_are_run_only_where_that_is_said(seaweed, harbor_url):
    ws = Workspace(harbor_url, storage_options=seaweed.options)
    with pytest.raises(UsageError, match=r"the scripts of .*harbor/scripts are not run"):
        ws.steps.run(progress=False)
    assert not seaweed.keys("harbor/dataset/LOG")


def test_keys_that_lead_out_are_no_scripts_and_no_data(seaweed, harbor_url, tmp_path):
    seaweed.fs.call_s3(
        "put_object",
        Bucket=seaweed.url.removeprefix("s3://"),
        Key="harbor/scripts/__pycache__/x.pyc",
        Body=b"",
    )
    ws = Workspace(harbor_url, storage_options=seaweed.options, trust=True)
    assert ws.records.count() == 3
    assert not list(tmp_path.rglob("*.pyc"))


SECRET = "testsecret"  # noqa: S105 - what the servers of the tests take


@pytest.mark.usefixtures("prefect_server")
def test_no_secret_is_found_anywhere(seaweed, harbor_folder, cli, tmp_path, capfd):
    """In the bucket, the journal, Prefect's database, what is printed, reprs, pickles and error texts."""
    (harbor_folder / "scripts" / "mean.py").write_text("def broken(:\n")
    url = seaweed.upload(harbor_folder, "harbor")
    ws = Workspace(url, storage_options=seaweed.options, trust=True)
    told = [repr(ws), repr(ws.config), repr(ws._source.stores), ws._repr_html_(), repr(ws.steps.plan().frame)]
    report = ws.steps.run("count", progress=False)
    assert report.ok
    told += [repr(report), str(ws.events().to_dicts()), str(ws.failures() if hasattr(ws, "failures") else "")]
    ws.records.get("REC-20200601").steps.submit("summary", force=True).wait()
    wrong = {**seaweed.options, "secret": "wrongwrongsecret"}
    for broken in (wrong, {**seaweed.options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}):
        with pytest.raises(StorageError) as caught:
            Workspace(harbor_folder, f"{url}/dataset", storage_options=broken).records.ids()
        told.append(str(caught.value))
    done = cli("submit", "-C", url, "--trust", "--step", "count", "--force", "--debug", **seaweed.environment)
    told += [done.stdout, done.stderr, *capfd.readouterr()]
    told.append(repr(pickle.dumps(ws)))
    told += [seaweed.read(key).decode(errors="replace") for key in seaweed.keys("")]
    files = [one for folder in (tmp_path, _server_home()) for one in folder.rglob("*") if one.is_file()]
    databases = [one for one in files if one.read_bytes().startswith(b"SQLite format 3")]
    assert databases
    for one in databases:
        with sqlite3.connect(one) as connection:
            connection.execute("pragma wal_checkpoint(full)")
    told += [
        one.read_bytes().decode(errors="replace")
        for one in files
        if one.name not in ("s3.json", "credentials") and "weed" not in str(one)  # other tests wrote these
    ]
    for text in told:
        assert SECRET not in text, text[:300]
        assert "wrongwrongsecret" not in text


def _server_home():
    from sinagot_catalog.flows.server import local_server

    return local_server.home()


def test_a_bucket_that_cannot_be_written_ends_a_run_with_2_and_doctor_names_it_alone(
    cli, weed, seaweed, write_workspace
):
    reader = weed.bucket(seaweed.url.removeprefix("s3://"), "readerkey")
    toml = f"[path]\noutputs = '{seaweed.url}/results'\nlog = 'log'\n"
    folder = write_workspace({"clean": ("raw/{id}", "out/{id}")}, ["raw/R1"], toml=toml)
    ran = cli("run", folder, **reader.environment)
    assert (ran.returncode, "access denied" in ran.stderr) == (2, True), ran.stderr
    told = cli("doctor", folder, **reader.environment).stdout
    assert f"outputs: {seaweed.url}/results may not be written to" in told
    assert f"log: {folder}/log may be written to" in told
