"""Storage options: the fsspec options of remote file systems. Their values may be secrets and are never shown."""

import os
import re
from collections.abc import Mapping
from typing import Any

from sinagot_catalog.errors import ConfigError

_ALIASES = ({"s3", "s3a"}, {"gs", "gcs"}, {"az", "abfs", "abfss", "adl"}, {"ssh", "sftp"}, {"http", "https"})
_PROTOCOLS = frozenset().union(
    *_ALIASES,
    (
        "file",
        "local",
        "memory",
        "ftp",
        "smb",
        "webdav",
        "github",
        "hf",
        "hdfs",
        "webhdfs",
        "oci",
        "oss",
        "dvc",
    ),
    ("r2", "b2", "gdrive", "dropbox", "box", "obs", "tos", "lakefs"),
)


class Storage:
    """`[storage]`: options of remote file systems. Its repr shows the keys, never the values.

    Example:
        >>> storage = Storage({"anon": False, "s3": {"key": "AKIA", "secret": "x"}})
        >>> storage.options("s3")
        {'anon': False, 'key': 'AKIA', 'secret': 'x'}
        >>> storage
        <Storage anon, s3.key, s3.secret>
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def options(self, protocol: str) -> dict[str, Any]:
        """The options for a protocol; replaces `${NAME}` from the present environment.

        Raises:
            ConfigError: When such a variable is not set.
        """
        names = next((group for group in _ALIASES if protocol in group), {protocol})
        merged: dict[str, Any] = {}
        for key, value in self._values.items():
            if not (isinstance(value, dict) and key in _PROTOCOLS | names):
                merged[key] = _expanded(value, f"storage.{key}")
        for name in sorted(names, key=lambda name: name == protocol):
            table = self._values.get(name)
            if isinstance(table, dict):
                merged |= {key: _expanded(value, f"storage.{name}.{key}") for key, value in table.items()}
        return merged

    def own(self, protocol: str) -> dict[str, Any]:
        """The options of a single protocol, without the options for all protocols."""
        common = {key for key, value in self._values.items() if not isinstance(value, dict)}
        return {key: value for key, value in self.options(protocol).items() if key not in common}

    def __bool__(self) -> bool:
        return bool(self._values)

    def __repr__(self) -> str:
        names = [
            f"{key}.{inner}" if inner else key
            for key, value in self._values.items()
            for inner in (value if isinstance(value, dict) and value else [""])
        ]
        return f"<Storage {', '.join(names)}>" if names else "<Storage>"

    def __reduce__(self) -> str:
        raise TypeError("storage options are never pickled; read the config again")


def _expanded(value: Any, address: str) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(inner, f"{address}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, f"{address}[{n}]") for n, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(
                f"{address}: the environment variable {match[1]} is not set",
                f"Set it, or take {address} out of the config.",
            )
        return os.environ[match[1]]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", variable, value)
