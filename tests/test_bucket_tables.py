"""Results of a bucket read as one frame; listings that are given."""

import gzip
import io
import json

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError


@pytest.fixture
def done(seaweed, harbor_folder):
    ws = Workspace(seaweed.upload(harbor_folder, "harbor"), storage_options=seaweed.options, trust=True)
    assert ws.steps.run(workers=2, progress=False).ok
    return ws


def test_outputs_of_a_bucket_are_one_lazy_frame(done):
    frame = done.steps.scan_outputs("count")
    assert isinstance(frame, pl.LazyFrame)
    assert "testsecret" not in frame.explain() + repr(frame)
    found = frame.collect()
    assert found["record_id"].unique().sort().to_list() == ["REC-20200601", "REC-20200602", "REC-20200603"]
    assert found.columns == ["record_id", "task", "modality", "step", "kind", "boats"]
    assert done.steps.scan_outputs("summary").collect().height == 3


def test_what_polars_cannot_reach_is_read_all_the_same(done, monkeypatch):
    quick = done.steps.scan_outputs("count").collect()
    monkeypatch.setattr(done._source.stores["dataset"], "cloud_options", lambda: None)
    assert done.steps.scan_outputs("count").collect().equals(quick)


@pytest.fixture
def keys(done):
    """What an inventory of the bucket says: full keys."""
    stats = done.files.collect()
    return pl.DataFrame(
        {
            "Bucket": ["lab"] * stats.height,
            "Key": ("harbor/dataset/" + stats["path"]).to_list(),
            "Size": stats["size"].cast(pl.String),
            "LastModifiedDate": stats["modified"].dt.to_string("%Y-%m-%dT%H:%M:%S.000Z"),
            "ETag": stats["etag"],
        }
    )


def same(ws, other):
    assert ws.steps.collect()["status"].to_list() == other.steps.collect()["status"].to_list()
    assert ws.files.collect().equals(other.files.collect())


def no_listing(ws, monkeypatch):
    monkeypatch.setattr(
        ws._source.stores["dataset"], "find", lambda _reach: pytest.fail("the bucket was listed")
    )
    return ws


def test_inventory_takes_the_place_of_a_listing(done, keys, tmp_path, seaweed, monkeypatch):
    content = keys.write_csv(include_header=False).encode()
    (tmp_path / "part.csv.gz").write_bytes(gzip.compress(content))
    manifest = {
        "sourceBucket": "lab",
        "destinationBucket": "arn:aws:s3:::elsewhere",
        "fileFormat": "CSV",
        "fileSchema": ", ".join(keys.columns),
        "files": [{"key": "inventory/data/part.csv.gz", "size": 1, "MD5checksum": "x"}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    ws = Workspace(done.config.files[0], storage_options=seaweed.options, listing=tmp_path / "manifest.json")
    same(no_listing(ws, monkeypatch), done)


def test_parquet_and_frames_may_be_given_as_a_listing(done, keys, seaweed, monkeypatch):
    content = io.BytesIO()
    keys.rename({"Key": "key"}).write_parquet(content)
    seaweed.put({"listing.parquet": content.getvalue()})
    for listing in (
        f"{seaweed.url}/listing.parquet",
        done.files.collect().select("path", "size", "modified", "etag"),
    ):
        ws = Workspace(done.config.files[0], storage_options=seaweed.options, listing=listing)
        same(no_listing(ws, monkeypatch), done)


def test_listing_without_keys_is_a_sentence(done, seaweed):
    ws = Workspace(
        done.config.files[0], storage_options=seaweed.options, listing=pl.DataFrame({"kye": ["a"]})
    )
    with pytest.raises(ConfigError, match="no column 'path' or 'key', only kye; did you mean 'kye'"):
        ws.records.ids()
