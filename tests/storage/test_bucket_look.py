"""A workspace on a bucket, looked at."""

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, StorageError


@pytest.fixture
def harbor_bucket(moto, harbor_folder):
    """The harbour as objects under `harbor/`."""
    moto.upload(harbor_folder, "harbor")
    return moto


def test_workspace_in_a_bucket_is_opened_by_its_url(harbor_bucket):
    ws = Workspace(f"{harbor_bucket.url}/harbor", storage_options=harbor_bucket.options)
    assert ws.records.ids() == ["REC-20200601", "REC-20200602", "REC-20200603"]
    counts = ws.steps.collect().group_by("step", "status").len().sort("step")
    assert counts.rows() == [("count", "DATA_READY", 3), ("mean", "DATA_READY", 3), ("summary", "INIT", 3)]
    assert ws.steps.plan().counts() == {"run": 9, "skip": 0, "blocked": 0}


def test_local_toml_may_name_a_dataset_in_a_bucket(harbor_bucket, harbor_folder, monkeypatch):
    monkeypatch.setenv("LAB_SECRET", harbor_bucket.options["secret"])
    text = (
        (harbor_folder / "workspace.toml")
        .read_text()
        .replace('"dataset"', f'"{harbor_bucket.url}/harbor/dataset"')
    )
    storage = f"""
[storage.s3]
key = "testkey"
secret = "${{LAB_SECRET}}"
client_kwargs = {{endpoint_url = "{harbor_bucket.endpoint}"}}
"""
    (harbor_folder / "workspace.toml").write_text(text + storage)
    ws = Workspace(harbor_folder)
    assert ws.records.count() == 3
    assert ws.steps.filter(status="DATA_READY").records.count() == 3
    assert "testsecret" not in repr(ws.config)


def test_sizes_times_and_etags_come_with_the_listing(harbor_bucket, monkeypatch):
    ws = Workspace(f"{harbor_bucket.url}/harbor", storage_options=harbor_bucket.options)
    ws.records.ids()
    monkeypatch.setattr(
        ws._source.stores["dataset"], "info", lambda path: pytest.fail(f"{path} was asked for")
    )
    files = ws.files.collect()
    assert files["size"].to_list() == [
        len(harbor_bucket.read(f"harbor/dataset/{path}")) for path in files["path"]
    ]
    assert files.filter(pl.col("modified").is_null() | pl.col("etag").is_null()).is_empty()


def test_directory_is_a_common_prefix_and_markers_are_nothing(moto, write_workspace):
    folder = write_workspace({"read": ("dir/{id}", "out/{id}/")}, ["dir/R1/a/b.txt", "dir/R2/x"])
    url = moto.upload(folder, "one")
    moto.put(
        {"dir/R3/": "", "dir/R4/empty/": "", "out/R2/deep/file": "done", "LOG/dir/R5/x": ""}, "one/dataset"
    )
    ws = Workspace(url, storage_options=moto.options)
    rows = dict(ws.steps.collect().select("record_id", "status").rows())
    assert rows == {"R1": "DATA_READY", "R2": "DONE"}
    assert ws.files.collect().select("path", "kind", "size").rows() == [
        ("dir/R1", "directory", 4), ("dir/R2", "directory", 4), ("out/R2", "directory", 4),
    ]  # fmt: skip


def test_empty_prefix_is_an_empty_dataset_and_an_absent_bucket_a_mistake(moto, write_workspace):
    folder = write_workspace({"read": ("raw/{id}", "out/{id}")})
    assert Workspace(folder, f"{moto.url}/nothing", storage_options=moto.options).records.ids() == []
    ws = Workspace(folder, "s3://no-such-bucket-here/data", storage_options=moto.options)
    with pytest.raises(StorageError, match="no bucket s3://no-such-bucket-here"):
        ws.records.ids()


def test_absent_toml_in_a_bucket_is_a_sentence(moto):
    with pytest.raises(ConfigError, match=rf"no file {moto.url}/nowhere/workspace\.toml"):
        Workspace(f"{moto.url}/nowhere", storage_options=moto.options)


def test_what_another_process_changed_is_seen_after_a_refresh(harbor_bucket):
    ws = Workspace(f"{harbor_bucket.url}/harbor", storage_options=harbor_bucket.options)
    assert ws.records.count() == 3
    harbor_bucket.put({"harbor/dataset/raw/REC-20200604-raw.csv": "kind,length\n"})
    assert ws.records.count() == 3
    assert ws.refresh().records.count() == 4


def test_unknown_protocol_names_the_near_ones(write_workspace):
    folder = write_workspace({"read": ("raw/{id}", "out/{id}")})
    with pytest.raises(StorageError, match="no storage is known for 's33'; did you mean"):
        Workspace(folder, "s33://bucket/data")
