"""Key ranges side by side give the listing that one stream gives."""

import random

import polars as pl
import pytest

from sinagot_catalog._store import _fast, open_store
from sinagot_catalog._store._fast import OddError, _Ranges

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
    frames = _Ranges(pages, prefix, None).run()
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
    assert pages.count <= 4 * (count // 1000) + 64


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


@pytest.mark.parametrize("kind", ["moto", "seaweed"])
def test_both_ways_give_the_same_frame(request, kind, monkeypatch):
    bucket = request.getfixturevalue(kind)
    odd = ["sp ace", "a+b (1)", "per%41cent", "é", "x{1}#?", "a=b&c", "tail.", "~", "[1]"]
    bucket.put({f"data/raw/{name}/R{n}.csv": "x" * n for name in odd for n in range(3)})
    bucket.put(
        {f"data/raw/R{n:03}": "" for n in range(5)} | {"data/raw-other/R1": "x", "data/raw/marker/": ""}
    )
    store = open_store(f"{bucket.url}/data", bucket.options)
    quick = store._list_quickly("raw/")
    assert quick is not None
    monkeypatch.setattr(_fast, "s3_config", lambda _options: None)
    plain = store._list("raw/").filter(~pl.col("path").str.ends_with("/"))
    assert quick.sort("path").equals(plain.sort("path")), (quick.sort("path"), plain.sort("path"))


def test_options_that_do_not_map_cleanly_go_the_plain_way(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    assert _fast.s3_config({}) is None
    assert _fast.s3_config({"key": "a", "secret": "b", "requester_pays": True}) is None
    assert _fast.s3_config({"key": "a", "secret": "b", "config_kwargs": {}}) is None
    assert _fast.s3_config({"key": "a", "secret": "b"}) == {"access_key_id": "a", "secret_access_key": "b"}
