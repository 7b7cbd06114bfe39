"""Prefect API discovery: finds the API that the user configured, and checks that it answers.

Prefect is not imported here for a question that needs none: its import takes seconds.
"""

import os
import re
import socket
from collections.abc import Mapping
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import tomli

from sinagot_catalog.errors import ServerError
from sinagot_catalog.secrets import masked
from sinagot_catalog.startup import dataclass

WITHOUT_PREFECT = "Without Prefect the same rows run by `sinagot-catalog run`."
"""A hint for errors of Prefect: rows can run without it."""
ANSWER = 10.0
"""Seconds to wait for an answer: a busy server takes some."""
_CONNECTION = 3.0
"""Seconds to wait for a connection, which a busy server accepts at once."""

# -- errors --------------------------------------------------------------------------------------------------


def no_answer(url: str, reason: str) -> ServerError:
    """The error of an API that does not answer as it should."""
    return ServerError(
        f"The Prefect API at {masked(url)} does not answer as it should: {reason}.", WITHOUT_PREFECT
    )


def load(module: str) -> ModuleType:
    """Import a module that imports Prefect.

    Raises:
        ServerError: Prefect cannot read its settings.
    """
    try:
        return import_module(module)
    except ValueError as error:  # of pydantic: a setting has a value of another kind
        raise unreadable_settings(error) from error


def unreadable_settings(error: ValueError) -> ServerError:
    """The error of a setting of Prefect that has a wrong value, from the error of pydantic."""
    lines = [line.strip() for line in str(error).splitlines()[1:] if "errors.pydantic.dev" not in line]
    return ServerError(f"Prefect cannot read its settings: {': '.join(lines) or error}.", WITHOUT_PREFECT)


# -- configuration of the user -------------------------------------------------------------------------------

_OF_REQUESTS = (
    "PREFECT_CLIENT_CUSTOM_HEADERS",
    "PREFECT_API_SSL_CERT_FILE",
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY",
)
"""Further settings of Prefect's client that change how it reaches an API."""


@dataclass(frozen=True)
class ConfiguredApi:
    """A Prefect API that the user configured.

    Attributes:
        url: The URL of the API.
        source: The place of the setting, in words.
        auth: Its `user:password`, if it has one.
        key: The key of Prefect Cloud.
        through: Names of further settings that requests to it use: headers, certificates, a proxy.
    """

    url: str
    source: str
    auth: str | None = None
    key: str | None = None
    through: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<ConfiguredApi {masked(self.url)} | {self.source}>"

    @property
    def description(self) -> str:
        """Its URL, the place of the setting, and the names of further settings in use."""
        more = f"; with {', '.join(self.through)}" if self.through else ""
        return f"{masked(self.url)} (configured in {self.source}{more})"

    def probe(self, timeout: float = ANSWER) -> None:
        """Check that the API answers and accepts the credentials.

        Args:
            timeout: Seconds to wait for each of two answers.

        Raises:
            ServerError: The API does not answer, or refuses the credentials.
        """
        try:
            self._connect(min(timeout, _CONNECTION))
            self.ask("/health", timeout=timeout)
            self.ask("/admin/version", timeout=timeout, absent=True)
        except ServerError as error:
            raise ServerError(f"{error.message} It is configured in {self.source}.", error.hint) from None

    def _connect(self, timeout: float) -> None:
        """Check that a server listens, without the import of Prefect; a proxy makes its own connection."""
        if not self.url.startswith(("http://", "https://")):
            raise ServerError(
                f"{self.url!r} is not an address of a Prefect API.", "It begins with http:// or https://."
            )
        if _proxies(self.url):
            return
        parts = urlsplit(self.url)
        try:
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            socket.create_connection((parts.hostname or "", port), timeout=timeout).close()
        except TimeoutError:
            raise no_answer(self.url, f"nothing came back within {timeout:g} s") from None
        except (OSError, ValueError) as error:
            raise no_answer(self.url, str(getattr(error, "strerror", None) or error).lower()) from None

    def ask(self, path: str, body: object = None, *, timeout: float = ANSWER, absent: bool = False) -> Any:
        """Get JSON from the API, by Prefect's own client: with its headers, proxies and certificates.

        Args:
            path: The path, with a slash at its beginning.
            body: The JSON body of a POST request; without it, a GET request.
            timeout: Seconds to wait.
            absent: Whether a 404 returns None (Prefect Cloud has fewer routes).

        Raises:
            ServerError: The request failed; a sentence with the URL and the answer.
        """
        client = load("sinagot_catalog.flows.server.api_client")
        return client.ask_configured(self, path, body, timeout=timeout, absent=absent)


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

    url = first("PREFECT_API_URL") or ""
    through = [name for name in _OF_REQUESTS if first(name) and first(name) not in {"False", "false", "0"}]
    return ConfiguredApi(
        url, source, first("PREFECT_API_AUTH_STRING"), first("PREFECT_API_KEY"), (*through, *_proxies(url))
    )


def _proxies(url: str) -> list[str]:
    """The name of the environment variable that has the proxy for a URL, in a list; empty without a proxy."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return []
    names = [f"{parts.scheme}_proxy", "all_proxy"]
    found = [name for wanted in names for name in (wanted, wanted.upper()) if os.environ.get(name)]
    return found[:1]


def of_prefect(command: str) -> str:
    """Format a command of Prefect so that it finds the API that this library uses."""
    return command if configured_api() else f'eval "$(sinagot-catalog server env)" && {command}'


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the sections of Prefect's toml that this module reads, named as environment variables."""
    settings: dict[str, Any] = {}
    for section in ("api", "client"):
        table = values.get(section, {})
        if isinstance(table, dict):
            settings |= {f"PREFECT_{section}_{name}".upper(): value for name, value in table.items()}
    return settings


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
