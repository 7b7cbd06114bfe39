"""Requests to an API: to a configured one by Prefect's own client, with its headers, proxies and certificates."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from typing import Any, cast

import httpx

from sinagot_catalog.flows.server.api import ANSWER, ConfiguredApi, no_answer, unreadable_settings

_CERTIFICATE = "PREFECT_API_SSL_CERT_FILE names the certificates of a private authority"
_MEANINGS = {
    401: "it refused the login (HTTP 401): see PREFECT_API_AUTH_STRING or, on Cloud, PREFECT_API_KEY",
    403: "it refused the login (HTTP 403): see PREFECT_API_AUTH_STRING or, on Cloud, PREFECT_API_KEY; a proxy in "
    "front of it may need PREFECT_CLIENT_CUSTOM_HEADERS",
    407: "the proxy needs a login (HTTP 407): write it into HTTP_PROXY or HTTPS_PROXY, as user:password@",
}


def ask(url: str, *, auth: str | None = None, timeout: float = ANSWER, body: object = None) -> Any:
    """Get JSON from the local server, without the import of Prefect and never through a proxy.

    Args:
        url: The URL.
        auth: The `user:password` of the server.
        timeout: Seconds to wait.
        body: The JSON body of a POST request; without it, a GET request.

    Raises:
        ServerError: The request failed; a sentence with the URL and the answer.
    """
    user, _, password = (auth or "").partition(":")
    login = (user, password) if auth else None
    with (
        _translated(url, timeout),
        # certificates would only take time: it is the loopback
        httpx.Client(auth=login, timeout=timeout, trust_env=False, verify=False) as client,  # noqa: S501
    ):
        answer = client.request("GET" if body is None else "POST", url, json=body)
        return answer.raise_for_status().json()


def ask_configured(api: ConfiguredApi, path: str, body: object, *, timeout: float, absent: bool) -> Any:
    """Get JSON from a configured API; see `ConfiguredApi.ask`."""
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    # The client tries four times to connect.
    settings = {"timeout": httpx.Timeout(timeout, connect=timeout / 2)}
    with (
        _translated(f"{api.url.rstrip('/')}{path}", timeout),
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        SyncPrefectClient(api.url, auth_string=api.auth, api_key=api.key, httpx_settings=settings) as client,
    ):
        try:
            route = cast("Any", path)  # Prefect lists the routes that it knows as literals
            return client.request("GET" if body is None else "POST", route, json=body).json()
        except httpx.HTTPStatusError as error:
            if absent and error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise


@contextmanager
def _translated(url: str, timeout: float) -> Iterator[None]:
    """Convert the error of a request into one sentence."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        raise no_answer(url, _MEANINGS.get(code, f"HTTP {code} came back")) from None
    except JSONDecodeError:
        raise no_answer(url, "what came back is not from Prefect's API") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise no_answer(url, _in_words(error, timeout)) from None
    except OSError as error:  # of the file of certificates; ssl.SSLError is one
        from prefect.settings import PREFECT_API_SSL_CERT_FILE

        file = PREFECT_API_SSL_CERT_FILE.value()
        text = "it holds no certificate" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
        raise no_answer(url, f"PREFECT_API_SSL_CERT_FILE = {file!r} cannot be read: {text}") from None
    except ValueError as error:
        raise unreadable_settings(error) from None


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
