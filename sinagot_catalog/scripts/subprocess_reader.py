"""The subprocess reader: evaluates computed patterns and settings of a script in a child process.

The child process is `python -m sinagot_catalog.scripts SCRIPT SCRIPTS_FOLDER`. It imports the script and writes the
class attributes as one JSON object on its standard output. Only scripts of a trusted workspace are evaluated.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from sinagot_catalog.errors import SinagotError
from sinagot_catalog.patterns import InputPattern
from sinagot_catalog.scripts.importer import ScriptHost
from sinagot_catalog.scripts.step_function import KEYWORDS

TIME_LIMIT = 30.0
"""Seconds that a child process may take."""


def _content_key(script: str, scripts: str, source: bytes) -> str:
    """A cache key: a hash of the script's content and of the times and sizes of modules that it can import."""
    digest = hashlib.sha256(source)
    for folder in dict.fromkeys((str(Path(script).parent), scripts)):
        with os.scandir(folder) as entries:
            beside = sorted((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py"))
        for name, stat in beside:
            digest.update(f"{name}\0{stat.st_mtime_ns}\0{stat.st_size}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def evaluate(
    script: str, scripts: str, source: bytes, cache: MutableMapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """The attributes of a script as JSON values, or an `error` and its `line`; loads it once per content.

    Args:
        script: The path of the file.
        scripts: The scripts folder.
        source: The content of the file.
        cache: Stores the results by content.
    """
    key = _content_key(script, scripts, source)
    if key not in cache:
        cache[key] = _load(script, scripts)
    return cache[key]


def _load(script: str, scripts: str) -> dict[str, Any]:
    """Load a script in a child process."""
    paths = [str(Path(path).absolute()) for path in (script, scripts)]
    child = subprocess.Popen(  # noqa: S603  # our own interpreter and module
        [sys.executable, "-P", "-m", "sinagot_catalog.scripts", *paths],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"the script did not load within {TIME_LIMIT:g} seconds"}
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    try:
        attributes: dict[str, Any] = json.loads(output)
    except ValueError:
        attributes = {"error": f"the script ended its process when loaded (exit code {child.returncode})"}
    return attributes


def _plain(value: object) -> object:
    """A value that JSON has no form for, as one that it has.

    Raises:
        SinagotError: When the value is no path, text, number or collection of these.
    """
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, InputPattern):
        return {"any_of": value.patterns, "optional": value.is_optional}
    if isinstance(value, Mapping):
        return dict(value)
    raise SinagotError(f"{type(value).__name__} is not a path pattern")


def _ask(script: str, scripts: str) -> str:
    try:
        found = ScriptHost(scripts).load(script)
        return json.dumps({name: getattr(found, name, None) for name in KEYWORDS.values()}, default=_plain)
    except SinagotError as error:
        return json.dumps({"error": error.message})
    except BaseException as error:  # noqa: BLE001  # a script may raise anything, SystemExit too
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == script]
        line = error.lineno if isinstance(error, SyntaxError) else (frames[-1].lineno if frames else None)
        return json.dumps({"error": f"{type(error).__name__}: {error}"[:500], "line": line})


def answer(script: str, scripts: str) -> None:
    """The main function of the child process; discards what the script prints."""
    out = os.dup(1)
    os.dup2(2, 1)
    told = _ask(script, scripts)
    with os.fdopen(out, "w") as pipe:
        pipe.write(told)
    os._exit(0)
