"""Buckets of one test, on the servers of `tests/servers.py`."""

import functools
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import pytest


class Bucket:
    """A real store of objects on this machine: its URL, the options that reach it, and its objects."""

    def __init__(
        self, url: str, options: dict[str, Any], environment: dict[str, str], endpoint: str = ""
    ) -> None:
        self.url = url
        self.options = options
        self.environment = environment
        self.endpoint = endpoint
        self.fs = fsspec.filesystem(
            url.partition("://")[0], skip_instance_cache=True, use_listings_cache=False, **options
        )

    def put(self, files: Mapping[str, str | bytes], prefix: str = "") -> None:
        """Write objects by their keys."""
        for key, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            self.fs.pipe_file("/".join(part for part in (self.url, prefix, key) if part), data)

    def upload(self, folder: Path, prefix: str = "") -> str:
        """Copy a folder; gives the URL of the copy."""
        files = {
            str(one.relative_to(folder)): one.read_bytes()
            for one in sorted(folder.rglob("*"))
            if one.is_file()
        }
        self.put(files, prefix)
        return "/".join(part for part in (self.url, prefix) if part)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys below a prefix, relative to the bucket."""
        base = self.fs._strip_protocol(self.url)
        at = f"{base}/{prefix}".rstrip("/")
        return sorted(name.removeprefix(f"{base}/") for name in self.fs.find(at) if not name.endswith("/"))

    def read(self, key: str) -> bytes:
        """An object's content."""
        return bytes(self.fs.cat_file(f"{self.url}/{key}"))


@functools.cache
def read_descriptions_once() -> None:
    """Share what botocore reads of services between clients: each would read its own, for half of its start."""
    from botocore.loaders import JSONFileLoader

    read, loader = JSONFileLoader.load_file, JSONFileLoader()
    once = functools.cache(lambda path: read(loader, path))
    JSONFileLoader.load_file = lambda _, path: once(path)


def s3_bucket(endpoint: str, name: str, key: str = "testkey", *, create: bool = True) -> Bucket:
    """A bucket behind an address that speaks S3."""
    read_descriptions_once()
    secret = key.replace("key", "secret")
    options = {
        "key": key,
        "secret": secret,
        "client_kwargs": {"endpoint_url": endpoint, "region_name": "us-east-1"},
    }
    environment = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    bucket = Bucket(f"s3://{name}", options, environment, endpoint)
    if create:
        bucket.fs.call_s3("create_bucket", Bucket=name)
    return bucket


@pytest.fixture
def moto(moto_url: str) -> Bucket:
    """A bucket of its own on a server that speaks S3."""
    return s3_bucket(moto_url, f"lab-{secrets.token_hex(6)}")


@pytest.fixture
def seaweed(weed: Any) -> Bucket:
    """A bucket of its own on a real store of objects."""
    return weed.bucket()


@pytest.fixture
def azurite(azurite_url: str) -> Bucket:
    """A container of its own on Azurite; the account and its key are those that it documents."""
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    account = "devstoreaccount1"
    where = f"BlobEndpoint={azurite_url}/{account};"
    text = f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};{where}"
    name = f"lab-{secrets.token_hex(6)}"
    environment = {"AZURE_STORAGE_CONNECTION_STRING": text}
    bucket = Bucket(f"az://{name}", {"connection_string": text}, environment, azurite_url)
    bucket.fs.mkdir(name)
    return bucket


@pytest.fixture
def gcs(gcs_url: str) -> Bucket:
    """A bucket of its own on a server that speaks Google's storage protocol."""
    name = f"lab-{secrets.token_hex(6)}"
    options = {"endpoint_url": gcs_url, "token": "anon", "project": "lab"}
    # a token is looked for at Google's where none is named
    environment = {"STORAGE_EMULATOR_HOST": gcs_url, "FSSPEC_GS_TOKEN": "anon"}
    bucket = Bucket(f"gs://{name}", options, environment, gcs_url)
    bucket.fs.mkdir(name)
    return bucket
