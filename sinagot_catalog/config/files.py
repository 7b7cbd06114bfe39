"""Config files: finds and reads `workspace.toml` files, merges documents, resolves the paths in them."""

import os
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sinagot_catalog.config.file_owners import foreign
from sinagot_catalog.config.validator import Address
from sinagot_catalog.errors import ConfigError, did_you_mean
from sinagot_catalog.storage import join_url, normal_url, read_regular, split_url

FILE_NAME = "workspace.toml"
_SIZE_LIMIT = 16_000_000

Table = dict[str, Any]


def _is_url(path: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:{1,2}[^/]*//", path) is not None


def folder_of(file: str) -> str:
    """The folder or URL that contains a config file."""
    return split_url(file)[0] if _is_url(file) else str(Path(file).parent)


def resolved(path: str, base: str) -> str:
    """Resolve a path against a folder or URL: an absolute local path, or a URL."""
    if _is_url(path):
        head, chained, last = path.rpartition("::")
        if chained and "://" not in last:  # `zip://…::data.zip`: relative to the config
            path = f"{head}::{resolved(last, base)}"
        return normal_url(path)
    try:
        own = Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path!r} names a home folder that is not known") from None
    if _is_url(base) and not own.is_absolute():
        if "::" in base:
            return join_url(base, str(own))
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{posixpath.normpath(f'{rest}/{own}')}"
    joined = Path(base).absolute() / own
    # The system reads `..` after a link as the folder above the target of the link.
    return str(joined.resolve()) if ".." in joined.parts else os.path.normpath(joined)


def find(path: str | Path) -> str:
    """The toml file that a config path names."""
    text = os.fspath(path)
    if _is_url(text):
        url = normal_url(text)
        return url if split_url(url)[1].endswith(".toml") else join_url(url, FILE_NAME)
    full = Path(resolved(text, os.curdir))
    if full.is_file():
        return str(full)
    if full.is_dir():
        if (full / FILE_NAME).is_file():
            return str(full / FILE_NAME)
        if (full / FILE_NAME).exists():
            raise ConfigError(f"{full / FILE_NAME} is not a regular file")
        raise ConfigError(f"the folder {full} holds no {FILE_NAME}", _elsewhere(full))
    beside = [path.name for path in full.parent.iterdir()] if full.parent.is_dir() else []
    raise ConfigError(f"there is no file or folder {full}{did_you_mean(full.name, beside)}")


def _elsewhere(folder: Path) -> str:
    """Hint at a toml that the user may mean: another name in the folder, above it, or directly below it."""
    others = sorted(path.name for path in folder.glob("*.toml"))
    if others:
        return f"It holds {', '.join(others[:5])}: give the file itself."
    above = next((parent for parent in folder.parents if (parent / FILE_NAME).is_file()), None)
    if above is not None:
        return f"One lies above it: {above}."
    below = next(iter(sorted(folder.glob(f"*/{FILE_NAME}"))), None)
    return f"One lies below it: {below.parent}." if below else ""


def nearest(folder: str | None = None) -> str | None:
    """The nearest folder from here up that holds a `workspace.toml`.

    Raises:
        ConfigError: When it is in a folder above and others can have written it: the user did not choose it.
    """
    start = Path(os.path.abspath(folder or os.curdir))  # noqa: PTH100 - links stay as the user wrote them
    for at in (start, *start.parents):
        file = at / FILE_NAME
        if file.exists():
            fault = None if at == start else foreign(str(file))
            if fault is not None:
                raise ConfigError(
                    f"the workspace above this folder is not opened unasked: {fault}",
                    f"If you trust it, name it: -C {shlex.quote(str(at))}",
                )
            return str(at)
    return None


def read(file: str, read_text: Callable[[str], str] | None) -> str:
    """Read the text of a toml file, local or at a URL."""
    try:
        if _is_url(file):
            if read_text is None:
                raise ConfigError(f"{file} is a URL, and nothing is given that reads it")
            return read_text(file).removeprefix("\ufeff")
        return read_regular(file, _SIZE_LIMIT).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from None


def short_names(files: Sequence[str]) -> dict[str, str]:
    """The names of the files in messages: the file name if it is unique, else the full path."""
    tails = [file.rsplit("/", 1)[-1].rsplit(os.sep, 1)[-1] for file in files]
    return {file: tail if tails.count(tail) == 1 else file for file, tail in zip(files, tails, strict=True)}


def merge(base: Table, over: Table, file: str, origins: dict[Address, str], address: Address = ()) -> None:
    """Merge a document into another in place; `origins` records which file gives the value at each address."""
    for key, value in over.items():
        here = (*address, key)
        origins[here] = file
        if isinstance(value, dict):
            if not isinstance(base.get(key), dict):
                base[key] = {}
            merge(base[key], value, file, origins, here)
        else:
            base[key] = value


def origin(address: Address, origins: Mapping[Address, str], first: str) -> str:
    """The file that gave the value at an address."""
    return next(
        (origins[address[:n]] for n in range(len(address), 0, -1) if address[:n] in origins),
        first,
    )
