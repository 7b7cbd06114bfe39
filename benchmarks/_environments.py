"""An environment of its own for each tool, made once and kept in the cache."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._measure import Skipped
from benchmarks._tools import OURS, Tool

__all__ = ["Environment", "environment"]

_INSTALL_SECONDS = 1_800
_ASK_SECONDS = 20
_OF_OTHERS = ("PYTHON", "PIP_", "VIRTUAL_ENV", "XDG_", "MAKE", "MFLAGS", "SNAKEMAKE", "DATACHAIN", "PREFECT")


@dataclass(frozen=True)
class Environment:
    """Where a tool is started from.

    Attributes:
        variables: The environment of its processes.
        version: Of the tool.
        python: Version of its Python.
    """

    variables: dict[str, str]
    version: str
    python: str


def environment(tool: Tool, cache: Path, python: Path | None = None) -> Environment:
    """The environment of a tool, installed where that was not done yet.

    Raises:
        Skipped: This machine cannot have it, and why.
    """
    if tool.program and shutil.which(tool.program) is None:
        raise Skipped(f"there is no {tool.program} on this machine")
    if tool is OURS:
        programs = Path(sys.executable).parent
    else:
        interpreter = _interpreter(tool.pythons, python) if tool.pythons else Path(sys.executable)
        programs = _installed(tool, cache / "environments" / tool.name, interpreter) / "bin"
    home = cache / "home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OF_OTHERS)}
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    variables = {**kept, "PATH": path, "HOME": str(home), "DO_NOT_TRACK": "1", "DATACHAIN_NO_ANALYTICS": "1"}
    return Environment(variables, *_versions(tool, programs))


def _installed(tool: Tool, folder: Path, interpreter: Path) -> Path:
    """The folder of a virtual environment that has all that the tool requires."""
    finished = folder / ".finished"
    wanted = "\n".join((_said([str(interpreter), "--version"]), *tool.requires))
    if finished.exists() and finished.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    bare = [] if tool.requires else ["--without-pip"]
    _done([str(interpreter), "-m", "venv", *bare, str(folder)], "its environment could not be made")
    if tool.requires:
        pip = [str(folder / "bin/python3"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _done([*pip, *tool.requires], f"{tool.requires[0]} could not be installed")
    finished.write_text(wanted)
    return folder


def _done(command: Sequence[str], otherwise: str) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Skipped(f"{otherwise} within {_INSTALL_SECONDS} s") from error
    except OSError as error:
        raise Skipped(f"{otherwise}: {error}") from error
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()] or ["it did not say why"]
        errors = [line for line in said if "error" in line.lower()] or said
        raise Skipped(f"{otherwise}: {errors[-1].strip()}")


def _interpreter(versions: Sequence[str], given: Path | None) -> Path:
    """A Python of one of these versions."""
    for candidate in [given] if given else _candidates(versions):
        said = _said([str(candidate), "--version"]).removeprefix("Python ")
        if any(said.startswith(f"{version}.") for version in versions):
            return candidate
    wanted = " or ".join(versions)
    where = f"{given} is none" if given else "none on the PATH or under pyenv; --old-python names one"
    raise Skipped(f"needs Python {wanted}: {where}")


def _candidates(versions: Sequence[str]) -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in versions:
        yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))
        found = shutil.which(f"python{version}")
        if found:
            yield Path(found)


def _versions(tool: Tool, programs: Path) -> tuple[str, str]:
    python = str(programs / "python3")
    if tool.program:
        version = next(iter(_said([tool.program, "--version"]).splitlines()), "").split(" ")[-1]
    else:
        name = tool.requires[0].partition("=")[0] if tool.requires else tool.name
        version = _said([python, "-c", f"import importlib.metadata as m; print(m.version({name!r}))"])
    return version, _said([python, "--version"]).removeprefix("Python ")


def _said(command: Sequence[str]) -> str:
    """What a program prints, or nothing where it does not work."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""
