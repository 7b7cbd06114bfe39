"""`init`: a working workspace to start from."""

from __future__ import annotations

import json
import runpy
import shlex
import shutil
from pathlib import Path
from typing import Any

from sinagot_catalog._api import of_prefect
from sinagot_catalog.cli._from_files import looks, workspace_files
from sinagot_catalog.cli._out import put
from sinagot_catalog.cli._talk import say
from sinagot_catalog.errors import ConfigError, NotFoundError, StorageError

__all__ = ["init"]

_DAYS = 30
_KINDS = 4
_FILES = {
    "workspace.toml": """\
# A workspace: where the files lie, how the records are called, which scripts run over each of them.
# Paths are relative to this file.
[path]
dataset = "dataset"
scripts = "scripts"

[records]
# What a record id looks like, as a regular expression. Named groups become columns, such as (?P<site>[A-Z]+).
id_pattern = 'REC-\\d{3}'

[steps]
# The scripts of the folder above, without `.py`, in the order in which they run.
scripts = ["count"]

# [run]
# mode = "processes"     # or "main_process", "prefect"
# workers = 4            # by default one per core
""",
    "scripts/count.py": '''\
from sinagot_catalog import ScriptTemplate


class Script(ScriptTemplate):
    """How many lines a recording has."""

    PATH_IN = ("raw", "{id}.csv")
    PATH_OUT = ("count", "{id}.txt")

    def run(self):
        lines = self.path.input.read_text().splitlines()
        self.logger.info("%d lines", len(lines))
        self.path.output.write_text(f"{len(lines)}\\n")
''',
    "dataset/raw/REC-001.csv": "time,value\n10:00,1.5\n10:01,1.7\n10:02,1.6\n",
    "dataset/raw/REC-002.csv": "time,value\n09:30,2.1\n09:31,2.0\n",
}

_PREFECT = """\
# What `prefect deploy --all` deploys; `sinagot-catalog deploy` does the same without this file.
# A worker needs sinagot-catalog, and the workspace at the address below. Nothing secret belongs here.
name: {name}

# The flow is part of the installed package: there is no code to pull.
pull: []

deployments:
  - name: nightly
    entrypoint: sinagot_catalog.flows.run_workspace
    parameters:
      workspace: {workspace}
      where: status = 'DATA_READY'
      # What becomes ready by the run, too: a chain goes through in one night.
      downstream: true
    schedules:
      - cron: "0 2 * * *"
        timezone: UTC
    concurrency_limit: 1
    tags: [sinagot-catalog]
    work_pool:
      # Made by: prefect work-pool create local --type process
      name: local
"""


def init(args: Any) -> int:
    """Write a workspace where nothing of it is yet."""
    folder = Path(args.folder)
    try:
        if args.prefect:
            _check_free(folder, ["prefect.yaml"])
        if args.prefect and (folder / "workspace.toml").is_file() and not (args.from_files or args.example):
            pass  # it is there
        elif args.from_files:
            _around_files(folder, args.from_files)
        elif args.example:
            _copy_example(folder)
        else:
            _check_free(folder, _FILES)
            for name, text in _FILES.items():
                _write(folder / name, text)
        if args.prefect:
            _write(folder / "prefect.yaml", _prefect_yaml(folder.resolve()))
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise StorageError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    put(f"made {folder.resolve()}")
    place = shlex.join(["cd", args.folder]) + " && " if folder.resolve() != Path.cwd() else ""
    say(f"next: {place}sinagot-catalog status && sinagot-catalog run")
    if args.prefect:
        say(f"or on Prefect workers: {place}{of_prefect('prefect deploy --all')}   (see prefect.yaml)")
    return 0


def _prefect_yaml(folder: Path) -> str:
    # Any JSON text is one of YAML, whatever the folder is called.
    return _PREFECT.format(name=json.dumps(folder.name), workspace=json.dumps(str(folder)))


def _around_files(folder: Path, pattern: str) -> None:
    """A workspace around files that are there: they are looked at and left as they are."""
    files, ids, text = workspace_files(folder, pattern)
    _check_free(folder, files)
    for name, content in files.items():
        _write(folder / name, content)
    some = ", ".join(ids[:3]) + (" …" if len(ids) > 3 else "")  # noqa: PLR2004 - examples
    say(f"{len(ids)} records: {some}", f"id_pattern = {text}   (a proposal: see workspace.toml)")
    kinds = looks(ids)
    if len(kinds) > 1:
        told = ", ".join(f"{one} ({count} like it)" for one, count in kinds[:_KINDS])
        say(f"note: they have {len(kinds)} looks: {told}; write id_pattern so that only records fit it")


def _copy_example(folder: Path) -> None:
    """The harbour's config and scripts, and a month of its boats made anew."""
    example = _example()
    names = [str(path.relative_to(example)) for path in sorted(example.glob("scripts/*.py"))]
    names += ["workspace.toml", "make_dataset.py"]
    _check_free(folder, [*names, "dataset/raw"])
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(example / name, folder / name)
    runpy.run_path(str(folder / "make_dataset.py"))["make"](folder / "dataset" / "raw", _DAYS)


def _example() -> Path:
    """The harbour example: in the wheel, or in the repository beside an editable install."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_example" / "harbor", package.parent / "example" / "harbor"):
        if (folder / "workspace.toml").is_file():
            return folder
    raise NotFoundError("the harbour example did not come with this installation")


def _check_free(folder: Path, names: Any) -> None:
    """Refuse to write over anything."""
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise ConfigError(
            f"{folder / there[0]} is there already, and nothing is overwritten",
            "Name another folder: sinagot-catalog init DIR",
        )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
