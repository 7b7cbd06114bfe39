"""Access to the page: who sees it, and who changes something; an ASGI layer around all of its routes.

- `Host` names the loopback: a name on the internet that is made to point here (DNS rebinding) is refused.
- The token of the first address is exchanged for a cookie, and redirected away. Without it nothing is shown.
- Pages of other origins get nothing: not by a link inside of them, a form, an image or a script.
- A POST comes from the page itself: it has its `Origin`, and a form token that belongs to the cookie; it is JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_POSTED = 256 << 10
"""The size of the largest POST."""
_SESSIONS = 100
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_READS = ("GET", "HEAD")
FILE_POLICY = "default-src 'none'; sandbox"
"""The policy of files: nothing in them runs or loads anything."""
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Access:
    """The checks of each request.

    Args:
        app: The routes.
        port: The port of the server, for the name of its cookie: cookies of all ports are shared.
        read_only: Refuse every POST.
    """

    def __init__(self, app: ASGIApp, *, port: int, read_only: bool = False) -> None:
        self._app = app
        self._cookie = f"sinagot_catalog_{port}"
        self._read_only = read_only
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, None] = {}
        self.token = secrets.token_urlsafe(32)
        """The token of the first address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return  # no route has a web socket
        nonce = secrets.token_urlsafe(16)
        request = HTTPConnection(scope)
        answer = self._answer(request)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("content-security-policy", _policy(nonce))
            await send(message)

        if answer is None:
            scope["state"] = {"nonce": nonce, "form_token": self._form_token(self._session(request) or "")}
            try:
                await self._app(scope, receive, guarded)
            except Exception:
                if os.environ.get("SINAGOT_CATALOG_DEBUG"):
                    raise  # the answer names the fault; uvicorn writes its traceback
        else:
            await answer(scope, receive, guarded)

    def _answer(self, request: HTTPConnection) -> Response | None:
        """Return the answer to a request that does not reach a route; None if it does."""
        headers, method = request.headers, request.scope["method"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _is_loopback(hosts[0]):
            return _refused(421, "This page is served to 127.0.0.1 and localhost only.")
        if method not in (*_READS, "POST"):
            return _refused(405, "This page takes GET and POST.")
        if method in _READS and (token := request.query_params.get("token")):
            return self._admitted(token)
        session = self._session(request)
        if session is None:
            return _refused(
                401, "Open the address that `sinagot-catalog ui` printed: it contains the key to this page."
            )
        site = headers.get("sec-fetch-site", "none")
        is_visit = headers.get("sec-fetch-mode") == "navigate" and method in _READS
        if site not in ("none", "same-origin") and not is_visit:
            return _refused(403, "This page answers no other page.")
        return self._refused_post(headers, hosts[0], session) if method == "POST" else None

    def _admitted(self, token: str) -> Response:
        """Exchange the token for a cookie."""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return _refused(
                403, "The token of this address is wrong: `sinagot-catalog ui` prints another at each start."
            )
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        while len(self._sessions) > _SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(self._cookie, session, httponly=True, samesite="strict", path="/")
        return answer

    def _session(self, request: HTTPConnection) -> str | None:
        """Return the session of the request's cookie; None if there is none."""
        session = request.cookies.get(self._cookie)
        return session if session in self._sessions else None

    def _form_token(self, session: str) -> str:
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()

    def _refused_post(self, headers: Headers, host: str, session: str) -> Response | None:
        """Return why a POST is refused; None if it is not."""
        if self._read_only:
            return _refused(403, "This page is read-only.")
        if headers.getlist("origin") != [f"http://{host}"]:
            return _refused(403, "Only this page itself may change something.")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refused(415, "A POST is JSON.")
        given = headers.get("x-form-token", "")
        if not hmac.compare_digest(given.encode("latin-1"), self._form_token(session).encode()):
            return _refused(403, "The form token is missing or wrong: load the page again.")
        # without a transfer encoding a body ends at the length that its header names
        size = headers.get("content-length", "")
        if "transfer-encoding" in headers or not size.isdecimal() or int(size) > MOST_POSTED:
            return _refused(413, f"A POST has a length, and at most {MOST_POSTED:,} bytes.")
        return None


def _is_loopback(host: str) -> bool:
    """Whether a `Host` names this machine's loopback, with any port: a tunnel may change it.

    Example:
        >>> [_is_loopback(host) for host in ("127.0.0.1:80", "[::1]:80", "localhost", "localhost.net", "evil:80")]
        [True, True, True, False, False]
    """
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "0"
    return name.lower() in _LOOPBACK and port.isascii() and port.isdecimal()


def _policy(nonce: str) -> str:
    """Return the policy of a page: its own script, its own style sheet, its own pictures."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}';"
        " style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _refused(status: int, sentence: str) -> Response:
    return PlainTextResponse(f"{sentence}\n", status_code=status)
