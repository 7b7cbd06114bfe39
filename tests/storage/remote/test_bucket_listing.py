"""Key ranges side by side give the listing that one stream gives."""

import random
import signal
import threading
import time
from types import SimpleNamespace

import polars as pl
import pytest

from sinagot_catalog.storage import open_store
from sinagot_catalog.storage.protocol import Reach
from sinagot_catalog.storage.remote import cloud_listing
from sinagot_catalog.storage.remote.range_listing import ConcurrencyLimiter, OddError, Ranges

rng = random.Random  # names that are the same each time


class Pages:
    """What a store gives behind a key, a thousand a page; counts the pages."""

    def __init__(self, keys):
        self.keys = pl.Series("path", sorted(keys), dtype=pl.String)
        self.count = 0

    def __call__(self, after):
        rest = self.keys.filter(self.keys > after)
        for start in range(0, max(len(rest), 1), 1000):
            self.count += 1
            page = rest[start : start + 1000].to_frame()
            yield page.with_columns(
                last_modified=pl.lit(None, pl.Datetime("us", "UTC")),
                size=pl.lit(1, pl.UInt64),
                e_tag=pl.lit("x"),
            )


def listed(pages, prefix="raw/"):
    frames = Ranges(pages, prefix, pace=ConcurrencyLimiter(warm_up=0)).run()
    return [path for frame in frames for path in frame["path"]]


SHAPES = {
    "numbers": lambda n: f"raw/REC-{n:07}.csv",
    "one folder a record": lambda n: f"raw/{n // 3:06}/file-{n % 3}.txt",
    "dates": lambda n: f"raw/20{n % 30:02}-{n % 12 + 1:02}-{n % 28 + 1:02}/{n}.csv",
    "hashes": lambda n: f"raw/{rng(n).getrandbits(64):016x}",
    "names": lambda n: "raw/" + "".join(rng(n).choices("abcdefghijklmnopqrstuvwxyzéß- ", k=9)),
    "long common head": lambda n: f"raw/site-Łódź/recording_of_the_day_{n}.edf",
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 30_000])
def test_every_key_once_whatever_the_names_are(shape, count):
    keys = sorted({SHAPES[shape](n) for n in range(count)})
    pages = Pages(keys)
    assert listed(pages) == keys
    assert pages.count <= 3 * (count // 1000) + 64


def test_keys_at_the_cuts_are_there_once():
    keys = (
        {f"raw/R{n}" for n in range(10)}
        | {f"raw/R{n:05}" for n in range(20_000)}
        | {f"raw/R0{n}" for n in range(10)}
    )
    assert listed(Pages(keys)) == sorted(keys)


def test_order_that_cannot_be_trusted_is_not():
    pages = Pages([f"raw/{n:05}" for n in range(3000)])
    pages.keys = pages.keys.reverse()
    with pytest.raises(OddError):
        listed(lambda _after: Pages.__call__(pages, ""))


def keys_of(store):
    """The keys below `raw/`, with their stats."""
    return store.find(Reach((("raw", None, None),), may_be_bare=False)).stats


@pytest.fixture
def quick_listings(monkeypatch):
    """The numbers of keys that listings in ranges gave."""
    counts = []
    list_keys = cloud_listing.list_keys

    def counted(*args):
        found = list_keys(*args)
        counts.append(found.height)
        return found

    monkeypatch.setattr(cloud_listing, "list_keys", counted)
    return counts


@pytest.mark.parametrize("kind", ["moto", "seaweed", "azurite", "gcs"])
def test_both_ways_give_the_same_frame(quick_listings, request, kind, monkeypatch):
    bucket = request.getfixturevalue(kind)
    odd = ["sp ace", "a+b (1)", "per%41cent", "é", "x{1}#?", "a=b&c", "tail.", "~", "[1]"]
    bucket.put({f"data/raw/{name}/R{n}.csv": "x" * n for name in odd for n in range(3)})
    bucket.put(
        {f"data/raw/R{n:03}": "" for n in range(5)} | {"data/raw-other/R1": "x", "data/raw/marker/": ""}
    )
    store = open_store(f"{bucket.url}/data", bucket.options)
    quick = keys_of(store)
    assert len(quick_listings) == 1
    monkeypatch.setattr(cloud_listing, "open_cloud", lambda *_: None)
    plain = keys_of(store).filter(~pl.col("path").str.ends_with("/"))
    assert len(quick_listings) == 1
    if kind == "gcs":  # its two protocols name a content differently
        assert quick["etag"].is_null().all()
        quick, plain = quick.drop("etag"), plain.drop("etag")
    assert quick.sort("path").equals(plain.sort("path")), quick.join(plain, on="path", how="full").rows()


def test_options_that_do_not_map_cleanly_go_the_plain_way(monkeypatch):
    names = (
        "ACCESS_KEY_ID",
        "SECRET_ACCESS_KEY",
        "PROFILE",
        "ENDPOINT_URL",
        "ENDPOINT_URL_S3",
        "DEFAULT_REGION",
    )
    for name in names:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")

    def config(**options):
        return cloud_listing.s3_config(open_store("s3://lab", options).fs, options)

    keys = {"key": "a", "secret": "b"}
    assert config() is None
    assert config(**keys, requester_pays=True) is None
    assert config(**keys, config_kwargs={}) is None
    found = {"access_key_id": "a", "secret_access_key": "b"}
    assert config(**keys) == found
    there = {"endpoint": "https://s3.eu-west-1.amazonaws.com", "region": "eu-west-1"}
    assert config(**keys, client_kwargs={"region_name": "eu-west-1"}) == found | there
    where = {"endpoint_url": "http://here", "region_name": "eu-west-1"}
    there = {"endpoint": "http://here", "region": "eu-west-1"}
    assert config(**keys, client_kwargs=where) == found | there
    assert config(anon=True, client_kwargs=where)["skip_signature"]


@pytest.mark.parametrize("kind", ["moto", "azurite", "gcs"])
def test_long_listing_says_how_far_it_is(request, kind):
    bucket = request.getfixturevalue(kind)
    bucket.put({f"raw/R{n}": "x" for n in range(7)})
    store = open_store(bucket.url, bucket.options)
    pages = []
    store.on_page = pages.append
    assert keys_of(store).height == sum(pages) == 7


def test_keys_of_a_profile_are_good_for_ranges_too(quick_listings, seaweed, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    told = ["[lab]", "aws_access_key_id = testkey", "aws_secret_access_key = testsecret"]
    (tmp_path / "credentials").write_text("\n".join(told))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    seaweed.put({f"raw/R{n}": "x" for n in range(3)})
    where = {"endpoint_url": seaweed.endpoint, "region_name": "us-east-1"}
    store = open_store(seaweed.url, {"profile": "lab", "client_kwargs": where})
    assert keys_of(store)["path"].sort().to_list() == ["raw/R0", "raw/R1", "raw/R2"]
    assert quick_listings == [3]


def test_store_that_lets_pages_queue_is_read_in_one_stream():
    """Pages that take the longer the more are asked for: more streams than one gain nothing."""
    pages = Pages([f"raw/REC-{n:06}" for n in range(60_000)])
    turn = threading.Lock()

    def queue(after):
        for page in pages(after):
            with turn:
                time.sleep(0.004)
            yield page

    pace = ConcurrencyLimiter(warm_up=0.05)
    frames = Ranges(queue, "raw/", pace=pace).run()
    assert sum(frame.height for frame in frames) == 60_000
    assert pages.count < 100


def test_options_of_google_and_azure_map_cleanly_or_not_at_all(monkeypatch, tmp_path):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "key.json").write_text('{"type": "service_account", "client_email": "a@b"}')
    (tmp_path / "user.json").write_text('{"type": "authorized_user"}')
    assert cloud_listing.gcs_config({}) is None
    assert cloud_listing.gcs_config({"token": str(tmp_path / "user.json")}) is None
    assert cloud_listing.gcs_config({"token": "anon", "requester_pays": True}) is None
    assert "service_account_key" in cloud_listing.gcs_config({"token": str(tmp_path / "key.json")})
    known = SimpleNamespace(account_name="lab", account_key=None, sas_token=None, connection_string=None)
    assert cloud_listing.azure_config(known, {"account_name": "lab"}) is None
    known.sas_token = "sv=1"  # noqa: S105
    assert cloud_listing.azure_config(known, {}) == {"account_name": "lab", "sas_key": "sv=1"}
    assert cloud_listing.azure_config(known, {"tenant_id": "x"}) is None
    known.connection_string = "AccountName=a;AccountKey=b==;EndpointSuffix=core.chinacloudapi.cn"
    assert cloud_listing.azure_config(known, {}) is None


def test_an_interrupt_ends_the_readers_at_their_next_page(wait_until):
    pages, begun, last = (
        Pages([f"raw/{n:04}" for n in range(1000)]),
        threading.Event(),
        time.monotonic() + 300,
    )

    def long_one(after):
        page = next(pages(after))
        for number in range(10**9):
            if time.monotonic() > last:
                return
            begun.set()
            yield page.with_columns(path=f"raw/{number:09}-" + pl.col("path"))
            time.sleep(0.005)

    def interrupt():
        begun.wait(300)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Ranges(long_one, "raw/", pace=ConcurrencyLimiter(most=1)).run()
    thread.join(300)
    wait_until(lambda: not any(one.name == "sinagot-list" for one in threading.enumerate()))
    assert time.monotonic() < last
