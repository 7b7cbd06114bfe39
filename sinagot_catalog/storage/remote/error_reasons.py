"""Error reasons: describes errors of storage libraries in a few words, without a secret."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from sinagot_catalog.secrets import masked

_SECRET = re.compile(
    r"(?i)secret|token|password|passwd|pwd|sas|credential|connection_string|account_key|^key$|cookie|auth"
)
_SHORTEST_SECRET = 4
_LONGEST = 300
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409", "BlobAlreadyExists")
_CODES = {
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": "the session token has expired",
    "ExpiredTokenException": "the session token has expired",
    "TokenRefreshRequired": "the session token has expired",
    "InvalidToken": "the session token is not valid there",
    "InvalidClientTokenId": "the access key is not known there",
    "RequestTimeTooSkewed": "the clock of this machine differs too much from that of the store",
    "InvalidObjectState": "the object is archived: restore it first",
    "BlobArchived": "the object is archived: rehydrate it first",
    "AccountProblem": "there is a problem with the account",
    "AllAccessDisabled": "all access to it is disabled",
    "AuthenticationFailed": "the account key or token is not valid there",
    "InvalidAuthenticationInfo": "the account key or token is not valid there",
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "access denied",
    "Forbidden": "access denied",
    "403": "access denied",
}
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH)
_NOT_SERVING = (502, 503, 504)
_STATUS = {
    401: "401 Unauthorized: it asks for a name and a password",
    403: "access denied (403 Forbidden)",
    404: "404 Not Found",
    410: "410 Gone",
}


def reason_of(error: BaseException, hidden: Iterable[str] = ()) -> str:
    """Why a store refused a request, in a few words.

    Args:
        error: The error that its library raised.
        hidden: Texts that no message may show.
    """
    chain = list(_chain(error))
    for cause in chain:
        code = _code(cause)
        if code in _CODES:
            return _CODES[code]
    status = next((number for cause in chain if (number := status_of(cause)) in _STATUS), None)
    if status is not None:
        return _STATUS[status]
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    named = next((code for code in _CODES if not code.isdigit() and re.search(rf"\b{code}\b", text)), None)
    if named is not None:
        return _CODES[named]
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = masked(text)[:_LONGEST]
    if isinstance(error, PermissionError):
        code = next((code for cause in chain if (code := _code(cause))), "")
        detail = ": ".join(part for part in (code, _detail(error, text)) if part)
        return f"access denied: {detail}" if detail else "access denied"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _detail(error: PermissionError, text: str) -> str:
    """What an error says beyond that access is denied."""
    plain = text.strip(" .").lower()
    if error.errno == errno.EACCES or plain in ("", "forbidden", "access denied", "permission denied"):
        return ""
    return text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and the errors that caused it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _code(error: BaseException) -> str:
    """The store's own code of an error."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status of an error."""
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def is_outage(error: BaseException) -> bool:
    """Whether an error means that a server cannot be reached, whatever is asked of it."""
    return any(
        isinstance(cause, (ConnectionError, TimeoutError, EOFError, socket.gaierror))
        or getattr(cause, "errno", None) in _UNREACHABLE
        or status_of(cause) in _NOT_SERVING
        for cause in _chain(error)
    )


def is_refusal(error: BaseException) -> bool:
    """Whether an error means that an object existed already: stores and libraries report this in several ways."""
    if isinstance(error, FileExistsError):
        return True
    code = getattr(error, "code", None) or getattr(error, "status", None)
    told = f"{code} {error} {error.__cause__ or ''}"
    return (isinstance(error, OSError) and error.errno == errno.EINVAL) or any(
        word in told for word in _REFUSED
    )


def secrets_in(options: Any, name: str = "") -> set[str]:
    """Every text in some options that no message may show."""
    if isinstance(options, dict):
        return {secret for key, value in options.items() for secret in secrets_in(value, str(key))}
    if isinstance(options, (list, tuple)):
        return {secret for value in options for secret in secrets_in(value, name)}
    is_secret = isinstance(options, str) and len(options) >= _SHORTEST_SECRET and _SECRET.search(name)
    return {options} if is_secret else set()
