"""Results of a bucket read as one frame; listings that are given."""

import gzip
import io
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from sinagot_catalog import Workspace
from sinagot_catalog.errors import ConfigError, NotFoundError, UsageError


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


def test_each_result_of_a_bucket_takes_one_request(done, monkeypatch):
    from aiobotocore.client import AioBaseClient

    asked, call = [], AioBaseClient._make_api_call

    async def noted(client, operation, words):
        if "/count/" in words.get("Key", ""):
            asked.append(operation)
        return await call(client, operation, words)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", noted)
    assert done.steps.scan_outputs("count").collect()["record_id"].n_unique() == 3
    assert asked == ["GetObject"] * 3


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


@pytest.fixture
def lab(write_workspace):
    folder = write_workspace(
        {"read": ("raw/{id}.csv", "out/{id}.csv"), "list": ("dir/{id}/", "shared/{id}/list.txt")},
        id_pattern="[A-Z]+[0-9]*",
    )
    ids = [f"{letter}{n}" for letter in "ABCDEFG" for n in range(20)] + ["A", "D", "F"]
    paths = [path for one in ids for path in (f"raw/{one}.csv", f"dir/{one}/deep/x", f"out/{one}.csv")]
    return folder, ids, pl.DataFrame({"path": sorted(paths), "size": [1] * len(paths)})


@pytest.mark.parametrize(
    ("records", "is_in"),
    [
        (("B", "D1"), lambda one: "B" <= one < "D1"),
        (("B", None), lambda one: one >= "B"),
        ((None, "F0"), lambda one: one < "F0"),
        ("C1", lambda one: one.startswith("C1")),
        ("D", lambda one: one.startswith("D")),
        ("Z", lambda one: one.startswith("Z")),
    ],
)
@pytest.mark.parametrize("given", ["frame", "parquet", "listed"])
def test_workspace_is_narrowed_to_a_range_of_records(lab, tmp_path, records, is_in, given):
    folder, ids, listing = lab
    options = {"listing": listing}
    if given == "parquet":
        listing.write_parquet(tmp_path / "listing.parquet", row_group_size=50)
        options = {"listing": tmp_path / "listing.parquet"}
    if given == "listed":
        for path in listing["path"]:
            (folder / "dataset" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "dataset" / path).write_text("x")
        options = {}
    wanted = sorted(filter(is_in, ids))
    ws = Workspace(folder, records=records, **options)
    assert ws.records.ids() == wanted
    whole = Workspace(folder, **{"listing": listing} if options else {}).steps.collect()
    assert ws.steps.collect().equals(whole.filter(pl.col("record_id").is_in(wanted)))


def test_record_outside_of_the_range_is_refused_not_called_absent(lab):
    folder, _, listing = lab
    ws = Workspace(folder, listing=listing, records=("B", "C"))
    assert ws.records.get("B1").steps.count() == 2
    for ask in (lambda: ws.records.get("C1"), lambda: ws.run(pl.DataFrame({"record_id": ["B1", "C1"]}))):
        with pytest.raises(NotFoundError, match="'C1' lies outside of the records that this workspace"):
            ask()
    with pytest.raises(UsageError, match=r"records: \('B', 'A'\) is not a range of records"):
        Workspace(folder, records=("B", "A"))


def test_a_list_of_ids_is_refused_where_a_range_is_asked_for(lab):
    folder, _, listing = lab
    with pytest.raises(
        UsageError, match=r"\['B1', 'B2'\] is a list of ids, not a range of records\nA range is"
    ):
        Workspace(folder, listing=listing, records=["B1", "B2"])


MANIFEST = {"fileFormat": "CSV", "fileSchema": "Bucket, Key", "files": [{"key": "part.csv"}]}


def wrong_listings(folder):
    """Listings that are none, and what is said of them."""
    files = {
        "empty.csv": "",
        "text.parquet": "no Parquet",
        "list.json": "[]",
        "torn.json": "{",
        "bare.json": json.dumps({**MANIFEST, "fileSchema": None, "files": [{}]}),
        "no-schema.json": json.dumps({name: MANIFEST[name] for name in ("fileFormat", "files")}),
        "no-key.json": json.dumps({**MANIFEST, "fileSchema": "Bucket, Size"}),
        "part.csv": "lab,raw/B1.csv\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return {
        **{name: (folder / name, rf"{name} cannot be read: \w+") for name in ("empty.csv", "text.parquet")},
        "list.json": (folder / "list.json", "is not a manifest of an S3 Inventory: it holds no object"),
        "torn.json": (folder / "torn.json", "torn.json cannot be read: Expecting"),
        "bare.json": (folder / "bare.json", "bare.json cannot be read: it lacks 'key'"),
        "no-schema.json": (folder / "no-schema.json", "no-schema.json cannot be read: it lacks 'fileSchema'"),
        "no-key.json": (folder / "no-key.json", "no-key.json cannot be read: "),
        "number": (5, "listing: the int that is given cannot be read: "),
        "ragged": ({"path": ["a", "b"], "size": [1, 2, 3]}, "the dict that is given cannot be read: "),
        "integers": ({"path": ["a"], "modified": [1_700_000_000]}, "column modified holds Int64, not times"),
        "spans": ({"path": ["a"], "modified": [timedelta(1)]}, "column modified holds Duration.*, not times"),
    }


@pytest.mark.parametrize("which", [
    "empty.csv", "text.parquet", "list.json", "torn.json", "bare.json", "no-schema.json", "no-key.json",
    "number", "ragged", "integers", "spans",
])  # fmt: skip
def test_what_is_no_listing_is_one_sentence(lab, tmp_path, which):
    given, said = wrong_listings(tmp_path)[which]
    with pytest.raises(ConfigError, match=said):
        Workspace(lab[0], listing=given).records.ids()


def test_an_inventory_of_a_bucket_that_names_no_bucket_is_one_sentence(lab, seaweed):
    seaweed.put({"odd/manifest.json": json.dumps(MANIFEST)})
    ws = Workspace(lab[0], storage_options=seaweed.options, listing=f"{seaweed.url}/odd/manifest.json")
    with pytest.raises(ConfigError, match=r"manifest\.json cannot be read: it lacks 'destinationBucket'"):
        ws.records.ids()


def test_times_of_a_listing_may_be_times_texts_days_or_absent(lab):
    moment = datetime(2026, 11, 23, 5, 45, tzinfo=UTC)
    for value, told in (
        (moment, moment),
        (moment.isoformat(), moment),
        (moment.date(), moment.replace(hour=0, minute=0)),
        (None, None),
    ):
        ws = Workspace(lab[0], listing={"path": ["raw/B1.csv"], "modified": [value]})
        assert ws.files.select("modified")["modified"].to_list() == [told]
