"""Cloud listing: lists S3, Google and Azure storage straight into columns, and asks S3 for single keys, by obstore.

It is used if the endpoint and the credentials of the fsspec file system can be translated exactly. If they cannot,
or if anything unexpected happens, the caller lists through fsspec. S3 and Google can list from any key on, so they
are listed in ranges; Azure cannot, and is listed in pages of five thousand keys.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sinagot_catalog.storage.remote.range_listing import COLUMNS, ConcurrencyLimiter, Ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

_PAGE = 1_000
_PATIENCE = 30.0
_KEY_TIMEOUT = "20s"
_S3_KEYS = {"access_key_id": "key", "secret_access_key": "secret", "session_token": "token"}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_OF_NO_REGION = "https://s3.amazonaws.com"
"""What s3fs asks if neither an endpoint nor a region is named."""
_AZURE_KEYS = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_CLIENT_ID",
)
_AZURE_NAMES = {
    "account_name": "account_name",
    "account_key": "account_key",
    "sas_token": "sas_key",
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_key",
    "BlobEndpoint": "endpoint",
}


# --- options of fsspec as options of obstore ---------------------------------------------------------------------


def s3_config(fs: Any, options: Mapping[str, Any], *, lasting: bool = False) -> dict[str, Any] | None:
    """The endpoint and the keys that s3fs uses, as options of obstore; None if they cannot be translated exactly.

    s3fs finds itself what the options leave open: in the environment, in a profile or by a role.

    Args:
        fs: The file system.
        options: The options with which it was opened.
        lasting: Refuse keys that expire, as those of a role do.
    """
    given = {"anon", "profile", "endpoint_url", "client_kwargs", *_S3_KEYS.values()}
    if set(options) - given or set(options.get("client_kwargs") or {}) - {"endpoint_url", "region_name"}:
        return None
    fs.connect()
    where = {"endpoint": fs.s3.meta.endpoint_url, "region": fs.s3.meta.region_name}
    if where["endpoint"] == _OF_NO_REGION:  # without a region Polars finds that of the bucket itself
        if any(os.environ.get(name) for name in _ENDPOINTS):
            return None  # obstore would not ignore it
        where = {}
    if options.get("anon"):
        return {**where, "skip_signature": True}
    keys = {ours: options.get(theirs) for ours, theirs in _S3_KEYS.items()}
    if not (options.get("key") and options.get("secret")):

        async def found() -> Any:
            credentials = await fs.session.get_credentials()
            if credentials is None or (lasting and hasattr(credentials, "refresh_needed")):
                return None
            return await credentials.get_frozen_credentials()

        frozen = asyncio.run_coroutine_threadsafe(found(), fs.loop).result(_PATIENCE)
        if frozen is None:
            return None
        keys = dict(zip(_S3_KEYS, (frozen.access_key, frozen.secret_key, frozen.token), strict=True))
    return {key: value for key, value in {**keys, **where}.items() if value}


def polars_config(fs: Any, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same for Polars, if nothing in the environment would be added."""
    config = s3_config(fs, options, lasting=True)
    if config is None or config.get("skip_signature"):
        return config
    token = config.get("session_token")
    if os.environ.get("AWS_SESSION_TOKEN", token) != token:
        return None  # a token that belongs to other keys would be sent, too
    endpoint = config.get("endpoint")
    return config if {os.environ.get(name, endpoint) for name in _ENDPOINTS} == {endpoint} else None


def azure_config(fs: Any, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What adlfs knows of an account, as options of obstore; None if it cannot be translated exactly.

    Args:
        fs: The file system, which knows the environment, too.
        options: The options with which it was opened.
    """
    if set(options) - {"account_name", "account_key", "sas_token", "connection_string"}:
        return None
    account = {name: getattr(fs, name) for name in ("account_name", "account_key", "sas_token")}
    if fs.connection_string:
        account = dict(part.split("=", 1) for part in fs.connection_string.split(";") if "=" in part)
    config = {_AZURE_NAMES[key]: value for key, value in account.items() if key in _AZURE_NAMES and value}
    if "account_name" not in config or len({"account_key", "sas_key"} & set(config)) != 1:
        return None
    if any(os.environ.get(name) not in (None, "", *config.values()) for name in _AZURE_KEYS):
        return None  # obstore would use those of the environment, too
    if account.get("EndpointSuffix", "core.windows.net") != "core.windows.net" and "endpoint" not in config:
        return None
    return config


def gcs_config(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options of gcsfs as options of obstore; None if they cannot be translated exactly.

    Example:
        >>> gcs_config({"token": "anon", "endpoint_url": "http://here"})
        {'base_url': 'http://here', 'skip_signature': True}
        >>> gcs_config({"token": "browser"}) is None
        True
    """
    if set(options) - {"token", "project", "endpoint_url"}:
        return None
    token = options.get("token") or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    endpoint = options.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST")
    config: dict[str, Any] = {"base_url": endpoint} if endpoint else {}
    if token == "anon" or (token is None and endpoint):  # noqa: S105 - it means that there is none
        return {**config, "skip_signature": True}
    if isinstance(token, str) and Path(token).is_file():
        token = json.loads(Path(token).read_text())
    if isinstance(token, dict) and token.get("type") == "service_account":
        return {**config, "service_account_key": json.dumps(token)}
    return None


# --- listing -----------------------------------------------------------------------------------------------------


def open_cloud(fs: Any, root: str, options: Mapping[str, Any]) -> Any:
    """An obstore store for the bucket of a URL; None if its options cannot be translated exactly.

    Raises:
        ImportError: When obstore is not installed.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    protocol, _, rest = root.partition("://")
    bucket = rest.partition("/")[0]
    kind: Any
    match protocol:
        case "s3" | "s3a":
            kind, config = S3Store, s3_config(fs, options)
        case "gs" | "gcs":
            kind, config = GCSStore, gcs_config(options)
        case "az" | "abfs" | "abfss" if "@" not in bucket:
            kind, config = AzureStore, azure_config(fs, options)
        case _:
            return None
    return None if config is None else _open(kind, bucket, config)


def open_keys(fs: Any, root: str, options: Mapping[str, Any]) -> Any:
    """An obstore store that is asked for single keys, without retries; None except for S3 with keys that last.

    Raises:
        ImportError: When obstore is not installed.
    """
    from obstore.store import S3Store

    protocol, _, rest = root.partition("://")
    config = s3_config(fs, options, lasting=True) if protocol in ("s3", "s3a") else None
    if config is None:
        return None
    return _open(S3Store, rest.partition("/")[0], config, timeout=_KEY_TIMEOUT, retries={"max_retries": 0})


def peek(keys: Any, key: str) -> Mapping[str, Any] | None:
    """What S3 tells about a key, or that others begin with it and a slash; None if there is neither."""
    from obstore.exceptions import NotFoundError

    try:
        info: Mapping[str, Any] = keys.head(key)
    except (FileNotFoundError, NotFoundError):
        return {"type": "directory"} if next(iter(keys.list(key, chunk_size=1)), None) else None
    return info


def _open(kind: Any, bucket: str, config: dict[str, Any], timeout: str = "60s", retries: Any = None) -> Any:
    from obstore.store import S3Store

    endpoint = str(config.get("endpoint") or config.get("base_url") or "")
    client = {"timeout": timeout, "allow_http": endpoint.startswith("http://")}
    how = {"config": config, "client_options": client, "retry_config": retries}
    if kind is not S3Store or config.get("skip_signature"):
        return kind(bucket, **how)
    # obstore adds values of the environment, such as a session token, to keys, but not to those of a provider
    keys: Any = {
        "access_key_id": config.pop("access_key_id"),
        "secret_access_key": config.pop("secret_access_key"),
        "token": config.pop("session_token", None),
        "expires_at": None,
    }
    return kind(bucket, **how, credential_provider=lambda: keys)


def list_keys(cloud: Any, prefix: str, on_page: Callable[[int], None] | None = None) -> pl.DataFrame:
    """Every key below a folder of a bucket: `path` (the whole key), `size`, `last_modified`, `e_tag`.

    Args:
        cloud: The result of `open_cloud`.
        prefix: The folder, empty or ending in `/`.
        on_page: Called with the number of keys of each page.

    Raises:
        OddError: When the keys do not come in order.
    """
    import polars as pl
    from obstore.store import AzureStore, GCSStore

    def pages(after: str) -> Any:
        folder = prefix.rstrip("/") or None
        return cloud.list(folder, offset=after or None, chunk_size=_PAGE, return_arrow=True)

    pace = ConcurrencyLimiter(most=1) if isinstance(cloud, AzureStore) else ConcurrencyLimiter()
    dtypes = (pl.String, pl.Datetime("us", "UTC"), pl.UInt64, pl.String)
    nothing = pl.DataFrame(schema=dict(zip(COLUMNS, dtypes, strict=True)))
    frames = Ranges(pages, prefix, on_page, pace).run()
    listed: pl.DataFrame = pl.concat([nothing, *(frame.select(COLUMNS) for frame in frames)])
    if isinstance(cloud, GCSStore):
        # Google's XML API, which obstore uses, gives other etags than its JSON API, which gcsfs uses.
        listed = listed.with_columns(e_tag=pl.lit(None, pl.String))
    return listed
