"""Prefect API discovery: finds the API that the user configured, and queries it over HTTP.

Prefect is not imported here: its import takes seconds, and an API that does not answer should be reported at once.
"""

import base64
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import tomli

from sinagot_catalog.errors import ServerError

__all__ = ["WITHOUT_PREFECT", "ConfiguredApi", "ask", "configured_api", "of_prefect", "probe"]

WITHOUT_PREFECT = "Without Prefect the same rows run by `sinagot-catalog run`."
"""A hint for errors of Prefect: rows can run without it."""

# -- HTTP requests -------------------------------------------------------------------------------------------


def probe(url: str, *, auth: str | None = None, key: str | None = None, timeout: float = 3.0) -> None:
    """Check that a Prefect API answers and accepts the credentials.

    Args:
        url: The URL of the API, as in `PREFECT_API_URL`.
        auth: Its `user:password`, if it has one.
        key: The key of Prefect Cloud.
        timeout: Seconds to wait for each of two answers.

    Raises:
        ServerError: The check failed; a sentence with the URL and the answer.
    """
    base = url.rstrip("/")
    ask(f"{base}/health", auth=auth, key=key, timeout=timeout)
    ask(f"{base}/admin/version", auth=auth, key=key, timeout=timeout, absent=True)


def ask(
    url: str,
    *,
    auth: str | None = None,
    key: str | None = None,
    timeout: float = 3.0,
    body: Mapping[str, object] | None = None,
    absent: bool = False,
) -> Any:
    """Get JSON from a URL.

    Args:
        url: The URL.
        auth: The API's `user:password`.
        key: The key of Prefect Cloud.
        timeout: Seconds to wait.
        body: The JSON body of a POST request; without it, a GET request.
        absent: Whether a 404 returns None (Prefect Cloud has fewer routes).

    Raises:
        ServerError: The request failed; a sentence with the URL and the answer.
    """
    if not url.startswith(("http://", "https://")):
        raise ServerError(f"{url!r} is no address of a Prefect API.", "It begins with http:// or https://.")
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})  # noqa: S310
    if auth:  # takes precedence over the key, as in Prefect's own client
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    elif key:
        request.add_header("Authorization", f"Bearer {key}")
    # A loopback address must not go through a proxy.
    local = re.match(r"https?://(127\.|localhost\b|\[::1\])", url)
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return json.loads(answer.read(1_000_000))
    except urllib.error.HTTPError as error:
        with error:
            if absent and error.code == 404:  # noqa: PLR2004
                return None
            raise _no_answer(url, _meaning(error.code)) from None
    except TimeoutError:
        raise _no_answer(url, f"nothing came back within {timeout:g} s") from None
    except (OSError, ValueError) as error:
        slow = isinstance(getattr(error, "reason", None), TimeoutError)
        reason = f"nothing came back within {timeout:g} s" if slow else _in_words(error)
        raise _no_answer(url, reason) from None


def _meaning(code: int) -> str:
    if code in (401, 403):
        return (
            f"it refused the login (HTTP {code}): see PREFECT_API_AUTH_STRING or, on Cloud, PREFECT_API_KEY"
        )
    return f"HTTP {code} came back"


def _in_words(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "what came back is not from Prefect's API"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason).lower()


def _no_answer(url: str, reason: str) -> ServerError:
    return ServerError(f"The Prefect API at {url} does not answer as it should: {reason}.", WITHOUT_PREFECT)


# -- configuration of the user -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConfiguredApi:
    """A Prefect API that the user configured.

    Attributes:
        url: The URL of the API.
        source: The place of the setting, in words.
    """

    url: str
    source: str
    auth: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        return f"<ConfiguredApi {self.url} | {self.source}>"

    def probe(self, timeout: float = 3.0) -> None:
        """Check that the API answers and accepts the credentials.

        Args:
            timeout: Seconds to wait for an answer.

        Raises:
            ServerError: The API does not answer, or refuses the credentials.
        """
        try:
            probe(self.url, auth=self.auth, key=self.key, timeout=timeout)
        except ServerError as error:
            raise ServerError(f"{error.message} It was named by {self.source}.", error.hint) from None


def configured_api() -> ConfiguredApi | None:
    """Find the Prefect API that the user configured, in Prefect's order of settings, without its import.

    Returns:
        None if there is none: then the library starts a local server. `PREFECT_API_URL=""` counts as none.
    """
    places = [
        ("the environment", dict(os.environ)),
        ("./.env", _dotenv(Path(".env"))),
        ("./prefect.toml", _flat(_toml(Path("prefect.toml")))),
        (
            "[tool.prefect] of ./pyproject.toml",
            _flat(_toml(Path("pyproject.toml")).get("tool", {}).get("prefect", {})),
        ),
        _profile(),
    ]
    source = next((name for name, values in places if values.get("PREFECT_API_URL")), None)
    if source is None:
        return None

    def first(key: str) -> str | None:
        return next((str(values[key]) for _, values in places if values.get(key)), None)

    return ConfiguredApi(
        first("PREFECT_API_URL") or "", source, first("PREFECT_API_AUTH_STRING"), first("PREFECT_API_KEY")
    )


def of_prefect(command: str) -> str:
    """Format a command of Prefect so that it finds the API that this library uses."""
    return command if configured_api() else f'eval "$(sinagot-catalog server env)" && {command}'


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    api = values.get("api", {})
    return (
        {f"PREFECT_API_{name.upper()}": value for name, value in api.items()} if isinstance(api, dict) else {}
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # Prefect reports a faulty file itself


def _dotenv(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    line = re.compile(r"^\s*(?:export\s+)?(PREFECT_\w+)\s*=\s*(['\"]?)(.*?)\2\s*$", re.MULTILINE)
    return {name: value for name, _, value in line.findall(text)}


def _profile() -> tuple[str, dict[str, Any]]:
    """The active profile of the user's profiles file, or else the default profile of Prefect."""
    path = _profiles_path()
    document = _toml(path)
    name = os.environ.get("PREFECT_PROFILE") or document.get("active")
    if not document or name not in document.get("profiles", {}):
        document = _toml(_brought_profiles())
        name = document.get("active")
    return f"the Prefect profile {name!r} in {path}", document.get("profiles", {}).get(name, {})


def _profiles_path() -> Path:
    own = (
        os.environ.get("PREFECT_PROFILES_PATH")
        or _toml(Path("prefect.toml")).get("profiles_path")
        or _toml(Path("pyproject.toml")).get("tool", {}).get("prefect", {}).get("profiles_path")
    )
    if own:
        return Path(own)
    if folder := os.environ.get("PREFECT_HOME"):
        return Path(folder) / "profiles.toml"
    usual = Path("~/.prefect/profiles.toml").expanduser()
    return usual if usual.exists() else _brought_profiles()


def _brought_profiles() -> Path:
    spec = util.find_spec("prefect")
    return (
        Path(spec.origin).parent / "settings" / "profiles.toml" if spec and spec.origin else Path(os.devnull)
    )
