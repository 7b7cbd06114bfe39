"""Requests to a configured API, by Prefect's own client: with its headers, proxies and certificates."""

import ssl
from json import JSONDecodeError
from typing import Any, cast

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from sinagot_catalog.errors import ServerError
from sinagot_catalog.flows.server.api import ConfiguredApi, no_answer, unreadable_settings

_CERTIFICATE = "PREFECT_API_SSL_CERT_FILE names the certificates of a private authority"
_MEANINGS = {
    401: "it refused the login (HTTP 401): see PREFECT_API_AUTH_STRING or, on Cloud, PREFECT_API_KEY",
    403: "it refused the login (HTTP 403): see PREFECT_API_AUTH_STRING or, on Cloud, PREFECT_API_KEY; a proxy in "
    "front of it may need PREFECT_CLIENT_CUSTOM_HEADERS",
    407: "the proxy needs a login (HTTP 407): write it into HTTP_PROXY or HTTPS_PROXY, as user:password@",
}


def ask(api: ConfiguredApi, path: str, body: object, *, timeout: float, absent: bool) -> Any:
    """See `ConfiguredApi.ask`."""
    url = f"{api.url.rstrip('/')}{path}"
    # The client tries four times to connect.
    limit = httpx.Timeout(timeout, connect=timeout / 2)
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            SyncPrefectClient(
                api.url, auth_string=api.auth, api_key=api.key, httpx_settings={"timeout": limit}
            ) as client,
        ):
            route = cast("Any", path)  # Prefect lists the routes that it knows as literals
            if body is None:
                return client.request("GET", route).json()
            return client.request("POST", route, json=body).json()
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        if absent and code == httpx.codes.NOT_FOUND:
            return None
        raise no_answer(url, _MEANINGS.get(code, f"HTTP {code} came back")) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise _translated(url, error, timeout) from None


def _translated(url: str, error: Exception, timeout: float) -> ServerError:
    if isinstance(error, JSONDecodeError):
        return no_answer(url, "what came back is not from Prefect's API")
    if isinstance(error, ValueError):
        return unreadable_settings(error)
    if isinstance(error, OSError):  # ssl.SSLError is one
        file = PREFECT_API_SSL_CERT_FILE.value()
        text = "it holds no certificate" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
        return no_answer(url, f"PREFECT_API_SSL_CERT_FILE = {file!r} cannot be read: {text}")
    return no_answer(url, _in_words(error, timeout))


def _in_words(error: Exception, timeout: float) -> str:
    text = str(error)
    if isinstance(error, httpx.TimeoutException):
        return f"nothing came back within {timeout:g} s"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy refused the request: {text}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = text.partition("verify failed: ")[2].partition(" (_ssl")[0] or text
        return f"its certificate is not trusted ({reason}); {_CERTIFICATE}"
    # without the number of the operating system
    return (text.partition("] ")[2] or text or "the connection ended").lower()
